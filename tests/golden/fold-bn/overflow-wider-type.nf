// RUN: --passes=fold-bn,dce
// The numbers of the case overflow, in f32.
module @case {
  graph @main(%x: tensor<1x1x2x2xf32>) -> (%y: tensor<1x2x2x2xf32>) {
    %conv.weight = constant dense<[1.0, 300.0]> : tensor<2x1x1x1xf32>
    %gamma = constant dense<[1.0, 300.0]> : tensor<2xf32>
    %beta = constant splat<0.0> : tensor<2xf32>
    %mean = constant splat<0.0> : tensor<2xf32>
    %var = constant splat<0.0> : tensor<2xf32>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x2x2xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x2x2xf32>
    return %y
  }
}
