// RUN: --passes=infer-shapes
// Behind a custom op declarations stay; the element type of a cast is certain, and an extent that something else decides.
module @case {
  graph @main(%x: tensor<2x3xf32>, %i: tensor<?xi64>) -> (%y: tensor<*xf16>, %z: tensor<?x3xf32>) {
    %c = opaque "org.example"::"Swirl" %x "c" : tensor<2x7xf32>
    %r = relu %c "r" : tensor<2x7xf32>
    %h = cast %r {to = f16} "h" : unknown
    %k = constant splat<1.0> : tensor<7xf16>
    %a = add %h, %k "a" : unknown
    %y = neg %a "y" : tensor<*xf16>
    %g = gather %x, %i "g" : unknown
    %z = abs %g "z" : tensor<?x3xf32>
    return %y, %z
  }
}
