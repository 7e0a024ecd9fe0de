// RUN: --passes=cse
// What a body reads keeps a name of its own; all results of an op go together.
module @case {
  graph @main(%x: tensor<2x4xf32>, %flag: tensor<bool>) -> (%y: tensor<2x2xf32>) {
    %a, %b = split %x {axis = 1} "first" : tensor<2x2xf32>, tensor<2x2xf32>
    %c, %d = split %x {axis = 1} "second" : tensor<2x2xf32>, tensor<2x2xf32>
    %e = sub %a, %d "e" : tensor<2x2xf32>
    %i = if %flag captures(%c, %b) "choose" : tensor<2x2xf32>
      body @then_body() captures(%c from 0: tensor<2x2xf32>) -> (%t: tensor<2x2xf32>) {
        %t = neg %c : tensor<2x2xf32>
        return %t
      }
      body @else_body() captures(%b from 1: tensor<2x2xf32>) -> (%u: tensor<2x2xf32>) {
        %u = abs %b : tensor<2x2xf32>
        return %u
      }
    %y = add %e, %i "y" : tensor<2x2xf32>
    return %y
  }
}
