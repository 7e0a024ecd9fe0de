// RUN: --passes=fold-bn,dce
// NO-EVAL: an op that only its document knows
// Two numbers per channel, but along which axis?
module @case {
  graph @main(%x: tensor<1x3x4x4xf32>) -> (%y: tensor<*xf32>) {
    %scale = constant dense<[4.0, -1.0]> : tensor<2x1x1xf32>
    %shift = constant dense<[0.5, 0.25]> : tensor<2x1x1xf32>
    %c = opaque "PartitionedCall" %x "call" : unknown
    %m = mul %c, %scale "mul" : unknown
    %y = add %m, %shift "add" : tensor<*xf32>
    return %y
  }
}
