// RUN: --passes=const-fold
// An extent of the same axis is 0, the only one that is open -1; two that are open stay.
module @case {
  graph @main(%x: tensor<?{N}x?{H}x4x3xf32>) -> (%y: tensor<?x?x12xf32>, %z: tensor<?x?xf32>, %u: tensor<?x?xf32>, %v: tensor<?x?x?xf32>) {
    %zero = constant dense<[0]> : tensor<1xi64>
    %one = constant dense<[1]> : tensor<1xi64>
    %two = constant dense<[2]> : tensor<1xi64>
    %twelve = constant dense<[12]> : tensor<1xi64>
    %minus = constant dense<[-1]> : tensor<1xi64>
    %s = shape %x "s" : tensor<4xi64>
    %i = cast %s {to = i32} "i" : tensor<4xi32>
    %l = cast %i {to = i64} "l" : tensor<4xi64>
    %n = slice %l, %zero, %one "n" : tensor<1xi64>
    %h = slice %l, %one, %two "h" : tensor<1xi64>
    %a = concat %n, %h, %twelve {axis = 0} "a" : tensor<3xi64>
    %y = reshape %x, %a "y" : tensor<?x?x12xf32>
    %b = concat %n, %minus {axis = 0} "b" : tensor<2xi64>
    %z = reshape %x, %b "z" : tensor<?x?xf32>
    %p = reduce %x {f = max, axes = [1], keepdims = false} "p" : tensor<?x4x3xf32>
    %c = concat %twelve, %n {axis = 0} "c" : tensor<2xi64>
    %u = reshape %p, %c "u" : tensor<?x?xf32>
    %d = concat %h, %n, %twelve {axis = 0} "d" : tensor<3xi64>
    %v = reshape %x, %d "v" : tensor<?x?x?xf32>
    return %y, %z, %u, %v
  }
}
