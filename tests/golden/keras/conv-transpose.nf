// RUN: --passes=fold-bn,dce
// NO-EVAL: the weights are absent
// What tests/models/keras/conv_transpose.k2.json becomes; crates/frontends/tests/keras compares.
module @conv_transpose {source = "keras", generation = 2, cannot = ["create", "constant", "change"], keras_version = "2.21.0"} {
  graph @main(%image "image": tensor<?x8x8x6xf32>, %line "line": tensor<?x10x4xf32>) -> (%batch_normalization_1: tensor<?x32x32x4xf32>, %batch_normalization_2: tensor<?x21x5xf32>) {
    %"conv2d_transpose/kernel" = constant absent : tensor<3x3x10x6xf32> "conv2d_transpose/kernel"
    %conv2d_transpose = conv_transpose %image, %"conv2d_transpose/kernel" {x = NHWC, w = HWOI, strides = [2, 2], pad = [[0, 1], [0, 1]]} "conv2d_transpose" : tensor<?x16x16x10xf32>
    %"batch_normalization/gamma" = constant absent : tensor<10xf32> "batch_normalization/gamma"
    %"batch_normalization/beta" = constant absent : tensor<10xf32> "batch_normalization/beta"
    %"batch_normalization/moving_mean" = constant absent : tensor<10xf32> "batch_normalization/moving_mean"
    %"batch_normalization/moving_variance" = constant absent : tensor<10xf32> "batch_normalization/moving_variance"
    %batch_normalization = batch_norm %conv2d_transpose, %"batch_normalization/gamma", %"batch_normalization/beta", %"batch_normalization/moving_mean", %"batch_normalization/moving_variance" {axis = 3, eps = 0.001} "batch_normalization" : tensor<?x16x16x10xf32>
    %re_lu = relu %batch_normalization "re_lu" : tensor<?x16x16x10xf32>
    %"conv2d_transpose_1/kernel" = constant absent : tensor<2x2x4x10xf32> "conv2d_transpose_1/kernel"
    %"conv2d_transpose_1/bias" = constant absent : tensor<4xf32> "conv2d_transpose_1/bias"
    %conv2d_transpose_1 = conv_transpose %re_lu, %"conv2d_transpose_1/kernel", %"conv2d_transpose_1/bias" {x = NHWC, w = HWOI, strides = [2, 2]} "conv2d_transpose_1" : tensor<?x32x32x4xf32>
    %"conv1d_transpose/kernel" = constant absent : tensor<3x5x4xf32> "conv1d_transpose/kernel"
    %"conv1d_transpose/bias" = constant absent : tensor<5xf32> "conv1d_transpose/bias"
    %conv1d_transpose = conv_transpose %line, %"conv1d_transpose/kernel", %"conv1d_transpose/bias" {x = NWC, w = WOI, strides = [2]} "conv1d_transpose" : tensor<?x21x5xf32>
    %"batch_normalization_1/gamma" = constant absent : tensor<4xf32> "batch_normalization_1/gamma"
    %"batch_normalization_1/beta" = constant absent : tensor<4xf32> "batch_normalization_1/beta"
    %"batch_normalization_1/moving_mean" = constant absent : tensor<4xf32> "batch_normalization_1/moving_mean"
    %"batch_normalization_1/moving_variance" = constant absent : tensor<4xf32> "batch_normalization_1/moving_variance"
    %batch_normalization_1 = batch_norm %conv2d_transpose_1, %"batch_normalization_1/gamma", %"batch_normalization_1/beta", %"batch_normalization_1/moving_mean", %"batch_normalization_1/moving_variance" {axis = 3, eps = 0.001} "batch_normalization_1" : tensor<?x32x32x4xf32>
    %"batch_normalization_2/gamma" = constant absent : tensor<5xf32> "batch_normalization_2/gamma"
    %"batch_normalization_2/beta" = constant absent : tensor<5xf32> "batch_normalization_2/beta"
    %"batch_normalization_2/moving_mean" = constant absent : tensor<5xf32> "batch_normalization_2/moving_mean"
    %"batch_normalization_2/moving_variance" = constant absent : tensor<5xf32> "batch_normalization_2/moving_variance"
    %batch_normalization_2 = batch_norm %conv1d_transpose, %"batch_normalization_2/gamma", %"batch_normalization_2/beta", %"batch_normalization_2/moving_mean", %"batch_normalization_2/moving_variance" {axis = 2, eps = 0.001} "batch_normalization_2" : tensor<?x21x5xf32>
    return %batch_normalization_1, %batch_normalization_2
  }
}
