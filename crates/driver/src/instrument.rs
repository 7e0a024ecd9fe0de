//! What can be watched of a run: IR around passes, and times.

use normfold_ir::{Module, text};
use normfold_passes::{Instrumentation, PassError, PassRun, Pipeline};
use std::time::{Duration, Instant};

/// Around which passes the IR is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Around {
    /// None.
    #[default]
    Nothing,
    /// Every pass.
    All,
    /// Those that changed something.
    Changed,
    /// The pass of that name.
    Pass(String),
}

impl Around {
    /// What the text of an option says: `all`, `changed` or the name of a pass.
    pub fn parse(text: &str) -> Self {
        match text {
            "all" => Around::All,
            "changed" => Around::Changed,
            name => Around::Pass(name.to_owned()),
        }
    }

    fn is_about(&self, run: &PassRun) -> bool {
        match self {
            Around::Nothing | Around::Changed => false,
            Around::All => true,
            Around::Pass(name) => name == run.name,
        }
    }
}

/// Shows the module before and after passes, each time under a heading that is a comment of the text form.
///
/// After a pass that changed nothing the heading says so and the text is left out.
pub struct IrDumps<'a> {
    /// Before which passes.
    pub before: Around,
    /// After which passes.
    pub after: Around,
    /// How constants are shown.
    pub options: text::PrintOptions,
    /// Where a heading and a text go.
    pub show: Box<dyn FnMut(&str) + 'a>,
    /// The module before the running pass, where it is shown only once the pass turns out to change it.
    kept: Option<Module>,
}

impl<'a> IrDumps<'a> {
    /// Dumps that go to `show`.
    pub fn new(
        before: Around,
        after: Around,
        options: text::PrintOptions,
        show: impl FnMut(&str) + 'a,
    ) -> Self {
        Self { before, after, options, show: Box::new(show), kept: None }
    }

    fn dump(&mut self, when: &str, run: &PassRun, module: Option<&Module>) {
        let round = if run.run > 1 { format!(", round {}", run.run) } else { String::new() };
        let mut out = format!("// ---- IR {when} {}{round} ----", run.call);
        match module.map(|m| text::print(m, &self.options)) {
            None => out.push_str(" (unchanged)\n"),
            Some(Ok(text)) => {
                out.push('\n');
                out.push_str(&text);
            }
            Some(Err(e)) => out.push_str(&format!("\n// cannot be printed: {e}\n")),
        }
        (self.show)(&out);
    }
}

impl Instrumentation for IrDumps<'_> {
    fn before_pass(&mut self, run: &PassRun, module: &Module) {
        if self.before.is_about(run) {
            self.dump("before", run, Some(module));
        }
        self.kept = (self.before == Around::Changed).then(|| module.clone());
    }

    fn after_pass(&mut self, run: &PassRun, module: &Module, changed: bool) {
        if let Some(before) = self.kept.take()
            && changed
        {
            self.dump("before", run, Some(&before));
        }
        if self.after.is_about(run) {
            self.dump("after", run, changed.then_some(module));
        } else if self.after == Around::Changed && changed {
            self.dump("after", run, Some(module));
        }
    }

    fn failed(&mut self, _: &PassRun, _: &PassError) {
        self.kept = None;
    }
}

/// How long passes take.
pub(crate) struct Timer {
    times: Vec<Duration>,
    start: Instant,
}

impl Timer {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self { times: vec![Duration::ZERO; pipeline.calls().len()], start: Instant::now() }
    }

    pub(crate) fn times(self) -> Vec<Duration> {
        self.times
    }
}

impl Instrumentation for Timer {
    fn before_pass(&mut self, _: &PassRun, _: &Module) {
        self.start = Instant::now();
    }

    fn after_pass(&mut self, run: &PassRun, _: &Module, _: bool) {
        if let Some(time) = self.times.get_mut(run.position) {
            *time += self.start.elapsed();
        }
    }
}
