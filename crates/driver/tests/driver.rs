//! The driver as an embedder uses it: failing passes and their reproducers, overflow found while writing, threads.

use normfold_driver::{
    Driver, DriverError, Input, RunOptions, SaveOptions,
    ir::{
        CancelToken, DType, ElementMap, Graph, Module, OpId, OpKind, RemarkArg, RemarkKind, Step,
        UnaryKind, Use, Value,
    },
    passes::{
        Globs, Instrumentation, NoOptions, Pass, PassCx, PassError, PassInfo, PassOutcome, PassRun,
        PassSpec, builtin, pass_options,
    },
};
use std::{fs, path::Path};

const TEXT: &str = r#"module @case {
  graph @main(%x: tensor<1x4xf32>) -> (%y: tensor<1x4xf32>) {
    %y = relu %x "act" : tensor<1x4xf32>
    return %y
  }
}
"#;

/// Panics where it finds a ReLU.
struct Panics;

impl PassSpec for Panics {
    type Options = NoOptions;
    const INFO: PassInfo = PassInfo {
        name: "panics",
        summary: "Panics",
        description: "Panics where it finds a ReLU.",
        statistics: &[],
        reasons: &[],
    };
    fn new(_: NoOptions) -> Self {
        Self
    }
}

impl Pass for Panics {
    fn run(&mut self, graph: &mut Graph, _: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let relu = graph.ops().any(|op| matches!(graph.kind(op), OpKind::Unary(UnaryKind::Relu)));
        assert!(!relu, "a ReLU");
        Ok(PassOutcome::unchanged())
    }
}

/// Leaves the module broken: two values of one name.
struct Breaks;

impl PassSpec for Breaks {
    type Options = NoOptions;
    const INFO: PassInfo = PassInfo {
        name: "breaks",
        summary: "Breaks the module",
        description: "Gives two values one name.",
        statistics: &[],
        reasons: &[],
    };
    fn new(_: NoOptions) -> Self {
        Self
    }
}

impl Pass for Breaks {
    fn run(&mut self, graph: &mut Graph, _: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let values: Vec<Value> = graph.ops().flat_map(|op| graph.results(op)).collect();
        for v in values {
            graph.set_value_name(v, Some("same".into()));
        }
        Ok(PassOutcome::changed())
    }
}

fn driver() -> Driver {
    let mut registry = builtin();
    registry.register::<Panics>();
    registry.register::<Breaks>();
    Driver::with_registry(registry)
}

fn text() -> Input {
    Input::Text { name: "case.nf".into(), text: TEXT.into() }
}

#[test]
fn a_pass_that_panics_leaves_a_reproducer() {
    let dir = tempfile::tempdir().expect("a folder");
    let reproducer = dir.path().join("r.nf");
    let driver = driver();
    let pipeline = driver.parse_pipeline("dce,panics").expect("a pipeline");
    let mut options = RunOptions::default();
    options.reproducer_on_failure = Some(reproducer.clone());
    let mut opened = driver.open(text()).expect("a module");
    let error = driver.run(&mut opened, &pipeline, &options, &mut []).expect_err("a panic");
    assert_eq!(error.exit_code(), 1);
    let DriverError::Pass { error: PassError::Panicked { message, .. }, reproducer: Some(path) } =
        &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((message.as_str(), path), ("a ReLU", &reproducer));
    let written = fs::read_to_string(path).expect("the reproducer");
    assert_eq!(written, format!("// RUN: --passes=dce,panics\n{TEXT}"));

    // It shows the failure again.
    let mut again = driver.open(Input::from(&**path)).expect("the reproducer");
    let pipeline = driver
        .parse_pipeline(again.reproducer_pipeline().expect("a pipeline"))
        .expect("a pipeline");
    let error =
        driver.run(&mut again, &pipeline, &RunOptions::default(), &mut []).expect_err("a panic");
    assert!(matches!(error, DriverError::Pass { error: PassError::Panicked { .. }, .. }));
}

#[test]
fn a_module_in_memory_has_a_reproducer_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let reproducer = dir.path().join("r.nf");
    let driver = driver();
    let pipeline = driver.parse_pipeline("panics").expect("a pipeline");
    let mut options = RunOptions::default();
    options.reproducer_on_failure = Some(reproducer.clone());
    let module = driver.open(text()).expect("a module").into_module();
    let mut opened = driver.open(Input::from(module)).expect("a module");
    driver.run(&mut opened, &pipeline, &options, &mut []).expect_err("a panic");
    assert!(fs::read_to_string(reproducer).expect("the reproducer").ends_with(TEXT));
}

#[test]
fn a_pass_that_breaks_the_module_is_named() {
    let driver = driver();
    let pipeline = driver.parse_pipeline("breaks").expect("a pipeline");
    let mut options = RunOptions::default();
    options.manager = options.manager.verify_each(true);
    let mut opened = driver.open(text()).expect("a module");
    let error = driver.run(&mut opened, &pipeline, &options, &mut []).expect_err("a broken module");
    let DriverError::Pass { error, .. } = error else { panic!("{error:?}") };
    assert_eq!(&**error.pass(), "breaks");
}

#[test]
fn a_failed_run_writes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("out.nf");
    let driver = driver();
    let pipeline = driver.parse_pipeline("panics").expect("a pipeline");
    let mut opened = driver.open(text()).expect("a module");
    driver
        .run_and_save(
            &mut opened,
            &pipeline,
            &output,
            &RunOptions::default(),
            &SaveOptions::default(),
            &mut [],
        )
        .expect_err("a panic");
    assert!(!output.exists());
}

#[test]
fn drivers_work_side_by_side() {
    let driver = driver();
    let pipeline = driver.parse_pipeline("fold-bn,dce").expect("a pipeline");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/awkward.onnx");
    let texts: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut opened = driver.open(Input::from(&*model)).expect("a model");
                    driver
                        .run(&mut opened, &pipeline, &RunOptions::default(), &mut [])
                        .expect("a run");
                    opened.to_text(&Default::default()).expect("text")
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("a worker")).collect()
    });
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn every_error_has_an_exit_code() {
    let driver = driver();
    let code = |r: Result<(), DriverError>| r.expect_err("an error").exit_code();
    assert_eq!(code(driver.parse_pipeline("nothing").map(drop)), 2);
    assert_eq!(code(driver.open(Input::Path("/no/such/file".into())).map(drop)), 3);
    let bytes = b"\x00".to_vec();
    assert_eq!(code(driver.open(Input::Bytes { name: "b".into(), bytes }).map(drop)), 4);
    let wrong = Input::Text { name: "t".into(), text: "module".into() };
    assert_eq!(code(driver.open(wrong).map(drop)), 4);
    let module = driver.open(text()).expect("a module").into_module();
    let opened = driver.open(Input::from(module)).expect("a module");
    assert_eq!(code(driver.save(&opened, Path::new("x"), &SaveOptions::default()).map(drop)), 5);
}

pass_options! {
    /// Those of `fold-bn` that the driver sets.
    struct OverflowOptions {
        /// Keep these.
        overflowing: Globs = Globs::default(),
    }
}

/// In the place of `fold-bn`: "folds" by a factor that no f32 survives.
struct Overflows {
    options: OverflowOptions,
}

impl PassSpec for Overflows {
    type Options = OverflowOptions;
    const INFO: PassInfo = PassInfo {
        name: "fold-bn",
        summary: "Overflows",
        description: "Multiplies weights by 1e300.",
        statistics: &[],
        reasons: &[],
    };
    fn new(options: OverflowOptions) -> Self {
        Self { options }
    }
}

impl Pass for Overflows {
    fn run(&mut self, g: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let norms: Vec<OpId> = g
            .topo_order()
            .unwrap_or_default()
            .into_iter()
            .filter(|&op| matches!(g.kind(op), OpKind::BatchNorm(_)))
            .collect();
        for bn in norms {
            let Some(conv) = g.operand(bn, 0).map(|v| v.op) else { continue };
            let Some(weight) = g.operand(conv, 1).map(|v| v.op) else { continue };
            let OpKind::Constant(c) = *g.kind(weight) else { continue };
            if self.options.overflowing.matches(&g.location(bn)) {
                let kept = cx.about(g, bn, RemarkKind::Missed, "overflow", "it overflows");
                cx.remark(kept);
                continue;
            }
            let mut folded = cx.about(g, bn, RemarkKind::Passed, "folded", "by far");
            folded.args.push(("absorbers", RemarkArg::List([g.location(conv)].into())));
            cx.remark(folded);
            let x = g.operand(bn, 0);
            cx.rewrite(g, |rw| {
                let pool = rw.constants_mut();
                let factors = pool.add_f64(DType::F64, &[1], &[1e300]);
                let entry =
                    pool.derive(c.entry, Step::Scale { map: ElementMap::single(), factors });
                rw.set_constant(weight, entry);
                // The rest of the batch norm stays: it is the weights that matter here.
                rw.set_operand(Use { user: bn, operand: 0 }, x);
            });
        }
        Ok(PassOutcome::changed())
    }
}

#[test]
fn overflow_found_while_writing_keeps_the_batch_norm() {
    let mut registry = builtin();
    registry.register::<Overflows>();
    let driver = Driver::with_registry(registry);
    let pipeline = driver.parse_pipeline("fold-bn").expect("a pipeline");
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("out.onnx");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/opset14.onnx");
    let mut opened = driver.open(Input::from(&*model)).expect("a model");
    let report = driver
        .run_and_save(
            &mut opened,
            &pipeline,
            &output,
            &RunOptions::default(),
            &SaveOptions::default(),
            &mut [],
        )
        .expect("a run");
    // One constant is found at a time.
    assert_eq!((report.repeats, report.batch_norms.folded), (2, 0));
    assert_eq!(report.batch_norms.kept["overflow"], 2);
    assert_eq!(report.pipeline, "fold-bn");
    assert_eq!(fs::read(&model).expect("the model"), fs::read(&output).expect("the output"));
}

const LAYERS: &str = r#"module @case {
  graph @main(%x: tensor<2x3xf32>) -> (%y: tensor<2x2xf32>, %z: tensor<2x2xf32>) {
    %w = constant dense<[1.0, -2.0, 0.5, 0.0, 4.0, 0.0]> : tensor<3x2xf32>
    %u = constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<2x2xf32>
    %gamma = constant dense<[2.0, 0.0]> : tensor<2xf32>
    %beta = constant dense<[0.5, 0.25]> : tensor<2xf32>
    %mean = constant dense<[1.0, 0.0]> : tensor<2xf32>
    %var = constant dense<[1.0, 1.0]> : tensor<2xf32>
    %c = linear %x, %w : tensor<2x2xf32>
    %n = batch_norm %c, %gamma, %beta, %mean, %var {eps = 0.0} "first" : tensor<2x2xf32>
    %r = relu %n : tensor<2x2xf32>
    %y = batch_norm %r, %gamma, %beta, %mean, %var {eps = 0.0} "second" : tensor<2x2xf32>
    %m = batch_norm %r, %gamma, %beta, %mean, %var {eps = 0.0} "third" : tensor<2x2xf32>
    %z = linear %m, %u "ahead" : tensor<2x2xf32>
    return %y, %z
  }
}
"#;

/// Whichever way a fold goes, ranges are those of output channels; ops without a name are told apart.
#[test]
fn ranges_are_measured_when_asked_for() {
    let driver = driver();
    let pipeline = driver.parse_pipeline("fold-bn,dce").expect("a pipeline");
    let open = || {
        let text = LAYERS.into();
        driver.open(Input::Text { name: "case".into(), text }).expect("a module")
    };
    let mut options = RunOptions::default();
    let report = driver.run(&mut open(), &pipeline, &options, &mut []).expect("a run");
    assert_eq!(report.layers, None);
    options.ranges = true;
    let report = driver.run(&mut open(), &pipeline, &options, &mut []).expect("a run");
    let layers = report.layers.expect("layers");
    let of = |i: usize| {
        let l = &layers[i];
        let values = |r: &normfold_driver::passes::LayerRanges| r.values.clone().expect("elements");
        (l, values(&l.before), values(l.after.as_ref().expect("the op")))
    };
    assert_eq!(layers.len(), 2);
    let (back, before, after) = of(0);
    assert_eq!((&*back.location, back.folds.len(), back.before.channels), ("c", 1, 2));
    assert_eq!((before.min, before.max), (vec![0.5, 0.0], vec![4.0, 2.0]));
    assert_eq!((&after.max, after.bias.as_deref()), (&vec![8.0, 0.0], Some(&[-1.5, 0.25][..])));
    assert_eq!(after.dead().collect::<Vec<_>>(), [1]);
    let (ahead, before, after) = of(1);
    assert_eq!((&*ahead.location, &*ahead.folds[0]), ("ahead", "third"));
    assert_eq!((before.min, before.max), (vec![1.0, 2.0], vec![3.0, 4.0]));
    // Rows are input channels: the second one is scaled by 0.
    assert_eq!((after.min, after.max), (vec![0.0, 0.0], vec![2.0, 4.0]));
    assert_eq!(after.bias, Some(vec![-1.5 + 0.75, -3.0 + 1.0]));
}

const MODEL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/mobilenet_v2_x025.onnx");

#[test]
fn what_is_encoded_is_what_is_saved() {
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("default").unwrap();
    let options = RunOptions::default();
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.onnx");
    let mut opened = driver.open(Input::from(Path::new(MODEL))).unwrap();
    let save = SaveOptions::default();
    let saved =
        driver.run_and_save(&mut opened, &pipeline, &output, &options, &save, &mut []).unwrap();
    let bytes = fs::read(MODEL).unwrap();
    let mut opened = driver.open(Input::Bytes { name: "model".into(), bytes }).unwrap();
    let (report, encoded) =
        driver.run_and_encode(&mut opened, &pipeline, &options, &mut []).unwrap();
    assert!(encoded == fs::read(&output).unwrap());
    assert_eq!(report.batch_norms, saved.batch_norms);
    assert_eq!(report.size, saved.size);
    assert_eq!(report.largest_rounding, saved.largest_rounding);
}

/// Asks to stop as soon as the first pass is over.
struct Impatient(CancelToken);

impl Instrumentation for Impatient {
    fn after_pass(&mut self, _: &PassRun, _: &Module, _: bool) {
        self.0.cancel();
    }
}

#[test]
fn who_asks_to_stop_is_heard_before_a_pass_and_while_writing() {
    let driver = Driver::new();
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.onnx");
    // After the last pass there is only the writing left.
    for (text, before) in [("fold-bn,dce", true), ("fold-bn", true), ("fold-bn", false)] {
        let options = RunOptions::default();
        let mut impatient = Impatient(options.cancel.clone());
        if before && text == "fold-bn" {
            options.cancel.cancel();
        }
        let mut opened = driver.open(Input::from(Path::new(MODEL))).unwrap();
        let pipeline = driver.parse_pipeline(text).unwrap();
        let save = SaveOptions { threads: 2, ..SaveOptions::default() };
        let error = driver
            .run_and_save(&mut opened, &pipeline, &output, &options, &save, &mut [&mut impatient])
            .unwrap_err();
        assert!(matches!(error, DriverError::Cancelled), "{text}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{text}: something is left");
    }
}
