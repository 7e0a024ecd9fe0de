// RUN: --passes=canonicalize
// What only the erased op read goes with it: the first transpose, which nothing read but the second one.
module @case {
  graph @main(%x: tensor<2x3xf32>) -> (%y: tensor<2x3xf32>) {
    %a = transpose %x {perm = [1, 0]} "there" : tensor<3x2xf32>
    %b = transpose %a {perm = [1, 0]} "back" : tensor<2x3xf32>
    %y = relu %b : tensor<2x3xf32>
    return %y
  }
}
