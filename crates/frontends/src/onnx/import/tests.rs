//! Documents built field by field: names, bodies, functions, versions.

mod nodes;
mod tensors;

use super::*;
use crate::onnx::{
    model::{ModelTable, Origin},
    proto::{Msg, attr_graph, attr_int, graph, model, node, tensor_f32, value},
};
use normfold_ir::{Binding, OpId, OpKind};

/// Imports a document; keeps what the module's constants view.
pub(super) fn try_import(document: &Msg) -> Result<(Import, ModelTable), FrontendError> {
    let source = Source::Memory(document.0.clone().into());
    let table = ModelTable::scan(source.bytes())?;
    let external = ExternalFiles::new(None);
    let import = import(Model::new(source.bytes(), &table), &source, &external)?;
    Ok((import, table))
}

pub(super) fn module(document: &Msg) -> Module {
    try_import(document).unwrap().0.module
}

pub(super) fn problem(document: &Msg) -> String {
    match try_import(document) {
        Ok(_) => panic!("imported"),
        Err(e) => e.to_string(),
    }
}

pub(super) fn main(m: &Module) -> &Graph {
    m.graph(m.main().unwrap())
}

/// The op that defines a value.
pub(super) fn def(g: &Graph, name: &str) -> OpId {
    let named = |o: &OpId| g.results(*o).any(|v| g.value_name(v).is_some_and(|n| **n == *name));
    g.ops().find(named).unwrap_or_else(|| panic!("no value {name}"))
}

pub(super) fn names(g: &Graph, values: impl Iterator<Item = Option<normfold_ir::Value>>) -> String {
    let name = |v: Option<normfold_ir::Value>| match v {
        Some(v) => g.value_name(v).map_or("?", |n| n).to_owned(),
        None => "-".to_owned(),
    };
    values.map(name).collect::<Vec<_>>().join(" ")
}

#[test]
fn records_are_numbered_through() {
    let g = graph(
        vec![node("Relu", &["x"], &["a"]), node("Add", &["a", "w"], &["y"])],
        vec![tensor_f32("w", &[2], &[1.0, 2.0]), tensor_f32("unused", &[], &[1.0])],
        vec![value("x", &[2])],
        vec![value("y", &[2])],
    );
    let (import, table) = try_import(&model(8, 17, g)).unwrap();
    let g = main(&import.module);
    let origin = |name| table.graphs[0].origin(g.origin(def(g, name)).unwrap());
    assert_eq!(origin("a"), Origin::Node(0));
    assert_eq!(origin("y"), Origin::Node(1));
    assert_eq!(origin("w"), Origin::Initializer(0));
    assert_eq!(origin("unused"), Origin::Initializer(1));
    assert_eq!(origin("x"), Origin::Input(0));
    assert_eq!(g.op_name(def(g, "y")).map(|n| &**n), Some("y_Add"));
    let ret = g.return_op().unwrap();
    assert_eq!((g.origin(ret), names(g, g.operands(ret))), (None, "y".into()));
    assert_eq!(import.graphs, [import.module.main()]);
    let attrs: Vec<_> = import.module.attrs.keys().map(|k| &**k).collect();
    assert_eq!(attrs, ["source", "ir", "opset"]);
}

#[test]
fn nodes_in_any_order_but_not_in_a_circle() {
    let of =
        |nodes| model(8, 17, graph(nodes, vec![], vec![value("x", &[2])], vec![value("c", &[2])]));
    let m = module(&of(vec![
        node("Relu", &["b"], &["c"]),
        node("Add", &["a", "a"], &["b"]),
        node("Relu", &["x"], &["a"]),
    ]));
    let g = main(&m);
    assert_eq!(names(g, g.operands(def(g, "b"))), "a a");
    assert!(g.topo_order().is_ok());

    let e = problem(&of(vec![
        node("Relu", &["x"], &["a"]),
        node("Add", &["a", "c"], &["b"]),
        node("Relu", &["b"], &["c"]),
    ]));
    assert!(e.contains("cycle") && e.contains("`c_Relu`") && e.contains("`b_Add`"), "{e}");
    assert!(!e.contains("a_Relu"), "{e}");
}

#[test]
fn names_are_defined_once_and_before_all() {
    let x = || vec![value("x", &[2])];
    let of = |nodes, tensors| model(8, 17, graph(nodes, tensors, x(), vec![value("y", &[2])]));
    let e = problem(&of(vec![node("Add", &["x", "nowhere"], &["y"])], vec![]));
    assert!(e.contains("graph.node[0] (`y_Add`)") && e.contains("reads `nowhere`"), "{e}");
    let e = problem(&of(vec![node("Relu", &["x"], &["z"])], vec![]));
    assert!(e.contains("graph.output[0]") && e.contains("`y`, which nothing defines"), "{e}");
    for again in [node("Abs", &["x"], &["y"]), node("Abs", &["x"], &["x"])] {
        let e = problem(&of(vec![node("Relu", &["x"], &["y"]), again], vec![]));
        assert!(e.contains("which is defined already") && e.contains("node[1]"), "{e}");
    }
    let t = || tensor_f32("y", &[1], &[1.0]);
    let e = problem(&of(vec![node("Relu", &["x"], &["y"])], vec![t()]));
    assert!(e.contains("defines `y`, which is defined already"), "{e}");
    let e = problem(&of(vec![], vec![t(), t()]));
    assert!(e.contains("initializer") && e.contains("already"), "{e}");
}

#[test]
fn versions_are_required() {
    let g = || {
        graph(
            vec![node("Relu", &["x"], &["y"])],
            vec![],
            vec![value("x", &[2])],
            vec![value("y", &[2])],
        )
    };
    let bare = |ir| Msg::new().int(1, ir).msg(7, g());
    assert!(problem(&bare(3)).contains("opset_import is missing"));
    assert!(matches!(
        main(&module(&bare(2))).kind(def(main(&module(&bare(2))), "y")),
        OpKind::Unary(_)
    ));
    assert!(problem(&model(0, 17, g())).contains("ir_version"));
    assert!(problem(&model(8, 0, g())).contains("opset version 0"));
    let other = bare(8).msg(8, Msg::new().str(1, "org.example").int(2, 1));
    let e = problem(&other);
    assert!(e.contains("node[0] (`y_Relu`)") && e.contains("opset_import"), "{e}");
    // The standard domain has two names; newer versions than known are read as the newest known one.
    let alias = bare(20).msg(8, Msg::new().str(1, "ai.onnx").int(2, 99));
    assert!(matches!(
        main(&module(&alias)).kind(def(main(&module(&alias)), "y")),
        OpKind::Unary(_)
    ));
}

#[test]
fn initializers_that_are_inputs() {
    let of = |ir| {
        let g = graph(
            vec![node("Add", &["x", "w"], &["y"])],
            vec![tensor_f32("w", &[2], &[1.0, 2.0])],
            vec![value("w", &[2]), value("x", &[2])],
            vec![value("y", &[2])],
        );
        model(ir, 17, g)
    };
    for (ir, want) in [(3, Binding::Fixed), (4, Binding::Overridable)] {
        let m = module(&of(ir));
        let g = main(&m);
        let OpKind::Constant(c) = g.kind(def(g, "w")) else { panic!("w is no constant") };
        assert_eq!(c.binding, want);
        let [x] = g.parameters() else { panic!("{:?}", g.parameters()) };
        assert!(matches!(g.kind(*x), OpKind::Parameter(p) if p.index == 0 && !p.capture));
        // Inputs keep their numbers in the document.
        assert_eq!(g.origin(*x), Some(1 + 1 + 1));
    }
    // Bound by training: an entry of update_binding.
    let training = Msg::new().msg(4, Msg::new().str(1, "w").str(2, "new_w"));
    let m = module(&of(8).msg(20, training));
    let g = main(&m);
    assert!(matches!(g.kind(def(g, "w")), OpKind::Constant(c) if c.binding == Binding::Mutable));
}

#[test]
fn annotated_values_are_marked() {
    let g = graph(
        vec![node("Add", &["x", "w"], &["y"])],
        vec![tensor_f32("w", &[2], &[1.0, 2.0])],
        vec![value("x", &[2])],
        vec![value("y", &[2])],
    );
    let g = g.msg(14, Msg::new().str(1, "w")).msg(14, Msg::new().str(1, "gone"));
    let m = module(&model(8, 17, g));
    let g = main(&m);
    assert!(g.is_quantized(g.result(def(g, "w"), 0)));
    assert!(!g.is_quantized(g.result(def(g, "x"), 0)));
}

fn body(nodes: Vec<Msg>, outputs: &[&str]) -> Msg {
    graph(nodes, vec![], vec![], outputs.iter().map(|o| Msg::new().str(1, o)).collect())
}

fn branch(condition: &str, output: &str, yes: Msg, no: Msg) -> Msg {
    // Writers that sort attributes put the other branch first.
    node("If", &[condition], &[output])
        .msg(5, attr_graph("else_branch", no))
        .msg(5, attr_graph("then_branch", yes))
}

#[test]
fn bodies_capture_level_by_level() {
    let inner = body(vec![node("Add", &["a", "b"], &["i"])], &["i"]);
    let other = body(vec![node("Relu", &["b"], &["j"])], &["j"]);
    let yes = body(
        vec![
            node("Abs", &["x"], &["b"]),
            branch("c", "t", inner, other),
            node("Mul", &["t", "a"], &["u"]),
        ],
        &["u"],
    );
    let no = body(vec![node("Add", &["w", "a"], &["v"])], &["v"]);
    let g = graph(
        vec![node("Relu", &["x"], &["a"]), branch("c", "y", yes, no)],
        vec![tensor_f32("w", &[2], &[1.0, 2.0])],
        vec![value("x", &[2]), value("c", &[])],
        vec![value("y", &[2])],
    );
    let (import, table) = try_import(&model(8, 17, g)).unwrap();
    let m = &import.module;
    let g = main(m);
    let y = def(g, "y");
    assert!(matches!(g.kind(y), OpKind::If(_)));
    assert_eq!(names(g, g.operands(y)), "c");
    // Once each, in the order of first use; what the inner If reads is captured on the way.
    assert_eq!(names(g, g.captures(y)), "x c a w");
    let [yes, no] = g.regions(y) else { panic!("two bodies") };
    let captured = |g: &Graph| {
        let list: Vec<_> = g
            .parameters()
            .iter()
            .map(|&p| match g.kind(p) {
                OpKind::Parameter(p) => (p.capture, p.index),
                _ => unreachable!(),
            })
            .collect();
        (list, names(g, g.parameters().iter().map(|&p| Some(g.result(p, 0)))))
    };
    let (yes, no) = (m.graph(*yes), m.graph(*no));
    assert_eq!(captured(yes), (vec![(true, 0), (true, 1), (true, 2)], "x c a".into()));
    assert_eq!(captured(no), (vec![(true, 3), (true, 2)], "w a".into()));
    assert_eq!(yes.ty(yes.result(yes.parameters()[0], 0)).to_string(), "tensor<2xf32>");
    let t = def(yes, "t");
    assert_eq!(names(yes, yes.captures(t)), "a b");
    let inner = m.graph(yes.regions(t)[0]);
    assert_eq!(captured(inner).1, "a b");
    assert!(yes.topo_order().is_ok() && inner.topo_order().is_ok());
    // Every graph of the document is found by the number of its table.
    for (i, id) in import.graphs.iter().enumerate() {
        let g = m.graph(id.unwrap());
        assert!(g.return_op().is_some(), "graph {i}");
        let nodes = g.ops().filter(|&o| g.origin(o).is_some()).count();
        let t = &table.graphs[i];
        assert_eq!(nodes, t.nodes.len() + t.initializers.len() + t.inputs.len());
    }
    assert_eq!(m.innermost_first().len(), 5);
}

#[test]
fn bodies_capture_what_is_defined_further_down() {
    let yes = body(vec![node("Add", &["late", "x"], &["p"])], &["p"]);
    let no = body(vec![node("Identity", &["x"], &["q"])], &["q"]);
    let of = |late: Msg, yes: Msg, no: Msg| {
        let g = graph(
            vec![branch("c", "y", yes, no), late],
            vec![],
            vec![value("x", &[2]), value("c", &[])],
            vec![value("y", &[2])],
        );
        model(8, 17, g)
    };
    let m = module(&of(node("Relu", &["x"], &["late"]), yes.clone(), no.clone()));
    let g = main(&m);
    assert_eq!(names(g, g.captures(def(g, "y"))), "late x");
    assert!(g.ops().all(|o| !matches!(g.kind(o), OpKind::Opaque(_))));
    let e = problem(&of(node("Relu", &["y"], &["late"]), yes, no.clone()));
    assert!(e.contains("cycle") && e.contains("`y_If`") && e.contains("`late_Relu`"), "{e}");
    // The innermost reader is named, also when the body's own order is at fault.
    let lost = body(vec![node("Add", &["lost", "x"], &["p"])], &["p"]);
    let e = problem(&of(node("Relu", &["x"], &["late"]), lost, no.clone()));
    assert!(e.contains("node[0].body.node[0] (`p_Add`)") && e.contains("`lost`"), "{e}");
    // Out of order within the body.
    let jumbled = body(vec![node("Add", &["r", "x"], &["p"]), node("Abs", &["x"], &["r"])], &["p"]);
    let m = module(&of(node("Relu", &["x"], &["late"]), jumbled, no));
    let g = main(&m);
    assert_eq!(names(g, g.captures(def(g, "y"))), "x");
}

#[test]
fn nodes_of_bodies_hide_nothing() {
    let of = |inner: Msg| {
        let no = body(vec![node("Identity", &["x"], &["q"])], &["q"]);
        let g = graph(
            vec![node("Relu", &["x"], &["a"]), branch("c", "y", inner, no)],
            vec![],
            vec![value("x", &[2]), value("c", &[])],
            vec![value("y", &[2])],
        );
        model(8, 17, g)
    };
    let e = problem(&of(body(vec![node("Abs", &["x"], &["a"])], &["a"])));
    assert!(e.contains("defines `a`, which a graph around it defines already"), "{e}");
    // A name that is defined after the body, unless the body may have to be written after it.
    let after = |read: &str| {
        let no = body(vec![node("Identity", &["x"], &["q"])], &["q"]);
        let yes = body(vec![node("Abs", &[read], &["a"])], &["a"]);
        let nodes = vec![
            branch("c", "y", yes, no),
            node("Relu", &["x"], &["a"]),
            node("Relu", &["a"], &["b"]),
        ];
        let inputs = vec![value("x", &[2]), value("c", &[])];
        model(8, 17, graph(nodes, vec![], inputs, vec![value("y", &[2]), value("b", &[2])]))
    };
    assert_eq!(main(&module(&after("x"))).return_op().map(|_| ()), Some(()));
    let e = problem(&after("b"));
    assert!(e.contains("node[0].body.node[0]") && e.contains("defines `a`"), "{e}");
    // Inputs of a body may.
    let l = |input: &str| {
        let b = graph(
            vec![node("Identity", &["go"], &["on"]), node("Abs", &[input], &["z"])],
            vec![],
            vec![value("i", &[]), value("go", &[]), value(input, &[2])],
            vec![value("on", &[]), value("z", &[2])],
        );
        let g = graph(
            vec![node("Loop", &["n", "", "x"], &["y"]).msg(5, attr_graph("body", b))],
            vec![],
            vec![value("x", &[2]), value("n", &[])],
            vec![value("y", &[2])],
        );
        model(8, 17, g)
    };
    let m = module(&l("x"));
    let g = main(&m);
    let y = def(g, "y");
    assert!(matches!(g.kind(y), OpKind::Loop(_)));
    assert_eq!((names(g, g.operands(y)), g.captures(y).len()), ("n - x".into(), 0));
}

#[test]
fn bodies_that_do_not_fit_stay_opaque() {
    let yes = body(vec![node("Relu", &["x"], &["p"])], &["p", "p"]);
    let no = body(vec![node("Abs", &["x"], &["q"])], &["q"]);
    let g = graph(
        vec![branch("c", "y", yes, no)],
        vec![],
        vec![value("x", &[2]), value("c", &[])],
        vec![value("y", &[2])],
    );
    let m = module(&model(8, 17, g));
    let g = main(&m);
    let y = def(g, "y");
    assert!(matches!(g.kind(y), OpKind::Opaque(o) if !o.pure && &*o.name == "If"));
    assert_eq!((g.regions(y).len(), names(g, g.captures(y))), (2, "x".into()));
    // An operator of another domain with a body: the same.
    let b = body(vec![node("Relu", &["x"], &["p"])], &["p"]);
    let custom = node("Repeat", &["c"], &["y"]).str(7, "org.example").msg(5, attr_graph("what", b));
    let g = graph(
        vec![custom],
        vec![],
        vec![value("x", &[2]), value("c", &[])],
        vec![value("y", &[2])],
    );
    let m = module(&model(8, 17, g));
    let g = main(&m);
    let y = def(g, "y");
    assert_eq!((g.regions(y).len(), names(g, g.captures(y))), (1, "x".into()));
    assert_eq!(g.kind(y).display_name(), "org.example::Repeat");
    // A body where none belongs, even in an attribute that does not matter otherwise.
    let b = body(vec![node("Relu", &["x"], &["p"])], &["p"]);
    let n = node("Dropout", &["x"], &["y"]).msg(5, attr_graph("seed", b));
    let m = module(&model(
        8,
        17,
        graph(vec![n], vec![], vec![value("x", &[2])], vec![value("y", &[2])]),
    ));
    let g = main(&m);
    assert!(matches!(g.kind(def(g, "y")), OpKind::Opaque(_)));
    assert_eq!(g.regions(def(g, "y")).len(), 1);
}

fn function(domain: &str, name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<Msg>) -> Msg {
    let m = inputs.iter().fold(Msg::new().str(1, name), |m, i| m.str(4, i));
    outputs
        .iter()
        .fold(m, |m, o| m.str(5, o))
        .all(7, nodes)
        .msg(9, Msg::new().str(1, "").int(2, 6))
        .str(10, domain)
}

fn with_functions(nodes: Vec<Msg>, functions: Vec<Msg>) -> Msg {
    let g = graph(nodes, vec![], vec![value("x", &[2])], vec![value("y", &[2])]);
    model(8, 17, g).all(25, functions)
}

#[test]
fn functions_are_called_by_name() {
    let f = function("loc", "F", &["a", "b"], &["r"], vec![node("Dropout", &["a"], &["r"])]);
    let g = function("loc", "F", &["a"], &["r"], vec![node("Relu", &["a"], &["r"])]).str(13, "two");
    let m = module(&with_functions(
        vec![
            node("F", &["x"], &["p"]).str(7, "loc"),
            node("F", &["p"], &["y"]).str(7, "loc").str(8, "two"),
            node("F", &["x"], &["z"]).str(7, "else"),
        ],
        vec![f, g],
    ));
    let main = main(&m);
    let callee = |name| match main.kind(def(main, name)) {
        OpKind::Call(c) => c.callee.to_string(),
        k => k.display_name(),
    };
    assert_eq!(
        (callee("p"), callee("y"), callee("z")),
        ("loc::F".into(), "loc::F:two".into(), "else::F".into())
    );
    let f = m.graph(m.function("loc::F").unwrap());
    // The function's opset counts: 6, where a Dropout without is_test trains.
    assert!(matches!(f.kind(def(f, "r")), OpKind::Dropout(d) if d.training));
    assert_eq!(f.parameters().len(), 2);
    assert_eq!(f.origin(f.parameters()[1]), Some(2));
}

#[test]
fn functions_neither_recur_nor_take_more_than_they_have() {
    let call = |name: &str, from: &str, to: &str| node(name, &[from], &[to]).str(7, "loc");
    let f = |name: &str, callee: &str| {
        function("loc", name, &["a"], &["r"], vec![call(callee, "a", "r")])
    };
    let leaf = function("loc", "L", &["a"], &["r"], vec![node("Abs", &["a"], &["r"])]);
    let e = problem(&with_functions(
        vec![call("F", "x", "y")],
        vec![f("F", "G"), f("G", "H"), f("H", "G"), leaf.clone()],
    ));
    assert!(e.contains("loc::G → loc::H → itself"), "{e}");
    let shared =
        with_functions(vec![call("F", "x", "y")], vec![f("F", "L"), f("G", "L"), leaf.clone()]);
    assert_eq!(module(&shared).graph_ids().len(), 4);
    let e = problem(&with_functions(
        vec![node("L", &["x", "x"], &["y"]).str(7, "loc")],
        vec![leaf.clone()],
    ));
    assert!(e.contains("2 inputs") && e.contains("loc::L"), "{e}");
    let e = problem(&with_functions(vec![], vec![leaf.clone(), leaf]));
    assert!(e.contains("two functions"), "{e}");
    let free = function("loc", "F", &["a"], &["r"], vec![node("Abs", &["x"], &["r"])]);
    let e = problem(&with_functions(vec![call("F", "x", "y")], vec![free]));
    assert!(e.contains("functions[0].node[0]") && e.contains("reads `x`"), "{e}");
}

#[test]
fn references_to_a_functions_attributes_stay_opaque() {
    let reference = |name: &str| Msg::new().str(1, name).int(20, 2).str(21, "outer");
    let nodes = vec![
        node("Concat", &["a", "a"], &["p"]).msg(5, reference("axis")),
        node("Concat", &["p", "a"], &["r"]).msg(5, attr_int("axis", 0)),
    ];
    let f = function("loc", "F", &["a"], &["r"], nodes);
    let m = module(&with_functions(vec![node("F", &["x"], &["y"]).str(7, "loc")], vec![f]));
    let f = m.graph(m.function("loc::F").unwrap());
    let OpKind::Opaque(o) = f.kind(def(f, "p")) else { panic!("known") };
    assert_eq!(o.attrs.get("axis"), Some(&normfold_ir::Attribute::Ref("outer".into())));
    assert!(o.pure);
    assert!(matches!(f.kind(def(f, "r")), OpKind::Concat(c) if c.axis == 0));
}

#[test]
fn absent_results_stay_absent() {
    let n = node("LSTM", &["x", "x", "x"], &["", "y"]);
    let document =
        model(8, 17, graph(vec![n], vec![], vec![value("x", &[2])], vec![value("y", &[2])]));
    let options = crate::onnx::OpenOptions::default();
    let (open, m) = crate::onnx::OnnxDocument::from_bytes(document.0.clone(), &options).unwrap();
    let lstm = def(main(&m), "y");
    assert_eq!(names(main(&m), main(&m).results(lstm).map(Some)), "? y");
    let mut out = Vec::new();
    open.save_to(&m, &mut out, Default::default()).unwrap();
    assert_eq!(out, document.0);
}
