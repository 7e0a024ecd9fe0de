//! What a pass is, what it is given, and what it hands back.

use crate::{
    analysis::{Analysis, AnalysisCache, Constness, Preserved},
    options::PassOptions,
};
use indexmap::IndexMap;
use normfold_ir::{
    CancelToken, ConstId, ConstPool, Event, Graph, GreedyConfig, GreedyOutcome, Module, OpId,
    PatternRewriter, PatternSet, Remark, RemarkKind, Use, apply_greedily,
};
use std::{collections::HashMap, sync::Arc};

/// A transformation of one graph.
///
/// The manager runs a pass once per graph, bodies before the graphs whose ops own them. A pass does no I/O, reads no
/// environment and no clock, and gives the same result for the same graph. An instance may keep what it learnt from one
/// graph to the next of the same run.
pub trait Pass: Send {
    /// Transforms `graph`.
    ///
    /// Every change goes through [`PassCx::rewrite`] or [`PassCx::apply_greedily`], so that it is counted, traced and can
    /// be stopped.
    ///
    /// # Errors
    /// A bug of the compiler, or a graph that breaks an invariant. That something could not be optimized is no error: it
    /// is a [`Remark`].
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError>;

    /// Remarks about the module as a whole, asked for after each run over its graphs.
    fn finish(&mut self, module: &Module) -> Vec<Remark> {
        let _ = module;
        Vec::new()
    }
}

/// A pass that can be named in a pipeline.
pub trait PassSpec: Pass + Sized + 'static {
    /// Its options: a struct of [`crate::pass_options!`], or [`crate::NoOptions`].
    type Options: PassOptions;
    /// Its name and documentation.
    const INFO: PassInfo;
    /// An instance.
    fn new(options: Self::Options) -> Self;
}

/// Name and documentation of a pass: what help, docs/passes.md and messages are made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassInfo {
    /// The name in pipelines: lower case, words joined by `-`.
    pub name: &'static str,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// Markdown.
    pub description: &'static str,
    /// The statistics it counts, with what each means.
    pub statistics: &'static [(&'static str, &'static str)],
    /// The codes of the reasons it gives in missed remarks, each a heading of docs/legality.md.
    pub reasons: &'static [&'static str],
}

/// What a run on one graph did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassOutcome {
    /// Whether the graph is another one now.
    pub changed: bool,
    /// The analyses that still hold.
    pub preserved: Preserved,
}

impl PassOutcome {
    /// Nothing was changed; every analysis holds.
    pub fn unchanged() -> Self {
        Self { changed: false, preserved: Preserved::All }
    }

    /// Something was changed; no analysis holds unless said by [`PassOutcome::preserving`].
    pub fn changed() -> Self {
        Self { changed: true, preserved: Preserved::none() }
    }

    /// [`PassOutcome::changed`] or [`PassOutcome::unchanged`].
    pub fn from_changed(changed: bool) -> Self {
        if changed { Self::changed() } else { Self::unchanged() }
    }

    /// States that analysis `A` still holds.
    pub fn preserving<A: Analysis>(mut self) -> Self {
        self.preserved.add::<A>();
        self
    }
}

/// A bug of the compiler, or broken input. The module is not to be used afterwards.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// The pass found itself in a state that must not be.
    #[error("pass `{pass}` failed at {location:?}: {message} (please report this as a bug)")]
    Internal {
        /// The pass.
        pass: Arc<str>,
        /// The op, by its name in the source.
        location: Arc<str>,
        /// What must not be.
        message: String,
    },
    /// A rewrite was carried out, and its certificate says that the graph computes something else now.
    #[error(
        "pass `{pass}`: the certificate of {location:?} disagrees: {message} (nothing was written; please report this as a bug)"
    )]
    Certificate {
        /// The pass.
        pass: Arc<str>,
        /// The op, by its name in the source.
        location: Arc<str>,
        /// What differs, by how much, and the bound.
        message: String,
    },
    /// The graph that the pass was given breaks an invariant.
    #[error("pass `{pass}` cannot work on {location:?}: {message}")]
    BrokenInput {
        /// The pass.
        pass: Arc<str>,
        /// The op or graph, by its name in the source.
        location: Arc<str>,
        /// Which invariant.
        message: String,
    },
    /// The module breaks an invariant after the pass, which held before.
    #[error("pass `{pass}` broke the module (please report this as a bug):\n{message}")]
    Verify {
        /// The pass.
        pass: Arc<str>,
        /// Every finding of the verifier, one per line.
        message: String,
    },
    /// The pass changed what callers of a graph see.
    #[error(
        "pass `{pass}` changed the interface of graph {graph:?}: {message} (please report this as a bug)"
    )]
    Interface {
        /// The pass.
        pass: Arc<str>,
        /// The graph.
        graph: Arc<str>,
        /// What changed.
        message: String,
    },
    /// Somebody asked the run to stop.
    #[error("cancelled while pass `{pass}` ran")]
    Cancelled {
        /// The pass that ran.
        pass: Arc<str>,
    },
    /// The pass panicked.
    #[error("pass `{pass}` panicked on graph {graph:?}: {message} (please report this as a bug)")]
    Panicked {
        /// The pass.
        pass: Arc<str>,
        /// The graph.
        graph: Arc<str>,
        /// The panic's message.
        message: String,
    },
}

impl PassError {
    /// The pass to blame.
    pub fn pass(&self) -> &Arc<str> {
        match self {
            PassError::Internal { pass, .. }
            | PassError::Certificate { pass, .. }
            | PassError::BrokenInput { pass, .. }
            | PassError::Verify { pass, .. }
            | PassError::Interface { pass, .. }
            | PassError::Cancelled { pass }
            | PassError::Panicked { pass, .. } => pass,
        }
    }
}

/// What one pass of a pipeline has done so far, over all graphs.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) rewrites: u64,
    pub(crate) statistics: IndexMap<&'static str, u64>,
    pub(crate) remarks: Vec<Remark>,
}

/// What a pass is given beside the graph.
pub struct PassCx<'a> {
    pub(crate) pass: &'static str,
    pub(crate) constants: &'a mut ConstPool,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) analyses: &'a mut AnalysisCache,
    /// Rewrites that the whole pipeline may still make.
    pub(crate) budget: &'a mut u64,
    pub(crate) around: Around,
    pub(crate) cancel: &'a CancelToken,
}

/// What the graphs around a graph and the bodies within it mean for it.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) captured: HashMap<OpId, ConstId>,
    pub(crate) idle: Vec<Use>,
}

impl PassCx<'_> {
    /// The name of the running pass, as remarks carry it.
    pub fn pass(&self) -> &'static str {
        self.pass
    }

    /// The module's constants.
    pub fn constants(&self) -> &ConstPool {
        self.constants
    }

    /// The module's constants, to add entries to.
    pub fn constants_mut(&mut self) -> &mut ConstPool {
        self.constants
    }

    /// The capture parameters of the graph that stand for constants of the graphs around it, which no caller can replace.
    pub fn captured(&self) -> &HashMap<OpId, ConstId> {
        &self.around.captured
    }

    /// The captures of the graph's ops that no body reads.
    pub fn idle_captures(&self) -> &[Use] {
        &self.around.idle
    }

    /// Whether the run may go on. A pass that takes long asks now and then.
    ///
    /// # Errors
    /// Somebody asked the run to stop.
    pub fn check_cancelled(&self) -> Result<(), PassError> {
        match self.cancel.is_cancelled() {
            true => Err(PassError::Cancelled { pass: self.pass.into() }),
            false => Ok(()),
        }
    }

    /// Whether a further rewrite is allowed. False once `stop_after_rewrites` is reached: a pass then finishes with what it
    /// has.
    pub fn may_rewrite(&self) -> bool {
        *self.budget > 0
    }

    /// One rewrite: a unit that is correct by itself, counted once however many ops it touches. `None` when
    /// [`PassCx::may_rewrite`] is false; `f` is not called then.
    pub fn rewrite<R>(
        &mut self,
        graph: &mut Graph,
        f: impl FnOnce(&mut PatternRewriter<'_>) -> R,
    ) -> Option<R> {
        self.rewrite_listening(graph, &mut |_, _| {}, f)
    }

    /// [`PassCx::rewrite`] with a listener that hears of every change.
    pub fn rewrite_listening<R>(
        &mut self,
        graph: &mut Graph,
        listener: &mut dyn FnMut(&Graph, Event),
        f: impl FnOnce(&mut PatternRewriter<'_>) -> R,
    ) -> Option<R> {
        if !self.may_rewrite() {
            return None;
        }
        self.count(1);
        tracing::trace!(pass = self.pass, rewrite = self.ledger.rewrites, "rewrite");
        Some(f(&mut PatternRewriter::new(graph, self.constants, listener)))
    }

    fn count(&mut self, rewrites: u64) {
        *self.budget = self.budget.saturating_sub(rewrites);
        self.ledger.rewrites += rewrites;
    }

    /// Applies patterns until none applies. Counts each application as one rewrite and in the statistic of the pattern's
    /// name; refused matches become missed remarks of this pass.
    ///
    /// Patterns that undo each other would never end: after a number of rewrites that no sound set needs the run stops with
    /// a failure remark, `no-convergence`.
    pub fn apply_greedily(
        &mut self,
        graph: &mut Graph,
        patterns: &PatternSet<'_>,
    ) -> GreedyOutcome {
        let cap = 64 * graph.len() as u64 + 1024;
        let config = GreedyConfig { max_rewrites: cap.min(*self.budget) };
        let mut out = apply_greedily(graph, self.constants, patterns, config);
        self.count(out.total());
        for &(pattern, n) in &out.rewrites {
            if n > 0 {
                self.stat(pattern, n);
            }
        }
        for remark in &mut out.missed {
            remark.pass = self.pass;
            self.ledger.remarks.push(remark.clone());
        }
        if out.total() >= cap {
            let most = out.rewrites.iter().max_by_key(|(_, n)| *n).map_or("", |(p, _)| p);
            self.ledger.remarks.push(Remark {
                kind: RemarkKind::Failure,
                pass: self.pass,
                graph: graph.name().clone(),
                op: "graph".into(),
                location: graph.name().clone(),
                code: NO_CONVERGENCE,
                message: format!("stopped after {cap} rewrites, most of them by `{most}`"),
                args: Vec::new(),
                ops: Vec::new(),
            });
        }
        out
    }

    /// Adds `n` to a statistic. Its name is listed in [`PassInfo::statistics`].
    pub fn stat(&mut self, name: &'static str, n: u64) {
        *self.ledger.statistics.entry(name).or_default() += n;
    }

    /// Reports.
    pub fn remark(&mut self, remark: Remark) {
        tracing::debug!(
            pass = self.pass,
            kind = remark.kind.name(),
            code = remark.code,
            location = &*remark.location,
            "{}",
            remark.message
        );
        self.ledger.remarks.push(remark);
    }

    /// A remark of this pass about an op; hand it to [`PassCx::remark`] once complete.
    pub fn about(
        &self,
        graph: &Graph,
        op: OpId,
        kind: RemarkKind,
        code: &'static str,
        message: impl Into<String>,
    ) -> Remark {
        Remark {
            kind,
            pass: self.pass,
            graph: graph.name().clone(),
            op: graph.kind(op).mnemonic().into(),
            location: graph.location(op),
            code,
            message: message.into(),
            args: Vec::new(),
            ops: Vec::new(),
        }
    }

    /// The analysis `A` of the graph: cached since it was last computed, unless a pass changed the graph without
    /// preserving it. Within one run of a pass it stays what it was; the pass knows what its own rewrites make of it.
    pub fn analysis<A: Analysis>(&mut self, graph: &Graph) -> Arc<A> {
        self.analyses.get(graph, self.constants)
    }

    /// What is constant in the graph, constants of the graphs around it included.
    pub fn constness(&mut self, graph: &Graph) -> Arc<Constness> {
        match self.captured().is_empty() {
            true => self.analysis(graph),
            false => Arc::new(Constness::with_captured(graph, self.captured())),
        }
    }

    /// An error that blames this pass.
    pub fn internal(&self, graph: &Graph, op: OpId, message: impl Into<String>) -> PassError {
        let location = if graph.contains(op) { graph.location(op) } else { graph.name().clone() };
        PassError::Internal { pass: self.pass.into(), location, message: message.into() }
    }

    /// The error of a rewrite whose certificate disagrees.
    pub fn certificate(
        &self,
        location: impl Into<Arc<str>>,
        message: impl Into<String>,
    ) -> PassError {
        PassError::Certificate {
            pass: self.pass.into(),
            location: location.into(),
            message: message.into(),
        }
    }
}

/// The code of the failure remark of a run that did not come to rest.
pub const NO_CONVERGENCE: &str = "no-convergence";
