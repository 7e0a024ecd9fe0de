// RUN: --passes=const-fold{freeze-inputs}
// With frozen inputs a constant that a caller could replace counts; it stays an argument. Training state never counts.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>, %z: tensor<2xf32>) {
    %fed = constant dense<[1.0, 2.0]> {binding = overridable} : tensor<2xf32>
    %state = constant dense<[3.0, 4.0]> {binding = mutable} : tensor<2xf32>
    %a = neg %fed "a" : tensor<2xf32>
    %b = neg %state "b" : tensor<2xf32>
    %y = add %x, %a "y" : tensor<2xf32>
    %z = add %x, %b "z" : tensor<2xf32>
    return %y, %z
  }
}
