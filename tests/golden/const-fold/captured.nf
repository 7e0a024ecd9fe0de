// RUN: --passes=const-fold
// What a body captures is computed around it; in the body what it makes of it is not.
module @case {
  graph @main(%x: tensor<2xf32>, %flag: tensor<bool>) -> (%y: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %n = neg %k : tensor<2xf32>
    %y = if %flag captures(%x, %n) "choose" : tensor<2xf32>
      body @then_body() captures(%x from 0: tensor<2xf32>, %n from 1: tensor<2xf32>) -> (%t: tensor<2xf32>) {
        %m = abs %n : tensor<2xf32>
        %t = add %x, %m : tensor<2xf32>
        return %t
      }
      body @else_body() captures(%x from 0: tensor<2xf32>) -> (%e: tensor<2xf32>) {
        %two = constant dense<[2.0, 3.0]> : tensor<2xf32>
        %four = mul %two, %two : tensor<2xf32>
        %e = add %x, %four : tensor<2xf32>
        return %e
      }
    return %y
  }
}
