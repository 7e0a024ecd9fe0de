//! Pooling, reductions, resampling.

use super::{NodeCx, Operand};
use crate::json::Json;
use normfold_ir::{
    DataLayout, DepthMode, DepthToSpace, GlobalPool, Identity, Padding, Pool, PoolKind, Reduce,
    ReduceKind, Resize, Value,
};

pub(super) fn emit(cx: &mut NodeCx<'_, '_>, name: &str, overload: &str) -> Option<Vec<Value>> {
    match (name, overload) {
        ("max_pool1d", "default") => max_pool(cx, 1),
        ("max_pool2d" | "max_pool2d_with_indices", "default") => max_pool(cx, 2),
        ("max_pool3d" | "max_pool3d_with_indices", "default") => max_pool(cx, 3),
        ("avg_pool1d", "default") => avg_pool(cx, 1),
        ("avg_pool2d", "default") => avg_pool(cx, 2),
        ("avg_pool3d", "default") => avg_pool(cx, 3),
        ("adaptive_avg_pool1d", "default") => adaptive(cx, 1),
        ("adaptive_avg_pool2d" | "_adaptive_avg_pool2d", "default") => adaptive(cx, 2),
        ("adaptive_avg_pool3d" | "_adaptive_avg_pool3d", "default") => adaptive(cx, 3),
        ("mean", "dim") => reduce(cx, ReduceKind::Mean),
        ("sum", "dim_IntList") => reduce(cx, ReduceKind::Sum),
        ("amax", "default") => reduce(cx, ReduceKind::Max),
        ("amin", "default") => reduce(cx, ReduceKind::Min),
        ("upsample_nearest1d", "vec") => nearest(cx, 1),
        ("upsample_nearest2d", "vec") => nearest(cx, 2),
        ("upsample_nearest3d", "vec") => nearest(cx, 3),
        ("pixel_shuffle", "default") => {
            cx.only(&["self", "upscale_factor"])?;
            let x = batch(cx, "self", 2)?;
            let block = u64::try_from(cx.int("upscale_factor", None)?).ok()?;
            cx.one(DepthToSpace { block, mode: DepthMode::Crd }, vec![x])
        }
        _ => None,
    }
}

/// A float tensor with a batch axis, a channel axis and that many more.
fn batch(cx: &NodeCx<'_, '_>, name: &str, spatial: usize) -> Option<Operand> {
    let x = cx.tensor(name)?;
    (cx.rank(x)? == spatial + 2 && cx.dtype(x)?.is_arithmetic_float()).then_some(x)
}

fn pool(cx: &NodeCx<'_, '_>, f: PoolKind, n: usize) -> Option<Pool> {
    let kernel = cx.positive("kernel_size", n, None)?;
    let no_stride = cx.some("stride").is_none() || cx.ints("stride")?.is_empty();
    let strides = if no_stride { kernel.clone() } else { cx.positive("stride", n, None)? };
    let pad = cx.spatial("padding", n, Some(0))?;
    Some(Pool {
        f,
        x: DataLayout::channels_first(n as u8),
        kernel,
        strides,
        dilations: cx.positive("dilation", n, Some(1))?,
        pad: Padding::Explicit(pad.into_iter().map(|n| (n, n)).collect()),
        ceil_mode: cx.flag("ceil_mode", Some(false))?,
        ..Pool::default()
    })
}

fn max_pool(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    cx.only(&["self", "kernel_size", "stride", "padding", "dilation", "ceil_mode"])?;
    let (x, kind) = (batch(cx, "self", n)?, pool(cx, PoolKind::Max, n)?);
    cx.first(kind, vec![x])
}

fn avg_pool(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    cx.only(&["self", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"])?;
    let x = batch(cx, "self", n)?;
    let count_include_pad = cx.flag("count_include_pad", Some(true))?;
    let kind = Pool { count_include_pad, ..pool(cx, PoolKind::Average, n)? };
    cx.one(kind, vec![x])
}

/// To an extent of 1 it is the mean over all axes, to the extent it has nothing.
fn adaptive(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    cx.only(&["self", "output_size"])?;
    let x = batch(cx, "self", n)?;
    let size = cx.spatial("output_size", n, None)?;
    if size.iter().all(|&s| s == 1) {
        return cx.one(GlobalPool { f: PoolKind::Average, ..GlobalPool::default() }, vec![x]);
    }
    let ty = cx.ty_of(x)?;
    let same = ty
        .shape
        .as_ref()?
        .iter()
        .skip(2)
        .zip(&size)
        .all(|(d, &s)| d.known().and_then(|d| i64::try_from(d).ok()) == Some(s));
    if same {
        return cx.one(Identity {}, vec![x]);
    }
    None
}

fn reduce(cx: &mut NodeCx<'_, '_>, f: ReduceKind) -> Option<Vec<Value>> {
    cx.only(&["self", "dim", "keepdim"])?;
    let x = cx.tensor("self")?;
    (cx.dtype(x)?.is_arithmetic_float() && cx.ty(0).dtype() == cx.dtype(x)).then_some(())?;
    let axes = cx.ints("dim").filter(|axes| !axes.is_empty())?;
    let keepdims = cx.flag("keepdim", Some(false))?;
    cx.one(Reduce { f, axes: Some(axes), keepdims, noop_with_empty_axes: false }, vec![x])
}

/// By a whole factor it repeats elements, however places are rounded.
fn nearest(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    cx.only(&["input", "output_size", "scale_factors"])?;
    let x = batch(cx, "input", n)?;
    let (from, to) = (cx.extents_behind(x)?, cx.result_extents()?);
    let factors =
        from.iter().zip(&to).map(|(&a, &b)| (a > 0 && b.is_multiple_of(a)).then(|| (b / a) as f64));
    let factors: Vec<f64> = factors.collect::<Option<_>>()?;
    (factors.len() == n).then_some(())?;
    // A factor that is given is what places are computed with, whatever the extents are.
    if let Some((kind, given)) = cx.some("scale_factors") {
        let given: Option<Vec<f64>> = given.items()?.iter().map(Json::as_f64).collect();
        (kind == "as_floats" && given? == factors).then_some(())?;
    }
    let kind = Resize {
        coordinates: "asymmetric".into(),
        nearest: "floor".into(),
        scales: Some([1.0, 1.0].into_iter().chain(factors).collect()),
        ..Resize::default()
    };
    cx.one(kind, vec![x])
}

impl NodeCx<'_, '_> {
    /// The extents behind batch and channel axes of an operand.
    fn extents_behind(&self, x: Operand) -> Option<Vec<u64>> {
        let ty = self.ty_of(x)?;
        ty.shape.as_ref()?.iter().skip(2).map(|d| d.known()).collect()
    }

    /// The same of the first result.
    fn result_extents(&self) -> Option<Vec<u64>> {
        let ty = self.ty(0);
        ty.tensor()?.shape.as_ref()?.iter().skip(2).map(|d| d.known()).collect()
    }
}
