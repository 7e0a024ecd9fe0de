// RUN: --passes=fold-bn,dce
// What interpolates with weights that sum to 1 lets both pass.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x8x8xf32>) {
    %w = constant dense<[1.0, 2.0, 3.0, -4.0]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %r = relu %x : tensor<1x2x4x4xf32>
    %n = batch_norm %r, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %scales = constant dense<[1.0, 1.0, 2.0, 2.0]> : tensor<4xf32>
    %u = resize %n, none, %scales {mode = "linear"} "up" : tensor<1x2x8x8xf32>
    %y = conv %u, %w "conv" : tensor<1x2x8x8xf32>
    return %y
  }
}
