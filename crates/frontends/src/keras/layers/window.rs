//! Pooling, padding, cropping and upsampling.

use crate::{
    FrontendError,
    keras::{
        cx::{Emit, Emitted, LayerCx, opaque},
        json::Json,
        shape::{self, LARGEST},
    },
};
use normfold_ir::{Dim, GlobalPool, Pad, PadMode, Padding, Pool, PoolKind, Resize, Spatial};

const RANK: &str = "the rank of its input is not known, or is another";
const ONE: &str = "it reads something else than one tensor";

fn kind(class: &str) -> PoolKind {
    if class.contains("Max") { PoolKind::Max } else { PoolKind::Average }
}

/// `MaxPooling…`, `AveragePooling…`: padding is −∞ for the first and does not count for the second.
pub(super) fn pool(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let layout = cx.layout(n)?;
    let kernel = cx.positives("pool_size", n, Some(2))?;
    let strides = match cx.layer.config.some("strides") {
        None => kernel.clone(),
        Some(_) => cx.positives("strides", n, None)?,
    };
    let pad = match &*cx.padding()? {
        "same" => Padding::SameUpper,
        "valid" => Padding::default(),
        _ => return opaque("causal padding"),
    };
    let Some(x) = cx.single() else { return opaque(ONE) };
    let Some(mut shape) = cx.shape(x).filter(|s| s.len() == layout.rank()) else {
        return opaque(RANK);
    };
    for (i, (&k, &s)) in kernel.iter().zip(&strides).enumerate() {
        if let Some(dim) = shape.get_mut(layout.first_spatial_axis() + i) {
            *dim = shape::window(dim, k, s, 1, &pad).ok_or_else(|| cx.does_not_fit(dim, k))?;
        }
    }
    let op = Pool {
        f: kind(cx.layer.class),
        x: layout,
        kernel,
        strides: if strides.iter().all(|&s| s == 1) { Spatial::new() } else { strides },
        pad,
        ..Pool::default()
    };
    let ty = cx.ty(x, Some(shape));
    Ok(Emitted::Value(cx.op(op, [Some(x)], ty)))
}

/// `GlobalMaxPooling…`, `GlobalAveragePooling…`: the spatial axes go unless `keepdims`.
pub(super) fn global_pool(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let layout = cx.layout(n)?;
    let keepdims = cx.bool("keepdims", false)?;
    let Some(x) = cx.single() else { return opaque(ONE) };
    let Some(shape) = cx.shape(x).filter(|s| s.len() == layout.rank()) else { return opaque(RANK) };
    let first = layout.first_spatial_axis();
    let spatial = |i: usize| (first..first + n).contains(&i);
    let kept = shape.into_iter().enumerate().filter_map(|(i, d)| match spatial(i) {
        false => Some(d),
        true => keepdims.then_some(Dim::Known(1)),
    });
    let ty = cx.ty(x, Some(kept.collect()));
    let op = GlobalPool {
        f: kind(cx.layer.class),
        channel_last: layout.channel_last,
        keepdims,
        ..GlobalPool::default()
    };
    Ok(Emitted::Value(cx.op(op, [Some(x)], ty)))
}

/// The amounts of `padding` or `cropping` before and after each of `n` axes: one for all, one per axis, or a pair per
/// axis; for one axis also the pair itself.
fn amounts(cx: &LayerCx<'_, '_>, key: &str, n: usize) -> Result<Vec<(i64, i64)>, FrontendError> {
    let one = |json: &Json| json.as_i64().filter(|a| (0..=LARGEST as i64).contains(a));
    let pair = |json: &Json| match json.items() {
        None => one(json).map(|a| (a, a)),
        Some([a, b]) => one(a).zip(one(b)),
        Some(_) => None,
    };
    let json = cx.layer.config.get(key);
    let amounts = json.and_then(|json| match json.items() {
        None => one(json).map(|a| vec![(a, a); n]),
        Some([a, b]) if n == 1 => one(a).zip(one(b)).map(|p| vec![p]),
        Some(items) if items.len() == n => items.iter().map(pair).collect(),
        Some(_) => None,
    });
    amounts.ok_or_else(|| {
        cx.layer.invalid(format!("`{key}` must be amounts for {n} axes, not negative"))
    })
}

/// `ZeroPadding…` and `Cropping…`, which is padding by negative amounts.
pub(super) fn pad(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let layout = cx.layout(n)?;
    let (key, sign) =
        if cx.layer.class.starts_with("Cropping") { ("cropping", -1) } else { ("padding", 1) };
    let spatial = amounts(cx, key, n)?;
    let Some(x) = cx.single() else { return opaque(ONE) };
    let Some(mut shape) = cx.shape(x).filter(|s| s.len() == layout.rank()) else {
        return opaque(RANK);
    };
    let (mut before, mut after) = (vec![0; layout.rank()], vec![0; layout.rank()]);
    for (i, &(a, b)) in spatial.iter().enumerate() {
        let at = layout.first_spatial_axis() + i;
        let (a, b) = (a * sign, b * sign);
        if let (Some(dim), Some(lo), Some(hi)) =
            (shape.get_mut(at), before.get_mut(at), after.get_mut(at))
        {
            (*lo, *hi) = (a, b);
            *dim = shape::plus(dim, a + b)
                .ok_or_else(|| cx.layer.invalid(format!("`{key}` leaves nothing")))?;
        }
    }
    before.extend(after);
    let op = Pad { mode: PadMode::Constant, amounts: Some(before), value: Some(0.0) };
    let ty = cx.ty(x, Some(shape));
    Ok(Emitted::Value(cx.op(op, [Some(x)], ty)))
}

/// `UpSampling…`: every element repeated, or for images interpolated.
pub(super) fn upsample(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let layout = cx.layout(n)?;
    let size = cx.positives("size", n, Some(2))?;
    let bilinear = match cx.str("interpolation")? {
        None | Some("nearest") => false,
        Some("bilinear") => true,
        Some(other) => return opaque(format!("{other} interpolation")),
    };
    let Some(x) = cx.single() else { return opaque(ONE) };
    let Some(mut shape) = cx.shape(x).filter(|s| s.len() == layout.rank()) else {
        return opaque(RANK);
    };
    let mut scales = vec![1.0; layout.rank()];
    for (i, &factor) in size.iter().enumerate() {
        let at = layout.first_spatial_axis() + i;
        if let (Some(dim), Some(scale)) = (shape.get_mut(at), scales.get_mut(at)) {
            *scale = factor as f64;
            if let Some(extent) = dim.known() {
                let grown = extent.checked_mul(factor).filter(|&e| e <= LARGEST);
                *dim =
                    Dim::Known(grown.ok_or_else(|| cx.layer.invalid("`size` is absurdly large"))?);
            }
        }
    }
    let op = if bilinear {
        Resize { mode: "linear".into(), scales: Some(scales), ..Resize::default() }
    } else {
        let (coordinates, nearest) = ("asymmetric".into(), "floor".into());
        Resize { coordinates, nearest, scales: Some(scales), ..Resize::default() }
    };
    let ty = cx.ty(x, Some(shape));
    Ok(Emitted::Value(cx.op(op, [Some(x)], ty)))
}
