//! Operators that move elements, and those of shapes.

use super::NodeCx;
use normfold_ir::{
    Concat, ConstantOfShape, Expand, Flatten, Gather, OpKind, Range, Reshape, Shape, Size, Slice,
    Split, Squeeze, Transpose, Unsqueeze,
};

pub(super) fn reshape(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    if cx.opset < 5 {
        cx.takes(1, 1, 1)?;
        let shape = Some(cx.attrs.ints("shape")??);
        return Some(Reshape { allow_zero: false, shape }.into());
    }
    cx.takes(2, 2, 1)?;
    let allow_zero = cx.opset >= 14 && cx.attrs.flag("allowzero", false)?;
    Some(Reshape { allow_zero, shape: None }.into())
}

pub(super) fn transpose(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    let perm = cx.attrs.ints("perm")?.unwrap_or_default();
    let mut seen = vec![false; perm.len()];
    for &axis in &perm {
        let seen = seen.get_mut(usize::try_from(axis).ok()?)?;
        if std::mem::replace(seen, true) {
            return None;
        }
    }
    Some(Transpose { perm }.into())
}

pub(super) fn flatten(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    Some(Flatten { axis: cx.attrs.int("axis", 1)? }.into())
}

pub(super) fn squeeze(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    if cx.opset < 13 {
        cx.takes(1, 1, 1)?;
        let axes = cx.attrs.ints("axes")?;
        // An empty list is not said to be the same as none.
        return axes.as_ref().is_none_or(|a| !a.is_empty()).then(|| Squeeze { axes }.into());
    }
    cx.takes(1, 2, 1)?;
    Some(Squeeze { axes: None }.into())
}

pub(super) fn unsqueeze(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    if cx.opset < 13 {
        cx.takes(1, 1, 1)?;
        return Some(Unsqueeze { axes: Some(cx.attrs.ints("axes")??) }.into());
    }
    cx.takes(2, 2, 1)?;
    Some(Unsqueeze { axes: None }.into())
}

pub(super) fn expand(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.since(8)?;
    cx.takes(2, 2, 1)?;
    Some(Expand {}.into())
}

pub(super) fn concat(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(cx.node.inputs.len().max(1), usize::MAX, 1)?;
    let axis = cx.attrs.opt_int("axis")?;
    let axis = if cx.opset < 4 { axis.unwrap_or(1) } else { axis? };
    Some(Concat { axis }.into())
}

pub(super) fn split(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let v = cx.opset;
    let results = cx.node.outputs.len();
    cx.takes(1, if (2..13).contains(&v) { 1 } else { 2 }, usize::MAX)?;
    let axis = cx.attrs.opt_int("axis")?;
    // Opset 1 states no default.
    let axis = if v == 1 { axis? } else { axis.unwrap_or(0) };
    let sizes = if v < 13 { cx.attrs.ints("split")? } else { None };
    if sizes.as_ref().is_some_and(|s| s.len() != results || cx.has(1)) {
        return None;
    }
    if v >= 18 {
        let parts = cx.attrs.opt_int("num_outputs")?;
        if parts.is_some_and(|n| usize::try_from(n) != Ok(results) || cx.has(1)) {
            return None;
        }
        // The last part is smaller when the extent is not a multiple; an even split is all that the op says.
        if parts.is_some() && uneven(cx, axis, results as u64) {
            return None;
        }
    }
    Some(Split { axis, sizes }.into())
}

/// Whether the declared extent along `axis` is known not to be a multiple of `parts`.
fn uneven(cx: &NodeCx<'_, '_, '_, '_>, axis: i64, parts: u64) -> bool {
    let Some(ty) = cx.operand(0).and_then(|v| cx.scope.graph.ty(v).tensor()) else { return false };
    let Some(rank) = ty.rank() else { return false };
    let axis = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let extent = usize::try_from(axis).ok().and_then(|a| ty.dim(a));
    extent.is_some_and(|n| n % parts.max(1) != 0)
}

pub(super) fn slice(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    if cx.opset < 10 {
        cx.takes(1, 1, 1)?;
        let (starts, ends) = (cx.attrs.ints("starts")??, cx.attrs.ints("ends")??);
        let axes = cx.attrs.ints("axes")?;
        let n = starts.len();
        let fits = ends.len() == n && axes.as_ref().is_none_or(|a| a.len() == n);
        return fits.then(|| Slice { starts: Some(starts), ends: Some(ends), axes }.into());
    }
    cx.takes(3, 5, 1)?;
    Some(Slice::default().into())
}

pub(super) fn gather(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(2, 2, 1)?;
    Some(Gather { axis: cx.attrs.int("axis", 0)? }.into())
}

pub(super) fn shape(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    if cx.opset < 15 {
        return Some(Shape::default().into());
    }
    Some(Shape { start: cx.attrs.int("start", 0)?, end: cx.attrs.opt_int("end")? }.into())
}

pub(super) fn size(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    Some(Size {}.into())
}

pub(super) fn constant_of_shape(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.since(9)?;
    cx.takes(1, 1, 1)?;
    let Some(value) = cx.attrs.tensor("value")? else {
        return Some(ConstantOfShape { value: None }.into());
    };
    if value.elements() != Some(1) || !cx.attrs.all_taken() {
        return None;
    }
    match cx.shared.tensors.entry(&mut cx.shared.types, &value, cx.node.display_name()) {
        Ok(entry) => {
            let value = Some(cx.pool.add(entry.ty, entry.data));
            Some(ConstantOfShape { value }.into())
        }
        Err(e) => {
            cx.error = Some(e);
            None
        }
    }
}

pub(super) fn range(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.since(11)?;
    cx.takes(3, 3, 1)?;
    // The type that f16 and bf16 are summed in.
    let plain = cx.opset < 27 || cx.attrs.int("stash_type", 1)? == 1;
    plain.then(|| Range {}.into())
}
