//! Every form of the text, by example.

use crate::same::{assert_same, exact, round_trip};
use normfold_ir::{
    text::{self, PrintOptions, Weights},
    *,
};
use std::sync::Arc;

#[test]
fn the_smallest_modules() {
    exact("module @m {\n}\n");
    exact("module @\"a b\" {n = 1} {\n}\n");
    assert_eq!(text::parse("module @m {} // nothing").unwrap().graph_ids().len(), 0);
}

#[test]
fn a_network() {
    let m = exact(
        r#"module @net {source = "onnx", ir = 10, opset = [["", 17], ["com.x", 1]]} {
  graph @main(%x: tensor<?{N}x3x224x224xf32>) -> (%y: tensor<?{N}x2x112x112xf32>) {
    %conv1.weight = constant blob<sha 3f9a1c02d4e7b815> : tensor<2x3x7x7xf32>
    %g = constant dense<[0.5, -1.25]> : tensor<2xf32>
    %b = constant splat<0.0> {binding = overridable} : tensor<2xf32>
    %m = constant absent {binding = mutable} : tensor<2xf32> "mean"
    %0 = conv %x, %conv1.weight, none {strides = [2, 2], pad = [[3, 3], [3, 3]]} "conv1" : tensor<?{N}x2x112x112xf32>
    %"bn/out:0" = batch_norm %0, %g, %b, %m, %g {eps = 1e-5f} "bn1" : tensor<?{N}x2x112x112xf32>
    return %"bn/out:0"
  }
}
"#,
    );
    let g = m.graph(m.main().unwrap());
    let names: Vec<_> = g
        .topo_order()
        .unwrap()
        .into_iter()
        .flat_map(|o| g.results(o))
        .map(|v| g.value_name(v).map(|n| n.to_string()))
        .collect();
    assert_eq!(names[5..], [None, Some("bn/out:0".to_owned())]);
    let OpKind::BatchNorm(bn) = g.kind(g.operand(g.return_op().unwrap(), 0).unwrap().op) else {
        panic!()
    };
    assert_eq!(bn.eps, f64::from(1e-5f32));
}
