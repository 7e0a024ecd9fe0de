//! Running a pipeline over a module.

mod captures;
mod hooks;
mod interface;

pub use hooks::{Instrumentation, PassRun};

use crate::{
    analysis::AnalysisCache,
    pass::{Around, Ledger, NO_CONVERGENCE, Pass, PassCx, PassError, PassOutcome},
    pipeline::{Item, PassCall, Pipeline},
};
use captures::idle;
pub(crate) use captures::{captured, owners};
use indexmap::IndexMap;
use interface::Interface;
use normfold_ir::{CancelToken, GraphId, Module, Remark, RemarkKind, verify};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a pipeline is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ManagerOptions {
    /// Verify the module before the first pass and after each. On by default in builds with debug assertions.
    pub verify_each: bool,
    /// Let no pass rewrite after that many rewrites of the whole pipeline: bisects a wrong one.
    pub stop_after_rewrites: Option<u64>,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self { verify_each: cfg!(debug_assertions), stop_after_rewrites: None }
    }
}

impl ManagerOptions {
    /// Whether the module is verified after each pass.
    pub fn verify_each(mut self, yes: bool) -> Self {
        self.verify_each = yes;
        self
    }

    /// How many rewrites the whole pipeline may make.
    pub fn stop_after_rewrites(mut self, limit: Option<u64>) -> Self {
        self.stop_after_rewrites = limit;
        self
    }
}

/// What one pass of a pipeline did, over all graphs and, inside a fixpoint, all rounds.
#[derive(Clone, PartialEq, Debug)]
pub struct PassReport {
    /// The pass.
    pub name: &'static str,
    /// The pass with its options, as pipeline text.
    pub text: String,
    /// How often it ran over the module.
    pub runs: u64,
    /// Whether any run changed anything.
    pub changed: bool,
    /// Its rewrites.
    pub rewrites: u64,
    /// What it counted, in the order in which it lists its statistics.
    pub statistics: IndexMap<&'static str, u64>,
}

/// What a pipeline did.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PipelineReport {
    /// Every pass, in the order of the pipeline text.
    pub passes: Vec<PassReport>,
    /// Every remark: pass by pass in the order of the pipeline text, within a pass in the order in which it reported.
    /// Of a pass that ran in several rounds of a fixpoint, what was missed is that of the last round.
    pub remarks: Vec<Remark>,
    /// Whether `stop_after_rewrites` was reached.
    pub stopped: bool,
}

impl PipelineReport {
    /// Whether any pass changed anything.
    pub fn changed(&self) -> bool {
        self.passes.iter().any(|p| p.changed)
    }

    /// The rewrites of all passes.
    pub fn rewrites(&self) -> u64 {
        self.passes.iter().map(|p| p.rewrites).sum()
    }
}

/// Runs pipelines over modules. Holds no state between runs.
#[derive(Clone, Debug, Default)]
pub struct PassManager {
    options: ManagerOptions,
    cancel: CancelToken,
}

impl PassManager {
    /// A manager with these options.
    pub fn new(options: ManagerOptions) -> Self {
        Self { options, cancel: CancelToken::new() }
    }

    /// With a token by which somebody can ask a run to stop.
    pub fn cancelled_by(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// Runs the pipeline.
    ///
    /// A panic of a pass is caught and becomes [`PassError::Panicked`]; the program's panic hook sees it first.
    ///
    /// # Errors
    /// A pass failed, or left the module or the interface of a graph broken, or somebody asked to stop. The module is not to
    /// be used then.
    pub fn run(
        &self,
        pipeline: &Pipeline,
        module: &mut Module,
    ) -> Result<PipelineReport, PassError> {
        self.run_with(pipeline, module, &mut [])
    }

    /// [`PassManager::run`] with instrumentation, which is told of every pass in the order given.
    ///
    /// # Errors
    /// As [`PassManager::run`].
    pub fn run_with(
        &self,
        pipeline: &Pipeline,
        module: &mut Module,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<PipelineReport, PassError> {
        let calls = pipeline.calls();
        let mut run = Run {
            options: self.options,
            module,
            instrumentation,
            steps: calls.iter().map(|c| Step::new(c)).collect(),
            analyses: IndexMap::new(),
            budget: self.options.stop_after_rewrites.unwrap_or(u64::MAX),
            unsettled: Vec::new(),
            cancel: &self.cancel,
        };
        run.verify_input()?;
        run.pipeline(pipeline, 0)?;
        Ok(run.report())
    }
}

/// One pass of the pipeline, at its position.
struct Step<'p> {
    call: &'p PassCall,
    pass: Box<dyn Pass>,
    ledger: Ledger,
    runs: u64,
    changed: bool,
}

impl<'p> Step<'p> {
    fn new(call: &'p PassCall) -> Self {
        let pass = call.instance();
        Self { call, pass, ledger: Ledger::default(), runs: 0, changed: false }
    }
}

struct Run<'p, 'm, 'i, 'j> {
    options: ManagerOptions,
    module: &'m mut Module,
    instrumentation: &'i mut [&'j mut dyn Instrumentation],
    steps: Vec<Step<'p>>,
    analyses: IndexMap<GraphId, AnalysisCache>,
    budget: u64,
    /// Remarks on fixpoints that did not come to rest.
    unsettled: Vec<Remark>,
    cancel: &'p CancelToken,
}

impl Run<'_, '_, '_, '_> {
    /// What was broken before is not the fault of a pass.
    fn verify_input(&self) -> Result<(), PassError> {
        let Some(first) = self.steps.first().filter(|_| self.options.verify_each) else {
            return Ok(());
        };
        verify(self.module).map_err(|errors| PassError::BrokenInput {
            pass: first.call.info().name.into(),
            location: self.module.name().clone(),
            message: format!("the module is not valid:\n{errors}"),
        })
    }

    /// Runs the items, whose first pass is at position `at`. Returns whether anything changed, and the position after.
    fn pipeline(&mut self, pipeline: &Pipeline, mut at: usize) -> Result<(bool, usize), PassError> {
        let mut changed = false;
        for item in &pipeline.items {
            match item {
                Item::Pass(_) => {
                    changed |= self.step(at)?;
                    at += 1;
                }
                Item::Fixpoint { max, body } => {
                    changed |= self.fixpoint(*max, body, at)?;
                    at += body.calls().len();
                }
            }
        }
        Ok((changed, at))
    }

    fn fixpoint(&mut self, max: u64, body: &Pipeline, at: usize) -> Result<bool, PassError> {
        let mut changed = false;
        for _ in 0..max {
            if !self.pipeline(body, at)?.0 {
                return Ok(changed);
            }
            changed = true;
            // Without a budget nothing changes any more, whatever the passes say.
            if self.budget == 0 {
                return Ok(changed);
            }
        }
        self.unsettled.push(Remark {
            kind: RemarkKind::Failure,
            pass: "fixpoint",
            graph: self.module.name().clone(),
            op: "module".into(),
            location: self.module.name().clone(),
            code: NO_CONVERGENCE,
            message: format!("`{body}` still changes the module after {max} rounds"),
            args: Vec::new(),
            ops: Vec::new(),
        });
        Ok(changed)
    }

    /// Runs the pass at position `at` over every graph.
    fn step(&mut self, at: usize) -> Result<bool, PassError> {
        let step = &mut self.steps[at];
        // Verdicts are those of the last round: what was refused before may have been done since.
        step.ledger.remarks.retain(|r| matches!(r.kind, RemarkKind::Passed | RemarkKind::Failure));
        step.runs += 1;
        let name = step.call.info().name;
        let about = PassRun { name, call: step.call.clone(), position: at, run: step.runs };
        let span = tracing::info_span!("pass", pass = name, position = at, run = about.run);
        let _entered = span.enter();
        for i in self.instrumentation.iter_mut() {
            i.before_pass(&about, self.module);
        }
        match self.over_graphs(at, name).and_then(|changed| self.verify_after(name, changed)) {
            Ok(changed) => {
                let remarks = self.steps[at].pass.finish(self.module);
                self.steps[at].ledger.remarks.extend(remarks);
                tracing::debug!(changed, rewrites = self.steps[at].ledger.rewrites, "finished");
                self.steps[at].changed |= changed;
                for i in self.instrumentation.iter_mut() {
                    i.after_pass(&about, self.module, changed);
                }
                Ok(changed)
            }
            Err(error) => {
                tracing::error!("{error}");
                for i in self.instrumentation.iter_mut() {
                    i.failed(&about, &error);
                }
                Err(error)
            }
        }
    }

    fn verify_after(&self, name: &'static str, changed: bool) -> Result<bool, PassError> {
        if self.options.verify_each {
            verify(self.module).map_err(|errors| PassError::Verify {
                pass: name.into(),
                message: errors.to_string(),
            })?;
        }
        Ok(changed)
    }

    fn over_graphs(&mut self, at: usize, name: &'static str) -> Result<bool, PassError> {
        let mut any = false;
        let owners = owners(self.module);
        for id in self.module.innermost_first() {
            let captured = captured(self.module, &owners, id);
            let idle = idle(self.module, &owners, id);
            let outcome = self.on_graph(at, name, id, Around { captured, idle })?;
            self.analyses.entry(id).or_default().keep(&outcome.preserved);
            any |= outcome.changed;
        }
        Ok(any)
    }

    fn on_graph(
        &mut self,
        at: usize,
        name: &'static str,
        id: GraphId,
        around: Around,
    ) -> Result<PassOutcome, PassError> {
        let before = Interface::of(self.module.graph(id));
        let (graph, constants) = self.module.graph_and_constants(id);
        let graph_name = graph.name().clone();
        let _entered = tracing::debug_span!("graph", graph = &*graph_name).entered();
        let step = &mut self.steps[at];
        let mut cx = PassCx {
            pass: name,
            constants,
            ledger: &mut step.ledger,
            analyses: self.analyses.entry(id).or_default(),
            budget: &mut self.budget,
            around,
            cancel: self.cancel,
        };
        cx.check_cancelled()?;
        let pass = &mut step.pass;
        // What a panic leaves half done is not looked at again: the run ends.
        let result = catch_unwind(AssertUnwindSafe(|| pass.run(graph, &mut cx)));
        let outcome = result.map_err(|payload| {
            let message = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            PassError::Panicked { pass: name.into(), graph: graph_name.clone(), message }
        })??;
        if let Err(message) = before.compare(&Interface::of(self.module.graph(id))) {
            return Err(PassError::Interface { pass: name.into(), graph: graph_name, message });
        }
        Ok(outcome)
    }

    fn report(self) -> PipelineReport {
        let mut out = PipelineReport {
            stopped: self.options.stop_after_rewrites.is_some() && self.budget == 0,
            ..PipelineReport::default()
        };
        for step in self.steps {
            let mut statistics = IndexMap::new();
            let known = step.call.info().statistics.iter().map(|(name, _)| *name);
            for name in known.chain(step.ledger.statistics.keys().copied()) {
                let n = step.ledger.statistics.get(name).copied().unwrap_or(0);
                statistics.insert(name, n);
            }
            out.passes.push(PassReport {
                name: step.call.info().name,
                text: step.call.to_string(),
                runs: step.runs,
                changed: step.changed,
                rewrites: step.ledger.rewrites,
                statistics,
            });
            out.remarks.extend(step.ledger.remarks);
        }
        out.remarks.extend(self.unsettled);
        out
    }
}
