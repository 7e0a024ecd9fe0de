// RUN: --passes=canonicalize
// What nothing reads is left to dce.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %a = identity %x : tensor<2xf32>
    %y = relu %x : tensor<2xf32>
    return %y
  }
}
