// RUN: --passes=cse
// A result of the graph keeps its name: the first takes it over, or, where both are results, both stay and share the readers.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%b: tensor<2xf32>, %c: tensor<2xf32>, %d: tensor<2xf32>, %f: tensor<2xf32>) {
    %a = relu %x "a" : tensor<2xf32>
    %b = relu %x "b" : tensor<2xf32>
    %c = neg %a "c" : tensor<2xf32>
    %d = neg %b "d" : tensor<2xf32>
    %e = abs %c "e" : tensor<2xf32>
    %g = abs %d "g" : tensor<2xf32>
    %f = add %e, %g "f" : tensor<2xf32>
    return %b, %c, %d, %f
  }
}
