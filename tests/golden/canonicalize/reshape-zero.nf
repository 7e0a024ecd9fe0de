// RUN: --passes=canonicalize
// Beside an extent of 0 any other fits: this one may change.
module @case {
  graph @main(%x: tensor<0x?xf32>) -> (%y: tensor<0x4xf32>) {
    %shape = constant dense<[0, 4]> : tensor<2xi64>
    %a = reshape %x, %shape {allow_zero = true} : tensor<0x4xf32>
    %y = relu %a : tensor<0x4xf32>
    return %y
  }
}
