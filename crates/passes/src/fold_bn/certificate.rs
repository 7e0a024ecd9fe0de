//! The certificate of a fold: the whole path before and after, compared on a bounded sample.
//!
//! The naive evaluator is the judge. It knows the ops by their definition and not the channel map, so a mistake in the map,
//! in a plan or in its commit shows here. Data is a fixed function of the index in (0, 1], positions include the border
//! (where padding enters), channels include those with the largest scale and shift.
//!
//! The bound: each stored element differs from the exact one by at most half a unit in its last place, so the results
//! differ by at most `A·u·(Σ|W'|·|x| + |b'|)` plus what f64 sums lose, with `u = 2^−p` of the stored type and A what the ops
//! behind multiply by. Where an op absorbed something before, the path before the fold reads rounded elements too, and
//! what is folded scales what they are off by: `max|s|·u·(Σ|W|·|x| + |b|)` more.

use super::{ask::Ask, cx::Cx, reason::Role, resolve::resolve, search::Found};
use normfold_ir::{
    ConstData, DType, Graph, Linear, OpId, OpKind, Use, Value,
    eval::{Binding, EvalError, Evaluator, Scalar, Tally},
};
use std::{cell::RefCell, collections::HashSet};

/// What the path gave before the fold.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    data: Vec<(Value, Vec<u64>)>,
    /// Where each of `before` was taken.
    points: Vec<(Value, Vec<u64>)>,
    before: Vec<f64>,
    /// What each of `before` may be off by because the elements it was computed from are rounded themselves.
    rounding: Vec<f64>,
    /// What the results may be off by beyond the rounding of stored elements.
    slack: f64,
    amplification: f64,
    absorbers: Vec<OpId>,
    /// The ops that read constants which take the root in themselves.
    readers: Vec<OpId>,
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
fn datum(index: &[u64], seed: u64) -> f64 {
    const FACTORS: [u64; 4] = [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
    ];
    // Axes far apart share a factor, rotated: what matters is that neighbours differ, and channels.
    let term = |(axis, &i): (usize, &u64)| {
        (i + 1).wrapping_mul(FACTORS[axis % 4].rotate_left(axis as u32 / 4 * 8))
    };
    let start = seed.wrapping_mul(0xa076_1d64_78bd_642f);
    let sum = index.iter().enumerate().map(term).fold(start, u64::wrapping_add);
    let mixed = (sum ^ (sum >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed >> 58) + 1) as f64 / 64.0
}

fn bind_data<'a>(e: &mut Evaluator<'a>, cx: Cx<'a>, data: &[(Value, Vec<u64>)], dtype: DType) {
    for (op, entry) in cx.known.all_captured() {
        e.bind(Value::new(op, 0), Binding::Stored { entry, tally: None });
    }
    for (k, (v, dims)) in data.iter().enumerate() {
        // Different values have different data.
        let seed = k as u64;
        let f = Box::new(move |index: &[u64]| Scalar::F(datum(index, seed)));
        e.bind(*v, Binding::Lazy { dtype, dims: dims.clone(), f });
    }
}

/// Evaluates the path from `found`'s frontier to its outputs as it is, before the plan is committed.
pub(super) fn before(cx: Cx<'_>, found: &Found) -> Result<Sample, EvalError> {
    let mut failed = None;
    let typed = [16, 32, 7, 1].map(Guess::Typed);
    // A reshape to given extents means something else on data of other extents than the model's.
    let by_extent = |&op: &OpId| {
        matches!(
            cx.g.kind(op),
            OpKind::Reshape(_) | OpKind::Expand(_) | OpKind::Slice(_) | OpKind::Split(_)
        )
    };
    let given = found.via.iter().any(by_extent) || widens(cx, found);
    let smallest = match (given, found.forward || found.sideways) {
        (true, _) => [None, None],
        (false, false) => [Some(Guess::Smallest), None],
        (false, true) => [None, Some(Guess::Smallest)],
    };
    let [first, last] = smallest;
    for guess in first.into_iter().chain(typed).chain(last) {
        match attempt(cx, found, guess) {
            Ok(sample) => return Ok(sample),
            Err(e) => _ = failed.get_or_insert(e),
        }
    }
    Err(failed.unwrap_or(EvalError::TooDeep))
}

/// Whether a constant on the way varies along an axis that the root's factors do not: it would widen smaller data.
fn widens(cx: Cx<'_>, found: &Found) -> bool {
    let own: &[usize] = found.own.as_ref().map_or(&[], |a| a.axes());
    let one = |op: OpId| {
        let rank = cx.rank(Value::new(op, 0)).unwrap_or(0);
        cx.g.operands(op).flatten().filter(|&v| cx.is_constant(v)).any(|v| {
            let dims = cx.constants().ty(v).map_or(Vec::new(), |t| t.1);
            let lead = rank.saturating_sub(dims.len());
            dims.iter().enumerate().any(|(i, &d)| d > 1 && !own.contains(&(lead + i)))
        })
    };
    let gone = found.plan.bypassed.iter().map(|b| b.0);
    let mut on_the_way = gone.chain(found.via.iter().copied());
    on_the_way.any(|op| matches!(cx.g.kind(op), OpKind::Binary(_)) && one(op))
}

/// How extents of the data are chosen.
#[derive(Clone, Copy)]
enum Guess {
    /// As small as the absorbing op allows.
    Smallest,
    /// What types say, with this where they do not.
    Typed(u64),
}

fn attempt(cx: Cx<'_>, found: &Found, guess: Guess) -> Result<Sample, EvalError> {
    let Cx { g, pool, .. } = cx;
    let plan = &found.plan;
    let mut data: Vec<(Value, Vec<u64>)> = Vec::new();
    for (k, &v) in found.frontier.iter().enumerate() {
        // Sideways the other terms of the sum have the shape of the data.
        let k = if found.sideways { 0 } else { k };
        let Some(a) = plan.absorbed.get(k) else { continue };
        if data.iter().any(|(w, _)| *w == v) {
            continue;
        }
        let dims = match guess {
            Guess::Typed(n) => typed_dims(cx, v, n).unwrap_or_else(|| data_dims(cx, a.op, v)),
            Guess::Smallest => data_dims(cx, a.op, v),
        };
        data.push((v, dims));
    }
    // What stands between may ask for the extents of what the graph is given.
    for &p in g.parameters() {
        let v = Value::new(p, 0);
        let open = cx.known.captured(p).is_none() && data.iter().all(|(w, _)| *w != v);
        if let (true, Guess::Typed(n)) = (open, guess)
            && let Some(dims) = typed_dims(cx, v, n)
        {
            data.push((v, dims));
        }
    }
    let dtype = plan.absorbed.first().map_or(DType::F32, |a| stored_type(cx, a.op));
    let tally = Tally::default();
    let mut e = Evaluator::new(g, pool);
    bind_data(&mut e, cx, &data, dtype);
    let absorbers: Vec<OpId> = plan.absorbed.iter().map(|a| a.op).collect();
    let derived = |entry| matches!(pool.entry(entry).data, ConstData::Derived(_));
    let readers: Vec<OpId> = plan.constants.iter().map(|a| a.op).collect();
    let gone = plan.bypassed.iter().map(|b| b.0);
    let changed = absorbers.iter().chain(&readers).copied().chain(gone);
    for op in changed {
        for at in operands(g, op) {
            watch(&mut e, cx, at, derived, &tally);
        }
    }
    let s = plan.absorbed.iter().filter_map(|a| a.vectors.first()).flatten().map(|s| s.abs());
    let own = found.own.iter().flat_map(|a| a.s.iter().zip(&a.t).map(|(s, t)| s.abs() + t.abs()));
    let factor = s.chain(own).fold(1.0f64, f64::max)
        * absorbers.iter().fold(1.0f64, |m, &op| m.max(own_factor(g, op)));
    let mut points: Vec<(Value, Vec<u64>)> = Vec::new();
    for &y in &found.outputs {
        let dims = e.dims(y)?;
        let at = match found.forward {
            false => positions(&dims, found.own.as_ref(), absorbers.len()),
            true => corners(&dims),
        };
        points.extend(at.into_iter().map(|p| (y, p)));
    }
    let mut before = Vec::with_capacity(points.len());
    let mut rounding = Vec::with_capacity(points.len());
    for (y, p) in &points {
        before.push(e.element(*y, p)?.to_f64());
        let (magnitude, reads) = tally.take();
        let stored = unit(dtype) * magnitude + reads as f64 * smallest(dtype);
        rounding.push(factor * found.amplification * (stored + unit(dtype) * found.padded));
    }
    Ok(Sample {
        data,
        points,
        before,
        rounding,
        slack: found.slack,
        amplification: found.amplification * (1.0 + found.padded),
        absorbers,
        readers,
        dtype,
    })
}

/// Evaluates the path after the commit, at the values that took the places of the old ones.
///
/// `Ok(Err(message))` is a disagreement.
pub(super) fn after(
    cx: Cx<'_>,
    now: impl Fn(Value) -> Value,
    created: &[OpId],
    sample: &Sample,
) -> Result<Result<Certificate, String>, EvalError> {
    let Cx { g, pool, .. } = cx;
    let tally = Tally::default();
    let mut e = Evaluator::new(g, pool);
    bind_data(&mut e, cx, &sample.data, sample.dtype);
    let mut alpha = sample.amplification;
    for &op in sample.absorbers.iter().filter(|&&op| g.contains(op)) {
        // A linear op's factor of its product scales what a weight contributes.
        alpha = alpha.max(sample.amplification * own_factor(g, op));
        for at in operands(g, op) {
            watch(&mut e, cx, at, |_| true, &tally);
        }
    }
    for at in sample.readers.iter().flat_map(|&op| operands(g, op)) {
        watch(&mut e, cx, at, |_| true, &tally);
    }
    // Sums that took a shift no op has room for.
    for at in created.iter().flat_map(|&op| operands(g, op)) {
        watch(&mut e, cx, at, |_| true, &tally);
    }
    let unit = unit(sample.dtype);
    let tiny = smallest(sample.dtype);
    let mut certificate = Certificate { samples: sample.points.len(), error: 0.0 };
    let known = sample.before.iter().zip(&sample.rounding);
    for ((y, p), (&before, &rounding)) in sample.points.iter().zip(known) {
        let after = e.element(now(*y), p)?.to_f64();
        let (magnitude, reads) = tally.take();
        let (scale, n) = (magnitude * alpha, reads as f64);
        let bound = 1.01 * (unit * scale + rounding)
            + n * alpha * tiny
            + (n + 64.0) * 2f64.powi(-52) * (scale + sample.slack + before.abs());
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

fn operands(g: &Graph, op: OpId) -> Vec<Use> {
    (0..g.num_operands(op)).map(|i| Use { user: op, operand: i as u32 }).collect()
}

/// What an op multiplies its constants' elements by beyond the data.
fn own_factor(g: &Graph, op: OpId) -> f64 {
    match g.kind(op) {
        OpKind::Linear(l) => l.alpha.abs().max(l.beta.abs()).max(1.0),
        _ => 1.0,
    }
}

/// The element type of the constants of an op.
fn stored_type(cx: Cx<'_>, op: OpId) -> DType {
    let constants = cx.g.operands(op).flatten().filter(|&v| cx.is_constant(v));
    let mut types = constants.filter_map(|v| cx.constants().ty(v).ok()).map(|t| t.0);
    types.find(|d| d.is_arithmetic_float()).unwrap_or(DType::F32)
}

/// The extents that types say, `n` where they do not, and a batch of 1. Declarations may be stale: extents that do not
/// fit each other cannot be evaluated, and others are tried.
fn typed_dims(cx: Cx<'_>, v: Value, n: u64) -> Option<Vec<u64>> {
    let certain = cx.types.dims(v);
    let declared = cx.g.ty(v).tensor().and_then(|t| t.shape.clone());
    let rank = certain.as_ref().map(|d| d.len()).or(declared.as_ref().map(|d| d.len()))?;
    let one = |i: usize| {
        let known = certain.as_ref().and_then(|d| d.get(i).copied()?);
        let said = || declared.as_ref().and_then(|d| d.get(i)?.known());
        known.or_else(said).unwrap_or(if i == 0 { 1 } else { n })
    };
    Some((0..rank).map(one).collect())
}

/// Binds a constant operand that is `wanted` to its stored elements, adding up the magnitudes of those that are read.
fn watch<'a>(
    e: &mut Evaluator<'a>,
    cx: Cx<'a>,
    at: Use,
    wanted: impl Fn(normfold_ir::ConstId) -> bool,
    tally: &'a Tally,
) {
    let (g, pool) = (cx.g, cx.pool);
    // The value as the op reads it; behind a view it is the constant that is watched.
    let Ok(Some(r)) = resolve(cx, at, Role::Weight, &HashSet::new()) else {
        watch_integers(e, cx, at, tally);
        return;
    };
    if r.computed || !wanted(r.entry) {
        return;
    }
    let v = Value::new(r.op, 0);
    if !matches!(g.kind(r.op), OpKind::Constant(_) | OpKind::Parameter(_))
        || !pool.dtype(r.entry).is_arithmetic_float()
    {
        return;
    }
    e.bind(v, Binding::Stored { entry: r.entry, tally: Some(tally) });
}

/// The same of a weight that is dequantized: its rounding is that of its scale.
fn watch_integers<'a>(e: &mut Evaluator<'a>, cx: Cx<'a>, at: Use, tally: &'a Tally) {
    let Some(v) = cx.g.operand(at.user, at.operand as usize) else { return };
    let is_dequantized = matches!(cx.g.kind(v.op), OpKind::Dequantize(_));
    let Ok((dtype, dims)) = cx.constants().ty(v) else { return };
    if !is_dequantized {
        return;
    }
    let mut own = Evaluator::new(cx.g, cx.pool);
    for (op, entry) in cx.known.all_captured() {
        own.bind(Value::new(op, 0), Binding::Stored { entry, tally: None });
    }
    let own = RefCell::new(own);
    let f = Box::new(move |index: &[u64]| {
        let x = own.borrow_mut().element(v, index).map_or(f64::NAN, |x| x.to_f64());
        tally.note(x);
        Scalar::F(x)
    });
    e.bind(v, Binding::Lazy { dtype, dims, f });
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

/// The sampled positions: channels with the largest scale and shift, each at the first corner and in the middle; more of
/// them where several ops absorbed, so that each is looked at.
fn positions(dims: &[u64], own: Option<&Ask>, absorbers: usize) -> Vec<Vec<u64>> {
    if dims.contains(&0) {
        return Vec::new();
    }
    let axis = own.and_then(|a| a.axes().first().copied()).filter(|&a| a < dims.len());
    let largest = |v: &[f64]| {
        let best = v.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        best.map_or(0, |(i, _)| i as u64)
    };
    let mut channels = vec![0];
    if let (Some(axis), Some(own)) = (axis, own) {
        let n = dims[axis];
        channels = vec![largest(&own.s).min(n - 1), largest(&own.t).min(n - 1)];
        if channels[0] == channels[1] {
            channels[1] = n - 1 - channels[0];
        }
        if absorbers > 1 {
            let k = 2 * absorbers.min(16) as u64;
            channels.extend((0..k).map(|i| i * n / k));
        }
        channels.sort_unstable();
        channels.dedup();
    }
    let mut all = Vec::new();
    for &c in &channels {
        for middle in [false, true] {
            let mut p: Vec<u64> = dims.iter().map(|&d| if middle { d / 2 } else { 0 }).collect();
            if let Some(axis) = axis {
                p[axis] = c;
            }
            all.push(p);
        }
    }
    all.dedup();
    all
}

/// Both ends and the middle, and both ends of the channels in the middle of the rest.
fn corners(dims: &[u64]) -> Vec<Vec<u64>> {
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

/// Extents of the data of an absorbing op: one batch, all channels, and room for an interior and a border.
fn data_dims(cx: Cx<'_>, op: OpId, data: Value) -> Vec<u64> {
    let g = cx.g;
    let none = HashSet::new();
    let Ok(weight) = super::weight::weight(cx, op, &none) else {
        return typed_dims(cx, data, 3).unwrap_or_default();
    };
    let w = &weight.resolved.dims;
    let channels = weight.map.input.count;
    match g.kind(op) {
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
            let rows = linear_rows(cx, op);
            let rank = if l.matrix { 2 } else { cx.rank(data).unwrap_or(2).max(1) };
            matrix(rank, rows, channels, l.trans_x)
        }
        _ => {
            let rank = cx.rank(data).unwrap_or(2).max(1);
            matrix(rank, 2, channels, weight.map.weight == 0)
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
fn linear_rows(cx: Cx<'_>, op: OpId) -> u64 {
    let at = Use { user: op, operand: 2 };
    let OpKind::Linear(l) = cx.g.kind(op) else { return 2 };
    let Linear { beta, .. } = **l;
    match resolve(cx, at, Role::Bias, &HashSet::new()) {
        Ok(Some(r)) if beta != 0.0 => match r.dims.as_slice() {
            [.., rows, _] if *rows > 1 => *rows,
            _ => 2,
        },
        _ => 2,
    }
}
