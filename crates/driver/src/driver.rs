//! The driver: from an input to a report and a file.

use crate::{
    BeforeAfter, DriverError, Input, LiveChanges, Opened, Report, Saved,
    instrument::Timer,
    layers::layers,
    report::census,
    reproducer,
    verify::{Engine, Reference, Remedy, Verification, VerifyError, VerifyOptions},
};
use normfold_frontends::{FrontendError, onnx::ExternalData, save::Progress};
use normfold_ir::{CancelToken, Module, OpKind, Remark, RemarkArg, RemarkKind};
use normfold_passes::{
    Instrumentation, Item, ManagerOptions, OptionValue, PassError, PassManager, PassRegistry,
    Pipeline, builtin,
};
use std::{
    cell::RefCell,
    fmt,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// How often a run is repeated because weights overflowed while they were written. Every round keeps at least one batch
/// norm more; beyond this the input is not worth the time.
const MAX_REPEATS: u32 = 64;

/// How a pipeline is run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// Verification, and the limit of rewrites.
    pub manager: ManagerOptions,
    /// Where to write the pipeline and the module before it, weights included, so that the run can be repeated anywhere.
    pub reproducer: Option<PathBuf>,
    /// The same, if a pass fails or panics.
    pub reproducer_on_failure: Option<PathBuf>,
    /// Measure the range of every weight that is folded into, before and after ([`Report::layers`]). Reads these weights
    /// twice; memory does not grow with them.
    pub ranges: bool,
    /// By which somebody can ask the run to stop, also while it writes. It ends with [`DriverError::Cancelled`] then.
    pub cancel: CancelToken,
}

/// How a module is written.
#[derive(Clone, Copy)]
pub struct SaveOptions<'a> {
    /// Threads that read, compute and write. The bytes are the same with any number.
    pub threads: usize,
    /// Told how many bytes of how many are written, from any thread, and may stop it.
    pub progress: Option<&'a Progress<'a>>,
    /// Which tensors of an ONNX model have their data outside the document.
    pub external: ExternalData,
    /// Whether the files outlast a loss of power from when the call returns. Takes as long as the disk does.
    pub sync: bool,
    /// Whether and how the output is compared with the input before it gets its name. Nothing is written unless they compute
    /// the same.
    pub verify: Option<Verify<'a>>,
    /// Where the weights of a Keras architecture go that has them in a file of their own. Default: beside the output, as
    /// `NAME.weights.h5`.
    pub weights: Option<&'a Path>,
}

/// Writes a module somewhere, and gives what it wrote.
type Write<'a, T> = dyn Fn(&Opened, &SaveOptions<'_>) -> Result<(Saved, T), DriverError> + 'a;

/// Which tensors of an ONNX model have their data outside the document, as the program takes it: `keep`, `single`, `inline` or
/// `above=SIZE`.
///
/// # Errors
/// The text is none of these; the error says what is valid.
pub fn external_data(text: &str) -> Result<ExternalData, String> {
    Ok(match text {
        "keep" => ExternalData::Keep,
        "single" => ExternalData::SINGLE,
        "inline" => ExternalData::Inline,
        _ => match text.strip_prefix("above=") {
            Some(size) => {
                let told = |expected| format!("SIZE of above=SIZE, in bytes, is {expected}");
                ExternalData::Above(<u64 as OptionValue>::parse(Some(size)).map_err(told)?)
            }
            None => return Err("valid: keep, single, inline, above=SIZE".into()),
        },
    })
}

/// How an output is compared with its input.
#[derive(Clone, Copy)]
pub struct Verify<'a> {
    /// What runs both.
    pub engine: &'a dyn Engine,
    /// The inputs, and what difference passes.
    pub options: &'a VerifyOptions,
}

impl Verify<'_> {
    fn reference(self, opened: &Opened) -> Result<Reference, DriverError> {
        Ok(Reference::new(self.engine, opened, self.options)?)
    }
}

impl Default for SaveOptions<'_> {
    fn default() -> Self {
        Self {
            threads: 1,
            progress: None,
            external: ExternalData::Keep,
            sync: false,
            verify: None,
            weights: None,
        }
    }
}

impl fmt::Debug for SaveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveOptions").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Opens models, runs pipelines, writes the result. Holds the passes there are; may be shared by threads.
#[derive(Clone, Debug)]
pub struct Driver {
    registry: PassRegistry,
}

impl Default for Driver {
    fn default() -> Self {
        Self::new()
    }
}

impl Driver {
    /// A driver with the passes of normfold.
    pub fn new() -> Self {
        Self::with_registry(builtin())
    }

    /// A driver with these passes.
    pub fn with_registry(registry: PassRegistry) -> Self {
        Self { registry }
    }

    /// The passes there are.
    pub fn registry(&self) -> &PassRegistry {
        &self.registry
    }

    /// The pipeline that a text says.
    ///
    /// # Errors
    /// The text is no pipeline.
    pub fn parse_pipeline(&self, text: &str) -> Result<Pipeline, DriverError> {
        Ok(Pipeline::parse(text, &self.registry)?)
    }

    /// Opens an input; its content decides what it is.
    ///
    /// # Errors
    /// It cannot be read, is no known document, or is not what its format says it must be.
    pub fn open(&self, input: Input) -> Result<Opened, DriverError> {
        let _entered = tracing::info_span!("open").entered();
        Opened::open(input)
    }

    /// Runs a pipeline over an opened input and writes nothing but reproducers.
    ///
    /// # Errors
    /// A pass failed, or a reproducer that was asked for cannot be written. The module is not to be used then.
    pub fn run(
        &self,
        opened: &mut Opened,
        pipeline: &Pipeline,
        options: &RunOptions,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<Report, DriverError> {
        if let Some(path) = &options.reproducer {
            reproducer::write(path, pipeline, opened.module())?;
        }
        // A document gives its module again; what was built in memory has to be kept.
        let kept = match (&options.reproducer_on_failure, opened.is_reopenable()) {
            (Some(_), false) => Some(opened.module().clone()),
            _ => None,
        };
        // A copy costs the graphs alone: constants are shared.
        let before = options.ranges.then(|| opened.module().clone());
        let size = opened.size();
        let result = self.run_graphs(opened.module_mut(), pipeline, options, instrumentation);
        let error = match result {
            Ok(mut report) => {
                report.size = size.map(|before| BeforeAfter { before, after: before });
                if let Some(before) = before {
                    let _entered = tracing::info_span!("ranges").entered();
                    let folds = report.verdicts().filter(|r| r.kind == RemarkKind::Passed);
                    report.layers = Some(layers(&before, opened.module(), folds));
                }
                return Ok(report);
            }
            Err(DriverError::Pass { error, .. }) => error,
            Err(other) => return Err(other),
        };
        let mut reproducer = options.reproducer.clone();
        if reproducer.is_none()
            && let Some(path) = &options.reproducer_on_failure
        {
            let written = kept
                .map_or_else(|| opened.reopen(), Ok)
                .and_then(|module| reproducer::write(path, pipeline, &module));
            match written {
                Ok(()) => reproducer = Some(path.clone()),
                // The failure itself matters more.
                Err(e) => tracing::warn!("cannot write the reproducer: {e}"),
            }
        }
        Err(DriverError::Pass { error, reproducer })
    }

    /// Runs a pipeline over a module that somebody built.
    ///
    /// # Errors
    /// A pass failed. The module is not to be used then.
    pub fn run_module(
        &self,
        module: &mut Module,
        pipeline: &Pipeline,
        options: ManagerOptions,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<Report, DriverError> {
        let options = RunOptions { manager: options, ..RunOptions::default() };
        self.run_graphs(module, pipeline, &options, instrumentation)
    }

    fn run_graphs(
        &self,
        module: &mut Module,
        pipeline: &Pipeline,
        options: &RunOptions,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<Report, DriverError> {
        let _entered = tracing::info_span!("run", pipeline = %pipeline).entered();
        let (norms, ops) = census(module);
        let mut timer = Timer::new(pipeline);
        let mut all: Vec<&mut dyn Instrumentation> = Vec::with_capacity(instrumentation.len() + 1);
        all.push(&mut timer);
        for i in instrumentation.iter_mut() {
            all.push(&mut **i);
        }
        let done = PassManager::new(options.manager)
            .cancelled_by(options.cancel.clone())
            .run_with(pipeline, module, &mut all)
            .map_err(|error| match error {
                PassError::Cancelled { .. } => DriverError::Cancelled,
                error => DriverError::Pass { error, reproducer: None },
            })?;
        let mut report = Report {
            pipeline: pipeline.to_string(),
            remarks: done.remarks,
            passes: done.passes,
            stopped: done.stopped,
            times: timer.times(),
            ..Report::default()
        };
        report.batch_norms.total = norms;
        (report.ops.before, report.ops.after) = (ops, census(module).1);
        report.summarise();
        Ok(report)
    }

    /// Runs a pipeline over an opened input and writes the result to `output`, which may be the input.
    ///
    /// A batch norm whose folded weights turn out not to be finite only while they are written is kept (`overflow`): the
    /// output is dropped and the run repeated.
    ///
    /// # Errors
    /// A pass failed, the output cannot be written, or it does not compute what the input computes; what stood in its place is
    /// as it was.
    pub fn run_and_save(
        &self,
        opened: &mut Opened,
        pipeline: &Pipeline,
        output: &Path,
        options: &RunOptions,
        save: &SaveOptions<'_>,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<Report, DriverError> {
        // What cannot be verified is told before the work is done.
        let reference = save.verify.map(|v| v.reference(opened)).transpose()?;
        self.run_and_write(opened, pipeline, options, instrumentation, save, &|opened, save| {
            let saved = self.save_verified(opened, output, save, reference.as_ref())?;
            Ok((saved, ()))
        })
        .map(|(report, ())| report)
    }

    /// [`Driver::run_and_save`] into memory, in order: without threads, external data, or a comparison with the input.
    ///
    /// # Errors
    /// As [`Driver::run_and_save`]; the document needs more than one file.
    pub fn run_and_encode(
        &self,
        opened: &mut Opened,
        pipeline: &Pipeline,
        options: &RunOptions,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<(Report, Vec<u8>), DriverError> {
        let save = SaveOptions::default();
        self.run_and_write(opened, pipeline, options, instrumentation, &save, &|opened, save| {
            let mut bytes = Vec::with_capacity(opened.size().unwrap_or(0) as usize);
            Ok((opened.save_to(&mut bytes, save)?, bytes))
        })
    }

    /// Runs a pipeline over the program of a live module ([`Input::Live`]) and says what is to be put back into it.
    ///
    /// # Errors
    /// As [`Driver::run_and_save`]; the input is no PyTorch program.
    pub fn run_live(
        &self,
        opened: &mut Opened,
        pipeline: &Pipeline,
        options: &RunOptions,
        instrumentation: &mut [&mut dyn Instrumentation],
    ) -> Result<(Report, LiveChanges), DriverError> {
        let save = SaveOptions::default();
        self.run_and_write(opened, pipeline, options, instrumentation, &save, &|opened, _| {
            Ok((Saved::default(), opened.live_changes()?))
        })
    }

    /// Runs a pipeline and writes, and does so again without the folds whose weights turn out not to be finite.
    fn run_and_write<T>(
        &self,
        opened: &mut Opened,
        pipeline: &Pipeline,
        options: &RunOptions,
        instrumentation: &mut [&mut dyn Instrumentation],
        save: &SaveOptions<'_>,
        write: &Write<'_, T>,
    ) -> Result<(Report, T), DriverError> {
        let (cancel, tell) = (&options.cancel, save.progress);
        let watch = |done, total| match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => tell.map_or(ControlFlow::Continue(()), |tell| tell(done, total)),
        };
        let save = &SaveOptions { progress: Some(&watch), ..*save };
        let mut report = self.run(opened, pipeline, options, instrumentation)?;
        let mut overflowing: Vec<String> = Vec::new();
        loop {
            let error = match write(opened, save) {
                Ok((saved, written)) => {
                    let before = opened.size().unwrap_or(saved.bytes);
                    report.size = Some(BeforeAfter { before, after: saved.bytes });
                    (report.written, report.data_bytes) = (saved.files, saved.data_bytes);
                    report.notes = saved.notes;
                    report.largest_rounding = saved.rounding;
                    report.verification = saved.verification;
                    return Ok((report, written));
                }
                Err(DriverError::Write { source: FrontendError::Cancelled, .. }) => {
                    return Err(DriverError::Cancelled);
                }
                Err(error) => error,
            };
            let DriverError::Write { source: FrontendError::NonFinite { entry, .. }, .. } = &error
            else {
                return Err(error);
            };
            let culprits = folded_into(opened.module(), &report, *entry);
            if culprits.is_empty() || report.repeats >= MAX_REPEATS {
                return Err(error);
            }
            tracing::warn!(batch_norms = ?culprits, "folded weights are not finite: running again without these folds");
            overflowing.extend(culprits);
            let repeats = report.repeats + 1;
            opened.restore()?;
            report =
                self.run(opened, &self.without(pipeline, &overflowing), options, instrumentation)?;
            report.pipeline = pipeline.to_string();
            report.repeats = repeats;
        }
    }

    /// Writes the module as it is.
    ///
    /// # Errors
    /// It cannot be written, or does not compute what the document computes; what stood in its place is as it was.
    pub fn save(
        &self,
        opened: &Opened,
        output: &Path,
        options: &SaveOptions<'_>,
    ) -> Result<Saved, DriverError> {
        let reference = options.verify.map(|v| v.reference(opened)).transpose()?;
        self.save_verified(opened, output, options, reference.as_ref())
    }

    /// Gives the module as it is, as [`Driver::run_and_encode`] does.
    ///
    /// # Errors
    /// It cannot be written; the document needs more than one file.
    pub fn encode(&self, opened: &Opened) -> Result<Vec<u8>, DriverError> {
        let _entered = tracing::info_span!("save").entered();
        let mut bytes = Vec::with_capacity(opened.size().unwrap_or(0) as usize);
        opened.save_to(&mut bytes, &SaveOptions::default())?;
        Ok(bytes)
    }

    fn save_verified(
        &self,
        opened: &Opened,
        output: &Path,
        options: &SaveOptions<'_>,
        reference: Option<&Reference>,
    ) -> Result<Saved, DriverError> {
        let _entered = tracing::info_span!("save").entered();
        let (Some(reference), Some(verify)) = (reference, options.verify) else {
            return opened.save(output, options, None);
        };
        let outcome = RefCell::new(None);
        let check = |fresh: &Path| {
            let compared = self.open(Input::from(fresh)).and_then(|written| {
                let written = written.named(output.display().to_string());
                Ok(reference.compare(verify.engine, &written)?)
            });
            let passed = compared.as_ref().is_ok_and(Verification::passed);
            outcome.replace(Some(compared));
            passed
        };
        let saved = opened.save(output, options, Some(&check));
        match (saved, outcome.into_inner()) {
            (Ok(saved), Some(Ok(verification))) => {
                Ok(Saved { verification: Some(verification), ..saved })
            }
            (Err(DriverError::Write { source: FrontendError::Rejected { .. }, .. }), found) => {
                Err(match found {
                    Some(Err(error)) => error,
                    Some(Ok(verification)) => DriverError::Different {
                        first: opened.name().to_owned(),
                        second: output.display().to_string(),
                        verification: Box::new(verification),
                    },
                    None => VerifyError::CannotVerify {
                        model: output.display().to_string(),
                        why: "it is no regular file, and would be written first".to_owned(),
                        remedy: Remedy::NONE,
                    }
                    .into(),
                })
            }
            (saved, _) => saved,
        }
    }

    /// The pipeline with these batch norms kept as `overflow`.
    fn without(&self, pipeline: &Pipeline, names: &[String]) -> Pipeline {
        let items = pipeline.items.iter().map(|item| match item {
            Item::Fixpoint { max, body } => {
                Item::Fixpoint { max: *max, body: self.without(body, names) }
            }
            Item::Pass(call) if call.info().name == "fold-bn" => {
                let (known, mut settings): (Vec<_>, Vec<_>) =
                    call.settings().iter().partition(|(name, _)| *name == OVERFLOWING);
                let globs = known.iter().map(|(_, value)| value.clone());
                let globs: Vec<String> =
                    globs.chain(names.iter().map(|n| escape_glob(n))).collect();
                let added = (OVERFLOWING, globs.join("|"));
                settings.push(&added);
                let settings: Vec<String> = settings
                    .iter()
                    .map(|(name, value)| format!("{name}={}", quote(value)))
                    .collect();
                let text = format!("fold-bn{{{}}}", settings.join(","));
                let parsed = Pipeline::parse(&text, &self.registry).ok();
                parsed.and_then(|p| p.items.into_iter().next()).unwrap_or_else(|| item.clone())
            }
            other => other.clone(),
        });
        Pipeline { items: items.collect() }
    }
}

/// The option of `fold-bn` that names batch norms to keep as `overflow`.
const OVERFLOWING: &str = "overflowing";

/// A pattern that matches this name alone.
fn escape_glob(name: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '|' | '\\');
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// A value of pipeline text, quoted.
fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The batch norms whose folds transformed the constant of that number.
fn folded_into(module: &Module, report: &Report, entry: usize) -> Vec<String> {
    let mut absorbers = Vec::new();
    for id in module.graph_ids() {
        let g = module.graph(id);
        for op in g.ops() {
            let OpKind::Constant(c) = g.kind(op) else { continue };
            if c.entry.index() != entry {
                continue;
            }
            // A weight may be read in another shape.
            let mut readers = vec![op];
            while let Some(op) = readers.pop() {
                for u in g.results(op).flat_map(|r| g.uses(r)) {
                    absorbers.push(g.location(u.user));
                    if matches!(
                        g.kind(u.user),
                        OpKind::Identity(_)
                            | OpKind::Transpose(_)
                            | OpKind::Reshape(_)
                            | OpKind::Flatten(_)
                            | OpKind::Squeeze(_)
                            | OpKind::Unsqueeze(_)
                    ) {
                        readers.push(u.user);
                    }
                }
            }
        }
    }
    let into = |r: &Remark| match r.arg("absorbers") {
        Some(RemarkArg::List(list)) => list.iter().any(|into| absorbers.contains(into)),
        _ => false,
    };
    let folds = report.verdicts().filter(|r| r.kind == RemarkKind::Passed && into(r));
    folds.map(|r| r.location.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Driver, escape_glob, quote};

    #[test]
    fn names_survive_as_patterns_of_pipeline_text() -> Result<(), Box<dyn std::error::Error>> {
        let driver = Driver::new();
        let pipeline = driver.parse_pipeline("fixpoint(fold-bn{skip=\"x*\",overflowing=a})")?;
        let names = ["features.0/bn".to_owned(), "a \"b\" | c?".to_owned()];
        let without = driver.without(&pipeline, &names);
        assert_eq!(driver.parse_pipeline(&without.to_string())?, without);
        let settings = without.calls()[0].settings();
        assert_eq!(settings[0], ("skip", "x*".to_owned()));
        assert_eq!(settings[1], ("overflowing", "a|features.0/bn|a \"b\" \\| c\\?".to_owned()));
        Ok(())
    }

    #[test]
    fn a_driver_is_shared_by_threads() {
        fn check<T: Send + Sync>() {}
        check::<Driver>();
        assert_eq!(quote(&escape_glob("a*")), "\"a\\\\*\"");
    }
}
