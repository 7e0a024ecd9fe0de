//! What each op that is neither linear nor affine does with what is asked of its result (rules.md, "Backward walk").

use super::{
    ask::Ask,
    reason::{Blocker, FoldReason},
    regroup,
    search::{Search, no_producer},
};
use normfold_ir::{
    BinaryKind, DepthMode, OpId, OpKind, Pad, PadMode, Pool, PoolKind, Reduce, ReduceKind, Resize,
    Use, Value,
};

type Outcome = Result<(), FoldReason>;

/// Hands what is asked of `op`'s result on to its operands.
pub(super) fn backward(s: &mut Search<'_>, op: OpId, ask: &Ask) -> Outcome {
    let g = s.cx.g;
    match g.kind(op) {
        OpKind::Identity(_) => s.pass(op, ask.clone()),
        OpKind::Dropout(d) if !d.training => s.pass(op, ask.clone()),
        OpKind::Cast(c) => {
            let from = g.operand(op, 0).and_then(|v| s.cx.types.dtype(v));
            match from {
                Some(d) if d == c.to => s.pass(op, ask.clone()),
                _ => Err(FoldReason::PrecisionNarrowing { blocker: Blocker::of(g, op) }),
            }
        }
        OpKind::Reshape(_) | OpKind::Flatten(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) => {
            let Some(before) = regroup::backward(s.cx, op, ask) else {
                return Err(axes(s, op, ask));
            };
            s.pass(op, before)
        }
        OpKind::Transpose(t) => {
            let rank =
                s.cx.rank(Value::new(op, 0)).or((!t.perm.is_empty()).then_some(t.perm.len()));
            let Some(rank) = rank else { return Err(unknown_rank(s, op)) };
            let axis = |a: usize| match t.perm.get(a) {
                Some(&p) => usize::try_from(if p < 0 { p + rank as i64 } else { p }).ok(),
                None if t.perm.is_empty() => rank.checked_sub(a + 1),
                None => None,
            };
            let Some(before) = ask.renamed(axis) else { return Err(axes(s, op, ask)) };
            s.pass(op, before)
        }
        OpKind::Expand(_) => expand(s, op, ask),
        OpKind::Concat(c) => concat(s, op, ask, c.axis),
        OpKind::Split(k) => split(s, op, k.axis),
        OpKind::Slice(_) => slice(s, op, ask),
        OpKind::DepthToSpace(d) => depth_to_space(s, op, ask, d.block, d.mode),
        OpKind::SpaceToDepth(d) => space_to_depth(s, op, ask, d.block),
        OpKind::Resize(r) => resize(s, op, ask, r),
        OpKind::Pool(p) => pool(s, op, ask, p),
        OpKind::GlobalPool(p) => {
            let data = g.operand(op, 0).and_then(|v| s.cx.rank(v));
            let axis = |a: usize| match (a, p.channel_last) {
                (0, _) => Some(0),
                (1, false) => Some(1),
                (a, true) if p.keepdims => data.filter(|r| a + 1 == *r).map(|_| a),
                (1, true) => data.map(|r| r - 1),
                _ => None,
            };
            let Some(before) = ask.renamed(axis) else { return Err(axes(s, op, ask)) };
            match p.f {
                PoolKind::Average => s.pass(op, before),
                PoolKind::Max => positive(s, op, before),
                PoolKind::Lp => Err(no_producer(g, op)),
            }
        }
        OpKind::Reduce(r) => reduce(s, op, ask, r),
        OpKind::Pad(p) => pad(s, op, ask, p),
        OpKind::Binary(k @ (BinaryKind::Add | BinaryKind::Sub)) => residual(s, op, ask, *k),
        _ => Err(no_producer(g, op)),
    }
}

fn axes(s: &Search<'_>, op: OpId, ask: &Ask) -> FoldReason {
    let axis = ask.axes().first().copied().unwrap_or(0);
    if let Some(b) = &s.sibling {
        return FoldReason::SiblingDisagrees { blocker: b.clone() };
    }
    FoldReason::AxisMismatch { blocker: Blocker::of(s.cx.g, op), axis, channels: None }
}

fn unknown_rank(s: &Search<'_>, op: OpId) -> FoldReason {
    FoldReason::UnknownRank { blocker: Blocker::of(s.cx.g, op) }
}

/// An axis counted from the end when negative.
fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&a| a < rank)
}

/// Larger stays larger only where s is positive.
fn positive(s: &mut Search<'_>, op: OpId, ask: Ask) -> Outcome {
    if ask.s.iter().all(|&s| s > 0.0) {
        return s.pass(op, ask);
    }
    Err(FoldReason::Sign { blocker: Blocker::of(s.cx.g, op) })
}

fn expand(s: &mut Search<'_>, op: OpId, ask: &Ask) -> Outcome {
    let Some(x) = s.cx.g.operand(op, 0) else { return Err(no_producer(s.cx.g, op)) };
    let (Some(from), Some(to)) = (s.cx.rank(x), s.cx.rank(Value::new(op, 0))) else {
        return Err(unknown_rank(s, op));
    };
    let lead = to.saturating_sub(from);
    let axis = |a: usize| {
        let b = a.checked_sub(lead)?;
        (s.cx.extent(x, b) == ask.extent(a)).then_some(b)
    };
    match ask.renamed(axis) {
        Some(before) => s.pass(op, before),
        None => Err(axes(s, op, ask)),
    }
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

fn slice(s: &mut Search<'_>, op: OpId, ask: &Ask) -> Outcome {
    let g = s.cx.g;
    let OpKind::Slice(k) = g.kind(op) else { return Err(no_producer(g, op)) };
    let Some(x) = g.operand(op, 0) else { return Err(no_producer(g, op)) };
    if ask.axes().is_empty() {
        return s.pass(op, ask.clone());
    }
    let ints = |attr: &Option<Vec<i64>>, i: usize| -> Option<Vec<Option<i64>>> {
        match attr {
            Some(list) => Some(list.iter().copied().map(Some).collect()),
            None => s.cx.constants().ints(g.operand(op, i)?),
        }
    };
    let Some(rank) = s.cx.rank(x) else { return Err(unknown_rank(s, op)) };
    let (starts, ends) = (ints(&k.starts, 1), ints(&k.ends, 2));
    let axes_of = match (&k.axes, g.operand(op, 3)) {
        (None, None) => starts.as_ref().map(|v| (0..v.len() as i64).map(Some).collect()),
        _ => ints(&k.axes, 3),
    };
    let Some(list) = axes_of else { return Err(axes(s, op, ask)) };
    let mut before = ask.clone();
    for (i, a) in list.iter().enumerate() {
        let Some(a) = a.and_then(|a| axis_of(a, rank)) else { return Err(axes(s, op, ask)) };
        if before.extent(a).is_none() {
            continue;
        }
        let step = match g.operand(op, 4) {
            Some(v) => s.cx.constants().ints(v).and_then(|v| *v.get(i)?),
            None => Some(1),
        };
        let from = starts.as_ref().and_then(|v| *v.get(i)?);
        let to = ends.as_ref().and_then(|v| *v.get(i)?);
        let (Some(n), Some(from), Some(to), Some(1)) = (s.cx.extent(x, a), from, to, step) else {
            return Err(axes(s, op, ask));
        };
        let clamp =
            |i: i64| (if i < 0 { i.saturating_add(n as i64) } else { i }).clamp(0, n as i64);
        let (from, to) = (clamp(from) as u64, clamp(to).max(clamp(from)) as u64);
        let one = || Ask::uniform(1.0, 0.0);
        if before.extent(a) != Some(to - from) {
            return Err(axes(s, op, ask));
        }
        let parts = [(one(), from), (before.clone(), to - from), (one(), n - to)];
        let Some(whole) = Ask::joined(a, &parts) else { return Err(axes(s, op, ask)) };
        before = whole;
    }
    s.pass(op, before)
}

/// Channel `k·C + c` (DCR) or `c·b² + k` (CRD) of x becomes channel c.
fn depth_to_space(s: &mut Search<'_>, op: OpId, ask: &Ask, b: u64, mode: DepthMode) -> Outcome {
    let blocks = b.saturating_mul(b);
    if ask.axes().is_empty() {
        return s.pass(op, ask.clone());
    }
    let (&[1], Some(n)) = (ask.axes(), ask.extent(1)) else { return Err(axes(s, op, ask)) };
    let source = |i: u64| match mode {
        DepthMode::Dcr => i % n,
        DepthMode::Crd => i / blocks.max(1),
    };
    if blocks.saturating_mul(n) > 1 << 20 {
        return Err(axes(s, op, ask));
    }
    s.pass(op, ask.taken(1, (0..blocks * n).map(source)))
}

/// Channel `k·C + c` of the result is channel c of x.
fn space_to_depth(s: &mut Search<'_>, op: OpId, ask: &Ask, b: u64) -> Outcome {
    let blocks = b.saturating_mul(b);
    if ask.axes().is_empty() {
        return s.pass(op, ask.clone());
    }
    let (&[1], Some(n)) = (ask.axes(), ask.extent(1)) else { return Err(axes(s, op, ask)) };
    if blocks == 0 || n % blocks != 0 {
        return Err(axes(s, op, ask));
    }
    let c = n / blocks;
    let first = ask.taken(1, 0..c);
    if (1..blocks).any(|k| ask.taken(1, k * c..(k + 1) * c) != first) {
        return Err(axes(s, op, ask));
    }
    s.pass(op, first)
}

fn resize(s: &mut Search<'_>, op: OpId, ask: &Ask, r: &Resize) -> Outcome {
    let g = s.cx.g;
    let blocker = || Blocker::of(g, op);
    if &*r.coordinates == "tf_crop_and_resize" {
        return Err(FoldReason::Extrapolation { blocker: blocker() });
    }
    let Some(x) = g.operand(op, 0) else { return Err(no_producer(g, op)) };
    let Some(rank) = s.cx.rank(x) else { return Err(unknown_rank(s, op)) };
    let sizes = g.operand(op, 3);
    for &a in ask.axes() {
        let at = match &r.axes {
            None => Some(a),
            Some(list) => list.iter().position(|&l| axis_of(l, rank) == Some(a)),
        };
        let Some(at) = at else { continue };
        let kept = match (sizes, &r.scales, g.operand(op, 2)) {
            (Some(v), ..) => {
                let n = s.cx.constants().ints(v).and_then(|v| *v.get(at)?);
                &*r.aspect == "stretch" && n.is_some() && n == s.cx.extent(x, a).map(|n| n as i64)
            }
            (None, Some(list), _) => list.get(at) == Some(&1.0),
            (None, None, Some(v)) => {
                let t = s.cx.constants().tensor(v).ok();
                t.is_some_and(|t| t.to_f64s().get(at) == Some(&1.0))
            }
            _ => false,
        };
        if !kept {
            return Err(axes(s, op, ask));
        }
    }
    // The weights of cubic interpolation sum to 1, their magnitudes to less than 2 per axis.
    if &*r.mode == "cubic" {
        s.found.amplification *= 2f64.powi(rank as i32);
    }
    s.pass(op, ask.clone())
}

fn pool(s: &mut Search<'_>, op: OpId, ask: &Ask, p: &Pool) -> Outcome {
    let g = s.cx.g;
    let channel = p.x.channel_axis();
    if ask.axes().iter().any(|&a| a != 0 && a != channel) {
        return Err(axes(s, op, ask));
    }
    match p.f {
        PoolKind::Max => {
            if g.results(op).skip(1).any(|v| !g.is_unused(v)) {
                return Err(no_producer(g, op));
            }
            positive(s, op, ask.clone())
        }
        PoolKind::Average => {
            let unpadded = (0..usize::from(p.x.spatial)).all(|i| p.pad.explicit(i) == Some((0, 0)));
            // Where the divisor counts what stands outside, t would be averaged with zeros.
            let whole = !p.count_include_pad || unpadded && !p.ceil_mode;
            if ask.shifts() && !whole {
                return Err(FoldReason::PaddingBetween { blocker: Blocker::of(g, op) });
            }
            s.pass(op, ask.clone())
        }
        PoolKind::Lp => Err(no_producer(g, op)),
    }
}

fn reduce(s: &mut Search<'_>, op: OpId, ask: &Ask, r: &Reduce) -> Outcome {
    let g = s.cx.g;
    let Some(rank) = g.operand(op, 0).and_then(|x| s.cx.rank(x)) else {
        return Err(unknown_rank(s, op));
    };
    let list = match (&r.axes, g.operand(op, 1)) {
        (Some(list), _) => Some(list.iter().copied().map(Some).collect()),
        (None, Some(v)) => s.cx.constants().ints(v),
        (None, None) => Some(Vec::new()),
    };
    let reduced: Option<Vec<usize>> =
        list.and_then(|l| l.into_iter().map(|a| axis_of(a?, rank)).collect());
    let Some(mut reduced) = reduced else { return Err(axes(s, op, ask)) };
    if reduced.is_empty() && !r.noop_with_empty_axes {
        reduced = (0..rank).collect();
    }
    let kept: Vec<usize> = (0..rank).filter(|a| !reduced.contains(a)).collect();
    let axis = |a: usize| match r.keepdims {
        true => kept.contains(&a).then_some(a),
        false => kept.get(a).copied(),
    };
    let Some(before) = ask.renamed(axis) else { return Err(axes(s, op, ask)) };
    match r.f {
        ReduceKind::Mean => s.pass(op, before),
        ReduceKind::Max => positive(s, op, before),
        ReduceKind::Min => positive(s, op, before),
        _ => Err(no_producer(g, op)),
    }
}

fn pad(s: &mut Search<'_>, op: OpId, ask: &Ask, p: &Pad) -> Outcome {
    let g = s.cx.g;
    let refuse = || FoldReason::PaddingBetween { blocker: Blocker::of(g, op) };
    let amounts = match (&p.amounts, g.operand(op, 1)) {
        (Some(list), _) => Some(list.iter().copied().map(Some).collect()),
        (None, Some(v)) => s.cx.constants().ints(v),
        _ => None,
    };
    let Some(amounts) = amounts else { return Err(refuse()) };
    let n = amounts.len() / 2;
    let padded: Option<Vec<(usize, i64, i64)>> = match g.operand(op, 3) {
        None => (0..n).map(|i| Some((i, amounts[i]?, amounts[i + n]?))).collect(),
        Some(v) => s.cx.constants().ints(v).and_then(|list| {
            let rank = g.operand(op, 0).and_then(|x| s.cx.rank(x))?;
            let one =
                |i: usize| Some((axis_of((*list.get(i)?)?, rank)?, amounts[i]?, amounts[i + n]?));
            (0..n).map(one).collect()
        }),
    };
    let Some(padded) = padded else { return Err(refuse()) };
    let moved = |a: usize| padded.iter().any(|&(b, x, y)| a == b && (x != 0 || y != 0));
    if ask.axes().iter().any(|&a| moved(a)) {
        return Err(axes(s, op, ask));
    }
    let grows = padded.iter().any(|&(_, x, y)| x > 0 || y > 0);
    if p.mode == PadMode::Constant && grows {
        let value = match (p.value, g.operand(op, 2)) {
            (Some(v), _) => Some(v),
            (None, None) => Some(0.0),
            (None, Some(v)) => {
                s.cx.constants().tensor(v).ok().and_then(|t| t.to_f64s().first().copied())
            }
        };
        let Some(value) = value else { return Err(refuse()) };
        let outside: Vec<f64> = ask.s.iter().zip(&ask.t).map(|(s, t)| s * value + t).collect();
        // x is padded with u where s·u + t was: before the fold the pad stood behind nothing that shifts.
        let dtype = g.operand(op, 0).and_then(|x| s.cx.types.dtype(x));
        match (outside.first(), dtype) {
            (Some(&u), Some(dtype)) if outside.iter().all(|&o| o == u) => {
                if u != value {
                    s.found.plan.pads.push((op, u, dtype));
                    s.found.slack += u.abs();
                }
            }
            _ => return Err(refuse()),
        }
    }
    s.pass(op, ask.clone())
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

/// How much stands against sending the shift that way.
fn shift_cost(s: &Search<'_>, v: Value) -> u32 {
    let g = s.cx.g;
    match g.kind(v.op) {
        OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) => {
            u32::from(g.operand(v.op, 2).is_none())
        }
        OpKind::BatchNorm(_) | OpKind::MatMul(_) => 2,
        OpKind::Pool(_) | OpKind::Pad(_) => 5,
        OpKind::Parameter(_) => 6,
        _ => 3,
    }
}
