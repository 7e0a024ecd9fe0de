// RUN: --passes=fold-bn,dce
// A convolution that is subtracted is negated whole.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %w = constant dense<[1.0, 2.0, 3.0, -4.0]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %r = relu %x : tensor<1x2x4x4xf32>
    %b = constant dense<[1.0, -1.0]> : tensor<2xf32>
    %c = conv %r, %w, %b "conv" : tensor<1x2x4x4xf32>
    %n = batch_norm %r, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %y = sub %n, %c "difference" : tensor<1x2x4x4xf32>
    return %y
  }
}
