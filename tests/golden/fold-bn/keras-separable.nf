// RUN: --passes=fold-bn,dce
// Two ops of one layer: the pointwise half takes the fold, the depthwise half stays as it is.
module @case {
  graph @main(%x: tensor<?x4x4x2xf32>) -> (%y: tensor<?x3x3x2xf32>) {
    %sep.depthwise = constant dense<[-0.5, -0.375, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375]> : tensor<2x2x2x1xf32>
    %sep.pointwise = constant dense<[0.5, 0.25, 0.0, -0.25]> : tensor<1x1x2x2xf32>
    %sep.bias = constant dense<[0.125, -0.5]> : tensor<2xf32>
    %bn.gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %bn.beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %bn.mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %bn.var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %d = conv %x, %sep.depthwise {x = NHWC, w = HWCM} "sep" : tensor<?x3x3x2xf32>
    %c = conv %d, %sep.pointwise, %sep.bias {x = NHWC, w = HWIO} "sep" : tensor<?x3x3x2xf32>
    %y = batch_norm %c, %bn.gamma, %bn.beta, %bn.mean, %bn.var {axis = 3, eps = 1.0} "bn" : tensor<?x3x3x2xf32>
    return %y
  }
}
