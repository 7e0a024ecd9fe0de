//! Verification with engines that somebody brings along.

use normfold_driver::{
    Driver, DriverError, Input, ModelSource, RunOptions, SaveOptions, Verify,
    ir::Tensor,
    verify::{Engine, Reference, Refusal, Request, VerifyError, VerifyOptions},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Gives every output the value of a function of how often it was asked, whatever the model.
struct Canned<F>(AtomicU64, F);

impl<F: Fn(u64) -> Result<f64, Refusal>> Canned<F> {
    fn new(f: F) -> Self {
        Self(AtomicU64::new(0), f)
    }
}

impl<F: Fn(u64) -> Result<f64, Refusal>> Engine for Canned<F> {
    fn name(&self) -> &str {
        "canned"
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<Vec<Tensor>>, Refusal> {
        let value = (self.1)(self.0.fetch_add(1, Relaxed))?;
        let output = |(_, dtype): &(_, Option<_>)| {
            let dtype = dtype.ok_or_else(|| Refusal::new("an output without a type"))?;
            Ok(Tensor::floats(dtype, &[1], vec![value]))
        };
        let sample = |_| request.outputs.iter().map(output).collect();
        request.samples.iter().map(sample).collect()
    }
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/resnet_tiny.onnx")
}

/// Folds the model with `--verify` in that engine; gives what happened and whether something was written.
fn fold(engine: &dyn Engine) -> (Result<f64, DriverError>, bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("out.onnx");
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").expect("the default pipeline");
    let mut opened = driver.open(Input::from(&*model())).expect("a model");
    let options = VerifyOptions::default();
    let save = SaveOptions {
        verify: Some(Verify { engine, options: &options }),
        ..SaveOptions::default()
    };
    let run = RunOptions::default();
    let result = driver.run_and_save(&mut opened, &pipeline, &target, &run, &save, &mut []);
    let written = fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(written, usize::from(target.exists()), "nothing else is left");
    (result.map(|r| r.verification.expect("a verification").outputs[0].relative()), written > 0)
}

#[test]
fn what_the_engine_says_decides() {
    let (result, written) = fold(&Canned::new(|i| Ok(1.0 + i as f64 * 1e-6)));
    assert!(result.is_ok_and(|r| (r - 1e-6).abs() < 1e-12) && written);
    let (result, written) = fold(&Canned::new(|i| Ok(1.0 + i as f64 * 1e-4)));
    assert!(matches!(result, Err(DriverError::Different { .. })) && !written);
    let (result, written) = fold(&Canned::new(|i| Ok(if i == 0 { 1.0 } else { f64::NAN })));
    assert!(matches!(result, Err(DriverError::Different { .. })) && !written);
}

#[test]
fn an_engine_that_fails_is_no_verdict() {
    let cannot = |result: Result<f64, DriverError>| match result {
        Err(DriverError::Verify(VerifyError::CannotVerify { why, .. })) => why,
        other => panic!("{other:?}"),
    };
    // Before the fold, and behind it.
    for fails in [0, 1] {
        let refuses = Canned::new(|i| match i == fails {
            true => Err(Refusal { node: Some("/conv1/Conv".into()), ..Refusal::new("too hard") }),
            false => Ok(1.0),
        });
        let (result, written) = fold(&refuses);
        let why = cannot(result);
        assert!(why.contains("conv1") && why.contains("canned says: too hard"), "{why}");
        assert!(!written);
        let panics = Canned::new(|i| if i == fails { panic!("out of order") } else { Ok(1.0) });
        let (result, written) = fold(&panics);
        let why = cannot(result);
        assert!(why.contains("it panicked: out of order"), "{why}");
        assert!(!written);
    }
    let (result, written) = fold(&Canned::new(|_| Ok(f64::INFINITY)));
    assert!(cannot(result).contains("finite") && !written);
}

/// Gives fewer outputs than there are.
struct Forgetful;

impl Engine for Forgetful {
    fn name(&self) -> &str {
        "forgetful"
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<Vec<Tensor>>, Refusal> {
        assert!(matches!(request.model, ModelSource::File { external, .. } if external.is_empty()));
        Ok(vec![Vec::new(); request.samples.len()])
    }
}

#[test]
fn every_output_has_to_be_given() {
    let opened = Driver::new().open(Input::from(&*model())).expect("a model");
    let e = Reference::new(&Forgetful, &opened, &VerifyOptions::default());
    assert!(
        matches!(e, Err(VerifyError::CannotVerify { why, .. }) if why.contains("every output"))
    );
}
