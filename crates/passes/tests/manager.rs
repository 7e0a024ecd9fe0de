//! How pipelines run: hooks, blame, budgets, fixpoints, reports.

use normfold_ir::{
    DType, Graph, GraphRole, Identity, Module, OpSpec, Parameter, RemarkKind, Return, TensorType,
    UnaryKind, Value,
};
use normfold_passes::{
    Dce, Instrumentation, ManagerOptions, NO_CONVERGENCE, NoOptions, Pass, PassCall, PassCx,
    PassError, PassInfo, PassManager, PassOutcome, PassRun, Pipeline, PipelineReport, builtin,
};

/// `%y = relu %x` is returned; `dead` further ops read each other and nobody else.
fn module(dead: usize) -> Module {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let ty = TensorType::of(DType::F32, &[2]);
    let x = g.create(OpSpec::new(Parameter::default()).named_result("x", ty.clone()));
    let mut last = Value::new(x, 0);
    let y = g.create(OpSpec::new(UnaryKind::Relu).operand(last).named_result("y", ty.clone()));
    for i in 0..dead {
        let op =
            OpSpec::new(UnaryKind::Neg).operand(last).named_result(format!("d{i}"), ty.clone());
        last = Value::new(g.create(op), 0);
    }
    g.create(OpSpec::new(Return::default()).operand(Value::new(y, 0)));
    m.add_graph(g);
    m
}

const INFO: PassInfo =
    PassInfo { name: "test", summary: "", description: "", statistics: &[], reasons: &[] };

struct FnPass<F>(F);

impl<F> Pass for FnPass<F>
where
    F: FnMut(&mut Graph, &mut PassCx<'_>) -> Result<PassOutcome, PassError> + Send,
{
    fn run(&mut self, g: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        (self.0)(g, cx)
    }
}

fn pass<F>(f: F) -> PassCall
where
    F: FnMut(&mut Graph, &mut PassCx<'_>) -> Result<PassOutcome, PassError>
        + Clone
        + Send
        + Sync
        + 'static,
{
    PassCall::from_fn(INFO, move || Box::new(FnPass(f.clone())))
}

fn run(p: &Pipeline, m: &mut Module) -> Result<PipelineReport, PassError> {
    PassManager::default().run(p, m)
}

#[derive(Default)]
struct Log(Vec<String>);

impl Instrumentation for Log {
    fn before_pass(&mut self, run: &PassRun, m: &Module) {
        self.0.push(format!("before {} {} {}", run.call, run.run, ops(m)));
    }
    fn after_pass(&mut self, run: &PassRun, m: &Module, changed: bool) {
        self.0.push(format!("after {} {} {changed}", run.name, ops(m)));
    }
    fn failed(&mut self, run: &PassRun, error: &PassError) {
        self.0.push(format!("failed {} {}", run.position, error.pass()));
    }
}

fn ops(m: &Module) -> usize {
    m.graph_ids().map(|g| m.graph(g).len()).sum()
}

#[test]
fn hooks_see_every_pass() {
    let p = Pipeline::new()
        .fixpoint(Pipeline::new().with::<Dce>(NoOptions))
        .then(pass(|g, cx| Err(cx.internal(g, g.parameters()[0], "made to fail"))));
    let mut log = Log::default();
    let mut m = module(3);
    let error = PassManager::default().run_with(&p, &mut m, &mut [&mut log]).unwrap_err();
    assert_eq!(
        log.0,
        [
            "before dce 1 6",
            "after dce 3 true",
            "before dce 2 3",
            "after dce 3 false",
            "before test 1 3",
            "failed 1 test"
        ]
    );
    assert!(error.to_string().starts_with(r#"pass `test` failed at "x": made to fail"#), "{error}");
}

#[test]
fn a_panic_is_blamed_on_its_pass() {
    let mut m = module(0);
    let error = run(&Pipeline::new().then(pass(|_, _| panic!("slot {}", 7))), &mut m).unwrap_err();
    let expected =
        PassError::Panicked { pass: "test".into(), graph: "main".into(), message: "slot 7".into() };
    assert_eq!(error, expected);
}

#[test]
fn the_interface_may_not_change() {
    let renames = pass(|g, _| {
        let x = g.result(g.parameters()[0], 0);
        g.set_value_name(x, Some("other".into()));
        Ok(PassOutcome::changed())
    });
    let retypes = pass(|g, _| {
        let y = g.operand(g.return_op().unwrap(), 0).unwrap();
        g.set_ty(y, TensorType::of(DType::F16, &[2]));
        Ok(PassOutcome::changed())
    });
    let returns_other = pass(|g, _| {
        let (x, r) = (g.result(g.parameters()[0], 0), g.return_op().unwrap());
        g.set_operand(normfold_ir::Use { user: r, operand: 0 }, Some(x));
        Ok(PassOutcome::changed())
    });
    for (call, said) in [
        (renames, r#"parameter 0 was "x" of type tensor<2xf32>, is "other""#),
        (retypes, r#"result 0 was "y" of type tensor<2xf32>, is "y" of type tensor<2xf16>"#),
        (returns_other, r#"result 0 was "y" of type tensor<2xf32>, is "x""#),
    ] {
        let options = ManagerOptions::default().verify_each(false);
        let p = Pipeline::new().then(call);
        let error = PassManager::new(options).run(&p, &mut module(0)).unwrap_err();
        assert!(matches!(error, PassError::Interface { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn the_verifier_blames_the_pass_that_broke_the_module() {
    let idle = pass(|_, _| Ok(PassOutcome::unchanged()));
    let drops_operand = pass(|g, _| {
        let y = g.operand(g.return_op().unwrap(), 0).unwrap();
        g.set_operand(normfold_ir::Use { user: y.op, operand: 0 }, None);
        Ok(PassOutcome::unchanged())
    });
    let options = ManagerOptions::default().verify_each(true);
    let run = |p: &Pipeline, m: &mut Module| PassManager::new(options).run(p, m);
    let mut m = module(0);
    let p = Pipeline::new().then(idle.clone()).then(drops_operand);
    let error = run(&p, &mut m).unwrap_err();
    assert!(matches!(error, PassError::Verify { .. }), "{error}");
    let error = run(&Pipeline::new().then(idle), &mut m).unwrap_err();
    assert!(matches!(error, PassError::BrokenInput { .. }), "{error}");
    assert!(error.to_string().contains("the module is not valid"), "{error}");
    assert!(run(&Pipeline::new(), &mut m).is_ok());
}

#[test]
fn the_budget_is_one_for_all() {
    let p = Pipeline::parse("dce,fixpoint(dce,canonicalize)", &builtin()).unwrap();
    for limit in 0..=5 {
        let options = ManagerOptions::default().stop_after_rewrites(Some(limit));
        let mut m = module(4);
        let report = PassManager::new(options).run(&p, &mut m).unwrap();
        assert_eq!(report.rewrites(), limit.min(4));
        assert_eq!(ops(&m) as u64, 7 - limit.min(4));
        assert_eq!(report.stopped, limit <= 4);
        assert_eq!(report.passes.len(), 3);
    }
}

#[test]
fn statistics_and_rewrites_are_reported() {
    let p = Pipeline::parse("dce,canonicalize", &builtin()).unwrap();
    let report = run(&p, &mut module(3)).unwrap();
    assert!(report.changed());
    let dce = &report.passes[0];
    assert_eq!((dce.name, dce.rewrites, dce.changed, dce.runs), ("dce", 3, true, 1));
    assert_eq!((dce.statistics["erased"], dce.statistics["constants"]), (3, 0));
    assert!(!report.passes[1].changed);
}

#[test]
fn a_fixpoint_gives_the_verdicts_of_its_last_round() {
    let mut rounds = 0;
    let call = pass(move |g, cx| {
        rounds += 1;
        let op = g.return_op().unwrap();
        cx.remark(cx.about(g, op, RemarkKind::Missed, "not-yet", format!("round {rounds}")));
        cx.remark(cx.about(g, op, RemarkKind::Passed, "done", format!("round {rounds}")));
        Ok(PassOutcome::from_changed(rounds < 3))
    });
    let report =
        run(&Pipeline::new().fixpoint(Pipeline::new().then(call)), &mut module(0)).unwrap();
    let said: Vec<_> = report.remarks.iter().map(|r| (r.code, r.message.as_str())).collect();
    assert_eq!(
        said,
        [("done", "round 1"), ("done", "round 2"), ("not-yet", "round 3"), ("done", "round 3")]
    );
    assert_eq!((report.passes[0].runs, report.remarks[0].pass), (3, "test"));
}

#[test]
fn a_fixpoint_without_end_is_a_failure_remark() {
    let restless = pass(|_, _| Ok(PassOutcome::changed()));
    let p = Pipeline::new().fixpoint(Pipeline::new().then(restless));
    let report = run(&p, &mut module(0)).unwrap();
    let remark = &report.remarks[0];
    assert_eq!((remark.kind, remark.code), (RemarkKind::Failure, NO_CONVERGENCE));
    assert_eq!(report.passes[0].runs, normfold_passes::DEFAULT_ROUNDS);
}

#[test]
fn bodies_come_first() {
    let mut m = Module::new("m");
    let body = Graph::new("body", GraphRole::Body);
    let inner = m.add_graph(body);
    let mut g = Graph::new("main", GraphRole::Main);
    g.create(OpSpec::new(normfold_ir::If::default()).region(inner));
    g.create(OpSpec::new(Return::default()));
    m.add_graph(g);
    let call = pass(|g, cx| {
        if let Some(op) = g.ops().next() {
            cx.remark(cx.about(g, op, RemarkKind::Analysis, "seen", &**g.name()));
        } else {
            let r = g.create(OpSpec::new(Return::default()));
            cx.remark(cx.about(g, r, RemarkKind::Analysis, "seen", &**g.name()));
        }
        Ok(PassOutcome::unchanged())
    });
    let options = ManagerOptions::default().verify_each(false);
    let report = PassManager::new(options).run(&Pipeline::new().then(call), &mut m).unwrap();
    let seen: Vec<_> = report.remarks.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(seen, ["body", "main"]);
}

#[test]
fn patterns_that_undo_each_other_are_stopped() {
    use normfold_ir::{MatchCx, Miss, NoReason, OpId, PatternRewriter, PatternSet, RewritePattern};
    struct Flip;
    impl RewritePattern for Flip {
        type Match = OpId;
        type Reason = NoReason;
        const NAME: &'static str = "flip";
        fn check(&self, g: &Graph, root: OpId, _: MatchCx<'_>) -> Result<OpId, Miss<NoReason>> {
            if g.num_operands(root) == 1 && g.num_results(root) == 1 {
                Ok(root)
            } else {
                Err(Miss::NoMatch)
            }
        }
        fn rewrite(&self, op: OpId, rw: &mut PatternRewriter<'_>) {
            rw.set_kind(op, Identity::default());
        }
    }
    let call = pass(|g, cx| {
        let total = cx.apply_greedily(g, &PatternSet::default().with(Flip)).total();
        Ok(PassOutcome::from_changed(total > 0))
    });
    let report = run(&Pipeline::new().then(call), &mut module(0)).unwrap();
    assert_eq!(report.remarks[0].code, NO_CONVERGENCE);
    assert!(report.remarks[0].message.contains("`flip`"));
    assert_eq!(report.passes[0].statistics["flip"], report.rewrites());
}

#[test]
fn everything_can_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Pipeline>();
    check::<PassManager>();
    check::<PipelineReport>();
    check::<PassError>();
    check::<normfold_passes::PassRegistry>();
    check::<normfold_passes::PipelineError>();
    check::<normfold_passes::CertainTypes>();
}
