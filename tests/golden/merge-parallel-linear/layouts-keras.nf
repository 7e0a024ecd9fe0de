// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<1x5x5x2xf32>) -> (%y: tensor<1x5x5x2xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25, 0.25, -0.75, 1.0, 0.0, -1.0]> : tensor<3x3x1x1xf32>, broadcast[3, 3, 2, 1]) : tensor<3x3x2x1xf32>
    %w1 = constant dense<[-0.5, 1.25]> : tensor<1x1x2x1xf32>
    %a = conv %x, %w3 {x = NHWC, w = HWCM, pad = same_upper} "a" : tensor<1x5x5x2xf32>
    %b = conv %x, %w1 {x = NHWC, w = HWCM, pad = same_lower} "b" : tensor<1x5x5x2xf32>
    %y = add %a, %b "y" : tensor<1x5x5x2xf32>
    return %y
  }
}
