// RUN: --passes=fold-bn,dce
// The taps give the shift different sums: no bias says that.
module @case {
  graph @main(%x: tensor<1x2x3x3xf32>) -> (%y: tensor<1x1x6x6xf32>) {
    %w = constant dense<[1.0, 2.0, 3.0, 4.0, 0.5, 0.5, 0.5, 0.5]> : tensor<2x1x2x2xf32>
    %gamma = constant dense<[2.0, 4.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.5]> : tensor<2xf32>
    %zero = constant splat<0.0> : tensor<2xf32>
    %r = relu %x : tensor<1x2x3x3xf32>
    %n = batch_norm %r, %gamma, %beta, %zero, %zero {eps = 1.0} "bn" : tensor<1x2x3x3xf32>
    %y = conv_transpose %n, %w {strides = [2, 2]} "up" : tensor<1x1x6x6xf32>
    return %y
  }
}
