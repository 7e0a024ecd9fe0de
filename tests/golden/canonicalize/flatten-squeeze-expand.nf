// RUN: --passes=canonicalize
module @case {
  graph @main(%x: tensor<2x3xf32>) -> (%y: tensor<2x3xf32>, %z: tensor<2x3xf32>, %w: tensor<2x3xf32>, %v: tensor<2x2x3xf32>) {
    %none = constant dense<[]> : tensor<0xi64>
    %to = constant dense<[1, 3]> : tensor<2xi64>
    %more = constant dense<[2, 1, 1]> : tensor<3xi64>
    %a = flatten %x : tensor<2x3xf32>
    %b = squeeze %a : tensor<2x3xf32>
    %c = unsqueeze %b, %none : tensor<2x3xf32>
    %y = relu %c : tensor<2x3xf32>
    %d = expand %x, %to : tensor<2x3xf32>
    %z = neg %d : tensor<2x3xf32>
    %e = flatten %x {axis = -1} : tensor<2x3xf32>
    %w = abs %e : tensor<2x3xf32>
    %f = expand %x, %more : tensor<2x2x3xf32>
    %v = abs %f : tensor<2x2x3xf32>
    return %y, %z, %w, %v
  }
}
