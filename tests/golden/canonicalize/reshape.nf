// RUN: --passes=canonicalize
// The first extent of the parameter is unknown, the others follow from it.
module @case {
  graph @main(%x: tensor<?x3x4xf32>) -> (%a: tensor<?x3x4xf32>, %b: tensor<?x3x4xf32>, %c: tensor<?x12xf32>, %d: tensor<?x4x3xf32>) {
    %s0 = constant dense<[0, 3, -1]> : tensor<3xi64>
    %s1 = constant dense<[-1, 3, 4]> : tensor<3xi64>
    %s2 = constant dense<[0, -1]> : tensor<2xi64>
    %s3 = constant dense<[0, 4, 3]> : tensor<3xi64>
    %r = relu %x : tensor<?x3x4xf32>
    %r0 = reshape %r, %s0 : tensor<?x3x4xf32>
    %a = neg %r0 : tensor<?x3x4xf32>
    %r1 = reshape %r, %s1 : tensor<?x3x4xf32>
    %b = neg %r1 : tensor<?x3x4xf32>
    %c = reshape %r, %s2 : tensor<?x12xf32>
    %d = reshape %r, %s3 : tensor<?x4x3xf32>
    return %a, %b, %c, %d
  }
}
