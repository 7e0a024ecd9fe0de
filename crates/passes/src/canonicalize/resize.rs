//! Ops that cut or surround their operand, where they take and add nothing.

use super::SameValue;
use crate::{
    CertainTypes,
    analysis::{attr_or_fixed, fixed_ints},
};
use normfold_ir::{ConstPool, Graph, OpId, OpKind, Value};

pub(super) const PAD: &str = "empty-pad";
pub(super) const SLICE: &str = "whole-slice";

/// ```text
/// Given   %y = pad %x, [0, 0, 0, 0]         Result  readers of %y read %x
/// ```
pub(super) struct Pad;

impl SameValue for Pad {
    const NAME: &'static str = PAD;

    fn source(&self, g: &Graph, constants: &ConstPool, op: OpId) -> Option<Value> {
        let OpKind::Pad(p) = g.kind(op) else { return None };
        let amounts = attr_or_fixed(g, constants, op, p.amounts.as_ref(), 1)?;
        amounts.iter().all(|&a| a == 0).then(|| g.operand(op, 0))?
    }
}

/// ```text
/// Given   %y = slice %x, [0], [4], [1]      Result  readers of %y read %x
///         extent 1 of %x is certainly at most 4
/// ```
pub(super) struct Slice<'a> {
    pub(super) types: &'a CertainTypes,
}

impl SameValue for Slice<'_> {
    const NAME: &'static str = SLICE;

    fn source(&self, g: &Graph, constants: &ConstPool, op: OpId) -> Option<Value> {
        let OpKind::Slice(s) = g.kind(op) else { return None };
        let x = g.operand(op, 0)?;
        let ints = |attr: &Option<Vec<i64>>, i| attr_or_fixed(g, constants, op, attr.as_ref(), i);
        let (starts, ends) = (ints(&s.starts, 1)?, ints(&s.ends, 2)?);
        let axes = match s.axes.is_none() && g.operand(op, 3).is_none() {
            true => (0..starts.len() as i64).collect(),
            false => ints(&s.axes, 3)?,
        };
        let steps = match g.operand(op, 4) {
            Some(v) => fixed_ints(g, constants, v)?,
            None => vec![1; starts.len()],
        };
        let n = starts.len();
        if [ends.len(), axes.len(), steps.len()] != [n; 3] {
            return None;
        }
        let dims = self.types.dims(x);
        let extent = |axis: i64| {
            let dims = dims.as_deref()?;
            let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
            dims.get(usize::try_from(axis).ok()?).copied()?
        };
        let reaches = |end: i64, axis: i64| {
            // No extent is beyond the largest integer.
            end == i64::MAX
                || extent(axis).is_some_and(|n| u64::try_from(end).is_ok_and(|end| end >= n))
        };
        let whole = (0..n).all(|i| starts[i] == 0 && steps[i] == 1 && reaches(ends[i], axes[i]));
        whole.then_some(x)
    }
}
