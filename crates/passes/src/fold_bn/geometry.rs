//! What ops do to axes and positions, read from attributes or from operands that are constant where it matters.

use super::cx::Cx;
use normfold_ir::{OpId, OpKind, Pad, Reduce, Value};

/// An axis counted from the end when negative.
pub(super) fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&a| a < rank)
}

/// The axis of the operand that each axis of the result is.
pub(super) fn permutation(cx: Cx<'_>, op: OpId, perm: &[i64]) -> Option<Vec<usize>> {
    if perm.is_empty() {
        let rank = cx.rank(cx.g.operand(op, 0)?).or(cx.rank(Value::new(op, 0)))?;
        return Some((0..rank).rev().collect());
    }
    perm.iter().map(|&p| axis_of(p, perm.len())).collect()
}

/// A list of integers: an attribute, or an operand each of whose elements may be known or not.
fn list(cx: Cx<'_>, op: OpId, attr: &Option<Vec<i64>>, operand: usize) -> Option<Vec<Option<i64>>> {
    match attr {
        Some(list) => Some(list.iter().copied().map(Some).collect()),
        None => cx.constants().ints(cx.g.operand(op, operand)?),
    }
}

/// Whether each axis is reduced.
pub(super) fn reduced(cx: Cx<'_>, op: OpId, r: &Reduce, rank: usize) -> Option<Vec<bool>> {
    let given = match (&r.axes, cx.g.operand(op, 1)) {
        (None, None) => Vec::new(),
        _ => list(cx, op, &r.axes, 1)?,
    };
    let mut gone = vec![given.is_empty() && !r.noop_with_empty_axes; rank];
    for a in given {
        gone[axis_of(a?, rank)?] = true;
    }
    Some(gone)
}

/// Axis, and how many elements come before and after; every amount is known.
pub(super) fn padded(cx: Cx<'_>, op: OpId, p: &Pad) -> Option<Vec<(usize, i64, i64)>> {
    let amounts = list(cx, op, &p.amounts, 1)?;
    let n = amounts.len() / 2;
    let axes: Vec<usize> = match cx.g.operand(op, 3) {
        None => (0..n).collect(),
        Some(v) => {
            let rank = cx.g.operand(op, 0).and_then(|x| cx.rank(x))?;
            let given = cx.constants().ints(v)?;
            given.into_iter().map(|a| axis_of(a?, rank)).collect::<Option<_>>()?
        }
    };
    if axes.len() != n {
        return None;
    }
    axes.into_iter().enumerate().map(|(i, a)| Some((a, amounts[i]?, amounts[i + n]?))).collect()
}

/// What a pad fills with, where that is constant.
pub(super) fn pad_value(cx: Cx<'_>, op: OpId, p: &Pad) -> Option<f64> {
    match (p.value, cx.g.operand(op, 2)) {
        (Some(v), _) => Some(v),
        (None, None) => Some(0.0),
        (None, Some(v)) => cx.constants().tensor(v).ok().and_then(|t| t.to_f64s().first().copied()),
    }
}

/// Which positions a slice takes of those `wanted` axes of the operand that it touches: axis, extent, positions.
pub(super) fn slices(
    cx: Cx<'_>,
    op: OpId,
    wanted: &[usize],
) -> Option<Vec<(usize, u64, Vec<u64>)>> {
    let g = cx.g;
    let OpKind::Slice(k) = g.kind(op) else { return None };
    let x = g.operand(op, 0)?;
    let rank = cx.rank(x)?;
    let (starts, ends) = (list(cx, op, &k.starts, 1), list(cx, op, &k.ends, 2));
    let axes = match (&k.axes, g.operand(op, 3)) {
        (None, None) => {
            // All leading axes, as many as there are starts: their number is the extent of the list.
            let n = match &starts {
                Some(v) => v.len(),
                None => usize::try_from(cx.extent(g.operand(op, 1)?, 0)?).ok()?,
            };
            (0..n as i64).map(Some).collect()
        }
        _ => list(cx, op, &k.axes, 3)?,
    };
    let mut found = Vec::new();
    for (i, a) in axes.into_iter().enumerate() {
        let axis = axis_of(a?, rank)?;
        if !wanted.contains(&axis) {
            continue;
        }
        let step = match g.operand(op, 4) {
            Some(v) => cx.constants().ints(v).and_then(|v| *v.get(i)?)?,
            None => 1,
        };
        let from = starts.as_ref().and_then(|v| *v.get(i)?)?;
        let to = ends.as_ref().and_then(|v| *v.get(i)?)?;
        let n = cx.extent(x, axis)?;
        found.push((axis, n, positions(n, from, to, step)?));
    }
    Some(found)
}

/// The positions that `from : to : step` takes of n (ONNX Slice, "clamped").
fn positions(n: u64, from: i64, to: i64, step: i64) -> Option<Vec<u64>> {
    let len = i64::try_from(n).ok().filter(|&n| n <= 1 << 22)?;
    let at = |i: i64| if i < 0 { i.saturating_add(len) } else { i };
    let (from, to) = (at(from), at(to));
    Some(match step {
        1.. => (from.clamp(0, len)..to.clamp(0, len))
            .step_by(usize::try_from(step).ok()?)
            .map(|i| i as u64)
            .collect(),
        0 => return None,
        _ => {
            let (from, to) = (from.clamp(-1, len - 1), to.clamp(-1, len - 1));
            let back = usize::try_from(step.unsigned_abs()).ok()?;
            (to + 1..=from).rev().step_by(back).map(|i| i as u64).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_slices() {
        let all = |from, to, step| positions(5, from, to, step).expect("small");
        assert_eq!(all(1, 4, 1), [1, 2, 3]);
        assert_eq!(all(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(all(0, 100, 2), [0, 2, 4]);
        assert_eq!(all(-1, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(all(3, 0, -2), [3, 1]);
        assert_eq!(all(100, -100, -3), [4, 1]);
        assert_eq!(all(4, 2, 1), [0; 0]);
        assert_eq!(positions(5, 0, 5, 0), None);
    }
}
