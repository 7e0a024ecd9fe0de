// RUN: --passes=dce
// A parameter is part of the interface, read or not.
module @case {
  graph @main(%x: tensor<2xf32>, %unread: tensor<3xf32>) -> (%y: tensor<2xf32>) {
    %a = relu %unread : tensor<3xf32>
    %y = neg %x : tensor<2xf32>
    return %y
  }
}
