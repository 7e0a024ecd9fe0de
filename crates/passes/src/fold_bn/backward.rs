//! The backward fold: a batch norm into the linear op that produces its data.
//!
//! Given   `y = batch_norm(conv(x, W, b))`
//! Result  `y = conv(x, W·s, b·s + t)`
//!
//! Each check has one reason, and returns what the plan needs.

use super::{
    affine::{Affine, Statistics},
    bias::Bias,
    plan::{Finish, Plan, Relative, Target, Transform},
    reason::{Blocker, FoldReason, Role},
    resolve::Resolved,
    weight::{same_channels, weight, weight_overflow},
};
use crate::CertainTypes;
use normfold_ir::{ChannelMap, ConstPool, DType, Graph, OpId, Use, Value};

/// What a plan is made on: the graph as it is, and what the options allow.
#[derive(Clone, Copy)]
pub(super) struct Cx<'a> {
    pub(super) g: &'a Graph,
    pub(super) pool: &'a ConstPool,
    /// Computed where some op's channels depend on the rank of its data.
    pub(super) types: Option<&'a CertainTypes>,
    pub(super) allow_copy: bool,
    pub(super) copy_limit: u64,
    /// Whether every element of a weight is looked at before it is folded into.
    pub(super) thorough: bool,
}

impl Cx<'_> {
    /// The rank of a value where it is certain; declared types of intermediate values may be stale.
    pub(super) fn rank(self, v: Value) -> Option<usize> {
        self.types?.rank(v)
    }
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

/// Where the transform of a constant goes: in place when the absorber is its only reader, else to a copy.
pub(super) fn target(
    cx: Cx<'_>,
    r: &Resolved,
    at: Use,
    what: Role,
    copied: &mut Vec<std::sync::Arc<str>>,
) -> Result<Target, FoldReason> {
    let Cx { g, pool, .. } = cx;
    if r.exclusive {
        return Ok(Target::InPlace { constant: r.op, base: r.entry });
    }
    let bytes = pool.byte_len(r.entry);
    let name = g.location(r.op);
    // A document without room for another constant allows no copy either.
    let expressible = g.capabilities().may_add_constant(pool.dtype(r.entry));
    if !cx.allow_copy || bytes > cx.copy_limit || !expressible {
        return Err(FoldReason::SharedWeight { what, name, bytes });
    }
    copied.push(name.clone());
    Ok(Target::Copy { at, base: r.entry, name: Some(name) })
}

/// The plan's vectors: s, t, and the `beta` of a linear op.
pub(super) const S: usize = 0;
pub(super) const T: usize = 1;
pub(super) const BETA: usize = 2;

/// Plans the fold of `bn` into `op`.
pub(super) fn plan(
    cx: Cx<'_>,
    bn: OpId,
    stats: Statistics,
    op: OpId,
    via: Vec<OpId>,
) -> Result<Backward, FoldReason> {
    let Cx { g, pool, .. } = cx;
    let w = weight(g, pool, op, bn)?;
    same_channels(cx, op, &w.map, &stats)?;
    let mut copied = Vec::new();
    let at = Use { user: op, operand: w.map.weight as u32 };
    let weight_target = target(cx, &w.resolved, at, Role::Weight, &mut copied)?;
    let scale = Relative::Scale { map: w.map.out.map.clone(), vector: S };
    let mut transforms = vec![Transform { target: weight_target, steps: vec![scale] }];
    let mut bias = Bias::plan(cx, op, bn, &w, &mut copied)?;
    // Everything structural holds; now the values.
    let Some(affine) =
        stats.affine.filter(|_| pool.is_present(w.resolved.entry) && bias.present(pool))
    else {
        return Err(FoldReason::WeightsAbsent { blocker: Some(Blocker::of(g, op)) });
    };
    weight_overflow(pool, &w, &affine, cx.thorough)?;
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
