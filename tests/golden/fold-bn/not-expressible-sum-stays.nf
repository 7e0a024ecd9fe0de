// RUN: --passes=fold-bn,dce
module @case {cannot = ["remove"]} {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>, %z: tensor<1x2x5x5xf32>) {
    %conv.weight = constant splat<0.5> : tensor<2x2x3x3xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %layer_scale = constant dense<[0.5, 2.0]> : tensor<2x1x1xf32>
    %c = conv %x, %conv.weight {pad = [[1, 1], [1, 1]]} "conv" : tensor<1x2x5x5xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x5x5xf32>
    %y = add %n, %c "sum" : tensor<1x2x5x5xf32>
    %d = conv %x, %conv.weight {pad = [[1, 1], [1, 1]]} "other" : tensor<1x2x5x5xf32>
    %m = batch_norm %d, %gamma, %beta, %mean, %var {eps = 1.0} "own" : tensor<1x2x5x5xf32>
    %z = mul %m, %layer_scale "scale" : tensor<1x2x5x5xf32>
    return %y, %z
  }
}
