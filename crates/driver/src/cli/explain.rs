//! `explain`: what becomes of every batch norm, and why. Writes nothing.

use super::{
    Failure,
    args::{ExplainArgs, Format},
    files::Files,
    logging::Session,
    opt::{is_stdin, read},
    output::{FAINT, GOOD, NOTE, Output, STRONG, Styled},
    summary,
};
use crate::{
    BatchNorms, Driver, Report, RunOptions,
    ir::{Remark, RemarkArg, RemarkKind},
    json,
};
use anstyle::Style;
use std::io;

/// What `explain` runs unless told otherwise.
const PIPELINE: &str = "fold-bn";
/// The reason of a batch norm that folds as soon as the weights are there, as in a Keras architecture.
const WEIGHTS_ABSENT: &str = "weights-absent";
/// Names longer than this push the rest of their line to the right.
const NAME_WIDTH: usize = 60;
/// The title of the column that has the direction of a fold, or the reason.
const HOW: &str = "way or reason";
/// What remarks call a batch norm.
const NORM: &str = "batch_norm";

/// Runs `explain`.
pub(super) fn run(args: &ExplainArgs, session: &Session, out: &mut Output) -> Result<(), Failure> {
    let mut files = Files::of_source(&args.source)?;
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline(args.source.passes.as_deref().unwrap_or(PIPELINE))?;
    let mut opened = driver.open(read(&args.source.input, args.source.weights_in.as_deref())?)?;
    files.and_data(&opened, None)?;
    session.begin()?;
    let report = driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut [])?;
    let input = match is_stdin(&args.source.input) {
        true => "standard input".to_owned(),
        false => args.source.input.display().to_string(),
    };
    match if args.json { Format::Json } else { args.format } {
        Format::Human => human(out, &report, &input)?,
        Format::Json => {
            let object = json::explanation(&report, &input);
            out.print(format_args!("{object:#}\n"))?;
        }
    }
    Ok(())
}

fn human(out: &mut Output, report: &Report, input: &str) -> io::Result<()> {
    let (norms, chains): (Vec<&Remark>, Vec<&Remark>) =
        report.verdicts().partition(|r| &*r.op == NORM);
    section(out, &norms, "batch norm")?;
    section(out, &chains, "affine chain")?;
    counts(out, input, &report.batch_norms, &norms, ["batch norm", "batch norms"])?;
    if !chains.is_empty() {
        counts(out, input, &report.affine_chains, &chains, ["affine chain", "affine chains"])?;
    }
    let mut facts = Vec::new();
    summary::facts(&mut facts, report)?;
    out.raw(&facts)?;
    if report.batch_norms.kept_total() + report.affine_chains.kept_total() > 0 {
        let hint = "`normfold reason CODE` explains a reason, with examples";
        out.print(format_args!("  {}\n", Styled(FAINT, hint)))?;
    }
    if report.verdicts().any(|r| abbreviated(&r.message, &r.location) != r.message) {
        let hint = "a name with … begins as the name on its left does";
        out.print(format_args!("  {}\n", Styled(FAINT, hint)))?;
    }
    Ok(())
}

/// One row per verdict: name, verdict, which way or the reason, and where to or why.
fn section(out: &mut Output, verdicts: &[&Remark], noun: &str) -> io::Result<()> {
    let Some(first) = verdicts.first() else { return Ok(()) };
    let several_graphs = verdicts.iter().any(|r| r.graph != first.graph);
    let ending = common_ending(verdicts);
    let name = |r: &Remark| {
        let name = &r.location[..r.location.len() - ending.len()];
        if several_graphs { format!("{}: {name}", r.graph) } else { name.to_owned() }
    };
    let title = if ending.is_empty() { noun.to_owned() } else { format!("{noun} …{ending}") };
    let rows: Vec<(String, Row)> = verdicts.iter().map(|r| (name(r), Row::of(r))).collect();
    let names = rows.iter().map(|(n, _)| n).chain([&title]);
    let width = names.map(|n| n.chars().count()).filter(|&n| n <= NAME_WIDTH).max().unwrap_or(0);
    let how = rows.iter().map(|(_, r)| r.how.len()).chain([HOW.len()]).max().unwrap_or(0);
    let gap = |text: &str| width.saturating_sub(text.chars().count());
    let line = format!("  {title}{:1$}  verdict  {2:how$}  where to, or why", "", gap(&title), HOW);
    out.print(format_args!("{}\n", Styled(FAINT, line)))?;
    for (name, Row { verdict, style, how: by, what }) in rows {
        out.print(format_args!(
            "  {}{:gap$}  {}  {by:how$}  {what}\n",
            Styled(STRONG, &name),
            "",
            Styled(style, format!("{verdict:7}")),
            gap = gap(&name),
        ))?;
    }
    out.print(format_args!("\n"))
}

/// A verdict as the table shows it.
struct Row {
    verdict: &'static str,
    style: Style,
    how: String,
    what: String,
}

impl Row {
    fn of(r: &Remark) -> Self {
        let what = abbreviated(&r.message, &r.location);
        let (verdict, style) = match (r.kind, r.code) {
            (RemarkKind::Passed, _) => ("folds", GOOD),
            (_, WEIGHTS_ABSENT) => ("would", GOOD),
            _ => ("kept", NOTE),
        };
        let how = match (r.kind, r.arg("direction")) {
            (RemarkKind::Passed, Some(RemarkArg::Str(direction))) => direction.to_string(),
            _ => r.code.to_owned(),
        };
        Self { verdict, style, how, what }
    }
}

/// The last component, `/BatchNormalization`, that all names share and that says nothing; empty where there is none.
fn common_ending<'a>(verdicts: &[&'a Remark]) -> &'a str {
    let ending = |r: &&'a Remark| {
        let at = r.location.rfind('/').filter(|&at| at > 0)?;
        Some(&r.location[at..])
    };
    let Some(first) = verdicts.first().and_then(ending) else { return "" };
    let all = verdicts.len() > 1 && verdicts.iter().all(|r| ending(r) == Some(first));
    if all { first } else { "" }
}

/// The message with the names in it shortened by what they begin with as `name` does: `…/conv1/Conv`.
fn abbreviated(message: &str, name: &str) -> String {
    let part =
        |(i, text): (usize, &str)| if i % 2 == 1 { relative(text, name) } else { text.into() };
    message.split('"').enumerate().map(part).collect::<Vec<String>>().join("\"")
}

fn relative(text: &str, to: &str) -> String {
    let shared = text.bytes().zip(to.bytes()).take_while(|(a, b)| a == b).count();
    let separator = if text.contains('/') { b'/' } else { b'.' };
    match text.as_bytes()[..shared].iter().rposition(|&b| b == separator) {
        Some(at) if at > 0 => format!("…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

/// How many of each verdict, and what would unlock those that are kept.
fn counts(
    out: &mut Output,
    input: &str,
    norms: &BatchNorms,
    verdicts: &[&Remark],
    [one, many]: [&str; 2],
) -> io::Result<()> {
    let noun = if norms.total == 1 { one } else { many };
    let ways = ["backward", "forward", "sideways"].into_iter().filter_map(|way| {
        let goes = |r: &&&Remark| {
            let direction = r.arg("direction");
            r.kind == RemarkKind::Passed
                && matches!(direction, Some(RemarkArg::Str(d)) if &**d == way)
        };
        let n = verdicts.iter().filter(goes).count();
        (n > 0).then(|| format!("{n} {way}"))
    });
    let ways: Vec<String> = ways.collect();
    let ways = if ways.is_empty() { String::new() } else { format!(" ({})", ways.join(", ")) };
    let would = norms.kept.get(WEIGHTS_ABSENT).copied().unwrap_or(0);
    let would_fold =
        if would > 0 { format!(", {would} would with their weights") } else { String::new() };
    let (folded, kept) = (norms.folded, norms.kept_total() - would);
    let line =
        format!("{input}: {} {noun}, {folded} fold{ways}{would_fold}, {kept} kept", norms.total);
    out.print(format_args!("{}\n", Styled(STRONG, line)))?;
    let width = norms.kept.keys().map(|code| code.len()).max().unwrap_or(0);
    for (code, n) in &norms.kept {
        let unlock = verdicts.iter().find(|r| r.code == *code).and_then(|r| r.arg("unlock"));
        let unlock = match unlock {
            Some(RemarkArg::Str(unlock)) => format!("to unlock: {unlock}"),
            _ => String::new(),
        };
        let gap = width - code.len();
        out.print(format_args!(
            "  {n:>5}  {}{:gap$}  {}\n",
            Styled(NOTE, code),
            "",
            Styled(FAINT, unlock)
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{abbreviated, relative};

    #[test]
    fn names_are_shown_from_where_they_differ() {
        assert_eq!(relative("/net/c1/Conv", "/net/bn/BatchNormalization"), "…/c1/Conv");
        assert_eq!(relative("/stem/Conv", "/net/bn"), "/stem/Conv");
        assert_eq!(relative("net.0.conv", "net.0.bn"), "….conv");
        assert_eq!(relative("conv", "bn"), "conv");
        assert_eq!(relative("/é/x", "/è/x"), "/é/x");
        let message = "into conv \"/a/c/Conv\" through pad \"/b/Pad\"";
        assert_eq!(abbreviated(message, "/a/bn"), "into conv \"…/c/Conv\" through pad \"/b/Pad\"");
    }
}
