//! Where elements lie, and what is refused.

use super::{def, main, module, problem};
use crate::onnx::proto::{
    Msg, attr_float, attr_ints, attr_tensor, graph, model, node, tensor_f32, tensor_float_data,
    tensor_i64, value,
};
use normfold_ir::{ConstData, ConstId, Module, OpKind};

fn holding(tensor: Msg) -> Msg {
    model(8, 17, graph(vec![], vec![tensor], vec![value("x", &[1])], vec![value("x", &[1])]))
}

fn constant(m: &Module, name: &str) -> ConstId {
    match main(m).kind(def(main(m), name)) {
        OpKind::Constant(c) => c.entry,
        k => panic!("{}", k.mnemonic()),
    }
}

fn dims(list: &[i64]) -> Msg {
    list.iter().fold(Msg::new(), |m, &d| m.int(1, d))
}

/// `int32_data` of a type, not packed.
fn ints(code: i64, shape: &[i64], values: &[i64]) -> Msg {
    values.iter().fold(dims(shape).int(2, code), |m, &v| m.int(5, v)).str(8, "t")
}

#[test]
fn little_endian_bytes_are_viewed_in_the_document() {
    for (tensor, mapped) in [
        (tensor_f32("t", &[3], &[1.0, -2.0, 0.5]), true),
        (tensor_float_data("t", &[3], &[1.0, -2.0, 0.5]), true),
        (dims(&[3]).int(2, 1).float(4, 1.0).float(4, -2.0).float(4, 0.5).str(8, "t"), false),
    ] {
        let m = module(&holding(tensor));
        let id = constant(&m, "t");
        assert_eq!(m.constants.to_f64(id).unwrap(), [1.0, -2.0, 0.5]);
        assert_eq!(matches!(m.constants.entry(id).data, ConstData::Mapped { .. }), mapped);
        assert_eq!(
            main(&m).ty(main(&m).result(def(main(&m), "t"), 0)).to_string(),
            "tensor<3xf32>"
        );
    }
}

#[test]
fn typed_fields_are_decoded() {
    let read = |t: Msg| {
        let m = module(&holding(t));
        m.constants.to_f64(constant(&m, "t")).unwrap()
    };
    // Bit patterns of f16 and bf16.
    assert_eq!(read(ints(10, &[2], &[15872, 0xbe00])), [1.5, -1.5]);
    assert_eq!(read(ints(16, &[1], &[16320])), [1.5]);
    assert_eq!(read(ints(3, &[2, 1], &[-1, 127])), [-1.0, 127.0]);
    assert_eq!(read(ints(9, &[2], &[1, 0])), [1.0, 0.0]);
    assert_eq!(read(ints(6, &[2], &[-5, 70000])), [-5.0, 70000.0]);
    // Two to a byte, low half first; an odd count leaves one half unused.
    assert_eq!(read(ints(22, &[3], &[0x2f, 0x07])), [-1.0, 2.0, 7.0]);
    let packed = dims(&[2]).int(2, 7).bytes(7, &[5, 0x80, 1]).str(8, "t");
    assert_eq!(read(packed), [5.0, 128.0]);
    let unsigned = dims(&[]).int(2, 12).int(11, 4_000_000_000).str(8, "t");
    assert_eq!(read(unsigned), [4e9]);
    let double = dims(&[1]).int(2, 11).bytes(10, &0.1f64.to_le_bytes()).str(8, "t");
    assert_eq!(read(double), [0.1]);
    assert_eq!(read(dims(&[0, 3]).int(2, 1).str(8, "t")), [0.0; 0]);
}

#[test]
fn strings_are_kept() {
    let m = module(&holding(dims(&[2]).int(2, 8).str(6, "a").str(6, "").str(8, "t")));
    match &m.constants.entry(constant(&m, "t")).data {
        ConstData::Strings(s) => assert_eq!((&*s[0], &*s[1]), (&b"a"[..], &b""[..])),
        d => panic!("{d:?}"),
    }
}

#[test]
fn dims_and_data_must_agree() {
    for (tensor, want) in [
        (tensor_f32("t", &[4], &[1.0; 3]), "raw_data has 12 bytes"),
        (tensor_f32("t", &[1 << 40, 1 << 40], &[1.0]), "more elements than can be counted"),
        (tensor_f32("t", &[0, 1 << 40, 1 << 40], &[]), "more elements than can be counted"),
        (tensor_f32("t", &[1 << 50], &[1.0]), "raw_data has 4 bytes"),
        (tensor_f32("t", &[1 << 59], &[1.0]), "more bytes than can be counted"),
        (tensor_f32("t", &[-1], &[1.0]), "negative extent"),
        (dims(&[1]).int(2, 1).str(8, "t"), "there is no data"),
        (ints(10, &[3], &[1, 2]), "need 3"),
        (ints(10, &[1], &[1, 2]), "has 2 entries"),
        (ints(10, &[1 << 50], &[1]), "fewer"),
        (ints(1, &[1], &[1]), "elements of f32 in `int32_data`"),
        (tensor_f32("t", &[1], &[1.0]).int(5, 7), "more than one data field"),
        (dims(&[1]).int(2, 99).str(8, "t"), "data type 99"),
        (dims(&[1]).int(2, 1).str(6, "a").str(8, "t"), "in `string_data`"),
        (dims(&[2]).int(2, 8).str(6, "a").str(8, "t"), "string_data has 1"),
        (dims(&[1]).int(2, 1).bytes(3, &[]).str(8, "t"), "`segment`"),
    ] {
        let e = problem(&holding(tensor));
        assert!(e.contains("tensor `t`") && e.contains(want), "{want}: {e}");
    }
}

fn sparse(shape: &[i64], values: &[f32], index_shape: &[i64], indices: &[i64]) -> Msg {
    let m = Msg::new()
        .msg(1, tensor_f32("t", &[values.len() as i64], values))
        .msg(2, tensor_i64("", index_shape, indices));
    shape.iter().fold(m, |m, &d| m.int(3, d))
}

fn holding_sparse(s: Msg) -> Msg {
    let g = graph(vec![], vec![], vec![value("x", &[1])], vec![value("x", &[1])]);
    model(8, 17, g.msg(15, s))
}

#[test]
fn sparse_tensors_become_dense_while_they_are_small() {
    for s in [
        sparse(&[2, 3], &[5.0, 7.0], &[2], &[1, 5]),
        sparse(&[2, 3], &[5.0, 7.0], &[2, 2], &[0, 1, 1, 2]),
    ] {
        let m = module(&holding_sparse(s));
        let want = [0.0, 5.0, 0.0, 0.0, 0.0, 7.0];
        assert_eq!(m.constants.to_f64(constant(&m, "t")).unwrap(), want);
    }
    let m = module(&holding_sparse(sparse(&[1 << 20], &[5.0], &[1], &[3])));
    assert!(!m.constants.is_present(constant(&m, "t")));
    for (s, want) in [
        (sparse(&[2, 3], &[5.0], &[1], &[6]), "beyond"),
        (sparse(&[2, 3], &[5.0], &[1], &[-1]), "beyond"),
        (sparse(&[2, 3], &[5.0], &[1, 2], &[0, 3]), "beyond"),
        (sparse(&[2, 3], &[5.0], &[2], &[0, 3]), "do not match"),
        (sparse(&[], &[5.0], &[1, 0], &[]), "do not match"),
        (sparse(&[1], &[5.0, 1.0], &[2], &[0, 0]), "more values"),
    ] {
        let e = problem(&holding_sparse(s));
        assert!(e.contains("tensor `t`") && e.contains(want), "{want}: {e}");
    }
}

#[test]
fn constant_nodes() {
    let of = |a: Msg| {
        let g = graph(
            vec![node("Constant", &[], &["t"]).msg(5, a)],
            vec![],
            vec![],
            vec![value("t", &[])],
        );
        model(8, 17, g)
    };
    for (a, dims, want) in [
        (attr_tensor("value", tensor_f32("other", &[1], &[2.0])), vec![1], vec![2.0]),
        (attr_float("value_float", 0.5), vec![], vec![0.5]),
        (attr_ints("value_ints", &[3, -4]), vec![2], vec![3.0, -4.0]),
    ] {
        let m = module(&of(a));
        let id = constant(&m, "t");
        assert_eq!((m.constants.dims(id), m.constants.to_f64(id).unwrap()), (dims, want));
        assert_eq!(main(&m).origin(def(main(&m), "t")), Some(0));
    }
    let m = module(&of(attr_float("value_complex", 0.5)));
    assert!(matches!(main(&m).kind(def(main(&m), "t")), OpKind::Opaque(o) if o.pure));
    let e = problem(&of(attr_tensor("value", tensor_f32("", &[2], &[2.0]))));
    assert!(e.contains("tensor `t`"), "{e}");
}

/// A hostile document says a mebibyte in a few bytes, as often as it likes.
#[test]
fn sparse_tensors_together_become_dense_within_a_limit() {
    let g = graph(vec![], vec![], vec![value("x", &[1])], vec![value("x", &[1])]);
    let many = (0..100).fold(g, |g, i| {
        let m = Msg::new()
            .msg(1, tensor_f32(&format!("t{i}"), &[1], &[5.0]))
            .msg(2, tensor_i64("", &[1], &[3]));
        g.msg(15, m.int(3, 1 << 18))
    });
    let m = module(&model(8, 17, many));
    let dense = m.constants.ids().filter(|&id| m.constants.is_present(id)).count();
    assert_eq!((m.constants.len(), dense), (100, 64));
}

/// The empty name is that of what is absent.
#[test]
fn what_can_be_read_has_a_name() {
    let x = || vec![value("x", &[1])];
    let unnamed = || vec![value("", &[1])];
    for (g, want) in [
        (graph(vec![], vec![tensor_f32("", &[1], &[1.0])], x(), x()), "graph.initializer[0]"),
        (graph(vec![], vec![], unnamed(), x()), "graph.input[0]"),
        (graph(vec![], vec![], x(), unnamed()), "graph.output[0]"),
    ] {
        let e = problem(&model(8, 17, g));
        assert!(e.contains(want) && e.contains("it has no name"), "{want}: {e}");
    }
}
