// RUN: --passes=canonicalize
// What a body reads keeps its name; what a body captures has a name of its own in it.
module @case {
  graph @main(%x: tensor<2xf32>, %flag: tensor<bool>) -> (%y: tensor<2xf32>) {
    %c = relu %x "outer" : tensor<2xf32>
    %i = identity %c "read in a body" : tensor<2xf32>
    %r = if %flag captures(%i, %x) "choose" : tensor<2xf32>
      body @then() captures(%i from 0: tensor<2xf32>) -> (%t: tensor<2xf32>) {
        %p = identity %i "of a capture" : tensor<2xf32>
        %q = relu %p "inner" : tensor<2xf32>
        %unread = neg %q : tensor<2xf32>
        %t = identity %q "result" : tensor<2xf32>
        return %t
      }
      body @else() captures(%x from 1: tensor<2xf32>) -> (%e: tensor<2xf32>) {
        %e = identity %x "stays" : tensor<2xf32>
        return %e
      }
    %y = neg %r : tensor<2xf32>
    return %y
  }
}
