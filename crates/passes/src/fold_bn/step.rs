//! What each op that is neither linear nor affine does with what is asked of its result (rules.md, "Backward walk").

use super::{
    across::{Way, across},
    ask::Ask,
    cx::Cx,
    geometry::axis_of,
    linear::{S, T, target},
    plan::{Absorbed, Relative, Transform},
    reason::{Blocker, FoldReason, Role},
    resolve::{Resolved, resolve},
    search::{Demand, Search, no_producer},
};
use normfold_ir::{BinaryKind, ElementMap, IdSet, OpId, OpKind, Use, Value};

type Outcome = Result<(), FoldReason>;

/// Hands what is asked of `op`'s result on to its operands.
pub(super) fn backward(s: &mut Search<'_>, op: OpId, ask: &Ask) -> Outcome {
    match s.cx.g.kind(op) {
        OpKind::Concat(c) => concat(s, op, ask, c.axis),
        OpKind::Split(k) => split(s, op, k.axis),
        OpKind::Binary(k @ (BinaryKind::Add | BinaryKind::Sub)) => residual(s, op, ask, *k),
        _ => {
            let other = across(s.cx, op, ask, Way::Back).map_err(|e| s.sibling_of(e))?;
            let Some(other) = other else {
                // Arithmetic with a constant whose axis is not known yet may still become affine.
                if !matches!(s.cx.g.kind(op), OpKind::Binary(_)) {
                    s.barrier = Some(op);
                }
                return Err(no_producer(s.cx.g, op));
            };
            s.found.crossed(op, &other);
            s.pass(op, other.ask)
        }
    }
}

fn axes(s: &Search<'_>, op: OpId, ask: &Ask) -> FoldReason {
    let axis = ask.axes().first().copied().unwrap_or(0);
    s.sibling_of(FoldReason::AxisMismatch {
        blocker: Blocker::of(s.cx.g, op),
        axis,
        channels: None,
    })
}

fn unknown_rank(s: &Search<'_>, op: OpId) -> FoldReason {
    FoldReason::UnknownRank { blocker: Blocker::of(s.cx.g, op) }
}

fn concat(s: &mut Search<'_>, op: OpId, ask: &Ask, axis: i64) -> Outcome {
    let g = s.cx.g;
    let operands: Vec<Value> = g.operands(op).flatten().collect();
    let along = if axis >= 0 {
        axis as usize
    } else {
        let rank = operands.iter().find_map(|&v| s.cx.rank(v));
        match rank.and_then(|r| axis_of(axis, r)) {
            Some(a) => a,
            None => return Err(unknown_rank(s, op)),
        }
    };
    s.found.via.push(op);
    let Some(whole) = ask.extent(along) else {
        for i in 0..operands.len() {
            s.ask(Use { user: op, operand: i as u32 }, ask.clone())?;
        }
        return Ok(());
    };
    let mut at = 0;
    let mut parts = Vec::new();
    for &v in &operands {
        let Some(n) = s.cx.extent(v, along) else { return Err(unknown_rank(s, op)) };
        parts.push((at, n));
        at += n;
    }
    if at != whole {
        let blocker = Blocker::of(g, op);
        return Err(FoldReason::ChannelMismatch { blocker, expected: at, found: whole });
    }
    for (i, (from, n)) in parts.into_iter().enumerate() {
        s.ask(Use { user: op, operand: i as u32 }, ask.taken(along, from..from + n))?;
    }
    Ok(())
}

fn split(s: &mut Search<'_>, op: OpId, axis: i64) -> Outcome {
    let g = s.cx.g;
    let x = g.operand(op, 0);
    let Some(rank) = x.and_then(|x| s.cx.rank(x)) else { return Err(unknown_rank(s, op)) };
    let Some(along) = axis_of(axis, rank) else { return Err(no_producer(g, op)) };
    let results: Vec<Value> = g.results(op).collect();
    let asked: Vec<Option<Ask>> = results.iter().map(|&v| s.demand(v).cloned()).collect();
    let used = |v: Value| g.value_uses(v).next().is_some();
    let first = asked.iter().flatten().next().cloned();
    let Some(first) = first else { return Err(no_producer(g, op)) };
    let elsewhere = asked.iter().flatten().all(|a| a.extent(along).is_none());
    let same = |(v, a): (&Value, &Option<Ask>)| a.as_ref().map_or(!used(*v), |a| *a == first);
    if elsewhere && results.iter().zip(&asked).all(same) {
        return s.pass(op, first);
    }
    let mut parts = Vec::new();
    for (&v, a) in results.iter().zip(asked) {
        let Some(n) = s.cx.extent(v, along) else { return Err(unknown_rank(s, op)) };
        if a.is_none() && used(v) {
            s.sibling.get_or_insert(Blocker::of(g, op));
        }
        parts.push((a.unwrap_or(Ask::uniform(1.0, 0.0)), n));
    }
    match Ask::joined(along, &parts) {
        Some(whole) => s.pass(op, whole),
        None => Err(axes(s, op, &first)),
    }
}

/// A sum takes the scale in every branch and the shift in one.
fn residual(s: &mut Search<'_>, op: OpId, ask: &Ask, kind: BinaryKind) -> Outcome {
    let g = s.cx.g;
    let (Some(a), Some(b)) = (g.operand(op, 0), g.operand(op, 1)) else {
        return Err(no_producer(g, op));
    };
    let branch = |v: Value, ask: Ask| -> Result<Ask, FoldReason> {
        if ask.axes().is_empty() {
            return Ok(ask);
        }
        let (Some(own), Some(rank)) = (s.cx.rank(v), s.cx.rank(Value::new(op, 0))) else {
            return Err(unknown_rank(s, op));
        };
        let lead = rank.saturating_sub(own);
        let axis = |a: usize| {
            let at = a.checked_sub(lead)?;
            (s.cx.extent(v, at).is_none_or(|n| Some(n) == ask.extent(a))).then_some(at)
        };
        ask.renamed(axis).ok_or_else(|| axes(s, op, &ask))
    };
    let sub = kind == BinaryKind::Sub;
    if a == b {
        // Both uses are one value: each takes half of the shift. The difference of a value and itself is 0.
        if sub {
            return Err(no_producer(g, op));
        }
        let half = branch(a, ask.map_shift(|t| t / 2.0))?;
        s.found.via.push(op);
        s.ask(Use { user: op, operand: 0 }, half.clone())?;
        return s.ask(Use { user: op, operand: 1 }, half);
    }
    let into_first = shift_cost(s, a) <= shift_cost(s, b);
    let (full, scaled) = (ask.clone(), ask.scale_only());
    let negated = ask.map_shift(|t| -t);
    let (first, second) = match (into_first, sub) {
        (true, _) => (branch(a, full)?, branch(b, scaled)?),
        (false, false) => (branch(a, scaled)?, branch(b, full)?),
        (false, true) => (branch(a, scaled)?, branch(b, negated)?),
    };
    s.found.via.push(op);
    s.ask(Use { user: op, operand: 0 }, first)?;
    s.ask(Use { user: op, operand: 1 }, second)
}

/// A constant that is a branch takes both itself.
pub(super) fn constant(s: &mut Search<'_>, op: OpId) -> Outcome {
    let (g, pool) = (s.cx.g, s.cx.pool);
    let v = Value::new(op, 0);
    let Some(Demand { ask, uses }) = s.demanded(v).cloned() else {
        return Err(no_producer(g, op));
    };
    let Some(&at) = uses.first() else { return Err(no_producer(g, op)) };
    if g.is_quantized(v) {
        return Err(FoldReason::Quantized { blocker: Blocker::of(g, op) });
    }
    let Some(mut r) = resolve(s.cx, at, Role::Weight, &IdSet::default())? else {
        return Err(no_producer(g, op));
    };
    let dtype = pool.dtype(r.entry);
    if !dtype.is_arithmetic_float() {
        return Err(FoldReason::UnsupportedType { blocker: Blocker::of(g, op), dtype });
    }
    let others = g.value_uses(v).any(|u| !uses.contains(&u));
    // Several uses in the plan agree: they keep reading one constant.
    r.exclusive = !others;
    if others && uses.len() > 1 {
        let users = g.value_uses(v).count();
        return Err(FoldReason::MultipleConsumers {
            blocker: Blocker::of(g, op),
            users,
            returned: false,
        });
    }
    let map = match ask.axes() {
        [] => ElementMap::single(),
        &[a] if r.dims.get(a).copied() == ask.extent(a) => ElementMap::axis(&r.dims, a),
        _ => return Err(axes(s, op, &ask)),
    };
    let target = target(s.cx, &r, at, Role::Weight, &mut s.found.copied)?;
    s.found.absent |= !pool.is_present(r.entry);
    if !s.found.absent {
        s.found.slack += magnitude(s.cx, &r, &map, &ask)?;
    }
    let mut steps = vec![Relative::Scale { map: map.clone(), vector: S }];
    if ask.shifts() {
        steps.push(Relative::Shift { map, vector: T });
    }
    let mut absorbed = Absorbed::of(at.user, vec![ask.s, ask.t]);
    absorbed.transforms.push(Transform { target, steps });
    s.found.plan.constants.push(absorbed);
    Ok(())
}

/// The largest `|s·x| + |t|`, each finite once stored.
fn magnitude(cx: Cx<'_>, r: &Resolved, map: &ElementMap, ask: &Ask) -> Result<f64, FoldReason> {
    let limit = cx.pool.dtype(r.entry).max_finite().unwrap_or(f64::MAX);
    let mut block = [0.0; 4096];
    let (mut at, count, mut largest) = (0, cx.pool.count(r.entry), 0.0f64);
    while at < count {
        let n = (count - at).min(block.len() as u64) as usize;
        let read = cx.pool.read_exact_f64(r.entry, at, &mut block[..n]);
        read.map_err(|_| FoldReason::WeightsAbsent { blocker: None })?;
        for (i, x) in block[..n].iter().enumerate() {
            let c = map.at(at + i as u64) as usize;
            let m = (x * ask.s[c]).abs() + ask.t[c].abs();
            if !x.is_finite() {
                return Err(FoldReason::NonFinite { what: "a constant addend", channel: c });
            }
            if m.is_nan() || m >= limit {
                return Err(FoldReason::Overflow { what: Role::Weight, channel: Some(c) });
            }
            largest = largest.max(m);
        }
        at += n as u64;
    }
    Ok(largest)
}

/// How much stands against sending the shift that way.
fn shift_cost(s: &Search<'_>, v: Value) -> u32 {
    let g = s.cx.g;
    match g.kind(v.op) {
        OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) => {
            u32::from(g.operand(v.op, 2).is_none())
        }
        OpKind::Constant(_) => 1,
        OpKind::BatchNorm(_) | OpKind::MatMul(_) => 2,
        OpKind::Pool(_) | OpKind::Pad(_) => 5,
        OpKind::Parameter(_) => 6,
        _ => 3,
    }
}
