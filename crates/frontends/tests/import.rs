//! The models of `tests/models` as modules, and damaged ones as errors.

use normfold_frontends::onnx::{OnnxDocument, OpenOptions};
use normfold_ir::{Binding, ConstData, Graph, GraphRole, Module, OpId, OpKind, Padding, verify};
use std::path::{Path, PathBuf};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models")
}

fn open(name: &str) -> Module {
    let path = models().join(format!("{name}.onnx"));
    match OnnxDocument::open(&path, &OpenOptions::default()) {
        Ok((_, module)) => module,
        Err(e) => panic!("{name}: {e}"),
    }
}

fn main(m: &Module) -> &Graph {
    m.graph(m.main().unwrap())
}

fn def(g: &Graph, name: &str) -> OpId {
    let named = |o: &OpId| g.results(*o).any(|v| g.value_name(v).is_some_and(|n| **n == *name));
    g.ops().find(named).unwrap_or_else(|| panic!("no value {name}"))
}

/// Batch norms of every graph: inference, training, and those by element.
fn norms(m: &Module) -> (usize, usize, usize) {
    let mut count = (0, 0, 0);
    for id in m.graph_ids() {
        let g = m.graph(id);
        for op in g.ops() {
            if let OpKind::BatchNorm(b) = g.kind(op) {
                count.0 += usize::from(!b.training);
                count.1 += usize::from(b.training);
                count.2 += usize::from(!b.spatial);
            }
        }
    }
    count
}

#[test]
fn batch_norms_of_every_model() {
    for (name, want) in [
        ("mobilenet_v2_x025", (52, 0, 0)),
        ("resnet_tiny", (8, 0, 0)),
        ("dcgan_groups", (7, 0, 0)),
        ("conv1d_linear", (4, 0, 0)),
        ("awkward", (14, 0, 0)),
        ("small_fp16", (5, 0, 0)),
        ("small_fp64", (5, 0, 0)),
        ("small_train", (0, 5, 0)),
        ("small_dynamo", (5, 0, 0)),
        ("ir3_inputs", (2, 0, 0)),
        ("opset6_is_test", (2, 0, 0)),
        ("opset6_training", (0, 2, 0)),
        ("opset7", (2, 0, 0)),
        ("opset7_spatial0", (2, 0, 2)),
        ("opset9_training", (1, 1, 0)),
        ("opset14", (2, 0, 0)),
        ("opset14_training", (0, 2, 0)),
        ("overridable", (3, 0, 0)),
        ("typed_fields", (2, 0, 0)),
        ("constant_nodes", (2, 0, 0)),
        ("external", (2, 0, 0)),
        ("if_captures", (3, 0, 0)),
        ("loop_body", (1, 0, 0)),
        ("local_function", (3, 0, 0)),
        ("custom_domain", (3, 0, 0)),
        ("annotated", (3, 0, 0)),
        ("unknown_fields", (1, 0, 0)),
    ] {
        assert_eq!(norms(&open(name)), want, "{name}");
    }
}

#[test]
fn only_foreign_operators_are_opaque() {
    for entry in std::fs::read_dir(models()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let (_, m) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
        verify(&m).unwrap();
        for id in m.graph_ids() {
            let g = m.graph(id);
            assert!(g.return_op().is_some() && g.topo_order().is_ok(), "{path:?}");
            for op in g.ops() {
                if let OpKind::Opaque(o) = g.kind(op) {
                    assert_eq!(&*o.domain, "org.example", "{path:?}: {}", g.location(op));
                }
            }
        }
    }
}

#[test]
fn weights_are_not_copied() {
    for name in ["mobilenet_v2_x025", "external", "small_fp16", "small_dynamo"] {
        let m = open(name);
        for id in m.constants.ids() {
            let mapped = matches!(m.constants.entry(id).data, ConstData::Mapped { .. });
            assert!(mapped || m.constants.byte_len(id) <= 8, "{name}: {}", m.constants.ty(id));
        }
    }
    // Typed fields: floats are viewed where they lie, the bit patterns of f16 are gathered.
    let m = open("typed_fields");
    let data = |name| match main(&m).kind(def(main(&m), name)) {
        OpKind::Constant(c) => &m.constants.entry(c.entry).data,
        k => panic!("{}", k.mnemonic()),
    };
    assert!(matches!(data("c1.weight"), ConstData::Mapped { .. }));
    assert!(matches!(data("c2.weight"), ConstData::Owned(_)));
}

#[test]
fn external_data_is_read_from_its_files() {
    let m = open("external");
    let g = main(&m);
    let read = |name| match g.kind(def(g, name)) {
        OpKind::Constant(c) => m.constants.to_f64(c.entry).unwrap(),
        k => panic!("{}", k.mnemonic()),
    };
    let bytes = std::fs::read(models().join("external.n2.bin")).unwrap();
    let want: Vec<f64> =
        bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap()).into()).collect();
    assert_eq!(read("n2.var"), want);
    assert!(read("n1.var").iter().all(|&v| (0.3..2.0).contains(&v)));
}

#[test]
fn captured_constants_and_images() {
    let m = open("loop_body");
    let g = main(&m);
    let l = def(g, "y");
    assert!(matches!(g.kind(l), OpKind::Loop(_)));
    let names: Vec<_> =
        g.captures(l).map(|v| g.value_name(v.unwrap()).unwrap().to_string()).collect();
    assert_eq!(names, ["c1.weight", "c1.bias", "n1.scale", "n1.bias", "n1.mean", "n1.var"]);
    let body = m.graph(g.regions(l)[0]);
    assert_eq!((body.role(), body.parameters().len()), (GraphRole::Body, 3 + 6));
    let weight = body.result(body.parameters()[3], 0);
    assert_eq!(body.ty(weight).to_string(), "tensor<3x3x3x3xf32>");

    let m = open("if_captures");
    let g = main(&m);
    let [yes, no] = g.regions(def(g, "y")) else { panic!("two bodies") };
    let (yes, no) = (m.graph(*yes), m.graph(*no));
    assert_eq!((&**yes.name(), &**no.name()), ("then_body", "else_body"));
    // The kernel of a convolution that states no shape is known through the capture.
    assert!(matches!(yes.kind(def(yes, "t.c")), OpKind::Conv(c) if c.x.spatial == 2));
}

#[test]
fn functions_and_their_calls() {
    let m = open("local_function");
    let f = m.graph(m.function("local::Block").unwrap());
    let g = main(&m);
    for name in ["u", "y"] {
        assert!(matches!(g.kind(def(g, name)), OpKind::Call(c) if &*c.callee == "local::Block"));
    }
    // Neither attribute nor kernel states the rank: that of the data does.
    assert!(matches!(f.kind(def(f, "d")), OpKind::Conv(c) if c.x.spatial == 2));
    let OpKind::Conv(c) = f.kind(def(f, "c")) else { panic!("no conv") };
    assert_eq!(c.pad, Padding::Explicit([(1, 1), (1, 1)].into_iter().collect()));
}

#[test]
fn bindings() {
    let of = |name: &str| {
        let m = open(name);
        let g = main(&m);
        let bound = g.ops().filter_map(|o| match g.kind(o) {
            OpKind::Constant(c) if c.binding != Binding::Fixed => Some(g.location(o).to_string()),
            _ => None,
        });
        bound.collect::<Vec<_>>()
    };
    assert_eq!(of("overridable"), ["c1.weight", "n2.scale"]);
    assert!(of("ir3_inputs").is_empty());
    assert_eq!(main(&open("ir3_inputs")).parameters().len(), 1);
}

#[test]
fn declared_facts() {
    let m = open("annotated");
    let g = main(&m);
    assert!(g.is_quantized(g.result(def(g, "c2.weight"), 0)));
    assert!(!g.is_quantized(g.result(def(g, "c1.weight"), 0)));
    assert_eq!(g.ty(g.result(def(g, "r1"), 0)).to_string(), "tensor<1x4x4x4xf32>");
    let m = open("mobilenet_v2_x025");
    let g = main(&m);
    let x = g.result(g.parameters()[0], 0);
    assert_eq!(g.ty(x).to_string(), "tensor<?{batch}x3x64x64xf32>");
}

/// Every damage gives a module that holds together or an error, never a panic; in a debug build arithmetic is checked too.
#[test]
fn damaged_models_do_not_panic() {
    let try_open = |bytes: Vec<u8>| match OnnxDocument::from_bytes(bytes, &OpenOptions::default()) {
        Ok((_, module)) => {
            verify(&module).unwrap();
            true
        }
        Err(_) => false,
    };
    for name in
        ["if_captures", "local_function", "typed_fields", "constant_nodes", "opset6_is_test"]
    {
        let whole = std::fs::read(models().join(format!("{name}.onnx"))).unwrap();
        assert!(try_open(whole.clone()), "{name}");
        for end in (0..whole.len()).step_by(11) {
            try_open(whole[..end].to_vec());
        }
        // Structure is where names and small numbers are: a fixed stride with four kinds of damage meets all of it.
        for at in (0..whole.len()).step_by(5) {
            for damage in [|b: u8| b ^ 1, |b: u8| b ^ 0x80, |_| 0xff, |_| 0] {
                let mut bytes = whole.clone();
                bytes[at] = damage(bytes[at]);
                try_open(bytes);
            }
        }
    }
}
