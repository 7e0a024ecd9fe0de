// RUN: --passes=fold-bn,dce
// Random graph, shrunk: the chain gives the sum a constant of its own, and then the second batch norm goes the same way.
module @case {
  graph @main(%x: tensor<2x3xf32>) -> (%a: tensor<2x3xf32>, %y: tensor<2x3xf32>) {
    %k = constant dense<[0.25, 0.75, -0.875, 0.625, -1.0, -0.375]> : tensor<2x3xf32>
    %a = add %x, %k "other" : tensor<2x3xf32>
    %g = constant dense<[0.75, 1.0, 0.375]> : tensor<3xf32>
    %b = constant dense<[0.125, 0.25, 1.0]> : tensor<3xf32>
    %v = constant dense<[0.625, 0.375, 0.5]> : tensor<3xf32>
    %n = batch_norm %x, %g, %b, %b, %v "first" : tensor<2x3xf32>
    %s = add %n, %k "sum" : tensor<2x3xf32>
    %f = constant dense<[-1.0, 0.875, 0.875]> : tensor<3xf32>
    %m = mul %s, %f "scale" : tensor<2x3xf32>
    %y = batch_norm %m, %g, %b, %b, %v "second" : tensor<2x3xf32>
    return %a, %y
  }
}
