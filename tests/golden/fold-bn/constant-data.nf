// RUN: --passes=fold-bn,dce
// The data of the conv are a constant; they stay what they are.
module @case {
  graph @main() -> (%y: tensor<1x2x2x2xf32>) {
    %x = constant dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<1x2x2x2xf32>
    %w = constant dense<[0.5, -1.0, 0.25, 2.0]> : tensor<2x2x1x1xf32>
    %s = constant dense<[1.5, 0.5]> : tensor<2xf32>
    %v = constant dense<[0.9, 1.1]> : tensor<2xf32>
    %c = conv %x, %w "c" : tensor<1x2x2x2xf32>
    %y = batch_norm %c, %s, %s, %s, %v "bn" : tensor<1x2x2x2xf32>
    return %y
  }
}
