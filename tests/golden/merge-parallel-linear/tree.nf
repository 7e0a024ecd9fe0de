// RUN: --passes=merge-parallel-linear
// An asymmetric block; the activation among the terms stays.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %w13 = constant dense<[-0.75, 1.0, 0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x3xf32>
    %w31 = constant dense<[-0.25, -1.25, 0.5, -0.5, 1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25]> : tensor<2x2x3x1xf32>
    %b3 = constant dense<[-1.25, 0.5]> : tensor<2xf32>
    %b1 = constant dense<[0.0, -1.0]> : tensor<2xf32>
    %p = relu %x "p" : tensor<1x2x5x5xf32>
    %a = conv %x, %w1, %b1  "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w13 {pad = [[0, 0], [1, 1]]} "b" : tensor<1x2x5x5xf32>
    %c = conv %x, %w31 {pad = [[1, 1], [0, 0]]} "c" : tensor<1x2x5x5xf32>
    %d = conv %x, %w3, %b3 {pad = [[1, 1], [1, 1]]} "d" : tensor<1x2x5x5xf32>
    %s = add %a, %p "s" : tensor<1x2x5x5xf32>
    %t = sub %b, %c "t" : tensor<1x2x5x5xf32>
    %u = add %s, %t "u" : tensor<1x2x5x5xf32>
    %y = add %u, %d "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
