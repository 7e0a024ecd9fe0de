// RUN: --passes=fold-bn,dce
// TOLERANCE: 2e-3
// One reader of the batch norm takes it in with elements of f32, the other with such of f16: how far each may be off differs.
module @case {
  graph @main(%x: tensor<1x2x1x1xf16>) -> (%y: tensor<1x2x1x1xf32>, %z: tensor<1x2x1x1xf16>) {
    %gamma = constant dense<[1.1, 0.7]> : tensor<2xf16>
    %beta = constant dense<[0.3, -0.9]> : tensor<2xf16>
    %mean = constant dense<[0.1, 0.2]> : tensor<2xf16>
    %var = constant dense<[1.3, 0.6]> : tensor<2xf16>
    %v = constant dense<[0.1, 0.2, 0.3, 0.4]> : tensor<2x2x1x1xf32>
    %w = constant dense<[0.1, 0.2, 0.3, 0.4]> : tensor<2x2x1x1xf16>
    %n = batch_norm %x, %gamma, %beta, %mean, %var "bn" : tensor<1x2x1x1xf16>
    %wide = cast %n {to = f32} "cast" : tensor<1x2x1x1xf32>
    %y = conv %wide, %v "wide" : tensor<1x2x1x1xf32>
    %z = conv %n, %w "narrow" : tensor<1x2x1x1xf16>
    return %y, %z
  }
}
