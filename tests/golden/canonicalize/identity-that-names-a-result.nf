// RUN: --passes=canonicalize
// A graph result cannot be a parameter, a constant or another result by its name.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%a: tensor<2xf32>, %b: tensor<2xf32>, %c: tensor<2xf32>, %d: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %a = identity %x : tensor<2xf32>
    %b = identity %k : tensor<2xf32>
    %c = relu %x : tensor<2xf32>
    %d = identity %c : tensor<2xf32>
    return %a, %b, %c, %d
  }
}
