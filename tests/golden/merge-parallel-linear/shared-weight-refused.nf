// RUN: --passes=merge-parallel-linear{copy-limit=15}
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %a = conv %x, %w1  "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1  "b" : tensor<1x2x5x5xf32>
    %s = add %a, %b "s" : tensor<1x2x5x5xf32>
    %c = conv %s, %w1  "c" : tensor<1x2x5x5xf32>
    %y = add %c, %x "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
