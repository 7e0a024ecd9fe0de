//! The forward search: from a root to every op that reads it, each of which takes the scale and shift into its weight.
//!
//! ```text
//! L(s·x + t; W, b)  =  L(x; W', b')      W'[i] = W[i]·s[in(i)]      b'[out(i)] += W[i]·t[in(i)], with the old W
//! ```
//!
//! What a value lacks travels from definitions to users, the earliest op first. Every reader has to absorb or to pass on.

use super::{
    affine::elementwise,
    ask::Ask,
    bias::Bias,
    cx::Cx,
    linear::target,
    plan::{Absorbed, Addend, Relative, Transform},
    reason::{Blocker, FoldReason, Role},
    regroup,
    search::{Found, affine_at, end_of_walk, no_producer},
    weight::{Weight, weight, weight_overflow},
};
use normfold_ir::{
    BinaryKind, ElementMap, OpId, OpKind, PadMode, Pool, PoolKind, ReduceKind, Use, Value,
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

/// The factor of the weight among an absorbing op's vectors, after those of its bias.
const IN: usize = 3;

struct Forward<'a> {
    cx: Cx<'a>,
    /// What each value lacks: its readers expect `ask` of what it will be.
    lacks: HashMap<Value, Ask>,
    heap: BinaryHeap<Reverse<(u32, OpId)>>,
    seen: HashSet<OpId>,
    found: Found,
}

/// Searches the readers of `root`. With `residual`, an Add of t/s stands where the root stood and only the scale moves.
pub(super) fn run(cx: Cx<'_>, root: OpId, residual: bool) -> Result<Found, FoldReason> {
    let g = cx.g;
    let found = Found { forward: true, cancellation: 1.0, amplification: 1.0, ..Found::default() };
    let (lacks, heap, seen) = Default::default();
    let mut this = Forward { cx, lacks, heap, seen, found };
    let y = Value::new(root, 0);
    if g.is_quantized(y) {
        return Err(FoldReason::Quantized { blocker: Blocker::of(g, root) });
    }
    let (mut affine, parameters) = affine_at(cx, root)?;
    let Some(mut x) = g.operand(root, affine.data) else { return Err(no_producer(g, root)) };
    this.found.plan.bypassed.push((root, affine.data));
    // All of a chain goes.
    while !matches!(g.kind(root), OpKind::BatchNorm(_))
        && g.single_value_use(x).is_some()
        && let Some(inner) = elementwise(cx, x.op)
        && let (Some(both), Some(data)) =
            (affine.ask.after(&inner.ask), g.operand(x.op, inner.data))
    {
        affine.shift_magnitude += inner.shift_magnitude * affine.ask.factor();
        affine.ask = both;
        this.found.plan.bypassed.insert(0, (x.op, inner.data));
        x = data;
    }
    if g.is_quantized(x) {
        return Err(FoldReason::Quantized { blocker: Blocker::of(g, root) });
    }
    this.found.parameters = parameters;
    this.found.own = Some(affine.ask.clone());
    this.found.absent = affine.absent;
    this.found.slack = affine.shift_magnitude;
    this.found.frontier.push(x);
    let mut ask = affine.ask;
    if residual {
        this.residual(root, x, &ask)?;
        ask = ask.scale_only();
    }
    this.lack(y, ask)?;
    while let Some(Reverse((_, op))) = this.heap.pop() {
        if this.seen.insert(op) {
            this.step(op)?;
        }
    }
    if this.found.plan.absorbed.is_empty() {
        return Err(no_producer(g, root));
    }
    if this.found.absent {
        let blocker = this.found.plan.absorbed.first().map(|a| Blocker::of(g, a.op));
        return Err(FoldReason::WeightsAbsent { blocker });
    }
    Ok(this.found)
}

impl Forward<'_> {
    /// An Add of t/s in place of the root: only where no shift belongs to a scale of 0.
    fn residual(&mut self, root: OpId, x: Value, ask: &Ask) -> Result<(), FoldReason> {
        let g = self.cx.g;
        let refuse = || FoldReason::PaddedShift { blocker: Blocker::of(g, root) };
        let quotients = ask.s.iter().zip(&ask.t).map(|(s, t)| if *t == 0.0 { 0.0 } else { t / s });
        let quotients: Vec<f64> = quotients.collect();
        let dtype = self.cx.types.dtype(x).ok_or_else(refuse)?;
        let limit = dtype.max_finite().unwrap_or(0.0);
        if quotients.iter().any(|q| q.is_nan() || q.abs() > limit) {
            return Err(refuse());
        }
        let rank = self.cx.rank(Value::new(root, 0)).or(self.cx.rank(x));
        let (axis, rank) = match (ask.axes(), rank) {
            ([], Some(r)) if r > 0 => (r - 1, r),
            (&[a], Some(r)) if a < r => (a, r),
            _ => return Err(FoldReason::UnknownRank { blocker: Blocker::of(g, root) }),
        };
        let add = OpKind::from(BinaryKind::Add);
        if !g.capabilities().may_create(&add, dtype) || !g.capabilities().may_add_constant(dtype) {
            return Err(FoldReason::NotExpressible { what: "an Add of the shift" });
        }
        let mut dims = vec![1; rank - axis];
        dims[0] = quotients.len() as u64;
        self.found.slack += quotients.iter().fold(0.0f64, |m, q| m.max(q.abs()));
        self.found.plan.shift = Some((
            quotients,
            Addend { dtype, dims, vector: 0, name: None, op_name: g.op_name(root).cloned() },
        ));
        Ok(())
    }

    /// States what a value lacks; every reader has its turn.
    fn lack(&mut self, v: Value, ask: Ask) -> Result<(), FoldReason> {
        let g = self.cx.g;
        let outside = |u: Use| Some(u.user) == g.return_op() || u.capture().is_some();
        let returned = g.value_uses(v).any(|u| Some(u.user) == g.return_op());
        if g.value_uses(v).any(outside) {
            let users = g.value_uses(v).count();
            return Err(FoldReason::MultipleConsumers {
                blocker: Blocker::of(g, v.op),
                users,
                returned,
            });
        }
        if g.is_quantized(v) {
            return Err(FoldReason::Quantized { blocker: Blocker::of(g, v.op) });
        }
        for u in g.value_uses(v) {
            self.heap.push(Reverse((self.cx.positions.get(u.user), u.user)));
        }
        self.lacks.insert(v, ask);
        Ok(())
    }

    fn pass(&mut self, op: OpId, ask: Ask) -> Result<(), FoldReason> {
        self.found.via.push(op);
        self.lack(Value::new(op, 0), ask)
    }

    fn step(&mut self, op: OpId) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        if let Some(reason) = end_of_walk(g, op) {
            return Err(reason);
        }
        let lacking: Vec<Option<Ask>> =
            g.operands(op).map(|v| self.lacks.get(&v?).cloned()).collect();
        let others = lacking.iter().skip(1).any(Option::is_some);
        let first = lacking.first().cloned().flatten();
        if let OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) | OpKind::MatMul(_) =
            g.kind(op)
        {
            return self.absorb(op, &lacking);
        }
        if let OpKind::Concat(c) = g.kind(op) {
            return self.concat(op, &lacking, c.axis);
        }
        // Arithmetic by constants goes along.
        if let Ok((affine, _)) = affine_at(cx, op)
            && let Some(ask) = lacking.get(affine.data).cloned().flatten()
        {
            self.found.absent |= affine.absent;
            self.found.slack += affine.shift_magnitude;
            let both = affine.ask.after(&ask).ok_or_else(|| no_producer(g, op))?;
            self.found.plan.bypassed.push((op, affine.data));
            return self.lack(Value::new(op, 0), both);
        }
        let (Some(ask), false) = (first, others) else { return Err(no_producer(g, op)) };
        let axis = ask.axes().first().copied().unwrap_or(0);
        let mismatch =
            || FoldReason::AxisMismatch { blocker: Blocker::of(g, op), axis, channels: None };
        match g.kind(op) {
            OpKind::Identity(_) => self.pass(op, ask),
            OpKind::Dropout(d) if !d.training => self.pass(op, ask),
            OpKind::Reshape(_) | OpKind::Flatten(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) => {
                let after = regroup::forward(cx, op, &ask).ok_or_else(mismatch)?;
                self.pass(op, after)
            }
            OpKind::Transpose(t) => {
                let rank = t.perm.len().max(g.operand(op, 0).and_then(|v| cx.rank(v)).unwrap_or(0));
                let to = |a: usize| match t.perm.is_empty() {
                    true => rank.checked_sub(a + 1),
                    false => {
                        let is = |&p: &i64| if p < 0 { p + rank as i64 } else { p } == a as i64;
                        t.perm.iter().position(is)
                    }
                };
                let after = ask.renamed(to).ok_or_else(mismatch)?;
                self.pass(op, after)
            }
            OpKind::Split(s) => {
                let rank = g.operand(op, 0).and_then(|v| cx.rank(v)).ok_or_else(mismatch)?;
                let along = if s.axis < 0 { s.axis + rank as i64 } else { s.axis } as usize;
                self.found.via.push(op);
                let mut at = 0;
                for v in g.results(op) {
                    let n = cx.extent(v, along).ok_or_else(mismatch)?;
                    let part = ask.taken(along, at..at + n);
                    self.lack(v, part)?;
                    at += n;
                }
                Ok(())
            }
            OpKind::Pool(p) => self.pool(op, ask, p),
            OpKind::GlobalPool(p) => {
                let rank = g.operand(op, 0).and_then(|v| cx.rank(v)).ok_or_else(mismatch)?;
                let channel = if p.channel_last { rank - 1 } else { 1 };
                let to = |a: usize| match a {
                    0 => Some(0),
                    a if a == channel => Some(if p.keepdims { a } else { 1 }),
                    _ => None,
                };
                let after = ask.renamed(to).ok_or_else(mismatch)?;
                match p.f {
                    PoolKind::Average => self.pass(op, after),
                    PoolKind::Max => self.positive(op, after),
                    PoolKind::Lp => Err(no_producer(g, op)),
                }
            }
            OpKind::Reduce(r) => {
                let rank = g.operand(op, 0).and_then(|v| cx.rank(v)).ok_or_else(mismatch)?;
                let list = match (&r.axes, g.operand(op, 1)) {
                    (Some(list), _) => Some(list.clone()),
                    (None, Some(v)) => cx.constants().ints(v).and_then(|l| l.into_iter().collect()),
                    (None, None) => None,
                };
                let list = list.ok_or_else(mismatch)?;
                let gone = |a: usize| {
                    list.iter().any(|&l| if l < 0 { l + rank as i64 } else { l } == a as i64)
                };
                let to = |a: usize| match (gone(a), r.keepdims) {
                    (true, _) => None,
                    (false, true) => Some(a),
                    (false, false) => Some(a - (0..a).filter(|&b| gone(b)).count()),
                };
                let after = ask.renamed(to).ok_or_else(mismatch)?;
                match r.f {
                    ReduceKind::Mean => self.pass(op, after),
                    ReduceKind::Max | ReduceKind::Min => self.positive(op, after),
                    _ => Err(no_producer(g, op)),
                }
            }
            OpKind::Pad(p) => {
                let still = matches!(p.mode, PadMode::Reflect | PadMode::Edge | PadMode::Wrap);
                let value = match (p.value, g.operand(op, 2)) {
                    (Some(v), _) => Some(v),
                    (None, None) => Some(0.0),
                    (None, Some(v)) => {
                        cx.constants().tensor(v).ok().and_then(|t| t.to_f64s().first().copied())
                    }
                };
                let amounts = match &p.amounts {
                    Some(list) => Some(list.clone()),
                    None => g
                        .operand(op, 1)
                        .and_then(|v| cx.constants().ints(v))
                        .and_then(|l| l.into_iter().collect()),
                };
                let moved = |a: usize| {
                    amounts.as_ref().is_none_or(|l: &Vec<i64>| {
                        let n = l.len() / 2;
                        a >= n || l[a] != 0 || l[a + n] != 0
                    })
                };
                if g.operand(op, 3).is_some() || ask.axes().iter().any(|&a| moved(a)) {
                    return Err(mismatch());
                }
                // Zeros stay zeros under a scale.
                if !still && (ask.shifts() || value != Some(0.0)) {
                    return Err(FoldReason::PaddedShift { blocker: Blocker::of(g, op) });
                }
                self.pass(op, ask)
            }
            _ => Err(no_producer(g, op)),
        }
    }

    fn positive(&mut self, op: OpId, ask: Ask) -> Result<(), FoldReason> {
        if ask.s.iter().all(|&s| s > 0.0) {
            return self.pass(op, ask);
        }
        Err(FoldReason::Sign { blocker: Blocker::of(self.cx.g, op) })
    }

    fn pool(&mut self, op: OpId, ask: Ask, p: &Pool) -> Result<(), FoldReason> {
        let g = self.cx.g;
        let channel = p.x.channel_axis();
        if let Some(&axis) = ask.axes().iter().find(|&&a| a != 0 && a != channel) {
            let blocker = Blocker::of(g, op);
            return Err(FoldReason::AxisMismatch { blocker, axis, channels: Some(channel) });
        }
        match p.f {
            PoolKind::Max if g.results(op).skip(1).all(|v| g.is_unused(v)) => {
                self.positive(op, ask)
            }
            PoolKind::Average => {
                let unpadded =
                    (0..usize::from(p.x.spatial)).all(|i| p.pad.explicit(i) == Some((0, 0)));
                let whole = !p.count_include_pad || unpadded && !p.ceil_mode;
                if ask.shifts() && !whole {
                    return Err(FoldReason::PaddingBetween { blocker: Blocker::of(g, op) });
                }
                self.pass(op, ask)
            }
            _ => Err(no_producer(g, op)),
        }
    }

    fn concat(&mut self, op: OpId, lacking: &[Option<Ask>], axis: i64) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        let refuse = || FoldReason::UnknownRank { blocker: Blocker::of(g, op) };
        let rank = cx.rank(Value::new(op, 0)).ok_or_else(refuse)?;
        let along = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis });
        let along = along.map_err(|_| refuse())?;
        let mut parts = Vec::new();
        for (i, ask) in lacking.iter().enumerate() {
            let Some(v) = g.operand(op, i) else { return Err(refuse()) };
            let n = cx.extent(v, along).ok_or_else(refuse)?;
            parts.push((ask.clone().unwrap_or(Ask::uniform(1.0, 0.0)), n));
        }
        let whole = Ask::joined(along, &parts).ok_or_else(refuse)?;
        self.pass(op, whole)
    }

    fn absorb(&mut self, op: OpId, lacking: &[Option<Ask>]) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        let erased: HashSet<OpId> = self.found.plan.bypassed.iter().map(|b| b.0).collect();
        let w = weight(cx, op, &erased)?;
        let data = lacking.get(w.map.data).cloned().flatten();
        let elsewhere = lacking.iter().enumerate().any(|(i, a)| i != w.map.data && a.is_some());
        let (Some(ask), false) = (data, elsewhere) else {
            let what = Role::Weight;
            return Err(FoldReason::NotConstant { what, blocker: Blocker::of(g, op) });
        };
        let (s, t) = self.per_input(op, &w, &ask)?;
        if ask.shifts() && w.map.implicit_zeros {
            return Err(FoldReason::PaddedShift { blocker: Blocker::of(g, op) });
        }
        let maps = (w.resolved.map(&w.map.input.map), w.resolved.map(&w.map.out.map));
        let (Some(input), Some(out)) = maps else {
            let what = Role::Weight;
            return Err(FoldReason::NotConstant { what, blocker: Blocker::of(g, op) });
        };
        let at = Use { user: op, operand: w.map.weight as u32 };
        let weight_target = target(cx, &w.resolved, at, Role::Weight, &mut self.found.copied)?;
        let steps = vec![Relative::Scale { map: input.clone(), vector: IN }];
        let mut transforms = vec![Transform { target: weight_target, steps }];
        let n = w.map.out.count as usize;
        let mut absorbed = Absorbed {
            op,
            vectors: vec![vec![1.0; n], vec![0.0; n], vec![1.0], s.clone()],
            transforms: Vec::new(),
            kind: None,
            addend: None,
        };
        self.found.absent |= !cx.pool.is_present(w.resolved.entry);
        if !self.found.absent {
            weight_overflow(cx.pool, &w, &input, &s, cx.thorough)?;
        }
        if ask.shifts() {
            let mut bias = Bias::plan(cx, op, &erased, &w, &mut self.found.copied)?;
            self.found.absent |= !bias.present(cx.pool);
            if !self.found.absent {
                let alpha = if let OpKind::Linear(l) = g.kind(op) { l.alpha } else { 1.0 };
                let (shift, largest) = contracted(cx, &w, (&input, &out), &t, alpha, n)?;
                let ones = &absorbed.vectors[0];
                let (cancellation, magnitude) = bias.values(cx.pool, w.dtype, (ones, &shift))?;
                self.found.cancellation = self.found.cancellation.max(cancellation);
                self.found.slack += magnitude + largest;
                absorbed.vectors[1] = shift;
            }
            absorbed.vectors[2] = vec![bias.beta];
            bias.keep_scale();
            absorbed.kind = bias.kind;
            absorbed.addend = bias.addend;
            transforms.extend(bias.transform);
        }
        absorbed.transforms = transforms;
        self.found.plan.absorbed.push(absorbed);
        self.found.outputs.push(Value::new(op, 0));
        Ok(())
    }

    /// s and t per input channel; what is lacking must lie along the channels of the data.
    fn per_input(
        &self,
        op: OpId,
        w: &Weight,
        ask: &Ask,
    ) -> Result<(Vec<f64>, Vec<f64>), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        let blocker = || Blocker::of(g, op);
        let rank = g.operand(op, w.map.data).and_then(|v| cx.rank(v));
        if matches!(g.kind(op), OpKind::MatMul(_)) && rank.is_none_or(|r| r < 2) {
            return Err(FoldReason::UnknownRank { blocker: blocker() });
        }
        let axis = w.map.input.axis_at(rank);
        let axis = axis.ok_or_else(|| FoldReason::UnknownRank { blocker: blocker() })?;
        if let Some(&other) = ask.axes().iter().find(|&&a| a != axis) {
            return Err(FoldReason::AxisMismatch {
                blocker: blocker(),
                axis: other,
                channels: Some(axis),
            });
        }
        ask.vectors(axis, w.map.input.count).ok_or_else(|| FoldReason::ChannelMismatch {
            blocker: blocker(),
            expected: w.map.input.count,
            found: ask.extent(axis).unwrap_or(1),
        })
    }
}

/// `α·Σ W[i]·t[in(i)]` per output channel, from the weight as it is before this fold, not rounded; and the largest
/// `α·Σ |W[i]·t[in(i)]|`.
fn contracted(
    cx: Cx<'_>,
    w: &Weight,
    (input, out): (&ElementMap, &ElementMap),
    t: &[f64],
    alpha: f64,
    n: usize,
) -> Result<(Vec<f64>, f64), FoldReason> {
    let absent = |_| FoldReason::WeightsAbsent { blocker: None };
    let (mut sums, mut magnitudes) = (vec![0.0; n], vec![0.0; n]);
    let count = cx.pool.count(w.resolved.entry);
    let mut block = vec![0.0; 1 << 16];
    let mut at = 0;
    while at < count {
        let len = (count - at).min(block.len() as u64);
        let part = &mut block[..len as usize];
        cx.pool.read_exact_f64(w.resolved.entry, at, part).map_err(absent)?;
        input.zip(at, part, t, |w, t| w * t);
        out.for_runs(at, len, |first, len, channel| {
            for x in &part[first as usize..(first + len) as usize] {
                sums[channel as usize] += alpha * x;
                magnitudes[channel as usize] += (alpha * x).abs();
            }
        });
        at += len;
    }
    Ok((sums, magnitudes.into_iter().fold(0.0, f64::max)))
}
