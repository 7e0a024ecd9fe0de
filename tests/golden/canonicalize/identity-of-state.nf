// RUN: --passes=canonicalize
// The identity takes the state's value at one time.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> {binding = mutable} : tensor<2xf32>
    %a = identity %k : tensor<2xf32>
    %y = add %x, %a : tensor<2xf32>
    return %y
  }
}
