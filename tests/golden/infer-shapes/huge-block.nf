// RUN: --passes=infer-shapes
// NO-EVAL: no tensor has that many channels
// Extents beyond what a number holds are not certain.
module @case {
  graph @main(%x: tensor<1x8x2x2xf32>) -> (%y: tensor<*xf32>) {
    %d = depth_to_space %x {block = 4294967296} "d" : unknown
    %y = relu %d "y" : tensor<*xf32>
    return %y
  }
}
