// RUN: --passes=fold-bn,dce
// Types of data, weight and bias are certain, and no op has several.
module @case {
  graph @main(%x: tensor<1x2x3x3xf32>, %h: tensor<1x2x3x3xf16>) -> (%y: unknown, %z: unknown) {
    %one = constant dense<[1.0, 2.0]> : tensor<2xf16>
    %zero = constant dense<[0.0, 0.5]> : tensor<2xf16>
    %w = constant dense<[1.0, -1.0, 0.5, 0.25]> : tensor<2x2x1x1xf16>
    %b = constant dense<[1.0, -1.0]> : tensor<2xf32>
    %d = conv %x, %w "data" : unknown
    %y = batch_norm %d, %one, %zero, %zero, %one {eps = 1.0} "n1" : unknown
    %e = conv %h, %w, %b "bias" : unknown
    %z = batch_norm %e, %one, %zero, %zero, %one {eps = 1.0} "n2" : unknown
    return %y, %z
  }
}
