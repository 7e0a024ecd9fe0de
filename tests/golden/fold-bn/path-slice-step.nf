// RUN: --passes=fold-bn,dce
// Every position that is not taken may be anything.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %w = constant dense<[1.0, 2.0, 3.0, -4.0]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %w4 = constant dense<[1.0, 2.0, 3.0, -4.0, 0.5, 0.25, -1.0, 1.5]> : tensor<4x2x1x1xf32>
    %from = constant dense<[-1]> : tensor<1xi64>
    %to = constant dense<[-100]> : tensor<1xi64>
    %axis = constant dense<[1]> : tensor<1xi64>
    %step = constant dense<[-2]> : tensor<1xi64>
    %c = conv %x, %w4 "conv" : tensor<1x4x4x4xf32>
    %s = slice %c, %from, %to, %axis, %step "cut" : tensor<1x2x4x4xf32>
    %y = batch_norm %s, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    return %y
  }
}
