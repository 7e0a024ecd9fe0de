// RUN: --passes=fold-bn{skip=first},dce
// The second could go into the convolution only together with the first.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %stem.weight = constant dense<[0.5, 0.25, -0.25, 1.0]> : tensor<2x2x1x1xf32>
    %head.weight = constant dense<[1.0, 0.5, -0.75, 0.25]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %stem.weight "stem" : tensor<1x2x4x4xf32>
    %n = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "first" : tensor<1x2x4x4xf32>
    %y = batch_norm %n, %gamma, %beta, %mean, %var {eps = 1.0} "second" : tensor<1x2x4x4xf32>
    return %y
  }
}
