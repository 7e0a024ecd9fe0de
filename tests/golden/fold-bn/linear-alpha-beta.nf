// RUN: --passes=fold-bn,dce
// alpha stays; beta becomes 1 and goes into C.
module @case {
  graph @main(%x: tensor<2x3xf32>) -> (%y: tensor<3x2xf32>) {
    %fc.weight = constant dense<[0.5, 0.25, 0.0, -0.25]> : tensor<2x2xf32>
    %fc.bias = constant dense<[0.5, -1.0]> : tensor<2xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = linear %x, %fc.weight, %fc.bias {alpha = 0.5, beta = 2.0, trans_x = true, trans_w = true, matrix = true} "fc" : tensor<3x2xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<3x2xf32>
    return %y
  }
}
