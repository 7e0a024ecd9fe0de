//! Whole models before and after the default pipeline, in an inference engine that is not ours, without its optimizations.

use normfold_driver::{
    Driver, DriverError, Input, RunOptions, SaveOptions, Verify,
    verify::{RtenEngine, VerifyError, VerifyOptions},
};
use normfold_tests::{compare, models};
use std::{collections::BTreeSet, path::Path};

/// Models that the engine does not read or run: it knows neither some attributes of old operator sets, training, functions,
/// custom operators nor 3-D transposed convolutions. The reference evaluator
/// judges these here, onnxruntime in `tests/conformance`.
const UNSUPPORTED: &[&str] = &[
    "custom_domain.onnx",
    "dcgan_groups.onnx",
    "local_function.onnx",
    "opset14_training.onnx",
    "opset6_is_test.onnx",
    "opset6_training.onnx",
    "opset7_spatial0.onnx",
    "opset9_training.onnx",
    "small_train.onnx",
];

/// Largest difference, relative to the largest element of an output.
fn tolerance(name: &str) -> f64 {
    if matches!(name, "small_fp16.onnx" | "typed_fields.onnx") { 2e-3 } else { 1e-5 }
}

#[test]
fn models_compute_what_they_computed() {
    let dir = tempfile::tempdir().expect("a folder");
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").expect("the default pipeline");
    let options = VerifyOptions::default();
    let verify = Some(Verify { engine: &RtenEngine, options: &options });
    let save = SaveOptions { verify, ..SaveOptions::default() };
    let run = RunOptions::default();
    let mut unsupported = BTreeSet::new();
    for path in models("", "onnx") {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let target = dir.path().join(&name);
        let mut opened = driver.open(Input::from(&*path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let report = driver.run_and_save(&mut opened, &pipeline, &target, &run, &save, &mut []);
        let report = match report {
            Ok(report) => report,
            Err(DriverError::Verify(VerifyError::CannotVerify { why, .. })) => {
                println!("{name}: {why}");
                assert!(!target.exists(), "{name}");
                unsupported.insert(name);
                continue;
            }
            Err(e) => panic!("{name}: {e}"),
        };
        let found = report.verification.unwrap_or_else(|| panic!("{name}: nothing was compared"));
        for output in &found.outputs {
            assert!(output.largest > 0.0, "{name}, {}: nothing to compare", output.name);
            assert!(output.relative() <= tolerance(&name), "{name}: {output:?}");
            println!("{name}, {}: {:e}", output.name, output.relative());
        }
    }
    let known: BTreeSet<String> = UNSUPPORTED.iter().map(|&n| n.to_owned()).collect();
    assert_eq!(unsupported, known, "models that the engine cannot run");
}

/// What the engine cannot run, the reference evaluator can: before and after, as written and read again.
#[test]
fn the_others_compute_what_they_computed() {
    let dir = tempfile::tempdir().expect("a folder");
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").expect("the default pipeline");
    for path in models("", "onnx") {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if !UNSUPPORTED.contains(&name.as_str()) {
            continue;
        }
        let open =
            |path: &Path| driver.open(Input::from(path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let target = dir.path().join(&name);
        let mut opened = open(&path);
        driver
            .run_and_save(
                &mut opened,
                &pipeline,
                &target,
                &RunOptions::default(),
                &SaveOptions::default(),
                &mut [],
            )
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let compared =
            compare::modules(open(&path).module(), open(&target).module(), tolerance(&name))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(compared.elements > 0, "{name}: nothing to compare");
    }
}
