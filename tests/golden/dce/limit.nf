// RUN: --passes=dce --stop-after-rewrites=2
// The ops that come first in the source are erased first.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %a = relu %x : tensor<2xf32>
    %b = neg %x : tensor<2xf32>
    %c = abs %x : tensor<2xf32>
    %y = exp %x : tensor<2xf32>
    return %y
  }
}
