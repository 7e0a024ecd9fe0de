// RUN: --passes=fold-bn,dce
// One constant is data and β: a sample of other data would change β with it.
module @case {
  graph @main() -> (%y: tensor<2xf32>) {
    %w = constant dense<[0.5, -1.0, 0.25, 2.0]> : tensor<2x2xf32>
    %s = constant dense<[1.5, 0.5]> : tensor<2xf32>
    %v = constant dense<[0.9, 1.1]> : tensor<2xf32>
    %c = linear %s, %w "c" : tensor<2xf32>
    %y = batch_norm %c, %v, %s, %v, %v {axis = 0} "bn" : tensor<2xf32>
    return %y
  }
}
