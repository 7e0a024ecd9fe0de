// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x2x1xf32>) -> (%y: tensor<1x2x2x1xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<2x3x1x1xf32>
    %gamma = constant splat<1.0> : tensor<2x2x1xf32>
    %beta = constant splat<1.0> : tensor<2x2x1xf32>
    %mean = constant splat<1.0> : tensor<2x2x1xf32>
    %var = constant splat<1.0> : tensor<2x2x1xf32>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x2x1xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0, spatial = false} "bn" : tensor<1x2x2x1xf32>
    return %y
  }
}
