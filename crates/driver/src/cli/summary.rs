//! What a run did, for people and for programs.

use super::{
    args::RemarkFilter,
    output::{BAD, FAINT, GOOD, NOTE, STRONG, Styled, bytes},
    verify,
};
use normfold_driver::{
    BatchNorms, Layer, Report,
    ir::{Remark, RemarkArg, RemarkKind},
    passes::LayerRanges,
};
use serde_json::{Map, Value, json};
use std::{
    io::{self, Write},
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

fn passes_filter(remark: &Remark, filter: RemarkFilter) -> bool {
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

/// The report as a JSON object; docs/cli.md has its schema.
pub(crate) fn json(
    report: &Report,
    frame: &Frame<'_>,
    filter: RemarkFilter,
    timing: bool,
) -> Value {
    let counts = |n: &BatchNorms| {
        json!({
            "total": n.total,
            "folded": n.folded,
            "kept": n.kept_total(),
            "removed": n.removed,
            "reasons": n.kept.iter().map(|(c, n)| ((*c).to_owned(), json!(n))).collect::<Map<_, _>>(),
        })
    };
    let mut object = json!({
        "schema": 1,
        "normfold": env!("CARGO_PKG_VERSION"),
        "input": &frame.input,
        "output": frame.output,
        "pipeline": report.pipeline,
        "batch_norms": counts(&report.batch_norms),
        "affine_chains": counts(&report.affine_chains),
        "largest_error": report.largest_error.map(number),
        "largest_bound": report.largest_bound.map(number),
        "largest_rounding": report.largest_rounding.map(number),
        "ops": { "before": report.ops.before, "after": report.ops.after },
        "size": report.size.map(|s| json!({
            "before": s.before,
            "after": frame.output.map(|_| s.after),
        })),
        "files": report.written.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
        "notes": report.notes,
        "repeats": report.repeats,
    });
    if timing {
        object["seconds"] = json!(frame.time.as_secs_f64());
    }
    object["passes"] = report
        .passes
        .iter()
        .zip(&report.times)
        .map(|(p, time)| {
            let mut pass = json!({
                "pass": p.text,
                "changed": p.changed,
                "rewrites": p.rewrites,
                "statistics": p.statistics.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect::<Map<_, _>>(),
            });
            if timing {
                pass["seconds"] = json!(time.as_secs_f64());
            }
            pass
        })
        .collect();
    if let Some(found) = &report.verification {
        object["verification"] = verify::json(found);
    }
    if let Some(layers) = &report.layers {
        object["layers"] = layers.iter().map(layer).collect();
    }
    object["remarks"] =
        report.remarks.iter().filter(|r| passes_filter(r, filter)).map(remark).collect();
    object
}

/// A layer as a JSON object.
fn layer(l: &Layer) -> Value {
    json!({
        "graph": &*l.graph,
        "op": &*l.op,
        "location": &*l.location,
        "folds": l.folds.iter().map(|f| &**f).collect::<Vec<_>>(),
        "channels": l.before.channels,
        "before": ranges(&l.before),
        "after": l.after.as_ref().map(ranges),
    })
}

fn ranges(r: &LayerRanges) -> Value {
    let list = |values: &[f64]| values.iter().map(|v| number(*v)).collect::<Value>();
    let v = r.values.as_ref();
    json!({
        "weight": &*r.weight,
        "bias": r.bias.as_deref(),
        "w_min": v.map(|v| list(&v.min)),
        "w_max": v.map(|v| list(&v.max)),
        "b": v.and_then(|v| v.bias.as_deref()).map(list),
        "dead": v.map(|v| v.dead().collect::<Vec<_>>()),
    })
}

/// A remark as a JSON object.
pub(crate) fn remark(r: &Remark) -> Value {
    json!({
        "kind": r.kind.name(),
        "pass": r.pass,
        "graph": &*r.graph,
        "op": &*r.op,
        "location": &*r.location,
        "code": r.code,
        "message": r.message,
        "args": r.args.iter().map(|(n, v)| ((*n).to_owned(), argument(v))).collect::<Map<_, _>>(),
    })
}

fn argument(arg: &RemarkArg) -> Value {
    match arg {
        RemarkArg::Float(v) => number(*v),
        RemarkArg::Int(v) => (*v).into(),
        RemarkArg::Str(s) => (**s).into(),
        RemarkArg::List(l) => l.iter().map(|s| Value::from(&**s)).collect(),
        RemarkArg::Floats(l) => l.iter().map(|v| number(*v)).collect(),
    }
}

/// JSON has no word for what is not finite.
pub(crate) fn number(v: f64) -> Value {
    if v.is_finite() {
        json!(v)
    } else if v.is_nan() {
        "nan".into()
    } else if v > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}

#[cfg(test)]
mod tests {
    use super::{number, plural};

    #[test]
    fn words_and_numbers() {
        assert_eq!(plural(1, "batch norm"), "1 batch norm");
        assert_eq!(plural(0, "batch norm"), "0 batch norms");
        assert_eq!(number(f64::NEG_INFINITY), "-inf");
        assert_eq!(number(0.5), 0.5);
    }
}
