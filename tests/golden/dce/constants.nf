// RUN: --passes=dce
// Unread constants go, unless a caller may feed them or training binds them.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %fixed = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %fed = constant dense<[1.0, 2.0]> {binding = overridable} : tensor<2xf32>
    %trained = constant dense<[1.0, 2.0]> {binding = mutable} : tensor<2xf32>
    %read = constant dense<[3.0, 4.0]> : tensor<2xf32>
    %y = add %x, %read : tensor<2xf32>
    return %y
  }
}
