//! Random modules compute what they computed, whatever pipeline ran. The module's text, which a failure's message holds,
//! becomes a golden case.

use arbtest::arbitrary::{Result, Unstructured};
use normfold_driver::Driver;
use normfold_ir::{
    DType, Graph, Module, OpKind, Type, Value,
    text::{self, PrintOptions, Weights},
};
use normfold_passes::ManagerOptions;
use normfold_property::holds;
use normfold_tests::{compare, random, round_trip};

/// What a random module is made of.
struct Elements {
    types: Vec<DType>,
    /// How far results may be apart, relative to the largest; not judged without.
    tolerance: Option<f64>,
}

/// In f64 rounding hides nothing; f32 is what models have.
fn of_one_type(u: &mut Unstructured<'_>) -> Result<Elements> {
    let wide = u.ratio(3, 4)?;
    let (dtype, tolerance) = if wide { (DType::F64, 1e-9) } else { (DType::F32, 1e-3) };
    Ok(Elements { types: vec![dtype], tolerance: Some(tolerance) })
}

/// Where weights are rounded to few digits, sums that cancel leave none of them: how closely a fold agrees is for its
/// certificate to say, which fails the run.
fn of_several_types(u: &mut Unstructured<'_>) -> Result<Elements> {
    let mut types = vec![DType::F32, DType::F64];
    let narrow = u.ratio(2, 3)?;
    if narrow {
        types.extend([DType::F16, DType::BF16]);
    }
    let first = u.int_in_range(0..=types.len() - 1)?;
    types.rotate_left(first);
    Ok(Elements { types, tolerance: (!narrow).then_some(1e-3) })
}

fn check(pipeline: &str) {
    check_with(pipeline, of_one_type);
}

fn check_with(pipeline: &str, elements: fn(&mut Unstructured<'_>) -> Result<Elements>) {
    let driver = Driver::new();
    let parsed = driver.parse_pipeline(pipeline).expect("a pipeline");
    let clean = driver.parse_pipeline("dce").expect("a pipeline");
    let options = ManagerOptions::default().verify_each(true);
    let runs = |pass: &str| pipeline.contains(pass);
    let (tidies, lowers) = (runs("cse") || runs("simplify"), runs("lower-bn"));
    holds(400, |u| {
        let Elements { types, tolerance } = elements(u)?;
        let mut before = random::module(u, &types)?;
        // A reader that nothing reads keeps a batch norm in the first run, and is gone in the second.
        driver.run_module(&mut before, &clean, options, &mut []).unwrap_or_else(|e| panic!("{e}"));
        let text = text::print(&before, &PrintOptions { weights: Weights::Full }).expect("text");
        let told = |what: &str| format!("{what}, by --passes={pipeline}:\n{text}");
        if let Err(e) = normfold_ir::verify(&before) {
            panic!("the generator makes invalid modules: {e}\n{text}");
        }
        round_trip(&before).unwrap_or_else(|e| panic!("{}", told(&e)));

        let mut after = before.clone();
        let report = driver
            .run_module(&mut after, &parsed, options, &mut [])
            .unwrap_or_else(|e| panic!("{}", told(&e.to_string())));
        if let Some(t) = tolerance {
            compare::modules(&before, &after, t).unwrap_or_else(|e| panic!("{}", told(&e)));
        }
        round_trip(&after).unwrap_or_else(|e| panic!("{}", told(&e)));
        let norms = report.batch_norms;
        assert_eq!(
            norms.total,
            norms.folded + norms.kept_total() + norms.removed,
            "{}",
            told("a batch norm has several verdicts")
        );
        if !tidies {
            assert_eq!(norms.removed, 0, "{}", told("a batch norm has no verdict"));
        }
        if !lowers {
            let left = left(&after);
            assert_eq!(left, norms.kept_total(), "{}", told("not what is kept is left"));
        }

        let again = driver
            .run_module(&mut after, &parsed, options, &mut [])
            .unwrap_or_else(|e| panic!("{}", told(&e.to_string())));
        let changing: Vec<_> = again.passes.iter().filter(|p| p.changed).collect();
        assert!(
            changing.is_empty(),
            "{}",
            told(&format!("a second run changes something: {changing:?}"))
        );
        Ok(())
    });
}

/// The batch norms of a module.
fn left(module: &Module) -> u64 {
    let is_norm = |g: &Graph, op| matches!(g.kind(op), OpKind::BatchNorm(_));
    let of = |g: &Graph| g.ops().filter(|&op| is_norm(g, op)).count() as u64;
    module.graph_ids().map(|id| of(module.graph(id))).sum()
}

#[test]
fn folding_keeps_values() {
    check("fold-bn,dce");
}

#[test]
fn folding_among_casts_keeps_values() {
    check_with("fold-bn,dce", of_several_types);
}

#[test]
fn simplifying_among_casts_keeps_values() {
    check_with("simplify", of_several_types);
}

#[test]
fn folding_after_canonicalizing_keeps_values() {
    check("canonicalize,fold-bn,dce");
}

#[test]
fn simplifying_keeps_values() {
    check("simplify");
}

#[test]
fn merging_keeps_values() {
    check("fixpoint(fold-bn,merge-parallel-linear,dce)");
}

#[test]
fn residual_shifts_and_float_biases_keep_values() {
    check("fold-bn{residual-shift=add quantized-bias=float},dce");
}

#[test]
fn lowering_keeps_values() {
    check("fold-bn,lower-bn,const-fold,dce");
}

#[test]
fn merging_equals_keeps_values() {
    check("fixpoint(fold-bn,cse,dce)");
}

#[test]
fn inferring_between_other_passes_keeps_values() {
    check("infer-shapes,simplify,infer-shapes");
}

/// What follows without any declaration of an intermediate value is what the generator declared.
#[test]
fn inferred_types_are_the_declared_ones() {
    let driver = Driver::new();
    let parsed = driver.parse_pipeline("infer-shapes").expect("a pipeline");
    let mut inferred = 0;
    holds(400, |u| {
        let Elements { types, .. } = of_several_types(u)?;
        let told = random::module(u, &types)?;
        let mut bare = told.clone();
        for id in told.graph_ids() {
            let g = told.graph(id);
            for v in intermediate(g) {
                bare.graph_mut(id).set_ty(v, Type::Unknown);
            }
        }
        let options = ManagerOptions::default().verify_each(true);
        driver.run_module(&mut bare, &parsed, options, &mut []).unwrap_or_else(|e| panic!("{e}"));
        for id in told.graph_ids() {
            let g = told.graph(id);
            for v in intermediate(g) {
                let found = bare.graph(id).ty(v);
                let op = g.location(v.op);
                assert!(found.compatible(g.ty(v)), "{op:?}: {found}, declared {}", g.ty(v));
                inferred += u32::from(*found != Type::Unknown);
            }
        }
        Ok(())
    });
    assert!(inferred > 1000, "{inferred} types");
}

/// The values that are neither given to a graph nor constant nor its results.
fn intermediate(g: &Graph) -> Vec<Value> {
    let results: Vec<Value> =
        g.return_op().into_iter().flat_map(|r| g.operands(r)).flatten().collect();
    let given = |op| matches!(g.kind(op), OpKind::Parameter(_) | OpKind::Constant(_));
    let ops = g.ops().filter(|&op| !given(op));
    ops.flat_map(|op| g.results(op)).filter(|v| !results.contains(v)).collect()
}

#[test]
fn the_generator_makes_what_folds_and_what_does_not() {
    let driver = Driver::new();
    let parsed = driver.parse_pipeline("fold-bn").expect("a pipeline");
    let (mut folded, mut kept) = (0, std::collections::BTreeSet::new());
    holds(300, |u| {
        let mut module = random::module(u, &[DType::F64])?;
        let report = driver
            .run_module(&mut module, &parsed, ManagerOptions::default(), &mut [])
            .unwrap_or_else(|e| panic!("{e}"));
        folded += report.batch_norms.folded;
        kept.extend(report.batch_norms.kept.keys().copied());
        Ok(())
    });
    assert!(folded > 50, "{folded}");
    assert!(kept.len() > 4, "{kept:?}");
}
