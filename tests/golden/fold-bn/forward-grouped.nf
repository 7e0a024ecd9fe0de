// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, -0.25, 1.0]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %wg = constant dense<[2.0, -1.0]> : tensor<2x1x1x1xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %y = conv %n, %wg {groups = 2} "depthwise" : tensor<1x2x4x4xf32>
    return %y
  }
}
