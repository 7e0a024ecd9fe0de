//! `fold-bn`: moves batch norms, and chains of arithmetic that do the same, into the weights of linear ops.
//!
//! ```text
//! Given   %c = conv %x, %w, %b            Result  %y = conv %x, %w·s, %b·s + t
//!         %y = batch_norm %c, %γ, %β, %μ, %σ²
//! ```
//!
//! with `s = γ/√(σ²+ε)` and `t = β − μ·s` per channel. Every root gets one verdict: folded, with a certificate, or kept,
//! with a reason of docs/legality.md. Legality is decided by values and their uses: see [`FoldReason`].
//!
//! One root at a time, in topological order: search the graph as it is, commit, go on; until nothing changes. Verdicts are
//! those of the last round.

mod across;
mod affine;
mod ask;
mod bias;
mod certificate;
mod cx;
mod forward;
mod geometry;
mod linear;
mod memory;
mod pairs;
mod plan;
mod quantized;
mod reason;
mod regroup;
mod remark;
mod resolve;
mod roots;
mod search;
mod sideways;
mod step;
mod weight;

pub use pairs::{AmbiguousName, Pairs};
pub use reason::{Blocker, FoldReason, Role};
pub(crate) use resolve::permuted;

use crate::{
    Analysis, CertainTypes, Constness, Globs, Pass, PassCx, PassError, PassInfo, PassOutcome,
    PassSpec, certify, option_enum, pass_options,
};
use cx::{Cx, Entries, Positions};
use memory::Memory;
use normfold_ir::{ConstPool, Graph, IdMap, IdSet, Module, OpId, OpKind, Reason, Remark, Value};
use pairs::Sightings;
use roots::Root;
use search::{Found, Norms, Search, affine_at};
use std::{cell::RefCell, sync::Arc};

option_enum! {
    /// Which way a batch norm may fold.
    pub enum Direction {
        /// Into the ops that produce its input, else into those that read its result.
        Both "both",
        /// Into the ops that produce its input.
        Backward "backward",
        /// Into the ops that read its result.
        Forward "forward",
    }
}

option_enum! {
    /// What to do about a shift that cannot follow its scale into a convolution that pads with zeros.
    pub enum ResidualShift {
        /// Keep the batch norm.
        Keep "keep",
        /// Let an Add of t/s stand before the convolution.
        Add "add",
    }
}

option_enum! {
    /// What to do about a weight or bias that other ops read too.
    pub enum Shared {
        /// Give the op a copy of its own, up to `copy-limit` bytes.
        Copy "copy",
        /// Keep the batch norm.
        Refuse "refuse",
    }
}

option_enum! {
    /// What to do about a bias that is dequantized from integers.
    pub enum QuantizedBias {
        /// Keep the batch norm.
        Keep "keep",
        /// Give the op a float bias.
        Float "float",
    }
}

pass_options! {
    /// Options of `fold-bn`.
    pub struct FoldBnOptions {
        /// Which way a batch norm may fold.
        direction: Direction = Direction::Both,
        /// Fold only batch norms whose name matches; empty is all.
        only: Globs = Globs::default(),
        /// Keep batch norms whose name matches.
        skip: Globs = Globs::default(),
        /// Fold only the batch norms of these pairs, each into the linear op that stands before its name.
        pairs: Pairs = Pairs::default(),
        /// What to do about a weight or bias that other ops read too.
        shared: Shared = Shared::Copy,
        /// Bytes of the largest shared constant that an op gets a copy of.
        copy_limit: u64 = 64 << 20,
        /// What to do about a shift that cannot follow its scale into a convolution that pads with zeros.
        residual_shift: ResidualShift = ResidualShift::Keep,
        /// What to do about a bias that is dequantized from integers.
        quantized_bias: QuantizedBias = QuantizedBias::Keep,
        /// Take constants for constants even where a caller of the model could replace them.
        freeze_inputs: bool = false,
        /// Keep batch norms whose name matches as `overflow`: while writing, their folded weight was found not to be
        /// finite.
        overflowing: Globs = Globs::default(),
    }
}

/// The pass `fold-bn`.
pub struct FoldBn {
    options: FoldBnOptions,
    sightings: Sightings,
}

impl PassSpec for FoldBn {
    type Options = FoldBnOptions;
    const INFO: PassInfo = PassInfo {
        name: "fold-bn",
        summary: "Fold batch norms and affine chains into linear ops",
        description: "\
`y = batch_norm(linear(x, W, b))` becomes `y = linear(x, W·s, b·s + t)` with `s = γ/√(σ²+ε)` and `t = β − μ·s` per
channel, computed in f64 and rounded once to the stored type. Linear ops are `conv`, `conv_transpose` (any rank, groups
and layout), `linear` and `matmul`.

The way back from the batch norm may lead through `identity`, inference `dropout`, arithmetic with per-channel constants
and other batch norms (which fold along), reshapes and transposes that keep the channel, `concat`, `split`, `slice`, sums
and differences, pools, `pad`, `resize`, `depth_to_space` and means; docs/legality.md says when. Where no linear op can be
reached, a batch norm merges into an earlier batch norm. Chains of `mul`, `add`, `sub`, `div` and `neg` by constants that
scale per channel are folded like batch norms.

Weights that are dequantized from integers take the scale into theirs; the integers stay, or change their sign.

Constants may be computed from constants. Every batch norm and every chain gets one remark: `folded`, with what its
certificate measured, or the reason why it is kept. A kept batch norm is left exactly as it was.",
        statistics: &[
            ("folded", "batch norms folded"),
            ("kept", "batch norms kept"),
            ("folded-chains", "affine chains folded"),
            ("kept-chains", "affine chains kept"),
        ],
        reasons: FoldReason::CODES,
    };

    fn new(options: Self::Options) -> Self {
        Self { options, sightings: Sightings::default() }
    }
}

/// s and t of a batch norm in inference mode, per channel.
///
/// # Errors
/// It is none, or its constants do not tell.
pub(crate) fn scale_and_shift(
    g: &Graph,
    pool: &ConstPool,
    types: &CertainTypes,
    known: &Constness,
    op: OpId,
) -> Result<(Vec<f64>, Vec<f64>), FoldReason> {
    let (entries, positions) = (Entries::default(), Positions::default());
    let memory = RefCell::default();
    let cx = Cx {
        g,
        pool,
        types,
        known,
        entries: &entries,
        positions: &positions,
        memory: &memory,
        allow_copy: true,
        copy_limit: 0,
        thorough: false,
        freeze: false,
        float_bias: false,
    };
    let (affine, _) = affine_at(cx, op)?;
    if affine.absent {
        return Err(FoldReason::WeightsAbsent { blocker: None });
    }
    Ok((affine.ask.s, affine.ask.t))
}

/// What is known of one root.
enum Verdict {
    Folded(Box<Remark>),
    Kept(FoldReason),
}

/// What stays the same while one graph is folded, or is kept up with it.
struct State {
    types: Arc<CertainTypes>,
    known: Arc<Constness>,
    entries: Entries,
    positions: Positions,
    memory: RefCell<Memory>,
    /// Whether ops were created of which the analyses know nothing.
    created: bool,
    /// Where each root stands among them.
    roots: IdMap<OpId, usize>,
}

impl Pass for FoldBn {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let Ok(order) = graph.topo_order() else {
            let location = graph.name().clone();
            return Err(PassError::BrokenInput {
                pass: cx.pass().into(),
                location,
                message: "a cycle".into(),
            });
        };
        // Statements about values outlive rewrites, so once is enough.
        let mut state = State {
            types: cx.analysis::<CertainTypes>(graph),
            known: cx.constness(graph),
            entries: Entries::default(),
            positions: Positions::of(&order, graph.slot_bound()),
            memory: RefCell::default(),
            created: false,
            roots: IdMap::default(),
        };
        let mut roots = roots::find(self.cx(graph, cx.constants(), &state), &order);
        let told = roots.len();
        state.roots = roots.iter().enumerate().map(|(k, r)| (r.op, k)).collect();
        self.sightings.look(&self.options.pairs, graph, &roots);
        let mut verdicts: Vec<Option<Verdict>> = roots.iter().map(|_| None).collect();
        let mut changed = false;
        let mut sideways = false;
        loop {
            let mut again = false;
            state.memory.borrow_mut().next_round();
            for i in 0..roots.len() {
                if matches!(verdicts[i], Some(Verdict::Folded(_))) {
                    continue;
                }
                cx.check_cancelled()?;
                let found = self.checked(graph, cx, &mut state, &roots[i], (sideways, false));
                let may_rewrite = cx.may_rewrite();
                let sampled = found.and_then(|found| match may_rewrite {
                    true => self.sampled(graph, cx, &mut state, &roots[i], (found, sideways)),
                    false => Err(FoldReason::RewriteLimit),
                });
                verdicts[i] = Some(match sampled {
                    Err(reason) => Verdict::Kept(reason),
                    Ok((found, sample)) => {
                        let along = self.along(graph, cx, &state, &roots, i, &found);
                        let remark =
                            self.commit(graph, cx, &mut state, &roots[i], found, sample)?;
                        again = true;
                        for (k, remark) in along {
                            verdicts[k] = Some(Verdict::Folded(Box::new(remark)));
                        }
                        Verdict::Folded(Box::new(remark))
                    }
                });
            }
            changed |= again;
            // Sideways when nothing else is left to do: a branch's own batch norm goes first.
            if !again && (sideways || self.options.direction != Direction::Both) {
                if !changed || !self.look_again(graph, cx, &mut state, &mut roots) {
                    break;
                }
                state.roots = roots.iter().enumerate().map(|(k, r)| (r.op, k)).collect();
                verdicts.resize_with(roots.len(), || None);
                sideways = false;
                continue;
            }
            sideways = !again;
        }
        // What became a chain only by the folds is no root of the model.
        for (root, verdict) in roots.into_iter().zip(verdicts).take(told) {
            let chain = !root.is_norm;
            match verdict {
                Some(Verdict::Folded(remark)) => {
                    cx.stat(if chain { "folded-chains" } else { "folded" }, 1);
                    cx.remark(*remark);
                }
                Some(Verdict::Kept(reason)) => {
                    cx.stat(if chain { "kept-chains" } else { "kept" }, 1);
                    let remark = remark::kept(cx, graph, root.op, &reason);
                    cx.remark(remark);
                }
                None => {}
            }
        }
        for &op in order.iter().filter(|&&op| graph.contains(op)) {
            if let OpKind::Opaque(o) = graph.kind(op)
                && let Some(norm) = o.norm
            {
                cx.stat("kept", 1);
                let reason = FoldReason::Carried { norm };
                let remark = remark::kept(cx, graph, op, &reason);
                cx.remark(remark);
            }
        }
        Ok(PassOutcome::from_changed(changed))
    }

    fn finish(&mut self, module: &Module) -> Vec<Remark> {
        self.sightings.missing(&self.options.pairs, Self::INFO.name, module)
    }
}

impl FoldBn {
    /// Looks at the graph as a second run would: arithmetic that a batch norm stood between may have become one chain, and
    /// of ops that were created nothing was known. Whether there is anything new; roots that were not before are added.
    fn look_again(
        &self,
        graph: &Graph,
        cx: &PassCx<'_>,
        state: &mut State,
        roots: &mut Vec<Root>,
    ) -> bool {
        let Ok(order) = graph.topo_order() else { return false };
        let created = std::mem::take(&mut state.created);
        state.memory.borrow_mut().forget();
        if created {
            state.types = Arc::new(CertainTypes::compute(graph, cx.constants()));
            state.known = Arc::new(Constness::with_captured(graph, cx.captured()));
            state.positions = Positions::of(&order, graph.slot_bound());
        }
        let known: IdSet<OpId> = roots.iter().map(|r| r.op).collect();
        let found = roots::find(self.cx(graph, cx.constants(), state), &order);
        let before = roots.len();
        roots.extend(found.into_iter().filter(|r| !known.contains(&r.op)));
        created || roots.len() > before
    }

    fn cx<'a>(&self, g: &'a Graph, pool: &'a ConstPool, state: &'a State) -> Cx<'a> {
        Cx {
            g,
            pool,
            types: &state.types,
            known: &state.known,
            entries: &state.entries,
            positions: &state.positions,
            memory: &state.memory,
            allow_copy: self.options.shared == Shared::Copy,
            copy_limit: self.options.copy_limit,
            thorough: false,
            freeze: self.options.freeze_inputs,
            float_bias: self.options.quantized_bias == QuantizedBias::Float,
        }
    }

    /// Everything that must hold for a root to fold, on the graph as it is.
    fn check(&self, cx: Cx<'_>, root: &Root, sideways: bool) -> Result<Found, FoldReason> {
        let _entered = tracing::debug_span!("match").entered();
        let name = cx.g.location(root.op);
        if !self.selects(&name) {
            return Err(FoldReason::NotSelected { blocker: None });
        }
        if let Some(op) = root.unranked {
            return Err(FoldReason::UnknownRank { blocker: Blocker::of(cx.g, op) });
        }
        let overflowing = self.options.overflowing.matches(&name);
        let cx = Cx { thorough: overflowing || cx.thorough, ..cx };
        let found = self.search(cx, root).or_else(|reason| match sideways {
            true => {
                let found = sideways::run(cx, root.op).and_then(|f| self.allows(cx.g, root, f));
                found.map_err(|e| match e {
                    FoldReason::PairMismatch { .. } | FoldReason::Irremovable { .. } => e,
                    _ => reason,
                })
            }
            false => Err(reason),
        })?;
        if overflowing {
            return Err(FoldReason::Overflow { what: Role::Weight, channel: None });
        }
        Ok(found)
    }

    /// Whether the options let a batch norm of that name fold.
    fn selects(&self, name: &str) -> bool {
        let o = &self.options;
        (o.only.is_empty() || o.only.matches(name))
            && !o.skip.matches(name)
            && (o.pairs.is_empty() || o.pairs.has(name))
    }

    /// A fold that changes nothing that the options leave alone, and goes where they say.
    fn allows(&self, g: &Graph, root: &Root, found: Found) -> Result<Found, FoldReason> {
        let o = &self.options;
        let refuses = |op: OpId| match affine::batch_norm(g, op) {
            Some(_) => !self.selects(&g.location(op)),
            None => o.skip.matches(&g.location(op)),
        };
        let gone = found.plan.bypassed.iter().map(|b| b.0);
        let capabilities = g.capabilities();
        if let Some(op) = gone.clone().find(|&op| !capabilities.may_remove(op, g.kind(op))) {
            return Err(FoldReason::Irremovable { blocker: Blocker::of(g, op) });
        }
        let merged =
            found.plan.absorbed.iter().map(|a| a.op).filter(|&op| {
                affine::batch_norm(g, op).is_some() && o.skip.matches(&g.location(op))
            });
        if let Some(op) = gone.filter(|&op| refuses(op)).chain(merged).next() {
            return Err(FoldReason::NotSelected { blocker: Some(Blocker::of(g, op)) });
        }
        if !o.pairs.is_empty() {
            o.pairs.check(g, &g.location(root.op), &found)?;
        }
        Ok(found)
    }

    /// Backward first, then forward, then into an earlier batch norm. Of two reasons the one that is nearer to a fold
    /// counts.
    fn search(&self, cx: Cx<'_>, root: &Root) -> Result<Found, FoldReason> {
        let direction = self.options.direction;
        let allow = |found| self.allows(cx.g, root, found);
        let back = match direction {
            Direction::Forward => None,
            _ => Some(Search::run(cx, root.op, Norms::Compose).and_then(allow)),
        };
        let back = match back {
            Some(Ok(found)) => return Ok(found),
            Some(Err(reason)) => Some(reason),
            None => None,
        };
        let ahead = match direction {
            Direction::Backward => None,
            _ => match forward::run(cx, root.op, false).and_then(allow) {
                Ok(found) => return Ok(found),
                Err(FoldReason::PaddedShift { blocker })
                    if self.options.residual_shift == ResidualShift::Add =>
                {
                    match forward::run(cx, root.op, true).and_then(allow) {
                        Ok(found) => return Ok(found),
                        Err(_) => Some(FoldReason::PaddedShift { blocker }),
                    }
                }
                Err(reason) => Some(reason),
            },
        };
        if back.is_some()
            && let Ok(found) = Search::run(cx, root.op, Norms::Absorb).and_then(allow)
        {
            return Ok(found);
        }
        Err(match (back, ahead) {
            (Some(back), Some(ahead)) if back.is_dead_end() && ahead.is_near() => ahead,
            (Some(back), _) => back,
            (None, Some(ahead)) => ahead,
            (None, None) => FoldReason::NotSelected { blocker: None },
        })
    }

    /// Remarks for the other roots that a plan takes along.
    fn along(
        &self,
        graph: &Graph,
        cx: &PassCx<'_>,
        state: &State,
        roots: &[Root],
        own: usize,
        found: &Found,
    ) -> Vec<(usize, Remark)> {
        // Looked up: a plan is small, the roots are many.
        let others = found.plan.bypassed.iter().filter_map(|b| state.roots.get(&b.0));
        let others = others.map(|&k| (k, &roots[k])).filter(|(k, _)| *k != own);
        let remark = |r: &Root| {
            let of = affine_at(self.cx(graph, cx.constants(), state), r.op);
            let (s, parameters) = of.map(|(a, p)| (a.ask.s, p)).unwrap_or_default();
            remark::along(cx, graph, r.op, roots[own].op, found, (&s, parameters))
        };
        others.filter(|(_, r)| graph.contains(r.op)).map(|(k, r)| (k, remark(r))).collect()
    }

    /// What holds of a root, once the constants that this asks for are computed; every weight is looked at for overflow where
    /// `thorough`.
    fn checked(
        &self,
        graph: &Graph,
        cx: &mut PassCx<'_>,
        state: &mut State,
        root: &Root,
        (sideways, thorough): (bool, bool),
    ) -> Result<Found, FoldReason> {
        loop {
            let at = Cx { thorough, ..self.cx(graph, cx.constants(), state) };
            let checked = self.check(at, root, sideways);
            if checked.is_ok() || !state.entries.serve(cx.constants_mut()) {
                return checked;
            }
        }
    }

    /// A fold with what its path gives before. Where that is more than sound weights give, every one of them is looked at
    /// first, and another way may be found.
    fn sampled(
        &self,
        graph: &Graph,
        cx: &mut PassCx<'_>,
        state: &mut State,
        root: &Root,
        (found, sideways): (Found, bool),
    ) -> Result<(Found, certificate::Sample), FoldReason> {
        let sample = certificate::sample(self.cx(graph, cx.constants(), state), &found)?;
        if sample.is_finite() && !sample.is_far() {
            return Ok((found, sample));
        }
        let found = self.checked(graph, cx, state, root, (sideways, true))?;
        let sample = certificate::sample(self.cx(graph, cx.constants(), state), &found)?;
        match sample.is_finite() {
            true => Ok((found, sample)),
            false => Err(FoldReason::Uncertified { message: certify::NOT_FINITE.into() }),
        }
    }

    /// Commits a fold and compares the path with what it was.
    fn commit(
        &self,
        graph: &mut Graph,
        cx: &mut PassCx<'_>,
        state: &mut State,
        root: &Root,
        found: Found,
        sample: certificate::Sample,
    ) -> Result<Remark, PassError> {
        let bn = root.op;
        let location = graph.location(bn);
        let disagree = |cx: &PassCx<'_>, message: String| cx.certificate(location.clone(), message);
        let mut remark = remark::folded(cx, graph, bn, &found);
        let Found { plan, sideways, .. } = found;
        let Some((instead, created)) = cx.rewrite(graph, |rw| plan.commit(rw)) else {
            return Err(cx.internal(graph, bn, "a rewrite was refused that had been allowed"));
        };
        state.created |= !created.is_empty();
        let sums: Vec<OpId> = created.iter().map(|c| c.0).collect();
        if sideways {
            state.memory.borrow_mut().forget();
        }
        for (op, like) in created {
            let at = state.positions.get(like);
            state.positions.place(op, at);
        }
        let now = |mut v: Value| {
            while let Some(&later) = instead.get(&v) {
                v = later;
            }
            v
        };
        let judged = certificate::after(self.cx(graph, cx.constants(), state), now, &sums, &sample)
            .map_err(|e| disagree(cx, format!("the folded path cannot be evaluated: {e}")))?;
        let found = judged.map_err(|message| disagree(cx, message))?;
        remark.args.extend(found.args());
        Ok(remark)
    }
}
