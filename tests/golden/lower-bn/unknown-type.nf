// RUN: --passes=lower-bn
module @case {
  graph @main(%x: tensor<1x2x3x3xf32>) -> (%y: tensor<1x2x3x3xf32>) {
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %extents = constant dense<[1, 2, 3, 3]> : tensor<4xi64>
    %c = opaque "com.example::Flat" %x "fancy" : unknown
    %r = reshape %c, %extents "unflat" : unknown
    %y = batch_norm %r, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x3x3xf32>
    return %y
  }
}
