// RUN: --passes=merge-parallel-linear,dce
// The sums of both are finite, what they are added up from is not: there is no bound to judge the merge by.
module @case {
  graph @main(%x: tensor<1x2x1x1xf64>) -> (%y: tensor<1x1x1x1xf64>) {
    %v = constant dense<[1.7e308, -1.7e308]> : tensor<1x2x1x1xf64>
    %w = constant dense<[-1.0, 0.5]> : tensor<1x2x1x1xf64>
    %a = conv %x, %v "a" : tensor<1x1x1x1xf64>
    %b = conv %x, %w "b" : tensor<1x1x1x1xf64>
    %y = add %a, %b "sum" : tensor<1x1x1x1xf64>
    return %y
  }
}
