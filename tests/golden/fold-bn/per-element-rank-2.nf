// RUN: --passes=fold-bn,dce
// At rank 2 an entry per element is an entry per channel.
module @case {
  graph @main(%x: tensor<1x3xf32>) -> (%y: tensor<1x2xf32>) {
    %fc.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<3x2xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = linear %x, %fc.weight {matrix = true} "fc" : tensor<1x2xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0, spatial = false} "bn" : tensor<1x2xf32>
    return %y
  }
}
