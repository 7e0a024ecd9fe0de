//! What the certificates of rewrites have in common: the sample's data and positions, and how far results may differ.
//!
//! The naive evaluator is the judge. It knows the ops by their definition, so a mistake in a plan or in its commit shows.
//! Data is [`Binding::Sample`].
//!
//! The bound: each stored element differs from the exact one by at most half a unit in its last place, so a result is off
//! by at most `A·u·Σ|W|·|x|` plus what f64 sums lose, with `u = 2^−p` of the stored type and A what stands behind multiplies
//! by.

use crate::Constness;
use normfold_ir::{
    ConstPool, DType, Graph, KernelOrder, OpId, OpKind, RemarkArg, Value,
    eval::{Binding, Counted, Evaluator, Tally},
};

/// How well a rewrite agrees with what was before.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Certificate {
    /// Elements compared.
    pub(crate) samples: usize,
    /// Largest difference relative to [`Reads::magnitude`].
    pub(crate) error: f64,
    /// Largest difference that would have been let pass, relative to the same.
    pub(crate) bound: f64,
}

/// Why a rewrite is not begun whose results no bound could judge.
pub(crate) const NOT_FINITE: &str =
    "its sampled results, or what they are added up from, are not finite";

/// One result before and after.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Compared {
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// What was read of constants that may be rounded anew.
    pub(crate) reads: Reads,
    /// What the results may be off by for another reason.
    pub(crate) rounding: f64,
    /// Further magnitudes that f64 sums lose digits of.
    pub(crate) slack: f64,
}

/// What was read of constants.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Reads {
    /// The sum of the magnitudes, as they count in the result.
    pub(crate) magnitude: f64,
    /// How many, each as often as it counts in the result.
    pub(crate) weighed: f64,
    /// How many terms were added up.
    pub(crate) terms: f64,
}

impl Reads {
    /// What a tally counted, which counts `factor` times in the result.
    pub(crate) fn of(counted: Counted, factor: f64) -> Self {
        let Counted { magnitude, reads, terms } = counted;
        Self { magnitude: magnitude * factor, weighed: reads * factor, terms: terms as f64 }
    }

    /// Whether these give a bound.
    pub(crate) fn is_finite(&self) -> bool {
        self.magnitude.is_finite() && self.weighed.is_finite()
    }
}

impl std::ops::Add for Reads {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            magnitude: self.magnitude + other.magnitude,
            weighed: self.weighed + other.weighed,
            terms: self.terms + other.terms,
        }
    }
}

impl Certificate {
    /// What a remark says of it.
    pub(crate) fn args(&self) -> [(&'static str, RemarkArg); 3] {
        [
            ("samples", RemarkArg::Int(self.samples as i64)),
            ("error", RemarkArg::Float(self.error)),
            ("bound", RemarkArg::Float(self.bound)),
        ]
    }

    /// Takes a comparison in. Constants have elements that are rounded as `stored` says.
    ///
    /// # Errors
    /// The results disagree: both, and the bound.
    pub(crate) fn compare(
        &mut self,
        at: &[u64],
        stored: Rounding,
        compared: Compared,
    ) -> Result<(), String> {
        let Compared { before, after, reads: Reads { magnitude, weighed, terms }, .. } = compared;
        let bound = 1.01 * (stored.unit * magnitude + compared.rounding)
            + weighed * stored.smallest
            + (terms + 64.0) * 2f64.powi(-52) * (magnitude + compared.slack + before.abs());
        let error = (after - before).abs();
        // NaN is no agreement, and within no bound is none either.
        if error.is_nan() || !bound.is_finite() || error > bound {
            return Err(format!(
                "at {at:?} it gave {before:e} before and {after:e} after; the bound is {bound:e}"
            ));
        }
        self.samples += 1;
        if magnitude > 0.0 {
            self.error = self.error.max(error / magnitude);
            self.bound = self.bound.max(bound / magnitude);
        }
        Ok(())
    }
}

/// What rounding to nearest is off by at most.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Rounding {
    /// Relative to the result.
    pub(crate) unit: f64,
    /// Near 0: the smallest positive number.
    pub(crate) smallest: f64,
}

impl Rounding {
    /// Of elements of an arithmetic float.
    pub(crate) fn of(dtype: DType) -> Self {
        let digits = dtype.significand_bits().unwrap_or(53);
        let unit = 1.0 / (1u64 << digits) as f64;
        let smallest = match dtype {
            DType::F32 => f64::from(f32::from_bits(1)),
            DType::F16 => 1.0 / (1 << 24) as f64,
            // The upper half of an f32.
            DType::BF16 => f64::from(f32::from_bits(1 << 16)),
            _ => f64::from_bits(1),
        };
        Self { unit, smallest }
    }

    /// Of elements some of which are rounded as the other says.
    pub(crate) fn or(self, other: Self) -> Self {
        let (unit, smallest) = (self.unit.max(other.unit), self.smallest.max(other.smallest));
        Self { unit, smallest }
    }
}

/// What an op multiplies its constants' elements by beyond the data.
pub(crate) fn own_factor(g: &Graph, op: OpId) -> f64 {
    match g.kind(op) {
        OpKind::Linear(l) => l.alpha.abs().max(l.beta.abs()).max(1.0),
        _ => 1.0,
    }
}

/// What of the module's budget for evaluations is left to what must be found out once a rewrite is made.
const RESERVE: u64 = 1 << 24;

/// How many elements may be read for one of the sample after a rewrite: several times of what may be before, so that what could
/// be sampled can be compared.
const MOST_AFTER: u64 = 1 << 28;

/// On which side of a rewrite a path is evaluated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What costs too much is refused: there is no rewrite then.
    Before,
    /// It is compared.
    After,
}

/// A value that the sample has data for.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<u64>,
}

/// An evaluator of a graph, on the sample's data. The tally counts the reads of constants that are bound to be counted.
pub(crate) fn evaluator<'a>(
    (g, pool, known): (&'a Graph, &'a ConstPool, &'a Constness),
    side: Side,
    data: &[Given],
    tally: &'a Tally,
) -> Evaluator<'a> {
    let e = Evaluator::new(g, pool).with_captured(known.all_captured()).with_tally(tally);
    let mut e = match side {
        Side::Before => e.with_reserve(RESERVE),
        Side::After => e.beyond_budget().with_work_limit(MOST_AFTER),
    };
    for (k, Given { value, dtype, dims }) in data.iter().enumerate() {
        // Different values have different data.
        let seed = k as u64;
        e.bind(*value, Binding::Sample { dtype: *dtype, dims: dims.clone(), seed });
    }
    e
}

/// What the extents of a linear op's data follow from beside the op.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Demand<'a> {
    /// The extents of the weight.
    pub(crate) weight: &'a [u64],
    /// The channels of the data.
    pub(crate) channels: u64,
    /// The rank of the data of a matrix product.
    pub(crate) rank: usize,
    /// How many rows that has.
    pub(crate) rows: u64,
    /// Whether a matrix product has its weight on the left.
    pub(crate) is_left: bool,
}

impl Demand<'_> {
    /// The extents: one batch, all channels, and room for an interior and a border.
    pub(crate) fn data_dims(self, kind: &OpKind) -> Vec<u64> {
        let nth = |list: &[u64], i: usize| list.get(i).copied().unwrap_or(1);
        match kind {
            OpKind::Conv(c) => {
                let extent = |i: usize| {
                    let taps = nth(self.weight, c.w.first_spatial_axis() + i).max(1);
                    let reach = nth(&c.dilations, i).saturating_mul(taps - 1);
                    let room = nth(&c.strides, i).saturating_mul(2);
                    reach.saturating_add(1).saturating_add(room)
                };
                self.laid_out(c.x.channel_last, (0..usize::from(c.x.spatial)).map(extent))
            }
            OpKind::ConvTranspose(c) => {
                let extent = |i: usize| {
                    let stride = nth(&c.strides, i).max(1);
                    c.output_shape.get(i).map_or(3, |&n| (n.max(1) as u64).div_ceil(stride))
                };
                self.laid_out(c.x.channel_last, (0..usize::from(c.x.spatial)).map(extent))
            }
            OpKind::Linear(l) => self.matrix(if l.matrix { 2 } else { self.rank }, l.trans_x),
            _ => self.matrix(self.rank, self.is_left),
        }
    }

    fn laid_out(self, channel_last: bool, extents: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut dims = Vec::with_capacity(self.weight.len());
        dims.push(1);
        if !channel_last {
            dims.push(self.channels);
        }
        dims.extend(extents);
        if channel_last {
            dims.push(self.channels);
        }
        dims
    }

    fn matrix(self, rank: usize, channels_first: bool) -> Vec<u64> {
        let Self { rows, channels, .. } = self;
        let mut dims = vec![1; rank.saturating_sub(2)];
        match (rank, channels_first) {
            (0 | 1, _) => dims.push(channels),
            (_, true) => dims.extend([channels, rows]),
            (_, false) => dims.extend([rows, channels]),
        }
        dims
    }
}

/// The extents of the data of a convolution whose kernel has those; `None` of another op, or a kernel of another rank.
pub(crate) fn convolved_dims(kind: &OpKind, kernel: &[u64]) -> Option<Vec<u64>> {
    let (layout, groups) = match kind {
        OpKind::Conv(c) => (c.w, c.groups),
        OpKind::ConvTranspose(c) => (c.w, c.groups),
        _ => return None,
    };
    let inputs = *kernel.get(layout.in_axis()).filter(|_| kernel.len() == layout.rank())?;
    let channels = match layout.order {
        KernelOrder::Ois | KernelOrder::Sio => inputs.checked_mul(groups)?,
        KernelOrder::Ios | KernelOrder::Soi | KernelOrder::Scm => inputs,
    };
    let demand = Demand { weight: kernel, channels, rank: kernel.len(), rows: 1, is_left: false };
    Some(demand.data_dims(kind))
}

/// How many rows the data of a matrix product with a bias of those extents has: a bias of several rows fixes that.
pub(crate) fn rows(kind: &OpKind, bias: Option<&[u64]>) -> u64 {
    match (kind, bias) {
        (OpKind::Linear(l), Some([.., rows, _])) if l.beta != 0.0 && *rows > 1 => *rows,
        _ => 2,
    }
}

/// Both ends and the middle, and both ends of the channels in the middle of the rest.
pub(crate) fn ends(dims: &[u64]) -> Vec<Vec<u64>> {
    if dims.contains(&0) {
        return Vec::new();
    }
    let all = |f: fn(u64) -> u64| dims.iter().map(|&d| f(d)).collect::<Vec<u64>>();
    let mut points = vec![all(|_| 0), all(|d| d / 2), all(|d| d - 1)];
    for axis in [1, dims.len().saturating_sub(1)] {
        if axis < dims.len() {
            let mut p = all(|d| d / 2);
            p[axis] = 0;
            points.push(p);
        }
    }
    points.dedup();
    points
}

/// Every corner, and two positions within. Corners of five axes are enough where there are more.
pub(crate) fn corners(dims: &[u64]) -> Vec<Vec<u64>> {
    if dims.contains(&0) {
        return Vec::new();
    }
    let corner = |bits: usize| {
        let one = |(i, &d): (usize, &u64)| if bits >> i.min(8) & 1 == 1 { d - 1 } else { 0 };
        dims.iter().enumerate().map(one).collect::<Vec<u64>>()
    };
    let mut all: Vec<Vec<u64>> = (0..1 << dims.len().min(5)).map(corner).collect();
    all.extend([2, 3].map(|part| dims.iter().map(|d| d / part).collect::<Vec<u64>>()));
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_of_types() {
        let of = |d| (Rounding::of(d).unit.log2(), Rounding::of(d).smallest.log2());
        assert_eq!(of(DType::F64), (-53.0, -1074.0));
        assert_eq!(of(DType::F32), (-24.0, -149.0));
        assert_eq!(of(DType::F16), (-11.0, -24.0));
        assert_eq!(of(DType::BF16), (-8.0, -133.0));
    }
    use normfold_ir::{ChannelMap, Conv, ConvTranspose, KernelLayout, MatMul};

    #[test]
    fn what_rounding_explains_agrees() {
        let reads = Reads::of(Counted { magnitude: 10.0, reads: 4.0, terms: 4 }, 1.0);
        let c = |after: f64| Compared { before: 1.0, after, reads, rounding: 0.0, slack: 0.0 };
        let mut certificate = Certificate::default();
        let judge = |c: &mut Certificate, x| c.compare(&[0], Rounding::of(DType::F32), x).is_ok();
        assert!(judge(&mut certificate, c(1.0 + 9.0 * 2f64.powi(-24))));
        assert!(!judge(&mut certificate, c(1.0 + 12.0 * 2f64.powi(-24))));
        assert!(!judge(&mut certificate, c(f64::NAN)));
        let boundless = Compared { slack: f64::INFINITY, ..c(1.0) };
        assert!(!judge(&mut certificate, boundless));
        assert_eq!(certificate.samples, 1);
        assert_eq!(certificate.error, 9.0 * 2f64.powi(-24) / 10.0);
    }

    /// What the extents of a kernel say of the data's channels is what its map says.
    #[test]
    fn channels_of_kernels() {
        let dims = [6, 2, 4, 3];
        for order in [
            KernelOrder::Ois,
            KernelOrder::Ios,
            KernelOrder::Sio,
            KernelOrder::Soi,
            KernelOrder::Scm,
        ] {
            for groups in [1, 2, 3] {
                let w = KernelLayout::new(order, 2);
                let conv = OpKind::from(Conv { w, groups, ..Conv::default() });
                let transposed =
                    OpKind::from(ConvTranspose { w, groups, ..ConvTranspose::default() });
                for kind in [conv, transposed] {
                    let Some(map) = ChannelMap::of(&kind, 1, &dims) else { continue };
                    let data = convolved_dims(&kind, &dims).expect("a kernel");
                    assert_eq!(data[1], map.input.count, "{kind:?}");
                }
            }
        }
        let conv = OpKind::from(Conv::default());
        assert_eq!(convolved_dims(&conv, &[4, 3, 1]), None);
        assert_eq!(convolved_dims(&OpKind::from(MatMul {}), &[4, 3]), None);
    }

    #[test]
    fn positions_of_a_matrix() {
        assert_eq!(corners(&[2, 3]), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
        assert_eq!(corners(&[2, 0]), Vec::<Vec<u64>>::new());
        assert_eq!(ends(&[2, 3]), [[0, 0], [1, 1], [1, 2], [1, 0]]);
        assert_eq!(corners(&[2; 9]).len(), 32 + 1);
    }
}
