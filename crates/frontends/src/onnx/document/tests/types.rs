//! Types that a module declares anew.

use super::*;
use normfold_ir::Dim;

fn dim(fields: Msg) -> Msg {
    Msg::new().msg(1, fields)
}

/// A description with a shape that says more than we read.
fn described(name: &str, dims: Vec<Msg>) -> Msg {
    let shape = dims.into_iter().fold(Msg::new(), |m, d| m.msg(1, d));
    let tensor = Msg::new().int(1, 1).msg(2, shape);
    let ty = Msg::new().msg(1, tensor).str(6, "IMAGE");
    Msg::new().str(1, name).msg(2, ty).str(3, "of an exporter").int(4000, 7)
}

fn chain(infos: Vec<Msg>, after: &str) -> Msg {
    let g = graph(
        vec![
            node("Relu", &["x"], &["a"]),
            node("Neg", &["a"], &["b"]),
            node("Abs", &["b"], &["c"]),
            node("Exp", &["c"], &["y"]),
        ],
        vec![],
        vec![value("x", &[2, 3])],
        vec![value("y", &[2, 3])],
    );
    model(8, 17, infos.into_iter().fold(g, |g, i| g.msg(13, i)).str(3000, after))
}

fn named(dims: &[Dim]) -> TensorType {
    TensorType { dtype: DType::F32, shape: Some(dims.into()) }
}

#[test]
fn records_are_spliced_and_added() {
    let known = |n: i64| Msg::new().int(1, n);
    let before = |b: Msg| {
        chain(vec![value("gone", &[9]), b, described("c", vec![known(2), known(3)])], "kept")
    };
    let old = described("b", vec![known(5).str(3, "ROWS"), Msg::new().str(2, "M")]);
    let (doc, mut module) = open(&before(old));
    let (_, g) = main_graph(&mut module);
    let batch = Dim::Named("N".into());
    let (a, b, c) = (value_of(g, "a"), value_of(g, "b"), value_of(g, "c"));
    g.declare_ty(a, named(&[Dim::Unknown, Dim::Known(3)]));
    g.declare_ty(b, named(&[batch, Dim::Known(3)]));
    // It said so before.
    g.declare_ty(c, named(&[Dim::Known(2), Dim::Known(3)]));
    let rewritten =
        described("b", vec![Msg::new().str(2, "N").str(3, "ROWS"), Msg::new().int(1, 3)]);
    let added = {
        let shape = dim(Msg::new()).msg(1, known(3));
        let tensor = Msg::new().int(1, 1).msg(2, shape);
        Msg::new().str(1, "a").msg(2, Msg::new().msg(1, tensor))
    };
    let all = vec![value("gone", &[9]), rewritten, described("c", vec![known(2), known(3)]), added];
    assert!(saved(&doc, &module) == chain(all, "kept").0);
}

#[test]
fn what_is_declared_already_and_results_stay() {
    let m = chain(vec![value("a", &[2, 3])], "kept");
    let (doc, mut module) = open(&m);
    let (_, g) = main_graph(&mut module);
    let ty = |dims: &[u64]| TensorType::of(DType::F32, dims);
    let (x, a, y) = (value_of(g, "x"), value_of(g, "a"), value_of(g, "y"));
    g.declare_ty(x, ty(&[7]));
    g.declare_ty(a, ty(&[2, 3]));
    g.declare_ty(y, ty(&[7]));
    assert!(saved(&doc, &module) == m.0);
}

#[test]
fn a_value_under_another_name() {
    let (doc, mut module) = open(&chain(vec![value("a", &[1]), value("b", &[1])], "kept"));
    let (_, g) = main_graph(&mut module);
    let (a, b) = (value_of(g, "a"), value_of(g, "b"));
    let ty = TensorType::of(DType::F32, &[2, 3]);
    g.declare_ty(a, ty.clone());
    g.declare_ty(b, ty);
    // As a pass does that finds b to be a.
    g.replace_all_uses(b, a);
    g.erase(b.op);
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["Relu(x)->a", "Abs(a)->c", "Exp(c)->y"]);
    assert_eq!(w.value_infos(), ["a"]);
}
