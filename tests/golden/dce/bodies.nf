// RUN: --passes=dce
// Dead ops of a body go. Control flow stays, and so does what it captures.
module @case {
  graph @main(%x: tensor<2xf32>, %flag: tensor<bool>) -> (%y: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %r = if %flag captures(%k, %x) "choose" : tensor<2xf32>
      body @then() captures(%k from 0: tensor<2xf32>, %x from 1: tensor<2xf32>) -> (%t: tensor<2xf32>) {
        %unread = neg %k : tensor<2xf32>
        %t = relu %x : tensor<2xf32>
        return %t
      }
      body @else() captures(%x from 1: tensor<2xf32>) -> (%e: tensor<2xf32>) {
        %e = abs %x : tensor<2xf32>
        return %e
      }
    %y = neg %x : tensor<2xf32>
    return %y
  }
}
