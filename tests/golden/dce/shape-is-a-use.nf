// RUN: --passes=dce
// Reading only the shape is a use: the op stays.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%n: tensor<1xi64>) {
    %a = relu %x : tensor<2xf32>
    %n = shape %a : tensor<1xi64>
    return %n
  }
}
