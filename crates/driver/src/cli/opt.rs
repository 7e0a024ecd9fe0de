//! `opt`: runs a pipeline and writes the result.

use super::{
    Failure,
    args::{Emit, Format, OptArgs, RemarkFilter, Weights},
    files::Files,
    logging::Session,
    output::{Output, is_stdout},
    progress::Progress,
    summary::{self, Frame},
    verify,
};
use crate::{
    Around, Driver, DriverError, Input, IrDumps, Opened, Report, RunOptions, SaveOptions, Verify,
    ir::{
        Remark,
        text::{self, PrintOptions},
    },
    json::{self, About},
    opened::read_stream,
    passes::{Instrumentation, ManagerOptions},
    sink,
};
use normfold_frontends::onnx::ExternalData;
use normfold_frontends::save::write_stream;
use std::{
    cell::RefCell,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

/// What `opt` runs unless told otherwise: the registry's pipeline of that name.
const DEFAULT: &str = "default";

/// Whether the input is standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The input that arguments name.
pub(super) fn read(path: &Path, weights: Option<&Path>) -> Result<Input, Failure> {
    if let Some(weights) = weights {
        if is_stdin(path) {
            return Err(Failure::Usage(
                "--weights-in goes with a file, not with standard input".into(),
            ));
        }
        return Ok(Input::WithWeights { path: path.into(), weights: weights.into() });
    }
    if !is_stdin(path) {
        return Ok(Input::Path(path.to_path_buf()));
    }
    if let Some(file) = stdin_file() {
        return Ok(Input::Path(file));
    }
    let name = "standard input".to_owned();
    match read_stream(io::stdin().lock()) {
        Ok(bytes) => Ok(Input::Bytes { name, bytes }),
        Err(source) => Err(DriverError::Read { name, source }.into()),
    }
}

/// The file that standard input is, where it is one and nothing of it was read: a file is mapped, a pipe is held in memory.
#[cfg(target_os = "linux")]
fn stdin_file() -> Option<PathBuf> {
    use std::{
        fs::{self, File},
        io::Seek,
        os::{fd::AsFd, unix::fs::MetadataExt},
    };
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let path = fs::canonicalize("/dev/stdin").ok()?;
    let (given, named) = (file.metadata().ok()?, fs::metadata(&path).ok()?);
    let same = (given.dev(), given.ino()) == (named.dev(), named.ino());
    (given.is_file() && same && file.stream_position().ok()? == 0).then_some(path)
}

#[cfg(not(target_os = "linux"))]
fn stdin_file() -> Option<PathBuf> {
    None
}

/// Runs `opt`.
pub(super) fn run(args: &OptArgs, session: &Session, out: &mut Output) -> Result<(), Failure> {
    let start = Instant::now();
    let driver = Driver::new();
    check_dump_names(&driver, args)?;
    let mut files = Files::of_opt(args)?;
    if args.verify && (args.output.is_none() || args.emit.is_some()) {
        return Err(Failure::Usage("--verify compares what -o FILE writes, and needs it".into()));
    }
    if args.external.0 != ExternalData::Keep && (args.output.is_none() || args.emit.is_some()) {
        return Err(Failure::Usage("--external is about what -o FILE writes, and needs it".into()));
    }
    if args.sync && (args.output.is_none() || args.emit.is_some()) {
        return Err(Failure::Usage("--sync is about what -o FILE writes, and needs it".into()));
    }
    if !args.verify && args.judge.is_given() {
        return Err(Failure::Usage(
            "--engine, --ort-lib, --dim, --inputs and --tolerance are for --verify".into(),
        ));
    }
    let engine = args.verify.then(|| verify::engine(&args.judge)).transpose()?;
    let judge = verify::options(&args.judge);
    if args.output.as_deref().is_some_and(is_stdout) {
        out.step_aside();
    }
    // A wrong pipeline is told before a long read.
    let given = driver.parse_pipeline(args.source.passes.as_deref().unwrap_or(DEFAULT))?;
    let mut opened = driver.open(read(&args.source.input, args.source.weights_in.as_deref())?)?;
    files.and_data(&opened, args.output.as_deref())?;
    session.begin()?;
    let pipeline = match args.run_reproducer {
        true => driver.parse_pipeline(opened.reproducer_pipeline()?)?,
        false => given,
    };
    let mut manager = ManagerOptions::default().stop_after_rewrites(args.stop_after_rewrites);
    if args.verify_each {
        manager = manager.verify_each(true);
    }
    let options = RunOptions {
        manager,
        reproducer: args.reproducer.clone(),
        ranges: args.report.is_some(),
        reproducer_on_failure: (args.output.as_deref())
            .map(reproducer_beside)
            .filter(|path| files.spare(path)),
        ..RunOptions::default()
    };

    let shown = RefCell::new(&mut *out);
    let mut dumps = IrDumps::new(
        args.print_ir_before.as_deref().map(Around::parse).unwrap_or_default(),
        args.print_ir_after.as_deref().map(Around::parse).unwrap_or_default(),
        print_options(args.weights),
        |text| shown.borrow_mut().say(format_args!("{text}")),
    );
    let mut watchers: [&mut dyn Instrumentation; 1] = [&mut dumps];

    if args.emit == Some(Emit::Ir) {
        let report = driver.run(&mut opened, &pipeline, &options, &mut watchers)?;
        drop(dumps);
        emit(args, &opened, &report, start, out)?;
        return write_report(args, &report, start);
    }
    let report = match &args.output {
        None => {
            let report = driver.run(&mut opened, &pipeline, &options, &mut watchers)?;
            drop(dumps);
            report
        }
        Some(path) => {
            let progress = Progress::new(shown.borrow().is_watched());
            let tell = |done, total| {
                progress.set(done, total);
                ControlFlow::Continue(())
            };
            let verify = engine.as_deref().map(|engine| Verify { engine, options: &judge });
            let threads = threads(args.threads);
            let external = args.external.0;
            let save = SaveOptions {
                threads,
                progress: Some(&tell),
                external,
                verify,
                sync: args.sync,
                weights: args.weights_out.as_deref(),
            };
            let result =
                driver.run_and_save(&mut opened, &pipeline, path, &options, &save, &mut watchers);
            progress.finish();
            drop(dumps);
            if let Err(DriverError::Different { verification, .. }) = &result {
                let mut text = Vec::new();
                verify::table(&mut text, verification)?;
                out.say(format_args!("{}", String::from_utf8_lossy(&text)));
            }
            result?
        }
    };
    let written = args.output.as_ref().map(|p| p.display().to_string());
    tell(args, &report, written.as_deref(), start, out)?;
    write_report(args, &report, start)
}

/// Writes the JSON report where `--report` says; it appears complete or not at all.
fn write_report(args: &OptArgs, report: &Report, start: Instant) -> Result<(), Failure> {
    let Some(path) = &args.report else { return Ok(()) };
    let output = args.output.as_ref().map(|p| p.display().to_string());
    let frame = frame(args, output.as_deref(), start);
    let json = json::report(report, &about(args, &frame), &|_| true);
    write_stream(path, args.sync, |out| writeln!(out, "{json:#}"))
        .map_err(|source| DriverError::Write { path: path.clone(), source })?;
    Ok(())
}

/// Prints the module where `-o` says, or on standard output.
fn emit(
    args: &OptArgs,
    opened: &Opened,
    report: &Report,
    start: Instant,
    out: &mut Output,
) -> Result<(), Failure> {
    let options = print_options(args.weights);
    if let Some(path) = &args.output {
        opened.write_text(path, &options)?;
        return Ok(tell(args, report, Some(&path.display().to_string()), start, out)?);
    }
    opened.stream_text(out.stream(), &options).map_err(|e| match e {
        sink::Failed::Print(e) => Failure::from(opened.unreadable(e)),
        sink::Failed::Write(e) => e.into(),
    })?;
    // The module has standard output for itself; what was asked for beside it goes to standard error.
    let mut about = Vec::new();
    summary::details(
        &mut about,
        report,
        args.remarks.unwrap_or(RemarkFilter::None),
        args.statistics,
    )?;
    if args.timing {
        let frame = frame(args, None, start);
        summary::timing(&mut about, report, &frame)?;
    }
    out.say(format_args!("{}", String::from_utf8_lossy(&about)));
    Ok(())
}

fn frame<'a>(args: &'a OptArgs, output: Option<&'a str>, start: Instant) -> Frame<'a> {
    let input = if is_stdin(&args.source.input) {
        "standard input".into()
    } else {
        args.source.input.display().to_string()
    };
    Frame { input, output, time: start.elapsed() }
}

fn about<'a>(args: &OptArgs, frame: &'a Frame<'_>) -> About<'a> {
    let time = args.timing.then_some(frame.time);
    About { input: &frame.input, output: frame.output, time }
}

/// Reports on standard output.
fn tell(
    args: &OptArgs,
    report: &Report,
    output: Option<&str>,
    start: Instant,
    out: &mut Output,
) -> io::Result<()> {
    let frame = frame(args, output, start);
    if args.format == Format::Json {
        let filter = args.remarks.unwrap_or(RemarkFilter::All);
        let shown = |r: &Remark| summary::passes_filter(r, filter);
        let object = json::report(report, &about(args, &frame), &shown);
        return out.print(format_args!("{object:#}\n"));
    }
    let mut text = Vec::new();
    summary::details(
        &mut text,
        report,
        args.remarks.unwrap_or(RemarkFilter::None),
        args.statistics,
    )?;
    if args.timing {
        summary::timing(&mut text, report, &frame)?;
    }
    if !out.is_quiet() {
        summary::human(&mut text, report, &frame)?;
    }
    out.raw(&text)
}

/// Refuses dumps around passes that there are not: they would silently show nothing.
fn check_dump_names(driver: &Driver, args: &OptArgs) -> Result<(), Failure> {
    for (option, value) in [("before", &args.print_ir_before), ("after", &args.print_ir_after)] {
        if let Some(Around::Pass(name)) = value.as_deref().map(Around::parse)
            && driver.registry().pass(&name).is_none()
        {
            let known: Vec<&str> = driver.registry().passes().map(|e| e.info.name).collect();
            return Err(Failure::Usage(format!(
                "--print-ir-{option}: there is no pass `{name}`; valid: all, changed, {}",
                known.join(", ")
            )));
        }
    }
    Ok(())
}

fn print_options(weights: Weights) -> PrintOptions {
    let weights = match weights {
        Weights::Hash => text::Weights::Hash,
        Weights::Stats => text::Weights::Stats,
        Weights::Full => text::Weights::Full,
        Weights::None => text::Weights::None,
    };
    PrintOptions { weights }
}

fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// `folded.onnx` → `folded.onnx.reproducer.nf`.
fn reproducer_beside(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".reproducer.nf");
    output.with_file_name(name)
}
