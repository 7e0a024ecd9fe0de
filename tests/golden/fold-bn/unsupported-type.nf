// RUN: --passes=fold-bn,dce
// NO-EVAL: no batch norm on integers
module @case {
  graph @main(%x: tensor<3x2xi32>) -> (%y: tensor<3x2xi32>) {
    %fc.weight = constant dense<[1, 2, 3, 4]> : tensor<2x2xi32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = matmul %x, %fc.weight "fc" : tensor<3x2xi32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<3x2xi32>
    return %y
  }
}
