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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConvTranspose, DataLayout, Linear, MatMul};

    /// The map of every element against the definition, written out with subscripts.
    fn check(map: &ElementMap, dims: &[u64], expected: impl Fn(&[u64]) -> u64) {
        let count: u64 = dims.iter().product();
        let mut seen = Vec::new();
        for i in 0..count {
            let mut rest = i;
            let mut index = vec![0; dims.len()];
            for (axis, &d) in dims.iter().enumerate().rev() {
                index[axis] = rest % d;
                rest /= d;
            }
            assert_eq!(map.at(i), expected(&index), "{dims:?} at {index:?}");
            seen.push(map.at(i));
        }
        // Runs say the same, from any start.
        for start in [0, 1, count / 3] {
            map.for_runs(start, count - start, |first, n, c| {
                assert!((start + first..start + first + n).all(|i| seen[i as usize] == c));
            });
            let per_channel: Vec<f64> =
                (0..=seen.iter().copied().max().unwrap_or(0)).map(|c| c as f64).collect();
            let mut block = vec![0.0; (count - start) as usize];
            map.zip(start, &mut block, &per_channel, |x, c| x + c);
            assert!(block.iter().zip(&seen[start as usize..]).all(|(b, c)| *b == *c as f64));
        }
    }

    fn conv(order: KernelOrder, groups: u64, dims: &[u64]) -> ChannelMap {
        let c = Conv { w: KernelLayout::new(order, 2), groups, ..Conv::default() };
        ChannelMap::of(&c.into(), 1, dims).expect("a kernel")
    }

    #[test]
    fn kernels_of_convolutions() {
        // 6 outputs in 2 groups of 3, 2 inputs each.
        let dims = [6, 2, 3, 1];
        let m = conv(KernelOrder::Ois, 2, &dims);
        assert_eq!((m.out.count, m.input.count), (6, 4));
        check(&m.out.map, &dims, |i| i[0]);
        check(&m.input.map, &dims, |i| i[0] / 3 * 2 + i[1]);

        let dims = [3, 1, 2, 6];
        let m = conv(KernelOrder::Sio, 2, &dims);
        assert_eq!((m.out.count, m.input.count), (6, 4));
        check(&m.out.map, &dims, |i| i[3]);
        check(&m.input.map, &dims, |i| i[3] / 3 * 2 + i[2]);

        // 4 channels, multiplier 2: output c·2 + m.
        let dims = [3, 3, 4, 2];
        let m = conv(KernelOrder::Scm, 1, &dims);
        assert_eq!((m.out.count, m.input.count), (8, 4));
        check(&m.out.map, &dims, |i| i[2] * 2 + i[3]);
        check(&m.input.map, &dims, |i| i[2]);
    }

    #[test]
    fn kernels_of_transposed_convolutions() {
        // 4 inputs in 2 groups of 2, 3 outputs each.
        let dims = [4, 3, 2, 2];
        let m = conv(KernelOrder::Ios, 2, &dims);
        assert_eq!((m.out.count, m.input.count), (6, 4));
        check(&m.out.map, &dims, |i| i[0] / 2 * 3 + i[1]);
        check(&m.input.map, &dims, |i| i[0]);

        let dims = [2, 2, 5, 3];
        let m = conv(KernelOrder::Soi, 1, &dims);
        assert_eq!((m.out.count, m.input.count), (5, 3));
        check(&m.out.map, &dims, |i| i[2]);
        check(&m.input.map, &dims, |i| i[3]);
    }

    #[test]
    fn contradictory_kernels_have_no_map() {
        let c = |groups| OpKind::from(Conv { groups, ..Conv::default() });
        assert_eq!(ChannelMap::of(&c(1), 1, &[4, 3, 3]), None);
        assert_eq!(ChannelMap::of(&c(3), 1, &[4, 3, 3, 3]), None);
        assert_eq!(ChannelMap::of(&c(0), 1, &[4, 3, 3, 3]), None);
        assert_eq!(ChannelMap::of(&c(1), 2, &[4, 3, 3, 3]), None);
    }

    #[test]
    fn matrices() {
        let dims = [5, 7];
        let m = ChannelMap::of(
            &Linear { trans_w: true, matrix: true, ..Linear::default() }.into(),
            1,
            &dims,
        );
        let m = m.expect("a matrix");
        assert_eq!((m.out.count, m.input.count, m.out.axis_at(None)), (5, 7, Some(1)));
        check(&m.out.map, &dims, |i| i[0]);
        check(&m.input.map, &dims, |i| i[1]);

        let right = ChannelMap::of(&MatMul {}.into(), 1, &dims).expect("a matrix");
        assert_eq!(
            (right.out.count, right.out.axis_at(Some(3)), right.out.axis_at(None)),
            (7, Some(2), None)
        );
        let left = ChannelMap::of(&MatMul {}.into(), 0, &dims).expect("a matrix");
        assert_eq!((left.out.count, left.out.axis_at(Some(3)), left.data), (5, Some(1), 1));
        check(&left.out.map, &dims, |i| i[0]);
        assert_eq!(ChannelMap::of(&MatMul {}.into(), 1, &[7]), None);
    }

    #[test]
    fn implicit_zeros() {
        let conv = |pad, k| {
            let c = Conv { pad, ..Conv::default() };
            ChannelMap::of(&c.into(), 1, &[1, 1, k, k]).expect("a kernel").implicit_zeros
        };
        assert!(!conv(Padding::default(), 3));
        assert!(!conv(Padding::Valid, 3));
        assert!(conv(Padding::Explicit(Spatial::from_slice(&[(0, 0), (0, 1)])), 3));
        assert!(conv(Padding::SameUpper, 3));
        assert!(!conv(Padding::SameLower, 1));
        let transposed = |c: ConvTranspose, k| {
            ChannelMap::of(&c.into(), 1, &[1, 1, k, k]).expect("a kernel").implicit_zeros
        };
        assert!(!transposed(ConvTranspose::default(), 1));
        assert!(transposed(ConvTranspose::default(), 3));
        assert!(transposed(
            ConvTranspose { strides: Spatial::from_slice(&[2, 2]), ..ConvTranspose::default() },
            1
        ));
        assert_eq!(DataLayout::channels_last(2).channel_axis(), 3);
    }
}
