// RUN: --passes=fold-bn,dce
// A dense layer works on the last axis at any rank.
module @case {
  graph @main(%x: tensor<?x4x3xf32>) -> (%y: tensor<?x4x2xf32>) {
    %fc.kernel = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<3x2xf32>
    %fc.bias = constant dense<[0.125, -0.5]> : tensor<2xf32>
    %bn.gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %bn.beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %bn.mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %bn.var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = linear %x, %fc.kernel, %fc.bias "fc" : tensor<?x4x2xf32>
    %y = batch_norm %c, %bn.gamma, %bn.beta, %bn.mean, %bn.var {axis = 2, eps = 1.0} "bn" : tensor<?x4x2xf32>
    return %y
  }
}
