// RUN: --passes=fold-bn,dce
// The factor is harmless in most models; the path is sampled before any element of the weight was looked at for overflow.
module @case {
  graph @main(%x: tensor<1x2x2x2xf32>) -> (%y: tensor<1x2x2x2xf32>) {
    %w = constant dense<[3e38, 1.0, 1.0, 1.0]> : tensor<2x2x1x1xf32>
    %s = constant dense<[1.75, 1.0]> : tensor<2xf32>
    %one = constant dense<[1.0, 1.0]> : tensor<2xf32>
    %c = conv %x, %w "c" : tensor<1x2x2x2xf32>
    %y = batch_norm %c, %s, %one, %one, %one {eps = 0.0} "bn" : tensor<1x2x2x2xf32>
    return %y
  }
}
