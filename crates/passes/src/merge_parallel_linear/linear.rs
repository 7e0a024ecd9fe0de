//! Linear ops whose weight and bias are constants, and what two of them have in common.

use super::{reason::MergeReason, sum::only_use, window};
use crate::CertainTypes;
use normfold_ir::{Binding, ConstId, ConstPool, DType, Graph, Linear, OpId, OpKind, Use, Value};

/// A constant operand.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Held {
    /// Which operand.
    pub(super) at: Use,
    /// The `constant` op that it reads, perhaps through identities.
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
        self.direct && uses.all(|u| to.iter().any(|h| h.at == u))
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

/// The operand that holds the data of a linear op; `None` for any other op.
fn data_operand(g: &Graph, op: OpId) -> Option<usize> {
    let is_constant = |i: usize| {
        let v = g.operand(op, i).map(|v| source(g, v));
        v.is_some_and(|v| matches!(g.kind(v.op), OpKind::Constant(_)))
    };
    match g.kind(op) {
        OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) => Some(0),
        OpKind::MatMul(_) if is_constant(1) => Some(0),
        OpKind::MatMul(_) if is_constant(0) => Some(1),
        _ => None,
    }
}

/// The value that identities hand on.
pub(super) fn source(g: &Graph, mut v: Value) -> Value {
    while let OpKind::Identity(_) = g.kind(v.op) {
        match g.operand(v.op, 0) {
            Some(x) => v = x,
            None => break,
        }
    }
    v
}

/// The data of a linear op, whatever else holds of it.
pub(super) fn data(g: &Graph, v: Value) -> Option<Value> {
    let x = source(g, g.operand(v.op, data_operand(g, v.op)?)?);
    let computed = !matches!(g.kind(x.op), OpKind::Constant(_));
    (v.result == 0 && computed).then_some(x)
}

fn held(
    g: &Graph,
    pool: &ConstPool,
    at: Use,
    what: &'static str,
) -> Result<Option<Held>, MergeReason> {
    let Some(first) = g.operand(at.user, at.operand as usize) else { return Ok(None) };
    let v = source(g, first);
    let name = g.location(v.op);
    let OpKind::Constant(c) = g.kind(v.op) else {
        return Err(MergeReason::NotConstant { what, blocker: describe(g, v.op) });
    };
    match c.binding {
        Binding::Fixed => {}
        Binding::Overridable => return Err(MergeReason::OverridableInput { what, name }),
        Binding::Mutable => return Err(MergeReason::MutableState { what, name }),
    }
    if g.is_quantized(v) || g.is_quantized(first) {
        return Err(MergeReason::Quantized { blocker: describe(g, v.op) });
    }
    let dtype = pool.dtype(c.entry);
    if !dtype.is_arithmetic_float() {
        return Err(MergeReason::UnsupportedType { what, dtype });
    }
    if !pool.is_present(c.entry) {
        return Err(MergeReason::WeightsAbsent { name });
    }
    let dims = pool.dims(c.entry);
    Ok(Some(Held { at, constant: v.op, direct: first == v, entry: c.entry, dims }))
}

pub(super) fn describe(g: &Graph, op: OpId) -> String {
    format!("{} {:?}", g.kind(op).display_name(), g.location(op))
}

/// The linear op that gives `v` to one sum alone.
pub(super) fn linear(g: &Graph, pool: &ConstPool, v: Value) -> Result<LinearOp, MergeReason> {
    let not_linear = || MergeReason::NotConstant { what: "weight", blocker: describe(g, v.op) };
    let op = v.op;
    if only_use(g, v).is_none() {
        return Err(MergeReason::MultipleConsumers { users: g.uses(v).count() });
    }
    if g.is_quantized(v) {
        return Err(MergeReason::Quantized { blocker: describe(g, op) });
    }
    let data = data_operand(g, op).ok_or_else(not_linear)?;
    let at = |operand: usize| Use { user: op, operand: operand as u32 };
    let weight = held(g, pool, at(1 - data), "weight")?.ok_or_else(not_linear)?;
    let bias = match g.kind(op) {
        OpKind::MatMul(_) => None,
        _ => held(g, pool, at(2), "bias")?,
    };
    let dtype = pool.dtype(weight.entry);
    if let Some(b) = &bias
        && pool.dtype(b.entry) != dtype
    {
        return Err(MergeReason::UnsupportedType { what: "bias", dtype: pool.dtype(b.entry) });
    }
    Ok(LinearOp { op, data, weight, bias, dtype })
}

/// The number of elements of the weight, by which the larger of two is found.
pub(super) fn size(pool: &ConstPool, l: &LinearOp) -> u64 {
    pool.count(l.weight.entry)
}

/// Where the weight of `small` stands within that of `large`, so that both of the same data sum to one op of large's kind.
pub(super) fn offset(
    g: &Graph,
    types: &CertainTypes,
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
