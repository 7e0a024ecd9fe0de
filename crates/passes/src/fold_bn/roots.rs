//! What gets a verdict: batch norms, and chains of arithmetic that scale per channel.

use super::{
    affine::{batch_norm, elementwise, scales_channels},
    cx::Cx,
};
use normfold_ir::{Graph, OpId, OpKind, UnaryKind, Value};

/// A batch norm, or the last op of an affine chain.
pub(super) struct Root {
    pub(super) op: OpId,
    pub(super) is_norm: bool,
}

/// Every root, in topological order.
pub(super) fn find(cx: Cx<'_>, order: &[OpId]) -> Vec<Root> {
    let norm = |op| batch_norm(cx.g, op).is_some();
    let roots = order.iter().filter(|&&op| norm(op) || ends_chain(cx, op));
    roots.map(|&op| Root { op, is_norm: norm(op) }).collect()
}

fn may_be_affine(g: &Graph, op: OpId) -> bool {
    matches!(g.kind(op), OpKind::Binary(_) | OpKind::Unary(UnaryKind::Neg))
}

/// Whether an op is the last of a maximal chain of arithmetic by constants, each result read once, in which something
/// multiplies or divides by a constant that varies per channel.
fn ends_chain(cx: Cx<'_>, op: OpId) -> bool {
    let g = cx.g;
    if !may_be_affine(g, op) || elementwise(cx, op).is_none() {
        return false;
    }
    let goes_on = g.single_value_use(Value::new(op, 0)).is_some_and(|u| {
        may_be_affine(g, u.user)
            && elementwise(cx, u.user).is_some_and(|a| a.data == u.operand as usize)
    });
    if goes_on {
        return false;
    }
    let mut at = op;
    while may_be_affine(g, at) {
        let Some(affine) = elementwise(cx, at) else { return false };
        if scales_channels(cx, at) {
            return true;
        }
        let Some(x) = g.operand(at, affine.data) else { return false };
        if g.single_value_use(x).is_none() {
            return false;
        }
        at = x.op;
    }
    false
}
