//! `fold-bn`: moves batch norms into the weights of the linear ops that feed them.
//!
//! ```text
//! Given   %c = conv %x, %w, %b            Result  %y = conv %x, %w·s, %b·s + t
//!         %y = batch_norm %c, %γ, %β, %μ, %σ²
//! ```
//!
//! with `s = γ/√(σ²+ε)` and `t = β − μ·s` per channel. Every batch norm gets one verdict: folded, with a certificate, or
//! kept, with a reason of docs/legality.md. Legality is decided by values and their uses: see [`FoldReason`].
//!
//! One root at a time, in topological order: check against the graph as it is, commit, go on; until nothing changes.
//! Verdicts are those of the last round.

mod affine;
mod backward;
mod bias;
mod certificate;
mod plan;
mod reason;
mod resolve;
mod walk;
mod weight;

pub use reason::{Blocker, FoldReason, Role};

use crate::{
    CertainTypes, Globs, Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec, option_enum,
    pass_options,
};
use affine::{batch_norm, statistics};
use backward::{Backward, Cx};
use certificate::Certificate;
use normfold_ir::{ConstPool, Graph, OpId, OpKind, Reason, Remark, RemarkArg, RemarkKind};
use std::sync::Arc;

option_enum! {
    /// Which way a batch norm may fold.
    pub enum Direction {
        /// Into the op that produces its input.
        Backward "backward",
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

pass_options! {
    /// Options of `fold-bn`.
    pub struct FoldBnOptions {
        /// Which way a batch norm may fold.
        direction: Direction = Direction::Backward,
        /// Fold only batch norms whose name matches; empty is all.
        only: Globs = Globs::default(),
        /// Keep batch norms whose name matches.
        skip: Globs = Globs::default(),
        /// What to do about a weight or bias that other ops read too.
        shared: Shared = Shared::Copy,
        /// Bytes of the largest shared constant that an op gets a copy of.
        copy_limit: u64 = 64 << 20,
        /// Keep batch norms whose name matches as `overflow`: while writing, their folded weight was found not to be
        /// finite.
        overflowing: Globs = Globs::default(),
    }
}

/// The pass `fold-bn`.
pub struct FoldBn {
    options: FoldBnOptions,
}

impl PassSpec for FoldBn {
    type Options = FoldBnOptions;
    const INFO: PassInfo = PassInfo {
        name: "fold-bn",
        summary: "Fold batch norms into the linear ops that feed them",
        description: "\
`y = batch_norm(linear(x, W, b))` becomes `y = linear(x, W·s, b·s + t)` with `s = γ/√(σ²+ε)` and `t = β − μ·s` per
channel, computed in f64 and rounded once to the stored type. Linear ops are `conv`, `conv_transpose` (any rank, groups
and layout), `linear` and `matmul`; `identity` and inference `dropout` are looked through. Constants are resolved through
`identity`.

Every batch norm gets one remark: `folded`, with what its certificate measured, or the reason why it is kept. A kept batch
norm is left exactly as it was.",
        statistics: &[("folded", "batch norms folded"), ("kept", "batch norms kept")],
        reasons: FoldReason::CODES,
    };

    fn new(options: Self::Options) -> Self {
        Self { options }
    }
}

/// What is known of one batch norm.
enum Verdict {
    Folded(Box<Remark>),
    Kept(FoldReason),
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
        let by_rank = |op| match graph.kind(op) {
            OpKind::MatMul(_) => true,
            OpKind::Linear(l) => !l.matrix,
            _ => false,
        };
        // Statements about values outlive rewrites, so once is enough.
        let types = order.iter().any(|&op| by_rank(op)).then(|| cx.analysis::<CertainTypes>(graph));
        let types = types.as_deref();
        let roots: Vec<OpId> =
            order.into_iter().filter(|&op| batch_norm(graph, op).is_some()).collect();
        let mut verdicts: Vec<Option<Verdict>> = roots.iter().map(|_| None).collect();
        let mut changed = false;
        loop {
            let mut again = false;
            for (&bn, verdict) in roots.iter().zip(&mut verdicts) {
                if matches!(verdict, Some(Verdict::Folded(_))) {
                    continue;
                }
                *verdict = Some(match self.check(self.cx(graph, cx.constants(), types), bn) {
                    Err(reason) => Verdict::Kept(reason),
                    Ok(_) if !cx.may_rewrite() => Verdict::Kept(FoldReason::RewriteLimit),
                    Ok(fold) => {
                        let verdict = self.commit(graph, cx, types, bn, fold)?;
                        again |= matches!(verdict, Verdict::Folded(_));
                        verdict
                    }
                });
            }
            changed |= again;
            if !again {
                break;
            }
        }
        for (bn, verdict) in roots.into_iter().zip(verdicts) {
            match verdict {
                Some(Verdict::Folded(remark)) => {
                    cx.stat("folded", 1);
                    cx.remark(*remark);
                }
                Some(Verdict::Kept(reason)) => {
                    cx.stat("kept", 1);
                    let remark = kept(cx, graph, bn, &reason);
                    cx.remark(remark);
                }
                None => {}
            }
        }
        Ok(PassOutcome::from_changed(changed))
    }
}

impl FoldBn {
    fn cx<'a>(&self, g: &'a Graph, pool: &'a ConstPool, types: Option<&'a CertainTypes>) -> Cx<'a> {
        Cx {
            g,
            pool,
            types,
            allow_copy: self.options.shared == Shared::Copy,
            copy_limit: self.options.copy_limit,
            thorough: false,
        }
    }

    /// Everything that must hold for `bn` to fold, on the graph as it is.
    fn check(&self, cx: Cx<'_>, bn: OpId) -> Result<Backward, FoldReason> {
        let Cx { g, pool, .. } = cx;
        let Some(kind) = batch_norm(g, bn) else { unreachable!("roots are batch norms") };
        let name = g.location(bn);
        let o = &self.options;
        if !o.only.is_empty() && !o.only.matches(&name) || o.skip.matches(&name) {
            return Err(FoldReason::NotSelected);
        }
        let stats = statistics(g, pool, bn, kind)?;
        let (op, via) = walk::walk(g, bn)?;
        let overflowing = o.overflowing.matches(&name);
        let fold =
            backward::plan(Cx { thorough: overflowing || cx.thorough, ..cx }, bn, stats, op, via)?;
        if overflowing {
            return Err(FoldReason::Overflow { what: Role::Weight, channel: None });
        }
        Ok(fold)
    }

    /// Commits a fold and compares the path with what it was.
    fn commit(
        &self,
        graph: &mut Graph,
        cx: &mut PassCx<'_>,
        types: Option<&CertainTypes>,
        bn: OpId,
        fold: Backward,
    ) -> Result<Verdict, PassError> {
        let location = graph.location(bn);
        let disagree = |cx: &PassCx<'_>, message: String| cx.certificate(location.clone(), message);
        let sample = match certificate::before(self.cx(graph, cx.constants(), types), bn, &fold) {
            Ok(sample) if sample.is_finite() => sample,
            Ok(_) => {
                let cx = Cx { thorough: true, ..self.cx(graph, cx.constants(), types) };
                let message = "its sampled results are not finite".into();
                let checked = self.check(cx, bn);
                return Ok(Verdict::Kept(
                    checked.err().unwrap_or(FoldReason::Uncertified { message }),
                ));
            }
            Err(e) => return Ok(Verdict::Kept(FoldReason::Uncertified { message: e.to_string() })),
        };
        let mut remark = folded(cx, graph, bn, &fold);
        let absorber = fold.plan.absorber;
        let Some(y) = cx.rewrite(graph, |rw| fold.plan.commit(rw)) else {
            return Err(cx.internal(graph, bn, "a rewrite was refused that had been allowed"));
        };
        let judged = certificate::after(graph, cx.constants(), absorber, y, &sample)
            .map_err(|e| disagree(cx, format!("the folded path cannot be evaluated: {e}")))?;
        let Certificate { samples, error } = judged.map_err(|message| disagree(cx, message))?;
        remark.args.push(("samples", RemarkArg::Int(samples as i64)));
        remark.args.push(("error", RemarkArg::Float(error)));
        Ok(Verdict::Folded(Box::new(remark)))
    }
}

fn folded(cx: &PassCx<'_>, g: &Graph, bn: OpId, fold: &Backward) -> Remark {
    let op = fold.plan.absorber;
    let into = Blocker::of(g, op);
    let via: Vec<Arc<str>> =
        fold.via.iter().map(|&v| Blocker::of(g, v).to_string().into()).collect();
    let through =
        if via.is_empty() { String::new() } else { format!(" through {}", via.join(", ")) };
    let copied = match fold.copied.as_slice() {
        [] => String::new(),
        names => format!(", with its own copy of {}", names.join(", ")),
    };
    let magnitudes = || fold.affine.s.iter().map(|s| s.abs());
    let mut r =
        cx.about(g, bn, RemarkKind::Passed, "folded", format!("into {into}{through}{copied}"));
    r.args = vec![
        ("into", RemarkArg::Str(into.location)),
        ("into-op", RemarkArg::Str(into.op)),
        ("direction", RemarkArg::Str(Direction::Backward.name().into())),
        ("through", RemarkArg::List(via)),
        ("copied", RemarkArg::List(fold.copied.clone())),
        ("scale-min", RemarkArg::Float(magnitudes().fold(f64::INFINITY, f64::min))),
        ("scale-max", RemarkArg::Float(magnitudes().fold(0.0, f64::max))),
        ("cancellation", RemarkArg::Float(fold.cancellation)),
        ("gamma", RemarkArg::Floats(fold.affine.gamma.clone())),
        ("beta", RemarkArg::Floats(fold.affine.beta.clone())),
    ];
    r
}

fn kept(cx: &PassCx<'_>, g: &Graph, bn: OpId, reason: &FoldReason) -> Remark {
    let mut r = cx.about(g, bn, RemarkKind::Missed, reason.code(), reason.to_string());
    if let Some(b) = reason.blocker() {
        r.args.push(("blocker", RemarkArg::Str(b.location.clone())));
        r.args.push(("blocker-op", RemarkArg::Str(b.op.clone())));
    }
    r.args.push(("unlock", RemarkArg::Str(reason.unlock().into())));
    r
}
