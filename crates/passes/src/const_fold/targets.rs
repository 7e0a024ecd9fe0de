//! Targets of reshapes that a list of numbers says as well.
//!
//! ```text
//! %s = shape %x                              %c = constant dense<[0, 12]>
//! %n = slice %s, [0], [1]             →      %y = reshape %x, %c
//! %t = concat %n, [12]
//! %y = reshape %x, %t
//! ```

use super::erase_dead;
use crate::{CertainTypes, Constants};
use normfold_ir::{Graph, OpId, OpKind, PatternRewriter, Reshape, Use, Value};

/// The reshapes whose target can be a constant, with its elements.
pub(super) fn find(constants: Constants<'_>, types: &CertainTypes) -> Vec<(OpId, Vec<i64>)> {
    let g = constants.graph;
    let target = |op: OpId| match g.kind(op) {
        OpKind::Reshape(kind) if kind.shape.is_none() => {
            Some((op, elements(constants, types, op, kind)?))
        }
        _ => None,
    };
    g.topo_order().unwrap_or_default().into_iter().filter_map(target).collect()
}

/// 0 stands for an extent of the same axis of x, even if that is 0; -1 for the one extent that is left.
fn elements(
    constants: Constants<'_>,
    types: &CertainTypes,
    op: OpId,
    kind: &Reshape,
) -> Option<Vec<i64>> {
    let g = constants.graph;
    let (x, target) = (g.operand(op, 0)?, g.operand(op, 1)?);
    let known = is_computed(g, target).then(|| constants.ints(target))??;
    // What follows from constants alone is computed as any other value.
    if known.iter().all(Option::is_some) {
        return None;
    }
    let mut open = None;
    let mut out = Vec::with_capacity(known.len());
    for (i, element) in known.into_iter().enumerate() {
        let Some(n) = element else {
            let extent = constants.extent_behind(target, i as u64)?;
            if !kind.allow_zero && types.same_extent(extent, (x, i)) {
                out.push(0);
            } else if open.replace(i).is_none() {
                out.push(-1);
            } else {
                return None;
            }
            continue;
        };
        out.push(n);
    }
    // Beside -1 no other extent may turn out to be 0.
    let dims = types.dims(x);
    let positive = |i: usize, n: i64| match n {
        0 => {
            !kind.allow_zero
                && dims.as_ref().and_then(|d| d.get(i).copied()?).is_some_and(|d| d > 0)
        }
        n => n > 0,
    };
    let fits = |at| out.iter().enumerate().all(|(i, &n)| i == at || positive(i, n));
    open.is_none_or(fits).then_some(out)
}

fn is_computed(g: &Graph, v: Value) -> bool {
    !matches!(g.kind(v.op), OpKind::Constant(_) | OpKind::Parameter(_))
}

/// Gives how many ops nothing reads any more, which are gone.
pub(super) fn rewrite(rw: &mut PatternRewriter<'_>, op: OpId, elements: &[i64]) -> u64 {
    let old = rw.graph().operand(op, 1);
    let entry = rw.constants_mut().add_i64(&[elements.len() as u64], elements);
    let c = rw.create_constant(entry, None, op);
    rw.set_operand(Use { user: op, operand: 1 }, Some(c));
    old.map_or(0, |v| erase_dead(rw, v.op))
}
