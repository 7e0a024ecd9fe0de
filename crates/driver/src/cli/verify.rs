//! `verify`: whether two models compute the same, judged by an engine that is not ours.

use super::{
    ENGINE_RUNS, Failure,
    args::{EngineName, Format, JudgeArgs, VerifyArgs},
    opt::{is_stdin, read},
    output::{BAD, FAINT, GOOD, Output, STRONG, Styled},
};
use crate::{
    Driver, DriverError,
    ir::{DType, Module, Tensor},
    json::{different_interfaces, verification},
    verify::{
        Difference, Engine, Reference, Refusal, Request, Verification, VerifyError, VerifyOptions,
    },
};
use serde_json::json;
#[cfg(feature = "ort")]
use std::env;
use std::{
    io::{self, Write},
    sync::atomic::Ordering::Relaxed,
};

/// Runs `verify`.
pub(super) fn run(args: &VerifyArgs, out: &mut Output) -> Result<(), Failure> {
    if is_stdin(&args.first) && is_stdin(&args.second) {
        return Err(Failure::Usage("one of two models at most comes from standard input".into()));
    }
    let engine = engine(&args.judge)?;
    let driver = Driver::new();
    let first = driver.open(read(&args.first, None)?)?;
    let second = driver.open(read(&args.second, None)?)?;
    let names = (first.name().to_owned(), second.name().to_owned());
    let reference =
        Reference::new(&*engine, &first, &options(&args.judge)).map_err(DriverError::from)?;
    drop(first);
    let format = if args.json { Format::Json } else { args.format };
    let print = |out: &mut Output, verification: serde_json::Value| {
        let object = json!({
            "schema": 1,
            "normfold": env!("CARGO_PKG_VERSION"),
            "first": names.0,
            "second": names.1,
            "verification": verification,
        });
        out.print(format_args!("{object:#}\n"))
    };
    let found = match reference.compare(&*engine, &second) {
        Ok(found) => found,
        Err(e) => {
            if let (Format::Json, VerifyError::Interface { difference, .. }) = (format, &e) {
                print(out, different_interfaces(difference))?;
            }
            return Err(DriverError::from(e).into());
        }
    };
    match format {
        Format::Json => print(out, verification(&found))?,
        Format::Human if out.is_quiet() => {}
        Format::Human => {
            let mut text = Vec::new();
            if found.passed() {
                let line = format!("`{}` computes what `{}` computes", names.1, names.0);
                writeln!(text, "{}", Styled(GOOD.bold(), line))?;
            }
            table(&mut text, &found)?;
            out.raw(&text)?;
        }
    }
    match found.passed() {
        true => Ok(()),
        false => {
            let (first, second) = names;
            Err(DriverError::Different { first, second, verification: Box::new(found) }.into())
        }
    }
}

/// What to compare, and how, as the arguments say.
pub(super) fn options(args: &JudgeArgs) -> VerifyOptions {
    let mut options = VerifyOptions::default();
    options.dims.clone_from(&args.dims);
    options.inputs.clone_from(&args.inputs);
    options.tolerance = args.tolerance;
    options
}

/// The engine that the arguments ask for, or the one that there is.
pub(super) fn engine(args: &JudgeArgs) -> Result<Box<dyn Engine>, Failure> {
    match args.engine {
        Some(EngineName::Ort) => ort(args),
        Some(EngineName::Rten) if args.ort_lib.is_some() => {
            Err(Failure::Usage("--ort-lib is for --engine=ort".into()))
        }
        Some(EngineName::Rten) => rten(),
        None if args.ort_lib.is_some() || cfg!(all(feature = "ort", not(feature = "verify"))) => {
            ort(args)
        }
        None => rten(),
    }
}

#[cfg(feature = "verify")]
fn rten() -> Result<Box<dyn Engine>, Failure> {
    Ok(Box::new(Quietly(crate::verify::RtenEngine)))
}

#[cfg(not(feature = "verify"))]
fn rten() -> Result<Box<dyn Engine>, Failure> {
    Err(Failure::NotBuilt("verify"))
}

#[cfg(feature = "ort")]
fn ort(args: &JudgeArgs) -> Result<Box<dyn Engine>, Failure> {
    let library = args.ort_lib.clone().or_else(|| env::var_os("ORT_DYLIB_PATH").map(Into::into));
    let Some(library) = library else {
        return Err(Failure::Usage(
            "--engine=ort needs the library: --ort-lib=PATH or ORT_DYLIB_PATH, e.g. libonnxruntime.so of Python's onnxruntime".into(),
        ));
    };
    let engine = crate::verify::OrtEngine::load(&library).map_err(DriverError::from)?;
    Ok(Box::new(Quietly(engine)))
}

#[cfg(not(feature = "ort"))]
fn ort(_: &JudgeArgs) -> Result<Box<dyn Engine>, Failure> {
    Err(Failure::NotBuilt("ort"))
}

/// An engine whose panics are told as what it could not do, and not as a bug of normfold.
#[cfg_attr(
    not(any(feature = "verify", feature = "ort")),
    expect(dead_code, reason = "without an engine there is nothing to quieten")
)]
struct Quietly<E>(E);

impl<E: Engine> Engine for Quietly<E> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn arithmetic(&self, dtype: DType) -> DType {
        self.0.arithmetic(dtype)
    }

    fn objection(&self, module: &Module) -> Option<String> {
        self.0.objection(module)
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<Vec<Tensor>>, Refusal> {
        struct Running;
        impl Drop for Running {
            fn drop(&mut self) {
                ENGINE_RUNS.store(false, Relaxed);
            }
        }
        ENGINE_RUNS.store(true, Relaxed);
        let _running = Running;
        self.0.run(request)
    }
}

/// One row per output, then the inputs.
pub(super) fn table(out: &mut impl Write, found: &Verification) -> io::Result<()> {
    let title = ["output", "type", "largest difference", "relative", "tolerance", "PSNR", ""];
    let mut rows = vec![title.map(str::to_owned)];
    rows.extend(found.outputs.iter().map(row));
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..title.len()).map(width).collect();
    for (i, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).take(title.len() - 1) {
            line.push_str(&format!("  {cell:width$}"));
        }
        let verdict = row.last().map_or("", String::as_str);
        match i.checked_sub(1).and_then(|i| found.outputs.get(i)) {
            None => writeln!(out, "{}", Styled(FAINT, line.trim_end()))?,
            Some(d) => {
                let style = if d.passed() { GOOD } else { BAD };
                writeln!(out, "{line}  {}", Styled(style, verdict))?;
            }
        }
    }
    let inputs =
        found.inputs.iter().map(|(name, dtype, dims)| format!("{name} {}", ty(*dtype, dims)));
    let inputs: Vec<String> = inputs.collect();
    let inputs = if inputs.is_empty() { "none".to_owned() } else { inputs.join(", ") };
    let samples =
        if found.samples == 1 { "1 sample" } else { &format!("{} samples", found.samples) };
    let line = format!("  in {}, {samples}, inputs {inputs}", found.engine);
    writeln!(out, "{}", Styled(STRONG, line))
}

fn row(d: &Difference) -> [String; 7] {
    let verdict = match &d.other {
        Some((dtype, dims)) => format!("became {}", ty(*dtype, dims)),
        None if d.mismatched > 0 => format!("{} NaN or infinite in one alone", d.mismatched),
        None if !d.passed() => "different".to_owned(),
        None if d.non_finite > 0 => format!("equal, {} NaN or infinite in both", d.non_finite),
        None => "equal".to_owned(),
    };
    let psnr = if d.psnr.is_finite() { format!("{:.1} dB", d.psnr) } else { "-".to_owned() };
    let figures = match d.other {
        Some(_) => ["-".to_owned(), "-".to_owned()],
        None => [format!("{:.1e}", d.absolute), format!("{:.1e}", d.relative())],
    };
    let [absolute, relative] = figures;
    let tolerance = format!("{:.1e}", d.tolerance);
    [d.name.to_string(), ty(d.dtype, &d.dims), absolute, relative, tolerance, psnr, verdict]
}

/// `1x3x224x224xf32`, as IR text has it.
fn ty(dtype: DType, dims: &[u64]) -> String {
    dims.iter().map(|d| format!("{d}x")).chain([dtype.to_string()]).collect()
}

/// What is said of a run of `opt` whose output was verified: one line.
pub(super) fn line(out: &mut impl Write, found: &Verification) -> io::Result<()> {
    let worst = found.outputs.iter().map(Difference::relative).fold(0.0, f64::max);
    let outputs = match found.outputs.len() {
        1 => "1 output".to_owned(),
        n => format!("{n} outputs"),
    };
    let text =
        format!("verified in {}: {outputs}, largest relative difference {worst:.1e}", found.engine);
    writeln!(out, "  {}", Styled(GOOD, text))
}

/// What to do where there is no verdict.
pub(super) fn help(e: &VerifyError) -> Option<&'static str> {
    let VerifyError::CannotVerify { remedy, .. } = e else { return None };
    match (remedy.inputs, remedy.ort) {
        (true, true) => Some(
            "--dim=NAME=N and --inputs=FILE.npz give other inputs, --engine=ort another engine",
        ),
        (true, false) => Some("--dim=NAME=N and --inputs=FILE.npz give other inputs"),
        (false, true) => Some("--engine=ort is another engine"),
        (false, false) => None,
    }
}
