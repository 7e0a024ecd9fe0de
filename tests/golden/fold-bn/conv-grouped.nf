// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x4x3x3xf32>) -> (%y: tensor<1x6x3x3xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75, -1.0, -1.25, -1.5, -1.75, -2.0, -2.25]> : tensor<6x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0, 2.0, 0.5, -3.0, 1.0]> : tensor<6xf32>
    %beta = constant dense<[0.5, 0.25, -1.0, 0.0, 1.5, -0.5]> : tensor<6xf32>
    %mean = constant dense<[1.0, -2.0, 0.5, 3.0, -1.0, 0.25]> : tensor<6xf32>
    %var = constant dense<[3.0, 0.0, 3.0, 15.0, 8.0, 0.0]> : tensor<6xf32>
    %c = conv %x, %conv.weight {groups = 2} "conv" : tensor<1x6x3x3xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x6x3x3xf32>
    return %y
  }
}
