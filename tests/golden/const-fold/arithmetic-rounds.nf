// RUN: --passes=const-fold
// 10 · 0.7 is 7 in f32, below 7 without rounding: floor tells.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %a = constant dense<10.0> : tensor<f32>
    %b = constant dense<0.7> : tensor<f32>
    %p = mul %a, %b : tensor<f32>
    %f = floor %p : tensor<f32>
    %y = add %x, %f : tensor<2xf32>
    return %y
  }
}
