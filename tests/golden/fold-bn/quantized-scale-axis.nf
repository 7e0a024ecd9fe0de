// RUN: --passes=fold-bn,dce
// The weight has one scale per input channel, the batch norm one per output channel.
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %q = constant dense<[1, 2, 3, -4, 5, -6]> : tensor<2x3x1x1xi8>
    %scale = constant dense<[0.5, 0.25, 2.0]> : tensor<3xf32>
    %gamma = constant dense<[4.0, 1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %w = dequantize %q, %scale "dq" : tensor<2x3x1x1xf32>
    %c = conv %x, %w "conv" : tensor<1x2x4x4xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    return %y
  }
}
