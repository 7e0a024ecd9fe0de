// RUN: --passes=fold-bn
// How many channels the flattened image has only the batch norm tells: it does not broadcast, so the division does not
// widen either, and goes into the linear op behind it.
module @case {
  graph @main(%x: tensor<1x1x?x?xf32>) -> (%y: tensor<1x1xf32>, %n: tensor<1x4xf32>) {
    %gamma = constant dense<[4.0, -1.0, 2.0, 0.5]> : tensor<4xf32>
    %beta = constant dense<[0.5, 0.25, 0.0, 1.0]> : tensor<4xf32>
    %mean = constant dense<[1.0, -2.0, 0.0, 0.5]> : tensor<4xf32>
    %var = constant dense<[3.0, 0.0, 1.0, 8.0]> : tensor<4xf32>
    %f = flatten %x "flatten" : tensor<1x?xf32>
    %n = batch_norm %f, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x4xf32>
    %by = constant dense<[2.0, 4.0, -1.0, 0.5]> : tensor<4xf32>
    %d = div %n, %by "div" : tensor<1x4xf32>
    %weight = constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4x1xf32>
    %bias = constant dense<[-1.0]> : tensor<1xf32>
    %y = linear %d, %weight, %bias {matrix = true} "fc" : tensor<1x1xf32>
    return %y, %n
  }
}
