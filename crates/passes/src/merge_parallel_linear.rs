//! `merge-parallel-linear`: linear ops of one value, joined by sums and differences, become one.
//!
//! ```text
//! Given   %a = conv %x, %v, %b {pad = 1}      Result  %y = conv %x, %v + %w in the middle, %b + %c {pad = 1}
//!         %c = conv %x, %w, %c                with v: 8×4×3×3, w: 8×4×1×1
//!         %y = add %a, %c
//! ```
//!
//! Trees of sums are looked at one by one, in topological order. Of the terms of a tree that read the same value the one
//! with the largest weight takes in those that fit, pair by pair: planned on the graph as it is, certified, committed.

mod certificate;
mod linear;
mod plan;
mod reason;
mod sum;
mod window;

use crate::{
    Blocker, CertainTypes, Constness, Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec,
    certify, pass_options,
};
use indexmap::IndexMap;
use linear::{Facts, linear};
use normfold_ir::{Graph, OpId, Reason, RemarkArg, RemarkKind, Value};
use plan::{Site, plan};
use reason::MergeReason;
use std::collections::HashSet;
use sum::Term;

pass_options! {
    /// Options of `merge-parallel-linear`.
    pub struct MergeParallelLinearOptions {
        /// Bytes of the largest constant that is added because others read the old ones.
        copy_limit: u64 = 64 << 20,
    }
}

/// The pass `merge-parallel-linear`.
#[derive(Clone, Debug)]
pub struct MergeParallelLinear {
    options: MergeParallelLinearOptions,
}

impl PassSpec for MergeParallelLinear {
    type Options = MergeParallelLinearOptions;

    const INFO: PassInfo = PassInfo {
        name: "merge-parallel-linear",
        summary: "Merge linear ops of one value whose results are added",
        description: "\
`conv(x; V, a) + conv(x; W, b)` becomes `conv(x; V + W, a + b)`, where the smaller kernel is added to the larger one at the
taps that read the same positions. After `fold-bn` the blocks of RepVGG, MobileOne and FastViT come down to one
convolution each: `fold-bn,merge-parallel-linear,dce`. A batch norm beside them may fold only
once they are one: `fixpoint(fold-bn,merge-parallel-linear,dce)` goes on until nothing folds or merges.

The terms may stand anywhere in a tree of `add` and `sub` whose partial sums nothing else reads. Strides, groups and layouts
of convolutions agree, dilations where both kernels have more than one tap, and padding is such that both give as many
outputs and one kernel lies within the window of the other. `conv_transpose`, `linear` and `matmul` merge when their
attributes and the extents of their weights agree. Weights and biases are constants that no caller can replace, in the graph
itself or around the body that captures them; what is computed from constants is one after `const-fold`.

In such a tree the sums that add a single 0 go, too. Elements are summed in f64 and rounded once, whatever the batch norms before did to them. Every merge gets a remark, and so
does every op that could not be merged with another one of the same input and sum.",
        statistics: &[
            ("merged", "linear ops merged into another one"),
            ("kept", "linear ops kept"),
            ("zeros", "sums removed that add a zero"),
        ],
        reasons: MergeReason::ALL,
    };

    fn new(options: Self::Options) -> Self {
        Self { options }
    }
}

/// How many ops that take in none of the others are tried per tree and value.
const MOST_KEPT: usize = 16;

impl Pass for MergeParallelLinear {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let types = cx.analysis::<CertainTypes>(graph);
        let known = cx.constness(graph);
        let mut shared = HashSet::new();
        let mut changed = false;
        for root in graph.topo_order().unwrap_or_default() {
            if !graph.contains(root) {
                continue;
            }
            let mut tree = Tree {
                types: &types,
                known: &known,
                shared: &mut shared,
                root,
                copy_limit: self.options.copy_limit,
            };
            let sum = sum::tree(graph, root);
            if !sum.terms.iter().any(|t| tree.facts(graph).data(t.value).is_some()) {
                continue;
            }
            // From the terms on.
            for &op in sum.ops.iter().rev() {
                changed |= tree.drop_zero(graph, cx, op);
            }
            let mut groups: IndexMap<Value, Vec<Term>> = IndexMap::new();
            let mut seen = HashSet::new();
            for term in sum.terms {
                if let Some(x) = tree.facts(graph).data(term.value)
                    && seen.insert(term.value)
                {
                    groups.entry(x).or_default().push(term);
                }
            }
            for group in groups.into_values().filter(|g| g.len() > 1) {
                changed |= tree.merge(graph, cx, group)?;
            }
        }
        // Partial sums may have other extents.
        Ok(PassOutcome::from_changed(changed))
    }
}

/// One tree of sums.
struct Tree<'a> {
    types: &'a CertainTypes,
    known: &'a Constness,
    /// Terms of several trees: each is told of once.
    shared: &'a mut HashSet<OpId>,
    /// The last sum; when it is gone, the op whose result is the sum.
    root: OpId,
    copy_limit: u64,
}

impl<'a> Tree<'a> {
    fn facts<'g>(&self, g: &'g Graph) -> Facts<'g>
    where
        'a: 'g,
    {
        Facts { g, types: self.types, known: self.known }
    }

    /// Removes a sum that adds a zero: what unrolled loops over branches begin with.
    fn drop_zero(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>, sum: OpId) -> bool {
        let Some(removal) = sum::adding_nothing(graph, cx.constants(), self.root, sum) else {
            return false;
        };
        let remark = cx.about(graph, sum, RemarkKind::Passed, "merged", "it adds 0");
        let Some(now) = cx.rewrite(graph, |rw| removal.carry_out(rw)) else { return false };
        if let Some(now) = now {
            self.root = now.op;
        }
        cx.stat("zeros", 1);
        cx.remark(remark);
        true
    }

    /// Merges what can be merged among terms that read one value.
    fn merge(
        &mut self,
        graph: &mut Graph,
        cx: &mut PassCx<'_>,
        group: Vec<Term>,
    ) -> Result<bool, PassError> {
        let mut sound = Vec::new();
        for term in group {
            if sum::only_use(graph, term.value).is_none() {
                if self.shared.insert(term.value.op) {
                    let users = graph.uses(term.value).count();
                    let reason = MergeReason::MultipleConsumers { users };
                    kept(graph, cx, term.value.op, None, &reason);
                }
                continue;
            }
            match linear(self.facts(graph), cx.constants(), term.value) {
                Ok(_) => sound.push(term),
                Err(reason) => kept(graph, cx, term.value.op, None, &reason),
            }
        }
        // The largest first; those of one size as they stand.
        let taps = |t: &Term| {
            let l = linear(self.facts(graph), cx.constants(), t.value);
            std::cmp::Reverse(l.map_or(0, |l| linear::size(cx.constants(), &l)))
        };
        sound.sort_by_cached_key(taps);
        let mut changed = false;
        let mut first: Option<OpId> = None;
        let mut refused: Vec<(Term, MergeReason)> = Vec::new();
        for round in 0.. {
            let mut rest = sound.into_iter();
            let Some(mut base) = rest.next() else { break };
            let mut left = Vec::new();
            for term in rest {
                match self.pair(graph, cx, base, term)? {
                    Ok(stays) => {
                        changed = true;
                        base = stays;
                    }
                    Err(reason) => {
                        if round == 0 {
                            refused.push((term, reason));
                        }
                        left.push(term);
                    }
                }
            }
            first.get_or_insert(base.value.op);
            sound = left;
            if round + 1 == MOST_KEPT {
                break;
            }
        }
        for (term, reason) in refused {
            // It may have gone into another one since.
            if graph.contains(term.value.op) {
                kept(graph, cx, term.value.op, first, &reason);
            }
        }
        Ok(changed)
    }

    /// Merges two terms; gives the one that stays.
    fn pair(
        &mut self,
        graph: &mut Graph,
        cx: &mut PassCx<'_>,
        a: Term,
        b: Term,
    ) -> Result<Result<Term, MergeReason>, PassError> {
        let facts = self.facts(graph);
        let of = |t: Term| linear(facts, cx.constants(), t.value);
        let (la, lb) = match of(a).and_then(|la| Ok((la, of(b)?))) {
            Ok(both) => both,
            Err(reason) => return Ok(Err(reason)),
        };
        // The first one is no smaller.
        let site = Site { facts, root: self.root, copy_limit: self.copy_limit };
        let plan = match plan(site, cx.constants_mut(), (&la, &lb), a.negative != b.negative) {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(reason)),
        };
        if !cx.may_rewrite() {
            return Ok(Err(MergeReason::RewriteLimit));
        }
        // Whose place in the tree counts from here on.
        let at = if plan.moved { b } else { a };
        let (kept, gone) = (&la, &lb);
        let negative = [a.negative != at.negative, b.negative != at.negative];
        let sample = match certificate::before(facts, cx.constants(), (kept, gone), negative) {
            Ok(sample) if sample.is_finite() => sample,
            Ok(_) => {
                return Ok(Err(MergeReason::Uncertified { message: certify::NOT_FINITE.into() }));
            }
            Err(e) => return Ok(Err(MergeReason::Uncertified { message: e.to_string() })),
        };
        let location = graph.location(gone.op);
        let into = Blocker::of(graph, kept.op);
        let mut remark =
            cx.about(graph, gone.op, RemarkKind::Passed, "merged", format!("into {into}"));
        let offset = plan.offset.iter().map(|o| o.to_string().into()).collect();
        remark.args = vec![
            ("into", RemarkArg::Str(graph.location(kept.op))),
            ("offset", RemarkArg::List(offset)),
        ];
        let Some(now) = cx.rewrite(graph, |rw| plan.commit(rw)) else {
            return Ok(Err(MergeReason::RewriteLimit));
        };
        if let Some(now) = now {
            self.root = now.op;
        }
        let disagree = |cx: &PassCx<'_>, m: String| cx.certificate(location.clone(), m);
        let judged =
            certificate::after(self.facts(graph), cx.constants(), (kept.op, kept.data), &sample)
                .map_err(|e| disagree(cx, format!("the merged op cannot be evaluated: {e}")))?;
        let found = judged.map_err(|message| disagree(cx, message))?;
        remark.args.extend(found.args());
        cx.stat("merged", 1);
        cx.remark(remark);
        Ok(Ok(Term { value: a.value, negative: at.negative }))
    }
}

/// Says why an op is kept, beside which other one where that matters.
fn kept(graph: &Graph, cx: &mut PassCx<'_>, op: OpId, beside: Option<OpId>, reason: &MergeReason) {
    let other = beside.filter(|&b| b != op && graph.contains(b));
    let message = match other {
        Some(other) => format!("beside {}: {reason}", Blocker::of(graph, other)),
        None => reason.to_string(),
    };
    let mut remark = cx.about(graph, op, RemarkKind::Missed, reason.code(), message);
    if let Some(other) = other {
        remark.args.push(("beside", RemarkArg::Str(graph.location(other))));
    }
    cx.stat("kept", 1);
    cx.remark(remark);
}
