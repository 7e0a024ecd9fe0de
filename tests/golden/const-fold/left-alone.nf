// RUN: --passes=const-fold
// A caller may replace %k, %q is quantized, %r is a result, and the random op gives something else at every run.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>, %r: tensor<2xf32>) {
    %k = constant dense<[1.0, 2.0]> {binding = overridable} : tensor<2xf32>
    %a = neg %k : tensor<2xf32>
    %i = constant dense<[3, 4]> : tensor<2xi8>
    %s = constant dense<0.5> : tensor<f32>
    %q = dequantize %i, %s : tensor<2xf32>
    %b = neg %q : tensor<2xf32>
    %u = opaque "RandomNormal" : tensor<2xf32>
    %c = neg %u : tensor<2xf32>
    %o = constant dense<[1.0, 2.0]> : tensor<2xf32>
    %r = neg %o : tensor<2xf32>
    %d = add %a, %b : tensor<2xf32>
    %e = add %c, %d : tensor<2xf32>
    %y = add %x, %e : tensor<2xf32>
    return %y, %r
  }
}
