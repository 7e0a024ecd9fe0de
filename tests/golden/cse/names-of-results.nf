// RUN: --passes=cse
// A graph result keeps its name: the earlier op takes it, or both stay.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>, %z: tensor<2xf32>, %k: tensor<2xf32>, %u: tensor<2xf32>) {
    %j = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %k = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %a = relu %x "takes the name" : tensor<2xf32>
    %y = relu %x "gives it" : tensor<2xf32>
    %z = relu %x "a result as well" : tensor<2xf32>
    %u = add %a, %j : tensor<2xf32>
    return %y, %z, %k, %u
  }
}
