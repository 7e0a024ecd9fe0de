//! Pooling, padding, resampling, reductions, depth and space.

use super::{NodeCx, linear::window};
use normfold_ir::{
    DataLayout, DepthMode, DepthToSpace, GlobalPool, OpKind, Pad, PadMode, Pool, PoolKind, Reduce,
    ReduceKind, Resize, SpaceToDepth,
};

/// The p of a p-norm: a float in opset 1, an integer since.
fn norm(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<i64> {
    if cx.opset >= 2 {
        return cx.attrs.int("p", 2);
    }
    let p = cx.attrs.float("p", 2.0)?;
    (p.fract() == 0.0 && (1.0..1e9).contains(&p)).then_some(p as i64)
}

pub(super) fn pool(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let v = cx.opset;
    let (f, since) = match cx.node.op_type {
        "MaxPool" => (PoolKind::Max, (10, 10)),
        "AveragePool" => (PoolKind::Average, (10, 19)),
        _ => (PoolKind::Lp, (18, 18)),
    };
    let (ceil_since, dilations_since) = since;
    let indices = f == PoolKind::Max && v >= 8;
    cx.takes(1, 1, if indices { 2 } else { 1 })?;
    let w = window(cx, None, v >= dilations_since)?;
    // Indices are numbered row-major; the other order would have to be kept for who reads them.
    if indices && cx.attrs.int("storage_order", 0)? != 0 && cx.node.outputs.len() > 1 {
        return None;
    }
    let op = Pool {
        f,
        x: DataLayout::channels_first(w.spatial),
        kernel: w.kernel?,
        strides: w.strides,
        dilations: w.dilations,
        pad: w.pad,
        ceil_mode: v >= ceil_since && cx.attrs.flag("ceil_mode", false)?,
        count_include_pad: f == PoolKind::Average
            && v >= 7
            && cx.attrs.flag("count_include_pad", false)?,
        p: if f == PoolKind::Lp { norm(cx)? } else { 2 },
    };
    Some(op.into())
}

pub(super) fn global_pool(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    let f = match cx.node.op_type {
        "GlobalMaxPool" => PoolKind::Max,
        "GlobalAveragePool" => PoolKind::Average,
        _ => PoolKind::Lp,
    };
    let p = if f == PoolKind::Lp { norm(cx)? } else { 2 };
    Some(GlobalPool { f, channel_last: false, keepdims: true, p }.into())
}

pub(super) fn pad(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let mode = match cx.attrs.text("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" if cx.opset >= 19 => PadMode::Wrap,
        _ => return None,
    };
    if cx.opset >= 11 {
        cx.takes(2, if cx.opset >= 18 { 4 } else { 3 }, 1)?;
        return Some(Pad { mode, amounts: None, value: None }.into());
    }
    cx.takes(1, 1, 1)?;
    let amounts = Some(cx.attrs.ints(if cx.opset < 2 { "paddings" } else { "pads" })??);
    Some(Pad { mode, amounts, value: cx.attrs.opt_float("value")? }.into())
}

pub(super) fn resize(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    // Opset 10 has the scales where later ones have the region of interest, and does not say how coordinates map.
    cx.since(11)?;
    cx.takes(1, 4, 1)?;
    let mut one_of = |name, default, words: &[&str]| {
        let word = cx.attrs.text(name, default)?;
        words.contains(&word).then(|| word.into())
    };
    let mode = one_of("mode", "nearest", &["nearest", "linear", "cubic"])?;
    let coordinates = one_of(
        "coordinate_transformation_mode",
        "half_pixel",
        &[
            "half_pixel",
            "half_pixel_symmetric",
            "pytorch_half_pixel",
            "align_corners",
            "asymmetric",
            "tf_half_pixel_for_nn",
            "tf_crop_and_resize",
        ],
    )?;
    let nearest = one_of(
        "nearest_mode",
        "round_prefer_floor",
        &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
    )?;
    let mut op = Resize {
        mode,
        coordinates,
        nearest,
        extrapolation: cx.attrs.float("extrapolation_value", 0.0)?,
        cubic_coeff: cx.attrs.float("cubic_coeff_a", -0.75)?,
        exclude_outside: cx.attrs.flag("exclude_outside", false)?,
        ..Resize::default()
    };
    if cx.opset >= 18 {
        op.antialias = cx.attrs.flag("antialias", false)?;
        op.axes = cx.attrs.ints("axes")?;
        let policy = cx.attrs.text("keep_aspect_ratio_policy", "stretch")?;
        if !["stretch", "not_larger", "not_smaller"].contains(&policy) {
            return None;
        }
        op.aspect = policy.into();
    }
    Some(op.into())
}

/// Upsample writes its scales as attributes below opset 9; from 10 on it is withdrawn.
///
/// How the nearest element is chosen is not specified, so that is a word of its own.
pub(super) fn upsample(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(1, 1, 1)?;
    let (mode, scales) = match cx.opset {
        1..=6 => {
            let (h, w) =
                (cx.attrs.opt_float("height_scale")??, cx.attrs.opt_float("width_scale")??);
            let mode = match cx.attrs.text("mode", "nearest")? {
                "bilinear" => "linear",
                other => other,
            };
            (mode, vec![1.0, 1.0, h, w])
        }
        7..=8 => (cx.attrs.text("mode", "nearest")?, cx.attrs.floats("scales")??),
        _ => return None,
    };
    if !["nearest", "linear"].contains(&mode) {
        return None;
    }
    let op = Resize {
        mode: mode.into(),
        coordinates: "asymmetric".into(),
        nearest: "unspecified".into(),
        scales: Some(scales),
        ..Resize::default()
    };
    Some(op.into())
}

pub(super) fn reduce(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let f = match cx.node.op_type {
        "ReduceMean" => ReduceKind::Mean,
        "ReduceSum" => ReduceKind::Sum,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceSumSquare" => ReduceKind::SumSquare,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        _ => return None,
    };
    let keepdims = cx.attrs.flag("keepdims", true)?;
    // Axes became an operand with opset 13 for sums, with 18 for the others.
    if cx.opset < if f == ReduceKind::Sum { 13 } else { 18 } {
        cx.takes(1, 1, 1)?;
        let axes = cx.attrs.ints("axes")?;
        // An empty list is not said to be the same as none.
        let clear = axes.as_ref().is_none_or(|a| !a.is_empty());
        return clear.then(|| Reduce { f, axes, keepdims, noop_with_empty_axes: false }.into());
    }
    cx.takes(1, 2, 1)?;
    let noop_with_empty_axes = cx.attrs.flag("noop_with_empty_axes", false)?;
    Some(Reduce { f, axes: None, keepdims, noop_with_empty_axes }.into())
}

fn block(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<u64> {
    cx.takes(1, 1, 1)?;
    u64::try_from(cx.attrs.opt_int("blocksize")??).ok().filter(|&b| b > 0)
}

pub(super) fn depth_to_space(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let block = block(cx)?;
    let mode = match if cx.opset < 11 { "DCR" } else { cx.attrs.text("mode", "DCR")? } {
        "DCR" => DepthMode::Dcr,
        "CRD" => DepthMode::Crd,
        _ => return None,
    };
    Some(DepthToSpace { block, mode }.into())
}

pub(super) fn space_to_depth(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let block = block(cx)?;
    let plain = cx.opset < 28 || cx.attrs.text("mode", "DCR")? == "DCR";
    plain.then(|| SpaceToDepth { block }.into())
}
