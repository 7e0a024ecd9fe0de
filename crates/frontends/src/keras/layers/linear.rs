//! Convolutions and dense layers, and the activations inside them.

use super::activation;
use crate::{
    FrontendError,
    keras::{
        cx::{Emit, Emitted, LayerCx, opaque},
        shape::{self, Shape},
    },
};
use normfold_ir::{
    Conv, ConvTranspose, DataLayout, Dim, KernelLayout, KernelOrder, Linear, Padding, Spatial,
    Value,
};

const UNKNOWN_CHANNELS: &str = "the channel count of its input is not known";
const UNKNOWN_RANK: &str = "the rank of its input is not known, or is another";
const OTHER_CALL: &str = "an earlier call has weights of other extents";

/// What the layers of a sliding window have in common.
struct Sliding {
    x: Value,
    layout: DataLayout,
    shape: Shape,
    channels: u64,
    kernel: Spatial<u64>,
    strides: Spatial<u64>,
    dilations: Spatial<u64>,
}

/// The input and the window, or why the layer stays opaque.
fn sliding(cx: &LayerCx<'_, '_>, n: usize) -> Result<Result<Sliding, &'static str>, FrontendError> {
    let layout = cx.layout(n)?;
    let kernel = cx.positives("kernel_size", n, None)?;
    let strides = cx.positives("strides", n, Some(1))?;
    let dilations = cx.positives("dilation_rate", n, Some(1))?;
    let Some(x) = cx.single() else { return Ok(Err("it reads something else than one tensor")) };
    let Some(shape) = cx.shape(x).filter(|s| s.len() == layout.rank()) else {
        return Ok(Err(UNKNOWN_RANK));
    };
    let Some(channels) = shape.get(layout.channel_axis()).and_then(Dim::known) else {
        return Ok(Err(UNKNOWN_CHANNELS));
    };
    if channels == 0 {
        return Err(cx.layer.invalid("its input has no channels"));
    }
    Ok(Ok(Sliding { x, layout, shape, channels, kernel, strides, dilations }))
}

/// The keyword of a padding as the op has it: amounts that do not depend on extents are written out.
fn padding(keyword: &str) -> Padding {
    match keyword {
        "same" => Padding::SameUpper,
        "causal" => Padding::Causal,
        _ => Padding::default(),
    }
}

fn unless_all_ones(list: &Spatial<u64>) -> Spatial<u64> {
    if list.iter().all(|&v| v == 1) { Spatial::new() } else { list.clone() }
}

impl Sliding {
    /// The shape of the result, with `channels` of them.
    fn result(
        &self,
        cx: &LayerCx<'_, '_>,
        pad: &Padding,
        channels: Option<u64>,
    ) -> Result<Shape, FrontendError> {
        let mut shape = self.shape.clone();
        for (i, &kernel) in self.kernel.iter().enumerate() {
            let (stride, dilation) = (
                self.strides.get(i).copied().unwrap_or(1),
                self.dilations.get(i).copied().unwrap_or(1),
            );
            if let Some(dim) = shape.get_mut(self.layout.first_spatial_axis() + i) {
                *dim = shape::window(dim, kernel, stride, dilation, pad)
                    .ok_or_else(|| cx.does_not_fit(dim, kernel.saturating_mul(dilation)))?;
            }
        }
        if let Some(dim) = shape.get_mut(self.layout.channel_axis()) {
            *dim = channels.map_or(Dim::Unknown, Dim::Known);
        }
        Ok(shape)
    }

    fn kernel_dims(&self, last: [u64; 2]) -> Vec<u64> {
        self.kernel.iter().copied().chain(last).collect()
    }

    fn layout_of(&self, order: KernelOrder) -> KernelLayout {
        KernelLayout::new(order, self.layout.spatial)
    }
}

/// The activation of the configuration behind `v`, which is named only then: the last value bears the layer's name.
fn activated(cx: &mut LayerCx<'_, '_>, v: Value) -> Emit {
    let act = activation::of_config(cx, "activation");
    if act.is_linear() {
        return Ok(Emitted::Value(v));
    }
    cx.label(v, "linear");
    cx.inner = Some(v);
    Ok(Emitted::Value(activation::apply(cx, act, v)))
}

fn bias(
    cx: &mut LayerCx<'_, '_>,
    channels: u64,
) -> Result<Result<Option<Value>, &'static str>, FrontendError> {
    if !cx.bool("use_bias", true)? {
        return Ok(Ok(None));
    }
    Ok(cx.weight("bias", &[channels])?.map(Some).ok_or(OTHER_CALL))
}

/// `Conv1D`, `Conv2D`, `Conv3D`: kernel `[…, input channels / groups, filters]`.
pub(super) fn conv(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let filters = cx.positive("filters", None)?;
    let groups = cx.positive("groups", Some(1))?;
    let s = match sliding(cx, n)? {
        Ok(s) => s,
        Err(reason) => return opaque(reason),
    };
    if s.channels % groups != 0 || filters % groups != 0 {
        let problem = format!(
            "{} channels and {filters} filters do not divide into {groups} groups",
            s.channels
        );
        return Err(cx.layer.invalid(problem));
    }
    let pad = padding(&cx.padding()?);
    let shape = s.result(cx, &pad, Some(filters))?;
    let Some(w) = cx.weight("kernel", &s.kernel_dims([s.channels / groups, filters]))? else {
        return opaque(OTHER_CALL);
    };
    let b = match bias(cx, filters)? {
        Ok(b) => b,
        Err(reason) => return opaque(reason),
    };
    let kind = Conv {
        x: s.layout,
        w: s.layout_of(KernelOrder::Sio),
        groups,
        strides: unless_all_ones(&s.strides),
        dilations: unless_all_ones(&s.dilations),
        pad,
    };
    let ty = cx.ty(s.x, Some(shape));
    let y = cx.op(kind, with_bias(s.x, w, b), ty);
    activated(cx, y)
}

fn with_bias(x: Value, w: Value, b: Option<Value>) -> Vec<Option<Value>> {
    let mut operands = vec![Some(x), Some(w)];
    operands.extend(b.map(Some));
    operands
}

/// The depthwise half of a layer: kernel `[…, input channels, multiplier]`.
fn depthwise_kind(s: &Sliding, pad: Padding) -> Conv {
    Conv {
        x: s.layout,
        w: s.layout_of(KernelOrder::Scm),
        strides: unless_all_ones(&s.strides),
        dilations: unless_all_ones(&s.dilations),
        pad,
        ..Conv::default()
    }
}

/// Result channels of the depthwise half of a layer.
fn multiplied(cx: &LayerCx<'_, '_>, s: &Sliding) -> Result<(u64, u64), FrontendError> {
    let multiplier = cx.positive("depth_multiplier", Some(1))?;
    let channels = s.channels.checked_mul(multiplier);
    let channels =
        channels.ok_or_else(|| cx.layer.invalid("`depth_multiplier` is absurdly large"))?;
    Ok((multiplier, channels))
}

/// `DepthwiseConv1D`, `DepthwiseConv2D`.
pub(super) fn depthwise(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let s = match sliding(cx, n)? {
        Ok(s) => s,
        Err(reason) => return opaque(reason),
    };
    let (multiplier, channels) = multiplied(cx, &s)?;
    let pad = padding(&cx.padding()?);
    let shape = s.result(cx, &pad, Some(channels))?;
    let Some(w) = cx.weight("depthwise_kernel", &s.kernel_dims([s.channels, multiplier]))? else {
        return opaque(OTHER_CALL);
    };
    let b = match bias(cx, channels)? {
        Ok(b) => b,
        Err(reason) => return opaque(reason),
    };
    let ty = cx.ty(s.x, Some(shape));
    let y = cx.op(depthwise_kind(&s, pad), with_bias(s.x, w, b), ty);
    activated(cx, y)
}

/// `SeparableConv1D`, `SeparableConv2D`: a depthwise convolution and a pointwise one, the bias behind both.
pub(super) fn separable(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let filters = cx.positive("filters", None)?;
    let s = match sliding(cx, n)? {
        Ok(s) => s,
        Err(reason) => return opaque(reason),
    };
    let (multiplier, channels) = multiplied(cx, &s)?;
    let pad = padding(&cx.padding()?);
    let inner = s.result(cx, &pad, Some(channels))?;
    let outer = s.result(cx, &pad, Some(filters))?;
    let Some(dw) = cx.weight("depthwise_kernel", &s.kernel_dims([s.channels, multiplier]))? else {
        return opaque(OTHER_CALL);
    };
    let point: Vec<u64> = std::iter::repeat_n(1, n).chain([channels, filters]).collect();
    let Some(pw) = cx.weight("pointwise_kernel", &point)? else { return opaque(OTHER_CALL) };
    let b = match bias(cx, filters)? {
        Ok(b) => b,
        Err(reason) => return opaque(reason),
    };
    let ty = cx.ty(s.x, Some(inner));
    let mid = cx.op(depthwise_kind(&s, pad), with_bias(s.x, dw, None), ty);
    cx.unbiased.insert(mid.op);
    cx.label(mid, "depthwise");
    let kind = Conv { x: s.layout, w: s.layout_of(KernelOrder::Sio), ..Conv::default() };
    let ty = cx.ty(s.x, Some(outer));
    let y = cx.op(kind, with_bias(mid, pw, b), ty);
    activated(cx, y)
}

/// `Conv1DTranspose`, `Conv2DTranspose`, `Conv3DTranspose`: kernel `[…, filters, input channels]`.
///
/// What is cut does not depend on extents: with the kernel's reach k and the stride s, `same` gives s·n elements, hence
/// cuts k − s of the full result (TensorFlow: the odd one at the end), `valid` cuts nothing and gives at least s·n.
pub(super) fn transposed(cx: &mut LayerCx<'_, '_>, n: usize) -> Emit {
    let filters = cx.positive("filters", None)?;
    let stated = cx.layer.config.some("output_padding").map(|json| match json.items() {
        None => vec![json.as_i64(); n],
        Some([one]) => vec![one.as_i64(); n],
        Some(items) => items.iter().map(|i| i.as_i64()).collect(),
    });
    let s = match sliding(cx, n)? {
        Ok(s) => s,
        Err(reason) => return opaque(reason),
    };
    if cx.positive("groups", Some(1))? != 1 {
        return opaque("a transposed convolution with groups");
    }
    let same = match &*cx.padding()? {
        "same" => true,
        "valid" => false,
        _ => return opaque("causal padding"),
    };
    let mut shape = s.shape.clone();
    let (mut pad, mut extra) = (Spatial::new(), Spatial::new());
    for i in 0..n {
        let at = |list: &Spatial<u64>| list.get(i).copied().unwrap_or(1);
        let (kernel, stride, dilation) = (at(&s.kernel), at(&s.strides), at(&s.dilations));
        let stated = match stated.as_ref().map(|list| list.get(i).copied().flatten()) {
            None => None,
            Some(Some(p)) if (0..=1 << 20).contains(&p) => Some(p),
            Some(_) => {
                return Err(cx
                    .layer
                    .invalid(format!("`output_padding` must be an integer or a list of {n}")));
            }
        };
        // Both are at most 2^40, so i64 holds what follows; a longer reach is refused.
        let reach = (kernel - 1)
            .checked_mul(dilation)
            .and_then(|r| i64::try_from(r).ok())
            .and_then(|r| r.checked_add(1));
        let Some(reach) = reach.filter(|r| *r < 1 << 60) else {
            return Err(cx.layer.invalid("`kernel_size` times `dilation_rate` is absurdly large"));
        };
        let (stride, kernel) = (stride as i64, kernel as i64);
        let cut = match (same, stated) {
            (true, None) => reach - stride,
            (false, None) => -(stride - reach).max(0),
            (true, Some(p)) => 2 * (kernel / 2) - p,
            (false, Some(p)) => -p,
        };
        let (amount, more) = (cut.max(0), (-cut).max(0));
        pad.push((amount / 2, amount - amount / 2));
        extra.push(more);
        if let Some(dim) = shape.get_mut(s.layout.first_spatial_axis() + i) {
            let extent = dim.known().map(|d| {
                let grown = i64::try_from(d)
                    .ok()?
                    .checked_sub(1)?
                    .checked_mul(stride)?
                    .checked_add(reach - cut)?;
                u64::try_from(grown).ok()
            });
            *dim = match extent {
                None => Dim::Unknown,
                Some(Some(extent)) => Dim::Known(extent),
                Some(None) => {
                    return Err(cx.layer.invalid("its result has no elements, or too many"));
                }
            };
        }
    }
    if let Some(dim) = shape.get_mut(s.layout.channel_axis()) {
        *dim = Dim::Known(filters);
    }
    let Some(w) = cx.weight("kernel", &s.kernel_dims([filters, s.channels]))? else {
        return opaque(OTHER_CALL);
    };
    let b = match bias(cx, filters)? {
        Ok(b) => b,
        Err(reason) => return opaque(reason),
    };
    let none = |p: &Spatial<(i64, i64)>| p.iter().all(|&p| p == (0, 0));
    let kind = ConvTranspose {
        x: s.layout,
        w: s.layout_of(KernelOrder::Soi),
        strides: unless_all_ones(&s.strides),
        dilations: unless_all_ones(&s.dilations),
        pad: if none(&pad) { Padding::default() } else { Padding::Explicit(pad) },
        output_padding: if extra.iter().all(|&e| e == 0) { Spatial::new() } else { extra },
        ..ConvTranspose::default()
    };
    let ty = cx.ty(s.x, Some(shape));
    let y = cx.op(kind, with_bias(s.x, w, b), ty);
    activated(cx, y)
}

/// `Dense`: kernel `[input features, units]`, over the last axis at any rank.
pub(super) fn dense(cx: &mut LayerCx<'_, '_>) -> Emit {
    let units = cx.positive("units", None)?;
    let Some(x) = cx.single() else { return opaque("it reads something else than one tensor") };
    let Some(mut shape) = cx.shape(x).filter(|s| s.len() >= 2) else { return opaque(UNKNOWN_RANK) };
    let Some(last) = shape.last_mut() else { return opaque(UNKNOWN_RANK) };
    let Some(features) = last.known() else { return opaque(UNKNOWN_CHANNELS) };
    *last = Dim::Known(units);
    let Some(w) = cx.weight("kernel", &[features, units])? else { return opaque(OTHER_CALL) };
    let b = match bias(cx, units)? {
        Ok(b) => b,
        Err(reason) => return opaque(reason),
    };
    let ty = cx.ty(x, Some(shape));
    let y = cx.op(Linear::default(), with_bias(x, w, b), ty);
    activated(cx, y)
}
