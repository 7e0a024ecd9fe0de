//! What the README says of its first command is what the command does.

use normfold_driver::{Driver, Input, RunOptions, SaveOptions};
use normfold_tests::folder;
use std::{collections::BTreeMap, fs};

/// Rows of the README's table of figures: before and after, by name.
fn table() -> BTreeMap<String, (String, String)> {
    let readme = fs::read_to_string(folder().join("../README.md")).expect("the README");
    readme
        .lines()
        .filter(|l| l.starts_with("| "))
        .filter_map(|l| {
            let cells: Vec<&str> = l.trim_matches('|').split('|').map(str::trim).collect();
            let [name, before, after] = cells.as_slice() else { return None };
            Some((name.to_string(), (before.replace(',', ""), after.replace(',', ""))))
        })
        .collect()
}

#[test]
fn the_table_is_true() {
    let dir = tempfile::tempdir().expect("a folder");
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").expect("the default pipeline");
    let model = folder().join("models/mobilenet_v2_x025.onnx");
    let mut opened = driver.open(Input::from(&*model)).expect("the model");
    let target = dir.path().join("folded.onnx");
    let report = driver
        .run_and_save(
            &mut opened,
            &pipeline,
            &target,
            &RunOptions::default(),
            &SaveOptions::default(),
            &mut [],
        )
        .expect("a run");
    let norms = &report.batch_norms;
    let size = report.size.expect("what was written has a size");
    let error = report.largest_error.expect("folds have certificates");
    let pair = |a: u64, b: u64| (a.to_string(), b.to_string());
    let expected = BTreeMap::from([
        ("batch norms".to_owned(), pair(norms.total, norms.total - norms.folded)),
        ("ops, constants included".to_owned(), pair(report.ops.before, report.ops.after)),
        ("bytes".to_owned(), pair(size.before, size.after)),
        ("largest certified error".to_owned(), (String::new(), format!("{error:.1e}"))),
    ]);
    let mut found = table();
    found.retain(|name, _| expected.contains_key(name));
    assert_eq!(found, expected);
}
