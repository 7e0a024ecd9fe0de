//! Padding.

use super::{
    EvalError, Scalar,
    index::{self, Dims},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::{Pad, PadMode};
use smallvec::{SmallVec, smallvec};

struct Axis {
    /// Extent of the result, of x, and elements between neighbours in x.
    output: u64,
    input: i64,
    stride: u64,
    /// Cells before the first of x; negative where x is cut.
    before: i64,
    /// What is left of x when it is cut: first position and number.
    first: i64,
    left: i64,
}

struct Padded {
    x: NodeId,
    axes: SmallVec<[Axis; 6]>,
    mode: PadMode,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    Scalar(Scalar),
    Operand(NodeId),
}

impl Formula for Padded {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        match self.value {
            Value::Operand(v) => smallvec![self.x, v],
            Value::Scalar(_) => smallvec![self.x],
        }
    }

    fn element(&self, cx: Reader<'_, '_>, mut i: u64) -> Result<Scalar, EvalError> {
        let mut at = 0;
        for a in self.axes.iter().rev() {
            let p = (i % a.output) as i64;
            i /= a.output;
            match self.source(a, p) {
                Some(q) => at += q as u64 * a.stride,
                None => {
                    return match self.value {
                        Value::Scalar(v) => Ok(v),
                        Value::Operand(n) => cx.get(n, 0),
                    };
                }
            }
        }
        cx.get(self.x, at)
    }
}

impl Padded {
    /// The position in x that position `p` of the result shows. A negative amount cuts first; the other modes mirror or
    /// repeat what is left.
    fn source(&self, a: &Axis, p: i64) -> Option<i64> {
        if self.mode == PadMode::Constant {
            let q = p - a.before;
            return (0 <= q && q < a.input).then_some(q);
        }
        let q = p - a.before.max(0);
        let within = match self.mode {
            PadMode::Edge | PadMode::Constant => q.clamp(0, a.left - 1),
            PadMode::Wrap => q.rem_euclid(a.left),
            PadMode::Reflect if a.left == 1 => 0,
            PadMode::Reflect => {
                let period = 2 * (a.left - 1);
                let q = q.rem_euclid(period);
                q.min(period - q)
            }
        };
        Some(a.first + within)
    }
}

pub(super) fn pad<'a>(s: &mut Site<'_, 'a>, k: &Pad) -> Plan<'a> {
    let x = s.operand(0)?;
    let (dtype, dims) = (s.dtype(x), s.dims(x));
    let Some(amounts) = s.list(k.amounts.as_ref(), 1)? else {
        return Err(s.shape_error("no amounts are given"));
    };
    let named = match s.optional(3) {
        Some(n) => s.ints(n)?,
        None => (0..dims.len() as i64).collect(),
    };
    let named = s.axes(&named, dims.len())?;
    if amounts.len() != 2 * named.len() {
        return Err(s.shape_error(format!("{} amounts for {} axes", amounts.len(), named.len())));
    }
    let value = match (k.value, s.optional(2)) {
        (Some(v), _) => Value::Scalar(Scalar::F(v).of(dtype)),
        (None, None) => Value::Scalar(Scalar::F(0.0).of(dtype)),
        (None, Some(n)) if s.count(n) == 1 && s.dtype(n) == dtype => Value::Operand(n),
        (None, Some(_)) => return Err(s.shape_error(format!("the value is no scalar of {dtype}"))),
    };
    let strides = index::strides(&dims);
    let mut axes: SmallVec<[Axis; 6]> = SmallVec::new();
    for (axis, &d) in dims.iter().enumerate() {
        let (before, after) = match named.iter().position(|&a| a == axis) {
            Some(i) => (amounts[i], amounts[i + named.len()]),
            None => (0, 0),
        };
        let input = d as i64;
        let output = input.checked_add(before).and_then(|n| n.checked_add(after));
        let first = before.saturating_neg().max(0);
        let left = input.saturating_sub(first).saturating_sub(after.saturating_neg().max(0));
        // Nothing to mirror or repeat.
        let empty = k.mode != PadMode::Constant && left < 1 && (before > 0 || after > 0);
        match output.and_then(|n| u64::try_from(n).ok()) {
            Some(output) if !empty => {
                axes.push(Axis { output, input, stride: strides[axis], before, first, left });
            }
            _ => return Err(s.shape_error(format!("{before} and {after} around an extent of {d}"))),
        }
    }
    let out: Dims = axes.iter().map(|a| a.output).collect();
    Ok(Planned::formula(dtype, out, Padded { x, axes, mode: k.mode, value }))
}
