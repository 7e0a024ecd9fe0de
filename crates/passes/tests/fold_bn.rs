//! `fold-bn` on every kind of linear op, judged on whole tensors by the evaluator.

use normfold_ir::{
    BatchNorm, ConstPool, Constant, Conv, ConvTranspose, DType, DataLayout, Graph, GraphRole,
    KernelLayout, KernelOrder, Linear, MatMul, Module, OpKind, OpSpec, Padding, Parameter,
    RemarkKind, Return, Spatial, TensorType, Type, Value,
    eval::{Binding, Evaluator, Tensor},
};
use normfold_passes::{FoldBn, FoldBnOptions, Pairs, PassManager, Pipeline, builtin};

/// Deterministic values in [−1, 1], no two neighbours alike.
fn values(n: u64, seed: u64) -> Vec<f64> {
    (0..n)
        .map(|i| f64::from(((i * 2_654_435_761 + seed * 40_503) >> 7) as u32 % 2001) / 1000.0 - 1.0)
        .collect()
}

struct Case {
    kind: OpKind,
    x: Vec<u64>,
    w: Vec<u64>,
    bias: Option<Vec<u64>>,
    channels: u64,
    axis: u32,
    weight_left: bool,
}

fn constant(g: &mut Graph, pool: &mut ConstPool, name: &str, dims: &[u64], v: &[f64]) -> Value {
    let entry = pool.add_f64(DType::F32, dims, v);
    let op = g.create(OpSpec::new(Constant::new(entry)).named_result(name, pool.ty(entry).clone()));
    Value::new(op, 0)
}

fn module(c: &Case) -> Module {
    let mut m = Module::new("case");
    let mut g = Graph::new("main", GraphRole::Main);
    let pool = &mut m.constants;
    let count = |dims: &[u64]| dims.iter().product();
    let x = g.create(
        OpSpec::new(Parameter::default()).named_result("x", TensorType::of(DType::F32, &c.x)),
    );
    let x = Value::new(x, 0);
    let w = constant(&mut g, pool, "w.weight", &c.w, &values(count(&c.w), 1));
    let (first, second) = if c.weight_left { (w, x) } else { (x, w) };
    let bias = c.bias.as_ref().map(|d| constant(&mut g, pool, "w.bias", d, &values(count(d), 2)));
    let y = g.create(
        OpSpec::new(c.kind.clone())
            .operand(first)
            .operand(second)
            .operands(bias.map(Some))
            .result(Type::Unknown),
    );
    let n = [c.channels];
    let gamma = constant(&mut g, pool, "gamma", &n, &values(c.channels, 3));
    let beta = constant(&mut g, pool, "beta", &n, &values(c.channels, 4));
    let mean = constant(&mut g, pool, "mean", &n, &values(c.channels, 5));
    let spread: Vec<f64> = values(c.channels, 6).iter().map(|v| v.abs() + 0.1).collect();
    let variance = constant(&mut g, pool, "variance", &n, &spread);
    let operands = [Value::new(y, 0), gamma, beta, mean, variance].map(Some);
    let bn = OpSpec::new(BatchNorm { axis: c.axis, ..BatchNorm::default() }).operands(operands);
    let bn = g.create(bn.named_result("out", Type::Unknown).name("bn"));
    g.create(OpSpec::new(Return::default()).operand(Value::new(bn, 0)));
    m.add_graph(g);
    m
}

fn evaluate(m: &Module, x: &[u64]) -> Vec<f64> {
    let main = m.main().expect("a main graph");
    let g = m.graph(main);
    let mut e = Evaluator::new(g, &m.constants);
    let data = values(x.iter().product(), 7);
    let p = g.parameters()[0];
    e.bind(Value::new(p, 0), Binding::Tensor(Tensor::floats(DType::F32, x, data)));
    let ret = g.return_op().expect("a return");
    let y = g.operand(ret, 0).expect("a result");
    e.tensor(y).expect("evaluable").to_f64s()
}

fn check(c: &Case) {
    let mut m = module(c);
    let before = evaluate(&m, &c.x);
    let pipeline = Pipeline::parse("fold-bn,dce", &builtin()).expect("a pipeline");
    let report = PassManager::default().run(&pipeline, &mut m).expect("no failure");
    let remarks: Vec<String> = report.remarks.iter().map(ToString::to_string).collect();
    assert!(
        report.remarks.iter().all(|r| r.kind == RemarkKind::Passed),
        "{:?}: {remarks:?}",
        c.kind
    );
    let g = m.graph(m.main().expect("a main graph"));
    assert!(!g.ops().any(|o| matches!(g.kind(o), OpKind::BatchNorm(_))));
    let after = evaluate(&m, &c.x);
    let largest = before.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    assert!(largest > 0.1, "{:?} gives something", c.kind);
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 1e-6 * largest, "{:?}: {a} became {b}", c.kind);
    }
    assert_eq!(before.len(), after.len());
}

fn case(kind: impl Into<OpKind>, x: &[u64], w: &[u64], channels: u64, axis: u32) -> Case {
    Case {
        kind: kind.into(),
        x: x.into(),
        w: w.into(),
        bias: None,
        channels,
        axis,
        weight_left: false,
    }
}

#[test]
fn convolutions() {
    let pad = Padding::Explicit(Spatial::from_slice(&[(1, 0), (2, 1)]));
    for bias in [None, Some(vec![6])] {
        let c = Conv { groups: 2, pad: pad.clone(), ..Conv::default() };
        check(&Case { bias: bias.clone(), ..case(c, &[2, 4, 5, 6], &[6, 2, 3, 3], 6, 1) });
        let c = Conv {
            x: DataLayout::channels_last(2),
            w: KernelLayout::new(KernelOrder::Sio, 2),
            pad: Padding::SameUpper,
            strides: Spatial::from_slice(&[2, 1]),
            ..Conv::default()
        };
        check(&Case { bias: bias.clone(), ..case(c, &[2, 5, 6, 4], &[3, 3, 4, 6], 6, 3) });
        let c = Conv {
            x: DataLayout::channels_last(2),
            w: KernelLayout::new(KernelOrder::Scm, 2),
            ..Conv::default()
        };
        check(&Case { bias: bias.clone(), ..case(c, &[2, 5, 6, 3], &[3, 3, 3, 2], 6, 3) });
        let c = ConvTranspose {
            groups: 2,
            pad: pad.clone(),
            strides: Spatial::from_slice(&[2, 2]),
            ..ConvTranspose::default()
        };
        check(&Case { bias: bias.clone(), ..case(c, &[2, 4, 5, 6], &[4, 3, 3, 3], 6, 1) });
        let c = ConvTranspose {
            x: DataLayout::channels_last(2),
            w: KernelLayout::new(KernelOrder::Soi, 2),
            ..ConvTranspose::default()
        };
        check(&Case { bias: bias.clone(), ..case(c, &[2, 4, 5, 3], &[2, 2, 6, 3], 6, 3) });
    }
    for (n, x) in [(1, vec![2, 4, 7]), (3, vec![1, 4, 3, 4, 5])] {
        let layout = DataLayout::channels_first(n);
        let c = Conv { x: layout, w: KernelLayout::new(KernelOrder::Ois, n), ..Conv::default() };
        let taps = vec![2; usize::from(n)];
        check(&case(c, &x, &[vec![6, 4], taps.clone()].concat(), 6, 1));
        let c = ConvTranspose {
            x: layout,
            w: KernelLayout::new(KernelOrder::Ios, n),
            ..ConvTranspose::default()
        };
        check(&case(c, &x, &[vec![4, 6], taps].concat(), 6, 1));
    }
}

#[test]
fn linear_ops_with_every_shape_of_c() {
    for c in [
        None,
        Some(vec![]),
        Some(vec![1]),
        Some(vec![4]),
        Some(vec![1, 4]),
        Some(vec![3, 1]),
        Some(vec![3, 4]),
    ] {
        for beta in [1.0, -2.0, 0.0] {
            for (trans_x, trans_w) in [(false, false), (true, true)] {
                let kind = Linear { alpha: 0.5, beta, trans_x, trans_w, matrix: true };
                let x = if trans_x { [5, 3] } else { [3, 5] };
                let w = if trans_w { [4, 5] } else { [5, 4] };
                check(&Case { bias: c.clone(), ..case(kind, &x, &w, 4, 1) });
            }
        }
    }
    // Dense on the last axis of rank-3 data.
    check(&Case { bias: Some(vec![4]), ..case(Linear::default(), &[2, 3, 5], &[5, 4], 4, 2) });
}

#[test]
fn matrix_products() {
    check(&case(MatMul {}, &[3, 5], &[5, 4], 4, 1));
    check(&case(MatMul {}, &[2, 3, 5], &[5, 4], 4, 2));
    check(&Case { weight_left: true, ..case(MatMul {}, &[2, 5, 3], &[4, 5], 4, 1) });
    check(&Case { weight_left: true, ..case(MatMul {}, &[5, 3], &[4, 5], 4, 0) });
}

#[test]
fn pairs_of_ops() {
    let text = r#"module @m {
      graph @main(%x: tensor<1x2xf32>) -> (%y: tensor<1x2xf32>) {
        %w = constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<2x2xf32>
        %one = constant splat<1.5> : tensor<2xf32>
        %a = linear %x, %w "fc1" : tensor<1x2xf32>
        %b = batch_norm %a, %one, %one, %one, %one "bn1" : tensor<1x2xf32>
        %c = linear %b, %w "fc2" : tensor<1x2xf32>
        %d = relu %c "same" : tensor<1x2xf32>
        %y = relu %d "same" : tensor<1x2xf32>
        return %y
      }
    }"#;
    let mut m = normfold_ir::text::parse(text).expect("a module");
    let g = m.graph(m.main().expect("a main graph"));
    let op = |name: &str| g.ops().find(|&op| &*g.location(op) == name).expect("an op");
    let pairs = Pairs::of_ops(g, [(op("fc2"), op("bn1"))]).expect("names");
    assert_eq!(pairs, Pairs::new([("fc2", "bn1")]));
    let ambiguous = Pairs::of_ops(g, [(op("same"), op("bn1"))]).expect_err("two ops");
    assert_eq!(ambiguous.to_string(), "\"same\" is the name of several ops");
    let options = FoldBnOptions { pairs, ..FoldBnOptions::default() };
    let pipeline = Pipeline::new().with::<FoldBn>(options);
    // What the pipeline prints is read as the same.
    assert_eq!(Pipeline::parse(&pipeline.to_string(), &builtin()).expect("a pipeline"), pipeline);
    // A second round finds nothing of the pair, and knows why.
    let rounds = Pipeline::new().fixpoint(pipeline);
    let report = PassManager::default().run(&rounds, &mut m).expect("no failure");
    let remarks: Vec<String> = report.remarks.iter().map(ToString::to_string).collect();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    let into = r#"fold-bn: batch_norm "bn1": folded: into linear "fc2", with its own copy of w"#;
    assert_eq!(remarks[0], into);
}
