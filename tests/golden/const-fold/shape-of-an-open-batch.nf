// RUN: --passes=const-fold
// Of the shape all but the batch is known: what reads the channels is constant, the shape itself is not.
module @case {
  graph @main(%x: tensor<?{N}x3x4x5xf32>) -> (%y: tensor<?{N}x60xf32>) {
    %s = shape %x : tensor<4xi64>
    %i = constant dense<[1, 2, 3]> : tensor<3xi64>
    %c = gather %s, %i : tensor<3xi64>
    %k = reduce %c {f = prod, axes = [0]} : tensor<1xi64>
    %zero = constant dense<[0]> : tensor<1xi64>
    %t = concat %zero, %k {axis = 0} : tensor<2xi64>
    %y = reshape %x, %t : tensor<?{N}x60xf32>
    return %y
  }
}
