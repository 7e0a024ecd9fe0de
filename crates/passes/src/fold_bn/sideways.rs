//! The sideways search: a batch norm whose result is added to a convolution of the same input goes onto the diagonal of
//! the tap that reads the output's own position.
//!
//! ```text
//! conv(x; W, b) + (s·x + t)  =  conv(x; W + D, b + t)      D[c, c, tap] = s[c]
//! (s·x + t) − conv(x; W, b)  =  conv(x; D − W, t − b)
//! ```
//!
//! The convolution is any leaf of a tree of sums and differences, each read once; arithmetic by constants on the way scales
//! what arrives.

use super::{
    affine::elementwise,
    ask::Ask,
    bias::Bias,
    cx::Cx,
    linear::{BETA, S, target},
    plan::{Absorbed, Relative, Transform},
    reason::{Blocker, FoldReason, Role},
    search::{Chain, Found, no_producer, whole_chain},
    weight::{Weight, weight},
};
use normfold_ir::{
    BinaryKind, Conv, ElementMap, IdSet, KernelOrder, OpId, OpKind, Padding, Use, Value,
};

/// How many ops of a tree are looked at.
const REACH: usize = 64;

/// The tap's factor and the shift, beside the vectors that a bias names.
const DIAGONAL: usize = 3;

/// A convolution of the same input, and what its result is multiplied by on the way to the sum.
struct Partner {
    op: OpId,
    gain: Ask,
}

/// Searches the sums that `root`'s result goes into.
pub(super) fn run(cx: Cx<'_>, root: OpId) -> Result<Found, FoldReason> {
    let g = cx.g;
    let none = || no_producer(g, root);
    let Chain { affine, parameters, data, ops } = whole_chain(cx, root)?;
    let x = source(cx, data);
    let mut found = Found {
        cancellation: 1.0,
        amplification: 1.0,
        sideways: true,
        parameters,
        own: Some(affine.ask.clone()),
        absent: affine.absent,
        slack: affine.shift_magnitude,
        frontier: vec![x],
        ..Found::default()
    };
    // What arrives at the sum, as a function of x; behind the first sum only its factor changes.
    let mut arriving = affine.ask;
    let mut at = Value::new(root, 0);
    let mut entered = None;
    // Readers of their shapes read that of x: neither changes it.
    let mut bypassed = ops;
    let mut negated = false;
    for _ in 0..REACH {
        if g.is_quantized(at) {
            return Err(none());
        }
        let u = g.single_value_use(at).filter(|u| u.capture().is_none()).ok_or_else(none)?;
        let op = u.user;
        if let Some(a) = elementwise(cx, op).filter(|a| a.data == u.operand as usize) {
            let gain = if entered.is_some() { a.ask.scale_only() } else { a.ask.clone() };
            arriving = gain.after(&arriving).ok_or_else(none)?;
            if entered.is_none() {
                bypassed.push((op, a.data));
            }
        } else {
            match g.kind(op) {
                OpKind::Identity(_) if entered.is_none() => bypassed.push((op, 0)),
                OpKind::Identity(_) => {}
                OpKind::Binary(k @ (BinaryKind::Add | BinaryKind::Sub)) => {
                    let other = 1 - u.operand as usize;
                    let o = g.operand(op, other).ok_or_else(none)?;
                    if o == at {
                        return Err(none());
                    }
                    // The sum gives way to o: where that is subtracted, o has to become its negative.
                    if entered.is_none() {
                        negated = *k == BinaryKind::Sub && u.operand == 0;
                    }
                    let negative = |operand: usize| *k == BinaryKind::Sub && operand == 1;
                    if negative(u.operand as usize) {
                        arriving = Ask::uniform(-1.0, 0.0).after(&arriving).ok_or_else(none)?;
                    }
                    if entered.is_none() {
                        entered = Some((op, other));
                    }
                    let sign = if negative(other) { -1.0 } else { 1.0 };
                    let mut leaves = Vec::new();
                    let partner = leaf(cx, x, o, Ask::uniform(sign, 0.0), &mut leaves);
                    found.frontier.extend(leaves.into_iter().filter(|&v| v != x));
                    if let Some(partner) = partner {
                        // Only a convolution that is all of o can be negated.
                        if negated
                            && (entered != Some((op, other)) || source(cx, o).op != partner.op)
                        {
                            return Err(none());
                        }
                        found.outputs.push(Value::new(op, 0));
                        let Some(entered) = entered else { return Err(none()) };
                        bypassed.push(entered);
                        found.plan.bypassed = bypassed;
                        return join(cx, partner, (&arriving, negated), entered.0, found);
                    }
                }
                _ => return Err(none()),
            }
        }
        at = Value::new(op, 0);
    }
    Err(none())
}

/// The value that identities hand on.
fn source(cx: Cx<'_>, mut v: Value) -> Value {
    while let OpKind::Identity(_) = cx.g.kind(v.op) {
        match cx.g.operand(v.op, 0) {
            Some(x) => v = x,
            None => break,
        }
    }
    v
}

/// A convolution of `x` among the terms of `o`; the other terms go to `leaves`.
fn leaf(cx: Cx<'_>, x: Value, o: Value, gain: Ask, leaves: &mut Vec<Value>) -> Option<Partner> {
    let g = cx.g;
    let mut partner: Option<Partner> = None;
    let mut stack = vec![(o, gain)];
    let mut looked = 0;
    while let Some((v, gain)) = stack.pop() {
        looked += 1;
        let open = looked <= REACH
            && v.result == 0
            && g.single_value_use(v).is_some()
            && !g.is_quantized(v)
            && partner.is_none();
        if open {
            if let Some(a) = elementwise(cx, v.op)
                && let (Some(gain), Some(data)) =
                    (gain.after(&a.ask.scale_only()), g.operand(v.op, a.data))
            {
                stack.push((data, gain));
                continue;
            }
            match (g.kind(v.op), g.operand(v.op, 0), g.operand(v.op, 1)) {
                (OpKind::Identity(_), Some(data), _) => {
                    stack.push((data, gain));
                    continue;
                }
                (OpKind::Binary(k @ (BinaryKind::Add | BinaryKind::Sub)), Some(a), Some(b)) => {
                    let sign = if *k == BinaryKind::Sub { -1.0 } else { 1.0 };
                    if let Some(second) = Ask::uniform(sign, 0.0).after(&gain) {
                        stack.push((b, second));
                        stack.push((a, gain));
                        continue;
                    }
                }
                (OpKind::Conv(c), Some(data), _)
                    if source(cx, data) == x && taps(cx, v.op, c).is_some() =>
                {
                    partner = Some(Partner { op: v.op, gain });
                    continue;
                }
                _ => {}
            }
        }
        if !leaves.contains(&v) {
            leaves.push(v);
        }
    }
    partner
}

/// The tap that reads the output's own position, where the result has the shape of the data.
fn taps(cx: Cx<'_>, op: OpId, c: &Conv) -> Option<Vec<u64>> {
    let w = cx.constants().ty(cx.g.operand(op, 1)?).ok()?.1;
    if w.len() != c.w.rank() || c.strides.iter().any(|&s| s != 1) {
        return None;
    }
    let one = |i: usize| {
        let k = *w.get(c.w.first_spatial_axis() + i)?;
        let d = c.dilations.get(i).copied().unwrap_or(1);
        let reach = i64::try_from(d.checked_mul(k.checked_sub(1)?)?).ok()?;
        let (before, after) = match c.pad {
            Padding::SameUpper => (reach / 2, reach - reach / 2),
            Padding::SameLower => (reach - reach / 2, reach / 2),
            _ => c.pad.explicit(i)?,
        };
        let before_d = u64::try_from(before).ok()?;
        let exact = before + after == reach && before_d.is_multiple_of(d) && before_d / d < k;
        exact.then_some(before_d / d)
    };
    (0..usize::from(c.x.spatial)).map(one).collect()
}

/// The element of the kernel that takes channel c of the data, at the tap, to channel c of the result.
fn diagonal(c: &Conv, dims: &[u64], taps: &[u64], channel: u64) -> Option<u64> {
    let mut index = vec![0; dims.len()];
    let (o, i) = (c.w.out_axis(), c.w.in_axis());
    match c.w.order {
        KernelOrder::Ois | KernelOrder::Sio => {
            index[o] = channel;
            index[i] = channel % dims[i];
        }
        KernelOrder::Scm if dims[o] == 1 => index[i] = channel,
        _ => return None,
    }
    for (k, &tap) in taps.iter().enumerate() {
        index[c.w.first_spatial_axis() + k] = tap;
    }
    let within = index.iter().zip(dims).all(|(i, d)| i < d);
    within.then(|| index.iter().zip(dims).fold(0, |at, (i, d)| at * d + i))
}

fn join(
    cx: Cx<'_>,
    partner: Partner,
    (arriving, negated): (&Ask, bool),
    sum: OpId,
    mut found: Found,
) -> Result<Found, FoldReason> {
    let (g, op) = (cx.g, partner.op);
    let none = || no_producer(g, op);
    let OpKind::Conv(c) = g.kind(op) else { return Err(none()) };
    let erased: IdSet<OpId> = found.plan.bypassed.iter().map(|b| b.0).collect();
    let w = weight(cx, op, &erased)?;
    if let Some(integers) = &w.integers {
        return Err(FoldReason::Quantized { blocker: Blocker::of(g, integers.op) });
    }
    let channels = w.map.out.count;
    let axis = c.x.channel_axis();
    if w.map.input.count != channels {
        return Err(none());
    }
    let mismatch = |ask: &Ask| FoldReason::AxisMismatch {
        blocker: Blocker::of(g, op),
        axis: ask.axes().first().copied().unwrap_or(0),
        channels: Some(axis),
    };
    let (s, t) = arriving.vectors(axis, channels).ok_or_else(|| mismatch(arriving))?;
    // Of the convolution as it will be: negated it arrives as it is.
    let sign = if negated { -1.0 } else { 1.0 };
    let gain = if negated { Ask::uniform(1.0, 0.0) } else { partner.gain };
    let (gain, _) = gain.vectors(axis, channels).ok_or_else(|| mismatch(&gain))?;
    let divided = |v: Vec<f64>| v.iter().zip(&gain).map(|(v, g)| v / g).collect::<Vec<f64>>();
    let (s, t) = (divided(s), divided(t));
    if s.iter().chain(&t).any(|x| !x.is_finite()) {
        return Err(none());
    }
    // Everything on the way has the data's rank: nothing is widened into another.
    let rank = cx.rank(Value::new(op, 0));
    if found.outputs.iter().any(|&v| cx.rank(v) != rank) {
        return Err(FoldReason::UnknownRank { blocker: Blocker::of(g, sum) });
    }
    let taps = taps(cx, op, c).ok_or_else(none)?;
    let dims = w.resolved.dims.clone();
    let positions: Option<Vec<(u64, f64)>> = (0..channels)
        .map(|k| Some((w.resolved.stored(diagonal(c, &dims, &taps, k)?)?, s[k as usize])))
        .collect();
    let mut positions = positions.ok_or_else(none)?;
    positions.sort_unstable_by_key(|p| p.0);
    let at = Use { user: op, operand: w.map.weight as u32 };
    let weight_target = target(cx, &w.resolved, at, Role::Weight, &mut found.copied)?;
    let (positions, addends): (Vec<u64>, Vec<f64>) = positions.into_iter().unzip();
    found.absent |= !cx.pool.is_present(w.resolved.entry);
    if !found.absent {
        fits(cx, &w, sign, &positions, &addends)?;
    }
    let mut steps = vec![Relative::Scatter { positions, vector: DIAGONAL }];
    if negated {
        steps.insert(0, Relative::Scale { map: ElementMap::single(), vector: S });
    }
    let mut transforms = vec![Transform { target: weight_target, steps }];
    let mut vectors = vec![vec![sign; channels as usize], t.clone(), vec![1.0], addends];
    let mut kind = None;
    let shifts = t.iter().any(|&t| t != 0.0);
    if shifts || negated && w.has_bias(g, op) {
        let mut bias = Bias::plan(cx, op, &erased, &w, &mut found.copied)?;
        found.absent |= !bias.present(cx.pool);
        if !found.absent {
            let (cancellation, magnitude) = bias.values(cx.pool, w.dtype, (&vectors[0], &t))?;
            found.cancellation = found.cancellation.max(cancellation);
            found.slack += magnitude;
        }
        if !negated {
            bias.keep_scale();
        }
        vectors[BETA] = vec![bias.beta];
        kind = bias.kind;
        transforms.extend(bias.transform);
    }
    found.amplification = gain.iter().fold(1.0, |m: f64, g| m.max(g.abs()));
    found.plan.absorbed.push(Absorbed { transforms, kind, ..Absorbed::of(op, vectors) });
    if found.absent {
        return Err(FoldReason::WeightsAbsent { blocker: Some(Blocker::of(g, op)) });
    }
    Ok(found)
}

/// Whether the diagonal stays finite.
fn fits(
    cx: Cx<'_>,
    w: &Weight,
    sign: f64,
    positions: &[u64],
    addends: &[f64],
) -> Result<(), FoldReason> {
    let limit = w.dtype.max_finite().unwrap_or(f64::MAX);
    for (channel, (&p, &a)) in positions.iter().zip(addends).enumerate() {
        let mut old = [0.0];
        let read = cx.pool.read_exact_f64(w.resolved.entry, p, &mut old);
        read.map_err(|_| FoldReason::WeightsAbsent { blocker: None })?;
        let new = sign * old[0] + a;
        if new.is_nan() || new.abs() > limit {
            return Err(FoldReason::Overflow { what: Role::Weight, channel: Some(channel) });
        }
    }
    Ok(())
}
