// RUN: --passes=fixpoint(fold-bn,merge-parallel-linear,dce)
// A sum cannot be subtracted from a batch norm that goes into one of its terms; the convolution that it becomes can.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %a = conv %x, %w3, none {pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1, none "b" : tensor<1x2x5x5xf32>
    %s = add %a, %b "s" : tensor<1x2x5x5xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x5x5xf32>
    %y = sub %n, %s "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
