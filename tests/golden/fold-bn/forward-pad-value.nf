// RUN: --passes=fold-bn,dce
// The pad gets the value that becomes its old one.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x6x6xf32>) {
    %w = constant dense<[1.0, 2.0, 3.0, -4.0]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %g = constant splat<2.0> : tensor<2xf32>
    %h = constant splat<0.5> : tensor<2xf32>
    %m = constant splat<0.0> : tensor<2xf32>
    %v = constant splat<0.0> : tensor<2xf32>
    %r = relu %x : tensor<1x2x4x4xf32>
    %n = batch_norm %r, %g, %h, %m, %v {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %amounts = constant dense<[0, 0, 1, 1, 0, 0, 1, 1]> : tensor<8xi64>
    %p = pad %n, %amounts "pad" : tensor<1x2x6x6xf32>
    %y = conv %p, %w "conv" : tensor<1x2x6x6xf32>
    return %y
  }
}
