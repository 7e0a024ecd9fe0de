//! Ops in the words of an opset: what a pass may create or change, and how it is written.
//!
//! [`encode`] is the single source for both: what it refuses is what [`super::super::capabilities`] says cannot be written.

use super::{bytes, float, int, text};
use crate::{onnx::model::AttributeView, save::Content};
use normfold_ir::{BinaryKind, KernelOrder, OpKind, PadMode, Padding, UnaryKind};

/// The value of an attribute that is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Text(&'static str),
}

impl Value {
    /// Whether an attribute says this.
    pub(crate) fn is(&self, a: &AttributeView<'_>) -> bool {
        match self {
            Value::Int(v) => a.i == *v,
            Value::Float(v) => a.f.to_bits() == v.to_bits(),
            Value::Ints(v) => a.ints().is_ok_and(|w| w == *v),
            Value::Text(v) => a.s == v.as_bytes(),
        }
    }

    /// The fields of `AttributeProto` that hold the value, and its type.
    pub(crate) fn write(&self, out: &mut Content<'_>) {
        match self {
            Value::Int(v) => int(out, 3, *v),
            Value::Float(v) => float(out, 2, *v),
            Value::Ints(v) => v.iter().for_each(|&v| int(out, 8, v)),
            Value::Text(v) => bytes(out, 4, v.as_bytes()),
        }
    }

    /// `AttributeProto.AttributeType`.
    pub(crate) fn kind(&self) -> i64 {
        match self {
            Value::Float(_) => 1,
            Value::Int(_) => 2,
            Value::Text(_) => 3,
            Value::Ints(_) => 7,
        }
    }

    /// A whole `AttributeProto`.
    pub(crate) fn attribute<'c>(&self, name: &str) -> Content<'c> {
        let mut out = Content::new();
        text(&mut out, 1, name);
        self.write(&mut out);
        int(&mut out, 20, self.kind());
        out
    }
}

/// One attribute of an encoded op.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Attr {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    /// The value equals the default of the op's definition: it is left out of a new record.
    pub(crate) default: bool,
}

/// An op as a node.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Encoded {
    pub(crate) op_type: &'static str,
    pub(crate) attrs: Vec<Attr>,
    /// How many of the leading inputs must be there.
    pub(crate) required: usize,
}

fn attr(name: &'static str, value: Value, default: Value) -> Attr {
    Attr { name, default: value == default, value }
}

fn ints<'a, T: Copy + 'a>(v: impl IntoIterator<Item = &'a T>, f: impl Fn(T) -> i64) -> Vec<i64> {
    v.into_iter().map(|&x| f(x)).collect()
}

/// The node that says `kind` in the given opset of the standard domain.
///
/// # Errors
/// Why it cannot be said.
pub(crate) fn encode(kind: &OpKind, opset: i64) -> Result<Encoded, String> {
    let plain = |op_type, required| Ok(Encoded { op_type, attrs: Vec::new(), required });
    let since = |version: i64, e: Result<Encoded, String>| {
        if opset >= version {
            e
        } else {
            Err(format!("`{}` needs opset {version}, the model imports {opset}", kind.mnemonic()))
        }
    };
    match kind {
        OpKind::Identity(_) => plain("Identity", 1),
        // Below 7 broadcasting is an attribute, limited to a run of the first operand's axes.
        OpKind::Binary(k) => match k {
            BinaryKind::Add => since(7, plain("Add", 2)),
            BinaryKind::Sub => since(7, plain("Sub", 2)),
            BinaryKind::Mul => since(7, plain("Mul", 2)),
            BinaryKind::Div => since(7, plain("Div", 2)),
            _ => Err(format!("creating `{}` is not supported", kind.mnemonic())),
        },
        OpKind::Unary(k) => match k {
            UnaryKind::Relu => since(6, plain("Relu", 1)),
            UnaryKind::Neg => since(6, plain("Neg", 1)),
            UnaryKind::Sqrt => since(6, plain("Sqrt", 1)),
            UnaryKind::Reciprocal => since(6, plain("Reciprocal", 1)),
            _ => Err(format!("creating `{}` is not supported", kind.mnemonic())),
        },
        OpKind::MatMul(_) => plain("MatMul", 2),
        OpKind::Linear(l) => {
            let mut attrs = vec![
                attr("alpha", Value::Float(l.alpha as f32), Value::Float(1.0)),
                attr("beta", Value::Float(l.beta as f32), Value::Float(1.0)),
                attr("transA", Value::Int(l.trans_x.into()), Value::Int(0)),
                attr("transB", Value::Int(l.trans_w.into()), Value::Int(0)),
            ];
            if opset < 7 {
                attrs.push(attr("broadcast", Value::Int(1), Value::Int(0)));
            }
            // C became optional with opset 11.
            Ok(Encoded { op_type: "Gemm", attrs, required: if opset < 11 { 3 } else { 2 } })
        }
        OpKind::Conv(c) => {
            if c.x.channel_last || c.w.order != KernelOrder::Ois {
                return Err("ONNX has channels-first convolutions with OIHW kernels only".into());
            }
            let n = usize::from(c.x.spatial);
            let mut attrs = window(
                n,
                &ints(&c.strides, |v| v as i64),
                &ints(&c.dilations, |v| v as i64),
                &c.pad,
            )?;
            attrs.push(attr("group", Value::Int(c.groups as i64), Value::Int(1)));
            Ok(Encoded { op_type: "Conv", attrs, required: 2 })
        }
        OpKind::ConvTranspose(c) => {
            if c.x.channel_last || c.w.order != KernelOrder::Ios {
                return Err("ONNX has channels-first convolutions with IOHW kernels only".into());
            }
            let n = usize::from(c.x.spatial);
            let mut attrs = window(
                n,
                &ints(&c.strides, |v| v as i64),
                &ints(&c.dilations, |v| v as i64),
                &c.pad,
            )?;
            attrs.push(attr("group", Value::Int(c.groups as i64), Value::Int(1)));
            let zeros = Value::Ints(vec![0; n]);
            let padding = if c.output_padding.is_empty() {
                zeros.clone()
            } else {
                Value::Ints(c.output_padding.to_vec())
            };
            attrs.push(attr("output_padding", padding, zeros));
            if !c.output_shape.is_empty() {
                let value = Value::Ints(c.output_shape.to_vec());
                attrs.push(Attr { name: "output_shape", value, default: false });
            }
            Ok(Encoded { op_type: "ConvTranspose", attrs, required: 2 })
        }
        OpKind::Transpose(t) => {
            let attrs = vec![Attr {
                name: "perm",
                default: t.perm.is_empty(),
                value: Value::Ints(t.perm.clone()),
            }];
            Ok(Encoded { op_type: "Transpose", attrs, required: 1 })
        }
        OpKind::Reshape(r) => {
            let attrs = vec![attr("allowzero", Value::Int(r.allow_zero.into()), Value::Int(0))];
            match &r.shape {
                None if opset >= 14 => Ok(Encoded { op_type: "Reshape", attrs, required: 2 }),
                None if opset >= 5 && !r.allow_zero => plain("Reshape", 2),
                Some(shape) if opset < 5 => {
                    let attrs = vec![Attr {
                        name: "shape",
                        value: Value::Ints(shape.clone()),
                        default: false,
                    }];
                    Ok(Encoded { op_type: "Reshape", attrs, required: 1 })
                }
                _ => Err(format!("this form of `reshape` does not exist in opset {opset}")),
            }
        }
        // Padding amounts are attributes below 11; `pads` was called `paddings` in 1.
        OpKind::Pad(p) => match (&p.amounts, opset) {
            (Some(amounts), 2..=10) => {
                let mode = match p.mode {
                    PadMode::Constant => "constant",
                    PadMode::Reflect => "reflect",
                    PadMode::Edge => "edge",
                    PadMode::Wrap => return Err("`wrap` padding needs opset 19".into()),
                };
                let value = p.value.unwrap_or(0.0) as f32;
                let attrs = vec![
                    attr("mode", Value::Text(mode), Value::Text("constant")),
                    Attr { name: "pads", value: Value::Ints(amounts.clone()), default: false },
                    attr("value", Value::Float(value), Value::Float(0.0)),
                ];
                Ok(Encoded { op_type: "Pad", attrs, required: 1 })
            }
            _ => Err(format!("this form of `pad` cannot be written in opset {opset}")),
        },
        // One scale per position of an axis since 13, per block since 21.
        OpKind::Dequantize(d) => {
            let mut attrs = Vec::new();
            if opset >= 13 {
                attrs.push(attr("axis", Value::Int(d.axis), Value::Int(1)));
            } else if d.axis != 1 {
                return Err(format!("an axis of `dequantize` needs opset 13, not {opset}"));
            }
            if opset >= 21 {
                attrs.push(attr("block_size", Value::Int(d.block), Value::Int(0)));
            }
            since(10, Ok(Encoded { op_type: "DequantizeLinear", attrs, required: 2 }))
        }
        OpKind::Opaque(o) => Err(format!("creating or changing `{}` is not supported", o.name)),
        _ => Err(format!("creating or changing `{}` is not supported", kind.mnemonic())),
    }
}

/// Attributes of a sliding window over `n` axes.
fn window(
    n: usize,
    strides: &[i64],
    dilations: &[i64],
    pad: &Padding,
) -> Result<Vec<Attr>, String> {
    let ones = Value::Ints(vec![1; n]);
    let or_ones = |v: &[i64]| if v.is_empty() { ones.clone() } else { Value::Ints(v.to_vec()) };
    let mut attrs = vec![
        attr("strides", or_ones(strides), ones.clone()),
        attr("dilations", or_ones(dilations), ones.clone()),
    ];
    let auto = match pad {
        Padding::Explicit(_) => "NOTSET",
        Padding::SameUpper => "SAME_UPPER",
        Padding::SameLower => "SAME_LOWER",
        Padding::Valid => "VALID",
        Padding::Causal => return Err("ONNX has no causal padding".into()),
    };
    attrs.push(attr("auto_pad", Value::Text(auto), Value::Text("NOTSET")));
    if let Padding::Explicit(p) = pad {
        let side = |f: fn((i64, i64)) -> i64| (0..n).map(move |i| p.get(i).map_or(0, |&v| f(v)));
        let value = Value::Ints(side(|p| p.0).chain(side(|p| p.1)).collect());
        attrs.push(attr("pads", value, Value::Ints(vec![0; 2 * n])));
    }
    Ok(attrs)
}
