// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x4x4x3xf32>) -> (%y: tensor<1x4x4x2xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<1x1x3x2xf32>
    %c = conv %x, %conv.weight {x = NHWC, w = HWIO} "conv" : tensor<1x4x4x2xf32>
    %y = opaque "keras::BatchNormalization" pure shaped norm("training-argument") %c "bn" : tensor<1x4x4x2xf32>
    return %y
  }
}
