// RUN: --passes=fold-bn,dce
// Constants around a body: the op gets copies in it, and what nobody reads any more goes.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>, %flag: tensor<bool>) -> (%y: tensor<1x2x4x4xf32>) {
    %w = constant dense<[0.5, 0.25, 0.0, -0.25]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %y = if %flag captures(%x, %w, %gamma, %beta, %mean, %var) "choose" : tensor<1x2x4x4xf32>
      body @then_body() captures(%x from 0: tensor<1x2x4x4xf32>, %w from 1: tensor<2x2x1x1xf32>, %gamma from 2: tensor<2xf32>, %beta from 3: tensor<2xf32>, %mean from 4: tensor<2xf32>, %var from 5: tensor<2xf32>) -> (%t: tensor<1x2x4x4xf32>) {
        %c = conv %x, %w "conv" : tensor<1x2x4x4xf32>
        %t = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
        return %t
      }
      body @else_body() captures(%x from 0: tensor<1x2x4x4xf32>) -> (%e: tensor<1x2x4x4xf32>) {
        %e = relu %x : tensor<1x2x4x4xf32>
        return %e
      }
    return %y
  }
}
