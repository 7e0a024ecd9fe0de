// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x1x2x2xf16>) -> (%y: tensor<1x2x2x2xf16>) {
    %conv.weight = constant dense<[1.0, 300.0]> : tensor<2x1x1x1xf16>
    %gamma = constant dense<[1.0, 300.0]> : tensor<2xf16>
    %beta = constant splat<0.0> : tensor<2xf16>
    %mean = constant splat<0.0> : tensor<2xf16>
    %var = constant splat<0.0> : tensor<2xf16>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x2x2xf16>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x2x2xf16>
    return %y
  }
}
