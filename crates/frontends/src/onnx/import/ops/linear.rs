//! Convolutions, matrix products, batch normalization; windows and their padding.

use super::NodeCx;
use normfold_ir::{
    BatchNorm, Conv, ConvTranspose, DataLayout, KernelLayout, KernelOrder, Linear, MatMul, OpKind,
    Padding, Spatial,
};

/// The attributes of a sliding window.
pub(super) struct Window {
    /// The number of spatial axes.
    pub(super) spatial: u8,
    /// `kernel_shape`, when it is written.
    pub(super) kernel: Option<Spatial<u64>>,
    pub(super) strides: Spatial<u64>,
    pub(super) dilations: Spatial<u64>,
    pub(super) pad: Padding,
}

/// Positive extents; empty when all of them are 1.
fn extents(list: Option<&Vec<i64>>, n: usize) -> Option<Spatial<u64>> {
    let Some(list) = list else { return Some(Spatial::new()) };
    let positive: Spatial<u64> =
        list.iter().map(|&v| u64::try_from(v).ok().filter(|&v| v > 0)).collect::<Option<_>>()?;
    if positive.len() != n {
        return None;
    }
    Some(if positive.iter().all(|&v| v == 1) { Spatial::new() } else { positive })
}

/// Takes the attributes of a window. How many spatial axes there are follows from any of its lists, else from the rank of the
/// kernel (operand `kernel`) or of the data; only 1 to 3 can be said.
pub(super) fn window(
    cx: &mut NodeCx<'_, '_, '_, '_>,
    kernel: Option<usize>,
    dilated: bool,
) -> Option<Window> {
    let shape = cx.attrs.ints("kernel_shape")?;
    let strides = cx.attrs.ints("strides")?;
    let dilations = if dilated { cx.attrs.ints("dilations")? } else { None };
    let pads = cx.attrs.ints("pads")?;
    let of_kernel = kernel.and_then(|k| cx.rank(k)).and_then(|r| r.checked_sub(2));
    let lists = [&shape, &strides, &dilations].into_iter().flatten().map(Vec::len);
    let n = lists
        .chain(pads.as_ref().map(|p| p.len() / 2))
        .next()
        .or(of_kernel)
        .or_else(|| cx.rank(0).and_then(|r| r.checked_sub(2)))?;
    if !(1..=3).contains(&n) || of_kernel.is_some_and(|k| k != n) {
        return None;
    }
    let pads = match pads {
        Some(p) if p.len() != 2 * n || p.iter().any(|&v| v < 0) => return None,
        Some(p) if p.iter().any(|&v| v != 0) => (0..n).map(|i| (p[i], p[i + n])).collect(),
        _ => Spatial::new(),
    };
    let pad = match cx.attrs.text("auto_pad", "NOTSET")? {
        "NOTSET" => Padding::Explicit(pads),
        // Written amounts beside a rule: the specification forbids it, implementations differ.
        _ if !pads.is_empty() => return None,
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        "VALID" => Padding::Valid,
        _ => return None,
    };
    let kernel = match shape {
        Some(list) => {
            let list: Spatial<u64> = list
                .iter()
                .map(|&v| u64::try_from(v).ok().filter(|&v| v > 0))
                .collect::<Option<_>>()?;
            Some(list).filter(|l| l.len() == n).map(Some)?
        }
        None => None,
    };
    Some(Window {
        spatial: n as u8,
        kernel,
        strides: extents(strides.as_ref(), n)?,
        dilations: extents(dilations.as_ref(), n)?,
        pad,
    })
}

fn groups(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<u64> {
    u64::try_from(cx.attrs.int("group", 1)?).ok().filter(|&g| g > 0)
}

/// Whether `kernel_shape`, when written, is what the kernel's extents say, when they are known.
fn agrees(cx: &NodeCx<'_, '_, '_, '_>, w: &Window) -> bool {
    let (Some(shape), Some(id)) = (&w.kernel, cx.constant(1)) else { return true };
    cx.pool.dims(id).get(2..) == Some(shape.as_slice())
}

pub(super) fn conv(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(2, 3, 1)?;
    let w = window(cx, Some(1), true)?;
    agrees(cx, &w).then_some(())?;
    Some(
        Conv {
            x: DataLayout::channels_first(w.spatial),
            w: KernelLayout::new(KernelOrder::Ois, w.spatial),
            groups: groups(cx)?,
            strides: w.strides,
            dilations: w.dilations,
            pad: w.pad,
        }
        .into(),
    )
}

pub(super) fn conv_transpose(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(2, 3, 1)?;
    let output_padding = cx.attrs.ints("output_padding")?.unwrap_or_default();
    let output_shape = cx.attrs.ints("output_shape")?.unwrap_or_default();
    let w = window(cx, Some(1), true)?;
    agrees(cx, &w).then_some(())?;
    let n = usize::from(w.spatial);
    // Some exporters write the whole shape of the result, which is not what the specification says.
    let fits = |l: &[i64]| l.is_empty() || (l.len() == n && l.iter().all(|&v| v >= 0));
    if !fits(&output_padding) || !fits(&output_shape) {
        return None;
    }
    let zero = output_padding.iter().all(|&v| v == 0);
    Some(
        ConvTranspose {
            x: DataLayout::channels_first(w.spatial),
            w: KernelLayout::new(KernelOrder::Ios, w.spatial),
            groups: groups(cx)?,
            strides: w.strides,
            dilations: w.dilations,
            pad: w.pad,
            output_padding: if zero { Spatial::new() } else { output_padding.into() },
            output_shape: output_shape.into(),
        }
        .into(),
    )
}

/// C broadcasts in one direction. Below opset 7 it does so only with `broadcast`; without, it has the result's shape, which is a
/// case of the same.
pub(super) fn gemm(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(if cx.opset < 11 { 3 } else { 2 }, 3, 1)?;
    if cx.opset < 7 {
        cx.attrs.flag("broadcast", false)?;
    }
    Some(
        Linear {
            alpha: cx.attrs.float("alpha", 1.0)?,
            beta: cx.attrs.float("beta", 1.0)?,
            trans_x: cx.attrs.flag("transA", false)?,
            trans_w: cx.attrs.flag("transB", false)?,
            matrix: true,
        }
        .into(),
    )
}

pub(super) fn matmul(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(2, 2, 1)?;
    Some(MatMul {}.into())
}

/// Training is what `is_test` denies up to opset 6, what further results demand from 7 to 13, and what `training_mode` says since
/// 14, whatever the number of results. `spatial` exists up to opset 8.
pub(super) fn batch_norm(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    cx.takes(5, 5, if cx.opset < 14 { 5 } else { 3 })?;
    let eps = cx.attrs.float("epsilon", 1e-5)?;
    cx.attrs.skip("momentum");
    let spatial = cx.opset >= 9 || cx.attrs.flag("spatial", true)?;
    let training = match cx.opset {
        ..=6 => !cx.attrs.flag("is_test", false)?,
        7..=13 => cx.node.outputs[1..].iter().any(|o| !o.is_empty()),
        _ => cx.attrs.flag("training_mode", false)?,
    };
    Some(BatchNorm { axis: 1, eps, training, spatial }.into())
}
