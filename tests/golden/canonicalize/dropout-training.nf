// RUN: --passes=canonicalize
// NO-EVAL: random
module @case {
  graph @main(%x: tensor<4xf32>) -> (%y: tensor<4xf32>) {
    %a = dropout %x {training = true} : tensor<4xf32>
    %y = relu %a : tensor<4xf32>
    return %y
  }
}
