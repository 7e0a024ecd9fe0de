// RUN: --passes=fold-bn,dce
module @case {cannot = ["constant", "create", "change", "bias"]} {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x3x3xf32>) {
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %dw = constant dense<[0.5, 0.25, -0.5, 1.0, 0.75, -0.25, 0.125, 0.5]> : tensor<2x1x2x2xf32>
    %pw = constant dense<[0.5, 0.25, -0.25, 0.5]> : tensor<2x2x1x1xf32>
    %b = constant dense<[0.125, -0.5]> : tensor<2xf32>
    %r = relu %x "relu" : tensor<1x2x4x4xf32>
    %n = batch_norm %r, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %d = conv %n, %dw {groups = 2} "depthwise" : tensor<1x2x3x3xf32>
    %y = conv %d, %pw, %b "pointwise" : tensor<1x2x3x3xf32>
    return %y
  }
}
