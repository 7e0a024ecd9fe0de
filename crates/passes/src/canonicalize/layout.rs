//! Ops that arrange elements anew, where the arrangement is the one there was.

use super::SameValue;
use crate::{
    CertainTypes,
    analysis::{attr_or_fixed, fixed_ints},
};
use normfold_ir::{ConstPool, Graph, OpId, OpKind, Value};

pub(super) const RESHAPE: &str = "same-shape-reshape";
pub(super) const EXPAND: &str = "same-shape-expand";
pub(super) const TRANSPOSE: &str = "unmoving-transpose";
pub(super) const TRANSPOSES: &str = "cancelling-transposes";

/// Whether a reshape of extents `x` to `target` (positive extents, −1, or 0 for the extent of x unless `allow_zero`)
/// always gives x again.
fn keeps_shape(x: &[Option<u64>], target: &[i64], allow_zero: bool) -> bool {
    if x.len() != target.len() {
        return false;
    }
    // An axis that is not known to stay must be the only one: its extent then follows from the number of elements.
    let (mut open, mut copied) = (None, false);
    for (&n, &t) in x.iter().zip(target) {
        match (n, t) {
            (_, 0) if !allow_zero => copied |= n.is_none(),
            (Some(n), t) if u64::try_from(t) == Ok(n) => {}
            (Some(_), t) if t >= 0 => return false,
            _ if open.is_some() => return false,
            (_, t) => open = Some(t),
        }
    }
    let empty = x.contains(&Some(0));
    match open {
        None => true,
        // Beside an axis of extent 0 anything fits; at −1 the source itself would be in error.
        Some(-1) => !empty,
        Some(_) => !empty && !copied,
    }
}

/// ```text
/// Given   %y = reshape %x, [0, -1]          Result  readers of %y read %x
///         %x certainly has rank 2
/// ```
/// and so for flatten, squeeze and unsqueeze.
pub(super) struct Reshape<'a> {
    pub(super) types: &'a CertainTypes,
}

impl SameValue for Reshape<'_> {
    const NAME: &'static str = RESHAPE;

    fn source(&self, g: &Graph, constants: &ConstPool, op: OpId) -> Option<Value> {
        let x = g.operand(op, 0)?;
        let ints = |attr: &Option<Vec<i64>>| attr_or_fixed(g, constants, op, attr.as_ref(), 1);
        let same = match g.kind(op) {
            OpKind::Reshape(r) => {
                let target = ints(&r.shape)?;
                keeps_shape(&self.types.dims(x)?, &target, r.allow_zero)
            }
            OpKind::Flatten(f) => self.types.rank(x)? == 2 && matches!(f.axis, 1 | -1),
            OpKind::Squeeze(s) if s.axes.is_none() && g.operand(op, 1).is_none() => {
                self.types.dims(x)?.iter().all(|n| n.is_some_and(|n| n != 1))
            }
            OpKind::Unsqueeze(u) => ints(&u.axes)?.is_empty(),
            _ => return None,
        };
        same.then_some(x)
    }
}

/// ```text
/// Given   %y = expand %x, [1, 4]            Result  readers of %y read %x
///         %x certainly has rank 2 and its last extent is 4
/// ```
pub(super) struct Expand<'a> {
    pub(super) types: &'a CertainTypes,
}

impl SameValue for Expand<'_> {
    const NAME: &'static str = EXPAND;

    fn source(&self, g: &Graph, constants: &ConstPool, op: OpId) -> Option<Value> {
        let OpKind::Expand(_) = g.kind(op) else { return None };
        let x = g.operand(op, 0)?;
        let dims = self.types.dims(x)?;
        let target = fixed_ints(g, constants, g.operand(op, 1)?)?;
        // Aligned at the last axis, 1 leaves an extent as it is.
        let mut pairs = dims.iter().rev().zip(target.iter().rev());
        let same = target.len() <= dims.len()
            && pairs.all(|(n, &t)| t == 1 || n.is_some_and(|n| u64::try_from(t) == Ok(n)));
        same.then_some(x)
    }
}

/// ```text
/// Given   %y = transpose %x [0, 1, 2]       Result  readers of %y read %x
/// ```
pub(super) struct Transpose<'a> {
    pub(super) types: &'a CertainTypes,
}

impl SameValue for Transpose<'_> {
    const NAME: &'static str = TRANSPOSE;

    fn source(&self, g: &Graph, _: &ConstPool, op: OpId) -> Option<Value> {
        let OpKind::Transpose(t) = g.kind(op) else { return None };
        let x = g.operand(op, 0)?;
        let same = match t.perm.is_empty() {
            true => self.types.rank(x)? <= 1,
            false => t.perm.iter().zip(0..).all(|(&p, i)| p == i),
        };
        same.then_some(x)
    }
}

/// ```text
/// Given   %a = transpose %x [0, 2, 3, 1]    Result  readers of %y read %x
///         %y = transpose %a [0, 3, 1, 2]
/// ```
pub(super) struct Transposes;

impl SameValue for Transposes {
    const NAME: &'static str = TRANSPOSES;

    fn source(&self, g: &Graph, _: &ConstPool, op: OpId) -> Option<Value> {
        let OpKind::Transpose(outer) = g.kind(op) else { return None };
        let a = g.operand(op, 0)?;
        let OpKind::Transpose(inner) = g.kind(a.op) else { return None };
        cancel(&inner.perm, &outer.perm).then(|| g.operand(a.op, 0))?
    }
}

/// Whether `outer` undoes `inner`: axis i of the result is axis `inner[outer[i]]` of the source.
fn cancel(inner: &[i64], outer: &[i64]) -> bool {
    // Left out, a permutation reverses as many axes as the other one has.
    let rank = inner.len().max(outer.len());
    let reversed: Vec<i64> = (0..rank as i64).rev().collect();
    let inner = if inner.is_empty() { &reversed } else { inner };
    let outer = if outer.is_empty() { &reversed } else { outer };
    inner.len() == outer.len()
        && (0..).zip(outer).all(|(i, &o)| {
            usize::try_from(o).ok().and_then(|o| inner.get(o)).is_some_and(|&p| p == i)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_that_keep_the_shape() {
        let x = [None, Some(3), Some(4)];
        assert!(keeps_shape(&x, &[0, 3, 4], false));
        assert!(keeps_shape(&x, &[-1, 3, 4], false));
        assert!(keeps_shape(&x, &[0, -1, 4], false));
        // 5 elements along the first axis is all that 60 elements allow.
        assert!(keeps_shape(&x, &[5, 3, 4], false));
        // No elements in all: the first extent is 0.
        assert!(keeps_shape(&x, &[0, 3, 4], true));
        assert!(!keeps_shape(&[None, Some(3), None], &[0, 3, 4], true));
        assert!(!keeps_shape(&x, &[-1, 4, 3], false));
        assert!(!keeps_shape(&x, &[0, 12], false));
        assert!(!keeps_shape(&[None, None], &[-1, 4], false));
        assert!(!keeps_shape(&[None, None], &[0, 4], false));
        assert!(keeps_shape(&[None, None], &[0, -1], false));
        assert!(!keeps_shape(&[None, Some(0)], &[4, 0], false));
        assert!(keeps_shape(&[Some(2), Some(0)], &[2, 0], true));
        assert!(keeps_shape(&[], &[], false));
    }

    #[test]
    fn transposes_that_cancel() {
        assert!(cancel(&[0, 2, 3, 1], &[0, 3, 1, 2]));
        assert!(!cancel(&[0, 2, 3, 1], &[0, 2, 3, 1]));
        assert!(cancel(&[], &[]));
        assert!(cancel(&[2, 1, 0], &[]));
        assert!(!cancel(&[], &[0, 1]));
        assert!(!cancel(&[0, 1], &[0, 1, 2]));
        assert!(!cancel(&[0, 1], &[-2, -1]));
    }
}
