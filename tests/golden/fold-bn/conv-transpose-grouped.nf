// RUN: --passes=fold-bn,dce
// Output channel (c / 2) * 3 + m: the group is on the input axis of the kernel.
module @case {
  graph @main(%x: tensor<1x4x2x2xf32>) -> (%y: tensor<1x6x3x3xf32>) {
    %up.weight = constant dense<[0.5, 0.4375, 0.375, 0.3125, 0.25, 0.1875, 0.125, 0.0625, 0.0, -0.0625, -0.125, -0.1875, -0.25, -0.3125, -0.375, -0.4375, -0.5, -0.5625, -0.625, -0.6875, -0.75, -0.8125, -0.875, -0.9375, -1.0, -1.0625, -1.125, -1.1875, -1.25, -1.3125, -1.375, -1.4375, -1.5, -1.5625, -1.625, -1.6875, -1.75, -1.8125, -1.875, -1.9375, -2.0, -2.0625, -2.125, -2.1875, -2.25, -2.3125, -2.375, -2.4375]> : tensor<4x3x2x2xf32>
    %gamma = constant dense<[4.0, -1.0, 2.0, 0.5, -3.0, 1.0]> : tensor<6xf32>
    %beta = constant dense<[0.5, 0.25, -1.0, 0.0, 1.5, -0.5]> : tensor<6xf32>
    %mean = constant dense<[1.0, -2.0, 0.5, 3.0, -1.0, 0.25]> : tensor<6xf32>
    %var = constant dense<[3.0, 0.0, 3.0, 15.0, 8.0, 0.0]> : tensor<6xf32>
    %c = conv_transpose %x, %up.weight {groups = 2} "up" : tensor<1x6x3x3xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x6x3x3xf32>
    return %y
  }
}
