// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %conv.weight = constant splat<0.5> : tensor<2x2x3x3xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %half = constant splat<0.5> : tensor<f32>
    %c = conv %x, %conv.weight {pad = [[1, 1], [1, 1]]} "conv" : tensor<1x2x5x5xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x5x5xf32>
    %r = relu %x "act" : tensor<1x2x5x5xf32>
    %a = add %n, %r "first" : tensor<1x2x5x5xf32>
    %h = mul %c, %half "halved" : tensor<1x2x5x5xf32>
    %y = sub %a, %h "second" : tensor<1x2x5x5xf32>
    return %y
  }
}
