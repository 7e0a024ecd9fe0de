// RUN: --passes=canonicalize
// A permutation left out reverses the axes.
module @case {
  graph @main(%x: tensor<2x3xf32>, %v: tensor<4xf32>) -> (%y: tensor<2x3xf32>, %w: tensor<4xf32>, %t: tensor<3x2xf32>) {
    %a = transpose %x : tensor<3x2xf32>
    %b = transpose %a {perm = [1, 0]} : tensor<2x3xf32>
    %y = relu %b : tensor<2x3xf32>
    %c = transpose %v : tensor<4xf32>
    %w = relu %c : tensor<4xf32>
    %t = transpose %x : tensor<3x2xf32>
    return %y, %w, %t
  }
}
