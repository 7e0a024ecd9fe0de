// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %p = relu %x "p" : tensor<1x2x5x5xf32>
    %q = sigmoid %x "q" : tensor<1x2x5x5xf32>
    %a = conv %x, %w3 {pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1  "b" : tensor<1x2x5x5xf32>
    %c = sub %a, %p "c" : tensor<1x2x5x5xf32>
    %d = sub %b, %q "d" : tensor<1x2x5x5xf32>
    %y = add %c, %d "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
