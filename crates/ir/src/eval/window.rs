//! The geometry of sliding windows, from the ONNX and Keras definitions.

use super::{EvalError, index, node::Site};
use crate::{DataLayout, Padding, Spatial};
use smallvec::SmallVec;

/// One spatial axis of a window over data. All numbers are small enough that products of two and their sum fit an i64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Extent of the data.
    pub(super) input: i64,
    /// Extent of the result.
    pub(super) output: i64,
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) dilation: i64,
    /// Padding before the data (of a transposed convolution: what is cut from the beginning of the result).
    pub(super) begin: i64,
    /// Padding after it.
    pub(super) end: i64,
    /// Elements between neighbours in the data, and in the result.
    pub(super) x_stride: u64,
    pub(super) y_stride: u64,
    /// Elements between neighbours in a kernel with elements.
    pub(super) w_stride: u64,
}

impl Axis {
    /// What a window covers.
    pub(super) fn effective(&self) -> i64 {
        self.dilation * (self.kernel - 1) + 1
    }

    /// The position of element `i` of the result.
    pub(super) fn position(&self, i: u64) -> i64 {
        (i / self.y_stride) as i64 % self.output.max(1)
    }
}

pub(super) type Axes = SmallVec<[Axis; 2]>;

const LARGEST: u64 = 1 << 30;

/// An attribute per spatial axis, 1 (or 0) where the list is empty.
fn attribute<T: Copy + TryInto<i64>>(
    s: &Site<'_, '_>,
    what: &str,
    list: &[T],
    i: usize,
    spatial: usize,
    default: i64,
) -> Result<i64, EvalError> {
    if list.is_empty() {
        return Ok(default);
    }
    if list.len() != spatial {
        return Err(s.shape_error(format!("{} {what} for {spatial} spatial axes", list.len())));
    }
    list[i]
        .try_into()
        .ok()
        .filter(|v: &i64| v.unsigned_abs() <= LARGEST)
        .ok_or_else(|| s.shape_error(format!("{what} are out of range")))
}

/// What a window op says of its axes.
pub(super) struct Window<'w> {
    pub(super) layout: DataLayout,
    pub(super) kernel: &'w [u64],
    pub(super) strides: &'w Spatial<u64>,
    pub(super) dilations: &'w Spatial<u64>,
    pub(super) pad: &'w Padding,
}

impl Window<'_> {
    /// The axes over data of extents `dims`, without result extents, padding and strides in memory.
    pub(super) fn axes(&self, s: &Site<'_, '_>, dims: &[u64]) -> Result<Axes, EvalError> {
        let spatial = usize::from(self.layout.spatial);
        if dims.len() != self.layout.rank() || self.kernel.len() != spatial {
            return Err(s.shape_error(format!(
                "data {dims:?} and a window {:?} over {spatial} spatial axes",
                self.kernel
            )));
        }
        let first = self.layout.first_spatial_axis();
        let mut axes = Axes::new();
        for i in 0..spatial {
            let axis = Axis {
                input: attribute(s, "extents", &dims[first..first + spatial], i, spatial, 1)?,
                output: 0,
                kernel: attribute(s, "kernel extents", self.kernel, i, spatial, 1)?,
                stride: attribute(s, "strides", self.strides, i, spatial, 1)?,
                dilation: attribute(s, "dilations", self.dilations, i, spatial, 1)?,
                begin: 0,
                end: 0,
                x_stride: 0,
                y_stride: 0,
                w_stride: 0,
            };
            if axis.kernel < 1 || axis.stride < 1 || axis.dilation < 1 {
                return Err(s.shape_error("kernel, strides and dilations are at least 1"));
            }
            axes.push(axis);
        }
        Ok(axes)
    }

    /// Explicit padding of spatial axis `i`; `None` where it follows from extents.
    pub(super) fn explicit(
        &self,
        s: &Site<'_, '_>,
        i: usize,
    ) -> Result<Option<(i64, i64)>, EvalError> {
        if let Padding::Explicit(list) = self.pad
            && !list.is_empty()
            && list.len() != usize::from(self.layout.spatial)
        {
            return Err(s.shape_error(format!("padding of {} axes", list.len())));
        }
        match self.pad.explicit(i) {
            Some((a, b)) if a.unsigned_abs().max(b.unsigned_abs()) > LARGEST => {
                Err(s.shape_error("padding is out of range"))
            }
            amounts => Ok(amounts),
        }
    }

    /// The axes of a convolution or a pooling.
    pub(super) fn forward(
        &self,
        s: &Site<'_, '_>,
        dims: &[u64],
        ceil_mode: bool,
    ) -> Result<Axes, EvalError> {
        let mut axes = self.axes(s, dims)?;
        for (i, a) in axes.iter_mut().enumerate() {
            let effective = a.effective();
            let same = matches!(self.pad, Padding::SameUpper | Padding::SameLower);
            if same {
                a.output = div_ceil(a.input, a.stride);
                let total = ((a.output - 1) * a.stride + effective - a.input).max(0);
                // The odd cell is at the end for upper, at the beginning for lower.
                let small = total / 2;
                (a.begin, a.end) = match self.pad {
                    Padding::SameUpper => (small, total - small),
                    _ => (total - small, small),
                };
                continue;
            }
            (a.begin, a.end) = match (self.pad, self.explicit(s, i)?) {
                (Padding::Causal, _) => (effective - 1, 0),
                (_, amounts) => amounts.unwrap_or((0, 0)),
            };
            let room = a.input + a.begin + a.end - effective;
            if room < 0 {
                return Err(s.shape_error(format!(
                    "a window of {effective} is larger than the padded extent {}",
                    a.input + a.begin + a.end
                )));
            }
            a.output = room / a.stride + 1;
            if ceil_mode {
                a.output = div_ceil(room, a.stride) + 1;
                // A window that would begin beyond the data and its left padding does not count.
                if (a.output - 1) * a.stride >= a.input + a.begin {
                    a.output -= 1;
                }
            }
        }
        Ok(axes)
    }
}

/// The extents of the result, with `channels` of them, and the strides of data and result; also sets those of the axes.
pub(super) fn place(
    layout: DataLayout,
    axes: &mut Axes,
    dims: &[u64],
    channels: u64,
) -> (index::Dims, [index::Dims; 2]) {
    let first = layout.first_spatial_axis();
    let mut out = index::Dims::from_slice(dims);
    out[layout.channel_axis()] = channels;
    for (i, a) in axes.iter().enumerate() {
        out[first + i] = a.output as u64;
    }
    let (x, y) = (index::strides(dims), index::strides(&out));
    for (i, a) in axes.iter_mut().enumerate() {
        a.x_stride = x[first + i];
        a.y_stride = y[first + i];
    }
    (out, [x, y])
}

fn div_ceil(a: i64, b: i64) -> i64 {
    a / b + i64::from(a % b > 0)
}

/// The extents an attribute gives per spatial axis; `None` when the list is empty.
pub(super) fn given(
    s: &Site<'_, '_>,
    what: &str,
    list: &[i64],
    i: usize,
    spatial: usize,
) -> Result<Option<i64>, EvalError> {
    if list.is_empty() { Ok(None) } else { attribute(s, what, list, i, spatial, 0).map(Some) }
}
