//! The examples of docs/legality.md are golden cases: `UPDATE_DOCS=1 cargo test -p normfold-tests --test legality` writes
//! them anew.
//!
//! In the page stands `<!-- case: [PASS/]NAME [%constant]... -->`, the example, `<!-- end -->`; the pass is `fold-bn`
//! unless it is named. Of the constants of a case only those that are named are shown.

use normfold_driver::reasons;
use normfold_passes::builtin;
use normfold_tests::folder;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const OPEN: &str = "<!-- case: ";
const CLOSE: &str = "<!-- end -->";

fn page_path() -> PathBuf {
    folder().join("../docs/legality.md")
}

/// A golden case as the page shows it.
struct Example {
    text: String,
    /// The codes of its remarks.
    codes: Vec<String>,
}

/// The ops of a module's text, without the constants that are not named.
fn ops(module: &str, shown: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for line in module.lines() {
        let op = line.trim();
        let name = op.split([' ', ',']).next().unwrap_or_default();
        let is_constant = op.starts_with('%') && op.contains(" = constant ");
        let frame = line == "module @case {" || line.starts_with("  graph @main(");
        let closes = line == "}" || line == "  }";
        if op.is_empty() || frame || closes || is_constant && !shown.contains(&name) {
            continue;
        }
        if op.starts_with("return ") && !op.contains(',') {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        out.push(format!("{:1$}{op}", "", depth.saturating_sub(4)));
    }
    out
}

fn example(spec: &str) -> Example {
    let mut words = spec.split_whitespace();
    let case = words.next().expect("a case");
    let (pass, case) = case.split_once('/').unwrap_or(("fold-bn", case));
    let shown: Vec<&str> = words.collect();
    let read = |ext: &str| {
        let path = folder().join("golden").join(pass).join(case).with_extension(ext);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let (source, snapshot) = (read("nf"), read("snap"));
    let (module, rest) = snapshot.split_once("-- remarks --\n").expect("remarks");
    let module = module.splitn(3, "---\n").last().expect("a module");
    let remarks: Vec<&str> = rest
        .lines()
        .take_while(|l| *l != "-- stats --")
        .filter(|l| l.strip_prefix(pass).is_some_and(|l| l.starts_with(": ")))
        .collect();
    let code = |l: &&str| Some(l.split("\": ").nth(1)?.split(':').next()?.to_owned());
    let codes: Vec<String> = remarks.iter().filter_map(code).collect();

    let header = |l: &&str| l.starts_with("//");
    let (comments, body): (Vec<&str>, Vec<&str>) = source.lines().partition(header);
    let (before, after) = (ops(&body.join("\n"), &shown), ops(module, &shown));
    let mut lines = Vec::new();
    for c in
        comments.iter().filter(|c| !c.starts_with("// NO-EVAL") && !c.starts_with("// TOLERANCE"))
    {
        match c.strip_prefix("// RUN: ") {
            Some("--passes=fold-bn,dce" | "--passes=merge-parallel-linear") => {}
            Some(run) => lines.push(format!("$ {run}")),
            None => lines.push((*c).to_owned()),
        }
    }
    lines.extend(before);
    lines.push(String::new());
    lines.extend(remarks.iter().map(|r| (*r).to_owned()));
    if codes.iter().any(|c| c == "folded" || c == "merged") {
        lines.extend([String::new(), "// becomes".to_owned()]);
        lines.extend(after);
    }
    let text = format!("`{case}`:\n\n```text\n{}\n```\n", lines.join("\n"));
    Example { text, codes }
}

/// The page with every example as the golden cases have it, and the codes that its examples show under each heading.
fn written(page: &str) -> (String, Vec<(String, Vec<String>)>) {
    let (mut out, mut rest) = (String::new(), page);
    let mut shown: Vec<(String, Vec<String>)> = Vec::new();
    while let Some((head, tail)) = rest.split_once(OPEN) {
        let (spec, tail) = tail.split_once(" -->\n").expect("a marker ends its line");
        let (_, tail) = tail.split_once(CLOSE).expect("a marker is closed");
        out.push_str(head);
        let heading = out.rsplit_once("\n## ").map_or("", |(_, h)| h.lines().next().unwrap_or(""));
        let example = example(spec);
        shown.push((heading.to_owned(), example.codes));
        out.push_str(&format!("{OPEN}{spec} -->\n{}{CLOSE}", example.text));
        rest = tail;
    }
    out.push_str(rest);
    (out, shown)
}

#[test]
fn examples_are_golden_cases() {
    let committed = fs::read_to_string(page_path()).expect("the page");
    let (page, _) = written(&committed);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page_path(), &page).expect("the page");
        return;
    }
    assert!(
        committed == page,
        "the examples of docs/legality.md are not what the golden cases say; to write them anew:\n    \
         UPDATE_DOCS=1 cargo test -p normfold-tests --test legality"
    );
}

#[test]
fn every_reason_has_an_example() {
    let committed = fs::read_to_string(page_path()).expect("the page");
    let (_, shown) = written(&committed);
    for reason in reasons::all() {
        let has = shown
            .iter()
            .any(|(h, codes)| h == reason.code && codes.iter().any(|c| c == reason.code));
        assert!(
            has,
            "docs/legality.md shows no golden case of `{}` under its heading",
            reason.code
        );
        assert!(
            reason.text.contains("\nUnlock: "),
            "`{}` does not say what would unlock it",
            reason.code
        );
    }
}

/// Whatever a remark of a golden case says it is, the documentation explains it.
#[test]
fn every_remark_is_documented() {
    let mut codes = BTreeSet::new();
    collect(&folder().join("golden"), &mut codes);
    assert!(codes.contains("folded") && codes.len() > 20);
    let given: BTreeSet<&str> =
        builtin().passes().flat_map(|e| e.info.reasons.iter().copied()).collect();
    let cli = fs::read_to_string(folder().join("../docs/cli.md")).expect("the page");
    for code in &codes {
        let is_reason = given.contains(&**code) && reasons::find(code).is_some();
        let row = format!("| `{code}` |");
        assert!(is_reason || cli.contains(&row), "no page explains the remark `{code}`");
    }
}

fn collect(folder: &Path, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the golden cases") {
        let path = entry.expect("a golden case").path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|e| e == "snap") {
            let text = fs::read_to_string(path).expect("a snapshot");
            let remarks = text.split("-- remarks --\n").nth(1).unwrap_or_default();
            let lines = remarks.lines().take_while(|l| *l != "-- stats --");
            out.extend(
                lines.filter_map(|l| Some(l.split("\": ").nth(1)?.split(':').next()?.to_owned())),
            );
        }
    }
}
