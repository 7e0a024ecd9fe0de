// RUN: --passes=fold-bn,dce
// What stands in the graph around a body is not followed; a pair within the body folds.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>, %flag: tensor<bool>) -> (%y: tensor<1x2x4x4xf32>) {
    %conv.weight = constant dense<[0.5, 0.25, 0.0, -0.25]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %conv.weight "outer" : tensor<1x2x4x4xf32>
    %y = if %flag captures(%c, %gamma, %beta, %mean, %var, %x) "choose" : tensor<1x2x4x4xf32>
      body @then_body() captures(%c from 0: tensor<1x2x4x4xf32>, %gamma from 1: tensor<2xf32>, %beta from 2: tensor<2xf32>, %mean from 3: tensor<2xf32>, %var from 4: tensor<2xf32>) -> (%t: tensor<1x2x4x4xf32>) {
        %t = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "across" : tensor<1x2x4x4xf32>
        return %t
      }
      body @else_body() captures(%x from 5: tensor<1x2x4x4xf32>) -> (%e: tensor<1x2x4x4xf32>) {
        %inner.weight = constant dense<[1.0, 1.5, 2.0, 2.5]> : tensor<2x2x1x1xf32>
        %inner.gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
        %inner.beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
        %inner.mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
        %inner.var = constant dense<[3.0, 0.0]> : tensor<2xf32>
        %d = conv %x, %inner.weight "inner" : tensor<1x2x4x4xf32>
        %e = batch_norm %d, %inner.gamma, %inner.beta, %inner.mean, %inner.var {eps = 1.0} "within" : tensor<1x2x4x4xf32>
        return %e
      }
    return %y
  }
}
