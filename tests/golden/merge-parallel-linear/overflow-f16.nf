// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<1x2x5x5xf16>) -> (%y: tensor<1x2x5x5xf16>) {
    %w1 = constant dense<[60000.0, 1.0, 2.0, 3.0]> : tensor<2x2x1x1xf16>
    %v1 = constant dense<[60000.0, 1.0, 2.0, 3.0]> : tensor<2x2x1x1xf16>
    %a = conv %x, %w1  "a" : tensor<1x2x5x5xf16>
    %b = conv %x, %v1  "b" : tensor<1x2x5x5xf16>
    %y = add %a, %b "y" : tensor<1x2x5x5xf16>
    return %y
  }
}
