//! How the shift reaches the result: the bias of the op, `β·C` of a linear one, or an Add where there is no slot.

use super::{
    cx::Cx,
    linear::{BETA, S, T, target},
    plan::{Addend, Relative, Target, Transform, bias_name},
    reason::{Blocker, FoldReason, Role},
    resolve::resolve,
    weight::Weight,
};
use normfold_ir::{
    BiasSlot, BinaryKind, ConstPool, DType, ElementMap, IdSet, Linear, OpId, OpKind, Use,
    decode_f64, encode_f64,
};

/// How the shift reaches the result.
pub(super) struct Bias {
    pub(super) transform: Option<Transform>,
    pub(super) kind: Option<OpKind>,
    pub(super) addend: Option<Box<Addend>>,
    base: Option<normfold_ir::ConstId>,
    pub(super) beta: f64,
}

impl Bias {
    pub(super) fn plan(
        cx: Cx<'_>,
        op: OpId,
        erased: &IdSet<OpId>,
        w: &Weight,
        copied: &mut Vec<std::sync::Arc<str>>,
    ) -> Result<Self, FoldReason> {
        let Cx { g, pool, .. } = cx;
        let n = w.map.out.count;
        let name = bias_name(g, w.resolved.op);
        let plain = |transform| Self {
            transform: Some(transform),
            kind: None,
            addend: None,
            base: None,
            beta: 1.0,
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
                let Some(r) = resolve(cx, at, Role::Bias, erased)? else {
                    if !g.capabilities().may_add_bias(op, g.kind(op)) {
                        return Err(FoldReason::NotExpressible { what: "a bias on this op" });
                    }
                    return Ok(new(slot));
                };
                let dims = r.dims.clone();
                if dims != [n] {
                    let found = dims.iter().product();
                    return Err(FoldReason::ChannelMismatch {
                        blocker: Blocker::of(g, op),
                        expected: n,
                        found,
                    });
                }
                let Some(map) = r.map(&ElementMap::axis(&dims, 0)) else {
                    let blocker = Blocker::of(g, op);
                    return Err(FoldReason::NotConstant { what: Role::Bias, blocker });
                };
                let target = target(cx, &r, at, Role::Bias, copied)?;
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
                let c = if l.beta == 0.0 { None } else { resolve(cx, at, Role::Bias, erased)? };
                let Some(r) = c else {
                    if !g.capabilities().may_add_bias(op, g.kind(op)) {
                        return Err(FoldReason::NotExpressible { what: "a bias on this op" });
                    }
                    return Ok(Self { kind, ..new(slot) });
                };
                let dims = r.dims.clone();
                let Some(wide) = broadcast_to_columns(&dims, n) else {
                    let found = dims.last().copied().unwrap_or(1);
                    return Err(FoldReason::ChannelMismatch {
                        blocker: Blocker::of(g, op),
                        expected: n,
                        found,
                    });
                };
                // A bias in another shape than it is stored in cannot be widened where it is stored.
                let is_view = r.is_view(&pool.dims(r.entry));
                let map = r.map(&ElementMap::axis(&wide, wide.len() - 1));
                let Some(map) = map.filter(|_| !is_view || wide == dims) else {
                    let blocker = Blocker::of(g, op);
                    return Err(FoldReason::NotConstant { what: Role::Bias, blocker });
                };
                let target = target(cx, &r, at, Role::Bias, copied)?;
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
            BiasSlot::None => Self::of_matmul(cx, op, w, new(2), name),
        }
    }

    /// A matrix product has no bias: at rank 2 it becomes a linear op, else an Add of t takes the batch norm's place.
    fn of_matmul(
        cx: Cx<'_>,
        op: OpId,
        w: &Weight,
        with_bias: Self,
        name: Option<std::sync::Arc<str>>,
    ) -> Result<Self, FoldReason> {
        let g = cx.g;
        let rank = cx.rank(g.result(op, 0));
        let linear = OpKind::from(Linear { matrix: true, ..Linear::default() });
        let data = g.operand(op, w.map.data).and_then(|v| cx.rank(v));
        if w.map.weight == 1
            && w.resolved.dims.len() == 2
            && data == Some(2)
            && g.capabilities().may_change(g.kind(op), &linear)
            && g.capabilities().may_create(&linear, w.dtype)
        {
            return Ok(Self { kind: Some(linear), ..with_bias });
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
        let addend = Addend { dtype: w.dtype, dims, vector: T, name, op_name: None };
        let addend = Some(Box::new(addend));
        Ok(Self { transform: None, kind: None, addend, base: None, beta: 1.0 })
    }

    /// Leaves the old bias as it is: only the shift comes on top.
    pub(super) fn keep_scale(&mut self) {
        if let Some(t) = &mut self.transform {
            t.steps.retain(|s| !matches!(s, Relative::Scale { vector: S, .. }));
        }
    }

    /// Whether the op has had no bias: without a shift it needs none.
    pub(super) fn is_new(&self) -> bool {
        self.base.is_none()
    }

    pub(super) fn present(&self, pool: &ConstPool) -> bool {
        self.base.is_none_or(|b| pool.is_present(b))
    }

    /// Checks that every `β·b·s + t` is finite once stored; gives the largest cancellation and magnitude.
    pub(super) fn values(
        &self,
        pool: &ConstPool,
        dtype: DType,
        (s, t): (&[f64], &[f64]),
    ) -> Result<(f64, f64), FoldReason> {
        let overflow = |channel| FoldReason::Overflow { what: Role::Bias, channel: Some(channel) };
        let n = t.len();
        let old = match self.base {
            Some(b) => {
                pool.to_exact_f64(b).map_err(|_| FoldReason::WeightsAbsent { blocker: None })?
            }
            None => vec![0.0],
        };
        let (mut cancellation, mut largest) = (1.0f64, 0.0f64);
        let mut stored = [0u8; 8];
        // Rows of n channels; a scalar or a column serves every channel.
        let dims = self.base.map(|b| pool.dims(b));
        let columns = dims.is_some_and(|d| d.last() == Some(&(n as u64)));
        for (i, &b) in old.iter().enumerate() {
            let channels = if columns { i % n..i % n + 1 } else { 0..n };
            for c in channels {
                if !b.is_finite() {
                    return Err(FoldReason::NonFinite { what: "the bias", channel: c });
                }
                let scaled = b * self.beta * s[c];
                let new = scaled + t[c];
                let bytes = &mut stored[..dtype.bytes_for(1).unwrap_or(0) as usize];
                let mut back = [0.0];
                if !encode_f64(dtype, &[new], bytes)
                    || !decode_f64(dtype, bytes, 0, &mut back)
                    || !back[0].is_finite()
                {
                    return Err(overflow(c));
                }
                let magnitude = scaled.abs() + t[c].abs();
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
