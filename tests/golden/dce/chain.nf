// RUN: --passes=dce
// What only dead ops read is dead, in whatever order it stands.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %a = relu %x : tensor<2xf32>
    %b = mul %a, %k : tensor<2xf32>
    %c = add %b, %b : tensor<2xf32>
    %y = neg %x : tensor<2xf32>
    %d = sub %c, %a : tensor<2xf32>
    return %y
  }
}
