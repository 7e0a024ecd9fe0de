// RUN: --passes=fold-bn,dce
// Without a shift it stays a product.
module @case {
  graph @main(%x: tensor<3x2xf32>) -> (%y: tensor<3x2xf32>) {
    %fc.weight = constant dense<[0.5, 0.25, 0.0, -0.25]> : tensor<2x2xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant splat<0.0> : tensor<2xf32>
    %mean = constant splat<0.0> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = matmul %x, %fc.weight "fc" : tensor<3x2xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<3x2xf32>
    return %y
  }
}
