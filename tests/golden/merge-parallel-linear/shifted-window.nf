// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w33 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w22 = constant dense<[-1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25, -1.25, 0.5]> : tensor<2x2x2x2xf32>
    %a = conv %x, %w33 {pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w22 {pad = [[1, 0], [0, 1]]} "b" : tensor<1x2x5x5xf32>
    %y = add %a, %b "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
