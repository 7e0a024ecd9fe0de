// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x4x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<2x3x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x4x4xf32>
    %d = conv %x, %conv.weight "second" : tensor<1x2x4x4xf32>
    %gamma4 = constant dense<[4.0, -1.0, 2.0, 0.5]> : tensor<4xf32>
    %beta4 = constant dense<[0.5, 0.25, 0.0, 1.0]> : tensor<4xf32>
    %mean4 = constant dense<[1.0, -2.0, 0.0, 0.5]> : tensor<4xf32>
    %var4 = constant dense<[3.0, 0.0, 0.0, 3.0]> : tensor<4xf32>
    %s = concat %c, %d {axis = 1} "concat" : tensor<1x4x4x4xf32>
    %y = batch_norm %s, %gamma4, %beta4, %mean4, %var4 {eps = 1.0} "bn" : tensor<1x4x4x4xf32>
    return %y
  }
}
