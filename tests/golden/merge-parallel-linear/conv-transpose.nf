// RUN: --passes=merge-parallel-linear
module @case {
  graph @main(%x: tensor<1x2x2x2xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %w = constant dense<[-1.25, 0.5, -0.5, 1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25, 0.25]> : tensor<2x2x2x2xf32>
    %v = constant dense<[-0.5, 1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25, 0.25, -0.75, 1.0]> : tensor<2x2x2x2xf32>
    %a = conv_transpose %x, %w {strides = [2, 2]} "a" : tensor<1x2x4x4xf32>
    %b = conv_transpose %x, %v {strides = [2, 2]} "b" : tensor<1x2x4x4xf32>
    %y = add %a, %b "y" : tensor<1x2x4x4xf32>
    return %y
  }
}
