use super::*;
use crate::onnx::proto::*;

fn scan(m: &Msg) -> Result<ModelTable, FrontendError> {
    ModelTable::scan(&m.0)
}

fn small() -> Msg {
    let conv = node("Conv", &["x", "w", ""], &["y"])
        .msg(5, attr_ints("pads", &[1, 2]))
        .msg(5, attr_float("eps", 0.5))
        .msg(10, Msg::new().str(1, "cfg").msg(2, Msg::new().str(1, "w")));
    let g = graph(
        vec![conv],
        vec![tensor_f32("w", &[2, 1], &[1.0, 2.0])],
        vec![value("x", &[1, -1])],
        vec![value("y", &[2])],
    )
    .msg(13, value("mid", &[]))
    .msg(14, Msg::new().str(1, "w").msg(2, Msg::new().str(1, "SCALE_TENSOR").str(2, "s")));
    model(8, 17, g).msg(8, Msg::new().str(1, "com.x").int(2, 3))
}

#[test]
fn views_decode_what_is_there() {
    let m = small();
    let table = scan(&m).unwrap();
    let model = Model::new(&m.0, &table);
    assert_eq!(
        (table.ir_version, model.opset("ai.onnx"), model.opset("com.x"), model.opset("y")),
        (8, Some(17), Some(3), None)
    );
    let g = model.main();
    assert_eq!(g.name().unwrap(), "g");
    let n = g.node(0).unwrap();
    assert_eq!((n.op_type, n.name, n.domain), ("Conv", "y_Conv", ""));
    assert_eq!((n.inputs.as_slice(), n.outputs.as_slice()), (&["x", "w", ""][..], &["y"][..]));
    assert_eq!(n.sharded.as_slice(), ["w"]);
    let pads = n.attribute("pads").unwrap();
    assert_eq!((pads.kind, pads.ints().unwrap()), (AttributeKind::Ints, vec![1, 2]));
    assert_eq!(n.attribute("eps").unwrap().f, 0.5);
    let w = g.initializer(0).unwrap();
    assert_eq!(
        (w.name, w.dims.as_slice(), w.data_type, w.elements()),
        ("w", &[2, 1][..], 1, Some(2))
    );
    assert!(matches!(w.storage, Storage::Raw(b) if b.len() == 8));
    let ty =
        TypeView::Tensor { elem_type: 1, shape: Some(vec![DimView::Value(1), DimView::Unknown]) };
    assert_eq!(g.input(0).unwrap().ty, Some(ty));
    assert_eq!(g.output(0).unwrap().name, "y");
    assert_eq!(g.value_info(0).unwrap().name, "mid");
    let a = g.annotation(0).unwrap();
    assert_eq!((a.tensor_name, a.parameters), ("w", vec![("SCALE_TENSOR", "s")]));
}

#[test]
fn origins_number_records_through() {
    let m = small();
    let table = scan(&m).unwrap();
    let t = &table.graphs[0];
    for (number, origin) in [
        (0, Origin::Node(0)),
        (1, Origin::Initializer(0)),
        (2, Origin::Input(0)),
        (3, Origin::Input(1)),
    ] {
        assert_eq!((t.origin(number), t.number(origin)), (origin, number));
    }
}

#[test]
fn tensors_say_how_they_are_stored() {
    let of = |m: Msg| {
        let content = m.0.leak();
        TensorView::decode(Bytes::new(content, 0)).unwrap()
    };
    assert!(
        matches!(of(tensor_float_data("w", &[2], &[1.0, 2.0])).storage, Storage::Typed { field: 4, packed: Some(b) } if b.len() == 8)
    );
    let unpacked = of(Msg::new().int(1, 2).int(2, 1).float(4, 1.0).float(4, 2.0));
    assert!(matches!(unpacked.storage, Storage::Typed { field: 4, packed: None }));
    let mut seen = Vec::new();
    unpacked.typed(4, |v| seen.push(f32::from_bits(v as u32))).unwrap();
    assert_eq!(seen, [1.0, 2.0]);
    assert!(matches!(of(tensor_f32("w", &[1], &[1.0]).float(4, 1.0)).storage, Storage::Several));
    assert!(
        matches!(of(tensor_external("w", &[1], &[("location", "f")])).storage, Storage::External(e) if e == [("location", "f")])
    );
    assert!(matches!(
        of(tensor_external("w", &[1], &[]).bytes(9, b"abcd")).storage,
        Storage::Several
    ));
    assert!(matches!(of(Msg::new().int(1, 0)).storage, Storage::None));
    assert_eq!(of(Msg::new().int(1, -1)).elements(), None);
    assert_eq!(of(Msg::new().int(1, i64::MAX).int(1, 4)).elements(), None);
    assert!(of(Msg::new().msg(3, Msg::new())).segmented);
}

fn nested(levels: usize) -> Msg {
    (1..levels).fold(graph(vec![node("Relu", &["x"], &["y"])], vec![], vec![], vec![]), |g, _| {
        graph(
            vec![node("If", &["c"], &["y"]).msg(5, attr_graph("then_branch", g))],
            vec![],
            vec![],
            vec![],
        )
    })
}

#[test]
fn bodies_are_found_at_every_level_up_to_the_limit() {
    let m = model(8, 17, nested(GRAPH_DEPTH_LIMIT as usize));
    let table = scan(&m).unwrap();
    assert_eq!(table.graphs.len(), GRAPH_DEPTH_LIMIT as usize);
    let model_view = Model::new(&m.0, &table);
    let body = model_view.main().node(0).unwrap().attributes[0].graph().unwrap();
    assert_eq!(model_view.graph_at(body).unwrap().index, 1);
    assert_eq!(model_view.graph(2).unwrap().path(), "graph.node[0].body.node[0].body");
    assert_eq!(model_view.graph(2).unwrap().opset(""), Some(17));
    let e = scan(&model(8, 17, nested(GRAPH_DEPTH_LIMIT as usize + 1))).unwrap_err();
    assert!(e.to_string().contains("more than 64 deep"), "{e}");
    assert!(scan(&model(8, 17, nested(10_000))).is_err());
}

#[test]
fn functions_are_graphs_of_names() {
    let f = Msg::new()
        .str(1, "F")
        .str(4, "a")
        .str(5, "b")
        .all(7, [node("Relu", &["a"], &["b"])])
        .msg(9, Msg::new().int(2, 13))
        .str(10, "com.x")
        .str(6, "alpha")
        .msg(11, attr_int("beta", 1));
    let m = small().msg(25, f);
    let table = scan(&m).unwrap();
    let t = &table.functions[0];
    assert_eq!(
        (&*t.name, &*t.domain, &*t.inputs, t.attributes.len(), t.attribute_defaults.len()),
        ("F", "com.x", &["a".to_owned()][..], 1, 1)
    );
    let body = Model::new(&m.0, &table).graph(t.body).unwrap();
    assert_eq!((body.name().unwrap(), body.opset(""), body.table.nodes.len()), ("F", Some(13), 1));
}

#[test]
fn training_marks_names() {
    let algorithm = graph(vec![node("Gradient", &["w", "loss"], &["dw"])], vec![], vec![], vec![]);
    let t = Msg::new().msg(2, algorithm).msg(4, Msg::new().str(1, "w2").str(2, "dw"));
    let table = scan(&small().msg(20, t)).unwrap();
    assert_eq!(
        table.training_names.iter().map(String::as_str).collect::<Vec<_>>(),
        ["loss", "w", "w2"]
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (data, want) in [
        (&b""[..], "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<html><body>404</body></html>", "byte 0: a group"),
        (b"\x08\x08", "there is no graph"),
        (b"PK\x03\x04aaaaaaaaaaaaaaaa", "malformed"),
    ] {
        let e = ModelTable::scan(data).unwrap_err().to_string();
        assert!(e.contains(want), "{e}");
    }
    let m = small();
    for cut in 1..m.0.len() {
        if let Err(e) = ModelTable::scan(&m.0[..cut]) {
            assert!(
                matches!(e, FrontendError::Malformed { .. } | FrontendError::Invalid { .. }),
                "{e}"
            );
        }
    }
    let e = scan(&small().msg(7, Msg::new())).unwrap_err().to_string();
    assert!(e.contains("ModelProto.graph, byte") && e.contains("second value"), "{e}");
    let bad = model(
        8,
        17,
        graph(
            vec![node("Relu", &["x"], &["y"]), Msg::new().raw(&[10, 1, 0xff])],
            vec![],
            vec![],
            vec![],
        ),
    );
    let table = scan(&bad).unwrap();
    let e = Model::new(&bad.0, &table).main().node(1).unwrap_err().to_string();
    assert!(e.starts_with("graph.node[1].input, byte ") && e.ends_with("not UTF-8"), "{e}");
    let bad = model(
        8,
        17,
        graph(vec![Msg::new().msg(5, Msg::new().raw(&[50, 200, 1]))], vec![], vec![], vec![]),
    );
    let e = scan(&bad).unwrap_err().to_string();
    assert!(e.contains("graph.node[0].attribute, byte"), "{e}");
}

#[test]
fn amplification_is_bounded() {
    // Two bytes each: what a table needs for them is many times that.
    let nodes = Msg::new().raw(&[0x0a, 0].repeat(RECORD_LIMIT + 1));
    let e = scan(&model(8, 17, nodes)).unwrap_err();
    assert!(matches!(e, FrontendError::Limit { .. }), "{e}");
    let graphs = Msg::new().raw(&[0x5a, 0].repeat(GRAPH_LIMIT + 1));
    let e = scan(&model(8, 17, graph(vec![Msg::new().msg(5, graphs)], vec![], vec![], vec![])))
        .unwrap_err();
    assert!(e.to_string().contains("functions and graphs"), "{e}");
}
