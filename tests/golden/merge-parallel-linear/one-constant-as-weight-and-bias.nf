// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<2x2xf32>) -> (%y: tensor<2x2xf32>) {
    %w = constant dense<[0.5, -1.0, 0.25, 2.0]> : tensor<2x2xf32>
    %v = constant dense<[1.5, 1.0, 0.75, -2.0]> : tensor<2x2xf32>
    %a = linear %x, %w, %w "a" : tensor<2x2xf32>
    %b = linear %x, %v "b" : tensor<2x2xf32>
    %y = add %a, %b "y" : tensor<2x2xf32>
    return %y
  }
}
