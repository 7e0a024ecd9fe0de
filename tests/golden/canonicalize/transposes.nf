// RUN: --passes=canonicalize
// A pair that cancels leaves its first half to others and to dce; a pair that does not stays.
module @case {
  graph @main(%x: tensor<1x2x3x4xf32>) -> (%y: tensor<1x2x3x4xf32>, %z: tensor<1x4x2x3xf32>) {
    %a = transpose %x {perm = [0, 2, 3, 1]} : tensor<1x3x4x2xf32>
    %b = transpose %a {perm = [0, 3, 1, 2]} : tensor<1x2x3x4xf32>
    %y = relu %b : tensor<1x2x3x4xf32>
    %c = transpose %a {perm = [0, 2, 3, 1]} : tensor<1x4x2x3xf32>
    %d = transpose %c {perm = [0, 1, 2, 3]} : tensor<1x4x2x3xf32>
    %z = relu %d : tensor<1x4x2x3xf32>
    return %y, %z
  }
}
