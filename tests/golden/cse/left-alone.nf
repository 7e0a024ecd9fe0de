// RUN: --passes=cse
// Random, custom and stateful ops, ops with bodies, and values that carry an annotation.
module @case {
  graph @main(%x: tensor<2x3xf32>, %flag: tensor<bool>) -> (%y: tensor<2x3xf32>) {
    %r1 = opaque "RandomNormalLike" %x "r1" : tensor<2x3xf32>
    %r2 = opaque "RandomNormalLike" %x "r2" : tensor<2x3xf32>
    %c1 = opaque "org.example"::"Swirl" %x "c1" : tensor<2x3xf32>
    %c2 = opaque "org.example"::"Swirl" %x "c2" : tensor<2x3xf32>
    %i1 = if %flag captures(%x) "i1" : tensor<2x3xf32>
      body @then1() captures(%x from 0: tensor<2x3xf32>) -> (%t: tensor<2x3xf32>) {
        %t = neg %x : tensor<2x3xf32>
        return %t
      }
      body @else1() captures(%x from 0: tensor<2x3xf32>) -> (%e: tensor<2x3xf32>) {
        %e = abs %x : tensor<2x3xf32>
        return %e
      }
    %i2 = if %flag captures(%x) "i2" : tensor<2x3xf32>
      body @then2() captures(%x from 0: tensor<2x3xf32>) -> (%t: tensor<2x3xf32>) {
        %a = neg %x : tensor<2x3xf32>
        %b = neg %x : tensor<2x3xf32>
        %t = sub %a, %b : tensor<2x3xf32>
        return %t
      }
      body @else2() captures(%x from 0: tensor<2x3xf32>) -> (%e: tensor<2x3xf32>) {
        %e = abs %x : tensor<2x3xf32>
        return %e
      }
    %s1 = add %r1, %r2 "s1" : tensor<2x3xf32>
    %s2 = add %c1, %c2 "s2" : tensor<2x3xf32>
    %s3 = add %i1, %i2 "s3" : tensor<2x3xf32>
    %s4 = add %s1, %s2 "s4" : tensor<2x3xf32>
    %y = add %s3, %s4 "y" : tensor<2x3xf32>
    return %y
  }
}
