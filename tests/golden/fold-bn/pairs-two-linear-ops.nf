// RUN: --passes=fold-bn{pairs="left:bn|right:bn"},dce
// A batch norm in two pairs goes into both linear ops.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %left.weight = constant dense<[0.5, 0.25, -0.25, 1.0]> : tensor<2x2x1x1xf32>
    %right.weight = constant dense<[1.0, 0.5, -0.75, 0.25]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %n = batch_norm %x, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %a = conv %n, %left.weight "left" : tensor<1x2x4x4xf32>
    %b = conv %n, %right.weight "right" : tensor<1x2x4x4xf32>
    %y = mul %a, %b "product" : tensor<1x2x4x4xf32>
    return %y
  }
}
