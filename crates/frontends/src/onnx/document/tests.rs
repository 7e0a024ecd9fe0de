use super::*;
use crate::onnx::{model::Model, proto::*};
use normfold_ir::{
    BinaryKind, Constant, DType, Graph, GraphId, Linear, OpId, OpKind, OpSpec, Step, TensorType,
    Use, Value,
};

fn open(m: &Msg) -> (OnnxDocument, Module) {
    OnnxDocument::from_bytes(m.0.clone(), &OpenOptions::default()).unwrap()
}

fn saved(doc: &OnnxDocument, module: &Module) -> Vec<u8> {
    let mut out = Vec::new();
    let report = doc.save_to(module, &mut out, SaveOptions::default()).unwrap();
    assert_eq!(report.bytes, out.len() as u64);
    out
}

fn main_graph(module: &mut Module) -> (GraphId, &mut Graph) {
    let id = module.main().unwrap();
    (id, module.graph_mut(id))
}

fn value_of(g: &Graph, name: &str) -> Value {
    let mut all = g.ops().flat_map(|op| g.results(op));
    all.find(|&v| g.value_name(v).is_some_and(|n| &**n == name))
        .unwrap_or_else(|| panic!("no value {name}"))
}

fn op_of(g: &Graph, name: &str) -> OpId {
    value_of(g, name).op
}

/// Gives the constant of that name other elements, as a pass does.
fn set_values(module: &mut Module, graph: GraphId, name: &str, values: &[f64]) {
    let op = op_of(module.graph(graph), name);
    let OpKind::Constant(c) = module.graph(graph).kind(op).clone() else {
        panic!("{name} is no constant")
    };
    let (dtype, dims) = (module.constants.dtype(c.entry), module.constants.dims(c.entry));
    let entry = module.constants.add_f64(dtype, &dims, values);
    module.graph_mut(graph).set_kind(op, Constant { entry, ..c });
}

/// Doubles a constant by a derived entry.
fn double(module: &mut Module, graph: GraphId, name: &str) {
    let op = op_of(module.graph(graph), name);
    let OpKind::Constant(c) = module.graph(graph).kind(op).clone() else {
        panic!("{name} is no constant")
    };
    let factors = module.constants.add_f64(DType::F64, &[], &[2.0]);
    let map = normfold_ir::ElementMap::single();
    let entry = module.constants.derive(c.entry, Step::Scale { map, factors });
    module.graph_mut(graph).set_kind(op, Constant { entry, ..c });
}

/// What a test asks of a written model.
struct Written {
    bytes: Vec<u8>,
    table: ModelTable,
}

impl Written {
    fn new(bytes: Vec<u8>) -> Self {
        let table = ModelTable::scan(&bytes).unwrap();
        // It can be opened and saved again.
        let (doc, module) =
            OnnxDocument::from_bytes(bytes.clone(), &OpenOptions::default()).unwrap();
        assert!(saved(&doc, &module) == bytes);
        Self { bytes, table }
    }

    fn model(&self) -> Model<'_> {
        Model::new(&self.bytes, &self.table)
    }

    /// `type(inputs)->outputs` of each node of a graph.
    fn nodes(&self, graph: u32) -> Vec<String> {
        let g = self.model().graph(graph).unwrap();
        let show = |i| {
            let n = g.node(i).unwrap();
            format!("{}({})->{}", n.op_type, n.inputs.join(","), n.outputs.join(","))
        };
        (0..g.table.nodes.len()).map(show).collect()
    }

    fn initializers(&self, graph: u32) -> Vec<String> {
        let g = self.model().graph(graph).unwrap();
        (0..g.table.initializers.len()).map(|i| g.initializer(i).unwrap().name.to_owned()).collect()
    }

    fn inputs(&self) -> Vec<String> {
        let g = self.model().main();
        (0..g.table.inputs.len()).map(|i| g.input(i).unwrap().name.to_owned()).collect()
    }

    fn value_infos(&self) -> Vec<String> {
        let g = self.model().main();
        (0..g.table.value_infos.len()).map(|i| g.value_info(i).unwrap().name.to_owned()).collect()
    }
}

fn conv_bn(ir_version: i64, opset: i64) -> Msg {
    let weights = |names: &[&str]| -> Vec<Msg> {
        names.iter().map(|n| tensor_f32(n, &[2], &[1.0, 2.0])).collect()
    };
    let mut initializers = vec![tensor_f32("w", &[2, 1, 1, 1], &[1.0, 2.0])];
    initializers.extend(weights(&["scale", "shift", "mean", "var"]));
    let mut inputs = vec![value("x", &[1, 1, 4, 4])];
    if ir_version < 4 {
        inputs.push(value("w", &[2, 1, 1, 1]));
        inputs.extend(["scale", "shift", "mean", "var"].map(|n| value(n, &[2])));
    }
    let g = graph(
        vec![
            node("Conv", &["x", "w"], &["c"]).bytes(2000, b"unknown"),
            node("BatchNormalization", &["c", "scale", "shift", "mean", "var"], &["n"]),
            node("Relu", &["n"], &["y"]),
        ],
        initializers,
        inputs,
        vec![value("y", &[1, 2, 4, 4])],
    );
    let g =
        g.msg(13, value("c", &[1, 2, 4, 4])).msg(13, value("n", &[1, 2, 4, 4])).str(3000, "kept");
    model(ir_version, opset, g)
}

/// Folds the batch norm away as the pass does: new weight, new bias, the norm erased, its name on the convolution.
fn fold(module: &mut Module) {
    let (id, _) = main_graph(module);
    double(module, id, "w");
    let bias = module.constants.add_f64(DType::F32, &[2], &[0.5, 0.25]);
    let g = module.graph_mut(id);
    let (conv, norm) = (op_of(g, "c"), op_of(g, "n"));
    let b = g.create(
        OpSpec::new(Constant::new(bias))
            .named_result("w.bias", TensorType::of(DType::F32, &[2]))
            .at(conv),
    );
    let b = g.result(b, 0);
    g.set_operand(Use { user: conv, operand: 2 }, Some(b));
    let (c, n) = (g.result(conv, 0), g.result(norm, 0));
    let dead: Vec<OpId> = g.operands(norm).skip(1).flatten().map(|v| v.op).collect();
    let name = g.value_name(n).cloned();
    g.set_value_name(n, None);
    g.set_value_name(c, name);
    g.replace_all_uses(n, c);
    g.erase(norm);
    dead.into_iter().for_each(|op| g.erase(op));
}

#[test]
fn without_changes_the_bytes_are_the_same() {
    for m in [conv_bn(8, 17), conv_bn(3, 9)] {
        let (doc, module) = open(&m);
        assert!(saved(&doc, &module) == m.0);
        let dir = tempfile::tempdir().unwrap();
        let report =
            doc.save(&module, &dir.path().join("out.onnx"), SaveOptions::default()).unwrap();
        assert_eq!((report.edited, report.removed, report.added), (0, 0, 0));
        assert!(fs::read(dir.path().join("out.onnx")).unwrap() == m.0);
    }
}

#[test]
fn a_fold_touches_what_it_must() {
    let m = conv_bn(8, 17);
    let (doc, mut module) = open(&m);
    fold(&mut module);
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["Conv(x,w,w.bias)->n", "Relu(n)->y"]);
    assert_eq!(w.initializers(0), ["w", "w.bias"]);
    assert_eq!(w.inputs(), ["x"]);
    assert_eq!(w.value_infos(), ["n"]);
    let tensor = w.model().main().initializer(0).unwrap();
    assert!(
        matches!(tensor.storage, crate::onnx::model::Storage::Raw(b) if b.data == [0, 0, 0, 64, 0, 0, 128, 64])
    );
    for kept in [&b"unknown"[..], b"kept"] {
        assert!(w.bytes.windows(kept.len()).any(|x| x == kept));
    }
    let mut out = Vec::new();
    let report = doc.save_to(&module, &mut out, SaveOptions::default()).unwrap();
    assert_eq!((report.edited, report.removed, report.added), (2, 5, 1));
    assert_eq!(report.rounding.len(), 1);
}

#[test]
fn what_speaks_of_removed_values_goes() {
    let device = |names: &[&str]| {
        let spec = |n: &&str| Msg::new().str(1, n).int(2, 0);
        Msg::new().str(1, "cfg").all(2, names.iter().map(spec)).int(3, 1)
    };
    let annotation =
        |n: &str| Msg::new().str(1, n).msg(2, Msg::new().str(1, "SCALE_TENSOR").str(2, "s"));
    let m = model(
        11,
        17,
        graph(
            vec![
                node("Relu", &["x"], &["a"]).msg(10, device(&["x", "a"])),
                node("Identity", &["a"], &["b"]),
                node("Neg", &["b"], &["y"]).msg(10, device(&["b", "y"])),
            ],
            vec![tensor_f32("s", &[1], &[1.0]), tensor_f32("u", &[1], &[1.0])],
            vec![value("x", &[2])],
            vec![value("y", &[2])],
        )
        .msg(14, annotation("a"))
        .msg(13, value("stale", &[2]))
        .msg(14, annotation("b"))
        .msg(13, value("b", &[2])),
    );
    let (doc, mut module) = open(&m);
    let (_, g) = main_graph(&mut module);
    let (a, b) = (value_of(g, "a"), value_of(g, "b"));
    g.replace_all_uses(b, a);
    for name in ["b", "s", "u"] {
        let op = op_of(g, name);
        g.erase(op);
    }
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["Relu(x)->a", "Neg(a)->y"]);
    assert_eq!(w.model().main().node(0).unwrap().sharded.as_slice(), ["x", "a"]);
    assert_eq!(w.model().main().node(1).unwrap().sharded.as_slice(), ["y"]);
    // `s` is the scale of an annotation that stays, `u` is nobody's.
    assert_eq!(w.initializers(0), ["s"]);
    assert_eq!(w.value_infos(), ["stale"]);
    assert_eq!(w.table.graphs[0].annotations.len(), 1);
}

#[test]
fn an_argument_that_became_a_constant_leaves_the_interface() {
    let of = |inputs: Vec<Msg>| {
        model(
            8,
            17,
            graph(
                vec![node("Add", &["x", "w"], &["y"])],
                vec![tensor_f32("w", &[2], &[1.0, 2.0])],
                inputs,
                vec![value("y", &[2])],
            ),
        )
    };
    let (doc, mut module) = open(&of(vec![value("w", &[2]), value("x", &[2])]));
    let (_, g) = main_graph(&mut module);
    let op = op_of(g, "w");
    let OpKind::Constant(c) = g.kind(op).clone() else { panic!() };
    assert_eq!(c.binding, normfold_ir::Binding::Overridable);
    g.set_kind(op, Constant::new(c.entry));
    assert!(saved(&doc, &module) == of(vec![value("x", &[2])]).0);
}

#[test]
fn before_ir_version_4_initializers_are_inputs() {
    let (doc, mut module) = open(&conv_bn(3, 9));
    fold(&mut module);
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.initializers(0), ["w", "w.bias"]);
    assert_eq!(w.inputs(), ["x", "w", "w.bias"]);
}

#[test]
fn an_edited_tensor_keeps_its_other_fields_and_their_order() {
    let t = |v: &[f32]| {
        let raw: Vec<u8> = v.iter().flat_map(|v| v.to_le_bytes()).collect();
        Msg::new().str(8, "w").bytes(9, &raw).str(12, "doc").int(2, 1).int(1, 2).str(4000, "new")
    };
    let of = |t: Msg| {
        model(
            8,
            17,
            graph(
                vec![node("Add", &["x", "w"], &["y"])],
                vec![t],
                vec![value("x", &[2])],
                vec![value("y", &[2])],
            ),
        )
    };
    let (doc, mut module) = open(&of(t(&[1.0, 2.0])));
    let id = module.main().unwrap();
    set_values(&mut module, id, "w", &[3.0, 4.0]);
    assert!(saved(&doc, &module) == of(t(&[3.0, 4.0])).0);
}

#[test]
fn storage_forms_stay() {
    let half = |v: &[i64]| {
        let mut packed = Vec::new();
        v.iter().for_each(|&v| crate::onnx::wire::push_varint(&mut packed, v as u64));
        Msg::new().int(1, 2).int(2, 10).bytes(5, &packed).str(8, "w")
    };
    let of = |t: Msg| {
        model(
            8,
            17,
            graph(vec![node("Identity", &["w"], &["y"])], vec![t], vec![], vec![value("y", &[2])]),
        )
    };
    let constant = |a: Msg| {
        model(
            8,
            17,
            graph(
                vec![node("Constant", &[], &["w"]).msg(5, a), node("Identity", &["w"], &["y"])],
                vec![],
                vec![],
                vec![value("y", &[2])],
            ),
        )
    };
    for (before, after) in [
        (
            of(tensor_float_data("w", &[2], &[1.0, 2.0])),
            of(tensor_float_data("w", &[2], &[3.0, 4.0])),
        ),
        (of(half(&[15360, 16384])), of(half(&[16896, 17408]))),
        (
            constant(attr_tensor("value", tensor_f32("inner", &[2], &[1.0, 2.0]))),
            constant(attr_tensor("value", tensor_f32("inner", &[2], &[3.0, 4.0]))),
        ),
        (
            constant(Msg::new().str(1, "value_floats").float(7, 1.0).float(7, 2.0).int(20, 6)),
            constant(
                Msg::new()
                    .str(1, "value_floats")
                    .bytes(7, &[0, 0, 64, 64, 0, 0, 128, 64])
                    .int(20, 6),
            ),
        ),
    ] {
        let (doc, mut module) = open(&before);
        let id = module.main().unwrap();
        set_values(&mut module, id, "w", &[3.0, 4.0]);
        assert!(saved(&doc, &module) == after.0);
    }
    let (doc, mut module) = open(&constant(attr_float("value_float", 1.0)));
    let id = module.main().unwrap();
    set_values(&mut module, id, "w", &[3.0]);
    assert!(saved(&doc, &module) == constant(attr_float("value_float", 3.0)).0);
}

#[test]
fn new_nodes_stand_behind_what_they_read() {
    let m = model(
        8,
        17,
        graph(
            vec![
                node("MatMul", &["x", "w"], &["m"]),
                node("Relu", &["x"], &["r"]),
                node("Neg", &["m"], &["y"]),
            ],
            vec![tensor_f32("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0])],
            vec![value("x", &[-1, 2])],
            vec![value("y", &[-1, 2]), value("r", &[-1, 2])],
        ),
    );
    let (doc, mut module) = open(&m);
    let (id, _) = main_graph(&mut module);
    let t = module.constants.add_f64(DType::F32, &[2], &[1.0, 2.0]);
    let g = module.graph_mut(id);
    let mm = value_of(g, "m");
    let t = g.create(
        OpSpec::new(Constant::new(t))
            .result(TensorType::of(DType::F32, &[2]))
            .name("shift")
            .at(mm.op),
    );
    let t = g.result(t, 0);
    let add = g.create(
        OpSpec::new(BinaryKind::Add).result(g.ty(mm).clone()).operand(mm).operand(t).at(mm.op),
    );
    let sum = g.result(add, 0);
    let user = op_of(g, "y");
    g.set_operand(Use { user, operand: 0 }, Some(sum));
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["MatMul(x,w)->m", "Add(m,shift)->add", "Relu(x)->r", "Neg(add)->y"]);
    assert_eq!(w.initializers(0), ["w", "shift"]);
}

#[test]
fn records_move_only_when_they_must() {
    let m = model(
        8,
        17,
        graph(
            vec![
                node("Relu", &["x"], &["a"]),
                node("Neg", &["x"], &["b"]),
                node("Add", &["a", "b"], &["y"]),
            ],
            vec![],
            vec![value("x", &[2])],
            vec![value("y", &[2])],
        ),
    );
    let (doc, mut module) = open(&m);
    let (_, g) = main_graph(&mut module);
    let (a, b) = (op_of(g, "a"), value_of(g, "b"));
    g.set_operand(Use { user: a, operand: 0 }, Some(b));
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["Neg(x)->b", "Relu(b)->a", "Add(a,b)->y"]);
}

#[test]
fn a_result_that_cannot_take_its_name_gets_an_identity() {
    let m = model(
        8,
        17,
        graph(
            vec![
                node("Relu", &["x"], &["a"]),
                node("Identity", &["a"], &["y"]),
                node("Identity", &["x"], &["z"]),
            ],
            vec![],
            vec![value("x", &[2])],
            vec![value("a", &[2]), value("y", &[2]), value("z", &[2])],
        ),
    );
    let (doc, mut module) = open(&m);
    let (_, g) = main_graph(&mut module);
    for (name, with) in [("y", "a"), ("z", "x")] {
        let (from, to) = (value_of(g, name), value_of(g, with));
        g.replace_all_uses(from, to);
        g.erase(from.op);
    }
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0), ["Identity(x)->z", "Relu(x)->a", "Identity(a)->y"]);
}

#[test]
fn a_matmul_becomes_a_gemm_and_a_gemm_is_spliced() {
    let m = |ops: Vec<Msg>| {
        model(
            8,
            13,
            graph(
                ops,
                vec![
                    tensor_f32("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
                    tensor_f32("c", &[2], &[0.0, 0.0]),
                ],
                vec![value("x", &[3, 2])],
                vec![value("y", &[3, 2])],
            ),
        )
    };
    let (doc, mut module) =
        open(&m(vec![node("MatMul", &["x", "w"], &["y"]), node("Relu", &["c"], &["unused"])]));
    let (_, g) = main_graph(&mut module);
    let (op, c) = (op_of(g, "y"), value_of(g, "c"));
    g.set_kind(op, Linear { matrix: true, ..Linear::default() });
    g.set_operand(Use { user: op, operand: 2 }, Some(c));
    let w = Written::new(saved(&doc, &module));
    assert_eq!(w.nodes(0)[0], "Gemm(x,w,c)->y");
    assert_eq!(w.model().main().node(0).unwrap().name, "y_MatMul");

    let gemm = |beta: f32| {
        node("Gemm", &["x", "w", "c"], &["y"])
            .msg(5, attr_float("alpha", 0.5))
            .msg(5, attr_float("beta", beta).str(13, "doc"))
            .str(6, "doc")
    };
    let (doc, mut module) = open(&m(vec![gemm(0.25)]));
    let (_, g) = main_graph(&mut module);
    let op = op_of(g, "y");
    let OpKind::Linear(l) = g.kind(op).clone() else { panic!("Gemm is linear") };
    g.set_kind(op, Linear { beta: 1.0, ..*l });
    assert!(saved(&doc, &module) == m(vec![gemm(1.0)]).0);
}

#[test]
fn opset_limits_are_errors() {
    let m = model(
        3,
        6,
        graph(
            vec![node("Gemm", &["x", "w", "c"], &["y"])],
            vec![tensor_f32("w", &[2, 2], &[1.0; 4]), tensor_f32("c", &[2], &[0.0; 2])],
            vec![value("x", &[3, 2]), value("w", &[2, 2]), value("c", &[2])],
            vec![value("y", &[3, 2])],
        ),
    );
    let (doc, mut module) = open(&m);
    let (_, g) = main_graph(&mut module);
    let op = op_of(g, "y");
    let c = g.operand(op, 2).unwrap();
    g.set_kind(op, Linear { matrix: true, beta: 2.0, ..Linear::default() });
    let w = Written::new(saved(&doc, &module));
    let n = w.model().main().node(0).unwrap();
    assert_eq!((n.attribute("broadcast").unwrap().i, n.attribute("beta").unwrap().f), (1, 2.0));

    let (_, g) = main_graph(&mut module);
    g.set_operand(Use { user: op, operand: 2 }, None);
    let e = doc.save_to(&module, &mut Vec::new(), SaveOptions::default()).unwrap_err();
    assert!(
        matches!(&e, FrontendError::NotExpressible { why, .. } if why.contains("opset 6")),
        "{e}"
    );
    let (_, g) = main_graph(&mut module);
    g.set_operand(Use { user: op, operand: 2 }, Some(c));
    let y = g.result(op, 0);
    let ty = g.ty(y).clone();
    let add = g.create(OpSpec::new(BinaryKind::Add).operand(c).operand(c).result(ty).at(op));
    let sum = g.result(add, 0);
    g.replace_all_uses(y, sum);
    let e = doc.save_to(&module, &mut Vec::new(), SaveOptions::default()).unwrap_err();
    assert!(
        matches!(&e, FrontendError::NotExpressible { why, .. } if why.contains("needs opset 7")),
        "{e}"
    );
}

mod bodies;
mod carried;
mod files;
mod types;
