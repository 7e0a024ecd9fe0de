//! The certificate of a fold: the whole path before and after, compared on a bounded sample.
//!
//! The naive evaluator is the judge. It knows the ops by their definition and not the channel map, so a mistake in the map,
//! in a plan or in its commit shows here. Data is a fixed function of the index in (0, 1], positions include the border
//! (where padding enters), channels include those with the largest scale and shift.
//!
//! The bound: each stored weight differs from the exact one by at most half a unit in its last place, so the results
//! differ by at most `u·Σ|W'|·|x| + u·|b'|` plus what f64 sums lose, with `u = 2^−p` of the stored type. Where the linear op
//! absorbed something before, the path before the fold reads rounded elements too, and the batch norm scales what they are
//! off by: `|s|·(u·Σ|W|·|x| + u·|b|)` more.

use super::{
    affine::Affine,
    backward::{Backward, Cx},
    reason::Role,
    resolve::{Resolved, resolve},
};
use normfold_ir::{
    ConstData, ConstPool, DType, Graph, Linear, OpId, OpKind, Use, Value,
    eval::{Binding, EvalError, Evaluator, Scalar},
};
use std::cell::Cell;

/// What the path gave before the fold.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    data: Value,
    dims: Vec<u64>,
    points: Vec<Vec<u64>>,
    before: Vec<f64>,
    /// What each of `before` may be off by because the elements it was computed from are rounded themselves.
    rounding: Vec<f64>,
    /// What the results may be off by beyond the rounding of stored elements.
    slack: f64,
    dtype: DType,
}

impl Sample {
    /// Whether the path gives numbers that can be compared.
    pub(super) fn is_finite(&self) -> bool {
        self.before.iter().all(|x| x.is_finite())
    }
}

/// How well a fold agrees.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Certificate {
    /// Elements compared.
    pub(super) samples: usize,
    /// Largest difference relative to `Σ|W'|·|x| + |b'|`.
    pub(super) error: f64,
}

/// Deterministic data in (0, 1], a multiple of 1/64.
fn datum(index: &[u64]) -> f64 {
    let mut h = 0x9e37_79b9_7f4a_7c15u64;
    for &i in index {
        h = (h ^ i).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h ^= h >> 29;
    }
    ((h >> 32) % 64 + 1) as f64 / 64.0
}

fn bind_data<'a>(e: &mut Evaluator<'a>, data: Value, dims: &[u64], dtype: DType) {
    let f = Box::new(|index: &[u64]| Scalar::F(datum(index)));
    e.bind(data, Binding::Lazy { dtype, dims: dims.to_vec(), f });
}

/// Evaluates the path as it is, before the plan is committed.
pub(super) fn before(cx: Cx<'_>, bn: OpId, fold: &Backward) -> Result<Sample, EvalError> {
    let Cx { g, pool, .. } = cx;
    let dims = data_dims(cx, fold);
    let magnitude = Cell::new(0.0f64);
    let reads = Cell::new(0u64);
    let absorber = fold.plan.absorber;
    let mut e = Evaluator::new(g, pool);
    bind_data(&mut e, fold.data, &dims, fold.dtype);
    let y = g.result(bn, 0);
    for at in constant_operands(g, absorber, y) {
        let derived = |r: &Resolved| matches!(pool.entry(r.entry).data, ConstData::Derived(_));
        watch(&mut e, g, pool, at, absorber, derived, &magnitude, &reads);
    }
    let factor = match g.kind(absorber) {
        OpKind::Linear(l) => l.alpha.abs().max(l.beta.abs()).max(1.0),
        _ => 1.0,
    };
    let points = points(&e.dims(y)?, &fold.affine);
    let mut before = Vec::with_capacity(points.len());
    let mut rounding = Vec::with_capacity(points.len());
    for p in &points {
        magnitude.set(0.0);
        reads.set(0);
        before.push(e.element(y, p)?.to_f64());
        let stored = unit(fold.dtype) * magnitude.get() + reads.get() as f64 * smallest(fold.dtype);
        let channel = p.get(fold.affine.axis).and_then(|&c| fold.affine.s.get(c as usize));
        rounding.push(channel.map_or(0.0, |s| s.abs()) * factor * stored);
    }
    let slack = fold.affine.shift_magnitude + fold.bias_magnitude;
    Ok(Sample { data: fold.data, dims, points, before, rounding, slack, dtype: fold.dtype })
}

/// Evaluates the path after the commit, at the value that took the batch norm's place.
///
/// `Ok(Err(message))` is a disagreement.
pub(super) fn after(
    g: &Graph,
    pool: &ConstPool,
    absorber: OpId,
    y: Value,
    sample: &Sample,
) -> Result<Result<Certificate, String>, EvalError> {
    let magnitude = Cell::new(0.0f64);
    let reads = Cell::new(0u64);
    let mut e = Evaluator::new(g, pool);
    bind_data(&mut e, sample.data, &sample.dims, sample.dtype);
    for at in constant_operands(g, absorber, y) {
        watch(&mut e, g, pool, at, absorber, |_| true, &magnitude, &reads);
    }
    // A linear op's factor of its product scales what a weight contributes.
    let alpha = match g.kind(absorber) {
        OpKind::Linear(l) => l.alpha.abs().max(1.0),
        _ => 1.0,
    };
    let unit = unit(sample.dtype);
    let tiny = smallest(sample.dtype);
    let mut certificate = Certificate { samples: sample.points.len(), error: 0.0 };
    let known = sample.before.iter().zip(&sample.rounding);
    for (p, (&before, &rounding)) in sample.points.iter().zip(known) {
        magnitude.set(0.0);
        reads.set(0);
        let after = e.element(y, p)?.to_f64();
        let scale = magnitude.get() * alpha;
        let n = reads.get() as f64;
        let bound = 1.01 * (unit * scale + rounding)
            + n * alpha * tiny
            + (n + 64.0) * 2f64.powi(-52) * (scale + sample.slack);
        let error = (after - before).abs();
        // NaN is no agreement.
        if error.is_nan() || error > bound {
            return Ok(Err(format!(
                "at {p:?} it gave {before:e} before and {after:e} after; the bound is {bound:e}"
            )));
        }
        if scale > 0.0 {
            certificate.error = certificate.error.max(error / scale);
        }
    }
    Ok(Ok(certificate))
}

/// The operands that hold stored constants of the folded path.
fn constant_operands(g: &Graph, absorber: OpId, y: Value) -> Vec<Use> {
    let slots =
        |op: OpId| (0..g.num_operands(op)).map(move |i| Use { user: op, operand: i as u32 });
    let mut all: Vec<Use> = slots(absorber).collect();
    if y.op != absorber && matches!(g.kind(y.op), OpKind::Binary(_)) {
        all.extend(slots(y.op));
    }
    all
}

/// Binds a constant operand that is `wanted` to its stored elements, adding up the magnitudes of those that are read.
#[expect(clippy::too_many_arguments, reason = "the evaluator, where it looks, and what it adds to")]
fn watch<'a>(
    e: &mut Evaluator<'a>,
    g: &Graph,
    pool: &'a ConstPool,
    at: Use,
    absorber: OpId,
    wanted: impl Fn(&Resolved) -> bool,
    magnitude: &'a Cell<f64>,
    reads: &'a Cell<u64>,
) {
    let Ok(Some(r)) = resolve(g, at, Role::Weight, absorber) else { return };
    if !wanted(&r) {
        return;
    }
    let Some(v) = g.operand(at.user, at.operand as usize) else { return };
    let dims = pool.dims(r.entry);
    let strides: Vec<u64> = (0..dims.len()).map(|i| dims[i + 1..].iter().product()).collect();
    let reader = pool.element_reader(r.entry);
    let f = Box::new(move |index: &[u64]| {
        let i = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        let x = match &reader {
            Some(reader) => reader.get(i),
            None => pool.element_f64(r.entry, i),
        }
        .unwrap_or(f64::NAN);
        magnitude.set(magnitude.get() + x.abs());
        reads.set(reads.get() + 1);
        Scalar::F(x)
    });
    e.bind(v, Binding::Lazy { dtype: pool.dtype(r.entry), dims, f });
}

/// What rounding to nearest is off by at most, relative to the result.
fn unit(dtype: DType) -> f64 {
    2f64.powi(-(dtype.significand_bits().unwrap_or(53) as i32))
}

/// The smallest positive number of an arithmetic float.
fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2f64.powi(-149),
        DType::F16 => 2f64.powi(-24),
        DType::BF16 => 2f64.powi(-133),
        _ => f64::from_bits(1),
    }
}

/// The sampled positions: two channels, each at the first corner and in the middle.
fn points(dims: &[u64], affine: &Affine) -> Vec<Vec<u64>> {
    if dims.contains(&0) {
        return Vec::new();
    }
    let largest = |v: &[f64]| {
        let best = v.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        best.map_or(0, |(i, _)| i as u64)
    };
    let mut channels = vec![largest(&affine.s), largest(&affine.t)];
    if channels[0] == channels[1] {
        channels[1] = (affine.s.len() as u64 - 1) - channels[0].min(affine.s.len() as u64 - 1);
    }
    channels.dedup();
    let mut all = Vec::new();
    for &c in &channels {
        for middle in [false, true] {
            let mut p: Vec<u64> = dims.iter().map(|&d| if middle { d / 2 } else { 0 }).collect();
            p[affine.axis] = c;
            all.push(p);
        }
    }
    all.dedup();
    all
}

/// Extents of the sampled data: one batch, all channels, and room for an interior and a border.
fn data_dims(cx: Cx<'_>, fold: &Backward) -> Vec<u64> {
    let Cx { g, pool, .. } = cx;
    let channels = fold.map.input.count;
    let kernel = g.operand(fold.plan.absorber, fold.map.weight).and_then(|_| {
        resolve(
            g,
            Use { user: fold.plan.absorber, operand: fold.map.weight as u32 },
            Role::Weight,
            fold.plan.bn,
        )
        .ok()?
    });
    let w = kernel.map(|r| pool.dims(r.entry)).unwrap_or_default();
    match g.kind(fold.plan.absorber) {
        OpKind::Conv(c) => {
            let extents = (0..usize::from(c.x.spatial)).map(|i| {
                let dilation = c.dilations.get(i).copied().unwrap_or(1);
                let stride = c.strides.get(i).copied().unwrap_or(1);
                dilation * (w[c.w.first_spatial_axis() + i].max(1) - 1) + 1 + 2 * stride
            });
            laid_out(c.x.channel_last, channels, extents)
        }
        OpKind::ConvTranspose(c) => {
            let extents = (0..usize::from(c.x.spatial)).map(|i| {
                let stride = c.strides.get(i).copied().unwrap_or(1);
                c.output_shape.get(i).map_or(3, |&n| (n.max(1) as u64).div_ceil(stride))
            });
            laid_out(c.x.channel_last, channels, extents)
        }
        OpKind::Linear(l) => {
            let rows = linear_rows(g, pool, fold);
            let rank = if l.matrix { 2 } else { cx.rank(fold.data).unwrap_or(2).max(1) };
            matrix(rank, rows, channels, l.trans_x)
        }
        _ => {
            let rank = cx.rank(fold.data).unwrap_or(2).max(1);
            matrix(rank, 2, channels, fold.map.weight == 0)
        }
    }
}

fn laid_out(channel_last: bool, channels: u64, extents: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut dims = vec![1];
    if !channel_last {
        dims.push(channels);
    }
    dims.extend(extents);
    if channel_last {
        dims.push(channels);
    }
    dims
}

fn matrix(rank: usize, rows: u64, channels: u64, channels_first: bool) -> Vec<u64> {
    let mut dims = vec![1; rank.saturating_sub(2)];
    match (rank, channels_first) {
        (1, _) => dims.push(channels),
        (_, true) => dims.extend([channels, rows]),
        (_, false) => dims.extend([rows, channels]),
    }
    dims
}

/// A bias of several rows fixes how many rows the data has.
fn linear_rows(g: &Graph, pool: &ConstPool, fold: &Backward) -> u64 {
    let at = Use { user: fold.plan.absorber, operand: 2 };
    let OpKind::Linear(l) = g.kind(fold.plan.absorber) else { return 2 };
    let Linear { beta, .. } = **l;
    match resolve(g, at, Role::Bias, fold.plan.bn) {
        Ok(Some(r)) if beta != 0.0 => match pool.dims(r.entry).as_slice() {
            [.., rows, _] if *rows > 1 => *rows,
            _ => 2,
        },
        _ => 2,
    }
}
