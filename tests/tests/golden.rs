//! Golden cases: every `tests/golden/<pass>/<case>.nf` is run as its first line says, and what comes out is a snapshot
//! beside it. `INSTA_UPDATE=always cargo golden` writes the snapshots anew; `INSTA_GLOB_FILTER` runs some.
//!
//! Every case also checks that the text form round-trips, that the module is valid before and after, that a second run
//! changes nothing, and that the module computes what it computed.

use normfold_driver::{Driver, Input, RunOptions, reasons, passes::ManagerOptions};
use normfold_ir::{
    Module,
    text::{self, PrintOptions, Weights},
};
use normfold_passes::builtin;
use normfold_tests::{case::Case, compare, folder};
use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

#[test]
fn golden() {
    insta::glob!("../golden", "**/*.nf", |path| {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().expect("a file has a folder"));
        settings.set_snapshot_suffix("");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.remove_input_file();
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let outcome = run(path);
        settings.bind(|| insta::assert_snapshot!(name, outcome));
    });
}

/// Runs a case and gives its snapshot.
fn run(path: &Path) -> String {
    let source = fs::read_to_string(path).expect("a golden case");
    let place = path.display();
    let case = Case::parse(&source).unwrap_or_else(|e| panic!("{place}: {e}"));

    let driver = Driver::new();
    let open = |text: &str| {
        let input = Input::Text { name: place.to_string(), text: text.to_owned() };
        driver.open(input).unwrap_or_else(|e| panic!("{e}"))
    };
    let pipeline = driver.parse_pipeline(&case.passes).unwrap_or_else(|e| panic!("{place}: {e}"));
    let mut options = RunOptions::default();
    options.manager =
        ManagerOptions::default().verify_each(true).stop_after_rewrites(case.stop_after_rewrites);

    let before = open(&source);
    round_trip(&format!("{place}, before"), before.module());
    let mut after = open(&source);
    let report = driver
        .run(&mut after, &pipeline, &options, &mut [])
        .unwrap_or_else(|e| panic!("{place}: {e}"));
    if let Err(e) = normfold_ir::verify(after.module()) {
        panic!("{place}: not valid afterwards:\n{e}");
    }
    round_trip(&format!("{place}, after"), after.module());
    match &case.no_eval {
        None => {
            compare::modules(before.module(), after.module(), case.tolerance)
                .unwrap_or_else(|e| panic!("{place}: {e}"));
        }
        Some(why) => assert!(
            compare::modules(before.module(), after.module(), case.tolerance).is_err(),
            "{place}: NO-EVAL says `{why}`, but values can be compared and agree"
        ),
    }

    let mut out = print(after.module(), case.weights);
    out.push_str("-- remarks --\n");
    for remark in &report.remarks {
        writeln!(out, "{remark}").expect("a string");
    }
    out.push_str("-- stats --\n");
    for pass in &report.passes {
        let counts: Vec<String> = pass.statistics.iter().map(|(name, n)| format!("{name} {n}")).collect();
        writeln!(out, "{}: rewrites {}, {}", pass.text, pass.rewrites, counts.join(", ")).expect("a string");
    }

    // A run that was cut short has more to do.
    if case.stop_after_rewrites.is_none() {
        let first = print(after.module(), Weights::Full);
        let again = driver
            .run(&mut after, &pipeline, &options, &mut [])
            .unwrap_or_else(|e| panic!("{place}, second run: {e}"));
        let changed: Vec<&str> =
            again.passes.iter().filter(|p| p.changed).map(|p| p.text.as_str()).collect();
        assert!(changed.is_empty(), "{place}: a second run changes something: {}", changed.join(", "));
        assert_eq!(first, print(after.module(), Weights::Full), "{place}: a second run changes the module");
    }
    out
}

fn print(module: &Module, weights: Weights) -> String {
    text::print(module, &PrintOptions::with_weights(weights))
        .unwrap_or_else(|e| panic!("cannot print: {e}"))
}

/// What is printed is parsed again as the same.
fn round_trip(place: &str, module: &Module) {
    for weights in [Weights::Hash, Weights::Full, Weights::None] {
        let once = print(module, weights);
        let parsed = text::parse(&once).unwrap_or_else(|e| panic!("{place}: {e} in\n{once}"));
        assert_eq!(once, print(&parsed, weights), "{place}: the text form does not round-trip");
    }
}

/// Reasons of every pass: in its description, in docs/legality.md, and in a snapshot. None may be missing anywhere.
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
