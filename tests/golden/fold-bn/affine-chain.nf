// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<2x3x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x4x4xf32>
    %s = constant dense<[2.0, -0.5]> : tensor<1x2x1x1xf32>
    %t = constant dense<[1.0, 0.25]> : tensor<2x1x1xf32>
    %m = mul %s, %c "scale" : tensor<1x2x4x4xf32>
    %y = sub %t, %m "shift" : tensor<1x2x4x4xf32>
    return %y
  }
}
