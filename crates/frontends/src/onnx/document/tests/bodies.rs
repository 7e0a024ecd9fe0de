//! Bodies of control flow, and functions.

use super::*;

fn with_body() -> Msg {
    let branch = |op: &str, out: &str| {
        graph(
            vec![node(op, &["a", "w"], &[out])],
            vec![tensor_f32(&format!("{out}_k"), &[1], &[1.0])],
            vec![],
            vec![value(out, &[2])],
        )
    };
    let n = node("If", &["cond"], &["y"])
        .msg(5, attr_graph("then_branch", branch("Add", "t")))
        .msg(5, attr_graph("else_branch", branch("Mul", "e")));
    let cond = Msg::new()
        .str(1, "cond")
        .msg(2, Msg::new().msg(1, Msg::new().int(1, 9).msg(2, Msg::new())));
    model(
        8,
        17,
        graph(
            vec![node("Relu", &["x"], &["a"]), n],
            vec![tensor_f32("w", &[2], &[1.0, 2.0])],
            vec![value("x", &[2]), cond],
            vec![value("y", &[2])],
        ),
    )
}

#[test]
fn bodies_follow_what_they_capture_and_are_edited_in_place() {
    let m = with_body();
    let (doc, mut module) = open(&m);
    assert!(saved(&doc, &module) == m.0);
    let (_, g) = main_graph(&mut module);
    let a = value_of(g, "a");
    g.set_value_name(a, Some("renamed".into()));
    let bodies = g.regions(op_of(g, "y")).to_vec();
    let then = bodies
        .into_iter()
        .find(|&b| {
            module.graph(b).ops().any(|op| *module.graph(b).kind(op) == BinaryKind::Add.into())
        })
        .unwrap();
    set_values(&mut module, then, "t_k", &[7.0]);
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["Relu(x)->renamed", "If(cond)->y"]);
    assert_eq!(
        (w.nodes(1), w.nodes(2)),
        (vec!["Add(renamed,w)->t".into()], vec!["Mul(renamed,w)->e".into()])
    );
    let k = w.model().graph(1).unwrap().initializer(0).unwrap();
    assert!(
        matches!(k.storage, crate::onnx::model::Storage::Raw(b) if b.data == 7f32.to_le_bytes())
    );
}

#[test]
fn constants_of_functions_are_nodes() {
    let f = Msg::new()
        .str(1, "F")
        .str(4, "a")
        .str(5, "b")
        .all(7, [node("Relu", &["a"], &["r"]), node("Neg", &["r"], &["b"])])
        .msg(9, Msg::new().str(1, "").int(2, 17))
        .str(10, "local");
    let call = node("F", &["x"], &["y"]).str(7, "local");
    let m = model(8, 17, graph(vec![call], vec![], vec![value("x", &[2])], vec![value("y", &[2])]))
        .msg(8, Msg::new().str(1, "local").int(2, 1))
        .msg(25, f);
    let (doc, mut module) = open(&m);
    assert!(saved(&doc, &module) == m.0);
    let id = module
        .graph_ids()
        .find(|&g| module.graph(g).role() == normfold_ir::GraphRole::Function)
        .unwrap();
    let c = module.constants.add_f64(DType::F32, &[], &[2.0]);
    let g = module.graph_mut(id);
    let r = value_of(g, "r");
    let c = g.create(
        OpSpec::new(Constant::new(c)).named_result("two", TensorType::of(DType::F32, &[])).at(r.op),
    );
    let c = g.result(c, 0);
    let mul = g.create(
        OpSpec::new(BinaryKind::Mul)
            .operand(r)
            .operand(c)
            .named_result("a", g.ty(r).clone())
            .at(r.op),
    );
    let product = g.result(mul, 0);
    let user = op_of(g, "b");
    g.set_operand(Use { user, operand: 0 }, Some(product));
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(1), ["Constant()->two", "Relu(a)->r", "Mul(r,two)->a_1", "Neg(a_1)->b"]);
}
