// RUN: --passes=merge-parallel-linear
// An op that two sums read is told of once.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x5x5xf32>, %z: tensor<1x2x5x5xf32>) {
    %w = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %v = constant dense<[0.5, 0.25, 1.25, -0.5]> : tensor<2x2x1x1xf32>
    %u = constant dense<[1.0, 0.75, -1.25, 0.5]> : tensor<2x2x1x1xf32>
    %both = conv %x, %w, none "both" : tensor<1x2x5x5xf32>
    %a = conv %x, %v, none "a" : tensor<1x2x5x5xf32>
    %b = conv %x, %u, none "b" : tensor<1x2x5x5xf32>
    %y = add %both, %a "y" : tensor<1x2x5x5xf32>
    %z = sub %both, %b "z" : tensor<1x2x5x5xf32>
    return %y, %z
  }
}
