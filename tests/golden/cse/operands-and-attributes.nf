// RUN: --passes=cse
// Equal kinds, attributes and operands; add and mul in either order. A difference in any of them counts.
module @case {
  graph @main(%x: tensor<2x3xf32>, %k: tensor<2x3xf32>) -> (%y: tensor<2x12xf32>) {
    %a = relu %x "a" : tensor<2x3xf32>
    %b = relu %x "b" : tensor<2x3xf32>
    %p = add %a, %k "p" : tensor<2x3xf32>
    %q = add %k, %b "q" : tensor<2x3xf32>
    %s = sub %p, %k "s" : tensor<2x3xf32>
    %t = sub %k, %q "t" : tensor<2x3xf32>
    %e = softmax %s {axis = 0} "e" : tensor<2x3xf32>
    %f = softmax %s {axis = 1} "f" : tensor<2x3xf32>
    %y = concat %e, %f, %t, %q {axis = 1} "y" : tensor<2x12xf32>
    return %y
  }
}
