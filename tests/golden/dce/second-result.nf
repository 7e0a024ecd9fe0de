// RUN: --passes=dce
// One result that is read keeps the op and all its results.
module @case {
  graph @main(%x: tensor<1x1x4xf32>) -> (%i: tensor<1x1x2xi64>) {
    %y, %i = pool %x {f = max, x = NCW, kernel = [2], strides = [2]} : tensor<1x1x2xf32>, tensor<1x1x2xi64>
    return %i
  }
}
