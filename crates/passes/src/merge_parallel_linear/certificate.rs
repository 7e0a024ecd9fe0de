//! The certificate of a merge: the sum of both ops before, and the one op after, on a bounded sample.
//!
//! The naive evaluator is the judge; it knows windows by their definition. Data is a fixed function of the index in
//! [−1, 1], positions include every corner, where padding enters. With `|x| ≤ 1` the rounding of stored elements moves a
//! result by at most `u·Σ|W|` on either side, with `u = 2^−p` of the stored type; the rest is what f64 sums lose.

use super::linear::LinearOp;
use crate::CertainTypes;
use normfold_ir::{
    ConstPool, DType, Graph, OpId, OpKind, Value,
    eval::{Binding, EvalError, Evaluator, Scalar},
};
use std::cell::Cell;

/// The data of the sample, and what both ops gave together.
#[derive(Debug)]
pub(super) struct Sample {
    dims: Vec<u64>,
    dtype: DType,
    points: Vec<Vec<u64>>,
    /// Per point: the sum, and the magnitudes that went into it.
    before: Vec<(f64, Magnitude)>,
}

/// The sum of the magnitudes of the elements read, and how many.
#[derive(Clone, Copy, Default, Debug)]
struct Magnitude {
    sum: f64,
    reads: f64,
}

/// How well a merge agrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Certificate {
    /// Elements compared.
    pub(super) samples: usize,
    /// Largest difference relative to `Σ|W|`.
    pub(super) error: f64,
}

/// Deterministic data in [−1, 1], a multiple of 1/32.
fn datum(index: &[u64]) -> f64 {
    let mut h = 0x9e37_79b9_7f4a_7c15u64;
    for &i in index {
        h = (h ^ i).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h ^= h >> 29;
    }
    ((h >> 32) % 65) as f64 / 32.0 - 1.0
}

/// Evaluates the ops as they are, each taken away where `negative`.
pub(super) fn before(
    g: &Graph,
    pool: &ConstPool,
    types: &CertainTypes,
    (kept, gone): (&LinearOp, &LinearOp),
    negative: [bool; 2],
) -> Result<Sample, EvalError> {
    let dims = data_dims(g, types, kept, gone);
    let outputs = result_dims(g, pool, kept, &dims)?;
    let others = result_dims(g, pool, gone, &dims)?;
    if outputs != others {
        let message = format!("results of extents {outputs:?} and {others:?}").into();
        return Err(EvalError::Shape { op: g.location(gone.op), message });
    }
    let points = points(&outputs);
    let a = values(g, pool, (kept.op, kept.data), kept.dtype, &dims, &points)?;
    let b = values(g, pool, (gone.op, gone.data), kept.dtype, &dims, &points)?;
    let [s, t] = negative.map(|n| if n { -1.0 } else { 1.0 });
    let both = a.into_iter().zip(b).map(|((a, m), (b, n))| {
        (s * a + t * b, Magnitude { sum: m.sum + n.sum, reads: m.reads + n.reads })
    });
    Ok(Sample { dtype: kept.dtype, before: both.collect(), dims, points })
}

fn lazy_data<'a>(dtype: DType, dims: &[u64]) -> Binding<'a> {
    let f = Box::new(|i: &[u64]| Scalar::F(datum(i)));
    Binding::Lazy { dtype, dims: dims.to_vec(), f }
}

/// The extents of the result on data of those extents.
fn result_dims(
    g: &Graph,
    pool: &ConstPool,
    l: &LinearOp,
    dims: &[u64],
) -> Result<Vec<u64>, EvalError> {
    let mut e = Evaluator::new(g, pool);
    if let Some(x) = g.operand(l.op, l.data) {
        e.bind(x, lazy_data(l.dtype, dims));
    }
    e.dims(Value::new(l.op, 0))
}

/// The op's results at the points, with the magnitudes of what was read of its constants.
fn values(
    g: &Graph,
    pool: &ConstPool,
    (op, data): (OpId, usize),
    dtype: DType,
    dims: &[u64],
    points: &[Vec<u64>],
) -> Result<Vec<(f64, Magnitude)>, EvalError> {
    let (sum, reads) = (Cell::new(0.0), Cell::new(0.0));
    let mut e = Evaluator::new(g, pool);
    for (i, v) in g.operands(op).enumerate() {
        let Some(v) = v else { continue };
        let entry = match g.kind(super::linear::source(g, v).op) {
            OpKind::Constant(c) if i != data => c.entry,
            _ => {
                e.bind(v, lazy_data(dtype, dims));
                continue;
            }
        };
        let extents = pool.dims(entry);
        let reader = pool.element_reader(entry);
        let (sum, reads, shape) = (&sum, &reads, extents.clone());
        let f = Box::new(move |index: &[u64]| {
            let i = index.iter().zip(&shape).fold(0, |at, (i, d)| at * d + i);
            let x = match &reader {
                Some(reader) => reader.get(i),
                None => pool.element_f64(entry, i),
            }
            .unwrap_or(f64::NAN);
            sum.set(sum.get() + x.abs());
            reads.set(reads.get() + 1.0);
            Scalar::F(x)
        });
        e.bind(v, Binding::Lazy { dtype: pool.dtype(entry), dims: extents, f });
    }
    let factor = match g.kind(op) {
        OpKind::Linear(l) => l.alpha.abs().max(l.beta.abs()).max(1.0),
        _ => 1.0,
    };
    let one = |p: &Vec<u64>| {
        sum.set(0.0);
        reads.set(0.0);
        let y = e.element(Value::new(op, 0), p)?.to_f64();
        Ok((y, Magnitude { sum: sum.get() * factor, reads: reads.get() * factor }))
    };
    points.iter().map(one).collect()
}

/// Evaluates the op that is left. `Ok(Err(message))` is a disagreement.
pub(super) fn after(
    g: &Graph,
    pool: &ConstPool,
    at: (OpId, usize),
    sample: &Sample,
) -> Result<Result<Certificate, String>, EvalError> {
    let now = values(g, pool, at, sample.dtype, &sample.dims, &sample.points)?;
    let unit = 2f64.powi(-(sample.dtype.significand_bits().unwrap_or(53) as i32));
    let tiny = match sample.dtype {
        DType::F32 => 2f64.powi(-149),
        DType::F16 => 2f64.powi(-24),
        DType::BF16 => 2f64.powi(-133),
        _ => f64::from_bits(1),
    };
    let mut certificate = Certificate { samples: now.len(), error: 0.0 };
    for ((p, &(before, m)), (after, n)) in sample.points.iter().zip(&sample.before).zip(now) {
        let (sum, reads) = (m.sum + n.sum, m.reads + n.reads);
        let bound = 1.01 * unit * sum + reads * tiny + (reads + 64.0) * 2f64.powi(-52) * sum;
        let error = (after - before).abs();
        // NaN is no agreement.
        if error.is_nan() || error > bound {
            return Ok(Err(format!(
                "at {p:?} both gave {before:e} and one gives {after:e}; the bound is {bound:e}"
            )));
        }
        if sum > 0.0 {
            certificate.error = certificate.error.max(error / sum);
        }
    }
    Ok(Ok(certificate))
}

/// Every corner and the middle, of the first, the middle and the last channel: corners of all but two axes are enough
/// where ranks are high.
fn points(dims: &[u64]) -> Vec<Vec<u64>> {
    if dims.contains(&0) {
        return Vec::new();
    }
    let corner = |bits: usize| {
        let one = |(i, &d): (usize, &u64)| if bits >> (i % 8) & 1 == 1 { d - 1 } else { 0 };
        dims.iter().enumerate().map(one).collect::<Vec<u64>>()
    };
    let mut all: Vec<Vec<u64>> = (0..1 << dims.len().min(5)).map(corner).collect();
    all.push(dims.iter().map(|d| d / 2).collect());
    all.push(dims.iter().map(|d| d / 3).collect());
    all.sort_unstable();
    all.dedup();
    all
}

/// Extents of the data: those that are certain; else one batch, all channels, and room for an interior and a border.
fn data_dims(g: &Graph, types: &CertainTypes, kept: &LinearOp, gone: &LinearOp) -> Vec<u64> {
    let x = g.operand(kept.op, kept.data);
    let certain = x.and_then(|x| types.dims(x));
    let w = |axis: usize| kept.weight.dims.get(axis).copied().unwrap_or(1);
    let rank = certain.as_ref().map_or(2, |d| d.len()).max(1);
    let rows = [kept, gone].into_iter().filter_map(|l| match l.bias.as_ref()?.dims.as_slice() {
        [rows, _] if *rows > 1 => Some(*rows),
        _ => None,
    });
    let rows = rows.max().unwrap_or(2);
    let matrix = |channels: u64, channels_first: bool| {
        let mut dims = vec![1; rank.saturating_sub(2)];
        match (rank, channels_first) {
            (1, _) => dims.push(channels),
            (_, true) => dims.extend([channels, rows]),
            (_, false) => dims.extend([rows, channels]),
        }
        dims
    };
    let guess = match g.kind(kept.op) {
        OpKind::Conv(c) => {
            let channels = match c.w.order {
                normfold_ir::KernelOrder::Scm => w(c.w.in_axis()),
                _ => w(c.w.in_axis()).saturating_mul(c.groups),
            };
            let extent = |i: usize| {
                let reach = |l: &LinearOp| match g.kind(l.op) {
                    OpKind::Conv(c) => {
                        let k = l
                            .weight
                            .dims
                            .get(c.w.first_spatial_axis() + i)
                            .map_or(1, |&k| k.max(1));
                        c.dilations.get(i).copied().unwrap_or(1).saturating_mul(k - 1)
                    }
                    _ => 0,
                };
                let stride = c.strides.get(i).copied().unwrap_or(1);
                reach(kept)
                    .max(reach(gone))
                    .saturating_add(1)
                    .saturating_add(stride.saturating_mul(2))
            };
            laid_out(c.x.channel_last, channels, (0..usize::from(c.x.spatial)).map(extent))
        }
        OpKind::ConvTranspose(c) => {
            let channels = w(c.w.in_axis());
            laid_out(c.x.channel_last, channels, (0..usize::from(c.x.spatial)).map(|_| 4))
        }
        OpKind::Linear(l) => matrix(w(usize::from(l.trans_w)), l.trans_x),
        _ => match (kept.data, kept.weight.dims.len()) {
            (at, 0 | 1) => matrix(w(0), at == 1),
            (0, rank) => matrix(w(rank - 2), false),
            (_, rank) => matrix(w(rank - 1), true),
        },
    };
    match certain {
        Some(c) if c.len() == guess.len() => c
            .iter()
            .zip(&guess)
            .enumerate()
            .map(|(i, (c, &n))| match c {
                Some(c) if i > 0 || guess.len() < 3 => *c,
                _ => n,
            })
            .collect(),
        _ => guess,
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
