// RUN: --passes=infer-shapes
// A declaration that contradicts what is certain is replaced; of a result it stays.
module @case {
  graph @main(%x: tensor<?{N}x4xf32>) -> (%y: tensor<?{N}x3xf32>, %z: tensor<1x4xf32>) {
    %i = constant dense<[0, 1]> : tensor<2xi64>
    %a = gather %x, %i {axis = 1} "a" : tensor<1x2xf32>
    %b = gather %a, %i {axis = 1} "b" : tensor<?{M}x?xf32>
    %y = gather %b, %i {axis = 1} "y" : tensor<?{N}x3xf32>
    %c = gather %x, %i {axis = 0} "c" : tensor<3x4x1xf32>
    %one = constant dense<[1]> : tensor<1xi64>
    %z = gather %c, %one "z" : tensor<1x4xf32>
    return %y, %z
  }
}
