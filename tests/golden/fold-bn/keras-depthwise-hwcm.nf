// RUN: --passes=fold-bn,dce
// Output channel c·2 + m of an HWCM kernel with multiplier 2; a bias of four appears.
module @case {
  graph @main(%x: tensor<?x4x4x2xf32>) -> (%y: tensor<?x4x2x4xf32>) {
    %dw.kernel = constant dense<[-0.75, -0.625, -0.5, -0.375, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375, 0.5, 0.625]> : tensor<1x3x2x2xf32>
    %bn.gamma = constant dense<[4.0, -1.0, 0.5, 8.0]> : tensor<4xf32>
    %bn.beta = constant dense<[0.5, 0.25, -1.0, 0.0]> : tensor<4xf32>
    %bn.mean = constant dense<[1.0, -2.0, 0.5, 3.0]> : tensor<4xf32>
    %bn.var = constant dense<[3.0, 0.0, 15.0, 3.0]> : tensor<4xf32>
    %c = conv %x, %dw.kernel {x = NHWC, w = HWCM} "dw" : tensor<?x4x2x4xf32>
    %y = batch_norm %c, %bn.gamma, %bn.beta, %bn.mean, %bn.var {axis = 3, eps = 1.0} "bn" : tensor<?x4x2x4xf32>
    return %y
  }
}
