//! The weight of a linear op: what it says of channels, and whether it can take the factor.

use super::{
    ask::Ask,
    cx::Cx,
    linear::target,
    plan::{Absorbed, Relative, Transform},
    quantized::{Integers, integers},
    reason::{Blocker, FoldReason, Role},
    resolve::{Resolved, resolve},
};
use normfold_ir::{
    BiasSlot, ChannelMap, ConstPool, DType, ElementMap, Graph, IdSet, OpId, OpKind, Use, Value,
};
use std::sync::Arc;

/// The weight of a linear op and what it says of channels.
pub(super) struct Weight {
    pub(super) resolved: Resolved,
    /// Of the elements as the op sees them.
    pub(super) map: ChannelMap,
    pub(super) dtype: DType,
    /// Where it is dequantized: the constant is then that of the integers.
    pub(super) integers: Option<Integers>,
}

impl Weight {
    /// Whether its elements are at hand.
    pub(super) fn is_present(&self, cx: Cx<'_>) -> bool {
        match &self.integers {
            Some(integers) => integers.is_present(cx),
            None => cx.pool.is_present(self.resolved.entry),
        }
    }

    /// Multiplies its elements by a vector of `absorbed`: `map` says which factor an element has. Ones leave it as it is, shared
    /// or not.
    pub(super) fn scaled(
        &self,
        cx: Cx<'_>,
        map: &ElementMap,
        vector: usize,
        absorbed: &mut Absorbed,
        copied: &mut Vec<Arc<str>>,
    ) -> Result<(), FoldReason> {
        if absorbed.vectors[vector].iter().all(|&s| s == 1.0) {
            return Ok(());
        }
        let at = Use { user: absorbed.op, operand: self.map.weight as u32 };
        if let Some(integers) = &self.integers {
            return integers.scaled(cx, at, map, vector, absorbed, copied);
        }
        let Some(own) = self.resolved.map(map) else {
            let blocker = Blocker::of(cx.g, absorbed.op);
            return Err(FoldReason::NotConstant { what: Role::Weight, blocker });
        };
        let target = target(cx, &self.resolved, at, Role::Weight, copied)?;
        if cx.pool.is_present(self.resolved.entry) {
            weight_overflow(cx.pool, self, &own, &absorbed.vectors[vector], cx.thorough)?;
        }
        let steps = vec![Relative::Scale { map: own, vector }];
        absorbed.transforms.push(Transform { target, steps });
        Ok(())
    }

    /// Whether the op has a bias operand.
    pub(super) fn has_bias(&self, g: &Graph, op: OpId) -> bool {
        match self.map.bias {
            BiasSlot::PerChannel(slot) | BiasSlot::Broadcast(slot) => g.operand(op, slot).is_some(),
            BiasSlot::None => false,
        }
    }
}

/// The weight of a linear op, and where its channels lie.
pub(super) fn weight(cx: Cx<'_>, op: OpId, erased: &IdSet<OpId>) -> Result<Weight, FoldReason> {
    let w = stored(cx, op, erased)?;
    // All operands have one type (`T` of ONNX Conv, ConvTranspose, Gemm and MatMul); what an op gives of others is not defined.
    for (i, v) in cx.g.operands(op).enumerate() {
        let of = |v| cx.types.dtype(v).filter(|&found| found != w.dtype);
        if let (true, Some(other)) = (i != w.map.weight, v.and_then(of)) {
            let what = if i == w.map.data { "data" } else { "a bias" };
            let blocker = Blocker::of(cx.g, op);
            return Err(FoldReason::TypesDiffer { blocker, weight: w.dtype, what, other });
        }
    }
    Ok(w)
}

fn stored(cx: Cx<'_>, op: OpId, erased: &IdSet<OpId>) -> Result<Weight, FoldReason> {
    let g = cx.g;
    // A matrix product may hold its weight on either side; the right one is the usual.
    let sides: &[u32] = if matches!(g.kind(op), OpKind::MatMul(_)) { &[1, 0] } else { &[1] };
    let mut first = None;
    for &side in sides {
        let at = Use { user: op, operand: side };
        match integers(cx, at, erased) {
            Ok(None) => {}
            Ok(Some(integers)) => {
                let behind = Use { user: integers.op, operand: 0 };
                let map = ChannelMap::of(g.kind(op), side as usize, &integers.dims);
                let Some(map) = map else {
                    return Err(FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) });
                };
                // Integers that are computed stay as they are.
                let stored = resolve(cx, behind, Role::Weight, erased).ok().flatten();
                let resolved = stored.unwrap_or_else(|| integers.scale.clone());
                let dtype = integers.dtype;
                return Ok(Weight { resolved, map, dtype, integers: Some(integers) });
            }
            Err(reason) => {
                first.get_or_insert(reason);
                continue;
            }
        }
        match resolve(cx, at, Role::Weight, erased) {
            Ok(Some(resolved)) => {
                let dtype = cx.pool.dtype(resolved.entry);
                let Some(map) = ChannelMap::of(g.kind(op), side as usize, &resolved.dims) else {
                    return Err(FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) });
                };
                if !dtype.is_arithmetic_float() {
                    return Err(FoldReason::UnsupportedType { blocker: Blocker::of(g, op), dtype });
                }
                if !resolved.computed && g.is_quantized(Value::new(resolved.op, 0)) {
                    return Err(FoldReason::Quantized { blocker: Blocker::of(g, resolved.op) });
                }
                return Ok(Weight { resolved, map, dtype, integers: None });
            }
            Ok(None) => {}
            Err(reason) => {
                first.get_or_insert(reason);
            }
        }
    }
    Err(first.unwrap_or(FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) }))
}

/// s and t per output channel of the op; what is asked must lie along its channels.
pub(super) fn per_channel(
    cx: Cx<'_>,
    op: OpId,
    map: &ChannelMap,
    ask: &Ask,
) -> Result<(Vec<f64>, Vec<f64>), FoldReason> {
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
    if let Some(&axis) = ask.axes().iter().find(|&&a| a != channels) {
        return Err(FoldReason::AxisMismatch {
            blocker: blocker(),
            axis,
            channels: Some(channels),
        });
    }
    ask.vectors(channels, map.out.count).ok_or_else(|| FoldReason::ChannelMismatch {
        blocker: blocker(),
        expected: map.out.count,
        found: ask.extent(channels).unwrap_or(1),
    })
}

/// Factors up to this leave it to the writer to find an overflow while the weight streams; it then drops the output and
/// this batch norm is kept in a second run. Larger ones, and f16 with its small range, are looked at here.
const HARMLESS_FACTOR: f64 = 1e6;

/// Refuses factors that may make a weight infinite, looking at every element where `thorough` or where one of them is to
/// be feared.
fn weight_overflow(
    pool: &ConstPool,
    w: &Weight,
    map: &ElementMap,
    factors: &[f64],
    thorough: bool,
) -> Result<(), FoldReason> {
    let largest = factors.iter().fold(0.0f64, |m, s| m.max(s.abs()));
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
        map.for_runs(at, n as u64, |first, len, channel| {
            let s = factors[channel as usize];
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
