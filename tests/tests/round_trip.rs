//! Documents and text: what no pass touched comes back as it was, and the same input gives the same bytes.

use normfold_driver::{Driver, Input, Opened, RunOptions, SaveOptions};
use normfold_tests::{models, round_trip};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn open(path: &Path) -> Opened {
    Driver::new().open(Input::from(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs a pipeline on a model, writes it into `dir`, and gives every file there.
fn run(path: &Path, passes: &str, threads: usize, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline(passes).expect("a pipeline");
    let target = dir.join(path.file_name().expect("a file"));
    let save = SaveOptions { threads, ..SaveOptions::default() };
    driver
        .run_and_save(&mut open(path), &pipeline, &target, &RunOptions::default(), &save, &mut [])
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the output")
        .map(|e| e.expect("a file").path())
        .map(|p| (p.file_name().expect("a name").into(), fs::read(&p).expect("a file")))
        .collect();
    files.sort();
    files
}

fn fresh() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn documents_round_trip_byte_for_byte() {
    for path in models("", "onnx") {
        let dir = fresh();
        for (name, bytes) in run(&path, "", 2, dir.path()) {
            let original = fs::read(path.with_file_name(&name)).expect("the original");
            assert!(bytes == original, "{}: {} is not what it was", path.display(), name.display());
        }
    }
}

#[test]
fn text_round_trips() {
    let keras = models("keras", "json");
    for path in models("", "onnx").into_iter().chain(keras) {
        round_trip(open(&path).module()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

#[test]
fn every_import_is_valid() {
    let keras = models("keras", "json");
    for path in models("", "onnx").into_iter().chain(keras) {
        if let Err(e) = normfold_ir::verify(open(&path).module()) {
            panic!("{}:\n{e}", path.display());
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for path in models("", "onnx") {
        let dirs = [fresh(), fresh(), fresh()];
        let first = run(&path, "default", 1, dirs[0].path());
        assert!(first == run(&path, "default", 1, dirs[1].path()), "{}: two runs", path.display());
        assert!(
            first == run(&path, "default", 2, dirs[2].path()),
            "{}: two threads",
            path.display()
        );
    }
}

#[test]
fn a_second_run_changes_nothing() {
    for path in models("", "onnx") {
        let (once, twice) = (fresh(), fresh());
        let first = run(&path, "default", 1, once.path());
        let target = once.path().join(path.file_name().expect("a file"));
        let second = run(&target, "default", 1, twice.path());
        assert!(first == second, "{}: a second run changes something", path.display());
    }
}
