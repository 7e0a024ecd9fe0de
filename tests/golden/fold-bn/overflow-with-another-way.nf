// RUN: --passes=fold-bn,dce
// The weight behind would overflow, which is found out once the path is sampled; the one ahead takes the batch norm.
module @case {
  graph @main(%x: tensor<1x2x2x2xf32>) -> (%y: tensor<1x2x2x2xf32>) {
    %w = constant dense<[3e38, 1.0, 1.0, 1.0]> : tensor<2x2x1x1xf32>
    %v = constant dense<[0.1, 0.2, 0.3, 0.4]> : tensor<2x2x1x1xf32>
    %s = constant dense<[1.75, 1.0]> : tensor<2xf32>
    %one = constant dense<[1.0, 1.0]> : tensor<2xf32>
    %c = conv %x, %w "c" : tensor<1x2x2x2xf32>
    %n = batch_norm %c, %s, %one, %one, %one {eps = 0.0} "bn" : tensor<1x2x2x2xf32>
    %y = conv %n, %v "d" : tensor<1x2x2x2xf32>
    return %y
  }
}
