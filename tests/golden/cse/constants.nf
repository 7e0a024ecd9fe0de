// RUN: --passes=cse
// Equal bytes and equal types; 0 and -0 are not equal, nor are two shapes of the same bytes.
module @case {
  graph @main(%x: tensor<2x2xf32>) -> (%y: tensor<2x2xf32>, %z: tensor<4xf32>) {
    %k = constant dense<[[1.0, 2.0], [3.0, 0.0]]> : tensor<2x2xf32>
    %l = constant dense<[[1.0, 2.0], [3.0, 0.0]]> : tensor<2x2xf32>
    %m = constant dense<[[1.0, 2.0], [3.0, -0.0]]> : tensor<2x2xf32>
    %n = constant dense<[1.0, 2.0, 3.0, 0.0]> : tensor<4xf32>
    %o = constant dense<[[1.0, 2.0], [3.0, 0.0]]> {binding = overridable} : tensor<2x2xf32>
    %shape = constant dense<[4]> : tensor<1xi64>
    %a = mul %x, %k "a" : tensor<2x2xf32>
    %b = mul %x, %l "b" : tensor<2x2xf32>
    %c = mul %a, %m "c" : tensor<2x2xf32>
    %d = mul %b, %o "d" : tensor<2x2xf32>
    %y = sub %c, %d "y" : tensor<2x2xf32>
    %r = reshape %b, %shape "r" : tensor<4xf32>
    %z = add %r, %n "z" : tensor<4xf32>
    return %y, %z
  }
}
