// RUN: --passes=merge-parallel-linear
// The shorter bias is widened.
module @case {
  graph @main(%x: tensor<3x2xf32>) -> (%y: tensor<3x2xf32>) {
    %w = constant dense<[0.5, -1.0, 0.25, 2.0]> : tensor<2x2xf32>
    %v = constant dense<[1.5, 1.0, 0.75, -2.0]> : tensor<2x2xf32>
    %c = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %d = constant dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]> : tensor<3x2xf32>
    %a = linear %x, %w, %c {trans_w = true, matrix = true} "a" : tensor<3x2xf32>
    %b = linear %x, %v, %d {trans_w = true, matrix = true} "b" : tensor<3x2xf32>
    %y = add %a, %b "y" : tensor<3x2xf32>
    return %y
  }
}
