// RUN: --passes=fold-bn,dce
// One constant is data and weight: a sample of other data would change the weight with it.
module @case {
  graph @main() -> (%y: tensor<2x2xf32>) {
    %w = constant dense<[0.5, -1.0, 0.25, 2.0]> : tensor<2x2xf32>
    %s = constant dense<[1.5, 0.5]> : tensor<2xf32>
    %v = constant dense<[0.9, 1.1]> : tensor<2xf32>
    %c = linear %w, %w {trans_w = true, matrix = true} "c" : tensor<2x2xf32>
    %y = batch_norm %c, %s, %s, %s, %v "bn" : tensor<2x2xf32>
    return %y
  }
}
