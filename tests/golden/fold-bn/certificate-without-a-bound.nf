// RUN: --passes=fold-bn,dce
// Factors and results are finite, what they are added up from is not: there is no bound to judge the folds by.
module @case {
  graph @main(%x: tensor<1x2x1x1xf64>) -> (%y: tensor<1x1x1x1xf64>, %z: tensor<1x1x1x1xf64>, %u: tensor<1x2x1x1xf64>) {
    %one = constant dense<[1.0]> : tensor<1xf64>
    %zero = constant dense<[0.0]> : tensor<1xf64>
    %far = constant dense<[1.7e308]> : tensor<1xf64>
    %w = constant dense<[-0.25, 0.5]> : tensor<1x2x1x1xf64>
    %c = conv %x, %w "shifts that cancel" : tensor<1x1x1x1xf64>
    %y = batch_norm %c, %one, %far, %far, %one {eps = 0.0} "far" : tensor<1x1x1x1xf64>
    %v = constant dense<[1.7e308, -1.7e308, 1.7e308, -1.7e308]> : tensor<1x4x1x1xf64>
    %xx = concat %x, %x {axis = 1} "twice" : tensor<1x4x1x1xf64>
    %d = conv %xx, %v "weights that cancel" : tensor<1x1x1x1xf64>
    %z = batch_norm %d, %one, %one, %one, %one {eps = 0.0} "near" : tensor<1x1x1x1xf64>
    %tiny = constant dense<[1e-300, 1.0]> : tensor<2xf64>
    %ones = constant dense<[1.0, 1.0]> : tensor<2xf64>
    %large = constant dense<[1e300, 1.0]> : tensor<2xf64>
    %e = batch_norm %x, %tiny, %ones, %ones, %ones {eps = 0.0} "small" : tensor<1x2x1x1xf64>
    %u = batch_norm %e, %large, %ones, %ones, %ones {eps = 0.0} "large" : tensor<1x2x1x1xf64>
    return %y, %z, %u
  }
}
