// RUN: --passes=fold-bn,dce
// As many rows as channels: the numbers fit, the axis does not.
module @case {
  graph @main(%x: tensor<?x2x5x2xf32>) -> (%y: tensor<?x2x5x2xf32>) {
    %conv.kernel = constant dense<[0.5, 0.25, 0.0, -0.25]> : tensor<1x1x2x2xf32>
    %conv.bias = constant dense<[0.125, -0.5]> : tensor<2xf32>
    %bn.gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %bn.beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %bn.mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %bn.var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.kernel, %conv.bias {x = NHWC, w = HWIO} "conv" : tensor<?x2x5x2xf32>
    %y = batch_norm %c, %bn.gamma, %bn.beta, %bn.mean, %bn.var {axis = 1, eps = 1.0} "bn" : tensor<?x2x5x2xf32>
    return %y
  }
}
