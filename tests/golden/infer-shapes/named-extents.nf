// RUN: --passes=infer-shapes
// The batch keeps its name through convolutions, pools, reshapes and products; a width through what keeps widths.
module @case {
  graph @main(%x: tensor<?{N}x3x?{H}x8xf32>, %z: tensor<?{N}x5xf32>) -> (%y: tensor<?x?xf32>) {
    %w = constant splat<0.5> : tensor<4x3x3x3xf32>
    %c = conv %x, %w {pad = [[1, 1], [1, 1]]} "c" : unknown
    %s = conv %x, %w {strides = [2, 2], pad = [[1, 1], [1, 1]]} "s" : unknown
    %r = relu %c "r" : unknown
    %g = global_pool %r {f = average} "g" : unknown
    %f = flatten %g "f" : unknown
    %m = constant splat<0.25> : tensor<4x5xf32>
    %p = matmul %f, %m "p" : unknown
    %q = add %p, %z "q" : unknown
    %shape = constant dense<[0, -1]> : tensor<2xi64>
    %t = reshape %q, %shape "t" : unknown
    %u = global_pool %s {f = max} "u" : unknown
    %v = reshape %u, %shape "v" : unknown
    %y = concat %t, %v {axis = 1} "y" : tensor<?x?xf32>
    return %y
  }
}
