//! Where the time of a run goes: import, match, certificate, the rest of the passes, write.
//!
//!     cargo bench -p normfold-driver --bench parts -- [--json] [--runs=N] [--threads=N] [--passes=PIPELINE] [MODEL …]
//!
//! Each model is opened, folded and written N times into a temporary directory, and the fastest run is shown: its time as
//! a whole, and the parts as hundredths of it. Without models, two of tests/models.
//!
//! The parts are the spans that normfold traces, so they are parts of one real run: what is matched depends on what was
//! folded before, which no harness around single functions would show. A subscriber that only adds up costs some ten
//! nanoseconds per span. Counts of instructions, where times are too noisy, come from benches/instructions.py.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use normfold_driver::{Driver, Input, RunOptions, SaveOptions};
use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// The spans that are added up. `match` and `certificate` lie within `run`.
const SPANS: [&str; 5] = ["open", "run", "match", "certificate", "save"];

#[derive(Clone, Copy, Default)]
struct Tally {
    spent: [Duration; SPANS.len()],
    entered: [Option<Instant>; SPANS.len()],
}

/// Adds up how long each of `SPANS` was entered.
struct Clock;

static TALLY: Mutex<Tally> =
    Mutex::new(Tally { spent: [Duration::ZERO; SPANS.len()], entered: [None; SPANS.len()] });

fn tally() -> MutexGuard<'static, Tally> {
    TALLY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which of `SPANS` an id stands for: ids are places in it, counted from 1.
fn place(id: &Id) -> usize {
    id.into_u64() as usize - 1
}

impl Subscriber for Clock {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
            && metadata.target().starts_with("normfold")
            && SPANS.contains(&metadata.name())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let at = SPANS.iter().position(|&name| name == span.metadata().name());
        Id::from_u64(at.unwrap_or(0) as u64 + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        tally().entered[place(id)] = Some(Instant::now());
    }

    fn exit(&self, id: &Id) {
        let now = Instant::now();
        let mut tally = tally();
        if let Some(then) = tally.entered[place(id)].take() {
            tally.spent[place(id)] += now - then;
        }
    }
}

/// What one run took.
#[derive(Clone, Copy)]
struct Run {
    whole: Duration,
    parts: [(&'static str, Duration); 5],
    ops: u64,
}

fn run(
    driver: &Driver,
    passes: &str,
    model: &Path,
    output: &Path,
    threads: usize,
) -> Result<Run, Box<dyn Error>> {
    *tally() = Tally::default();
    let start = Instant::now();
    let pipeline = driver.parse_pipeline(passes)?;
    let mut opened = driver.open(Input::Path(model.to_owned()))?;
    let save = SaveOptions { threads, ..SaveOptions::default() };
    let report = driver.run_and_save(
        &mut opened,
        &pipeline,
        output,
        &RunOptions::default(),
        &save,
        &mut [],
    )?;
    let whole = start.elapsed();
    let [open, run, matching, certificate, write] = tally().spent;
    let passes = run.saturating_sub(matching + certificate);
    let parts = [
        ("import", open),
        ("match", matching),
        ("certificate", certificate),
        ("passes", passes),
        ("write", write),
    ];
    Ok(Run { whole, parts, ops: report.ops.before })
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut json, mut runs, mut threads, mut passes) = (false, 10, 0, "default".to_owned());
    let mut models: Vec<PathBuf> = Vec::new();
    for arg in std::env::args().skip(1) {
        match arg.split_once('=').map_or((arg.as_str(), ""), |(k, v)| (k, v)) {
            ("--json", _) => json = true,
            ("--runs", n) => runs = n.parse::<u32>()?.max(1),
            ("--threads", n) => threads = n.parse::<usize>()?,
            ("--passes", _) => passes = arg["--passes=".len()..].to_owned(),
            // What cargo says to every benchmark.
            ("--bench", _) => (),
            (other, _) if other.starts_with("--") => return Err(format!("what is {arg}?").into()),
            _ => models.push(arg.into()),
        }
    }
    if threads == 0 {
        threads = std::thread::available_parallelism()?.get();
    }
    if models.is_empty() {
        let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models"));
        models = ["resnet_tiny.onnx", "mobilenet_v2_x025.onnx"].map(|m| own.join(m)).into();
    }
    tracing::subscriber::set_global_default(Clock)?;
    let driver = Driver::new();
    for model in models {
        let work = tempfile::tempdir()?;
        let output = work.path().join("folded.onnx");
        let mut best: Option<Run> = None;
        for _ in 0..runs {
            let now = run(&driver, &passes, &model, &output, threads)?;
            if best.is_none_or(|b| now.whole < b.whole) {
                best = Some(now);
            }
        }
        let Some(best) = best else { continue };
        let whole = best.whole.as_secs_f64();
        if json {
            let mut line = serde_json::json!({ "model": model, "ops": best.ops, "whole": whole });
            for (name, time) in best.parts {
                line[name] = time.as_secs_f64().into();
            }
            println!("{line}");
        } else {
            let per_op = 1e6 * whole / best.ops.max(1) as f64;
            println!("{}", model.display());
            println!("  {:.3} ms, {} ops, {per_op:.2} µs per op", 1e3 * whole, best.ops);
            for (name, time) in best.parts {
                println!("  {name:12} {:5.1} %", 100.0 * time.as_secs_f64() / whole);
            }
        }
    }
    Ok(())
}
