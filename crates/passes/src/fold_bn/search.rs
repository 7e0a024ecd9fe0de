//! The backward search: from a root to every op that has to absorb its scale and shift.
//!
//! What is asked of a value travels from users to definitions, the latest op first, so that every use inside the plan is
//! known when a value's turn comes: a value with a use outside the plan cannot change. Each op on the way absorbs, passes
//! on, or ends the search with a reason that names it.

use super::{
    across::Across,
    affine::{Affine, Parameters, batch_norm, batch_norm_affine, elementwise},
    ask::Ask,
    cx::Cx,
    linear,
    plan::{Absorbed, Plan},
    reason::{Blocker, FoldReason},
    step,
};
use normfold_ir::{BinaryKind, Graph, IdMap, IdSet, OpId, OpKind, UnaryKind, Use, Value};
use std::collections::BinaryHeap;

/// What batch norms on the way do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Norms {
    /// They go where the root goes.
    Compose,
    /// They stay and take the root in.
    Absorb,
}

/// What is asked of one value, and by which uses.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) ask: Ask,
    pub(super) uses: Vec<Use>,
}

/// A search under way.
pub(super) struct Search<'a> {
    pub(super) cx: Cx<'a>,
    root: OpId,
    norms: Norms,
    demands: IdMap<Value, Demand>,
    heap: BinaryHeap<(u32, OpId)>,
    seen: IdSet<OpId>,
    /// The ops that go.
    erased: IdSet<OpId>,
    /// The op at which every walk ends.
    pub(super) barrier: Option<OpId>,
    /// Where a split gave `(1, 0)` to a result that did not ask for anything.
    pub(super) sibling: Option<Blocker>,
    pub(super) found: Found,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) plan: Plan,
    /// The ops looked through that stay.
    pub(super) via: Vec<OpId>,
    /// The values that absorbing ops read: what stays as it is.
    pub(super) frontier: Vec<Value>,
    /// Names of the constants that an op got a copy of.
    pub(super) copied: Vec<std::sync::Arc<str>>,
    /// Largest `|b·s| + |t|` over `|b'|`.
    pub(super) cancellation: f64,
    /// What results may be off by beyond the rounding of stored elements, relative to f64's unit.
    pub(super) slack: f64,
    /// By how much ops behind an absorbed constant may multiply what it is off by.
    pub(super) amplification: f64,
    /// The largest value that a pad is given.
    pub(super) padded: f64,
    /// γ and β, where the root is a batch norm.
    pub(super) parameters: Parameters,
    /// What the root does.
    pub(super) own: Option<Ask>,
    /// Some elements are not at hand.
    pub(super) absent: bool,
    /// Whether readers of the root take it in.
    pub(super) forward: bool,
    /// Whether it goes into an op beside it.
    pub(super) sideways: bool,
    /// The values that must come out as before.
    pub(super) outputs: Vec<Value>,
}

impl Found {
    /// Notes what it costs to look through `op`.
    pub(super) fn crossed(&mut self, op: OpId, other: &Across) {
        self.amplification *= other.amplification;
        if let Some((value, dtype)) = other.pad {
            self.plan.pads.push((op, value, dtype));
            self.padded = self.padded.max(value.abs());
        }
    }
}

impl<'a> Search<'a> {
    /// Searches from `root`, a batch norm or the last op of an affine chain.
    pub(super) fn run(cx: Cx<'a>, root: OpId, norms: Norms) -> Result<Found, FoldReason> {
        let found = Found { cancellation: 1.0, amplification: 1.0, ..Found::default() };
        let (demands, heap, seen, erased) = Default::default();
        let (sibling, barrier) = (None, None);
        let mut this =
            Self { cx, root, norms, demands, heap, seen, erased, barrier, sibling, found };
        let y = Value::new(root, 0);
        if cx.g.is_quantized(y) {
            return Err(FoldReason::Quantized { blocker: Blocker::of(cx.g, root) });
        }
        this.demands.insert(y, Demand { ask: Ask::uniform(1.0, 0.0), uses: Vec::new() });
        this.heap.push((cx.positions.get(root), root));
        while let Some((_, op)) = this.heap.pop() {
            if this.seen.insert(op)
                && let Err(reason) = this.step(op)
            {
                this.remember(&reason);
                return Err(reason);
            }
        }
        if this.found.plan.absorbed.is_empty() {
            return Err(no_producer(cx.g, root));
        }
        this.found.outputs.push(y);
        this.found.plan.bypassed.reverse();
        this.found.via.reverse();
        if this.found.absent {
            let blocker = this.found.plan.absorbed.first().map(|a| Blocker::of(cx.g, a.op));
            return Err(FoldReason::WeightsAbsent { blocker });
        }
        Ok(this.found)
    }

    /// Asks a value to be `ask` of what it is.
    pub(super) fn ask(&mut self, at: Use, ask: Ask) -> Result<(), FoldReason> {
        let Some(v) = self.cx.g.operand(at.user, at.operand as usize) else {
            return Err(FoldReason::GraphInput { name: self.cx.g.location(at.user) });
        };
        if let Some(d) = self.demands.get_mut(&v) {
            if d.ask != ask {
                return Err(FoldReason::SiblingDisagrees { blocker: Blocker::of(self.cx.g, v.op) });
            }
            d.uses.push(at);
            return Ok(());
        }
        if let Some(reason) = self.cx.memory.borrow().barred(v, self.norms) {
            self.barrier = Some(v.op);
            self.demands.insert(v, Demand { ask, uses: vec![at] });
            return Err(reason);
        }
        self.demands.insert(v, Demand { ask, uses: vec![at] });
        self.heap.push((self.cx.positions.get(v.op), v.op));
        Ok(())
    }

    /// Notes the barrier for every value that the walk came through to it.
    fn remember(&self, reason: &FoldReason) {
        let g = self.cx.g;
        let Some(mut op) = self.barrier else { return };
        let mut memory = self.cx.memory.borrow_mut();
        while let Some(v) = g.results(op).find(|v| self.demands.contains_key(v)) {
            memory.bar(v, self.norms, reason);
            let Some(at) = self.demands.get(&v).and_then(|d| d.uses.first()) else { break };
            if at.user == self.root {
                break;
            }
            op = at.user;
        }
    }

    /// Hands what is asked of a result on to operand 0.
    pub(super) fn pass(&mut self, op: OpId, ask: Ask) -> Result<(), FoldReason> {
        self.found.via.push(op);
        self.ask(Use { user: op, operand: 0 }, ask)
    }

    pub(super) fn demand(&self, v: Value) -> Option<&Ask> {
        self.demands.get(&v).map(|d| &d.ask)
    }

    /// What is asked of a value, and by which uses.
    pub(super) fn demanded(&self, v: Value) -> Option<&Demand> {
        self.demands.get(&v)
    }

    fn step(&mut self, op: OpId) -> Result<(), FoldReason> {
        let (cx, g) = (self.cx, self.cx.g);
        if op == self.root {
            let (affine, parameters) = affine_at(cx, op)?;
            self.found.parameters = parameters;
            self.found.own = Some(affine.ask.clone());
            return self.compose(op, affine, &Ask::uniform(1.0, 0.0));
        }
        match g.kind(op) {
            OpKind::Parameter(p) if p.capture => {
                self.barrier = Some(op);
                return Err(FoldReason::RegionBoundary {
                    what: "its input comes from the enclosing graph".into(),
                });
            }
            OpKind::Parameter(_) => {
                self.barrier = Some(op);
                return Err(FoldReason::GraphInput { name: g.location(op) });
            }
            OpKind::Constant(_) => return step::constant(self, op),
            _ => {}
        }
        let asked: Vec<Value> = g.results(op).filter(|v| self.demands.contains_key(v)).collect();
        // Further results of an op (a mask, indices) are not its data.
        if !matches!(g.kind(op), OpKind::Split(_)) && asked.iter().any(|v| v.result != 0) {
            return Err(no_producer(g, op));
        }
        if let Some(reason) = end_of_walk(g, op) {
            self.barrier = Some(op);
            return Err(reason);
        }
        for &v in &asked {
            self.only_uses(v)?;
            if g.is_quantized(v) {
                return Err(FoldReason::Quantized { blocker: Blocker::of(g, op) });
            }
        }
        let ask = match asked.first().and_then(|&v| self.demand(v)) {
            Some(ask) => ask.clone(),
            None => return Err(no_producer(g, op)),
        };
        match g.kind(op) {
            OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) | OpKind::MatMul(_) => {
                let direct = g.single_value_use(Value::new(op, 0)).map(|u| u.user);
                let root = direct.filter(|&u| u == self.root);
                let absorbed = linear::absorb(cx, op, &ask, &self.erased, root, &mut self.found)
                    .map_err(|e| self.sibling_of(e))?;
                self.absorbed(absorbed);
                Ok(())
            }
            OpKind::BatchNorm(kind) => {
                let (affine, _) = batch_norm_affine(cx, op, kind)?;
                if self.norms == Norms::Absorb {
                    let found = &mut self.found;
                    let absorbed = linear::into_norm(cx, op, &ask, &affine, &self.erased, found)?;
                    self.absorbed(absorbed);
                    return Ok(());
                }
                self.compose(op, affine, &ask)
            }
            _ => match elementwise(cx, op).filter(|a| composes(g, op, a, &ask)) {
                Some(affine) => self.compose(op, affine, &ask),
                None => step::backward(self, op, &ask),
            },
        }
    }

    fn absorbed(&mut self, (absorbed, data): (Absorbed, Value)) {
        self.found.plan.absorbed.push(absorbed);
        self.found.frontier.push(data);
    }

    /// The op goes; its operand is asked for both.
    fn compose(&mut self, op: OpId, affine: Affine, ask: &Ask) -> Result<(), FoldReason> {
        self.found.absent |= affine.absent;
        self.found.slack += affine.shift_magnitude * ask.factor();
        self.found.plan.bypassed.push((op, affine.data));
        self.erased.insert(op);
        let blocker = || Blocker::of(self.cx.g, op);
        let Some(both) = ask.after(&affine.ask) else {
            return Err(match (ask.axes(), affine.ask.axes()) {
                (&[a], &[b]) if a == b => FoldReason::ChannelMismatch {
                    blocker: blocker(),
                    expected: affine.ask.extent(b).unwrap_or(0),
                    found: ask.extent(a).unwrap_or(0),
                },
                _ => no_producer(self.cx.g, op),
            });
        };
        self.ask(Use { user: op, operand: affine.data as u32 }, both)
    }

    /// A value changes only when every use of it is in the plan.
    fn only_uses(&self, v: Value) -> Result<(), FoldReason> {
        let g = self.cx.g;
        let mine = self.demands.get(&v).map_or(&[][..], |d| &d.uses);
        if g.value_uses(v).all(|u| mine.contains(&u)) {
            return Ok(());
        }
        let (users, returned) = self.cx.memory.borrow_mut().readers(g, v);
        Err(FoldReason::MultipleConsumers { blocker: Blocker::of(g, v.op), users, returned })
    }

    pub(super) fn sibling_of(&self, e: FoldReason) -> FoldReason {
        match (&e, &self.sibling) {
            (FoldReason::AxisMismatch { .. }, Some(b)) => {
                FoldReason::SiblingDisagrees { blocker: b.clone() }
            }
            _ => e,
        }
    }
}

/// The affine op at `op`.
pub(super) fn affine_at(cx: Cx<'_>, op: OpId) -> Result<(Affine, Parameters), FoldReason> {
    match batch_norm(cx.g, op) {
        Some(kind) => batch_norm_affine(cx, op, kind),
        None => {
            let affine = elementwise(cx, op).ok_or_else(|| no_producer(cx.g, op))?;
            Ok((affine, Parameters::default()))
        }
    }
}

/// Whether arithmetic goes along. A sum with a constant that varies where the root does not is one of two branches.
fn composes(g: &Graph, op: OpId, affine: &Affine, ask: &Ask) -> bool {
    let sum = matches!(g.kind(op), OpKind::Binary(BinaryKind::Add | BinaryKind::Sub));
    let inner = affine.ask.axes();
    let elsewhere = inner.len() > 1 || inner.iter().any(|a| !ask.axes().contains(a));
    !(sum && elsewhere && !ask.axes().is_empty())
}

/// A root as one function of what it reads: an affine chain is taken whole.
pub(super) struct Chain {
    pub(super) affine: Affine,
    pub(super) parameters: Parameters,
    /// What the first of them reads.
    pub(super) data: Value,
    /// The ops, in topological order, and which operand is their data.
    pub(super) ops: Vec<(OpId, usize)>,
}

pub(super) fn whole_chain(cx: Cx<'_>, root: OpId) -> Result<Chain, FoldReason> {
    let g = cx.g;
    let (mut affine, parameters) = affine_at(cx, root)?;
    let data = g.operand(root, affine.data).ok_or_else(|| no_producer(g, root))?;
    let mut chain = (data, vec![(root, affine.data)]);
    while batch_norm(g, root).is_none()
        && g.single_value_use(chain.0).is_some()
        && !g.is_quantized(chain.0)
        && let Some(inner) = elementwise(cx, chain.0.op)
        && let (Some(both), Some(data)) =
            (affine.ask.after(&inner.ask), g.operand(chain.0.op, inner.data))
    {
        affine.shift_magnitude += inner.shift_magnitude * affine.ask.factor();
        affine.ask = both;
        chain.1.push((chain.0.op, inner.data));
        chain.0 = data;
    }
    let (data, mut ops) = chain;
    ops.reverse();
    Ok(Chain { affine, parameters, data, ops })
}

pub(super) fn no_producer(g: &Graph, op: OpId) -> FoldReason {
    FoldReason::NoLinearProducer { blocker: Blocker::of(g, op) }
}

/// The reason for which an op ends every search; `None` for what may absorb or pass on.
pub(super) fn end_of_walk(g: &Graph, op: OpId) -> Option<FoldReason> {
    let blocker = || Blocker::of(g, op);
    Some(match g.kind(op) {
        OpKind::Quantize(_) | OpKind::Dequantize(_) => FoldReason::Quantized { blocker: blocker() },
        OpKind::Opaque(o) if o.quantized => FoldReason::Quantized { blocker: blocker() },
        OpKind::Opaque(o) if !o.domain.is_empty() => {
            FoldReason::CustomDomain { blocker: blocker() }
        }
        OpKind::Unary(k) if !matches!(k, UnaryKind::Neg) => {
            FoldReason::ActivationBetween { blocker: blocker() }
        }
        OpKind::Activation(_) | OpKind::Clip(_) | OpKind::PRelu(_) | OpKind::Softmax(_) => {
            FoldReason::ActivationBetween { blocker: blocker() }
        }
        OpKind::If(_) | OpKind::Loop(_) | OpKind::Scan(_) | OpKind::Call(_) => {
            FoldReason::RegionBoundary {
                what: format!("its input comes out of {}", blocker()).into(),
            }
        }
        _ => return None,
    })
}
