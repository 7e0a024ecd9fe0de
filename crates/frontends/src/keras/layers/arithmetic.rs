//! Merging layers, and function calls that Keras records as layers (`TFOpLambda`, `keras.ops`).

use super::activation::{self, Act};
use crate::keras::{
    cx::{Emit, Emitted, LayerCx, Operand, opaque},
    json::{Json, Value as JsonValue},
    model::Layer,
    shape::{self, Shape},
};
use normfold_ir::{
    AttrMap, Attribute, BinaryKind, Concat, DType, Dim, Identity, OpKind, Opaque, UnaryKind, Value,
};

/// The result of two shapes, or the error that they do not broadcast.
fn broadcast(cx: &LayerCx<'_, '_>, a: &[Dim], b: &[Dim]) -> Result<Shape, crate::FrontendError> {
    shape::broadcast(a, b).ok_or_else(|| {
        let text = |s: &[Dim]| s.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        cx.layer.invalid(format!(
            "operands of shapes [{}] and [{}] do not broadcast",
            text(a),
            text(b)
        ))
    })
}

/// `Add`, `Subtract`, `Multiply`, `Maximum`, `Minimum` of tensors of one rank, from left to right; `Average` divides their
/// sum.
pub(super) fn merge(cx: &mut LayerCx<'_, '_>) -> Emit {
    let kind = match cx.layer.class {
        "Add" | "Average" => BinaryKind::Add,
        "Subtract" => BinaryKind::Sub,
        "Multiply" => BinaryKind::Mul,
        "Maximum" => BinaryKind::Max,
        _ => BinaryKind::Min,
    };
    let Some(tensors) = cx.many() else {
        return opaque("it reads something else than a list of tensors");
    };
    let [first, rest @ ..] = tensors.as_slice() else { return opaque("it reads no tensor") };
    let Some(shapes) = tensors.iter().map(|&v| cx.shape(v)).collect::<Option<Vec<_>>>() else {
        return opaque("the rank of an operand is not known");
    };
    let mut shape = shapes.first().cloned().unwrap_or_default();
    // Operands of another rank are aligned by the batch axis, not by the last one.
    if shapes.iter().any(|s| s.len() != shape.len()) {
        return opaque("operands of several ranks");
    }
    if rest.is_empty() || (kind == BinaryKind::Sub && rest.len() != 1) {
        return opaque("not as many operands as it needs");
    }
    let dtype = cx.dtype(*first);
    if cx.layer.class == "Average" && !dtype.is_arithmetic_float() {
        return opaque("a mean of integers");
    }
    // Every shape is checked before anything is made.
    let mut partial = Vec::new();
    for next in shapes.get(1..).unwrap_or_default() {
        shape = broadcast(cx, &shape, next)?;
        partial.push(shape.clone());
    }
    let divisible = tensors.len() == 2 && cx.layer.class != "Average";
    if !divisible && tensors.iter().any(|&v| is_affine(cx, v)) {
        let mut attrs = AttrMap::new();
        let mut text =
            |key: &str, text: &str| attrs.insert(key.into(), Attribute::Str(text.into()));
        text("why", "a norm could take one of its terms away");
        text("config", cx.layer.config.text(cx.text));
        let kind = Opaque {
            domain: "keras".into(),
            name: cx.layer.class.into(),
            attrs,
            pure: true,
            shaped: shapes.iter().all(|s| *s == shape),
            ..Opaque::default()
        };
        let ty = cx.ty(*first, Some(shape));
        return Ok(Emitted::Value(cx.op(kind, tensors.iter().map(|&v| Some(v)), ty)));
    }
    let mut y = *first;
    for (&next, shape) in rest.iter().zip(partial) {
        let ty = cx.ty(y, Some(shape));
        y = cx.op(kind, [Some(y), Some(next)], ty);
    }
    if cx.layer.class == "Average" {
        let count = cx.literal(dtype, &[], &[tensors.len() as f64]);
        let ty = cx.ty(y, Some(shape));
        y = cx.op(BinaryKind::Div, [Some(y), Some(count)], ty);
    }
    Ok(Emitted::Value(y))
}

/// Whether a term is what a norm or a multiple gives. Such a term may go into a convolution beside it, and a layer of two terms
/// is gone then; one of more terms, or a mean, has no words for what is left.
fn is_affine(cx: &LayerCx<'_, '_>, v: Value) -> bool {
    let mut v = v;
    loop {
        let constant = |i: usize| {
            let x = cx.graph.operand(v.op, i);
            x.is_some_and(|x| matches!(cx.graph.kind(x.op), OpKind::Constant(_)))
        };
        match cx.graph.kind(v.op) {
            OpKind::BatchNorm(_) => return true,
            OpKind::Unary(UnaryKind::Neg) => return true,
            OpKind::Binary(_) => return constant(0) || constant(1),
            OpKind::Identity(_) | OpKind::Dropout(_) | OpKind::Cast(_) => {
                match cx.graph.operand(v.op, 0) {
                    Some(x) => v = x,
                    None => return false,
                }
            }
            _ => return false,
        }
    }
}

/// `Concatenate`.
pub(super) fn concatenate(cx: &mut LayerCx<'_, '_>) -> Emit {
    let axis = match cx.layer.config.some("axis") {
        None => -1,
        Some(json) => json.as_i64().ok_or_else(|| cx.layer.invalid("`axis` must be an integer"))?,
    };
    let Some(tensors) = cx.many() else {
        return opaque("it reads something else than a list of tensors");
    };
    concat(cx, &tensors, axis)
}

fn concat(cx: &mut LayerCx<'_, '_>, tensors: &[Value], axis: i64) -> Emit {
    let Some(shapes) = tensors.iter().map(|&v| cx.shape(v)).collect::<Option<Vec<_>>>() else {
        return opaque("the rank of an operand is not known");
    };
    let ([first, ..], [first_shape, ..]) = (tensors, shapes.as_slice()) else {
        return opaque("it reads no tensor");
    };
    let rank = first_shape.len();
    let Some(at) = shape::axis(axis, rank) else {
        return Err(cx.layer.invalid(format!("`axis` {axis} is none of an input of rank {rank}")));
    };
    let dtypes = tensors.iter().map(|&v| cx.graph.ty(v).dtype());
    if super::is_operation(cx.layer)
        && !dtypes.clone().all(|d| d == dtypes.clone().next().flatten())
    {
        return opaque("operands of several element types");
    }
    if shapes.iter().any(|s| s.len() != rank) {
        return Err(cx.layer.invalid("its inputs have several ranks"));
    }
    let dims = (0..rank).map(|i| {
        let mut along = shapes.iter().filter_map(|s| s.get(i));
        if i != at {
            return along
                .clone()
                .find(|d| d.known().is_some())
                .or(along.next())
                .cloned()
                .unwrap_or(Dim::Unknown);
        }
        let sum = along.try_fold(0u64, |n, d| d.known().and_then(|d| n.checked_add(d)));
        sum.map_or(Dim::Unknown, Dim::Known)
    });
    let ty = cx.ty(*first, Some(dims.collect()));
    let op = Concat { axis: at as i64 };
    Ok(Emitted::Value(cx.op(op, tensors.iter().map(|&v| Some(v)), ty)))
}

/// What a recorded function does, where it is known.
enum Function {
    Unary(OpKind),
    Binary(BinaryKind),
    Concat,
}

/// The function that an entry records: `config.function` of a `TFOpLambda`, else its class.
fn function_name<'a>(layer: &Layer<'a>) -> &'a str {
    match layer.class {
        "TFOpLambda" | "SlicingOpLambda" => {
            layer.config.get("function").and_then(Json::as_str).unwrap_or("")
        }
        class => class,
    }
}

fn function(name: &str) -> Option<Function> {
    use BinaryKind as B;
    use UnaryKind as U;
    let binary = match name {
        "math.add" | "__operators__.add" | "add" | "Add" => Some(B::Add),
        "math.subtract" | "subtract" | "Subtract" => Some(B::Sub),
        "math.multiply" | "multiply" | "Multiply" => Some(B::Mul),
        "math.truediv" | "math.divide" | "divide" | "Divide" | "TrueDivide" => Some(B::Div),
        "math.maximum" | "maximum" | "Maximum" => Some(B::Max),
        "math.minimum" | "minimum" | "Minimum" => Some(B::Min),
        _ => None,
    };
    if let Some(kind) = binary {
        return Some(Function::Binary(kind));
    }
    let unary: OpKind = match name {
        "math.negative" | "Negative" => U::Neg.into(),
        "math.abs" | "Abs" | "Absolute" => U::Abs.into(),
        "math.sqrt" | "Sqrt" => U::Sqrt.into(),
        "math.exp" | "Exp" => U::Exp.into(),
        "math.log" | "Log" => U::Log.into(),
        "math.reciprocal" | "Reciprocal" => U::Reciprocal.into(),
        "math.floor" | "Floor" => U::Floor.into(),
        "math.ceil" | "Ceil" => U::Ceil.into(),
        "math.round" | "round" | "Round" => U::Round.into(),
        "math.sign" | "Sign" => U::Sign.into(),
        "math.sin" | "Sin" => U::Sin.into(),
        "math.cos" | "Cos" => U::Cos.into(),
        "math.tanh" | "nn.tanh" | "Tanh" => U::Tanh.into(),
        "math.sigmoid" | "nn.sigmoid" | "Sigmoid" => U::Sigmoid.into(),
        "math.erf" | "Erf" => U::Erf.into(),
        "identity" | "Identity" => Identity {}.into(),
        "concat" | "Concatenate" => return Some(Function::Concat),
        "nn.relu" | "Relu" => return activation_of("relu"),
        "nn.relu6" | "Relu6" => return activation_of("relu6"),
        "nn.silu" | "nn.swish" | "Silu" => return activation_of("silu"),
        "nn.softplus" | "math.softplus" | "Softplus" => return activation_of("softplus"),
        "nn.softsign" | "math.softsign" | "Softsign" => return activation_of("softsign"),
        "HardSilu" => return activation_of("hard_silu"),
        "HardSigmoid" => return activation_of("hard_sigmoid"),
        _ => return None,
    };
    Some(Function::Unary(unary))
}

fn activation_of(name: &str) -> Option<Function> {
    // These functions are those of Keras 3 and TensorFlow, whatever wrote the file.
    match activation::by_name(name, false)? {
        Act::Op(kind) => Some(Function::Unary(kind)),
        _ => None,
    }
}

/// Whether a recorded function has no effect but its result.
pub(super) fn is_pure(layer: &Layer<'_>) -> bool {
    match layer.class {
        "SlicingOpLambda" => true,
        "TFOpLambda" => {
            let name = function_name(layer);
            let family = [
                "math.",
                "nn.",
                "linalg.",
                "image.",
                "__operators__.",
                "signal.",
                "strings.",
                "bitwise.",
            ];
            let single = [
                "concat",
                "reshape",
                "transpose",
                "split",
                "stack",
                "unstack",
                "cast",
                "shape",
                "compat.v1.shape",
                "compat.v1.transpose",
                "expand_dims",
                "squeeze",
                "compat.v1.squeeze",
                "tile",
                "pad",
                "compat.v1.pad",
                "identity",
                "where",
                "gather",
                "compat.v1.gather",
                "one_hot",
                "size",
                "rank",
                "fill",
                "ones_like",
                "zeros_like",
                "broadcast_to",
                "repeat",
                "reverse",
                "slice",
                "strided_slice",
                "clip_by_value",
                "space_to_depth",
                "range",
            ];
            let random = ["dropout", "fractional", "sampl"].iter().any(|w| name.contains(w));
            !random && (family.iter().any(|f| name.starts_with(f)) || single.contains(&name))
        }
        _ => true,
    }
}

/// Whether a recorded function reads the shape of its operand only.
pub(super) fn reads_shape(layer: &Layer<'_>) -> bool {
    match layer.class {
        "TFOpLambda" => {
            matches!(function_name(layer), "shape" | "compat.v1.shape" | "size" | "rank")
        }
        "Shape" | "Size" => true,
        _ => false,
    }
}

/// A function call recorded as a layer.
pub(super) fn operation(cx: &mut LayerCx<'_, '_>) -> Emit {
    let Some(function) = function(function_name(cx.layer)) else {
        return Ok(Emitted::Opaque(None));
    };
    let null = |o: &Operand<'_>| matches!(o, Operand::Literal(j) if j.is_null());
    let named: Vec<(&str, &Operand<'_>)> =
        cx.kwargs.iter().filter(|(k, v)| *k != "name" && !null(v)).map(|(k, v)| (*k, v)).collect();
    // Parameters that the op does not have keep it opaque.
    let configured = |allowed: &[&str]| {
        let known = ["name", "dtype", "trainable", "function"];
        cx.layer
            .config
            .members()
            .iter()
            .all(|(k, v)| v.is_null() || known.contains(&&**k) || allowed.contains(&&**k))
    };
    match function {
        Function::Unary(kind) => {
            let ([Operand::Value(x)], []) = (cx.args.as_slice(), named.as_slice()) else {
                return opaque("a call with parameters");
            };
            if !configured(&[]) {
                return opaque("a call with parameters");
            }
            let x = *x;
            let ty = cx.graph.ty(x).clone();
            Ok(Emitted::Value(cx.op(kind, [Some(x)], ty)))
        }
        Function::Binary(kind) => {
            let operands: Vec<&Operand<'_>> = cx
                .args
                .iter()
                .chain(named.iter().filter(|(k, _)| matches!(*k, "y" | "x2")).map(|(_, v)| *v))
                .collect();
            let other = named.iter().any(|(k, _)| !matches!(*k, "y" | "x2"));
            let ([a, b], false, true) = (operands.as_slice(), other, configured(&[])) else {
                return opaque("a call with parameters");
            };
            let (a, b) = (side(a), side(b));
            binary(cx, kind, a, b)
        }
        Function::Concat => {
            let axis = named.iter().find(|(k, _)| *k == "axis").map(|(_, v)| *v);
            let axis = match (axis, cx.layer.config.some("axis")) {
                (Some(Operand::Literal(json)), _) => json.as_i64(),
                (None, Some(json)) => json.as_i64(),
                (None, None) if cx.layer.class == "Concatenate" => Some(0),
                _ => None,
            };
            let tensors: Option<Vec<Value>> = match cx.args.as_slice() {
                [Operand::List(items)] => items
                    .iter()
                    .map(|i| match i {
                        Operand::Value(v) => Some(*v),
                        _ => None,
                    })
                    .collect(),
                _ => None,
            };
            let other = named.iter().any(|(k, _)| *k != "axis");
            let (Some(axis), Some(tensors), false, true) =
                (axis, tensors, other, configured(&["axis"]))
            else {
                return opaque("a call with parameters");
            };
            concat(cx, &tensors, axis)
        }
    }
}

/// One side of a binary call.
enum Side {
    Value(Value),
    Literal(Option<(Vec<u64>, Vec<f64>)>),
}

fn side(operand: &Operand<'_>) -> Side {
    match operand {
        Operand::Value(v) => Side::Value(*v),
        Operand::Literal(json) => Side::Literal(numbers(json)),
        _ => Side::Literal(None),
    }
}

/// A number, nested lists of numbers, or a serialized array.
fn numbers(json: &Json) -> Option<(Vec<u64>, Vec<f64>)> {
    let class = json.get("class_name").and_then(Json::as_str);
    if matches!(class, Some("__tensor__" | "__numpy__")) {
        return numbers(json.get("config")?.get("value")?);
    }
    match &json.value {
        JsonValue::Number(_) => Some((Vec::new(), vec![json.as_f64()?])),
        JsonValue::Array(items) => {
            let mut parts = items.iter().map(numbers);
            let (dims, mut values) = parts.next()??;
            for part in parts {
                let (other, more) = part?;
                if other != dims {
                    return None;
                }
                values.extend(more);
            }
            Some(([items.len() as u64].into_iter().chain(dims).collect(), values))
        }
        _ => None,
    }
}

fn binary(cx: &mut LayerCx<'_, '_>, kind: BinaryKind, a: Side, b: Side) -> Emit {
    let tensor = match (&a, &b) {
        (Side::Value(v), _) | (_, Side::Value(v)) => *v,
        _ => return opaque("a call without tensors"),
    };
    let Some(dtype) =
        cx.graph.ty(tensor).dtype().filter(|d| d.is_arithmetic_float() || *d == DType::I32)
    else {
        return opaque("the element type of an operand is not known");
    };
    if let (Side::Value(v), Side::Value(w)) = (&a, &b)
        && cx.graph.ty(*v).dtype() != cx.graph.ty(*w).dtype()
    {
        return opaque("operands of several element types");
    }
    let shape_of = |side: &Side| match side {
        Side::Value(v) => cx.shape(*v),
        Side::Literal(literal) => {
            literal.as_ref().map(|(dims, _)| dims.iter().map(|&d| Dim::Known(d)).collect())
        }
    };
    let (Some(x), Some(y)) = (shape_of(&a), shape_of(&b)) else {
        return opaque("the rank of an operand is not known, or a literal is no array of numbers");
    };
    let shape = broadcast(cx, &x, &y)?;
    let mut value = |side: Side| match side {
        Side::Value(v) => Some(v),
        Side::Literal(literal) => literal.map(|(dims, values)| cx.literal(dtype, &dims, &values)),
    };
    let operands = [value(a), value(b)];
    Ok(Emitted::Value(cx.op(kind, operands, shape::tensor(dtype, Some(shape)))))
}
