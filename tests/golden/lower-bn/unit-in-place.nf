// RUN: --passes=lower-bn{form=unit}
module @case {cannot = ["constant", "create", "change"]} {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %other.mean = constant dense<[0.5, 0.5]> : tensor<2xf32>
    %a = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "own" : tensor<1x2x4x4xf32>
    %r = relu %a "relu" : tensor<1x2x4x4xf32>
    %y = batch_norm %r, %other.mean, none, %other.mean, %other.mean {eps = 1.0} "shared" : tensor<1x2x4x4xf32>
    return %y
  }
}
