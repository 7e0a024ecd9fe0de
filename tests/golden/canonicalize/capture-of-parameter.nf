// RUN: --passes=canonicalize
// A body reads the identity by its name, which the parameter cannot take.
module @case {
  graph @main(%x: tensor<2xf32>, %flag: tensor<bool>) -> (%y: tensor<2xf32>) {
    %i = identity %x : tensor<2xf32>
    %y = if %flag captures(%i) "choose" : tensor<2xf32>
      body @then() captures(%i: tensor<2xf32>) -> (%t: tensor<2xf32>) {
        %t = relu %i : tensor<2xf32>
        return %t
      }
      body @else() captures(%i: tensor<2xf32>) -> (%e: tensor<2xf32>) {
        %e = neg %i : tensor<2xf32>
        return %e
      }
    return %y
  }
}
