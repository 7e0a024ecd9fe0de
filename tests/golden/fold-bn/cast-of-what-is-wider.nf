// RUN: --passes=fold-bn,dce
// TOLERANCE: 1e-6
// Casts that change nothing round nothing of the path before the fold either, wherever it is computed in more digits.
module @case {
  graph @main(%x: tensor<1x3xf32>) -> (%y: tensor<1x2xf64>) {
    %gamma = constant dense<[0.625, -0.75, -0.375]> : tensor<3xf32>
    %beta = constant dense<[-0.125, -0.75, 0.1]> : tensor<3xf32>
    %mean = constant dense<[0.5, -0.25, -0.25]> : tensor<3xf32>
    %var = constant dense<[1.0, 1.125, 1.0]> : tensor<3xf32>
    %w = constant dense<[0.1, 0.25, -0.25, 0.25, -0.75, -0.25]> : tensor<3x2xf64>
    %n = batch_norm %x, %gamma, %beta, %mean, %var "bn" : tensor<1x3xf32>
    %same = cast %n {to = f32} "same" : tensor<1x3xf32>
    %wide = cast %same {to = f64} "wide" : tensor<1x3xf64>
    %y = linear %wide, %w "fc" : tensor<1x2xf64>
    return %y
  }
}
