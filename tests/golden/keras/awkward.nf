// RUN: --passes=fold-bn,dce
// NO-EVAL: the weights are absent
// What tests/models/keras/awkward.k2.json becomes; crates/frontends/tests/keras compares.
module @awkward {source = "keras", generation = 2, cannot = ["create", "constant", "change"], keras_version = "2.21.0"} {
  graph @main(%image "image": tensor<?x8x8x8xf32>) -> (%dense: tensor<?x4xf32>) {
    %"before_height/kernel" = constant absent : tensor<3x3x8x8xf32> "before_height/kernel"
    %"before_height/bias" = constant absent : tensor<8xf32> "before_height/bias"
    %before_height = conv %image, %"before_height/kernel", %"before_height/bias" {x = NHWC, w = HWIO, pad = same_upper} "before_height" : tensor<?x8x8x8xf32>
    %"on_height/gamma" = constant absent : tensor<8xf32> "on_height/gamma"
    %"on_height/beta" = constant absent : tensor<8xf32> "on_height/beta"
    %"on_height/moving_mean" = constant absent : tensor<8xf32> "on_height/moving_mean"
    %"on_height/moving_variance" = constant absent : tensor<8xf32> "on_height/moving_variance"
    %on_height = batch_norm %before_height, %"on_height/gamma", %"on_height/beta", %"on_height/moving_mean", %"on_height/moving_variance" {eps = 0.001} "on_height" : tensor<?x8x8x8xf32>
    %re_lu = relu %on_height "re_lu" : tensor<?x8x8x8xf32>
    %max_pooling2d = pool %re_lu {x = NHWC, kernel = [3, 3], pad = same_upper} "max_pooling2d" : tensor<?x8x8x8xf32>
    %"shared/kernel" = constant absent : tensor<3x3x8x8xf32> "shared/kernel"
    %"shared/bias" = constant absent : tensor<8xf32> "shared/bias"
    %shared = conv %re_lu, %"shared/kernel", %"shared/bias" {x = NHWC, w = HWIO, pad = same_upper} "shared" : tensor<?x8x8x8xf32>
    %"shared:1" = conv %max_pooling2d, %"shared/kernel", %"shared/bias" {x = NHWC, w = HWIO, pad = same_upper} "shared" : tensor<?x8x8x8xf32>
    %"first_call/gamma" = constant absent : tensor<8xf32> "first_call/gamma"
    %"first_call/beta" = constant absent : tensor<8xf32> "first_call/beta"
    %"first_call/moving_mean" = constant absent : tensor<8xf32> "first_call/moving_mean"
    %"first_call/moving_variance" = constant absent : tensor<8xf32> "first_call/moving_variance"
    %first_call = batch_norm %shared, %"first_call/gamma", %"first_call/beta", %"first_call/moving_mean", %"first_call/moving_variance" {axis = 3, eps = 0.001} "first_call" : tensor<?x8x8x8xf32>
    %"second_call/gamma" = constant absent : tensor<8xf32> "second_call/gamma"
    %"second_call/beta" = constant absent : tensor<8xf32> "second_call/beta"
    %"second_call/moving_mean" = constant absent : tensor<8xf32> "second_call/moving_mean"
    %"second_call/moving_variance" = constant absent : tensor<8xf32> "second_call/moving_variance"
    %second_call = batch_norm %"shared:1", %"second_call/gamma", %"second_call/beta", %"second_call/moving_mean", %"second_call/moving_variance" {axis = 3, eps = 0.001} "second_call" : tensor<?x8x8x8xf32>
    %re_lu_1 = relu %first_call "re_lu_1" : tensor<?x8x8x8xf32>
    %re_lu_2 = relu %second_call "re_lu_2" : tensor<?x8x8x8xf32>
    %add = add %re_lu_1, %re_lu_2 "add" : tensor<?x8x8x8xf32>
    %"read_twice/kernel" = constant absent : tensor<1x1x8x8xf32> "read_twice/kernel"
    %"read_twice/bias" = constant absent : tensor<8xf32> "read_twice/bias"
    %read_twice = conv %add, %"read_twice/kernel", %"read_twice/bias" {x = NHWC, w = HWIO} "read_twice" : tensor<?x8x8x8xf32>
    %"one_reader/gamma" = constant absent : tensor<8xf32> "one_reader/gamma"
    %"one_reader/beta" = constant absent : tensor<8xf32> "one_reader/beta"
    %"one_reader/moving_mean" = constant absent : tensor<8xf32> "one_reader/moving_mean"
    %"one_reader/moving_variance" = constant absent : tensor<8xf32> "one_reader/moving_variance"
    %one_reader = batch_norm %read_twice, %"one_reader/gamma", %"one_reader/beta", %"one_reader/moving_mean", %"one_reader/moving_variance" {axis = 3, eps = 0.001} "one_reader" : tensor<?x8x8x8xf32>
    %concatenate = concat %one_reader, %read_twice {axis = 3} "concatenate" : tensor<?x8x8x16xf32>
    %re_lu_3 = relu %concatenate "re_lu_3" : tensor<?x8x8x16xf32>
    %"behind_relu/gamma" = constant absent : tensor<16xf32> "behind_relu/gamma"
    %"behind_relu/beta" = constant absent : tensor<16xf32> "behind_relu/beta"
    %"behind_relu/moving_mean" = constant absent : tensor<16xf32> "behind_relu/moving_mean"
    %"behind_relu/moving_variance" = constant absent : tensor<16xf32> "behind_relu/moving_variance"
    %behind_relu = batch_norm %re_lu_3, %"behind_relu/gamma", %"behind_relu/beta", %"behind_relu/moving_mean", %"behind_relu/moving_variance" {axis = 3, eps = 0.001} "behind_relu" : tensor<?x8x8x16xf32>
    %global_average_pooling2d = global_pool %behind_relu {channel_last = true, keepdims = false} "global_average_pooling2d" : tensor<?x16xf32>
    %"dense/kernel" = constant absent : tensor<16x4xf32> "dense/kernel"
    %"dense/bias" = constant absent : tensor<4xf32> "dense/bias"
    %dense = linear %global_average_pooling2d, %"dense/kernel", %"dense/bias" "dense" : tensor<?x4xf32>
    return %dense
  }
}
