// RUN: --passes=canonicalize
// NO-EVAL: extents depend on inputs
// A declared shape proves nothing: the slice may give any.
module @case {
  graph @main(%x: tensor<4x4xf32>, %from: tensor<1xi64>, %to: tensor<1xi64>) -> (%y: tensor<?x?xf32>) {
    %shape = constant dense<[2, 4]> : tensor<2xi64>
    %a = slice %x, %from, %to : tensor<2x4xf32>
    %b = reshape %a, %shape : tensor<2x4xf32>
    %y = relu %b : tensor<?x?xf32>
    return %y
  }
}
