// RUN: --passes=canonicalize
// Without training a dropout hands on its operand; one whose mask is read stays.
module @case {
  graph @main(%x: tensor<4xf32>) -> (%y: tensor<4xf32>, %m: tensor<4xbool>) {
    %ratio = constant dense<0.5> : tensor<f32>
    %off = constant dense<false> : tensor<bool>
    %a = dropout %x, %ratio, %off : tensor<4xf32>
    %b = relu %a : tensor<4xf32>
    %c, %m = dropout %b, %ratio, %off : tensor<4xf32>, tensor<4xbool>
    %y = neg %c : tensor<4xf32>
    return %y, %m
  }
}
