//! The forward search: from a root to every op that reads it, each of which takes the scale and shift into its weight.
//!
//! ```text
//! L(s·x + t; W, b)  =  L(x; W', b')      W'[i] = W[i]·s[in(i)]      b'[out(i)] += W[i]·t[in(i)], with the old W
//! ```
//!
//! What a value lacks travels from definitions to users, the earliest op first. Every reader has to absorb or to pass on.

use super::{
    across::{Way, across},
    ask::Ask,
    bias::Bias,
    cx::Cx,
    geometry::axis_of,
    plan::{Absorbed, Addend},
    reason::{Blocker, FoldReason, Role},
    search::{Chain, Found, affine_at, end_of_walk, no_producer, whole_chain},
    weight::{Weight, weight},
};
use normfold_ir::{BinaryKind, ElementMap, IdMap, IdSet, MapTerm, OpId, OpKind, Value};
use std::{cmp::Reverse, collections::BinaryHeap};

/// The factor of the weight among an absorbing op's vectors, after those of its bias.
const IN: usize = 3;

struct Forward<'a> {
    cx: Cx<'a>,
    /// What each value lacks: its readers expect `ask` of what it will be.
    lacks: IdMap<Value, Ask>,
    heap: BinaryHeap<Reverse<(u32, OpId)>>,
    seen: IdSet<OpId>,
    /// The value that the root gives, and that each other value's lack comes from.
    from: IdMap<Value, Value>,
    /// The value at which every walk ends.
    barrier: Option<Value>,
    /// The op whose turn it is.
    at: OpId,
    found: Found,
}

/// Searches the readers of `root`. With `residual`, an Add of t/s stands where the root stood and only the scale moves.
pub(super) fn run(cx: Cx<'_>, root: OpId, residual: bool) -> Result<Found, FoldReason> {
    let g = cx.g;
    let found = Found { forward: true, cancellation: 1.0, amplification: 1.0, ..Found::default() };
    let (lacks, heap, seen, from) = Default::default();
    let (at, barrier) = (root, None);
    let mut this = Forward { cx, lacks, heap, seen, from, barrier, at, found };
    let y = Value::new(root, 0);
    if g.is_quantized(y) {
        return Err(FoldReason::Quantized { blocker: Blocker::of(g, root) });
    }
    let Chain { affine, parameters, data: x, ops } = whole_chain(cx, root)?;
    this.found.plan.bypassed = ops;
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
    this.lack(y, ask).inspect_err(|reason| this.remember(reason))?;
    while let Some(Reverse((_, op))) = this.heap.pop() {
        if this.seen.insert(op) {
            this.at = op;
            this.step(op).inspect_err(|reason| this.remember(reason))?;
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
        // The operand of the op whose turn it is from which this comes.
        let source = g.operands(self.at).flatten().find(|v| self.lacks.contains_key(v));
        if let Some(source) = source.filter(|&s| s != v) {
            self.from.insert(v, source);
        }
        if let Some(reason) = self.cx.memory.borrow().barred_ahead(v) {
            self.barrier = Some(v);
            return Err(reason);
        }
        if g.value_uses(v).any(|u| g.is_use_by_name(u)) {
            self.barrier = Some(v);
            let (users, returned) = self.cx.memory.borrow_mut().readers(g, v);
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

    /// Notes the barrier for every value that the walk came through to it.
    fn remember(&self, reason: &FoldReason) {
        let mut at = self.barrier;
        let mut memory = self.cx.memory.borrow_mut();
        while let Some(v) = at {
            memory.bar_ahead(v, reason);
            at = self.from.get(&v).copied();
        }
    }

    fn pass(&mut self, op: OpId, ask: Ask) -> Result<(), FoldReason> {
        self.found.via.push(op);
        self.lack(Value::new(op, 0), ask)
    }

    fn step(&mut self, op: OpId) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        if let Some(reason) = end_of_walk(g, op) {
            self.barrier = g.operands(op).flatten().find(|v| self.lacks.contains_key(v));
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
            let Some(both) = affine.ask.after(&ask) else {
                // Beyond the range of f64, or of contradicting extents: nobody gets further.
                self.barrier = g.operand(op, affine.data);
                return Err(no_producer(g, op));
            };
            self.found.plan.bypassed.push((op, affine.data));
            return self.lack(Value::new(op, 0), both);
        }
        if let OpKind::Split(k) = g.kind(op) {
            return self.split(op, first.ok_or_else(|| no_producer(g, op))?, k.axis);
        }
        let (Some(ask), false) = (first, others) else { return Err(no_producer(g, op)) };
        let other = across(cx, op, &ask, Way::Ahead)?.ok_or_else(|| no_producer(g, op))?;
        self.found.crossed(op, &other);
        self.pass(op, other.ask)
    }

    fn split(&mut self, op: OpId, ask: Ask, axis: i64) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        let unknown = || FoldReason::UnknownRank { blocker: Blocker::of(g, op) };
        let rank = g.operand(op, 0).and_then(|v| cx.rank(v)).ok_or_else(unknown)?;
        let along = axis_of(axis, rank).ok_or_else(unknown)?;
        self.found.via.push(op);
        let mut at = 0;
        for v in g.results(op) {
            let n = cx.extent(v, along).ok_or_else(unknown)?;
            let part = ask.taken(along, at..at + n);
            self.lack(v, part)?;
            at += n;
        }
        Ok(())
    }

    fn concat(&mut self, op: OpId, lacking: &[Option<Ask>], axis: i64) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        let refuse = || FoldReason::UnknownRank { blocker: Blocker::of(g, op) };
        let rank = cx.rank(Value::new(op, 0)).ok_or_else(refuse)?;
        let along = axis_of(axis, rank).ok_or_else(refuse)?;
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
        let erased: IdSet<OpId> = self.found.plan.bypassed.iter().map(|b| b.0).collect();
        let w = weight(cx, op, &erased)?;
        let data = lacking.get(w.map.data).cloned().flatten();
        let elsewhere = lacking.iter().enumerate().any(|(i, a)| i != w.map.data && a.is_some());
        let (Some(ask), false) = (data, elsewhere) else {
            let what = Role::Weight;
            return Err(FoldReason::NotConstant { what, blocker: Blocker::of(g, op) });
        };
        let (s, t) = self.per_input(op, &w, &ask)?;
        let padded = || FoldReason::PaddedShift { blocker: Blocker::of(g, op) };
        let taps = match ask.shifts() && w.map.implicit_zeros {
            true => taps_apart(g.kind(op), &w).ok_or_else(padded)?,
            false => (w.map.out.map.clone(), 1),
        };
        let n = w.map.out.count as usize;
        let vectors = vec![vec![1.0; n], vec![0.0; n], vec![1.0], s];
        let mut absorbed = Absorbed::of(op, vectors);
        w.scaled(cx, &w.map.input.map, IN, &mut absorbed, &mut self.found.copied)?;
        self.found.absent |= !w.is_present(cx);
        let mut onward = None;
        if ask.shifts() {
            // Without a place for the shift, its readers get what becomes of it.
            let bias = match Bias::plan(cx, op, &erased, &w, &mut self.found.copied) {
                Err(FoldReason::NotExpressible { .. }) => None,
                bias => Some(bias?),
            };
            self.found.absent |= bias.as_ref().is_some_and(|b| !b.present(cx.pool));
            let mut shift = vec![1.0; n];
            if !self.found.absent {
                let alpha = if let OpKind::Linear(l) = g.kind(op) { l.alpha } else { 1.0 };
                let (sums, largest) = contracted(cx, op, &w, &taps, &t, alpha)?;
                // Each position of the result has one tap: the shift is a bias where all give the same.
                let per_tap = sums.chunks_exact(taps.1);
                if per_tap.clone().any(|c| c.iter().any(|x| *x != c[0])) {
                    return Err(padded());
                }
                shift = per_tap.map(|c| c[0]).collect();
                self.found.slack += largest;
                if let Some(bias) = &bias {
                    let ones = &absorbed.vectors[0];
                    let (cancellation, magnitude) =
                        bias.values(cx.pool, w.dtype, (ones, &shift))?;
                    self.found.cancellation = self.found.cancellation.max(cancellation);
                    self.found.slack += magnitude;
                }
            }
            match bias {
                Some(mut bias) => {
                    absorbed.vectors[1] = shift;
                    absorbed.vectors[2] = vec![bias.beta];
                    bias.keep_scale();
                    absorbed.kind = bias.kind;
                    absorbed.addend = bias.addend;
                    absorbed.transforms.extend(bias.transform);
                }
                None => onward = Some(shift),
            }
        }
        self.found.plan.absorbed.push(absorbed);
        let y = Value::new(op, 0);
        let Some(shift) = onward else {
            self.found.outputs.push(y);
            return Ok(());
        };
        let axis = w.map.out.axis_at(cx.rank(y));
        let axis = axis.ok_or_else(|| FoldReason::UnknownRank { blocker: Blocker::of(g, op) })?;
        self.lack(y, Ask::along(axis, vec![1.0; n], shift).normal())
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

/// Where a transposed convolution writes each position of its result once: output channel and tap of each element of the
/// kernel, and the number of taps.
fn taps_apart(kind: &OpKind, w: &Weight) -> Option<(ElementMap, usize)> {
    let OpKind::ConvTranspose(c) = kind else { return None };
    let dims = &w.resolved.dims;
    let n = usize::from(c.x.spatial);
    let one = |list: &[u64], i: usize| list.get(i).copied().unwrap_or(1);
    let within = |i: usize| match c.pad.explicit(i) {
        Some((a, b)) => a >= 0 && b >= 0,
        None => false,
    };
    let apart = (0..n).all(|i| {
        dims.get(c.w.first_spatial_axis() + i) == Some(&one(&c.strides, i))
            && one(&c.dilations, i) == 1
            && within(i)
    });
    let derived = c.output_shape.is_empty() && c.output_padding.iter().all(|&p| p == 0);
    if !apart || !derived || w.integers.is_some() {
        return None;
    }
    let spatial = c.w.first_spatial_axis()..c.w.first_spatial_axis() + n;
    let taps: u64 = dims.get(spatial.clone())?.iter().product();
    let wide = w.map.out.map.terms().iter().map(|t| MapTerm { mul: t.mul * taps, ..*t });
    let mut map = ElementMap::from_terms(wide);
    let mut rest = taps;
    for axis in spatial {
        rest /= dims[axis];
        map = map.and(dims, axis, 1, rest);
    }
    Some((map, usize::try_from(taps).ok()?))
}

/// `α·Σ W[i]·t[in(i)]` per output channel and tap, from the weight as it is before this fold, not rounded; and the largest
/// `α·Σ |W[i]·t[in(i)]|`.
fn contracted(
    cx: Cx<'_>,
    op: OpId,
    w: &Weight,
    (out, taps): &(ElementMap, usize),
    t: &[f64],
    alpha: f64,
) -> Result<(Vec<f64>, f64), FoldReason> {
    let n = w.map.out.count as usize * taps;
    let (mut sums, mut magnitudes) = (vec![0.0; n], vec![0.0; n]);
    let mut add = |at: u64, part: &mut [f64], input: &ElementMap, out: &ElementMap| {
        input.zip(at, part, t, |w, t| w * t);
        out.for_runs(at, part.len() as u64, |first, len, channel| {
            for x in &part[first as usize..(first + len) as usize] {
                sums[channel as usize] += alpha * x;
                magnitudes[channel as usize] += (alpha * x).abs();
            }
        });
    };
    let input = &w.map.input.map;
    if let (Some(integers), Some(v)) = (&w.integers, cx.g.operand(op, w.map.weight)) {
        let refuse = |_| FoldReason::Quantized { blocker: Blocker::of(cx.g, integers.op) };
        let mut elements = cx.constants().tensor(v).map_err(refuse)?.to_f64s();
        add(0, &mut elements, input, out);
    } else {
        let (Some(input), Some(out)) = (w.resolved.map(input), w.resolved.map(out)) else {
            let blocker = Blocker::of(cx.g, op);
            return Err(FoldReason::NotConstant { what: Role::Weight, blocker });
        };
        let count = cx.pool.count(w.resolved.entry);
        let mut block = vec![0.0; 1 << 16];
        let mut at = 0;
        while at < count {
            let len = (count - at).min(block.len() as u64);
            let part = &mut block[..len as usize];
            let read = cx.pool.read_exact_f64(w.resolved.entry, at, part);
            read.map_err(|_| FoldReason::WeightsAbsent { blocker: None })?;
            add(at, part, &input, &out);
            at += len;
        }
    }
    Ok((sums, magnitudes.into_iter().fold(0.0, f64::max)))
}
