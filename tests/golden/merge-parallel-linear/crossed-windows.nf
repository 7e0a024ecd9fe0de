// RUN: --passes=merge-parallel-linear
// Neither kernel lies within the other.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w13 = constant dense<[-0.75, 1.0, 0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x3xf32>
    %w31 = constant dense<[-0.25, -1.25, 0.5, -0.5, 1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25]> : tensor<2x2x3x1xf32>
    %b = conv %x, %w13 {pad = [[0, 0], [1, 1]]} "b" : tensor<1x2x5x5xf32>
    %c = conv %x, %w31 {pad = [[1, 1], [0, 0]]} "c" : tensor<1x2x5x5xf32>
    %y = add %b, %c "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
