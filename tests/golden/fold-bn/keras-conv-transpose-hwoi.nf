// RUN: --passes=fold-bn,dce
// The last axis but one of an HWOI kernel is the output.
module @case {
  graph @main(%x: tensor<?x3x3x3xf32>) -> (%y: tensor<?x3x6x2xf32>) {
    %up.kernel = constant dense<[-0.75, -0.625, -0.5, -0.375, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375, 0.5, 0.625]> : tensor<1x2x2x3xf32>
    %bn.gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %bn.beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %bn.mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %bn.var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv_transpose %x, %up.kernel {x = NHWC, w = HWOI, strides = [1, 2]} "up" : tensor<?x3x6x2xf32>
    %y = batch_norm %c, %bn.gamma, %bn.beta, %bn.mean, %bn.var {axis = 3, eps = 1.0} "bn" : tensor<?x3x6x2xf32>
    return %y
  }
}
