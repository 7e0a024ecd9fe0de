// RUN: --passes=fold-bn{quantized-bias=float},dce
// The bias becomes one of floats.
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %q = constant dense<[1, 2, 3, -4, 5, -6]> : tensor<2x3x1x1xi8>
    %scale = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %b.q = constant dense<[100, -200]> : tensor<2xi32>
    %b.scale = constant dense<[0.01, 0.02]> : tensor<2xf32>
    %gamma = constant dense<[4.0, 1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %w = dequantize %q, %scale {axis = 0} "dq" : tensor<2x3x1x1xf32>
    %b = dequantize %b.q, %b.scale {axis = 0} "bias" : tensor<2xf32>
    %c = conv %x, %w, %b "conv" : tensor<1x2x4x4xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    return %y
  }
}
