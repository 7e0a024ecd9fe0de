// RUN: --passes=merge-parallel-linear
// NO-EVAL: a weight is absent
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant absent : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %a = conv %x, %w3 {pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1  "b" : tensor<1x2x5x5xf32>
    %y = add %a, %b "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
