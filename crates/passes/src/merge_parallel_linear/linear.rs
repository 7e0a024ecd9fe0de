//! Linear ops whose weight and bias are constants, and what two of them have in common.

use super::{reason::MergeReason, window};
use crate::{Blocker, CertainTypes, Constness};
use normfold_ir::{Binding, ConstId, ConstPool, DType, Graph, Linear, OpId, OpKind, Use, Value};

/// The graph as it is, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) g: &'a Graph,
    pub(super) types: &'a CertainTypes,
    pub(super) known: &'a Constness,
}

impl Facts<'_> {
    /// The value that identities hand on.
    pub(super) fn source(self, mut v: Value) -> Value {
        while let OpKind::Identity(_) = self.g.kind(v.op) {
            match self.g.operand(v.op, 0) {
                Some(x) => v = x,
                None => break,
            }
        }
        v
    }

    /// The entry of a `constant` op, or of what a body captures where that is a constant which no caller can replace.
    pub(super) fn entry(self, v: Value) -> Option<ConstId> {
        match self.g.kind(v.op) {
            OpKind::Constant(c) => Some(c.entry),
            _ => self.known.captured(v.op),
        }
    }

    /// The operand that holds the data of a linear op; `None` for any other op.
    fn data_operand(self, op: OpId) -> Option<usize> {
        let is_constant =
            |i: usize| self.g.operand(op, i).is_some_and(|v| self.entry(self.source(v)).is_some());
        match self.g.kind(op) {
            OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) => Some(0),
            OpKind::MatMul(_) if is_constant(1) => Some(0),
            OpKind::MatMul(_) if is_constant(0) => Some(1),
            _ => None,
        }
    }

    /// The data of the linear op that gives `v`, whatever else holds of it.
    pub(super) fn data(self, v: Value) -> Option<Value> {
        let x = self.source(self.g.operand(v.op, self.data_operand(v.op)?)?);
        (v.result == 0 && self.entry(x).is_none()).then_some(x)
    }
}

/// A constant operand.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Held {
    /// Which operand.
    pub(super) at: Use,
    /// The `constant` op or the capture parameter that it reads, perhaps through identities.
    pub(super) constant: OpId,
    /// Whether it reads that directly.
    pub(super) direct: bool,
    pub(super) entry: ConstId,
    pub(super) dims: Vec<u64>,
}

impl Held {
    /// Whether nothing but these operands reads the constant.
    pub(super) fn is_exclusive(&self, g: &Graph, to: &[&Held]) -> bool {
        let mut uses = g.uses(Value::new(self.constant, 0));
        let is_own = matches!(g.kind(self.constant), OpKind::Constant(_));
        self.direct && is_own && uses.all(|u| to.iter().any(|h| h.at == u))
    }
}

/// A linear op with constant weight and bias.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LinearOp {
    pub(super) op: OpId,
    /// Which operand is the data.
    pub(super) data: usize,
    pub(super) weight: Held,
    pub(super) bias: Option<Held>,
    pub(super) dtype: DType,
}

fn held(
    facts: Facts<'_>,
    pool: &ConstPool,
    at: Use,
    what: &'static str,
) -> Result<Option<Held>, MergeReason> {
    let g = facts.g;
    let Some(first) = g.operand(at.user, at.operand as usize) else { return Ok(None) };
    let v = facts.source(first);
    let name = g.location(v.op);
    let blocker = || Blocker::of(g, v.op);
    let entry =
        facts.entry(v).ok_or_else(|| MergeReason::NotConstant { what, blocker: blocker() })?;
    match g.kind(v.op) {
        OpKind::Constant(c) if c.binding == Binding::Overridable => {
            return Err(MergeReason::OverridableInput { what, name });
        }
        OpKind::Constant(c) if c.binding == Binding::Mutable => {
            return Err(MergeReason::MutableState { what, name });
        }
        _ => {}
    }
    if g.is_quantized(v) || g.is_quantized(first) {
        return Err(MergeReason::Quantized { blocker: blocker() });
    }
    let dtype = pool.dtype(entry);
    if !dtype.is_arithmetic_float() {
        return Err(MergeReason::UnsupportedType { what, dtype });
    }
    if !pool.is_present(entry) {
        return Err(MergeReason::WeightsAbsent { name });
    }
    let dims = pool.dims(entry);
    Ok(Some(Held { at, constant: v.op, direct: first == v, entry, dims }))
}

/// The linear op that gives `v`, which one sum alone reads.
pub(super) fn linear(
    facts: Facts<'_>,
    pool: &ConstPool,
    v: Value,
) -> Result<LinearOp, MergeReason> {
    let (g, op) = (facts.g, v.op);
    let blocker = || Blocker::of(g, op);
    let not_linear = || MergeReason::NotConstant { what: "weight", blocker: blocker() };
    if g.is_quantized(v) {
        return Err(MergeReason::Quantized { blocker: blocker() });
    }
    let data = facts.data_operand(op).ok_or_else(not_linear)?;
    let at = |operand: usize| Use { user: op, operand: operand as u32 };
    let weight = held(facts, pool, at(1 - data), "weight")?.ok_or_else(not_linear)?;
    let bias = match g.kind(op) {
        OpKind::MatMul(_) => None,
        _ => held(facts, pool, at(2), "bias")?,
    };
    let dtype = pool.dtype(weight.entry);
    if let Some(b) = &bias
        && pool.dtype(b.entry) != dtype
    {
        return Err(MergeReason::UnsupportedType { what: "bias", dtype: pool.dtype(b.entry) });
    }
    let of = g.operand(op, data).and_then(|x| facts.types.dtype(x));
    if let Some(dtype) = of.filter(|&found| found != dtype) {
        return Err(MergeReason::UnsupportedType { what: "data", dtype });
    }
    Ok(LinearOp { op, data, weight, bias, dtype })
}

/// The number of elements of the weight, by which the larger of two is found.
pub(super) fn size(pool: &ConstPool, l: &LinearOp) -> u64 {
    pool.count(l.weight.entry)
}

/// Where the weight of `small` stands within that of `large`, so that both of the same data sum to one op of large's kind.
pub(super) fn offset(
    Facts { g, types, .. }: Facts<'_>,
    large: &LinearOp,
    small: &LinearOp,
) -> Result<Vec<u64>, MergeReason> {
    let differ = |what| Err(MergeReason::AttributesDiffer { what });
    let (a, b) = (&large.weight.dims, &small.weight.dims);
    if large.dtype != small.dtype {
        return differ("element types");
    }
    if large.data != small.data || a.len() != b.len() {
        return differ("kinds");
    }
    let zeros = vec![0; a.len()];
    match (g.kind(large.op), g.kind(small.op)) {
        (OpKind::Conv(l), OpKind::Conv(s)) => {
            if l.x != s.x || l.w != s.w || l.x.rank() != a.len() || l.w.rank() != a.len() {
                return differ("layouts");
            }
            let unit = |list: &[u64], i: usize| list.get(i).copied().unwrap_or(1);
            let spatial = usize::from(l.x.spatial);
            if (0..spatial).any(|i| unit(&l.strides, i) != unit(&s.strides, i)) {
                return differ("strides");
            }
            if l.groups != s.groups {
                return differ("groups");
            }
            let (first, out, input) = (l.w.first_spatial_axis(), l.w.out_axis(), l.w.in_axis());
            if a[out] != b[out] || a[input] != b[input] {
                return differ("channels");
            }
            let taps = (&a[first..first + spatial], &b[first..first + spatial]);
            let x = g.operand(large.op, large.data).and_then(|v| types.dims(v));
            let x = x.filter(|x| x.len() == l.x.rank());
            let extents: Vec<Option<u64>> =
                x.map_or_else(Vec::new, |x| x[l.x.first_spatial_axis()..][..spatial].to_vec());
            let found = window::offset((l, s), taps, &extents)?;
            let mut offset = zeros;
            offset[first..first + spatial].copy_from_slice(&found);
            Ok(offset)
        }
        (OpKind::Linear(l), OpKind::Linear(s)) => {
            let without_beta = |l: &Linear| Linear { beta: 1.0, ..l.clone() };
            if without_beta(l) != without_beta(s) {
                return differ("attributes");
            }
            if a != b {
                return differ("channels");
            }
            match (&large.bias, &small.bias) {
                (Some(_), Some(_)) if l.beta != s.beta => differ("factors of the bias"),
                _ => Ok(zeros),
            }
        }
        (l, s) => {
            if std::mem::discriminant(l) != std::mem::discriminant(s) {
                return differ("kinds");
            }
            if l != s {
                return differ("attributes");
            }
            if a != b {
                return differ("extents");
            }
            Ok(zeros)
        }
    }
}
