// RUN: --passes=merge-parallel-linear
// One tap has any dilation.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %v3 = constant derived(dense<[0.25, -0.75, 1.0, 0.0]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %a = conv %x, %w3 {dilations = [2, 2], pad = [[2, 2], [2, 2]]} "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1  "b" : tensor<1x2x5x5xf32>
    %c = conv %x, %v3 {pad = [[1, 1], [1, 1]]} "c" : tensor<1x2x5x5xf32>
    %s = add %a, %b "s" : tensor<1x2x5x5xf32>
    %y = add %s, %c "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
