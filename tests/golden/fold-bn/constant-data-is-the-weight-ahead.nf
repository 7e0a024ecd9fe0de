// RUN: --passes=fold-bn,dce
// What the batch norm reads is the weight of the op that reads the batch norm: no sample of the data alone can be made.
module @case {
  graph @main() -> (%y: tensor<1x1x1x1xf32>, %z: tensor<1x1x1x1xf32>) {
    %w = constant dense<[1.25]> : tensor<1x1x1x1xf32>
    %one = constant dense<[1.0]> : tensor<1xf32>
    %n = batch_norm %w, %one, %one, %one, %one "as it is" : tensor<1x1x1x1xf32>
    %y = conv %n, %w, %one "c" : tensor<1x1x1x1xf32>
    %v = transpose %w {perm = [1, 0, 2, 3]} "t" : tensor<1x1x1x1xf32>
    %m = batch_norm %w, %one, %one, %one, %one "transposed" : tensor<1x1x1x1xf32>
    %z = conv %m, %v, %one "d" : tensor<1x1x1x1xf32>
    return %y, %z
  }
}
