//! Convolutions and transposed convolutions, by definition.
//!
//! `y[n, o, p] = b[o] + Σ over input channels c of o's group, taps k: x[n, c, q]·w[o, c, k]`, with
//! `q = p·stride + k·dilation − begin` for a convolution, and every `q` with `q·stride + k·dilation − begin = p` for a
//! transposed one; data outside its extents counts nothing.

use super::{
    EvalError, Scalar, index,
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
    window::{self, Axes, Window},
};
use crate::{Conv, ConvTranspose, DataLayout, KernelLayout, KernelOrder, Padding};
use smallvec::SmallVec;

struct Convolution {
    x: NodeId,
    w: NodeId,
    bias: Option<NodeId>,
    axes: Axes,
    transposed: bool,
    taps: u64,
    /// Elements between neighbours along batch and channel of x, batch and channel of the result.
    x_batch: u64,
    x_channel: u64,
    y_batch: u64,
    y_channel: u64,
    /// Channels of the result; per group of the result and of x.
    out_channels: u64,
    out_per_group: u64,
    in_per_group: u64,
    /// Whether the output axis of the kernel counts the channels of all groups (else its input axis does).
    kernel_holds_all_outputs: bool,
    /// Elements between neighbours along the output and the input axis of the kernel.
    w_out: u64,
    w_in: u64,
}

impl Formula for Convolution {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        [self.x, self.w].into_iter().chain(self.bias).collect()
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let n = i / self.y_batch;
        let o = i / self.y_channel % self.out_channels;
        let group = o / self.out_per_group;
        let first_in = group * self.in_per_group;
        let x_start = n * self.x_batch + first_in * self.x_channel;
        let w_start = if self.kernel_holds_all_outputs {
            o * self.w_out
        } else {
            o % self.out_per_group * self.w_out + first_in * self.w_in
        };
        let mut sum = match self.bias {
            Some(b) => cx.f(b, o)?,
            None => 0.0,
        };
        cx.spend(self.taps)?;
        let add = |sum, at| match at {
            Some((x_off, w_off)) => {
                let x = (self.x, x_start + x_off, self.x_channel);
                let w = (self.w, w_start + w_off, self.w_in);
                cx.add_products(sum, x, w, self.in_per_group)
            }
            None => Ok(sum),
        };
        if self.taps == 1 {
            let only = self.tap(self.axes.iter().map(|a| (a.position(i), 0)));
            return add(sum, only).map(Scalar::F);
        }
        let positions: SmallVec<[i64; 3]> = self.axes.iter().map(|a| a.position(i)).collect();
        let mut tap: SmallVec<[u64; 3]> = SmallVec::from_elem(0, self.axes.len());
        for _ in 0..self.taps {
            sum = add(sum, self.tap(positions.iter().copied().zip(tap.iter().copied())))?;
            // The next in row-major order.
            for (k, a) in tap.iter_mut().zip(&self.axes).rev() {
                *k += 1;
                if (*k as i64) < a.kernel {
                    break;
                }
                *k = 0;
            }
        }
        Ok(Scalar::F(sum))
    }
}

impl Convolution {
    /// Where a tap reads data and kernel; `None` when there is no data. For each axis, `at` has the position of the window
    /// and that within the kernel.
    #[inline]
    fn tap(&self, at: impl Iterator<Item = (i64, u64)>) -> Option<(u64, u64)> {
        let (mut x_off, mut w_off) = (0, 0);
        for (a, (p, k)) in self.axes.iter().zip(at) {
            let q = if self.transposed {
                let scaled = p + a.begin - k as i64 * a.dilation;
                if scaled % a.stride != 0 {
                    return None;
                }
                scaled / a.stride
            } else {
                p * a.stride + k as i64 * a.dilation - a.begin
            };
            if q < 0 || q >= a.input {
                return None;
            }
            x_off += q as u64 * a.x_stride;
            w_off += k * a.w_stride;
        }
        Some((x_off, w_off))
    }
}

/// The axes over data and kernel of given extents.
type Geometry<'k> = dyn Fn(&Site<'_, '_>, &[u64], &[u64]) -> Result<Axes, EvalError> + 'k;

/// What both kinds of convolution say.
struct Parts<'k> {
    x: DataLayout,
    w: KernelLayout,
    groups: u64,
    window: &'k Geometry<'k>,
    transposed: bool,
}

fn build<'a>(s: &mut Site<'_, 'a>, parts: &Parts<'_>) -> Plan<'a> {
    let (x, w) = (s.float(0)?, s.float(1)?);
    let (dx, dw) = (s.dims(x), s.dims(w));
    let misfit = || {
        s.shape_error(format!(
            "data {:?} and kernel {:?} in {} groups",
            &dx[..],
            &dw[..],
            parts.groups
        ))
    };
    if dx.len() != parts.x.rank()
        || dw.len() != parts.w.rank()
        || parts.x.spatial != parts.w.spatial
    {
        return Err(misfit());
    }
    let channels = dx[parts.x.channel_axis()];
    let (kernel_out, kernel_in) = (dw[parts.w.out_axis()], dw[parts.w.in_axis()]);
    let kernel_holds_all_outputs = matches!(parts.w.order, KernelOrder::Ois | KernelOrder::Sio);
    // A depthwise kernel says its groups by its shape: one per channel.
    let groups = match parts.w.order {
        KernelOrder::Scm if parts.groups == 1 => channels,
        _ => parts.groups,
    };
    let per_group = |n: u64| (groups > 0 && n.is_multiple_of(groups)).then(|| n / groups);
    let (Some(in_per_group), out) = (per_group(channels), kernel_out.checked_mul(groups)) else {
        return Err(misfit());
    };
    let (out_channels, out_per_group, inputs) = if kernel_holds_all_outputs {
        (kernel_out, per_group(kernel_out).ok_or_else(misfit)?, in_per_group)
    } else {
        (out.ok_or_else(misfit)?, kernel_out, channels)
    };
    if kernel_in != inputs || out_channels == 0 || channels == 0 {
        return Err(misfit());
    }
    let bias = s.optional(2);
    if let Some(b) = bias
        && s.count(b) != out_channels
    {
        return Err(s.shape_error(format!("{} biases, {out_channels} channels", s.count(b))));
    }
    let first = parts.w.first_spatial_axis();
    let spatial = usize::from(parts.w.spatial);
    let extents = &dw[first..first + spatial];
    let mut axes = (parts.window)(s, &dx, extents)?;
    let (dims, [sx, sy]) = window::place(parts.x, &mut axes, &dx, out_channels);
    let sw = index::strides(&dw);
    for (a, &stride) in axes.iter_mut().zip(&sw[first..]) {
        a.w_stride = stride;
    }
    let f = Convolution {
        x,
        w,
        bias,
        axes,
        transposed: parts.transposed,
        taps: extents.iter().product(),
        x_batch: sx[0],
        x_channel: sx[parts.x.channel_axis()],
        y_batch: sy[0],
        y_channel: sy[parts.x.channel_axis()],
        out_channels,
        out_per_group,
        in_per_group,
        kernel_holds_all_outputs,
        w_out: sw[parts.w.out_axis()],
        w_in: sw[parts.w.in_axis()],
    };
    Ok(Planned::formula(s.dtype(x), dims, f))
}

pub(super) fn conv<'a>(s: &mut Site<'_, 'a>, c: &Conv) -> Plan<'a> {
    let window = |s: &Site<'_, '_>, dims: &[u64], kernel: &[u64]| {
        Window { layout: c.x, kernel, strides: &c.strides, dilations: &c.dilations, pad: &c.pad }
            .forward(s, dims, false)
    };
    build(s, &Parts { x: c.x, w: c.w, groups: c.groups, window: &window, transposed: false })
}

pub(super) fn conv_transpose<'a>(s: &mut Site<'_, 'a>, c: &ConvTranspose) -> Plan<'a> {
    let window = |s: &Site<'_, '_>, dims: &[u64], kernel: &[u64]| {
        let window = Window {
            layout: c.x,
            kernel,
            strides: &c.strides,
            dilations: &c.dilations,
            pad: &c.pad,
        };
        transposed_axes(s, c, &window, dims)
    };
    build(s, &Parts { x: c.x, w: c.w, groups: c.groups, window: &window, transposed: true })
}

/// ONNX ConvTranspose: a given output shape, or `SAME` (`input · stride`), determines the amounts to cut; the odd one is
/// cut at the end for `SAME_UPPER`, at the beginning otherwise. Nothing is cut where the natural extent is too small:
/// the result then ends in positions that no tap reaches.
fn transposed_axes(
    s: &Site<'_, '_>,
    c: &ConvTranspose,
    window: &Window<'_>,
    dims: &[u64],
) -> Result<Axes, EvalError> {
    let mut axes = window.axes(s, dims)?;
    let spatial = axes.len();
    for (i, a) in axes.iter_mut().enumerate() {
        let extra =
            window::given(s, "output paddings", &c.output_padding, i, spatial)?.unwrap_or(0);
        let natural = a.stride * (a.input - 1) + extra + a.effective();
        let explicit = window.explicit(s, i)?;
        let wanted = match window::given(s, "output extents", &c.output_shape, i, spatial)? {
            None if matches!(c.pad, Padding::SameUpper | Padding::SameLower) => {
                Some(a.input * a.stride)
            }
            given => given,
        };
        match (wanted, explicit) {
            (Some(wanted), _) => {
                let total = (natural - wanted).max(0);
                let small = total / 2;
                (a.begin, a.end) = match c.pad {
                    Padding::SameUpper => (small, total - small),
                    _ => (total - small, small),
                };
                a.output = wanted;
            }
            (None, Some((begin, end))) => {
                (a.begin, a.end) = (begin, end);
                a.output = natural - begin - end;
            }
            (None, None) => return Err(s.unsupported("causal padding of a transposed convolution")),
        }
        if a.output < 0 {
            return Err(s.shape_error(format!("an output extent of {}", a.output)));
        }
    }
    Ok(axes)
}
