// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x5xf32>) -> (%y: tensor<1x2x3xf32>) {
    %conv.weight = constant dense<[0.5, 0.375, 0.25, 0.125, 0.0, -0.125, -0.25, -0.375, -0.5, -0.625, -0.75, -0.875, -1.0, -1.125, -1.25, -1.375, -1.5, -1.625]> : tensor<2x3x3xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.weight {x = NCW, w = OIW} "conv" : tensor<1x2x3xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x3xf32>
    return %y
  }
}
