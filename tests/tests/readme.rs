//! What the README says of its first command is what the command does, and docs/corpus.md says what has to come out.

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

/// A list of `count name` pairs, as the page and the expectations have them.
fn counts(cell: &str) -> BTreeMap<String, u64> {
    let pair = |part: &str| {
        let (n, name) = part.trim().split_once(' ')?;
        Some((name.trim_matches('`').to_owned(), n.parse().ok()?))
    };
    cell.split(',').filter_map(pair).collect()
}

/// What follows `"key": ` in a line of JSON: a number, or an object of numbers.
fn field(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{key}\": "))?;
    let end = if rest.starts_with('{') { rest.find('}')? } else { rest.find([',', '}'])? };
    Some(rest[..end].trim_start_matches('{').to_owned())
}

/// An object of numbers as pairs.
fn object(text: &str) -> Vec<(String, u64)> {
    let pair = |part: &str| {
        let (name, n) = part.split_once(':')?;
        Some((name.trim().trim_matches('"').to_owned(), n.trim().parse().ok()?))
    };
    text.split(',').filter_map(pair).collect()
}

/// The committed page is that of a tool that folds what can be folded, line by line.
#[test]
fn the_corpus_is_as_expected() {
    let read = |path: &str| fs::read_to_string(folder().join(path)).expect("a file");
    let (page, expected) = (read("../docs/corpus.md"), read("conformance/foldability.json"));
    let rows: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter_map(|l| {
            let cells: Vec<&str> = l.trim_matches('|').split('|').map(str::trim).collect();
            (cells.len() == 11 && cells[1].parse::<u64>().is_ok()).then(|| (cells[0], cells))
        })
        .collect();
    let mut models = 0;
    for line in expected.lines().filter(|l| l.contains("\"norms\"")) {
        let name = line.trim().trim_start_matches('"').split('"').next().expect("a name");
        let row = rows.get(name).unwrap_or_else(|| panic!("docs/corpus.md has no row for {name}"));
        let cell = |i: usize| row[i].parse::<u64>().expect("a number");
        let number = |key| field(line, key).and_then(|n| n.parse::<u64>().ok()).expect("a number");
        let folded = cell(1) - cell(2) + cell(3) - cell(4);
        assert_eq!(
            (cell(1), cell(3), folded),
            (number("norms"), number("chains"), number("folded")),
            "norms, chains and folds of {name}"
        );
        if let (Some(ways), 0) = (field(line, "ways"), cell(3)) {
            assert_eq!(counts(row[5]), object(&ways).into_iter().collect(), "ways of {name}");
        }
        // Alternatives are parted by `|`; as many as are expected of each have to be there.
        let mut told = counts(row[6]);
        for (codes, mut n) in object(&field(line, "kept").expect("reasons")) {
            for code in codes.split('|') {
                let some = told.entry(code.to_owned()).or_default();
                let taken = n.min(*some);
                (*some, n) = (*some - taken, n - taken);
            }
            assert_eq!(n, 0, "{name}: too few of {codes}");
        }
        assert!(told.values().all(|n| *n == 0), "{name}: too many reasons: {told:?}");
        models += 1;
    }
    assert_eq!(models, rows.len());
}
