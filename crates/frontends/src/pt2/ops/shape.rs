//! Ops that move elements.

use super::{NodeCx, Operand};
use normfold_ir::{
    Cast, Concat, Dim, Dropout, Expand, Flatten, Identity, Pad, PadMode, Reshape, Slice, Split,
    Squeeze, Transpose, Unsqueeze, Value,
};

pub(super) fn emit(cx: &mut NodeCx<'_, '_>, name: &str, overload: &str) -> Option<Vec<Value>> {
    match (name, overload) {
        ("view" | "_unsafe_view", "default") => reshape(cx, "size"),
        ("reshape", "default") => reshape(cx, "shape"),
        ("flatten", "using_ints") => flatten(cx),
        ("permute", "default") => permute(cx),
        ("transpose", "int") => transpose(cx),
        ("t" | "numpy_T", "default") => t(cx),
        ("squeeze", "dim" | "dims") => {
            cx.only(&["self", "dim"])?;
            squeeze(cx)
        }
        ("unsqueeze", "default") => {
            cx.only(&["self", "dim"])?;
            let (x, axes) = (cx.tensor("self")?, Some(vec![cx.int("dim", None)?]));
            cx.one(Unsqueeze { axes }, vec![x])
        }
        ("expand", "default") => expand(cx),
        ("cat", "default") => {
            cx.only(&["tensors", "dim"])?;
            concat(cx)
        }
        ("split", "Tensor") => split(cx, &["self", "split_size", "dim"]),
        ("split_with_sizes", "default") => split(cx, &["self", "split_sizes", "dim"]),
        ("chunk", "default") => split(cx, &["self", "chunks", "dim"]),
        ("slice", "Tensor") => slice(cx),
        ("contiguous" | "clone", "default") => {
            cx.only(&["self", "memory_format"])?;
            same(cx, "self")
        }
        ("alias" | "detach" | "lift_fresh_copy", "default") => {
            cx.only(&["self"])?;
            same(cx, "self")
        }
        ("dropout" | "feature_dropout", "default") => {
            // In place its operand has another name.
            cx.only(&["input", "self", "p", "train"])?;
            let x = cx.tensor("input").or_else(|| cx.tensor("self"))?;
            cx.one(Dropout { training: cx.flag("train", None)? }, vec![x])
        }
        ("to", "dtype") => {
            cx.only(&["self", "dtype", "non_blocking", "copy", "memory_format"])?;
            cast(cx)
        }
        ("_to_copy", "default") => {
            cx.only(&["self", "dtype", "non_blocking", "memory_format"])?;
            cast(cx)
        }
        ("pad", "default") => {
            cx.only(&["self", "pad", "mode", "value"])?;
            let mode = match cx.some("mode").map(|_| cx.text("mode")) {
                None | Some(Some("constant")) => PadMode::Constant,
                Some(Some("reflect")) => PadMode::Reflect,
                Some(Some("replicate")) => PadMode::Edge,
                Some(Some("circular")) => PadMode::Wrap,
                _ => return None,
            };
            pad(cx, "pad", mode)
        }
        ("constant_pad_nd", "default") => {
            cx.only(&["self", "pad", "value"])?;
            pad(cx, "pad", PadMode::Constant)
        }
        ("reflection_pad1d" | "reflection_pad2d" | "reflection_pad3d", "default") => {
            cx.only(&["self", "padding"])?;
            pad(cx, "padding", PadMode::Reflect)
        }
        ("replication_pad1d" | "replication_pad2d" | "replication_pad3d", "default") => {
            cx.only(&["self", "padding"])?;
            pad(cx, "padding", PadMode::Edge)
        }
        _ => None,
    }
}

/// An axis counted from the front.
fn axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&a| a < rank)
}

fn same(cx: &mut NodeCx<'_, '_>, name: &str) -> Option<Vec<Value>> {
    let x = cx.tensor(name)?;
    cx.one(Identity {}, vec![x])
}

/// The shape of the result as a reshape says it: at most one extent that is not known is inferred.
fn target(cx: &NodeCx<'_, '_>) -> Option<Vec<i64>> {
    let ty = cx.ty(0);
    let dims = ty.tensor()?.shape.as_ref()?.to_vec();
    let number = |d: &Dim| d.known().map_or(Some(-1), |n| i64::try_from(n).ok());
    let shape: Vec<i64> = dims.iter().map(number).collect::<Option<_>>()?;
    // Beside an extent of 0 nothing can be inferred.
    let inferred = shape.iter().filter(|&&n| n == -1).count();
    (inferred <= 1 && (inferred == 0 || !shape.contains(&0))).then_some(shape)
}

fn reshape(cx: &mut NodeCx<'_, '_>, size: &str) -> Option<Vec<Value>> {
    cx.only(&["self", size])?;
    let (x, shape) = (cx.tensor("self")?, target(cx)?);
    cx.one(Reshape { allow_zero: true, shape: Some(shape) }, vec![x])
}

fn flatten(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self", "start_dim", "end_dim"])?;
    let x = cx.tensor("self")?;
    let rank = cx.rank(x)?;
    let start = axis(cx.int("start_dim", Some(0))?, rank)?;
    let end = axis(cx.int("end_dim", Some(-1))?, rank)?;
    if start == 1 && end + 1 == rank && rank >= 2 {
        return cx.one(Flatten { axis: 1 }, vec![x]);
    }
    let shape = target(cx)?;
    cx.one(Reshape { allow_zero: true, shape: Some(shape) }, vec![x])
}

fn permuted(cx: &mut NodeCx<'_, '_>, perm: Vec<i64>) -> Option<Vec<Value>> {
    let x = cx.tensor("self")?;
    cx.one(Transpose { perm }, vec![x])
}

fn permute(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self", "dims"])?;
    let rank = cx.rank(cx.tensor("self")?)?;
    let dims = cx.ints("dims")?;
    (dims.len() == rank).then_some(())?;
    let perm = dims.iter().map(|&d| axis(d, rank).map(|d| d as i64)).collect::<Option<_>>()?;
    permuted(cx, perm)
}

fn transpose(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self", "dim0", "dim1"])?;
    let rank = cx.rank(cx.tensor("self")?)?;
    let (a, b) = (axis(cx.int("dim0", None)?, rank)?, axis(cx.int("dim1", None)?, rank)?);
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(a, b);
    permuted(cx, perm)
}

fn t(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self"])?;
    (cx.rank(cx.tensor("self")?)? == 2).then_some(())?;
    permuted(cx, vec![1, 0])
}

/// Axes of another extent than 1 stay.
fn squeeze(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    let x = cx.tensor("self")?;
    let ty = cx.ty_of(x)?;
    let dims = ty.shape.as_ref()?;
    let mut axes = Vec::new();
    for axis in cx.ints("dim")?.into_iter().map(|a| self::axis(a, dims.len())) {
        let axis = axis?;
        if dims.get(axis)?.known()? == 1 {
            axes.push(axis as i64);
        }
    }
    match axes.is_empty() {
        true => same(cx, "self"),
        false => cx.one(Squeeze { axes: Some(axes) }, vec![x]),
    }
}

fn expand(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self", "size", "implicit"])?;
    let x = cx.tensor("self")?;
    // −1 leaves an extent as it is, as an extent of 1 does when both broadcast.
    let size: Vec<i64> =
        cx.ints("size")?.into_iter().map(|n| if n == -1 { 1 } else { n }).collect();
    (cx.node.results.len() == 1).then_some(())?;
    let size = cx.literals(&size);
    cx.one(Expand {}, vec![x, size])
}

fn concat(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    let tensors = cx.tensors("tensors")?;
    let (first, axis) = (*tensors.first()?, cx.int("dim", Some(0))?);
    let (rank, dtype) = (cx.rank(first)?, cx.dtype(first)?);
    // Empty tensors of rank 1 are left out by PyTorch, and types are promoted.
    let alike = |o: &Operand| cx.rank(*o) == Some(rank) && cx.dtype(*o) == Some(dtype);
    tensors.iter().all(alike).then_some(())?;
    let axis = self::axis(axis, rank)? as i64;
    cx.one(Concat { axis }, tensors)
}

/// The parts are as long as their results are.
fn split(cx: &mut NodeCx<'_, '_>, names: &[&str]) -> Option<Vec<Value>> {
    cx.only(names)?;
    let x = cx.tensor("self")?;
    let axis = axis(cx.int("dim", Some(0))?, cx.rank(x)?)?;
    let size = |i| {
        let ty = cx.ty(i);
        let extent = ty.tensor()?.shape.as_ref()?.get(axis)?.known()?;
        i64::try_from(extent).ok()
    };
    let sizes: Vec<i64> = (0..cx.node.results.len()).map(size).collect::<Option<_>>()?;
    (!sizes.is_empty()).then_some(())?;
    cx.last(Split { axis: axis as i64, sizes: Some(sizes) }, vec![x])
}

fn slice(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self", "dim", "start", "end", "step"])?;
    let x = cx.tensor("self")?;
    let axis = axis(cx.int("dim", Some(0))?, cx.rank(x)?)?;
    (cx.int("step", Some(1))? == 1).then_some(())?;
    let kind = Slice {
        starts: Some(vec![cx.int("start", Some(0))?]),
        ends: Some(vec![cx.int("end", Some(i64::MAX))?]),
        axes: Some(vec![axis as i64]),
    };
    cx.one(kind, vec![x])
}

fn cast(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    let x = cx.tensor("self")?;
    let to = cx.ty(0).dtype()?;
    match cx.dtype(x)? == to {
        true => same(cx, "self"),
        false => cx.one(Cast { to }, vec![x]),
    }
}

/// Amounts come by pairs, the last axis first.
fn pad(cx: &mut NodeCx<'_, '_>, amounts: &str, mode: PadMode) -> Option<Vec<Value>> {
    let x = cx.tensor("self")?;
    let (rank, pairs) = (cx.rank(x)?, cx.ints(amounts)?);
    (pairs.len().is_multiple_of(2) && pairs.len() / 2 <= rank).then_some(())?;
    let mut both = vec![0; 2 * rank];
    for (i, pair) in pairs.chunks_exact(2).enumerate() {
        let axis = rank - 1 - i;
        *both.get_mut(axis)? = *pair.first()?;
        *both.get_mut(rank + axis)? = *pair.get(1)?;
    }
    let value = match mode {
        PadMode::Constant => Some(cx.number("value", Some(0.0))?),
        _ => None,
    };
    cx.one(Pad { mode, amounts: Some(both), value }, vec![x])
}
