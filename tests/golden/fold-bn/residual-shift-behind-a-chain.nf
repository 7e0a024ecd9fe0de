// RUN: --passes=fold-bn{residual-shift=add},dce
// Random graph, shrunk: what is left of the batch norm is one chain with the quotient before it, and goes on with it.
module @case {
  graph @main(%x: tensor<1x2x4x3xf64>) -> (%y: tensor<1x1x4x3xf64>) {
    %k = constant dense<[0.5, 1.25]> : tensor<2x1x1xf64>
    %d = div %x, %k "quotient" : tensor<1x2x4x3xf64>
    %g = constant dense<[0.875, 0.25]> : tensor<2xf64>
    %b = constant dense<[-0.125, 0.625]> : tensor<2xf64>
    %m = constant dense<[-0.875, -0.5]> : tensor<2xf64>
    %v = constant dense<[1.0, 0.75]> : tensor<2xf64>
    %n = batch_norm %d, %g, %b, %m, %v "bn" : tensor<1x2x4x3xf64>
    %w = constant splat<0.5> : tensor<1x2x3x3xf64>
    %y = conv %n, %w {pad = [[1, 1], [1, 1]]} "conv" : tensor<1x1x4x3xf64>
    return %y
  }
}
