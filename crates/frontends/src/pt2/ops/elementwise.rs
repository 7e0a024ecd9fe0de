//! Arithmetic and activations.

use super::{NodeCx, Operand};
use normfold_ir::{
    Activation, ActivationKind, BinaryKind, Clip, DType, OpKind, ResultSpec, Softmax, SoftmaxKind,
    Type, UnaryKind, Value, decode_f64, encode_f64,
};

/// Ops of one tensor and nothing else.
fn unary(name: &str) -> Option<UnaryKind> {
    Some(match name {
        "relu" => UnaryKind::Relu,
        "sigmoid" => UnaryKind::Sigmoid,
        "tanh" => UnaryKind::Tanh,
        "neg" => UnaryKind::Neg,
        "abs" => UnaryKind::Abs,
        "sqrt" => UnaryKind::Sqrt,
        "reciprocal" => UnaryKind::Reciprocal,
        "exp" => UnaryKind::Exp,
        "log" => UnaryKind::Log,
        "erf" => UnaryKind::Erf,
        "floor" => UnaryKind::Floor,
        "ceil" => UnaryKind::Ceil,
        "sin" => UnaryKind::Sin,
        "cos" => UnaryKind::Cos,
        "hardswish" => UnaryKind::HardSwish,
        "mish" => UnaryKind::Mish,
        "silu" => UnaryKind::Silu,
        _ => return None,
    })
}

fn binary(name: &str) -> Option<BinaryKind> {
    Some(match name {
        "add" => BinaryKind::Add,
        "sub" => BinaryKind::Sub,
        "mul" => BinaryKind::Mul,
        "div" => BinaryKind::Div,
        "maximum" => BinaryKind::Max,
        "minimum" => BinaryKind::Min,
        _ => return None,
    })
}

/// Whether the op that overwrites its operand is this one otherwise, with the same arguments.
pub(super) fn has_functional_form(name: &str) -> bool {
    let parametric = [
        "relu6",
        "hardtanh",
        "hardsigmoid",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "clamp",
        "threshold",
        "rsqrt",
    ];
    // There is no `maximum_`.
    unary(name).is_some()
        || matches!(name, "add" | "sub" | "mul" | "div")
        || parametric.contains(&name)
}

pub(super) fn emit(cx: &mut NodeCx<'_, '_>, name: &str, overload: &str) -> Option<Vec<Value>> {
    if let Some(kind) = unary(name) {
        cx.only(&["self"])?;
        let x = float(cx, "self")?;
        return cx.one(kind, vec![x]);
    }
    if let Some(kind) = binary(name) {
        return arithmetic(cx, kind, overload);
    }
    let activation = |f, alpha, beta| OpKind::from(Activation { f, alpha, beta });
    let clip = |min, max| OpKind::from(Clip { min, max });
    let kind = match (name, overload) {
        ("relu6", _) => {
            cx.only(&["self"])?;
            clip(Some(0.0), Some(6.0))
        }
        ("hardtanh", _) => {
            cx.only(&["self", "min_val", "max_val"])?;
            clip(Some(cx.number("min_val", Some(-1.0))?), Some(cx.number("max_val", Some(1.0))?))
        }
        ("clamp", "default" | "") => {
            cx.only(&["self", "min", "max"])?;
            let bound = |name| match cx.some(name) {
                None => Some(None),
                Some(_) => cx.number(name, None).map(Some),
            };
            clip(bound("min")?, bound("max")?)
        }
        ("hardsigmoid", _) => {
            cx.only(&["self"])?;
            activation(ActivationKind::HardSigmoid, 1.0 / 6.0, 0.5)
        }
        ("leaky_relu", _) => {
            cx.only(&["self", "negative_slope"])?;
            activation(ActivationKind::LeakyRelu, cx.number("negative_slope", Some(0.01))?, 0.0)
        }
        ("elu", _) => {
            cx.only(&["self", "alpha"])?;
            activation(ActivationKind::Elu, cx.number("alpha", Some(1.0))?, 0.0)
        }
        ("celu", _) => {
            cx.only(&["self", "alpha"])?;
            activation(ActivationKind::Celu, cx.number("alpha", Some(1.0))?, 0.0)
        }
        ("gelu", _) => {
            cx.only(&["self", "approximate"])?;
            let f = match cx.some("approximate").map(|_| cx.text("approximate")) {
                None | Some(Some("none")) => ActivationKind::Gelu,
                Some(Some("tanh")) => ActivationKind::GeluTanh,
                _ => return None,
            };
            activation(f, 0.0, 0.0)
        }
        ("softmax" | "log_softmax", "int") => {
            cx.only(&["self", "dim"])?;
            let f = if name == "softmax" { SoftmaxKind::Softmax } else { SoftmaxKind::LogSoftmax };
            Softmax { f, axis: cx.int("dim", None)?, flatten: false }.into()
        }
        ("rsqrt", _) => return rsqrt(cx),
        _ => return None,
    };
    let x = float(cx, "self")?;
    cx.one(kind, vec![x])
}

/// A tensor of the element type of the result.
fn float(cx: &NodeCx<'_, '_>, name: &str) -> Option<Operand> {
    let x = cx.tensor(name)?;
    let dtype = cx.dtype(x)?;
    (dtype.is_arithmetic_float() && cx.ty(0).dtype() == Some(dtype)).then_some(x)
}

fn rsqrt(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self"])?;
    let x = float(cx, "self")?;
    (cx.node.results.len() == 1).then_some(())?;
    let ty = Type::Tensor(cx.ty_of(x)?);
    let root = cx.make(UnaryKind::Sqrt, vec![x], vec![ResultSpec { name: None, ty }]);
    cx.one(UnaryKind::Reciprocal, vec![Operand::fixed(*root.first()?)])
}

/// Whether a number is what the op computes with, once it is of that type: half-precision kernels keep numbers in f32.
fn is_exact(dtype: DType, value: f64) -> bool {
    if matches!(dtype, DType::F32 | DType::F64) {
        return true;
    }
    let (mut bytes, mut back) = ([0; 8], [0.0]);
    let width = (dtype.bits() / 8) as usize;
    let Some(bytes) = bytes.get_mut(..width) else { return false };
    encode_f64(dtype, &[value], bytes) && decode_f64(dtype, bytes, 0, &mut back) && back == [value]
}

/// `self ∘ other`, where either may be a number. Operands of several element types are left alone: PyTorch promotes them by
/// rules of its own.
fn arithmetic(cx: &mut NodeCx<'_, '_>, kind: BinaryKind, overload: &str) -> Option<Vec<Value>> {
    matches!(overload, "Tensor" | "Scalar" | "default").then_some(())?;
    cx.only(&["self", "other", "alpha"])?;
    (cx.number("alpha", Some(1.0))? == 1.0).then_some(())?;
    (cx.node.results.len() == 1).then_some(())?;
    let dtype = cx.ty(0).dtype()?;
    dtype.is_arithmetic_float().then_some(())?;
    let same = |cx: &NodeCx<'_, '_>, o: Operand| (cx.dtype(o) == Some(dtype)).then_some(());
    let a = cx.tensor("self")?;
    same(cx, a)?;
    let b = match cx.tensor("other") {
        Some(b) => {
            same(cx, b)?;
            // A tensor of rank 0 does not take part in promotion as others do, but its type is the same here.
            b
        }
        None => {
            let value = cx.number("other", None).filter(|v| is_exact(dtype, *v))?;
            cx.literal(dtype, value)
        }
    };
    cx.one(kind, vec![a, b])
}
