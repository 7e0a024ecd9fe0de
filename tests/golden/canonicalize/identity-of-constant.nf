// RUN: --passes=canonicalize
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %a = identity %k : tensor<2xf32>
    %y = add %x, %a : tensor<2xf32>
    return %y
  }
}
