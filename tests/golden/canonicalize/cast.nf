// RUN: --passes=canonicalize
// The element type of a parameter is certain, and what follows from it.
module @case {
  graph @main(%x: tensor<2xf32>, %like: tensor<1xf32>) -> (%y: tensor<2xf32>) {
    %a = cast %x {to = f32} : tensor<2xf32>
    %b = relu %a : tensor<2xf32>
    %c = cast_like %b, %like : tensor<2xf32>
    %d = cast %c {to = f16} : tensor<2xf16>
    %e = cast %d {to = f16} : tensor<2xf16>
    %f = cast %e {to = f32} : tensor<2xf32>
    %y = neg %f : tensor<2xf32>
    return %y
  }
}
