// RUN: --passes=dce
// An op that is not understood may have effects, unless its frontend knows better.
module @case {
  graph @main(%x: tensor<2xf32>) -> (%y: tensor<2xf32>) {
    %a = opaque "com.example::Log" %x "log" : tensor<2xf32>
    %b = opaque "com.example::Map" pure %x "map" : tensor<2xf32>
    %y = neg %x : tensor<2xf32>
    return %y
  }
}
