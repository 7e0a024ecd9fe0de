// RUN: --passes=fold-bn,dce
// NO-EVAL: the weights are absent
// What tests/models/keras/nested.json becomes; crates/frontends/tests/keras compares.
module @nested {source = "keras", generation = 3, cannot = ["create", "constant", "change"]} {
  function @encoder(%input_layer "input_layer": tensor<?x16x16x3xf32>) -> (%conv2d_1: tensor<?x7x7x8xf32>) {
    %"conv2d/kernel" = constant absent : tensor<3x3x3x8xf32> "conv2d/kernel"
    %"conv2d/bias" = constant absent : tensor<8xf32> "conv2d/bias"
    %conv2d = conv %input_layer, %"conv2d/kernel", %"conv2d/bias" {x = NHWC, w = HWIO, pad = same_upper} "conv2d" : tensor<?x16x16x8xf32>
    %"batch_normalization/gamma" = constant absent : tensor<8xf32> "batch_normalization/gamma"
    %"batch_normalization/beta" = constant absent : tensor<8xf32> "batch_normalization/beta"
    %"batch_normalization/moving_mean" = constant absent : tensor<8xf32> "batch_normalization/moving_mean"
    %"batch_normalization/moving_variance" = constant absent : tensor<8xf32> "batch_normalization/moving_variance"
    %batch_normalization = batch_norm %conv2d, %"batch_normalization/gamma", %"batch_normalization/beta", %"batch_normalization/moving_mean", %"batch_normalization/moving_variance" {axis = 3, eps = 0.001} "batch_normalization" : tensor<?x16x16x8xf32>
    %re_lu = relu %batch_normalization "re_lu" : tensor<?x16x16x8xf32>
    %"conv2d_1/kernel" = constant absent : tensor<3x3x8x8xf32> "conv2d_1/kernel"
    %"conv2d_1/bias" = constant absent : tensor<8xf32> "conv2d_1/bias"
    %conv2d_1 = conv %re_lu, %"conv2d_1/kernel", %"conv2d_1/bias" {x = NHWC, w = HWIO, strides = [2, 2]} "conv2d_1" : tensor<?x7x7x8xf32>
    return %conv2d_1
  }
  function @block(%block_input "block_input": tensor<?x?x?x8xf32>) -> (%add: tensor<?x?x?x8xf32>) {
    %"conv2d_2/kernel" = constant absent : tensor<1x1x8x8xf32> "conv2d_2/kernel"
    %"conv2d_2/bias" = constant absent : tensor<8xf32> "conv2d_2/bias"
    %conv2d_2 = conv %block_input, %"conv2d_2/kernel", %"conv2d_2/bias" {x = NHWC, w = HWIO} "conv2d_2" : tensor<?x?x?x8xf32>
    %"batch_normalization_1/gamma" = constant absent : tensor<8xf32> "batch_normalization_1/gamma"
    %"batch_normalization_1/beta" = constant absent : tensor<8xf32> "batch_normalization_1/beta"
    %"batch_normalization_1/moving_mean" = constant absent : tensor<8xf32> "batch_normalization_1/moving_mean"
    %"batch_normalization_1/moving_variance" = constant absent : tensor<8xf32> "batch_normalization_1/moving_variance"
    %batch_normalization_1 = batch_norm %conv2d_2, %"batch_normalization_1/gamma", %"batch_normalization_1/beta", %"batch_normalization_1/moving_mean", %"batch_normalization_1/moving_variance" {axis = 3, eps = 0.001} "batch_normalization_1" : tensor<?x?x?x8xf32>
    %re_lu_1 = relu %batch_normalization_1 "re_lu_1" : tensor<?x?x?x8xf32>
    %add = add %re_lu_1, %block_input "add" : tensor<?x?x?x8xf32>
    return %add
  }
  graph @main(%image "image": tensor<?x16x16x3xf32>) -> (%dense: tensor<?x4xf32>) {
    %encoder = call %image {callee = "encoder"} "encoder" : tensor<?x7x7x8xf32>
    %"across_border/gamma" = constant absent : tensor<8xf32> "across_border/gamma"
    %"across_border/beta" = constant absent : tensor<8xf32> "across_border/beta"
    %"across_border/moving_mean" = constant absent : tensor<8xf32> "across_border/moving_mean"
    %"across_border/moving_variance" = constant absent : tensor<8xf32> "across_border/moving_variance"
    %across_border = batch_norm %encoder, %"across_border/gamma", %"across_border/beta", %"across_border/moving_mean", %"across_border/moving_variance" {axis = 3, eps = 0.001} "across_border" : tensor<?x7x7x8xf32>
    %re_lu_2 = relu %across_border "re_lu_2" : tensor<?x7x7x8xf32>
    %block = call %re_lu_2 {callee = "block"} "block" : tensor<?x7x7x8xf32>
    %"block:1" = call %block {callee = "block"} "block" : tensor<?x7x7x8xf32>
    %flatten = flatten %"block:1" "flatten" : tensor<?x392xf32>
    %"dense/kernel" = constant absent : tensor<392x4xf32> "dense/kernel"
    %"dense/bias" = constant absent : tensor<4xf32> "dense/bias"
    %dense = linear %flatten, %"dense/kernel", %"dense/bias" "dense" : tensor<?x4xf32>
    return %dense
  }
}
