// RUN: --passes=fold-bn,merge-parallel-linear,dce
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %g = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %e = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %m = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %v = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %a = conv %x, %w3 {pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
    %abn = batch_norm %a, %g, %e, %m, %v {eps = 1.0} "abn" : tensor<1x2x5x5xf32>
    %b = conv %x, %w1  "b" : tensor<1x2x5x5xf32>
    %bbn = batch_norm %b, %g, %e, %m, %v {eps = 1.0} "bbn" : tensor<1x2x5x5xf32>
    %ibn = batch_norm %x, %g, %e, %m, %v {eps = 1.0} "ibn" : tensor<1x2x5x5xf32>
    %s = add %abn, %bbn "s" : tensor<1x2x5x5xf32>
    %y = add %s, %ibn "y" : tensor<1x2x5x5xf32>
    return %y
  }
}
