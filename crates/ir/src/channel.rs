//! The channel map: the one abstraction that carries the folding of every format and layout.
//!
//! For each linear op it says which output and which input channel a weight element belongs to, where the bias goes, and
//! which axes of data and result are the channels. Backward folding is `W'[i] = W[i]·s[out(i)]`,
//! `b'[c] = b[c]·s[c] + t[c]`; forward `W'[i] = W[i]·s[in(i)]`, `b'[out(i)] += W[i]·t[in(i)]`, with the old W.

use crate::{Conv, ElementMap, KernelLayout, KernelOrder, MapTerm, OpKind, Padding, Spatial};

/// Channels on one side of a linear op.
#[derive(Clone, PartialEq, Debug)]
pub struct Channels {
    /// How many.
    pub count: u64,
    /// Which one a weight element belongs to.
    pub map: ElementMap,
    /// Which axis of the data or the result they are, from the front (`Ok`) or counted back from the last (`Err(0)`).
    pub axis: Result<usize, usize>,
}

impl Channels {
    /// The axis on a tensor of that rank; one that counts from the end needs to know the rank.
    pub fn axis_at(&self, rank: Option<usize>) -> Option<usize> {
        match self.axis {
            Ok(axis) => Some(axis),
            Err(back) => rank?.checked_sub(1 + back),
        }
    }
}

/// Where the bias of a linear op is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BiasSlot {
    /// An operand of one element per output channel.
    PerChannel(usize),
    /// An operand that broadcasts to the result, times the op's `beta`.
    Broadcast(usize),
    /// None: the op cannot hold a bias.
    None,
}

/// The channel map of one linear op.
#[derive(Clone, PartialEq, Debug)]
pub struct ChannelMap {
    /// The operand that holds the weight.
    pub weight: usize,
    /// The operand that holds the data.
    pub data: usize,
    /// Where the bias is.
    pub bias: BiasSlot,
    /// Channels of the result.
    pub out: Channels,
    /// Channels of the data.
    pub input: Channels,
    /// Whether implicit zeros may enter among the data.
    pub implicit_zeros: bool,
}

impl ChannelMap {
    /// The map of a linear op whose weight is operand `weight` with extents `dims`.
    ///
    /// `None` when the op is not linear, that operand cannot be its weight, or the extents contradict its attributes.
    pub fn of(kind: &OpKind, weight: usize, dims: &[u64]) -> Option<Self> {
        match kind {
            OpKind::Conv(c) if weight == 1 => {
                let (out, input) = kernel(c.w, c.groups, c.x.channel_axis(), dims)?;
                let implicit_zeros = conv_pads(c, dims);
                Some(Self {
                    weight,
                    data: 0,
                    bias: BiasSlot::PerChannel(2),
                    out,
                    input,
                    implicit_zeros,
                })
            }
            OpKind::ConvTranspose(c) if weight == 1 => {
                let (out, input) = kernel(c.w, c.groups, c.x.channel_axis(), dims)?;
                // Between strides and at the border an output may be reached by fewer taps.
                let s = c.w.first_spatial_axis();
                let point = dims[s..s + usize::from(c.w.spatial)].iter().all(|&k| k == 1)
                    && all(&c.strides, 1)
                    && all(&c.output_padding, 0)
                    && c.output_shape.is_empty()
                    && (0..usize::from(c.w.spatial)).all(|i| c.pad.explicit(i) == Some((0, 0)));
                Some(Self {
                    weight,
                    data: 0,
                    bias: BiasSlot::PerChannel(2),
                    out,
                    input,
                    implicit_zeros: !point,
                })
            }
            OpKind::Linear(l) if weight == 1 && dims.len() == 2 => {
                let (k, n) = if l.trans_w { (1, 0) } else { (0, 1) };
                let side = |axis: usize, of: Result<usize, usize>| Channels {
                    count: dims[axis],
                    map: ElementMap::axis(dims, axis),
                    axis: of,
                };
                let (out_axis, in_axis) = match (l.matrix, l.trans_x) {
                    (true, false) => (Ok(1), Ok(1)),
                    (true, true) => (Ok(1), Ok(0)),
                    (false, t) => (Err(0), Err(usize::from(t))),
                };
                Some(Self {
                    weight,
                    data: 0,
                    bias: BiasSlot::Broadcast(2),
                    out: side(n, out_axis),
                    input: side(k, in_axis),
                    implicit_zeros: false,
                })
            }
            OpKind::MatMul(_) if weight < 2 && dims.len() >= 2 => {
                let r = dims.len();
                // Right operand [.., K, N]: N is the last axis of the result. Left [.., M, K]: M is the last but one.
                let (o, i, out_back, in_back) =
                    if weight == 1 { (r - 1, r - 2, 0, 0) } else { (r - 2, r - 1, 1, 1) };
                let side = |axis, back| Channels {
                    count: dims[axis],
                    map: ElementMap::axis(dims, axis),
                    axis: Err(back),
                };
                Some(Self {
                    weight,
                    data: 1 - weight,
                    bias: BiasSlot::None,
                    out: side(o, out_back),
                    input: side(i, in_back),
                    implicit_zeros: false,
                })
            }
            _ => None,
        }
    }
}

fn all<T: PartialEq>(list: &Spatial<T>, value: T) -> bool {
    list.iter().all(|v| *v == value)
}

fn conv_pads(c: &Conv, dims: &[u64]) -> bool {
    let s = c.w.first_spatial_axis();
    (0..usize::from(c.w.spatial)).any(|i| {
        let one = dims[s + i] == 1;
        match &c.pad {
            Padding::Explicit(_) | Padding::Valid => {
                c.pad.explicit(i).is_none_or(|(a, b)| a > 0 || b > 0)
            }
            Padding::SameUpper | Padding::SameLower | Padding::Causal => !one,
        }
    })
}

/// Output and input channels of a kernel. Grouping sits on the axis that holds all of its side's channels: the output
/// axis of `ois`/`sio` kernels, the input axis of `ios`/`soi` kernels.
fn kernel(w: KernelLayout, groups: u64, axis: usize, dims: &[u64]) -> Option<(Channels, Channels)> {
    if dims.len() != w.rank() || groups == 0 {
        return None;
    }
    let (o, i) = (w.out_axis(), w.in_axis());
    let side = |count, map| Channels { count, map, axis: Ok(axis) };
    match w.order {
        KernelOrder::Scm => {
            let (c, m) = (dims[i], dims[o]);
            let both = MapTerm { stride: 1, size: c.checked_mul(m)?, div: 1, mul: 1 };
            Some((side(c * m, ElementMap::from_terms([both])), side(c, ElementMap::axis(dims, i))))
        }
        KernelOrder::Ois | KernelOrder::Sio => {
            let per_group = whole(dims[o], groups)?;
            let input = ElementMap::axis(dims, i).and(dims, o, per_group, dims[i]);
            Some((
                side(dims[o], ElementMap::axis(dims, o)),
                side(dims[i].checked_mul(groups)?, input),
            ))
        }
        KernelOrder::Ios | KernelOrder::Soi => {
            let per_group = whole(dims[i], groups)?;
            let out = ElementMap::axis(dims, o).and(dims, i, per_group, dims[o]);
            Some((
                side(dims[o].checked_mul(groups)?, out),
                side(dims[i], ElementMap::axis(dims, i)),
            ))
        }
    }
}

/// `n / groups` when it is whole and not 0.
fn whole(n: u64, groups: u64) -> Option<u64> {
    (n > 0 && n.is_multiple_of(groups)).then_some(n / groups)
}
