//! What gets a verdict: batch norms, and chains of arithmetic that scale per channel.

use super::{
    affine::{batch_norm, elementwise, scales_channels},
    cx::Cx,
};
use normfold_ir::{BinaryKind, Graph, OpId, OpKind, UnaryKind, Value};

/// A batch norm, or the last op of an affine chain.
pub(super) struct Root {
    pub(super) op: OpId,
    pub(super) is_norm: bool,
    /// An op of the chain whose constant lies along an axis that cannot be told, as the rank of the data is not certain.
    pub(super) unranked: Option<OpId>,
}

/// Every root, in topological order.
pub(super) fn find(cx: Cx<'_>, order: &[OpId]) -> Vec<Root> {
    let root = |&op: &OpId| match batch_norm(cx.g, op) {
        Some(_) => Some(Root { op, is_norm: true, unranked: None }),
        None => chain(cx, op).map(|unranked| Root { op, is_norm: false, unranked }),
    };
    order.iter().filter_map(root).collect()
}

fn may_be_affine(g: &Graph, op: OpId) -> bool {
    matches!(g.kind(op), OpKind::Binary(_) | OpKind::Unary(UnaryKind::Neg))
}

/// The operand that arithmetic by a constant transforms, and whether the rank of it is certain enough to say how.
fn link(cx: Cx<'_>, op: OpId) -> Option<(usize, bool)> {
    if !may_be_affine(cx.g, op) {
        return None;
    }
    if let Some(affine) = elementwise(cx, op) {
        return Some((affine.data, true));
    }
    let OpKind::Binary(kind) = cx.g.kind(op) else { return None };
    let (a, b) = (cx.g.operand(op, 0)?, cx.g.operand(op, 1)?);
    let (data, x, c) = match (cx.is_constant(a), cx.is_constant(b)) {
        (false, true) => (0, a, b),
        (true, false) if *kind != BinaryKind::Div => (1, b, a),
        _ => return None,
    };
    let arithmetic =
        matches!(kind, BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Div);
    if !arithmetic || cx.rank(x).is_some() {
        return None;
    }
    let (dtype, dims) = cx.constants().ty(c).ok()?;
    let vector = dims.iter().filter(|&&d| d > 1).count() == 1;
    (vector && dtype.is_arithmetic_float()).then_some((data, false))
}

/// Whether an op is the last of a maximal chain of arithmetic by constants, each result read once, in which something
/// multiplies or divides by a constant that varies per channel; then the op that is `unranked`, if there is one.
fn chain(cx: Cx<'_>, op: OpId) -> Option<Option<OpId>> {
    let g = cx.g;
    link(cx, op)?;
    let next = g.single_value_use(Value::new(op, 0));
    if next.is_some_and(|u| link(cx, u.user).is_some_and(|(data, _)| data == u.operand as usize)) {
        return None;
    }
    let (mut at, mut scales, mut unranked) = (op, false, None);
    while let Some((data, ranked)) = link(cx, at) {
        scales |= scales_channels(cx, at);
        if !ranked {
            unranked = Some(at);
        } else if scales && unranked.is_none() {
            return Some(None);
        }
        let x = g.operand(at, data)?;
        if g.single_value_use(x).is_none() {
            break;
        }
        at = x.op;
    }
    scales.then_some(unranked)
}
