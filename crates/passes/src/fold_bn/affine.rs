//! Ops that are `s·x + t` per channel: batch norms, and arithmetic with constants.

use super::{
    ask::Ask,
    cx::Cx,
    reason::{Blocker, FoldReason, Role},
    resolve::{Values, values},
};
use normfold_ir::{BatchNorm, BinaryKind, Graph, OpId, OpKind, UnaryKind, Use};

/// An op that is affine in one of its operands.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    /// The operand.
    pub(super) data: usize,
    /// What it does to it.
    pub(super) ask: Ask,
    /// Largest `|β| + |μ·s|`: what cancels in t is lost relative to this.
    pub(super) shift_magnitude: f64,
    /// Whether its constants are not at hand: s and t are then stand-ins, all different.
    pub(super) absent: bool,
}

/// The constants of a batch norm.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
}

/// Reads a batch norm in inference mode: `s = γ/√(σ²+ε)`, `t = β − μ·s`, in f64 from the stored values.
pub(super) fn batch_norm_affine(
    cx: Cx<'_>,
    bn: OpId,
    kind: &BatchNorm,
) -> Result<(Affine, Parameters), FoldReason> {
    let g = cx.g;
    if kind.training || g.num_results(bn) != 1 {
        return Err(FoldReason::TrainingMode);
    }
    let operand = |i: u32, what| values(cx, Use { user: bn, operand: i }, what);
    let scale = operand(1, Role::Scale)?;
    let shift = operand(2, Role::Shift)?;
    let (Some(mean), Some(variance)) = (operand(3, Role::Mean)?, operand(4, Role::Variance)?)
    else {
        return Err(FoldReason::TrainingMode);
    };
    let channels = mean.dims.iter().product::<u64>();
    let all = [scale.as_ref(), shift.as_ref(), Some(&mean), Some(&variance)];
    for r in all.into_iter().flatten() {
        // Opset 1–8 with spatial = 0: one statistic per element beyond the batch axis. At rank 2 that is per channel.
        if r.dims.len() != 1 {
            return Err(FoldReason::PerElement { rank: Some(r.dims.len() + 1) });
        }
        if r.dims[0] != channels {
            let blocker = Blocker::of(g, r.op);
            return Err(FoldReason::ChannelMismatch {
                blocker,
                expected: r.dims[0],
                found: channels,
            });
        }
    }
    let axis = kind.axis as usize;
    let n = channels as usize;
    if all.into_iter().flatten().any(|r| r.elements.is_none()) {
        let ask = stand_in(axis, n);
        let affine = Affine { data: 0, ask, shift_magnitude: 0.0, absent: true };
        return Ok((affine, Parameters::default()));
    }
    let read = |r: Option<&Values>, default: f64| match r.and_then(|r| r.elements.clone()) {
        None => vec![default; n],
        Some(v) => v,
    };
    let (gamma, beta) = (read(all[0], 1.0), read(all[1], 0.0));
    let (mean, variance) = (read(all[2], 0.0), read(all[3], 1.0));
    let (mut s, mut t) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut shift_magnitude = 0.0f64;
    for c in 0..n {
        let spread = variance[c] + kind.eps;
        // NaN fails the comparison too.
        if !(spread > 0.0 && spread.is_finite()) {
            return Err(FoldReason::NonFinite { what: "1/√(variance + epsilon)", channel: c });
        }
        let factor = gamma[c] / spread.sqrt();
        let addend = beta[c] - mean[c] * factor;
        if !factor.is_finite() || !addend.is_finite() {
            return Err(FoldReason::NonFinite { what: "the scale or shift", channel: c });
        }
        shift_magnitude = shift_magnitude.max(beta[c].abs() + (mean[c] * factor).abs());
        s.push(factor);
        t.push(addend);
    }
    let affine = Affine { data: 0, ask: Ask::along(axis, s, t), shift_magnitude, absent: false };
    Ok((affine, Parameters { gamma, beta }))
}

/// Positive and all different, so that nothing about them is taken for a property of the values.
fn stand_in(axis: usize, n: usize) -> Ask {
    let s = (0..n).map(|c| 1.0 + c as f64 / 64.0).collect();
    let t = (0..n).map(|c| 0.5 + c as f64 / 32.0).collect();
    Ask::along(axis, s, t)
}

/// Reads arithmetic with one constant; `None` for anything else, also where the constant cannot be proven to lie along
/// axes of the data: it is the axis that counts, not the length.
pub(super) fn elementwise(cx: Cx<'_>, op: OpId) -> Option<Affine> {
    let g = cx.g;
    let plain = |ask| Affine { data: 0, ask, shift_magnitude: 0.0, absent: false };
    let kind = match g.kind(op) {
        OpKind::Unary(UnaryKind::Neg) if !cx.is_constant(g.operand(op, 0)?) => {
            return Some(plain(Ask::uniform(-1.0, 0.0)));
        }
        OpKind::Binary(k) => *k,
        _ => return None,
    };
    if !matches!(kind, BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Div) {
        return None;
    }
    let (a, b) = (g.operand(op, 0)?, g.operand(op, 1)?);
    let data = match (cx.is_constant(a), cx.is_constant(b)) {
        (false, true) => 0,
        (true, false) => 1,
        _ => return None,
    };
    if kind == BinaryKind::Div && data == 1 {
        return None;
    }
    let (dtype, dims) = cx.constants().ty(if data == 0 { b } else { a }).ok()?;
    if !dtype.is_arithmetic_float() || dims.iter().product::<u64>() > 1 << 16 {
        return None;
    }
    let c = values(cx, Use { user: op, operand: 1 - data as u32 }, Role::Scale).ok()??;
    let elements = c.elements?;
    let x = if data == 0 { a } else { b };
    let varying = dims.iter().filter(|&&d| d != 1).count();
    let (mut axes, mut extents) = (Vec::new(), Vec::new());
    if varying > 0 || !dims.is_empty() {
        let rank = cx.rank(x)?;
        let lead = rank.checked_sub(dims.len())?;
        for (i, &d) in dims.iter().enumerate().filter(|(_, d)| **d != 1) {
            // An extent of 1 would be widened by the constant.
            if cx.extent(x, lead + i) != Some(d) {
                return None;
            }
            axes.push(lead + i);
            extents.push(d);
        }
    }
    let one = vec![1.0; elements.len()];
    let zero = vec![0.0; elements.len()];
    let negated = || elements.iter().map(|c| -c).collect::<Vec<f64>>();
    let (s, t) = match (kind, data) {
        (BinaryKind::Add, _) => (one, elements),
        (BinaryKind::Sub, 0) => (one, negated()),
        (BinaryKind::Sub, _) => (vec![-1.0; elements.len()], elements),
        (BinaryKind::Mul, _) => (elements, zero),
        (_, _) => (elements.iter().map(|c| 1.0 / c).collect(), zero),
    };
    if s.iter().chain(&t).any(|x| !x.is_finite()) {
        return None;
    }
    let shift_magnitude = t.iter().fold(0.0f64, |m, t| m.max(t.abs()));
    let ask = Ask::over(axes, extents, s, t)?.normal();
    Some(Affine { data, ask, shift_magnitude, absent: false })
}

/// Whether the op multiplies or divides by a constant with more than one element along exactly one axis: what makes a
/// chain of arithmetic one that is worth a verdict.
pub(super) fn scales_channels(cx: Cx<'_>, op: OpId) -> bool {
    let g = cx.g;
    if !matches!(g.kind(op), OpKind::Binary(BinaryKind::Mul | BinaryKind::Div)) {
        return false;
    }
    let constant = g.operands(op).flatten().find(|&v| cx.is_constant(v));
    constant
        .and_then(|v| cx.constants().ty(v).ok())
        .is_some_and(|(_, dims)| dims.iter().filter(|&&d| d > 1).count() == 1)
}

/// The batch norm at `op`.
pub(super) fn batch_norm(g: &Graph, op: OpId) -> Option<&BatchNorm> {
    match g.kind(op) {
        OpKind::BatchNorm(k) => Some(k),
        _ => None,
    }
}
