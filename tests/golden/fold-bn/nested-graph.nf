// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<2x3x1x1xf32>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x4x4xf32>
    %y = opaque "torch::higher_order.cond" norm("nested-graph") %c "bn" : tensor<1x2x4x4xf32>
    return %y
  }
}
