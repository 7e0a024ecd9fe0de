// RUN: --passes=infer-shapes
// What a body takes from around it is not known within; what it makes of constants is.
module @case {
  graph @main(%x: tensor<2x2xf32>, %flag: tensor<bool>) -> (%y: tensor<2x2xf32>) {
    %a = relu %x "a" : unknown
    %y = if %flag captures(%a) "choose" : tensor<2x2xf32>
      body @then_body() captures(%a from 0: tensor<2x2xf32>) -> (%t: tensor<2x2xf32>) {
        %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
        %l = exp %k "l" : unknown
        %m = neg %a "m" : unknown
        %t = add %l, %m "t" : tensor<2x2xf32>
        return %t
      }
      body @else_body() captures(%a from 0: tensor<2x2xf32>) -> (%e: tensor<2x2xf32>) {
        %e = abs %a "e" : tensor<2x2xf32>
        return %e
      }
    return %y
  }
}
