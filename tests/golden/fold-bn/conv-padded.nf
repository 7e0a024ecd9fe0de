// RUN: --passes=fold-bn,dce
// Padding does not matter backward.
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.4375, 0.375, 0.3125, 0.25, 0.1875, 0.125, 0.0625, 0.0, -0.0625, -0.125, -0.1875, -0.25, -0.3125, -0.375, -0.4375, -0.5, -0.5625, -0.625, -0.6875, -0.75, -0.8125, -0.875, -0.9375, -1.0, -1.0625, -1.125, -1.1875, -1.25, -1.3125, -1.375, -1.4375, -1.5, -1.5625, -1.625, -1.6875, -1.75, -1.8125, -1.875, -1.9375, -2.0, -2.0625, -2.125, -2.1875, -2.25, -2.3125, -2.375, -2.4375, -2.5, -2.5625, -2.625, -2.6875, -2.75, -2.8125]> : tensor<2x3x3x3xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.weight {pad = [[1, 1], [1, 1]]} "conv" : tensor<1x2x4x4xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    return %y
  }
}
