// RUN: --passes=fold-bn,dce
// NO-EVAL: the weights are absent
// What tests/models/keras/separable.json becomes; crates/frontends/tests/keras compares.
module @separable {source = "keras", generation = 3, cannot = ["create", "constant", "change"]} {
  graph @main(%input_layer "input_layer": tensor<?x16x16x4xf32>) -> (%dense: tensor<?x3xf32>) {
    %"separable_conv2d/depthwise_kernel" = constant absent : tensor<3x3x4x1xf32> "separable_conv2d/depthwise_kernel"
    %"separable_conv2d/pointwise_kernel" = constant absent : tensor<1x1x4x8xf32> "separable_conv2d/pointwise_kernel"
    %"separable_conv2d/depthwise" = conv %input_layer, %"separable_conv2d/depthwise_kernel" {x = NHWC, w = HWCM, pad = same_upper} "separable_conv2d" : tensor<?x16x16x4xf32>
    %separable_conv2d = conv %"separable_conv2d/depthwise", %"separable_conv2d/pointwise_kernel" {x = NHWC, w = HWIO} "separable_conv2d" : tensor<?x16x16x8xf32>
    %"batch_normalization/gamma" = constant absent : tensor<8xf32> "batch_normalization/gamma"
    %"batch_normalization/beta" = constant absent : tensor<8xf32> "batch_normalization/beta"
    %"batch_normalization/moving_mean" = constant absent : tensor<8xf32> "batch_normalization/moving_mean"
    %"batch_normalization/moving_variance" = constant absent : tensor<8xf32> "batch_normalization/moving_variance"
    %batch_normalization = batch_norm %separable_conv2d, %"batch_normalization/gamma", %"batch_normalization/beta", %"batch_normalization/moving_mean", %"batch_normalization/moving_variance" {axis = 3, eps = 0.001} "batch_normalization" : tensor<?x16x16x8xf32>
    %re_lu = relu %batch_normalization "re_lu" : tensor<?x16x16x8xf32>
    %"separable_conv2d_1/depthwise_kernel" = constant absent : tensor<3x3x8x2xf32> "separable_conv2d_1/depthwise_kernel"
    %"separable_conv2d_1/pointwise_kernel" = constant absent : tensor<1x1x16x8xf32> "separable_conv2d_1/pointwise_kernel"
    %"separable_conv2d_1/bias" = constant absent : tensor<8xf32> "separable_conv2d_1/bias"
    %"separable_conv2d_1/depthwise" = conv %re_lu, %"separable_conv2d_1/depthwise_kernel" {x = NHWC, w = HWCM} "separable_conv2d_1" : tensor<?x14x14x16xf32>
    %separable_conv2d_1 = conv %"separable_conv2d_1/depthwise", %"separable_conv2d_1/pointwise_kernel", %"separable_conv2d_1/bias" {x = NHWC, w = HWIO} "separable_conv2d_1" : tensor<?x14x14x8xf32>
    %"batch_normalization_1/gamma" = constant absent : tensor<8xf32> "batch_normalization_1/gamma"
    %"batch_normalization_1/beta" = constant absent : tensor<8xf32> "batch_normalization_1/beta"
    %"batch_normalization_1/moving_mean" = constant absent : tensor<8xf32> "batch_normalization_1/moving_mean"
    %"batch_normalization_1/moving_variance" = constant absent : tensor<8xf32> "batch_normalization_1/moving_variance"
    %batch_normalization_1 = batch_norm %separable_conv2d_1, %"batch_normalization_1/gamma", %"batch_normalization_1/beta", %"batch_normalization_1/moving_mean", %"batch_normalization_1/moving_variance" {axis = 3, eps = 0.001} "batch_normalization_1" : tensor<?x14x14x8xf32>
    %re_lu_1 = relu %batch_normalization_1 "re_lu_1" : tensor<?x14x14x8xf32>
    %"depthwise_conv2d/depthwise_kernel" = constant absent : tensor<3x3x8x1xf32> "depthwise_conv2d/depthwise_kernel"
    %depthwise_conv2d = conv %re_lu_1, %"depthwise_conv2d/depthwise_kernel" {x = NHWC, w = HWCM} "depthwise_conv2d" : tensor<?x12x12x8xf32>
    %"batch_normalization_2/gamma" = constant absent : tensor<8xf32> "batch_normalization_2/gamma"
    %"batch_normalization_2/beta" = constant absent : tensor<8xf32> "batch_normalization_2/beta"
    %"batch_normalization_2/moving_mean" = constant absent : tensor<8xf32> "batch_normalization_2/moving_mean"
    %"batch_normalization_2/moving_variance" = constant absent : tensor<8xf32> "batch_normalization_2/moving_variance"
    %batch_normalization_2 = batch_norm %depthwise_conv2d, %"batch_normalization_2/gamma", %"batch_normalization_2/beta", %"batch_normalization_2/moving_mean", %"batch_normalization_2/moving_variance" {axis = 3, eps = 0.001} "batch_normalization_2" : tensor<?x12x12x8xf32>
    %re_lu_2 = relu %batch_normalization_2 "re_lu_2" : tensor<?x12x12x8xf32>
    %"depthwise_conv2d_1/depthwise_kernel" = constant absent : tensor<3x3x8x2xf32> "depthwise_conv2d_1/depthwise_kernel"
    %"depthwise_conv2d_1/bias" = constant absent : tensor<16xf32> "depthwise_conv2d_1/bias"
    %depthwise_conv2d_1 = conv %re_lu_2, %"depthwise_conv2d_1/depthwise_kernel", %"depthwise_conv2d_1/bias" {x = NHWC, w = HWCM} "depthwise_conv2d_1" : tensor<?x10x10x16xf32>
    %"batch_normalization_3/gamma" = constant absent : tensor<16xf32> "batch_normalization_3/gamma"
    %"batch_normalization_3/beta" = constant absent : tensor<16xf32> "batch_normalization_3/beta"
    %"batch_normalization_3/moving_mean" = constant absent : tensor<16xf32> "batch_normalization_3/moving_mean"
    %"batch_normalization_3/moving_variance" = constant absent : tensor<16xf32> "batch_normalization_3/moving_variance"
    %batch_normalization_3 = batch_norm %depthwise_conv2d_1, %"batch_normalization_3/gamma", %"batch_normalization_3/beta", %"batch_normalization_3/moving_mean", %"batch_normalization_3/moving_variance" {axis = 3, eps = 0.001} "batch_normalization_3" : tensor<?x10x10x16xf32>
    %re_lu_3 = relu %batch_normalization_3 "re_lu_3" : tensor<?x10x10x16xf32>
    %global_average_pooling2d = global_pool %re_lu_3 {channel_last = true, keepdims = false} "global_average_pooling2d" : tensor<?x16xf32>
    %"dense/kernel" = constant absent : tensor<16x3xf32> "dense/kernel"
    %"dense/bias" = constant absent : tensor<3xf32> "dense/bias"
    %dense = linear %global_average_pooling2d, %"dense/kernel", %"dense/bias" "dense" : tensor<?x3xf32>
    return %dense
  }
}
