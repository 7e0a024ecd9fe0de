// RUN: --passes=fold-bn,dce
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<2x3x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.weight "conv" : tensor<1x2x4x4xf32>
    %one = constant splat<1.0> : tensor<f32>
    %v = add %var, %one "plus-eps" : tensor<2xf32>
    %q = sqrt %v "root" : tensor<2xf32>
    %i = div %gamma, %q "factor" : tensor<2xf32>
    %i4 = unsqueeze %i {axes = [1, 2]} "factor4" : tensor<2x1x1xf32>
    %m4 = unsqueeze %mean {axes = [1, 2]} "mean4" : tensor<2x1x1xf32>
    %b4 = unsqueeze %beta {axes = [1, 2]} "beta4" : tensor<2x1x1xf32>
    %d = sub %c, %m4 "centred" : tensor<1x2x4x4xf32>
    %m = mul %d, %i4 "scaled" : tensor<1x2x4x4xf32>
    %y = add %m, %b4 "shifted" : tensor<1x2x4x4xf32>
    return %y
  }
}
