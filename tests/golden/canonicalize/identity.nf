// RUN: --passes=canonicalize
// Readers read the original; the name of a graph result goes to the op that gives it now.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %a = identity %x "first" : tensor<2xf32>
    %b = relu %a "act" : tensor<2xf32>
    %c = identity %b "second" : tensor<2xf32>
    %y = identity %c "third" : tensor<2xf32>
    return %y
  }
}
