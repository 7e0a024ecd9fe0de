// RUN: --passes=fold-bn{pairs="stem:bn|stem:second|act:third|gone:bn|stem:nowhere"},dce
// Two linear ops for one batch norm: into both or none. A pair names what is in the way, or not there at all.
module @case {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>, %z: tensor<1x2x4x4xf32>, %u: tensor<1x2x4x4xf32>) {
    %stem.weight = constant dense<[0.5, 0.25, -0.25, 1.0]> : tensor<2x2x1x1xf32>
    %head.weight = constant dense<[1.0, 0.5, -0.75, 0.25]> : tensor<2x2x1x1xf32>
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, -2.0]> : tensor<2xf32>
    %var = constant dense<[3.0, 0.0]> : tensor<2xf32>
    %c = conv %x, %stem.weight "stem" : tensor<1x2x4x4xf32>
    %y = batch_norm %c, %gamma, %beta, %mean, %var {eps = 1.0} "bn" : tensor<1x2x4x4xf32>
    %r = relu %y "act" : tensor<1x2x4x4xf32>
    %d = conv %r, %head.weight "head" : tensor<1x2x4x4xf32>
    %z = batch_norm %r, %gamma, %beta, %mean, %var {eps = 1.0} "third" : tensor<1x2x4x4xf32>
    %u = batch_norm %d, %gamma, %beta, %mean, %var {eps = 1.0} "fourth" : tensor<1x2x4x4xf32>
    return %y, %z, %u
  }
}
