// RUN: --passes=fold-bn,dce
// The last axis of an HWIO kernel is the output: it is the one that is scaled.
module @case {
  graph @main(%x: tensor<?x5x5x2xf32>) -> (%y: tensor<?x5x5x2xf32>) {
    %conv.kernel = constant dense<[-1.0, -0.875, -0.75, -0.625, -0.5, -0.375, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]> : tensor<2x2x2x2xf32>
    %conv.bias = constant dense<[0.125, -0.5]> : tensor<2xf32>
    %bn.gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %bn.beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %bn.mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %bn.var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.kernel, %conv.bias {x = NHWC, w = HWIO, pad = same_upper} "conv" : tensor<?x5x5x2xf32>
    %y = batch_norm %c, %bn.gamma, %bn.beta, %bn.mean, %bn.var {axis = 3, eps = 1.0} "bn" : tensor<?x5x5x2xf32>
    return %y
  }
}
