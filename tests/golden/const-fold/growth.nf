// RUN: --passes=const-fold{growth=1024}
// The fill stays: as a constant it would let the file grow. What says its extents is computed.
module @case {
  graph @main(%x: tensor<64x64xf32>) -> (%y: tensor<64x64xf32>, %z: tensor<4x64xf32>) {
    %n = constant dense<[32]> : tensor<1xi64>
    %m = add %n, %n : tensor<1xi64>
    %d = concat %m, %m {axis = 0} : tensor<2xi64>
    %f = constant_of_shape %d : tensor<64x64xf32>
    %y = add %x, %f : tensor<64x64xf32>
    %w = constant splat<0.5> : tensor<64x64xf32>
    %t = transpose %w {perm = [1, 0]} : tensor<64x64xf32>
    %four = constant dense<[0, 1, 2, 3]> : tensor<4xi64>
    %g = gather %x, %four : tensor<4x64xf32>
    %z = matmul %g, %t : tensor<4x64xf32>
    return %y, %z
  }
}
