//! Whole models before and after the default pipeline, in an inference engine that is not ours, without its optimizations.

use normfold_driver::{Driver, Input, RunOptions, SaveOptions};
use normfold_tests::{compare, inputs, models};
use rten::{Dimension, Model, ModelOptions, Value, ValueType};
use rten_tensor::{AsView, Layout, Tensor};
use std::{collections::BTreeSet, error::Error, path::Path};

/// Models that the engine does not read or run: it wants strides and dilations spelled out, and knows neither old operator
/// sets, training, functions, custom operators, 3-D transposed convolutions nor external data. The reference evaluator
/// judges these here, onnxruntime in `tests/conformance`.
const UNSUPPORTED: &[&str] = &[
    "annotated.onnx",
    "constant_nodes.onnx",
    "custom_domain.onnx",
    "dcgan_groups.onnx",
    "external.onnx",
    "if_captures.onnx",
    "ir3_inputs.onnx",
    "local_function.onnx",
    "loop_body.onnx",
    "opset14.onnx",
    "opset14_training.onnx",
    "opset6_is_test.onnx",
    "opset6_training.onnx",
    "opset7.onnx",
    "opset7_spatial0.onnx",
    "opset9_training.onnx",
    "overridable.onnx",
    "small_train.onnx",
    "typed_fields.onnx",
    "unknown_fields.onnx",
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
    let mut unsupported = BTreeSet::new();
    for path in models("", "onnx") {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let before = match outputs(&path) {
            Ok(outputs) => outputs,
            Err(e) => {
                println!("{name}: {e}");
                unsupported.insert(name);
                continue;
            }
        };
        let target = dir.path().join(&name);
        let mut opened = driver.open(Input::from(&*path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let report = driver
            .run_and_save(
                &mut opened,
                &pipeline,
                &target,
                &RunOptions::default(),
                &SaveOptions::default(),
                &mut [],
            )
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let after = outputs(&target).unwrap_or_else(|e| panic!("{name}, folded: {e}"));
        assert_eq!(before.len(), after.len(), "{name}");
        for (i, (a, b)) in before.iter().zip(&after).enumerate() {
            assert_eq!(a.0, b.0, "{name}, output {i}: shape");
            let largest = a.1.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let worst = a.1.iter().zip(&b.1).fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(largest > 0.0 && largest.is_finite(), "{name}, output {i}: nothing to compare");
            assert!(
                f64::from(worst) <= tolerance(&name) * f64::from(largest),
                "{name}, output {i}: {worst:e} apart, the largest is {largest:e}"
            );
            println!(
                "{name}: {} folded, output {i}: {:e}",
                report.batch_norms.folded,
                worst / largest
            );
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

type Output = (Vec<usize>, Vec<f32>);

/// Runs a model on deterministic inputs.
fn outputs(path: &Path) -> Result<Vec<Output>, Box<dyn Error>> {
    let mut options = ModelOptions::with_all_ops();
    options.enable_optimization(false);
    let model: Model = options.load_file(path)?;
    let mut given = Vec::new();
    for &id in model.input_ids() {
        let info = model.node_info(id).ok_or("an input without a node")?;
        let name = info.name().unwrap_or_default();
        let dims = info.shape().ok_or("an input without a shape")?;
        let dims: Vec<usize> = dims
            .into_iter()
            .map(|d| match d {
                Dimension::Fixed(n) => n,
                Dimension::Symbolic(_) => inputs::FREE as usize,
            })
            .collect();
        let n: usize = dims.iter().product();
        let seed = inputs::seed(name);
        let value: Value = match info.dtype() {
            Some(ValueType::Tensor(rten::DataType::Int32)) => Tensor::from_data(
                &dims,
                (0..n).map(|i| (inputs::mix(seed ^ i as u64) % 2) as i32).collect::<Vec<_>>(),
            )
            .into(),
            _ => Tensor::from_data(
                &dims,
                (0..n).map(|i| inputs::unit(seed, i as u64) as f32).collect::<Vec<_>>(),
            )
            .into(),
        };
        given.push((id, value.into()));
    }
    let results = model.run(given, model.output_ids(), None)?;
    results
        .into_iter()
        .map(|v| {
            let t: Tensor<f32> = v.try_into()?;
            Ok((t.shape().to_vec(), t.to_vec()))
        })
        .collect()
}
