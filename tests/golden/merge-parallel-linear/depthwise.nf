// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5]> : tensor<2x1x1x1xf32>, broadcast[2, 1, 3, 3]) : tensor<2x1x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25]> : tensor<2x1x1x1xf32>
    %a = conv %x, %w3 {groups = 2, pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1 {groups = 2} "b" : tensor<1x2x5x5xf32>
    %y = add %a, %b "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
