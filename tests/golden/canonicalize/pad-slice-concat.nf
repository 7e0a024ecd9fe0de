// RUN: --passes=canonicalize
// Nothing added, nothing cut.
module @case {
  graph @main(%x: tensor<1x4xf32>) -> (%y: tensor<1x4xf32>, %z: tensor<1x5xf32>, %w: tensor<1x3xf32>) {
    %none = constant dense<[0, 0, 0, 0]> : tensor<4xi64>
    %some = constant dense<[0, 0, 0, 1]> : tensor<4xi64>
    %from = constant dense<[0]> : tensor<1xi64>
    %end = constant dense<[9223372036854775807]> : tensor<1xi64>
    %four = constant dense<[4]> : tensor<1xi64>
    %three = constant dense<[3]> : tensor<1xi64>
    %last = constant dense<[-1]> : tensor<1xi64>
    %a = pad %x, %none {mode = reflect} : tensor<1x4xf32>
    %b = slice %a, %from, %end, %last : tensor<1x4xf32>
    %c = slice %b, %from, %four, %last : tensor<1x4xf32>
    %d = concat %c {axis = 1} : tensor<1x4xf32>
    %y = relu %d : tensor<1x4xf32>
    %z = pad %x, %some : tensor<1x5xf32>
    %w = slice %x, %from, %three, %last : tensor<1x3xf32>
    return %y, %z, %w
  }
}
