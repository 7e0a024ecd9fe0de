//! PyTorch programs: written as they were without a pass, and after the default pipeline as programs that compute what they
//! computed. What PyTorch itself makes of them is in `tests/conformance/torch`.

use normfold_driver::{Driver, DriverError, Input, Opened, Report, RunOptions, SaveOptions};
use normfold_frontends::{
    archive::{Archive, Patch},
    bytes::Source,
    save::{Content, WriteOptions},
};
use normfold_tests::{compare, folder, models};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// How many stay, by reason.
type Kept = &'static [(&'static str, u64)];

/// Batch norms that fold, and those that stay with their reasons, by program.
const EXPECTED: &[(&str, u64, Kept)] = &[
    (
        "awkward",
        4,
        &[
            ("axis-mismatch", 1),
            ("batch-statistics", 1),
            ("multiple-consumers", 1),
            ("padded-shift", 1),
            ("updated-in-place", 1),
        ],
    ),
    ("control", 1, &[("nested-graph", 1)]),
    ("forward", 2, &[("padded-shift", 1)]),
    ("matrix", 3, &[]),
    ("matrix_decomposed", 3, &[]),
    ("net", 3, &[]),
    ("net_bf16", 3, &[]),
    ("net_channels_last", 3, &[]),
    ("net_decomposed", 3, &[]),
    ("net_dynamic", 3, &[]),
    ("net_f64", 3, &[]),
    ("net_train", 0, &[("training-mode", 3)]),
    ("net_train_decomposed", 0, &[("batch-statistics", 3)]),
    ("shared", 3, &[]),
    ("transposed", 3, &[]),
    ("transposed_decomposed", 3, &[]),
];

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn program(name: &str) -> PathBuf {
    folder().join("models/torch").join(format!("{name}.pt2"))
}

fn open(input: Input) -> Opened {
    Driver::new().open(input).unwrap_or_else(|e| panic!("{e}"))
}

fn run(path: &Path, pipeline: &str, to: &Path) -> Report {
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline(pipeline).expect("a pipeline");
    let mut opened = open(Input::Path(path.to_path_buf()));
    let save = SaveOptions { threads: 2, ..SaveOptions::default() };
    let run = RunOptions::default();
    driver
        .run_and_save(&mut opened, &pipeline, to, &run, &save, &mut [])
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The members of an archive, each with its checksum right.
fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let archive = Archive::open(&Source::Memory(bytes.into())).expect("an archive");
    let read = |m| archive.read(m, 1 << 30).expect("a member");
    archive.members().iter().map(|m| (m.name().to_owned(), read(m))).collect()
}

#[test]
fn without_a_pass_programs_are_what_they_were() {
    let dir = tempfile::tempdir().expect("a folder");
    let to = dir.path().join("out.pt2");
    for path in models("torch", "pt2") {
        run(&path, "", &to);
        assert!(fs::read(&path).unwrap() == fs::read(&to).unwrap(), "{}", path.display());
    }
}

#[test]
fn folded_programs_compute_what_they_computed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (to, again) = (dir.path().join("out.pt2"), dir.path().join("again.pt2"));
    let mut seen = 0;
    for path in models("torch", "pt2") {
        let name = stem(&path);
        let expected = EXPECTED.iter().find(|(n, ..)| *n == name);
        let (_, folded, kept) = expected.unwrap_or_else(|| panic!("{name} is not expected"));
        let report = run(&path, "default", &to);
        let mut found: Vec<_> = report.batch_norms.kept.iter().map(|(k, n)| (*k, *n)).collect();
        found.sort();
        assert_eq!((report.batch_norms.folded, found.as_slice()), (*folded, *kept), "{name}");
        seen += 1;

        let (before, after) = (open(Input::Path(path.clone())), open(Input::Path(to.clone())));
        // Half precision rounds at every op.
        let tolerance = if name.ends_with("bf16") { 2e-2 } else { 1e-5 };
        // Opaque ops have no result that could be compared.
        if !matches!(&*name, "awkward" | "control" | "net_train" | "net_train_decomposed") {
            let compared = compare::modules(before.module(), after.module(), tolerance)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(compared.elements > 0, "{name}");
        }

        // What no fold touched is what it was: pickles, versions, constants.
        let old = members(&fs::read(&path).unwrap());
        let new = members(&fs::read(&to).unwrap());
        for (member, bytes) in &old {
            let weights = member.contains("/data/weights/") || member.ends_with("/model.json");
            assert!(weights || new.get(member) == Some(bytes), "{name}: {member}");
        }
        run(&to, "default", &again);
        assert!(fs::read(&to).unwrap() == fs::read(&again).unwrap(), "{name}: folded twice");
    }
    assert_eq!(seen, EXPECTED.len());
}

#[test]
fn the_number_of_threads_does_not_show() {
    let dir = tempfile::tempdir().expect("a folder");
    let (a, b) = (dir.path().join("a.pt2"), dir.path().join("b.pt2"));
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").expect("a pipeline");
    for (threads, to) in [(1, &a), (7, &b)] {
        let mut opened = open(Input::Path(program("net_channels_last")));
        let save = SaveOptions { threads, ..SaveOptions::default() };
        driver
            .run_and_save(&mut opened, &pipeline, to, &RunOptions::default(), &save, &mut [])
            .expect("written");
    }
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap());
}

fn live(name: &str, layers: &[&str]) -> (Opened, Report) {
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").expect("a pipeline");
    let bytes = fs::read(program(name)).expect("a program");
    let layers = layers.iter().map(|l| (*l).to_owned()).collect();
    let mut opened = open(Input::Live { name: name.to_owned(), bytes, layers });
    let report = driver
        .run(&mut opened, &pipeline, &RunOptions::default(), &mut [])
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    (opened, report)
}

fn names(list: &[(String, normfold_ir::ConstId)]) -> Vec<&str> {
    list.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn of_a_live_module_only_its_layers_change() {
    let all = ["stem.0", "stem.1", "same", "norm", "fc", "last"];
    let (opened, report) = live("net", &all);
    assert_eq!(report.batch_norms.folded, 3, "{:?}", report.batch_norms);
    let parameters = opened.parameters().expect("parameters");
    assert_eq!(
        names(&parameters.changed),
        ["stem.0.weight", "same.weight", "same.bias", "fc.weight"]
    );
    assert_eq!(names(&parameters.added), ["stem.0.bias", "fc.bias"]);
    assert_eq!(parameters.gone, ["stem.1", "norm", "last"]);
    assert!(parameters.removed.iter().any(|n| n == "norm.running_mean"));

    let (opened, report) = live("net", &["stem.0", "stem.1", "same", "last"]);
    assert_eq!(report.batch_norms.folded, 1, "{:?}", report.batch_norms);
    let kept: Vec<_> = report.batch_norms.kept.iter().map(|(k, n)| (*k, *n)).collect();
    assert_eq!(kept.iter().map(|(_, n)| n).sum::<u64>(), 2, "{kept:?}");
    assert_eq!(opened.parameters().expect("parameters").gone, ["stem.1"]);
}

#[test]
fn a_live_norm_that_is_called_twice_stays() {
    let (opened, report) = live("shared", &["a", "b", "norm", "own"]);
    assert_eq!(report.batch_norms.folded, 0);
    let mut kept: Vec<_> = report.batch_norms.kept.iter().map(|(k, n)| (*k, *n)).collect();
    kept.sort();
    assert_eq!(kept, [("custom-layer", 1), ("shared-layer", 2)]);
    assert_eq!(opened.parameters().expect("parameters"), Default::default());
}

/// From one text to another.
type Edit<'a> = &'a dyn Fn(&str) -> String;

/// The archive with members changed: other bytes, or none.
fn patched(name: &str, change: &[(&str, Option<Edit<'_>>)]) -> Vec<u8> {
    let source = Source::Memory(fs::read(program(name)).expect("a program").into());
    let archive = Archive::open(&source).expect("an archive");
    let mut patch = Patch::new(&archive, 0);
    for (member, to) in change {
        let path = format!("{name}/{member}");
        let index = archive.find(&path).unwrap_or_else(|| panic!("{path}"));
        match to {
            None => patch.remove(index),
            Some(to) => {
                let old = archive.read(&archive.members()[index], 1 << 30).expect("a member");
                let mut content = Content::new();
                content.bytes(to(&String::from_utf8(old).expect("text")).as_bytes());
                patch.replace(index, content);
            }
        }
    }
    let content = patch.finish().expect("an archive");
    let mut bytes = Vec::new();
    let source = std::slice::from_ref(&source);
    content.write_to(source, &mut bytes, WriteOptions::default()).expect("written");
    bytes
}

fn refused(bytes: Vec<u8>) -> String {
    match Driver::new().open(Input::Bytes { name: "broken".into(), bytes }) {
        Ok(_) => panic!("it was opened"),
        Err(e @ DriverError::Input { .. }) => {
            let source = std::error::Error::source(&e).expect("a source");
            format!("{e}: {source}")
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn what_is_no_program_of_this_version_is_one_clear_error() {
    let model = "models/model.json";
    let weights = "data/weights/model_weights_config.json";
    let major: Edit<'_> = &|t| t.replace("\"major\": 8", "\"major\": 9");
    let lost: Edit<'_> =
        &|t| t.replacen("\"path_name\": \"weight_0\"", "\"path_name\": \"weight_77\"", 1);
    let unnamed: Edit<'_> = &|t| t.replacen("\"stem.0.weight\"", "\"stem.9.weight\"", 1);
    let long: Edit<'_> = &|t| t.replacen("\"as_int\": 8}", "\"as_int\": 80000}", 1);
    let cycle: Edit<'_> =
        &|t| t.replacen("{\"name\": \"x\"}}, \"kind\"", "{\"name\": \"add_\"}}, \"kind\"", 1);
    let cut: Edit<'_> = &|t| t[..t.len() / 2].to_owned();
    let archive: Edit<'_> = &|_| "1".to_owned();
    for (change, expected) in [
        ((model, Some(major)), "schema version 9"),
        ((model, Some(cycle)), "which nothing before it gives"),
        ((model, Some(cut)), "malformed JSON"),
        ((model, None), "there is no program in it"),
        ((weights, Some(lost)), "is not there"),
        ((weights, Some(unnamed)), "no payload of that name"),
        ((weights, Some(long)), "reaches beyond"),
        ((weights, None), "no payload of that name"),
        (("data/weights/weight_0", None), "is not there"),
        (("archive_version", Some(archive)), "archive version 1"),
    ] {
        let message = refused(patched("net", &[change]));
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
    let bytes = fs::read(program("net")).expect("a program");
    for len in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(
            Driver::new()
                .open(Input::Bytes { name: "cut".into(), bytes: bytes[..len].to_vec() })
                .is_err()
        );
    }
}

/// A program of one edit: it opens or it does not, and what opens folds into one that opens.
fn survives(what: &str, bytes: Vec<u8>) -> Option<Report> {
    let driver = Driver::new();
    let input = |bytes| Input::Bytes { name: what.into(), bytes };
    let mut opened = driver.open(input(bytes)).ok()?;
    let dir = tempfile::tempdir().expect("a folder");
    let to = dir.path().join("out.pt2");
    let pipeline = driver.parse_pipeline("default").expect("a pipeline");
    let (run, save) = (RunOptions::default(), SaveOptions::default());
    let report = driver
        .run_and_save(&mut opened, &pipeline, &to, &run, &save, &mut [])
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    open(Input::Path(to));
    Some(report)
}

#[test]
fn what_an_argument_cannot_be_leaves_its_node_alone() {
    let model = "models/model.json";
    let every: [(&str, Edit<'_>, Option<u64>); 12] = [
        ("a negative stride", &|t| t.replace("\"as_ints\": [1, 1]", "\"as_ints\": [-1, 1]"), None),
        ("a stride of 0", &|t| t.replace("\"as_ints\": [1, 1]", "\"as_ints\": [0, 1]"), None),
        (
            "a stride without end",
            &|t| t.replace("\"as_ints\": [1, 1]", "\"as_ints\": [9223372036854775807, 1]"),
            None,
        ),
        ("too many strides", &|t| t.replace("\"as_ints\": [1, 1]", "\"as_ints\": [1, 1, 1]"), None),
        (
            "a number of groups",
            &|t| t.replace("\"as_int\": 8}, \"kind\"", "\"as_int\": -8}, \"kind\""),
            None,
        ),
        (
            "text for an epsilon",
            &|t| t.replace("\"as_float\": 1e-05", "\"as_string\": \"1e-05\""),
            Some(0),
        ),
        ("no epsilon", &|t| t.replace("\"name\": \"eps\"", "\"name\": \"eqs\""), Some(0)),
        (
            "an epsilon that is none",
            &|t| t.replace("\"as_float\": 1e-05", "\"as_float\": NaN"),
            Some(0),
        ),
        (
            "training unknown",
            &|t| t.replace("\"name\": \"training\"", "\"name\": \"drilling\""),
            Some(0),
        ),
        (
            "padding of no kind",
            &|t| t.replace("\"as_string\": \"same\"", "\"as_string\": \"most\""),
            Some(2),
        ),
        (
            "no weight",
            &|t| t.replace("{\"name\": \"weight\", \"arg\"", "{\"name\": \"heavy\", \"arg\""),
            Some(0),
        ),
        (
            "extents of types without end",
            &|t| t.replace("{\"as_int\": 2}", "{\"as_int\": 9223372036854775807}"),
            None,
        ),
    ];
    for (what, edit, folded) in every {
        let before = patched("net", &[(model, Some(&|t: &str| t.to_owned()))]);
        let bytes = patched("net", &[(model, Some(edit))]);
        assert!(before != bytes, "{what}: nothing was edited");
        let report = survives(what, bytes);
        if let Some(folded) = folded {
            assert_eq!(report.map(|r| r.batch_norms.folded), Some(folded), "{what}");
        }
    }
}

#[test]
fn views_that_cannot_be_are_one_clear_error() {
    let weights = "data/weights/model_weights_config.json";
    let first = |t: &str, from: &str, to: &str| t.replacen(from, to, 1);
    let every: [(&str, Edit<'_>, &str); 6] = [
        (
            "an offset behind the end",
            &|t| {
                first(
                    t,
                    "\"storage_offset\": {\"as_int\": 0}",
                    "\"storage_offset\": {\"as_int\": 1}",
                )
            },
            "reaches beyond",
        ),
        (
            "an offset without end",
            &|t| {
                first(
                    t,
                    "\"storage_offset\": {\"as_int\": 0}",
                    "\"storage_offset\": {\"as_int\": 9223372036854775807}",
                )
            },
            "reaches beyond",
        ),
        (
            "strides without end",
            &|t| {
                first(
                    t,
                    "\"strides\": [{\"as_int\": 27}",
                    "\"strides\": [{\"as_int\": 9223372036854775807}",
                )
            },
            "reaches beyond",
        ),
        (
            "a negative extent",
            &|t| first(t, "\"sizes\": [{\"as_int\": 8}", "\"sizes\": [{\"as_int\": -8}"),
            "",
        ),
        ("another type", &|t| first(t, "\"dtype\": 7", "\"dtype\": 13"), "the graph reads a"),
        ("no name of a file", &|t| first(t, "\"path_name\"", "\"no_name\""), "no path_name"),
    ];
    for (what, edit, expected) in every {
        let bytes = patched("net", &[(weights, Some(edit))]);
        match expected {
            // Without a type of its own it is no constant, and what reads it is left alone.
            "" => drop(survives(what, bytes)),
            expected => {
                let message = refused(bytes);
                assert!(message.contains(expected), "{what}: {message:?} lacks {expected:?}");
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_one_clear_error() {
    let model = "models/model.json";
    let deep = |n: usize| {
        format!("{}{{\"as_none\": true}}{}", "{\"as_optional_tensor\": ".repeat(n), "}".repeat(n))
    };
    let none = "{\"as_none\": true}";
    let within = deep(300);
    let beyond = deep(500);
    let order = |_: &str| "big".to_owned();
    let every: [(&str, Edit<'_>, &str); 7] = [
        (
            model,
            &|t| t.replacen("\"name\": \"running_var\"", "\"name\": \"running_mean\"", 1),
            "two arguments",
        ),
        (
            model,
            &|t| {
                t.replace(
                    "\"outputs\": [{\"as_tensor\": {\"name\": \"relu_\"}}]",
                    "\"outputs\": [{\"as_tensor\": {\"name\": \"conv2d\"}}]",
                )
            },
            "two nodes give",
        ),
        (model, &|t| t.replacen(none, &beyond, 1), "nest"),
        (model, &|t| t.replacen("\"nodes\"", "\"knots\"", 1), "`nodes` is not there"),
        (
            model,
            &|t| t.replacen("\"input_specs\": [", "\"input_specs\": [{\"user_input\": {}}, ", 1),
            "input_specs for",
        ),
        (
            model,
            &|t| t.replacen("\"parameter_name\": ", "\"parameter_game\": ", 1),
            "`parameter_name` is not there",
        ),
        ("byteorder", &order, "big-endian"),
    ];
    for (member, edit, expected) in every {
        let message = refused(patched("net", &[(member, Some(edit))]));
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
    let nested: Edit<'_> = &|t| t.replacen(none, &within, 1);
    assert!(
        survives("nested within the limit", patched("net", &[(model, Some(nested))])).is_some()
    );
}

#[test]
fn pickled_weights_are_absent() {
    let pickled = |t: &str| t.replace("\"use_pickle\": false", "\"use_pickle\": true");
    let bytes = patched("net", &[("data/weights/model_weights_config.json", Some(&pickled))]);
    let driver = Driver::new();
    let mut opened = open(Input::Bytes { name: "pickled".into(), bytes });
    let pipeline = driver.parse_pipeline("default").expect("a pipeline");
    let report =
        driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut []).expect("a report");
    let kept: Vec<_> = report.batch_norms.kept.iter().map(|(k, n)| (*k, *n)).collect();
    assert_eq!(kept, [("weights-absent", 3)]);
}
