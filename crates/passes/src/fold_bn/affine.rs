//! The affine map of a batch norm: `y = s·x + t` per channel, in f64 from the stored values.

use super::{
    reason::{FoldReason, Role},
    resolve::resolve,
};
use normfold_ir::{BatchNorm, ConstPool, Graph, OpId, OpKind, Use};

/// `s = γ/√(σ²+ε)`, `t = β − μ·s`, and what they came from.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) axis: usize,
    pub(super) s: Vec<f64>,
    pub(super) t: Vec<f64>,
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
    /// Largest `|β| + |μ·s|`: what cancels in t is lost relative to this.
    pub(super) shift_magnitude: f64,
}

/// The constants of a batch norm; `None` where the values are not at hand (the number of channels is known all the same).
pub(super) struct Statistics {
    pub(super) axis: usize,
    pub(super) channels: u64,
    pub(super) affine: Option<Affine>,
}

/// Reads a batch norm in inference mode.
pub(super) fn statistics(
    g: &Graph,
    pool: &ConstPool,
    bn: OpId,
    kind: &BatchNorm,
) -> Result<Statistics, FoldReason> {
    if kind.training || g.num_results(bn) != 1 {
        return Err(FoldReason::TrainingMode);
    }
    let operand = |i: u32, what| resolve(g, Use { user: bn, operand: i }, what, bn);
    let scale = operand(1, Role::Scale)?;
    let shift = operand(2, Role::Shift)?;
    let (Some(mean), Some(variance)) = (operand(3, Role::Mean)?, operand(4, Role::Variance)?)
    else {
        return Err(FoldReason::TrainingMode);
    };
    let all = [scale.as_ref(), shift.as_ref(), Some(&mean), Some(&variance)];
    let channels = pool.count(mean.entry);
    for r in all.into_iter().flatten() {
        let dims = pool.dims(r.entry);
        // Opset 1–8 with spatial = 0: one statistic per element beyond the batch axis. At rank 2 that is per channel.
        if dims.len() != 1 {
            return Err(FoldReason::PerElement { rank: Some(dims.len() + 1) });
        }
        if dims[0] != channels {
            let blocker = super::reason::Blocker::of(g, r.op);
            return Err(FoldReason::ChannelMismatch {
                blocker,
                expected: dims[0],
                found: channels,
            });
        }
    }
    let axis = kind.axis as usize;
    if all.into_iter().flatten().any(|r| !pool.is_present(r.entry)) {
        return Ok(Statistics { axis, channels, affine: None });
    }
    let read = |r: Option<&super::resolve::Resolved>, default: f64, what: &'static str| match r {
        None => Ok(vec![default; channels as usize]),
        Some(r) => pool.to_f64(r.entry).map_err(|_| FoldReason::NonFinite { what, channel: 0 }),
    };
    let gamma = read(all[0], 1.0, "the scale")?;
    let beta = read(all[1], 0.0, "the shift")?;
    let mean = read(all[2], 0.0, "the mean")?;
    let variance = read(all[3], 1.0, "the variance")?;
    let (mut s, mut t) = (Vec::with_capacity(gamma.len()), Vec::with_capacity(gamma.len()));
    let mut shift_magnitude = 0.0f64;
    for c in 0..gamma.len() {
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
    Ok(Statistics {
        axis,
        channels,
        affine: Some(Affine { axis, s, t, gamma, beta, shift_magnitude }),
    })
}

/// The batch norm at `op`.
pub(super) fn batch_norm(g: &Graph, op: OpId) -> Option<&BatchNorm> {
    match g.kind(op) {
        OpKind::BatchNorm(k) => Some(k),
        _ => None,
    }
}
