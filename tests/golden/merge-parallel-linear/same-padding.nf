// RUN: --passes=merge-parallel-linear
// The extents are certain, and so is where `same` begins.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>) -> (%y: tensor<1x2x3x3xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %a = conv %x, %w3 {strides = [2, 2], pad = same_upper} "a" : tensor<1x2x3x3xf32>
    %b = conv %x, %w1 {strides = [2, 2]} "b" : tensor<1x2x3x3xf32>
    %y = add %a, %b "y" : tensor<1x2x3x3xf32>
    return %y
  }
}
