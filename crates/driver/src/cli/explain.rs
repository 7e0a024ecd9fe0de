//! `explain`: what becomes of every batch norm, and why. Writes nothing.

use super::{
    Failure,
    args::{ExplainArgs, Format, RemarkFilter},
    opt::{is_stdin, read},
    output::{FAINT, GOOD, NOTE, Output, STRONG, Styled},
    summary::{self, Frame},
};
use normfold_driver::{
    BatchNorms, Driver, Report, RunOptions,
    ir::{Remark, RemarkArg, RemarkKind},
};
use std::{io, time::Instant};

/// What `explain` runs unless told otherwise.
const PIPELINE: &str = "fold-bn";
/// The reason of a batch norm that folds as soon as the weights are there, as in a Keras architecture.
const WEIGHTS_ABSENT: &str = "weights-absent";
/// Names longer than this push the rest of their line to the right.
const NAME_WIDTH: usize = 44;

/// Runs `explain`.
pub(super) fn run(args: &ExplainArgs, out: &mut Output) -> Result<(), Failure> {
    let start = Instant::now();
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline(args.source.passes.as_deref().unwrap_or(PIPELINE))?;
    let mut opened = driver.open(read(&args.source.input)?)?;
    let report = driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut [])?;
    let input = match is_stdin(&args.source.input) {
        true => "standard input".to_owned(),
        false => args.source.input.display().to_string(),
    };
    match args.format {
        Format::Human => human(out, &report, &input)?,
        Format::Json => {
            let frame = Frame { input, output: None, time: start.elapsed() };
            let mut object = summary::json(&report, &frame, RemarkFilter::All, false);
            if let Some(fields) = object.as_object_mut() {
                for name in ["output", "largest_rounding", "size", "files", "repeats"] {
                    fields.shift_remove(name);
                }
                fields.insert("remarks".into(), report.verdicts().map(summary::remark).collect());
            }
            out.print(format_args!("{object:#}\n"))?;
        }
    }
    Ok(())
}

fn human(out: &mut Output, report: &Report, input: &str) -> io::Result<()> {
    let norms = &report.batch_norms;
    let several_graphs =
        report.verdicts().any(|r| Some(&r.graph) != report.verdicts().next().map(|r| &r.graph));
    let name = |r: &Remark| match several_graphs {
        true => format!("{}: {}", r.graph, r.location),
        false => r.location.to_string(),
    };
    let width =
        report.verdicts().map(|r| name(r).chars().count()).max().unwrap_or(0).min(NAME_WIDTH);
    for r in report.verdicts() {
        let name = name(r);
        let gap = width.saturating_sub(name.chars().count());
        let name = Styled(STRONG, &name);
        if r.kind == RemarkKind::Passed {
            out.print(format_args!(
                "  {name}{:gap$}  {}  {}\n",
                "",
                Styled(GOOD, "folds"),
                r.message
            ))?;
            continue;
        }
        if r.code == WEIGHTS_ABSENT {
            out.print(format_args!(
                "  {name}{:gap$}  {}  {}\n",
                "",
                Styled(GOOD, "would"),
                r.message
            ))?;
            continue;
        }
        out.print(format_args!(
            "  {name}{:gap$}  {}   {}: {}\n",
            "",
            Styled(NOTE, "kept"),
            r.code,
            r.message
        ))?;
        if let Some(RemarkArg::Str(unlock)) = r.arg("unlock") {
            let unlock = format!("to unlock: {unlock}");
            out.print(format_args!("  {:width$}         {}\n", "", Styled(FAINT, unlock)))?;
        }
    }
    if report.verdicts().next().is_some() {
        out.print(format_args!("\n"))?;
    }
    counts(out, input, norms, ["batch norm", "batch norms"])?;
    if report.affine_chains.total > 0 {
        counts(out, input, &report.affine_chains, ["affine chain", "affine chains"])?;
    }
    Ok(())
}

fn counts(
    out: &mut Output,
    input: &str,
    norms: &BatchNorms,
    [one, many]: [&str; 2],
) -> io::Result<()> {
    let noun = if norms.total == 1 { one } else { many };
    let would = norms.kept.get(WEIGHTS_ABSENT).copied().unwrap_or(0);
    let would_fold =
        if would > 0 { format!(", {would} would with their weights") } else { String::new() };
    let (folded, kept) = (norms.folded, norms.kept_total() - would);
    let line = format!("{input}: {} {noun}, {folded} fold{would_fold}, {kept} kept", norms.total);
    out.print(format_args!("{}\n", Styled(STRONG, line)))?;
    for (code, n) in &norms.kept {
        out.print(format_args!(
            "  {n:>5}  {}{}\n",
            Styled(NOTE, code),
            Styled(FAINT, format!("  `normfold reason {code}`"))
        ))?;
    }
    Ok(())
}
