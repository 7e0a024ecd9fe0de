// RUN: --passes=merge-parallel-linear
// A name that callers or bodies know goes on to what has none of its own; where that is not so, the sum stays.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>, %p: tensor<1x2x5x5xf32>, %flag: tensor<bool>) -> (%both: tensor<1x2x5x5xf32>, %y: tensor<1x2x5x5xf32>, %q: tensor<1x2x5x5xf32>, %z: tensor<1x2x5x5xf32>) {
    %w = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %zero = constant dense<0.0> : tensor<f32>
    %both = conv %x, %w, none "both" : tensor<1x2x5x5xf32>
    %y = sub %both, %zero "result of a result" : tensor<1x2x5x5xf32>
    %v = conv %p, %w, none "v" : tensor<1x2x5x5xf32>
    %q = add %v, %zero "result" : tensor<1x2x5x5xf32>
    %r = relu %v "r" : tensor<1x2x5x5xf32>
    %a = conv %r, %w, none "a" : tensor<1x2x5x5xf32>
    %s = add %zero, %a "captured beside its source" : tensor<1x2x5x5xf32>
    %b = conv %a, %w, none "b" : tensor<1x2x5x5xf32>
    %t = sub %b, %zero "captured" : tensor<1x2x5x5xf32>
    %z = if %flag captures(%s, %a, %t) "choose" : tensor<1x2x5x5xf32>
      body @then() captures(%s from 0: tensor<1x2x5x5xf32>, %a from 1: tensor<1x2x5x5xf32>) -> (%m: tensor<1x2x5x5xf32>) {
        %m = sub %s, %a "m" : tensor<1x2x5x5xf32>
        return %m
      }
      body @else() captures(%t from 2: tensor<1x2x5x5xf32>) -> (%n: tensor<1x2x5x5xf32>) {
        %n = relu %t "n" : tensor<1x2x5x5xf32>
        return %n
      }
    return %both, %y, %q, %z
  }
}
