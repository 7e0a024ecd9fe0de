//! What nodes of each version mean.

use super::{def, main, module};
use crate::onnx::proto::{
    Msg, attr_float, attr_floats, attr_int, attr_ints, attr_tensor, graph, model, node, tensor_f32,
    tensor_i64, value,
};
use normfold_ir::{Attribute, DType, Graph, Module, OpKind, Padding};

fn attr_str(name: &str, v: &str) -> Msg {
    Msg::new().str(1, name).str(4, v).int(20, 3)
}

fn with(n: Msg, attributes: &[Msg]) -> Msg {
    attributes.iter().fold(n, |n, a| n.msg(5, a.clone()))
}

/// A model of one node that reads inputs `x` (rank 4), `s` (rank 1), `u` (no rank) and initializers `w` (2×2), `k` (4×2×3×3), `one`
/// (1), `f` (bool false), `i` (i64).
fn one(opset: i64, n: Msg, outputs: &[&str]) -> Module {
    let x = vec![value("x", &[1, 2, 8, 8]), value("s", &[8]), Msg::new().str(1, "u")];
    let boolean = Msg::new().int(2, 9).bytes(9, &[0]).str(8, "f");
    let constants = vec![
        tensor_f32("w", &[2, 2], &[1.0; 4]),
        tensor_f32("k", &[4, 2, 3, 3], &[1.0; 72]),
        tensor_f32("one", &[1], &[1.0]),
        boolean,
        tensor_i64("i", &[1], &[1]),
    ];
    let outputs = outputs.iter().map(|o| Msg::new().str(1, o)).collect();
    module(&model(8, opset, graph(vec![n], constants, x, outputs)))
}

fn kind_of(opset: i64, n: Msg) -> OpKind {
    let m = one(opset, n, &["y"]);
    let g: &Graph = main(&m);
    g.kind(def(g, "y")).clone()
}

/// The op in one line: its name with attributes, `opaque` behind what stays opaque.
fn text(opset: i64, op: &str, inputs: &[&str], attributes: &[Msg]) -> String {
    let kind = kind_of(opset, with(node(op, inputs, &["y"]), attributes));
    if let OpKind::Opaque(o) = &kind {
        return format!("opaque{}", if o.pure { "" } else { " impure" });
    }
    let mut line = kind.mnemonic().to_owned();
    for (k, v) in kind.to_attrs() {
        line += &format!(" {k}={}", spell(&v));
    }
    line
}

fn spell(a: &Attribute) -> String {
    match a {
        Attribute::Bool(b) => b.to_string(),
        Attribute::Int(i) => i.to_string(),
        Attribute::Float(f) => f.to_string(),
        Attribute::Word(w) | Attribute::Str(w) => w.to_string(),
        Attribute::List(l) => format!("[{}]", l.iter().map(spell).collect::<Vec<_>>().join(",")),
        Attribute::Tensor(_) => "tensor".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn batch_norm_of_every_opset() {
    let bn = |opset, attributes: &[Msg], outputs: &[&str]| {
        let n = with(node("BatchNormalization", &["x", "s", "s", "s", "s"], outputs), attributes);
        match kind_of(opset, n) {
            OpKind::BatchNorm(b) => format!(
                "{}{}",
                if b.training { "training" } else { "inference" },
                if b.spatial { "" } else { " positional" }
            ),
            _ => "opaque".into(),
        }
    };
    let one = ["y"];
    let five = ["y", "m", "v", "sm", "sv"];
    let test = |v| attr_int("is_test", v);
    let mode = |v| attr_int("training_mode", v);
    let spatial = |v| attr_int("spatial", v);
    let reuse = attr_ints("consumed_inputs", &[0, 0, 0, 1, 1]);
    for (opset, attributes, outputs, want) in [
        (1, vec![reuse.clone(), test(1)], &one[..], "inference"),
        (1, vec![reuse.clone()], &one, "training"),
        (6, vec![test(1), attr_float("momentum", 0.5)], &one, "inference"),
        (6, vec![test(0)], &one, "training"),
        (6, vec![], &one, "training"),
        (6, vec![test(1), spatial(0)], &one, "inference positional"),
        (6, vec![test(1), reuse], &one, "opaque"),
        (7, vec![], &one, "inference"),
        (7, vec![], &five, "training"),
        (7, vec![], &["y", "", "", "", ""], "inference"),
        (8, vec![spatial(0)], &one, "inference positional"),
        (8, vec![test(1)], &one, "opaque"),
        (9, vec![], &one, "inference"),
        (13, vec![], &five, "training"),
        (9, vec![spatial(1)], &one, "opaque"),
        (14, vec![], &one, "inference"),
        (14, vec![mode(1)], &one, "training"),
        (15, vec![mode(1)], &["y", "m", "v"], "training"),
        (15, vec![mode(0)], &["y", "m", "v"], "inference"),
        (15, vec![], &five, "opaque"),
        (13, vec![mode(0)], &one, "opaque"),
        (28, vec![mode(0)], &one, "inference"),
    ] {
        assert_eq!(bn(opset, &attributes, outputs), want, "opset {opset}, {outputs:?}");
    }
    let n = node("BatchNormalization", &["x", "s", "s", "s", "s"], &["y"]);
    let OpKind::BatchNorm(b) = kind_of(15, n) else { panic!("opaque") };
    assert_eq!(b.eps, f64::from(1e-5f32));
}

#[test]
fn convolutions() {
    let text = |op, inputs: &[&str], attributes: &[Msg]| text(17, op, inputs, attributes);
    let pads = attr_ints("pads", &[1, 0, 2, 0]);
    let c = text(
        "Conv",
        &["x", "k"],
        &[pads.clone(), attr_ints("strides", &[2, 1]), attr_int("group", 2)],
    );
    assert_eq!(c, "conv groups=2 strides=[2,1] pad=[[1,2],[0,0]]");
    let c = text("Conv", &["x", "k"], &[attr_ints("strides", &[1, 1]), attr_ints("pads", &[0; 4])]);
    assert_eq!(c, "conv");
    let c = text(
        "Conv",
        &["x", "k"],
        &[attr_str("auto_pad", "SAME_LOWER"), attr_ints("kernel_shape", &[3, 3])],
    );
    assert_eq!(c, "conv pad=same_lower");
    // The rank comes from what is known: a list, the kernel, or nothing at all.
    assert_eq!(
        text("Conv", &["u", "u"], &[attr_ints("dilations", &[2])]),
        "conv x=NCW w=OIW dilations=[2]"
    );
    assert_eq!(text("Conv", &["u", "u"], &[]), "opaque");
    assert_eq!(text("Conv", &["u", "u"], &[attr_ints("dilations", &[1; 4])]), "opaque");
    for wrong in [
        vec![attr_str("auto_pad", "SAME_UPPER"), pads],
        vec![attr_str("auto_pad", "OTHER")],
        vec![attr_ints("kernel_shape", &[3, 5])],
        vec![attr_ints("strides", &[1, 1, 1])],
        vec![attr_ints("strides", &[0, 1])],
        vec![attr_ints("pads", &[-1, 0, 0, 0])],
        vec![attr_int("group", 0)],
        vec![attr_int("pads", 1)],
        vec![attr_int("unheard_of", 1)],
    ] {
        assert_eq!(text("Conv", &["x", "k"], &wrong), "opaque", "{wrong:?}");
    }
    let t = text(
        "ConvTranspose",
        &["x", "k"],
        &[attr_ints("output_padding", &[1, 0]), attr_ints("strides", &[2, 2])],
    );
    assert_eq!(t, "conv_transpose strides=[2,2] output_padding=[1,0]");
    assert_eq!(
        text("ConvTranspose", &["x", "k"], &[attr_ints("output_shape", &[1, 4, 9, 9])]),
        "opaque"
    );
    assert_eq!(
        text("ConvTranspose", &["x", "k"], &[attr_ints("output_shape", &[9, 9])]),
        "conv_transpose output_shape=[9,9]"
    );
    let same =
        kind_of(1, with(node("Conv", &["x", "k"], &["y"]), &[attr_str("auto_pad", "VALID")]));
    assert!(matches!(same, OpKind::Conv(c) if c.pad == Padding::Valid));
}

#[test]
fn matrix_products() {
    assert_eq!(
        text(13, "Gemm", &["u", "w"], &[attr_float("alpha", 0.5), attr_int("transB", 1)]),
        "linear alpha=0.5 trans_w=true matrix=true"
    );
    assert_eq!(text(9, "Gemm", &["u", "w"], &[]), "opaque");
    assert_eq!(
        text(6, "Gemm", &["u", "w", "s"], &[attr_int("broadcast", 1)]),
        "linear matrix=true"
    );
    assert_eq!(text(7, "Gemm", &["u", "w", "s"], &[attr_int("broadcast", 1)]), "opaque");
    assert_eq!(text(1, "MatMul", &["u", "w"], &[]), "matmul");
}

#[test]
fn broadcasting_below_opset_7() {
    let b = |opset, inputs: &[&str], attributes: &[Msg]| text(opset, "Add", inputs, attributes);
    let on = || attr_int("broadcast", 1);
    let axis = |a| attr_int("axis", a);
    assert_eq!(b(6, &["x", "u"], &[]), "add");
    assert_eq!(b(6, &["x", "s"], &[on()]), "add");
    assert_eq!(b(6, &["x", "s"], &[on(), axis(3)]), "add");
    assert_eq!(b(1, &["x", "w"], &[on(), axis(2), attr_ints("consumed_inputs", &[0])]), "add");
    // Per channel: numpy would align the last axes.
    assert_eq!(b(6, &["x", "s"], &[on(), axis(1)]), "opaque");
    assert_eq!(b(6, &["u", "s"], &[on(), axis(1)]), "opaque");
    assert_eq!(b(6, &["x", "s"], &[axis(1)]), "add");
    assert_eq!(b(7, &["x", "s"], &[]), "add");
    assert_eq!(b(7, &["x", "s"], &[on()]), "opaque");
    assert_eq!(text(6, "PRelu", &["x", "one"], &[]), "prelu");
    assert_eq!(text(6, "PRelu", &["x", "s"], &[]), "opaque");
    assert_eq!(text(7, "PRelu", &["x", "s"], &[]), "prelu");
}

#[test]
fn elementwise() {
    let i = |v| attr_int("axis", v);
    let str = attr_str;
    for (opset, op, inputs, attributes, want) in [
        (14, "Relu", &["x"][..], vec![], "relu"),
        (13, "HardSwish", &["x"], vec![], "opaque"),
        (14, "HardSwish", &["x"], vec![], "hard_swish"),
        (24, "Swish", &["x"], vec![], "silu"),
        (24, "Swish", &["x"], vec![attr_float("alpha", 2.0)], "opaque"),
        (17, "Relu", &["x", "x"], vec![], "opaque"),
        (17, "Relu", &[""], vec![], "opaque"),
        (17, "Tan", &["x"], vec![], "opaque"),
        (17, "NoSuchOp", &["x"], vec![], "opaque impure"),
        (17, "Bernoulli", &["x"], vec![], "opaque impure"),
        (13, "Sum", &["x", "x"], vec![], "add"),
        (13, "Sum", &["x"], vec![], "identity"),
        (13, "Sum", &["x", "x", "x"], vec![], "opaque"),
        (13, "Max", &["x", "s"], vec![], "max"),
        (13, "Mean", &["x", "s"], vec![], "opaque"),
        (13, "Mod", &["x", "s"], vec![], "mod"),
        (13, "Mod", &["x", "s"], vec![attr_int("fmod", 1)], "opaque"),
        (6, "LeakyRelu", &["x"], vec![attr_float("alpha", 0.25)], "activation alpha=0.25"),
        (16, "LeakyRelu", &["x"], vec![], "activation alpha=0.009999999776482582"),
        (
            1,
            "Selu",
            &["x"],
            vec![],
            "activation f=selu alpha=1.673200011253357 beta=1.0506999492645264",
        ),
        (
            6,
            "Selu",
            &["x"],
            vec![],
            "activation f=selu alpha=1.6732631921768188 beta=1.0507010221481323",
        ),
        (20, "Gelu", &["x"], vec![str("approximate", "tanh")], "activation f=gelu_tanh"),
        (20, "Gelu", &["x"], vec![str("approximate", "other")], "opaque"),
        (
            6,
            "Clip",
            &["x"],
            vec![attr_float("max", 6.0), attr_float("min", 0.0)],
            "clip min=0 max=6",
        ),
        (1, "Clip", &["x"], vec![attr_float("min", 0.0)], "clip min=0"),
        (11, "Clip", &["x", "", "one"], vec![], "clip"),
        (11, "Clip", &["x"], vec![attr_float("min", 0.0)], "opaque"),
        (12, "Softmax", &["x"], vec![], "softmax axis=1 flatten=true"),
        (13, "Softmax", &["x"], vec![], "softmax"),
        (13, "LogSoftmax", &["x"], vec![i(1)], "softmax f=log_softmax axis=1"),
        (5, "Cast", &["x"], vec![str("to", "FLOAT16")], "cast to=f16"),
        (13, "Cast", &["x"], vec![attr_int("to", 7)], "cast to=i64"),
        (13, "Cast", &["x"], vec![attr_int("to", 77)], "opaque"),
        (19, "Cast", &["x"], vec![attr_int("to", 1), attr_int("saturate", 0)], "cast"),
        (19, "Cast", &["x"], vec![attr_int("to", 17), attr_int("saturate", 0)], "opaque"),
        (18, "Cast", &["x"], vec![attr_int("to", 1), attr_int("saturate", 0)], "opaque"),
        (15, "CastLike", &["x", "s"], vec![], "cast_like"),
        (7, "Dropout", &["x"], vec![attr_float("ratio", 0.5)], "dropout"),
        (6, "Dropout", &["x"], vec![attr_int("is_test", 1)], "dropout"),
        (6, "Dropout", &["x"], vec![], "dropout training=true"),
        (13, "Dropout", &["x", "one"], vec![attr_int("seed", 3)], "dropout"),
        (13, "Dropout", &["x", "", "f"], vec![], "dropout"),
        (13, "Dropout", &["x", "", "u"], vec![], "dropout training=true"),
        (21, "QuantizeLinear", &["x", "one"], vec![attr_int("block_size", 4)], "quantize block=4"),
        (21, "QuantizeLinear", &["x", "one"], vec![attr_int("output_dtype", 3)], "opaque"),
        (12, "DequantizeLinear", &["x", "one"], vec![i(0)], "opaque"),
        (13, "DequantizeLinear", &["x", "one"], vec![i(0)], "dequantize axis=0"),
    ] {
        assert_eq!(text(opset, op, inputs, &attributes), want, "{op} {opset} {attributes:?}");
    }
}

#[test]
fn shapes() {
    let i = attr_int;
    for (opset, op, inputs, attributes, want) in [
        (1, "Reshape", &["x"][..], vec![attr_ints("shape", &[0, -1])], "reshape shape=[0,-1]"),
        (5, "Reshape", &["x", "i"], vec![], "reshape"),
        (14, "Reshape", &["x", "i"], vec![i("allowzero", 1)], "reshape allow_zero=true"),
        (13, "Reshape", &["x", "i"], vec![i("allowzero", 1)], "opaque"),
        (
            13,
            "Transpose",
            &["x"],
            vec![attr_ints("perm", &[0, 2, 3, 1])],
            "transpose perm=[0,2,3,1]",
        ),
        (13, "Transpose", &["x"], vec![attr_ints("perm", &[0, 2, 2, 1])], "opaque"),
        (9, "Slice", &["x"], vec![attr_ints("starts", &[1]), attr_ints("ends", &[3, 4])], "opaque"),
        (12, "Squeeze", &["x"], vec![attr_ints("axes", &[0])], "squeeze axes=[0]"),
        (13, "Squeeze", &["x", "i"], vec![], "squeeze"),
        (13, "Squeeze", &["x"], vec![attr_ints("axes", &[0])], "opaque"),
        (12, "Unsqueeze", &["x"], vec![], "opaque"),
        (13, "Unsqueeze", &["x", "i"], vec![], "unsqueeze"),
        (3, "Concat", &["x", "x"], vec![], "concat axis=1"),
        (4, "Concat", &["x", "x"], vec![], "opaque"),
        (13, "Concat", &["x", "x"], vec![i("axis", -1)], "concat axis=-1"),
        (1, "Split", &["x"], vec![], "opaque"),
        (2, "Split", &["x"], vec![attr_ints("split", &[1])], "split sizes=[1]"),
        (2, "Split", &["x"], vec![attr_ints("split", &[1, 1])], "opaque"),
        (18, "Split", &["x"], vec![i("num_outputs", 1)], "split"),
        (18, "Split", &["x"], vec![i("num_outputs", 2)], "opaque"),
        (
            9,
            "Slice",
            &["x"],
            vec![attr_ints("starts", &[1]), attr_ints("ends", &[3])],
            "slice starts=[1] ends=[3]",
        ),
        (10, "Slice", &["x", "i", "i"], vec![], "slice"),
        (14, "Shape", &["x"], vec![i("start", 1)], "opaque"),
        (15, "Shape", &["x"], vec![i("start", 1), i("end", -1)], "shape start=1 end=-1"),
        (
            9,
            "ConstantOfShape",
            &["i"],
            vec![attr_tensor("value", tensor_f32("", &[1], &[2.0]))],
            "constant_of_shape value=tensor",
        ),
        (
            9,
            "ConstantOfShape",
            &["i"],
            vec![attr_tensor("value", tensor_f32("", &[2], &[2.0; 2]))],
            "opaque",
        ),
        (11, "Range", &["i", "i", "i"], vec![], "range"),
    ] {
        assert_eq!(text(opset, op, inputs, &attributes), want, "{op} {opset} {attributes:?}");
    }
}

#[test]
fn windows_pads_and_reductions() {
    let k = || attr_ints("kernel_shape", &[2, 2]);
    let i = attr_int;
    let s = attr_str;
    for (opset, op, inputs, attributes, want) in [
        (1, "MaxPool", &["x"][..], vec![k()], "pool kernel=[2,2]"),
        (9, "MaxPool", &["x"], vec![k(), i("ceil_mode", 1)], "opaque"),
        (10, "MaxPool", &["x"], vec![k(), i("ceil_mode", 1)], "pool kernel=[2,2] ceil_mode=true"),
        (12, "MaxPool", &["x"], vec![k(), i("storage_order", 1)], "pool kernel=[2,2]"),
        (12, "MaxPool", &["x"], vec![], "opaque"),
        (
            7,
            "AveragePool",
            &["x"],
            vec![k(), i("count_include_pad", 1)],
            "pool f=average kernel=[2,2] count_include_pad=true",
        ),
        (11, "AveragePool", &["x"], vec![k(), attr_ints("dilations", &[2, 2])], "opaque"),
        (1, "LpPool", &["x"], vec![k(), attr_float("p", 3.0)], "pool f=lp kernel=[2,2] p=3"),
        (1, "LpPool", &["x"], vec![k(), attr_float("p", 2.5)], "opaque"),
        (1, "GlobalAveragePool", &["x"], vec![], "global_pool"),
        (1, "Pad", &["x"], vec![attr_ints("paddings", &[0, 1])], "pad amounts=[0,1]"),
        (
            2,
            "Pad",
            &["x"],
            vec![attr_ints("pads", &[0, 1]), attr_float("value", 2.0)],
            "pad amounts=[0,1] value=2",
        ),
        (11, "Pad", &["x", "i"], vec![s("mode", "reflect")], "pad mode=reflect"),
        (18, "Pad", &["x", "i"], vec![s("mode", "wrap")], "opaque"),
        (19, "Pad", &["x", "i", "", "i"], vec![s("mode", "wrap")], "pad mode=wrap"),
        (10, "Resize", &["x", "s"], vec![], "opaque"),
        (11, "Resize", &["x", "", "s"], vec![s("mode", "linear")], "resize mode=linear"),
        (
            13,
            "Resize",
            &["x", "", "s"],
            vec![s("nearest_mode", "floor"), s("coordinate_transformation_mode", "asymmetric")],
            "resize coordinates=asymmetric nearest=floor",
        ),
        (17, "Resize", &["x", "", "s"], vec![i("antialias", 1)], "opaque"),
        (
            18,
            "Resize",
            &["x", "", "s"],
            vec![i("antialias", 1), attr_ints("axes", &[2, 3])],
            "resize antialias=true axes=[2,3]",
        ),
        (13, "Resize", &["x", "", "s"], vec![s("mode", "lanczos")], "opaque"),
        (
            7,
            "Upsample",
            &["x"],
            vec![attr_floats("scales", &[1.0, 1.0, 2.0, 2.0])],
            "resize coordinates=asymmetric nearest=unspecified scales=[1,1,2,2]",
        ),
        (9, "Upsample", &["x", "s"], vec![], "opaque"),
        (
            17,
            "ReduceMean",
            &["x"],
            vec![attr_ints("axes", &[2, 3]), i("keepdims", 0)],
            "reduce axes=[2,3] keepdims=false",
        ),
        (18, "ReduceMean", &["x", "i"], vec![], "reduce"),
        (18, "ReduceMean", &["x"], vec![attr_ints("axes", &[2, 3])], "opaque"),
        (
            13,
            "ReduceSum",
            &["x", "i"],
            vec![i("noop_with_empty_axes", 1)],
            "reduce f=sum noop_with_empty_axes=true",
        ),
        (17, "ReduceMean", &["x"], vec![attr_ints("axes", &[])], "opaque"),
        (10, "DepthToSpace", &["x"], vec![i("blocksize", 2)], "depth_to_space block=2"),
        (10, "DepthToSpace", &["x"], vec![i("blocksize", 2), s("mode", "CRD")], "opaque"),
        (
            11,
            "DepthToSpace",
            &["x"],
            vec![i("blocksize", 2), s("mode", "CRD")],
            "depth_to_space block=2 mode=crd",
        ),
        (28, "SpaceToDepth", &["x"], vec![i("blocksize", 2), s("mode", "CRD")], "opaque"),
    ] {
        assert_eq!(text(opset, op, inputs, &attributes), want, "{op} {opset} {attributes:?}");
    }
    let n = with(node("MaxPool", &["x"], &["y", "indices"]), &[k(), i("storage_order", 1)]);
    assert!(matches!(kind_of(12, n), OpKind::Opaque(o) if o.pure));
}

#[test]
fn facts_of_opaque_ops() {
    let facts = |n: Msg| match kind_of(17, n) {
        OpKind::Opaque(o) => (o.pure, o.type_uses, o.quantized),
        k => panic!("{}", k.mnemonic()),
    };
    assert_eq!(facts(node("EyeLike", &["w"], &["y"])), (true, vec![0], false));
    assert_eq!(facts(node("RandomNormalLike", &["w"], &["y"])), (false, vec![0], false));
    assert_eq!(
        facts(node("DynamicQuantizeLinear", &["x"], &["y", "a", "b"])),
        (true, vec![], true)
    );
    assert_eq!(
        facts(node("QLinearAdd", &["x"], &["y"]).str(7, "com.microsoft")),
        (false, vec![], true)
    );
    assert_eq!(facts(node("Scaler", &["x"], &["y"]).str(7, "ai.onnx.ml")), (true, vec![], false));
    assert_eq!(facts(node("Relu", &["x"], &["y"]).str(7, "org.example")), (false, vec![], false));
    // The other spelling of the standard domain.
    assert!(matches!(
        kind_of(17, node("Relu", &["x"], &["y"]).str(7, "ai.onnx")),
        OpKind::Unary(_)
    ));
}

#[test]
fn attributes_of_opaque_ops_are_carried() {
    let n = with(
        node("Swirl", &["x"], &["y"]).str(7, "org.example"),
        &[
            attr_int("turns", 2),
            attr_float("f", 0.5),
            attr_str("label", "a"),
            Msg::new().str(1, "raw").bytes(4, &[0xff]).int(20, 3),
            attr_ints("list", &[1, 2]),
            attr_tensor("t", tensor_i64("", &[2], &[1, 2])),
            // A file from before attributes had types.
            Msg::new().str(1, "old").int(3, 9),
        ],
    );
    let m = one(17, n, &["y"]);
    let g = main(&m);
    let OpKind::Opaque(o) = g.kind(def(g, "y")) else { panic!("known") };
    let keys: Vec<_> = o.attrs.keys().map(|k| &**k).collect();
    assert_eq!(keys, ["turns", "f", "label", "raw", "list", "t", "old"]);
    assert_eq!(o.attrs["raw"], Attribute::Bytes([0xff][..].into()));
    assert_eq!(o.attrs["old"], Attribute::Int(9));
    let Attribute::Tensor(id) = o.attrs["t"] else { panic!("no tensor") };
    assert_eq!((m.constants.dtype(id), m.constants.to_i64(id).unwrap()), (DType::I64, vec![1, 2]));
}
