// RUN: --passes=fold-bn,dce
// Random graph, shrunk: a constant of the whole batch on the way. Sampled on a smaller batch it would widen what it divides.
module @case {
  graph @main(%x: tensor<2x2x3x3xf64>) -> (%y: tensor<2x1x3x3xf64>) {
    %w = constant dense<[-0.25, 0.5]> : tensor<1x2x1x1xf64>
    %c = conv %x, %w "conv" : tensor<2x1x3x3xf64>
    %k = constant dense<[1.25, 0.875, 0.75, 0.375, 1.0, 0.625]> : tensor<2x1x3x1xf64>
    %d = div %c, %k "each" : tensor<2x1x3x3xf64>
    %g = constant dense<[0.0]> : tensor<1xf64>
    %b = constant dense<[0.75]> : tensor<1xf64>
    %m = constant dense<[1.0]> : tensor<1xf64>
    %v = constant dense<[0.375]> : tensor<1xf64>
    %y = batch_norm %d, %g, %b, %m, %v "bn" : tensor<2x1x3x3xf64>
    return %y
  }
}
