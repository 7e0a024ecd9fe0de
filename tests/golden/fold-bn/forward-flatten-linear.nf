// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x3xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, -0.25, 1.0]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %f = flatten %n "flat" : tensor<1x32xf32>
    %fc.weight = constant splat<0.25> : tensor<32x3xf32>
    %fc.bias = constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
    %y = linear %f, %fc.weight, %fc.bias {matrix = true} "fc" : tensor<1x3xf32>
    return %y
  }
}
