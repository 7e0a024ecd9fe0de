// RUN: --passes=fold-bn
// Who asks only for the shape of the batch norm asks it of the data: nothing of the branch is left.
module @case {
  graph @main(%x: tensor<2x1x4x3xf32>) -> (%y: tensor<2x1x4x3xf32>, %s: tensor<4xi64>) {
    %conv.weight = constant splat<0.5> : tensor<1x1x3x3xf32>
    %conv.bias = constant dense<[-0.5]> : tensor<1xf32>
    %gamma = constant dense<[4.0]> : tensor<1xf32>
    %beta = constant dense<[0.5]> : tensor<1xf32>
    %mean = constant dense<[1.0]> : tensor<1xf32>
    %var = constant dense<[3.0]> : tensor<1xf32>
    %c = conv %x, %conv.weight, %conv.bias {pad = [[1, 1], [1, 1]]} "conv" : tensor<2x1x4x3xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<2x1x4x3xf32>
    %i = identity %n : tensor<2x1x4x3xf32>
    %y = add %c, %i "sum" : tensor<2x1x4x3xf32>
    %s = shape %n : tensor<4xi64>
    return %y, %s
  }
}
