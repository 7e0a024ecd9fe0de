//! Rounding, wrapping and saturating to an element type.

use super::{
    EvalError, Scalar,
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::{DType, decode_f64, encode_f64};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// The smallest and largest value of an integer type, those of u64 cut at 2^63 − 1.
pub(super) fn int_range(dtype: DType) -> Option<(i64, i64)> {
    let bits = dtype.bits();
    Some(match dtype {
        DType::U64 => (0, i64::MAX),
        DType::U32 | DType::U16 | DType::U8 | DType::U4 | DType::U2 => (0, (1 << bits) - 1),
        DType::Bool => (0, 1),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::I4 | DType::I2 => {
            (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits))
        }
        _ => return None,
    })
}

/// `v` modulo the width of an integer type. `None` for a u64 beyond 2^63 − 1, which an i64 does not hold.
pub(super) fn wrap(dtype: DType, v: i128) -> Option<i64> {
    let bits = dtype.bits();
    let low = (v as u128) << (128 - bits);
    match dtype {
        DType::Bool => Some(i64::from(v != 0)),
        DType::U64 | DType::U32 | DType::U16 | DType::U8 | DType::U4 | DType::U2 => {
            i64::try_from(low >> (128 - bits)).ok()
        }
        _ => Some(((low as i128) >> (128 - bits)) as i64),
    }
}

/// The message of a [`wrap`] that fails.
pub(super) fn beyond_i64(op: &Arc<str>) -> EvalError {
    EvalError::Integer { op: op.clone(), message: "a u64 of 2^63 or more".into() }
}

/// Rounds to the values of a float type.
pub(super) enum Rounding {
    /// f64: nothing to do.
    None,
    F32,
    /// By the encoding of the type.
    Encoded(DType),
    /// By the table of its finite values, ascending, each with whether its pattern is even.
    Table(Box<[(f64, bool)]>),
}

impl Rounding {
    /// `None` for types that have no rule here.
    pub(super) fn to(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F64 => Rounding::None,
            DType::F32 => Rounding::F32,
            DType::F16 | DType::BF16 => Rounding::Encoded(dtype),
            DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ
            | DType::F4E2M1 => Rounding::Table(table(dtype)),
            _ => return None,
        })
    }

    pub(super) fn round(&self, v: f64) -> f64 {
        match self {
            Rounding::None => v,
            Rounding::F32 => f64::from(v as f32),
            Rounding::Encoded(dtype) => {
                let (mut bytes, mut out) = ([0; 2], [v]);
                let _ =
                    encode_f64(*dtype, &[v], &mut bytes) && decode_f64(*dtype, &bytes, 0, &mut out);
                out[0]
            }
            Rounding::Table(values) => nearest(values, v),
        }
    }

    fn round_int(&self, v: i64) -> f64 {
        match self {
            // Through f64 it would round twice.
            Rounding::F32 => f64::from(v as f32),
            _ => self.round(v as f64),
        }
    }
}

fn table(dtype: DType) -> Box<[(f64, bool)]> {
    let mut values = Vec::new();
    for raw in 0..1u16 << dtype.bits() {
        let mut v = [0.0];
        if decode_f64(dtype, &[raw as u8], 0, &mut v) && v[0].is_finite() {
            values.push((v[0], raw % 2 == 0));
        }
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values.into()
}

fn nearest(values: &[(f64, bool)], v: f64) -> f64 {
    if v.is_nan() {
        return v;
    }
    let above = values.partition_point(|&(x, _)| x < v);
    match (above.checked_sub(1).map(|i| values[i]), values.get(above)) {
        (Some((low, low_even)), Some(&(high, _))) => {
            let (down, up) = (v - low, high - v);
            if down < up || (down == up && low_even) { low } else { high }
        }
        (Some((last, _)), None) => last,
        (None, Some(&(first, _))) => first,
        (None, None) => v,
    }
}

enum To {
    Float(Rounding),
    Int(DType),
}

struct Cast {
    x: NodeId,
    to: To,
    op: Arc<str>,
}

impl Formula for Cast {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        Ok(match (&self.to, cx.get(self.x, i)?) {
            (To::Float(r), Scalar::F(v)) => Scalar::F(r.round(v)),
            (To::Float(r), Scalar::I(v)) => Scalar::F(r.round_int(v)),
            (To::Int(DType::Bool), Scalar::F(v)) => (v != 0.0).into(),
            (To::Int(d), Scalar::F(v)) => {
                let (low, high) = int_range(*d).unwrap_or((i64::MIN, i64::MAX));
                Scalar::I((v as i64).clamp(low, high))
            }
            (To::Int(d), Scalar::I(v)) => {
                Scalar::I(wrap(*d, i128::from(v)).ok_or_else(|| beyond_i64(&self.op))?)
            }
        })
    }
}

pub(super) fn cast<'a>(s: &mut Site<'_, 'a>, to: DType) -> Plan<'a> {
    let x = s.operand(0)?;
    let (from, dims) = (s.dtype(x), s.dims(x));
    let numeric = |d: DType| d.is_float() || d.is_int() || d == DType::Bool;
    if from == to {
        return s.same(x, dims);
    }
    let rule = if to.holds(from) {
        // Nothing to round, nor what is not rounded yet.
        Some(To::Float(Rounding::None))
    } else if to.is_float() {
        Rounding::to(to).map(To::Float)
    } else {
        numeric(to).then_some(To::Int(to))
    };
    match rule {
        Some(rule) if numeric(from) => {
            Ok(Planned::formula(to, dims, Cast { x, to: rule, op: s.name() }))
        }
        _ => Err(s.unsupported(format!("a cast from {from} to {to}"))),
    }
}

pub(super) fn cast_like<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    // A type use: planned only where nothing is declared.
    let to = match s.optional(1) {
        Some(like) => Some(s.dtype(like)),
        None => s.ev.graph.operand(s.op, 1).and_then(|v| s.ev.graph.ty(v).dtype()),
    };
    match to {
        Some(to) => cast(s, to),
        None => Err(s.shape_error("operand 1 is missing")),
    }
}
