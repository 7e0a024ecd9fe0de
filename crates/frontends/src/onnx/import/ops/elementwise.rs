//! Elementwise operators, softmax, casts, dropout, quantization.

use super::NodeCx;
use crate::onnx::{import::types::dtype_named, types::dtype_of};
use normfold_ir::{
    Activation, ActivationKind, BinaryKind, Cast, CastLike, Clip, CompareKind, DType, Dequantize,
    Dropout, Identity, OpKind, PRelu, Quantize, Softmax, SoftmaxKind, UnaryKind, Where,
};

pub(super) fn known(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let name = cx.node.op_type;
    if let Some((kind, since)) = unary(name) {
        cx.since(since)?;
        cx.takes(1, 1, 1)?;
        return Some(kind.into());
    }
    if let Some((kind, since)) = binary(name) {
        cx.since(since)?;
        cx.takes(2, 2, 1)?;
        broadcasts_as_numpy(cx)?;
        return Some(kind);
    }
    match name {
        "Sum" => variadic(cx, Some(BinaryKind::Add)),
        "Max" => variadic(cx, Some(BinaryKind::Max)),
        "Min" => variadic(cx, Some(BinaryKind::Min)),
        "Mean" => variadic(cx, None),
        "Mod" => {
            cx.since(10)?;
            cx.takes(2, 2, 1)?;
            // With fmod the sign is that of the dividend.
            (!cx.attrs.flag("fmod", false)?).then(|| BinaryKind::Mod.into())
        }
        "Clip" => clip(cx),
        "PRelu" => prelu(cx),
        "Softmax" => softmax(cx, SoftmaxKind::Softmax),
        "LogSoftmax" => softmax(cx, SoftmaxKind::LogSoftmax),
        "Hardmax" => softmax(cx, SoftmaxKind::Hardmax),
        "Cast" => cast(cx),
        "CastLike" => {
            cx.since(15)?;
            cx.takes(2, 2, 1)?;
            // The target is known later only, so neither may differ from its default.
            let plain = cx.opset < 19 || cx.attrs.flag("saturate", true)?;
            let plain = plain && (cx.opset < 24 || cx.attrs.text("round_mode", "up")? == "up");
            plain.then(|| CastLike {}.into())
        }
        "Where" => {
            cx.since(9)?;
            cx.takes(3, 3, 1)?;
            Some(Where {}.into())
        }
        "Identity" => {
            cx.takes(1, 1, 1)?;
            Some(Identity {}.into())
        }
        "Dropout" => dropout(cx),
        "QuantizeLinear" => quantize(cx),
        "DequantizeLinear" => dequantize(cx),
        _ => activation(cx),
    }
}

/// Operators of one operand without attributes, with the opset that brought them.
fn unary(name: &str) -> Option<(UnaryKind, i64)> {
    use UnaryKind::*;
    Some(match name {
        "Relu" => (Relu, 1),
        "Sigmoid" => (Sigmoid, 1),
        "Tanh" => (Tanh, 1),
        "Neg" => (Neg, 1),
        "Abs" => (Abs, 1),
        "Sqrt" => (Sqrt, 1),
        "Reciprocal" => (Reciprocal, 1),
        "Exp" => (Exp, 1),
        "Log" => (Log, 1),
        "Erf" => (Erf, 9),
        "Floor" => (Floor, 1),
        "Ceil" => (Ceil, 1),
        "Round" => (Round, 11),
        "Sign" => (Sign, 9),
        "Sin" => (Sin, 7),
        "Cos" => (Cos, 7),
        "Softplus" => (Softplus, 1),
        "Softsign" => (Softsign, 1),
        "HardSwish" => (HardSwish, 14),
        "Mish" => (Mish, 18),
        "Not" => (Not, 1),
        _ => return None,
    })
}

/// Operators of two operands that broadcast, with the opset that brought them.
fn binary(name: &str) -> Option<(OpKind, i64)> {
    use {BinaryKind as B, CompareKind as C};
    Some(match name {
        "Add" => (B::Add.into(), 1),
        "Sub" => (B::Sub.into(), 1),
        "Mul" => (B::Mul.into(), 1),
        "Div" => (B::Div.into(), 1),
        "Pow" => (B::Pow.into(), 1),
        "And" => (B::And.into(), 1),
        "Or" => (B::Or.into(), 1),
        "Xor" => (B::Xor.into(), 1),
        "Equal" => (C::Equal.into(), 1),
        "Less" => (C::Less.into(), 1),
        "Greater" => (C::Greater.into(), 1),
        "LessOrEqual" => (C::LessOrEqual.into(), 12),
        "GreaterOrEqual" => (C::GreaterOrEqual.into(), 12),
        _ => return None,
    })
}

/// Below opset 7 the second operand broadcasts only with `broadcast`: to the trailing axes, which is what numpy does, or from
/// `axis` on, which is the same only where that is where the trailing axes begin.
fn broadcasts_as_numpy(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<()> {
    if cx.opset >= 7 {
        return Some(());
    }
    let axis = cx.attrs.opt_int("axis")?;
    let broadcast = cx.attrs.flag("broadcast", false)?;
    let Some(axis) = axis.filter(|_| broadcast) else { return Some(()) };
    let trailing = cx.rank(0)?.checked_sub(cx.rank(1)?)?;
    (usize::try_from(axis) == Ok(trailing)).then_some(())
}

/// Sum, Max, Min, Mean of one operand is the operand. They broadcast since opset 8; before, shapes are equal.
fn variadic(cx: &mut NodeCx<'_, '_, '_, '_>, of_two: Option<BinaryKind>) -> Option<OpKind> {
    let n = cx.node.inputs.len();
    cx.takes(n.max(1), usize::MAX, 1)?;
    match n {
        1 => Some(Identity {}.into()),
        2 => of_two.map(OpKind::from),
        _ => None,
    }
}

fn activation(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    use ActivationKind::*;
    let alpha = |cx: &mut NodeCx<'_, '_, '_, '_>, f, default| {
        cx.attrs.float("alpha", default).map(|alpha| Activation { f, alpha, beta: 0.0 })
    };
    let op = match cx.node.op_type {
        "LeakyRelu" => alpha(cx, LeakyRelu, 0.01)?,
        "Elu" => alpha(cx, Elu, 1.0)?,
        "Celu" => {
            cx.since(12)?;
            alpha(cx, Celu, 1.0)?
        }
        "ThresholdedRelu" => {
            cx.since(10)?;
            alpha(cx, ThresholdedRelu, 1.0)?
        }
        "Selu" => {
            let (a, g) = if cx.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
            Activation {
                f: Selu,
                alpha: cx.attrs.float("alpha", a)?,
                beta: cx.attrs.float("gamma", g)?,
            }
        }
        "HardSigmoid" => Activation {
            f: HardSigmoid,
            alpha: cx.attrs.float("alpha", 0.2)?,
            beta: cx.attrs.float("beta", 0.5)?,
        },
        "Gelu" => {
            cx.since(20)?;
            let f = match cx.attrs.text("approximate", "none")? {
                "none" => Gelu,
                "tanh" => GeluTanh,
                _ => return None,
            };
            Activation { f, ..Activation::default() }
        }
        "Swish" => {
            cx.since(24)?;
            cx.takes(1, 1, 1)?;
            return (cx.attrs.float("alpha", 1.0)? == 1.0).then(|| UnaryKind::Silu.into());
        }
        _ => return None,
    };
    cx.takes(1, 1, 1)?;
    Some(op.into())
}

fn clip(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    if cx.opset >= 11 {
        cx.takes(1, 3, 1)?;
        return Some(Clip::default().into());
    }
    cx.takes(1, 1, 1)?;
    // Since opset 6 the defaults are the largest floats, which do clip infinities and f64.
    let limit = (cx.opset >= 6).then(|| f64::from(f32::MAX));
    let min = cx.attrs.opt_float("min")?.or(limit.map(|l| -l));
    let max = cx.attrs.opt_float("max")?.or(limit);
    Some(Clip { min, max }.into())
}

fn prelu(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(2, 2, 1)?;
    // Before opset 7 a slope of several elements is per channel, not broadcast to the trailing axes.
    if cx.opset < 7 && cx.pool.count(cx.constant(1)?) != 1 {
        return None;
    }
    Some(PRelu {}.into())
}

fn softmax(cx: &mut NodeCx<'_, '_, '_, '_>, f: SoftmaxKind) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    let flatten = cx.opset < 13;
    let axis = cx.attrs.int("axis", if flatten { 1 } else { -1 })?;
    Some(Softmax { f, axis, flatten }.into())
}

fn is_f8(dtype: DType) -> bool {
    dtype.is_float() && dtype.bits() == 8
}

fn cast(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    let to = if cx.opset < 6 {
        dtype_named(cx.attrs.text("to", "")?)?
    } else {
        dtype_of(i32::try_from(cx.attrs.opt_int("to")??).ok()?)?
    };
    // Both attributes speak of casts to 8-bit floats only.
    let saturate = cx.opset < 19 || cx.attrs.flag("saturate", true)?;
    let up = cx.opset < 24 || cx.attrs.text("round_mode", "up")? == "up";
    (!is_f8(to) || (saturate && up)).then(|| Cast { to }.into())
}

fn dropout(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let training = if cx.opset < 12 {
        cx.takes(1, 1, 2)?;
        cx.attrs.float("ratio", 0.5)?;
        cx.opset < 7 && !cx.attrs.flag("is_test", false)?
    } else {
        cx.takes(1, 3, 2)?;
        cx.attrs.skip("seed");
        let mode = cx.constant(2).and_then(|id| cx.pool.element_f64(id, 0).ok());
        cx.has(2) && mode != Some(0.0)
    };
    Some(Dropout { training }.into())
}

/// `block_size` is written since opset 21; it and per-axis scales go along `axis`, written since 13.
fn granularity(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<(i64, i64)> {
    let axis = if cx.opset >= 13 { cx.attrs.int("axis", 1)? } else { 1 };
    let block = if cx.opset >= 21 { cx.attrs.int("block_size", 0)? } else { 0 };
    Some((axis, block))
}

fn quantize(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.since(10)?;
    cx.takes(2, 3, 1)?;
    let (axis, block) = granularity(cx)?;
    let saturate = cx.opset < 19 || cx.attrs.flag("saturate", true)?;
    let output = if cx.opset >= 21 { cx.attrs.int("output_dtype", 0)? } else { 0 };
    let precision = if cx.opset >= 23 { cx.attrs.int("precision", 0)? } else { 0 };
    // The zero point's type is the result's; without one an `output_dtype` would have to be kept.
    let typed = output == 0 || cx.has(2);
    (saturate && typed && precision == 0).then(|| Quantize { axis, block }.into())
}

fn dequantize(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.since(10)?;
    cx.takes(2, 3, 1)?;
    let (axis, block) = granularity(cx)?;
    let output = if cx.opset >= 23 { cx.attrs.int("output_dtype", 0)? } else { 0 };
    (output == 0).then(|| Dequantize { axis, block }.into())
}
