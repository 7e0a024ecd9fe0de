//! Absorbing: `y = L(x, W, b)` becomes `s·y + t = L(x, W·s, b·s + t)`.
//!
//! Each check has one reason, and returns what the plan needs.

use super::{
    affine::Affine,
    ask::Ask,
    bias::Bias,
    cx::Cx,
    plan::{Absorbed, Relative, Target, Transform},
    reason::{Blocker, FoldReason, Role},
    resolve::{Resolved, resolve},
    search::Found,
    weight::{per_channel, weight},
};
use normfold_ir::{DType, ElementMap, IdSet, OpId, OpKind, Use, Value};
use std::sync::Arc;

/// The vectors of one absorbing op: s, t, and the `beta` of a linear op.
pub(super) const S: usize = 0;
pub(super) const T: usize = 1;
pub(super) const BETA: usize = 2;

/// Where the transform of a constant goes: in place when the absorber is its only reader, else to a copy.
pub(super) fn target(
    cx: Cx<'_>,
    r: &Resolved,
    at: Use,
    what: Role,
    copied: &mut Vec<Arc<str>>,
) -> Result<Target, FoldReason> {
    let Cx { g, pool, .. } = cx;
    if r.exclusive && !g.capabilities().may_change_constant(r.op) {
        return Err(FoldReason::NotExpressible { what: "another value of this constant" });
    }
    if r.exclusive {
        return Ok(Target::InPlace { constant: r.op, base: r.entry });
    }
    // A document without room for another constant allows no copy either.
    let expressible = g.capabilities().may_add_constant(pool.dtype(r.entry));
    if r.computed && expressible {
        if matches!(g.kind(r.op), OpKind::Constant(_) | OpKind::Parameter(_)) {
            copied.push(g.location(r.op));
        }
        return Ok(Target::Copy { at, base: r.entry, name: None });
    }
    let bytes = pool.byte_len(r.entry);
    let name = g.location(r.op);
    // The copy would have to be laid out anew.
    let is_view = r.is_view(&pool.dims(r.entry));
    if !cx.allow_copy || bytes > cx.copy_limit || !expressible || is_view {
        return Err(FoldReason::SharedWeight { what, name, bytes, placeable: expressible });
    }
    copied.push(name.clone());
    Ok(Target::Copy { at, base: r.entry, name: Some(name) })
}

/// What `op` has to become for its result to be `ask` of what it is, and the data that it reads.
///
/// `root` is the batch norm that reads the result directly, where there is one: an Add that takes its place has its name.
pub(super) fn absorb(
    cx: Cx<'_>,
    op: OpId,
    ask: &Ask,
    erased: &IdSet<OpId>,
    root: Option<OpId>,
    found: &mut Found,
) -> Result<(Absorbed, Value), FoldReason> {
    let Cx { g, pool, .. } = cx;
    let w = weight(cx, op, erased)?;
    let (s, t) = per_channel(cx, op, &w.map, ask)?;
    let data = g.operand(op, w.map.data);
    let data = data.ok_or_else(|| FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) })?;
    let mut absorbed = Absorbed::of(op, vec![s.clone(), t.clone(), vec![1.0]]);
    w.scaled(cx, &w.map.out.map, S, &mut absorbed, &mut found.copied)?;
    let mut bias = Bias::plan(cx, op, erased, &w, &mut found.copied)?;
    found.absent |= !w.is_present(cx) || !bias.present(pool);
    if !found.absent {
        let (cancellation, magnitude) = bias.values(pool, w.dtype, (&s, &t))?;
        found.cancellation = found.cancellation.max(cancellation);
        found.slack += magnitude;
    }
    if bias.is_new() && t.iter().all(|&t| t == 0.0) {
        (bias.kind, bias.addend, bias.transform) = (None, None, None);
    }
    if let Some(a) = &mut bias.addend {
        a.op_name = root.and_then(|r| g.op_name(r).cloned());
    }
    absorbed.vectors[BETA] = vec![bias.beta];
    absorbed.transforms.extend(bias.transform);
    (absorbed.kind, absorbed.addend) = (bias.kind, bias.addend);
    Ok((absorbed, data))
}

/// A batch norm that stays takes another one in: `γ' = γ·s`, `β' = β·s + t`.
pub(super) fn into_norm(
    cx: Cx<'_>,
    op: OpId,
    ask: &Ask,
    own: &Affine,
    erased: &IdSet<OpId>,
    found: &mut Found,
) -> Result<(Absorbed, Value), FoldReason> {
    let Cx { g, pool, .. } = cx;
    let blocker = || Blocker::of(g, op);
    let axis = own.ask.axes().first().copied();
    let width = axis.and_then(|a| own.ask.extent(a));
    let (Some(axis), Some(n), Some(data)) = (axis, width, g.operand(op, 0)) else {
        return Err(FoldReason::NoLinearProducer { blocker: blocker() });
    };
    let Some((s, t)) = ask.vectors(axis, n) else {
        return Err(FoldReason::AxisMismatch {
            blocker: blocker(),
            axis: ask.axes().first().copied().unwrap_or(0),
            channels: Some(axis),
        });
    };
    let mut transforms = Vec::new();
    let mut operand = |i: u32, what, steps: &[usize]| -> Result<Option<Vec<f64>>, FoldReason> {
        let at = Use { user: op, operand: i };
        let map = ElementMap::axis(&[n], 0);
        let Some(r) = resolve(cx, at, what, erased)? else {
            return Err(FoldReason::NoLinearProducer { blocker: blocker() });
        };
        if r.is_view(&pool.dims(r.entry)) {
            return Err(FoldReason::NotConstant { what, blocker: Blocker::of(g, r.op) });
        }
        let values = pool.to_exact_f64(r.entry).ok();
        let target = target(cx, &r, at, what, &mut found.copied)?;
        let steps = steps
            .iter()
            .map(|&vector| match vector {
                S => Relative::Scale { map: map.clone(), vector },
                _ => Relative::Shift { map: map.clone(), vector },
            })
            .collect();
        transforms.push(Transform { target, steps });
        Ok(values)
    };
    let gamma = operand(1, Role::Scale, &[S])?;
    let beta = operand(2, Role::Shift, &[S, T])?;
    found.absent |= own.absent || gamma.is_none() || beta.is_none();
    let dtype = g.operand(op, 1).and_then(|v| cx.types.dtype(v)).unwrap_or(DType::F32);
    let limit = dtype.max_finite().unwrap_or(f64::MAX);
    for c in 0..s.len() {
        let (g, b) = (gamma.as_ref().map_or(1.0, |v| v[c]), beta.as_ref().map_or(0.0, |v| v[c]));
        let new = b * s[c] + t[c];
        if (g * s[c]).abs().max(new.abs()) > limit {
            return Err(FoldReason::Overflow { what: Role::Scale, channel: Some(c) });
        }
        found.slack += 0.0f64.max(b.abs() * s[c].abs() + t[c].abs());
        // (x − μ)/σ multiplies what γ' is off by.
        if g != 0.0 {
            found.amplification = found.amplification.max(2.0 * (own.ask.s[c] / g).abs());
            found.amplification = found.amplification.max(2.0 * ((own.ask.t[c] - b) / g).abs());
        }
    }
    Ok((Absorbed { transforms, ..Absorbed::of(op, vec![s, t]) }, data))
}
