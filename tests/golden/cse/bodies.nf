// RUN: --passes=cse
// What a body reads keeps its name; bodies are graphs of their own, and ops that have some are left alone.
module @case {
  graph @main(%x: tensor<2xf32>, %flag: tensor<bool>) -> (%y: tensor<2xf32>) {
    %a = relu %x : tensor<2xf32>
    %b = relu %x "read in a body" : tensor<2xf32>
    %r = if %flag captures(%b) "choose" : tensor<2xf32>
      body @then() captures(%b: tensor<2xf32>) -> (%t: tensor<2xf32>) {
        %m = neg %b : tensor<2xf32>
        %n = neg %b : tensor<2xf32>
        %t = add %m, %n : tensor<2xf32>
        return %t
      }
      body @else() captures(%b: tensor<2xf32>) -> (%e: tensor<2xf32>) {
        %e = neg %b : tensor<2xf32>
        return %e
      }
    %s = if %flag captures(%b) "choose again" : tensor<2xf32>
      body @then2() captures(%b: tensor<2xf32>) -> (%b: tensor<2xf32>) {
        return %b
      }
      body @else2() captures(%b: tensor<2xf32>) -> (%e: tensor<2xf32>) {
        %e = neg %b : tensor<2xf32>
        return %e
      }
    %p = add %r, %s : tensor<2xf32>
    %y = add %p, %a : tensor<2xf32>
    return %y
  }
}
