// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<3x2xf32>) -> (%y: tensor<3x2xf32>) {
    %w = constant dense<[0.5, -1.0, 0.25, 2.0]> : tensor<2x2xf32>
    %v = constant dense<[1.5, 1.0, 0.75, -2.0]> : tensor<2x2xf32>
    %c = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %a = matmul %x, %w "a" : tensor<3x2xf32>
    %s = add %a, %c "bias" : tensor<3x2xf32>
    %b = matmul %x, %v "b" : tensor<3x2xf32>
    %y = sub %s, %b "y" : tensor<3x2xf32>
    return %y
  }
}
