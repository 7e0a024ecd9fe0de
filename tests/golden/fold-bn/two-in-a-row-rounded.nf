// RUN: --passes=fold-bn,dce
// Between the two folds the weights are rounded: the certificate of the second must not blame it for that.
module @case {
  graph @main(%x: tensor<2x1xf32>) -> (%y: tensor<2x4xf32>) {
    %fc.weight = constant dense<[-0.375, 0.625, 1.0, 0.125]> : tensor<4x1xf32>
    %gamma1 = constant dense<[0.125, 0.5, -0.25, -0.875]> : tensor<4xf32>
    %beta1 = constant dense<[-0.75, 0.625, -1.0, -0.375]> : tensor<4xf32>
    %mean1 = constant dense<[-1.0, -0.5, 0.625, 0.5]> : tensor<4xf32>
    %var1 = constant dense<[1.25, 0.625, 1.0, 0.375]> : tensor<4xf32>
    %beta2 = constant dense<[-1.0, -0.625, 0.25, -0.875]> : tensor<4xf32>
    %mean2 = constant dense<[-0.875, -0.625, 0.875, 0.125]> : tensor<4xf32>
    %var2 = constant dense<[0.25, 1.125, 0.875, 1.125]> : tensor<4xf32>
    %c = linear %x, %fc.weight {trans_w = true, matrix = true} "fc" : tensor<2x4xf32>
    %a = batch_norm %c, %gamma1, %beta1, %mean1, %var1 "bn1" : tensor<2x4xf32>
    %y = batch_norm %a, none, %beta2, %mean2, %var2 "bn2" : tensor<2x4xf32>
    return %y
  }
}
