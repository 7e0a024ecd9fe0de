//! What a run did, for people.

use super::{
    args::RemarkFilter,
    output::{BAD, FAINT, GOOD, NOTE, STRONG, Styled, bytes},
    verify,
};
use crate::{
    BatchNorms, Report,
    ir::{Remark, RemarkKind},
};
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// What the report does not know.
pub(crate) struct Frame<'a> {
    /// The input as given.
    pub(crate) input: String,
    /// The output as given, if something was written.
    pub(crate) output: Option<&'a str>,
    /// From start to end.
    pub(crate) time: Duration,
}

/// Seconds for people.
fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn plural(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn counts(out: &mut impl Write, n: &BatchNorms, noun: &str) -> io::Result<()> {
    let style = if n.folded == n.total { GOOD.bold() } else { STRONG };
    let count = format!("folded {} of {}", n.folded, plural(n.total, noun));
    out.write_fmt(format_args!("{}\n", Styled(style, count)))?;
    if n.kept_total() > 0 {
        let list: Vec<String> = n.kept.iter().map(|(code, n)| format!("{code} {n}")).collect();
        out.write_fmt(format_args!(
            "  kept {}: {}\n",
            n.kept_total(),
            Styled(NOTE, list.join(", "))
        ))?;
    }
    if n.removed > 0 {
        let why = "read by nothing, or the same as another one";
        out.write_fmt(format_args!("  {} went before the fold: {why}\n", n.removed))?;
    }
    Ok(())
}

/// The summary: a few lines.
pub(crate) fn human(out: &mut impl Write, report: &Report, frame: &Frame<'_>) -> io::Result<()> {
    let (norms, chains) = (&report.batch_norms, &report.affine_chains);
    let ran_fold = report.passes.iter().any(|p| p.name == "fold-bn");
    if ran_fold {
        counts(out, norms, "batch norm")?;
        if chains.total > 0 {
            counts(out, chains, "affine chain")?;
        }
        if let Some(first) = norms.kept.keys().chain(chains.kept.keys()).next() {
            let hint = format!(
                "`normfold explain {}` names each, `normfold reason {first}` explains",
                frame.input
            );
            out.write_fmt(format_args!("  {}\n", Styled(FAINT, hint)))?;
        }
        if let (Some(error), Some(bound)) = (report.largest_error, report.largest_bound) {
            let line = format!("  largest certified error {error:.1e}, bound {bound:.1e}\n");
            out.write_fmt(format_args!("{line}"))?;
        }
    } else {
        let changes: u64 = report.passes.iter().map(|p| p.rewrites).sum();
        let passes = plural(report.passes.len() as u64, "pass").replace("passs", "passes");
        out.write_fmt(format_args!(
            "{}\n",
            Styled(
                STRONG,
                format!(
                    "{passes}, {}, {} left",
                    plural(changes, "rewrite"),
                    plural(norms.total, "batch norm")
                )
            )
        ))?;
    }
    if report.stopped {
        out.write_fmt(format_args!("  {}\n", Styled(NOTE, "stopped at the limit of rewrites")))?;
    }
    for r in report.remarks.iter().filter(|r| r.kind == RemarkKind::Failure) {
        out.write_fmt(format_args!("  {}\n", Styled(BAD, r)))?;
    }
    facts(out, report)?;
    for note in &report.notes {
        out.write_fmt(format_args!("  {}\n", Styled(NOTE, format!("note: {note}"))))?;
    }
    if report.repeats > 0 {
        out.write_fmt(format_args!(
            "  {}\n",
            Styled(FAINT, "run again: a folded weight would have overflowed its type")
        ))?;
    }
    if let Some(found) = &report.verification {
        verify::line(out, found)?;
    }
    wrote(out, report, frame)?;
    data_files(out, report)
}

/// Names of data files that the summary has at most: the model may name any number.
const NAMED: usize = 8;

/// The files of external data, whose names are up to the model.
fn data_files(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let files = report.written.get(1..).unwrap_or_default();
    if report.data_bytes == 0 {
        return Ok(());
    }
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let name = |p: &PathBuf| p.to_string_lossy().chars().map(printable).collect::<String>();
    let mut names: Vec<String> = files.iter().take(NAMED).map(name).collect();
    if files.len() > NAMED {
        names.push("…".to_owned());
    }
    let count = plural(files.len() as u64, "data file");
    let line = format!("  and {count}, {}: {}\n", bytes(report.data_bytes), names.join(", "));
    out.write_fmt(format_args!("{line}"))
}

/// The file that was written.
fn wrote(out: &mut impl Write, report: &Report, frame: &Frame<'_>) -> io::Result<()> {
    match (frame.output, report.size) {
        (Some(output), Some(size)) => out.write_fmt(format_args!(
            "wrote {}: {}, was {} ({})\n",
            Styled(STRONG, output),
            bytes(size.after),
            bytes(size.before),
            seconds(frame.time)
        )),
        (Some(output), None) => out.write_fmt(format_args!(
            "wrote {} ({})\n",
            Styled(STRONG, output),
            seconds(frame.time)
        )),
        (None, _) => {
            out.write_fmt(format_args!("{}\n", Styled(FAINT, "nothing was written: give -o FILE")))
        }
    }
}

/// What the fold found out about its options rather than about a batch norm.
pub(crate) fn facts(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let told = |r: &&Remark| r.kind == RemarkKind::Analysis && r.pass == "fold-bn";
    report.remarks.iter().filter(told).try_for_each(|r| {
        let line = format!("{}: {}: {}", r.location, r.code, r.message);
        out.write_fmt(format_args!("  {}\n", Styled(NOTE, line)))
    })
}

/// What was asked for beside the summary.
pub(crate) fn details(
    out: &mut impl Write,
    report: &Report,
    filter: RemarkFilter,
    with_statistics: bool,
) -> io::Result<()> {
    remarks(out, report, filter)?;
    if with_statistics {
        statistics(out, report)?;
    }
    Ok(())
}

/// The remarks that the filter lets through, one line each.
fn remarks(out: &mut impl Write, report: &Report, filter: RemarkFilter) -> io::Result<()> {
    for r in report.remarks.iter().filter(|r| passes_filter(r, filter)) {
        let style = match r.kind {
            RemarkKind::Passed => GOOD,
            RemarkKind::Missed => NOTE,
            RemarkKind::Failure => BAD,
            RemarkKind::Analysis => FAINT,
        };
        out.write_fmt(format_args!(
            "{}: {} {}: {}: {}\n",
            r.pass,
            r.op,
            Styled(STRONG, format!("\"{}\"", r.location)),
            Styled(style, r.code),
            r.message
        ))?;
    }
    Ok(())
}

/// Whether a filter lets a remark through.
pub(crate) fn passes_filter(remark: &Remark, filter: RemarkFilter) -> bool {
    match filter {
        RemarkFilter::None => false,
        RemarkFilter::Kept => matches!(remark.kind, RemarkKind::Missed | RemarkKind::Failure),
        RemarkFilter::All => true,
    }
}

/// What each pass counted.
fn statistics(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for p in &report.passes {
        let width = p.statistics.keys().map(|n| n.len()).max().unwrap_or(0).max("rewrites".len());
        out.write_fmt(format_args!(
            "{}\n  {:width$}  {}\n",
            Styled(STRONG, &p.text),
            "rewrites",
            p.rewrites
        ))?;
        for (name, n) in &p.statistics {
            out.write_fmt(format_args!("  {name:width$}  {n}\n"))?;
        }
    }
    Ok(())
}

/// The time of each pass.
pub(crate) fn timing(out: &mut impl Write, report: &Report, frame: &Frame<'_>) -> io::Result<()> {
    let all = frame.time.as_secs_f64().max(1e-9);
    let row = |name: &str, time: Duration| {
        format!(
            "  {:>9.3} ms  {:>5.1} %  {name}\n",
            time.as_secs_f64() * 1e3,
            100.0 * time.as_secs_f64() / all
        )
    };
    let passes: Duration = report.times.iter().sum();
    for (p, &time) in report.passes.iter().zip(&report.times) {
        out.write_fmt(format_args!("{}", row(&p.text, time)))?;
    }
    out.write_fmt(format_args!(
        "{}",
        row("reading and writing", frame.time.saturating_sub(passes))
    ))?;
    out.write_fmt(format_args!("{}", row("total", frame.time)))
}

#[cfg(test)]
mod tests {
    use super::plural;

    #[test]
    fn nouns_have_numbers() {
        assert_eq!(plural(1, "batch norm"), "1 batch norm");
        assert_eq!(plural(0, "batch norm"), "0 batch norms");
    }
}
