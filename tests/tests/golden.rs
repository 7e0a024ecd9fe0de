//! Golden cases: every `tests/golden/<pass>/<case>.nf` is run as its first line says, and what comes out is a snapshot
//! beside it. `INSTA_UPDATE=always cargo golden` writes the snapshots anew; `INSTA_GLOB_FILTER` runs some.
//!
//! Every case also checks that the text form round-trips, that the module is valid before and after, that a second run
//! changes nothing, and that the module computes what it computed.

use normfold_driver::{Driver, Input, Opened, Report, RunOptions, passes::ManagerOptions, reasons};
use normfold_ir::text::Weights;
use normfold_passes::builtin;
use normfold_tests::{case::Case, compare, folder, print, round_trip};
use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

#[test]
fn golden() {
    let mut failures = Vec::new();
    insta::glob!("../golden", "**/*.nf", |path| {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().expect("a file has a folder"));
        settings.set_snapshot_suffix("");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.remove_input_file();
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        match run(path) {
            Ok(outcome) => settings.bind(|| insta::assert_snapshot!(name, outcome)),
            Err(e) => failures.push(format!("{}: {e}", path.display())),
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Runs a case and gives its snapshot, or what is wrong.
fn run(path: &Path) -> Result<String, String> {
    let source = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let case = Case::parse(&source)?;
    let driver = Driver::new();
    let open = || {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        driver.open(Input::Text { name, text: source.clone() }).map_err(|e| e.to_string())
    };
    let pipeline = driver.parse_pipeline(&case.passes).map_err(|e| e.to_string())?;
    let mut options = RunOptions::default();
    options.manager =
        ManagerOptions::default().verify_each(true).stop_after_rewrites(case.stop_after_rewrites);
    let execute = |opened: &mut Opened| {
        driver.run(opened, &pipeline, &options, &mut []).map_err(|e| e.to_string())
    };

    let before = open()?;
    round_trip(before.module()).map_err(|e| format!("before: {e}"))?;
    let mut after = open()?;
    let report = execute(&mut after)?;
    normfold_ir::verify(after.module()).map_err(|e| format!("not valid afterwards:\n{e}"))?;
    round_trip(after.module()).map_err(|e| format!("after: {e}"))?;
    let compared = compare::modules(before.module(), after.module(), case.tolerance);
    match (&case.no_eval, compared) {
        (None, Err(e)) => return Err(e),
        (Some(why), Ok(_)) => {
            return Err(format!("NO-EVAL says `{why}`, but values can be compared and agree"));
        }
        (None, Ok(_)) | (Some(_), Err(_)) => {}
    }
    let out = snapshot(&after, &report, case.weights)?;

    // A run that was cut short has more to do.
    if case.stop_after_rewrites.is_none() {
        let first = print(after.module(), Weights::Full)?;
        let again = execute(&mut after)?;
        let changed: Vec<&str> =
            again.passes.iter().filter(|p| p.changed).map(|p| p.text.as_str()).collect();
        if !changed.is_empty() || first != print(after.module(), Weights::Full)? {
            return Err(format!("a second run changes something: {}", changed.join(", ")));
        }
    }
    Ok(out)
}

fn snapshot(after: &Opened, report: &Report, weights: Weights) -> Result<String, String> {
    let mut out = print(after.module(), weights)?;
    out.push_str("-- remarks --\n");
    for remark in &report.remarks {
        let _ = writeln!(out, "{remark}");
    }
    out.push_str("-- stats --\n");
    for pass in &report.passes {
        let _ = write!(out, "{}: rewrites {}", pass.text, pass.rewrites);
        for (name, n) in pass.statistics.iter().filter(|(_, n)| **n > 0) {
            let _ = write!(out, ", {name} {n}");
        }
        out.push('\n');
    }
    Ok(out)
}

/// Every reason that a pass gives has a heading in docs/legality.md and occurs in a snapshot, and nothing else has a heading.
#[test]
fn reasons_have_cases_and_headings() {
    let documented: BTreeSet<&str> = reasons::all().map(|r| r.code).collect();
    let given: BTreeSet<&str> =
        builtin().passes().flat_map(|e| e.info.reasons.iter().copied()).collect();
    assert_eq!(given, documented, "reasons that passes give, and headings of docs/legality.md");
    let mut snapshots = String::new();
    collect(&folder().join("golden"), &mut snapshots);
    let missing: Vec<&&str> =
        given.iter().filter(|code| !snapshots.contains(&format!(": {code}: "))).collect();
    assert!(missing.is_empty(), "reasons that no golden case shows: {missing:?}");
}

fn collect(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).expect("the golden cases") {
        let path = entry.expect("a golden case").path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|e| e == "snap") {
            out.push_str(&fs::read_to_string(path).expect("a snapshot"));
        }
    }
}
