//! What is not understood, carried as it is, with the facts that are certain all the same.

use super::Shared;
use crate::{
    FrontendError,
    onnx::model::{AttributeKind, AttributeView, NodeView, normal_domain},
};
use normfold_ir::{AttrMap, Attribute, ConstPool, Opaque};
use std::sync::Arc;

/// Operators of the standard domain, opset 1 to 28, whose only effect is their results and whose results depend on nothing but
/// their operands. Sorted. Random ones and those with bodies are left out.
#[rustfmt::skip]
const PURE: &[&str] = &[
    "Abs", "Acos", "Acosh", "Add", "AffineGrid", "And", "ArgMax", "ArgMin", "Asin", "Asinh",
    "Atan", "Atanh", "Attention", "AveragePool", "BatchNormalization", "BitCast", "BitShift",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "BlackmanWindow", "Cast", "CastLike",
    "CausalConvWithState", "Ceil", "Celu", "CenterCropPad", "Clip", "Col2Im", "Compress",
    "Concat", "ConcatFromSequence", "Constant", "ConstantOfShape", "Conv", "ConvInteger",
    "ConvTranspose", "Cos", "Cosh", "CumProd", "CumSum", "DFT", "DeformConv", "DepthToSpace",
    "DequantizeLinear", "Det", "Div", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf",
    "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND",
    "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "GridSample", "GroupNormalization", "HammingWindow", "HannWindow",
    "HardSigmoid", "HardSwish", "Hardmax", "Identity", "ImageDecoder", "InstanceNormalization",
    "IsInf", "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual",
    "LinearAttention", "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMul",
    "MatMulInteger", "Max", "MaxPool", "MaxRoiPool", "MaxUnpool", "Mean",
    "MeanVarianceNormalization", "MelWeightMatrix", "Min", "Mish", "Mod", "Mul", "Neg",
    "NegativeLogLikelihoodLoss", "NonMaxSuppression", "NonZero", "Not", "OneHot", "Optional",
    "OptionalGetElement", "OptionalHasElement", "Or", "PRelu", "Pad", "Pow", "QLinearConv",
    "QLinearMatMul", "QuantizeLinear", "RMSNormalization", "RNN", "Range", "Reciprocal",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "RegexFullMatch", "Relu",
    "Reshape", "Resize", "ReverseSequence", "RoiAlign", "RotaryEmbedding", "Round", "STFT",
    "Scatter", "ScatterElements", "ScatterND", "Selu", "SequenceAt", "SequenceConstruct",
    "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "Shape", "Shrink",
    "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "SoftmaxCrossEntropyLoss",
    "Softplus", "Softsign", "SpaceToDepth", "Split", "SplitToSequence", "Sqrt", "Squeeze",
    "StringConcat", "StringNormalizer", "StringSplit", "Sub", "Sum", "SwiGLU", "Swish", "Tan",
    "Tanh", "TensorScatter", "TfIdfVectorizer", "ThresholdedRelu", "Tile", "TopK", "Transpose",
    "Trilu", "Unique", "Unsqueeze", "Upsample", "Where", "Xor",
];

/// Those of them whose first output has the shape and element type of the first input in every opset.
#[rustfmt::skip]
const SHAPED: &[&str] = &[
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cosh", "CumSum", "Gelu",
    "GroupNormalization", "HardSwish", "Hardmax", "InstanceNormalization", "LRN",
    "LayerNormalization", "LpNormalization", "MeanVarianceNormalization", "Mish",
    "RMSNormalization", "ReverseSequence", "Round", "Scatter", "ScatterElements", "ScatterND",
    "Selu", "Shrink", "Sinh", "Softsign", "Swish", "Tan", "TensorScatter", "ThresholdedRelu",
    "Trilu",
];

/// The node as an opaque op.
///
/// # Errors
/// An attribute is malformed, or holds a tensor that contradicts itself.
pub(super) fn opaque(
    shared: &mut Shared<'_>,
    pool: &mut ConstPool,
    node: &NodeView<'_>,
    bodies: bool,
) -> Result<Opaque, FrontendError> {
    let domain = normal_domain(node.domain);
    let name = node.op_type;
    let mut attrs = AttrMap::with_capacity(node.attributes.len());
    for a in &node.attributes {
        let value = attribute(shared, pool, a, node.display_name())?;
        attrs.insert(a.name.into(), value);
    }
    let pure = match domain {
        "" => PURE.binary_search(&name).is_ok(),
        // Classical machine learning: functions of their operands, all of them.
        "ai.onnx.ml" => true,
        _ => false,
    };
    let type_uses = match (domain, name) {
        ("", "RandomNormalLike" | "RandomUniformLike" | "EyeLike" | "Shape" | "Size") => vec![0],
        ("", "CastLike") => vec![1],
        _ => Vec::new(),
    };
    Ok(Opaque {
        domain: domain.into(),
        name: name.into(),
        attrs,
        pure: pure && !bodies,
        type_uses,
        shaped: domain.is_empty() && SHAPED.contains(&name),
        norm: None,
        quantized: is_quantized(domain, name),
    })
}

/// Whether the operator computes on quantized elements.
fn is_quantized(domain: &str, name: &str) -> bool {
    match domain {
        "" => matches!(
            name,
            "QLinearConv"
                | "QLinearMatMul"
                | "ConvInteger"
                | "MatMulInteger"
                | "DynamicQuantizeLinear"
                | "QuantizeLinear"
                | "DequantizeLinear"
        ),
        "com.microsoft" => {
            let capital = name.as_bytes().get(1).is_some_and(u8::is_ascii_uppercase);
            (name.starts_with('Q') && capital)
                || name.contains("Quant")
                || name.contains("Integer")
                || name.contains("NBits")
                || name.contains("Bnb4")
        }
        _ => false,
    }
}

fn attribute(
    shared: &mut Shared<'_>,
    pool: &mut ConstPool,
    a: &AttributeView<'_>,
    node: &str,
) -> Result<Attribute, FrontendError> {
    use AttributeKind as K;
    if !a.ref_attr_name.is_empty() {
        return Ok(Attribute::Ref(a.ref_attr_name.into()));
    }
    let types = &mut shared.types;
    let mut tensor = |t: &crate::onnx::model::TensorView<'_>| {
        let entry = shared.tensors.entry(types, t, &format!("{node}.{}", a.name))?;
        Ok::<_, FrontendError>(Attribute::Tensor(pool.add(entry.ty, entry.data)))
    };
    let nothing = || Attribute::Word("none".into());
    Ok(match a.kind {
        K::Float => Attribute::Float(f64::from(a.f)),
        K::Int => Attribute::Int(a.i),
        K::String => text(a.s),
        K::Tensor => match a.tensor()? {
            Some(t) => tensor(&t)?,
            None => nothing(),
        },
        // Bodies are regions of the op, in this order.
        K::Graph => Attribute::Word("body".into()),
        K::Graphs => list(a.graphs()?, |_| Ok(Attribute::Word("body".into())))?,
        K::SparseTensor => match a.sparse_tensor()? {
            Some(s) => {
                let entry = shared.tensors.sparse(types, &s, &format!("{node}.{}", a.name))?;
                Attribute::Tensor(pool.add(entry.ty, entry.data))
            }
            None => nothing(),
        },
        K::TypeProto => Attribute::Type(types.of_view(a.type_proto()?.as_ref())),
        K::Floats => list(a.floats()?, |v| Ok(Attribute::Float(f64::from(v))))?,
        K::Ints => list(a.ints()?, |v| Ok(Attribute::Int(v)))?,
        K::Strings => list(a.strings()?, |s| Ok(text(s)))?,
        K::Tensors => list(a.tensors()?, |t| tensor(&t))?,
        // No operator has such an attribute yet.
        K::SparseTensors | K::TypeProtos => Attribute::Word("omitted".into()),
        K::Undefined => Attribute::List(Vec::new()),
    })
}

fn list<T>(
    items: Vec<T>,
    f: impl FnMut(T) -> Result<Attribute, FrontendError>,
) -> Result<Attribute, FrontendError> {
    items.into_iter().map(f).collect::<Result<_, _>>().map(Attribute::List)
}

fn text(bytes: &[u8]) -> Attribute {
    match std::str::from_utf8(bytes) {
        Ok(s) => Attribute::Str(s.into()),
        Err(_) => Attribute::Bytes(Arc::from(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(PURE.is_sorted());
    }

    #[test]
    fn quantized_forms() {
        for (domain, name, want) in [
            ("", "QLinearConv", true),
            ("", "Conv", false),
            ("com.microsoft", "QLinearAdd", true),
            ("com.microsoft", "QAttention", true),
            ("com.microsoft", "DynamicQuantizeMatMul", true),
            ("com.microsoft", "MatMulInteger16", true),
            ("com.microsoft", "MatMulNBits", true),
            ("com.microsoft", "QuickGelu", false),
            ("com.microsoft", "FusedConv", false),
            ("org.example", "QLinearConv", false),
        ] {
            assert_eq!(is_quantized(domain, name), want, "{domain}::{name}");
        }
    }
}
