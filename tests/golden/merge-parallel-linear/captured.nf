// RUN: --passes=merge-parallel-linear
// A constant around a body is one in it; the merged op gets its own. What a caller may replace is none.
module @case {
  graph @main(%x: tensor<1x2x5x5xf32>, %flag: tensor<bool>) -> (%z: tensor<1x2x5x5xf32>) {
    %w3 = constant derived(dense<[-1.25, 0.5, -0.5, 1.25]> : tensor<2x2x1x1xf32>, broadcast[2, 2, 3, 3]) : tensor<2x2x3x3xf32>
    %w1 = constant dense<[-0.5, 1.25, 0.25, -0.75]> : tensor<2x2x1x1xf32>
    %b3 = constant dense<[-1.25, 0.5]> : tensor<2xf32>
    %given = constant dense<[-0.5, 1.25, 0.25, -0.75]> {binding = overridable} : tensor<2x2x1x1xf32>
    %z = if %flag captures(%x, %w3, %w1, %b3, %given) "choose" : tensor<1x2x5x5xf32>
      body @then() captures(%x from 0: tensor<1x2x5x5xf32>, %w3 from 1: tensor<2x2x3x3xf32>, %w1 from 2: tensor<2x2x1x1xf32>, %b3 from 3: tensor<2xf32>) -> (%t: tensor<1x2x5x5xf32>) {
        %b1 = constant dense<[0.0, -1.0]> : tensor<2xf32>
        %a = conv %x, %w3, %b3 {pad = [[1, 1], [1, 1]]} "a" : tensor<1x2x5x5xf32>
        %b = conv %x, %w1, %b1 "b" : tensor<1x2x5x5xf32>
        %t = add %a, %b "t" : tensor<1x2x5x5xf32>
        return %t
      }
      body @else() captures(%x from 0: tensor<1x2x5x5xf32>, %w1 from 2: tensor<2x2x1x1xf32>, %given from 4: tensor<2x2x1x1xf32>) -> (%e: tensor<1x2x5x5xf32>) {
        %c = conv %x, %w1, none "c" : tensor<1x2x5x5xf32>
        %d = conv %x, %given, none "d" : tensor<1x2x5x5xf32>
        %e = sub %c, %d "e" : tensor<1x2x5x5xf32>
        return %e
      }
    return %z
  }
}
