// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x4x4xf64>) -> (%y: tensor<1x2x4x4xf64>) {
    %conv.weight = constant dense<[0.1, 0.7999999999999999, 1.5, 2.1999999999999997, 2.9, 3.6]> : tensor<2x3x1x1xf64>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf64>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf64>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf64>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf64>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x4x4xf64>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf64>
    return %y
  }
}
