//! The backward walk: from a batch norm through its producer to the linear op that absorbs it.
//!
//! Given   `y = batch_norm(conv(x, W, b))`
//! Result  `y = conv(x, W·s, b·s + t)`
//!
//! Each check has one reason, and returns what the plan needs.

use super::{
    affine::{Affine, Statistics},
    plan::{Finish, Plan, Relative, Target, Transform, bias_name},
    reason::{Blocker, FoldReason, Role},
    resolve::{Resolved, resolve},
};
use crate::rank::rank_of;
use normfold_ir::{
    BiasSlot, BinaryKind, ChannelMap, ConstPool, DType, ElementMap, Graph, Linear, OpId, OpKind,
    Use, Value, encode_f64,
};

/// What the options allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) allow_copy: bool,
    pub(super) copy_limit: u64,
}

/// A legal backward fold.
#[derive(Clone, Debug)]
pub(super) struct Backward {
    pub(super) plan: Plan,
    pub(super) affine: Affine,
    pub(super) via: Vec<OpId>,
    /// The linear op's data operand: what the certificate feeds.
    pub(super) data: Value,
    pub(super) dtype: DType,
    pub(super) map: ChannelMap,
    /// Names of the constants that the absorber got a copy of.
    pub(super) copied: Vec<std::sync::Arc<str>>,
    /// Largest `(|b·s| + |t|) / |b'|` over channels with a bias, 1 where nothing cancels.
    pub(super) cancellation: f64,
    /// Largest `|b·s| + |t|`.
    pub(super) bias_magnitude: f64,
}

/// The op that produces the batch norm's data, and the ops looked through on the way.
pub(super) fn walk(g: &Graph, bn: OpId) -> Result<(OpId, Vec<OpId>), FoldReason> {
    let mut via = Vec::new();
    let mut at = Use { user: bn, operand: 0 };
    loop {
        let Some(v) = g.operand(at.user, at.operand as usize) else {
            return Err(FoldReason::GraphInput { name: g.location(bn) });
        };
        let def = v.op;
        match g.kind(def) {
            OpKind::Parameter(p) if p.capture => {
                return Err(FoldReason::RegionBoundary {
                    what: "its input comes from the enclosing graph".into(),
                });
            }
            OpKind::Parameter(_) => return Err(FoldReason::GraphInput { name: g.location(def) }),
            _ => {}
        }
        if let Some(reason) = end_of_walk(g, def) {
            return Err(reason);
        }
        only_reader(g, v)?;
        if g.is_quantized(v) {
            return Err(FoldReason::Quantized { blocker: Blocker::of(g, def) });
        }
        match g.kind(def) {
            OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) | OpKind::MatMul(_) => {
                via.reverse();
                return Ok((def, via));
            }
            // Looked through; end_of_walk left nothing else.
            _ => {
                via.push(def);
                at = Use { user: def, operand: 0 };
            }
        }
    }
}

/// The reason a producer ends the walk; `None` for what absorbs or is looked through.
fn end_of_walk(g: &Graph, op: OpId) -> Option<FoldReason> {
    let blocker = || Blocker::of(g, op);
    Some(match g.kind(op) {
        OpKind::Conv(_)
        | OpKind::ConvTranspose(_)
        | OpKind::Linear(_)
        | OpKind::MatMul(_)
        | OpKind::Identity(_) => {
            return None;
        }
        OpKind::Dropout(d) if !d.training => return None,
        OpKind::Quantize(_) | OpKind::Dequantize(_) => FoldReason::Quantized { blocker: blocker() },
        OpKind::Opaque(o) if o.quantized => FoldReason::Quantized { blocker: blocker() },
        OpKind::Opaque(o) if !o.domain.is_empty() => {
            FoldReason::CustomDomain { blocker: blocker() }
        }
        OpKind::Unary(k) if !matches!(k, normfold_ir::UnaryKind::Neg) => {
            FoldReason::ActivationBetween { blocker: blocker() }
        }
        OpKind::Activation(_) | OpKind::Clip(_) | OpKind::PRelu(_) | OpKind::Softmax(_) => {
            FoldReason::ActivationBetween { blocker: blocker() }
        }
        OpKind::If(_) | OpKind::Loop(_) | OpKind::Scan(_) | OpKind::Call(_) => {
            FoldReason::RegionBoundary {
                what: format!("its input comes out of {}", blocker()).into(),
            }
        }
        _ => FoldReason::NoLinearProducer { blocker: blocker() },
    })
}

fn only_reader(g: &Graph, v: Value) -> Result<(), FoldReason> {
    // Another result in use (a dropout mask) reads the op as well.
    if g.single_value_use(v).is_some() {
        return Ok(());
    }
    let users = g.value_uses(v).count();
    let returned = g.value_uses(v).any(|u| Some(u.user) == g.return_op());
    Err(FoldReason::MultipleConsumers { blocker: Blocker::of(g, v.op), users, returned })
}

/// The weight of a linear op and what it says of channels.
struct Weight {
    resolved: Resolved,
    map: ChannelMap,
    dims: Vec<u64>,
    dtype: DType,
}

fn weight(g: &Graph, pool: &ConstPool, op: OpId, bn: OpId) -> Result<Weight, FoldReason> {
    // A matrix product may hold its weight on either side; the right one is the usual.
    let sides: &[u32] = if matches!(g.kind(op), OpKind::MatMul(_)) { &[1, 0] } else { &[1] };
    let mut first = None;
    for &side in sides {
        match resolve(g, Use { user: op, operand: side }, Role::Weight, bn) {
            Ok(Some(resolved)) => {
                let dims = pool.dims(resolved.entry);
                let dtype = pool.dtype(resolved.entry);
                let Some(map) = ChannelMap::of(g.kind(op), side as usize, &dims) else {
                    return Err(FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) });
                };
                if !dtype.is_arithmetic_float() {
                    return Err(FoldReason::UnsupportedType { blocker: Blocker::of(g, op), dtype });
                }
                if g.is_quantized(Value::new(resolved.op, 0)) {
                    return Err(FoldReason::Quantized { blocker: Blocker::of(g, resolved.op) });
                }
                return Ok(Weight { resolved, map, dims, dtype });
            }
            Ok(None) => {}
            Err(reason) => {
                first.get_or_insert(reason);
            }
        }
    }
    Err(first.unwrap_or(FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) }))
}

fn same_channels(
    g: &Graph,
    pool: &ConstPool,
    op: OpId,
    map: &ChannelMap,
    stats: &Statistics,
) -> Result<(), FoldReason> {
    let blocker = || Blocker::of(g, op);
    // A vector on the right of a matrix gives a result without the axis that the map counts from.
    let data = || g.operand(op, map.data).and_then(|v| rank_of(g, pool, v));
    if matches!(g.kind(op), OpKind::MatMul(_)) && map.weight == 0 && data().is_none_or(|r| r < 2) {
        return Err(FoldReason::UnknownRank { blocker: blocker() });
    }
    let channels = match map.out.axis_at(None) {
        Some(axis) => axis,
        None => {
            let rank = rank_of(g, pool, g.result(op, 0));
            map.out.axis_at(rank).ok_or_else(|| FoldReason::UnknownRank { blocker: blocker() })?
        }
    };
    if channels != stats.axis {
        return Err(FoldReason::AxisMismatch {
            blocker: blocker(),
            axis: stats.axis,
            channels: Some(channels),
        });
    }
    if map.out.count != stats.channels {
        return Err(FoldReason::ChannelMismatch {
            blocker: blocker(),
            expected: map.out.count,
            found: stats.channels,
        });
    }
    Ok(())
}

/// Where the transform of a constant goes: in place when the absorber is its only reader, else to a copy.
fn target(
    g: &Graph,
    pool: &ConstPool,
    r: &Resolved,
    at: Use,
    what: Role,
    limits: Limits,
    copied: &mut Vec<std::sync::Arc<str>>,
) -> Result<Target, FoldReason> {
    if r.exclusive {
        return Ok(Target::InPlace { constant: r.op, base: r.entry });
    }
    let bytes = pool.byte_len(r.entry);
    let name = g.location(r.op);
    if !limits.allow_copy || bytes > limits.copy_limit {
        return Err(FoldReason::SharedWeight { what, name, bytes });
    }
    if !g.capabilities().may_add_constant(pool.dtype(r.entry)) {
        return Err(FoldReason::NotExpressible { what: "a copy of a shared constant" });
    }
    copied.push(name.clone());
    Ok(Target::Copy { at, base: r.entry, name: Some(name) })
}

const S: usize = 0;
const T: usize = 1;
const BETA: usize = 2;

/// Plans the fold of `bn` into `op`.
pub(super) fn plan(
    g: &Graph,
    pool: &ConstPool,
    bn: OpId,
    stats: Statistics,
    op: OpId,
    via: Vec<OpId>,
    limits: Limits,
) -> Result<Backward, FoldReason> {
    let w = weight(g, pool, op, bn)?;
    same_channels(g, pool, op, &w.map, &stats)?;
    let mut copied = Vec::new();
    let at = Use { user: op, operand: w.map.weight as u32 };
    let weight_target = target(g, pool, &w.resolved, at, Role::Weight, limits, &mut copied)?;
    let scale = Relative::Scale { map: w.map.out.map.clone(), vector: S };
    let mut transforms = vec![Transform { target: weight_target, steps: vec![scale] }];
    let mut bias = Bias::plan(g, pool, op, bn, &w, limits, &mut copied)?;
    // Everything structural holds; now the values.
    let Some(affine) =
        stats.affine.filter(|_| pool.is_present(w.resolved.entry) && bias.present(pool))
    else {
        return Err(FoldReason::WeightsAbsent { blocker: Some(Blocker::of(g, op)) });
    };
    weight_overflow(pool, &w, &affine)?;
    let (cancellation, bias_magnitude) = bias.values(pool, w.dtype, &affine)?;
    if bias.into_add && affine.t.iter().all(|&t| t == 0.0) {
        (bias.kind, bias.finish, bias.transform) = (None, Finish::Replace, None);
    }
    transforms.extend(bias.transform);
    let Some(data) = g.operand(op, w.map.data) else { unreachable!("a linear op has data") };
    let vectors = vec![affine.s.clone(), affine.t.clone(), vec![bias.beta]];
    let plan = Plan { bn, absorber: op, vectors, transforms, kind: bias.kind, finish: bias.finish };
    Ok(Backward {
        plan,
        affine,
        via,
        data,
        dtype: w.dtype,
        map: w.map,
        copied,
        cancellation,
        bias_magnitude,
    })
}

/// How the shift reaches the result.
struct Bias {
    transform: Option<Transform>,
    kind: Option<OpKind>,
    finish: Finish,
    base: Option<normfold_ir::ConstId>,
    beta: f64,
    /// The op had no slot for a bias: with t = 0 nothing needs to be added.
    into_add: bool,
}

impl Bias {
    fn plan(
        g: &Graph,
        pool: &ConstPool,
        op: OpId,
        bn: OpId,
        w: &Weight,
        limits: Limits,
        copied: &mut Vec<std::sync::Arc<str>>,
    ) -> Result<Self, FoldReason> {
        let n = w.map.out.count;
        let name = bias_name(g, w.resolved.op);
        let plain = |transform| Self {
            transform: Some(transform),
            kind: None,
            finish: Finish::Replace,
            base: None,
            beta: 1.0,
            into_add: false,
        };
        let new = |slot: usize| {
            let at = Use { user: op, operand: slot as u32 };
            let map = ElementMap::axis(&[n], 0);
            let target = Target::New { at, dtype: w.dtype, dims: vec![n], name: name.clone() };
            plain(Transform { target, steps: vec![Relative::Shift { map, vector: T }] })
        };
        match w.map.bias {
            BiasSlot::PerChannel(slot) => {
                let at = Use { user: op, operand: slot as u32 };
                let Some(r) = resolve(g, at, Role::Bias, bn)? else {
                    if !g.capabilities().may_add_bias(g.kind(op)) {
                        return Err(FoldReason::NotExpressible { what: "a bias on this op" });
                    }
                    return Ok(new(slot));
                };
                let dims = pool.dims(r.entry);
                if dims != [n] {
                    let found = pool.count(r.entry);
                    return Err(FoldReason::ChannelMismatch {
                        blocker: Blocker::of(g, op),
                        expected: n,
                        found,
                    });
                }
                let map = ElementMap::axis(&dims, 0);
                let target = target(g, pool, &r, at, Role::Bias, limits, copied)?;
                let steps = vec![
                    Relative::Scale { map: map.clone(), vector: S },
                    Relative::Shift { map, vector: T },
                ];
                Ok(Self { base: Some(r.entry), ..plain(Transform { target, steps }) })
            }
            BiasSlot::Broadcast(slot) => {
                let OpKind::Linear(l) = g.kind(op) else {
                    unreachable!("only linear broadcasts its bias")
                };
                let at = Use { user: op, operand: slot as u32 };
                // β := 1 in every case: dividing by a β of 0 has no result.
                let kind =
                    (l.beta != 1.0).then(|| OpKind::from(Linear { beta: 1.0, ..(**l).clone() }));
                if let Some(kind) = &kind
                    && !g.capabilities().may_change(g.kind(op), kind)
                {
                    return Err(FoldReason::NotExpressible { what: "another beta on this op" });
                }
                let c = if l.beta == 0.0 { None } else { resolve(g, at, Role::Bias, bn)? };
                let Some(r) = c else {
                    if !g.capabilities().may_add_bias(g.kind(op)) {
                        return Err(FoldReason::NotExpressible { what: "a bias on this op" });
                    }
                    return Ok(Self { kind, ..new(slot) });
                };
                let dims = pool.dims(r.entry);
                let Some(wide) = broadcast_to_columns(&dims, n) else {
                    let found = dims.last().copied().unwrap_or(1);
                    return Err(FoldReason::ChannelMismatch {
                        blocker: Blocker::of(g, op),
                        expected: n,
                        found,
                    });
                };
                let map = ElementMap::axis(&wide, wide.len() - 1);
                let target = target(g, pool, &r, at, Role::Bias, limits, copied)?;
                let mut steps = Vec::new();
                if l.beta != 1.0 {
                    steps.push(Relative::Scale { map: ElementMap::single(), vector: BETA });
                }
                if wide != dims {
                    steps.push(Relative::Broadcast { dims: wide });
                }
                steps.push(Relative::Scale { map: map.clone(), vector: S });
                steps.push(Relative::Shift { map, vector: T });
                Ok(Self {
                    kind,
                    base: Some(r.entry),
                    beta: l.beta,
                    ..plain(Transform { target, steps })
                })
            }
            BiasSlot::None => Self::of_matmul(g, pool, op, w, new(2), name),
        }
    }

    /// A matrix product has no bias: at rank 2 it becomes a linear op, else an Add of t takes the batch norm's place.
    fn of_matmul(
        g: &Graph,
        pool: &ConstPool,
        op: OpId,
        w: &Weight,
        with_bias: Self,
        name: Option<std::sync::Arc<str>>,
    ) -> Result<Self, FoldReason> {
        let rank = rank_of(g, pool, g.result(op, 0));
        let linear = OpKind::from(Linear { matrix: true, ..Linear::default() });
        let data = g.operand(op, w.map.data).and_then(|v| rank_of(g, pool, v));
        if w.map.weight == 1
            && w.dims.len() == 2
            && data == Some(2)
            && g.capabilities().may_change(g.kind(op), &linear)
            && g.capabilities().may_create(&linear, w.dtype)
        {
            return Ok(Self { kind: Some(linear), into_add: true, ..with_bias });
        }
        let add = OpKind::from(BinaryKind::Add);
        if !g.capabilities().may_create(&add, w.dtype)
            || !g.capabilities().may_add_constant(w.dtype)
        {
            return Err(FoldReason::NotExpressible { what: "an Add of the shift" });
        }
        let (Some(axis), Some(rank)) = (w.map.out.axis_at(rank), rank) else {
            return Err(FoldReason::UnknownRank { blocker: Blocker::of(g, op) });
        };
        let mut dims = vec![1; rank - axis];
        dims[0] = w.map.out.count;
        let finish = Finish::Add { dtype: w.dtype, dims, vector: T, name };
        Ok(Self { transform: None, kind: None, finish, base: None, beta: 1.0, into_add: true })
    }

    fn present(&self, pool: &ConstPool) -> bool {
        self.base.is_none_or(|b| pool.is_present(b))
    }

    /// Checks that every `β·b·s + t` is finite once stored; gives the largest cancellation and magnitude.
    fn values(
        &self,
        pool: &ConstPool,
        dtype: DType,
        affine: &Affine,
    ) -> Result<(f64, f64), FoldReason> {
        let overflow = |channel| FoldReason::Overflow { what: Role::Bias, channel: Some(channel) };
        let n = affine.t.len();
        let old = match self.base {
            Some(b) => {
                pool.to_exact_f64(b).map_err(|_| FoldReason::WeightsAbsent { blocker: None })?
            }
            None => vec![0.0],
        };
        let (mut cancellation, mut largest) = (1.0f64, 0.0f64);
        let mut stored = [0u8; 8];
        // Rows of n channels; a scalar or a column serves every channel.
        let columns = old.len().is_multiple_of(n) && old.len() >= n;
        for (i, &b) in old.iter().enumerate() {
            let channels = if columns { i % n..i % n + 1 } else { 0..n };
            for c in channels {
                let scaled = b * self.beta * affine.s[c];
                let new = scaled + affine.t[c];
                let bytes = &mut stored[..dtype.bytes_for(1).unwrap_or(0) as usize];
                let mut back = [0.0];
                if !encode_f64(dtype, &[new], bytes)
                    || !normfold_ir::decode_f64(dtype, bytes, 0, &mut back)
                    || !back[0].is_finite()
                {
                    return Err(overflow(c));
                }
                let magnitude = scaled.abs() + affine.t[c].abs();
                largest = largest.max(magnitude);
                if new != 0.0 {
                    cancellation = cancellation.max(magnitude / new.abs());
                }
            }
        }
        Ok((cancellation, largest))
    }
}

/// `dims` widened so that its last axis is the `n` columns; `None` when it does not broadcast to `[…, n]`.
fn broadcast_to_columns(dims: &[u64], n: u64) -> Option<Vec<u64>> {
    match dims.split_last() {
        None => Some(vec![n]),
        Some((&last, _)) if last == n => Some(dims.to_vec()),
        Some((1, lead)) => Some(lead.iter().copied().chain([n]).collect()),
        Some(_) => None,
    }
}

/// Factors up to this leave it to the writer to find an overflow while the weight streams; it then drops the output and
/// this batch norm is kept in a second run. Larger ones, and f16 with its small range, are looked at here.
const HARMLESS_FACTOR: f64 = 1e6;

fn weight_overflow(pool: &ConstPool, w: &Weight, affine: &Affine) -> Result<(), FoldReason> {
    let largest = affine.s.iter().fold(0.0f64, |m, s| m.max(s.abs()));
    let Some(limit) = w.dtype.max_finite() else { return Ok(()) };
    if w.dtype != DType::F16 && largest <= HARMLESS_FACTOR {
        return Ok(());
    }
    // Half the spacing above the largest finite number rounds to infinity.
    let digits = w.dtype.significand_bits().unwrap_or(53) as i32;
    let limit = limit * (1.0 + 2f64.powi(-digits - 1));
    let mut block = [0.0; 4096];
    let (mut at, count) = (0, pool.count(w.resolved.entry));
    let mut found = None;
    while at < count && found.is_none() {
        let n = (count - at).min(block.len() as u64) as usize;
        let read = pool.read_f64(w.resolved.entry, at, &mut block[..n]);
        read.map_err(|_| FoldReason::WeightsAbsent { blocker: None })?;
        w.map.out.map.for_runs(at, n as u64, |first, len, channel| {
            let s = affine.s[channel as usize];
            let run = &block[first as usize..(first + len) as usize];
            // NaN is not below the limit either.
            if !run.iter().all(|x| (x * s).abs() < limit) {
                found.get_or_insert(channel as usize);
            }
        });
        at += n as u64;
    }
    match found {
        Some(channel) => Err(FoldReason::Overflow { what: Role::Weight, channel: Some(channel) }),
        None => Ok(()),
    }
}
