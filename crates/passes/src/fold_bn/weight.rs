//! The weight of a linear op: what it says of channels, and whether it can take the factor.

use super::{
    affine::{Affine, Statistics},
    backward::Cx,
    reason::{Blocker, FoldReason, Role},
    resolve::{Resolved, resolve},
};
use normfold_ir::{ChannelMap, ConstPool, DType, Graph, OpId, OpKind, Use, Value};

/// The weight of a linear op and what it says of channels.
pub(super) struct Weight {
    pub(super) resolved: Resolved,
    pub(super) map: ChannelMap,
    pub(super) dims: Vec<u64>,
    pub(super) dtype: DType,
}

pub(super) fn weight(
    g: &Graph,
    pool: &ConstPool,
    op: OpId,
    bn: OpId,
) -> Result<Weight, FoldReason> {
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

pub(super) fn same_channels(
    cx: Cx<'_>,
    op: OpId,
    map: &ChannelMap,
    stats: &Statistics,
) -> Result<(), FoldReason> {
    let g = cx.g;
    let blocker = || Blocker::of(g, op);
    // A vector on the right of a matrix gives a result without the axis that the map counts from.
    let data = || g.operand(op, map.data).and_then(|v| cx.rank(v));
    if matches!(g.kind(op), OpKind::MatMul(_)) && map.weight == 0 && data().is_none_or(|r| r < 2) {
        return Err(FoldReason::UnknownRank { blocker: blocker() });
    }
    let channels = match map.out.axis_at(None) {
        Some(axis) => axis,
        None => {
            let rank = cx.rank(g.result(op, 0));
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

/// Factors up to this leave it to the writer to find an overflow while the weight streams; it then drops the output and
/// this batch norm is kept in a second run. Larger ones, and f16 with its small range, are looked at here.
const HARMLESS_FACTOR: f64 = 1e6;

/// Refuses factors that may make a weight infinite, looking at every element where `thorough` or where one of them is to
/// be feared.
pub(super) fn weight_overflow(
    pool: &ConstPool,
    w: &Weight,
    affine: &Affine,
    thorough: bool,
) -> Result<(), FoldReason> {
    let largest = affine.s.iter().fold(0.0f64, |m, s| m.max(s.abs()));
    let Some(limit) = w.dtype.max_finite() else { return Ok(()) };
    if !thorough && w.dtype != DType::F16 && largest <= HARMLESS_FACTOR {
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
            let channel = channel as usize;
            let fits = |x: &&f64| !(*x * s).is_nan() && (*x * s).abs() < limit;
            let Some(x) = run.iter().find(|x| !fits(x)) else { return };
            found.get_or_insert(match x.is_finite() {
                true => FoldReason::Overflow { what: Role::Weight, channel: Some(channel) },
                false => FoldReason::NonFinite { what: "the weight", channel },
            });
        });
        at += n as u64;
    }
    found.map_or(Ok(()), Err)
}
