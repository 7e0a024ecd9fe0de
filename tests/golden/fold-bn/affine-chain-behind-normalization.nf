// RUN: --passes=fold-bn,dce
// A layer scale: the rank of the data is certain behind a normalization, too.
module @case {
  graph @main(%x: tensor<1x4x4x3xf32>) -> (%y: tensor<1x4x4x2xf32>) {
    %g = constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
    %fc.weight = constant dense<[0.5, 0.25, 0.0, -0.25, -0.5, -0.75]> : tensor<3x2xf32>
    %scale = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %n = opaque "LayerNormalization" shaped %x, %g "norm" : unknown
    %m = matmul %n, %fc.weight "fc" : unknown
    %y = mul %m, %scale "layer_scale" : tensor<1x4x4x2xf32>
    return %y
  }
}
