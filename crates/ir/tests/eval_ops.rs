//! Definitions of single ops by numbers worked out by hand: what the table of onnxruntime's results does not hold.

use normfold_ir::{
    Activation, ActivationKind, BatchNorm, BinaryKind, Clip, Concat, ConstPool, Constant, Conv,
    ConvTranspose, DType, DataLayout, DepthToSpace, Dequantize, Evaluator, Graph, GraphRole,
    KernelLayout, KernelOrder, Linear, MatMul, OpKind, OpSpec, Pad, PadMode, Padding, Pool,
    PoolKind, Reduce, ReduceKind, Resize, Softmax, Split, Tensor, Transpose, Type, UnaryKind,
    Value,
};

type Dims<'a> = &'a [u64];

/// The first result of an op on f32 operands.
fn try_eval(
    kind: impl Into<OpKind>,
    operands: &[Option<(Dims<'_>, &[f64])>],
) -> Result<Tensor, String> {
    let (mut g, mut pool) = (Graph::new("main", GraphRole::Main), ConstPool::default());
    let values: Vec<Option<Value>> = operands
        .iter()
        .map(|o| {
            let (dims, values) = (*o)?;
            let c = Constant::new(pool.add_f64(DType::F32, dims, values));
            let op = g.create(OpSpec::new(c).result(Type::Unknown));
            Some(g.result(op, 0))
        })
        .collect();
    let op = g.create(OpSpec::new(kind).operands(values).result(Type::Unknown));
    let v = g.result(op, 0);
    let mut ev = Evaluator::new(&g, &pool);
    ev.tensor(v).map(|t| Tensor::clone(&t)).map_err(|e| e.to_string())
}

#[track_caller]
fn eval(kind: impl Into<OpKind>, operands: &[(Dims<'_>, &[f64])]) -> (Vec<u64>, Vec<f64>) {
    let operands: Vec<_> = operands.iter().map(|&o| Some(o)).collect();
    let t = try_eval(kind, &operands).expect("evaluated");
    (t.dims().to_vec(), t.to_f64s())
}

#[track_caller]
fn check(kind: impl Into<OpKind>, operands: &[(Dims<'_>, &[f64])], dims: Dims<'_>, want: &[f64]) {
    let (got_dims, got) = eval(kind, operands);
    assert_eq!(got_dims, dims);
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 1e-12 || g == w || (g.is_nan() && w.is_nan()), "{got:?}\n{want:?}");
    }
}

fn conv1d(pad: Padding, stride: u64, dilation: u64) -> Conv {
    Conv {
        x: DataLayout::channels_first(1),
        w: KernelLayout::new(KernelOrder::Ois, 1),
        strides: [stride].into_iter().collect(),
        dilations: [dilation].into_iter().collect(),
        pad,
        ..Conv::default()
    }
}

#[test]
fn a_convolution_is_a_correlation_with_zeros_outside() {
    let x: (Dims<'_>, &[f64]) = (&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let w: (Dims<'_>, &[f64]) = (&[1, 1, 3], &[100.0, 10.0, 1.0]);
    check(conv1d(Padding::Valid, 1, 1), &[x, w], &[1, 1, 2], &[123.0, 234.0]);
    let pad = Padding::Explicit([(1, 2)].into_iter().collect());
    check(conv1d(pad, 1, 1), &[x, w], &[1, 1, 5], &[12.0, 123.0, 234.0, 340.0, 400.0]);
    // Keras: everything before.
    check(conv1d(Padding::Causal, 1, 1), &[x, w], &[1, 1, 4], &[1.0, 12.0, 123.0, 234.0]);
    check(conv1d(Padding::Causal, 1, 2), &[x, w], &[1, 1, 4], &[1.0, 2.0, 13.0, 24.0]);
    // ceil(4 / 2) = 2 outputs, one cell of padding: at the end, or at the beginning.
    check(conv1d(Padding::SameUpper, 2, 1), &[x, w], &[1, 1, 2], &[123.0, 340.0]);
    check(conv1d(Padding::SameLower, 2, 1), &[x, w], &[1, 1, 2], &[12.0, 234.0]);
    // Dilated: an effective kernel of 5, four cells of padding.
    check(conv1d(Padding::SameUpper, 1, 2), &[x, w], &[1, 1, 4], &[13.0, 24.0, 130.0, 240.0]);
    // A window smaller than its stride needs none.
    let one: (Dims<'_>, &[f64]) = (&[1, 1, 1], &[5.0]);
    check(conv1d(Padding::SameUpper, 3, 1), &[x, one], &[1, 1, 2], &[5.0, 20.0]);
    // A negative amount cuts.
    let cut = Padding::Explicit([(-1, 0)].into_iter().collect());
    check(conv1d(cut, 1, 1), &[x, w], &[1, 1, 1], &[234.0]);
    let refused = try_eval(conv1d(Padding::Valid, 1, 2), &[Some(x), Some(w)]).unwrap_err();
    assert_eq!(refused, "conv: a window of 5 is larger than the padded extent 4");
}

#[test]
fn groups_pair_their_own_channels() {
    let x: (Dims<'_>, &[f64]) = (&[1, 4, 1], &[1.0, 10.0, 100.0, 1000.0]);
    let grouped = |order, groups| Conv {
        w: KernelLayout::new(order, 1),
        groups,
        ..conv1d(Padding::Valid, 1, 1)
    };
    // Two groups of two inputs and one output: OIW and WIO.
    let w = &[1.0, 2.0, 3.0, 4.0];
    check(grouped(KernelOrder::Ois, 2), &[x, (&[2, 2, 1], w)], &[1, 2, 1], &[21.0, 4300.0]);
    let w = &[1.0, 3.0, 2.0, 4.0];
    check(grouped(KernelOrder::Sio, 2), &[x, (&[1, 2, 2], w)], &[1, 2, 1], &[21.0, 4300.0]);
    // Depthwise WCM, multiplier 2: output channel c·2 + m.
    let w = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let want = &[1.0, 2.0, 30.0, 40.0, 500.0, 600.0, 7000.0, 8000.0];
    check(grouped(KernelOrder::Scm, 1), &[x, (&[1, 4, 2], w)], &[1, 8, 1], want);
    check(grouped(KernelOrder::Scm, 4), &[x, (&[1, 4, 2], w)], &[1, 8, 1], want);
    let refused = try_eval(grouped(KernelOrder::Ois, 3), &[Some(x), Some((&[3, 2, 1], &[0.0; 6]))]);
    assert_eq!(refused.unwrap_err(), "conv: data [1, 4, 1] and kernel [3, 2, 1] in 3 groups");
}

fn transposed(order: KernelOrder, stride: u64, pad: Padding) -> ConvTranspose {
    ConvTranspose {
        x: DataLayout::channels_first(1),
        w: KernelLayout::new(order, 1),
        strides: [stride].into_iter().collect(),
        pad,
        ..ConvTranspose::default()
    }
}

#[test]
fn a_transposed_convolution_spreads_each_input() {
    let x: (Dims<'_>, &[f64]) = (&[1, 1, 2], &[1.0, 2.0]);
    let w: (Dims<'_>, &[f64]) = (&[1, 1, 3], &[100.0, 10.0, 1.0]);
    let ios = |stride, pad| transposed(KernelOrder::Ios, stride, pad);
    check(ios(1, Padding::Valid), &[x, w], &[1, 1, 4], &[100.0, 210.0, 21.0, 2.0]);
    check(ios(2, Padding::Valid), &[x, w], &[1, 1, 5], &[100.0, 10.0, 201.0, 20.0, 2.0]);
    // SAME cuts down to input · stride, at the end first.
    check(ios(2, Padding::SameUpper), &[x, w], &[1, 1, 4], &[100.0, 10.0, 201.0, 20.0]);
    check(ios(2, Padding::SameLower), &[x, w], &[1, 1, 4], &[10.0, 201.0, 20.0, 2.0]);
    // Taps that fall short of the extent leave zeros.
    let short: (Dims<'_>, &[f64]) = (&[1, 1, 1], &[5.0]);
    check(ios(2, Padding::SameUpper), &[x, short], &[1, 1, 4], &[5.0, 0.0, 10.0, 0.0]);
    let extra =
        ConvTranspose { output_padding: [1].into_iter().collect(), ..ios(2, Padding::Valid) };
    check(extra, &[x, w], &[1, 1, 6], &[100.0, 10.0, 201.0, 20.0, 2.0, 0.0]);
    // Soi (Keras): output channels before input channels.
    let x: (Dims<'_>, &[f64]) = (&[1, 2, 1], &[1.0, 10.0]);
    let w: (Dims<'_>, &[f64]) = (&[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let soi = transposed(KernelOrder::Soi, 1, Padding::Valid);
    check(soi, &[x, w, (&[3], &[0.5, 0.0, -0.5])], &[1, 3, 1], &[21.5, 43.0, 64.5]);
    // Two groups: input channel c feeds the outputs of its group.
    let w: (Dims<'_>, &[f64]) = (&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]);
    let groups = ConvTranspose { groups: 2, ..transposed(KernelOrder::Ios, 1, Padding::Valid) };
    check(groups, &[x, w], &[1, 4, 1], &[1.0, 2.0, 30.0, 40.0]);
    let causal = try_eval(transposed(KernelOrder::Ios, 1, Padding::Causal), &[Some(x), Some(w)]);
    assert!(causal.unwrap_err().contains("causal"));
}

#[test]
fn products_of_more_axes() {
    // Dense on rank 3, bias of one element per output.
    let x: (Dims<'_>, &[f64]) = (&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let w: (Dims<'_>, &[f64]) = (&[2, 1], &[10.0, 1.0]);
    check(Linear::default(), &[x, w, (&[1], &[0.5])], &[1, 2, 1], &[12.5, 34.5]);
    let matrix = Linear { matrix: true, ..Linear::default() };
    assert!(try_eval(matrix, &[Some(x), Some(w)]).is_err());
    // alpha and beta scale product and addend; with beta = 0 the addend is not read.
    let x: (Dims<'_>, &[f64]) = (&[2, 1], &[3.0, 5.0]);
    let l = Linear { alpha: 2.0, beta: -1.0, trans_x: true, trans_w: true, ..Linear::default() };
    check(l.clone(), &[x, (&[1, 2], &[1.0, 10.0]), (&[], &[0.25])], &[1, 1], &[105.75]);
    let l = Linear { beta: 0.0, ..l };
    check(l, &[x, (&[1, 2], &[1.0, 10.0]), (&[], &[f64::NAN])], &[1, 1], &[106.0]);
    // No terms make 0.
    check(MatMul {}, &[(&[2, 0], &[]), (&[0, 1], &[])], &[2, 1], &[0.0, 0.0]);
    assert!(try_eval(MatMul {}, &[Some((&[], &[1.0])), Some((&[1], &[1.0]))]).is_err());
}

#[test]
fn batch_norms_of_every_form() {
    let x: (Dims<'_>, &[f64]) = (&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let stats = [
        Some((&[2][..], &[2.0, -1.0][..])),
        Some((&[2], &[0.5, 0.0])),
        Some((&[2], &[1.0, 1.0])),
        Some((&[2], &[3.0, 0.0])),
    ];
    let norm = |axis| BatchNorm { axis, eps: 1.0, ..BatchNorm::default() };
    let run = |k: BatchNorm, x, s: [Option<(Dims<'_>, &[f64])>; 4]| {
        try_eval(k, &[Some(x), s[0], s[1], s[2], s[3]]).map(|t| t.to_f64s())
    };
    // Deviations 2 and 1: (x − 1)/2·2 + 0.5 and −(x − 1).
    assert_eq!(run(norm(1), x, stats).unwrap(), [0.5, -1.0, 2.5, -3.0]);
    assert_eq!(run(norm(0), x, stats).unwrap(), [0.5, 1.5, -2.0, -3.0]);
    let plain = [None, None, stats[2], stats[3]];
    assert_eq!(run(norm(1), x, plain).unwrap(), [0.0, 1.0, 1.0, 3.0]);
    // One statistic per element beyond the batch axis.
    let all = BatchNorm { spatial: false, ..norm(1) };
    assert_eq!(run(all, (&[2, 1, 2], x.1), stats).unwrap(), [0.5, -1.0, 2.5, -3.0]);
    // ONNX: a vector has one channel.
    let single = [None, None, Some((&[1][..], &[1.0][..])), Some((&[1][..], &[3.0][..]))];
    assert_eq!(run(norm(1), (&[3], &[1.0, 2.0, 3.0]), single).unwrap(), [0.0, 0.5, 1.0]);
    assert_eq!(
        run(norm(1), (&[1, 3], &[0.0; 3]), stats).unwrap_err(),
        "batch_norm: 2 statistics, 3 channels"
    );
    let training = BatchNorm { training: true, ..norm(1) };
    assert_eq!(run(training, x, stats).unwrap_err(), "batch_norm: training mode is not evaluated");
}

#[test]
fn pools_and_their_borders() {
    let x: (Dims<'_>, &[f64]) = (&[1, 1, 5], &[1.0, -2.0, 3.0, 5.0, 4.0]);
    let pool = |f, pad, count_include_pad, ceil_mode| Pool {
        f,
        x: DataLayout::channels_first(1),
        kernel: [2].into_iter().collect(),
        strides: [2].into_iter().collect(),
        pad,
        ceil_mode,
        count_include_pad,
        ..Pool::default()
    };
    let none = Padding::default;
    check(pool(PoolKind::Max, none(), false, false), &[x], &[1, 1, 2], &[1.0, 5.0]);
    check(pool(PoolKind::Max, none(), false, true), &[x], &[1, 1, 3], &[1.0, 5.0, 4.0]);
    check(pool(PoolKind::Average, none(), true, true), &[x], &[1, 1, 3], &[-0.5, 4.0, 4.0]);
    let one = || Padding::Explicit([(1, 0)].into_iter().collect());
    check(pool(PoolKind::Average, one(), true, false), &[x], &[1, 1, 3], &[0.5, 0.5, 4.5]);
    check(pool(PoolKind::Average, one(), false, false), &[x], &[1, 1, 3], &[1.0, 0.5, 4.5]);
    // Padding is −∞ to a maximum, whatever it holds.
    let low: (Dims<'_>, &[f64]) = (&[1, 1, 1], &[-9.0]);
    check(pool(PoolKind::Max, Padding::SameUpper, false, false), &[low], &[1, 1, 1], &[-9.0]);
    let lp = Pool { p: 2, ..pool(PoolKind::Lp, one(), false, false) };
    check(lp, &[x], &[1, 1, 3], &[1.0, 13f64.sqrt(), 41f64.sqrt()]);
}

#[test]
fn functions_at_their_edges() {
    let nan = f64::NAN;
    let inf = f64::INFINITY;
    let at = |kind: OpKind, v: &[f64], want: &[f64]| {
        check(kind, &[(&[v.len() as u64], v)], &[v.len() as u64], want);
    };
    at(UnaryKind::Relu.into(), &[nan, -0.5, 2.0], &[nan, 0.0, 2.0]);
    at(UnaryKind::Softplus.into(), &[1000.0, -1000.0, 0.0, nan], &[1000.0, 0.0, 2f64.ln(), nan]);
    at(UnaryKind::Sigmoid.into(), &[1000.0, -1000.0, 0.0], &[1.0, 0.0, 0.5]);
    at(UnaryKind::Round.into(), &[0.5, 1.5, -2.5], &[0.0, 2.0, -2.0]);
    at(UnaryKind::Sign.into(), &[-3.0, 0.0, nan], &[-1.0, 0.0, nan]);
    at(UnaryKind::Silu.into(), &[0.0, 1.0], &[0.0, 1.0 / (1.0 + (-1f64).exp())]);
    at(UnaryKind::HardSwish.into(), &[-3.0, 3.0, 1.0], &[0.0, 3.0, 4.0 / 6.0]);
    at(UnaryKind::Log.into(), &[0.0, -1.0], &[-inf, nan]);
    let act = |f, alpha, beta| OpKind::from(Activation { f, alpha, beta });
    let e = 1.0 - (-1f64).exp();
    at(act(ActivationKind::Elu, 2.0, 0.0), &[-1.0, 3.0], &[-2.0 * e, 3.0]);
    at(act(ActivationKind::Selu, 2.0, 3.0), &[-1.0, 3.0], &[-6.0 * e, 9.0]);
    at(act(ActivationKind::Celu, 2.0, 0.0), &[-2.0, 3.0], &[-2.0 * e, 3.0]);
    at(act(ActivationKind::HardSigmoid, 0.25, 0.5), &[-9.0, 1.0, 9.0], &[0.0, 0.75, 1.0]);
    at(act(ActivationKind::ThresholdedRelu, 1.5, 0.0), &[1.5, 1.75], &[0.0, 1.75]);
    // Bounds that cross: the upper one holds.
    at(Clip { min: Some(2.0), max: Some(1.0) }.into(), &[0.0, 5.0, nan], &[1.0, 1.0, nan]);
    let pair = |k: BinaryKind, a: &[f64], b: &[f64], want: &[f64]| {
        check(k, &[(&[2], a), (&[2], b)], &[2], want);
    };
    pair(BinaryKind::Max, &[nan, 1.0], &[1.0, nan], &[nan, nan]);
    pair(BinaryKind::Min, &[1.0, 3.0], &[nan, 2.0], &[nan, 2.0]);
    pair(BinaryKind::Mod, &[-5.5, 5.5], &[3.0, -3.0], &[0.5, -0.5]);
    pair(BinaryKind::Div, &[1.0, 0.0], &[0.0, 0.0], &[inf, nan]);
    pair(BinaryKind::Pow, &[4.0, 2.0], &[0.5, -1.0], &[2.0, 0.5]);
    // Large logits do not overflow.
    let s = Softmax::default();
    check(s, &[(&[2], &[1000.0, 1000.0])], &[2], &[0.5, 0.5]);
    let lse = Reduce { f: ReduceKind::LogSumExp, keepdims: false, ..Reduce::default() };
    check(lse, &[(&[2], &[1000.0, 1000.0])], &[], &[1000.0 + 2f64.ln()]);
}

#[test]
fn reductions_of_nothing() {
    let reduce = |f| Reduce { f, axes: Some(vec![0]), keepdims: false, ..Reduce::default() };
    let none: (Dims<'_>, &[f64]) = (&[0, 1], &[]);
    check(reduce(ReduceKind::Sum), &[none], &[1], &[0.0]);
    check(reduce(ReduceKind::Prod), &[none], &[1], &[1.0]);
    check(reduce(ReduceKind::Max), &[none], &[1], &[f64::NEG_INFINITY]);
    check(reduce(ReduceKind::Mean), &[none], &[1], &[f64::NAN]);
    let noop = |f| Reduce { f, noop_with_empty_axes: true, ..Reduce::default() };
    check(noop(ReduceKind::Mean), &[(&[2], &[1.0, 2.0])], &[2], &[1.0, 2.0]);
    assert!(try_eval(noop(ReduceKind::L2), &[Some((&[2], &[1.0, 2.0]))]).is_err());
}

#[test]
fn padding_cuts_first_and_mirrors_again_and_again() {
    let x: (Dims<'_>, &[f64]) = (&[3], &[1.0, 2.0, 3.0]);
    let pad = |mode, before, after| Pad { mode, amounts: Some(vec![before, after]), value: None };
    check(pad(PadMode::Reflect, 5, 1), &[x], &[9], &[2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    check(pad(PadMode::Wrap, 1, 4), &[x], &[8], &[3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    check(pad(PadMode::Edge, -1, 2), &[x], &[4], &[2.0, 3.0, 3.0, 3.0]);
    check(pad(PadMode::Constant, -2, 1), &[x], &[2], &[3.0, 0.0]);
    let value = Pad { value: Some(7.0), ..pad(PadMode::Constant, 1, -3) };
    check(value, &[x], &[1], &[7.0]);
    assert!(try_eval(pad(PadMode::Constant, -2, -2), &[Some(x)]).is_err());
    assert!(try_eval(pad(PadMode::Reflect, 1, 0), &[Some((&[0], &[]))]).is_err());
}

#[test]
fn movement_and_resampling() {
    let x: (Dims<'_>, &[f64]) = (&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    check(Transpose::default(), &[x], &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    check(
        Concat { axis: -1 },
        &[x, (&[2, 1], &[8.0, 9.0])],
        &[2, 4],
        &[0.0, 1.0, 2.0, 8.0, 3.0, 4.0, 5.0, 9.0],
    );
    check(Split { axis: 1, sizes: Some(vec![3]) }, &[x], &[2, 3], x.1);
    let up = |mode: &str, coordinates: &str| Resize {
        mode: mode.into(),
        coordinates: coordinates.into(),
        nearest: "floor".into(),
        scales: Some(vec![2.0]),
        ..Resize::default()
    };
    let v: (Dims<'_>, &[f64]) = (&[2], &[1.0, 3.0]);
    check(up("nearest", "asymmetric"), &[v], &[4], &[1.0, 1.0, 3.0, 3.0]);
    check(up("linear", "half_pixel"), &[v], &[4], &[1.0, 1.5, 2.5, 3.0]);
    check(up("linear", "align_corners"), &[v], &[4], &[1.0, 1.0 + 2.0 / 3.0, 1.0 + 4.0 / 3.0, 3.0]);
    assert!(try_eval(up("bilinear", "half_pixel"), &[Some(v)]).is_err());
    let smooth = Resize { antialias: true, scales: Some(vec![0.5]), ..up("linear", "half_pixel") };
    assert!(try_eval(smooth, &[Some(v)]).unwrap_err().contains("antialias"));
    // One channel of blocks: rows first.
    let d: (Dims<'_>, &[f64]) = (&[1, 4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
    let block = DepthToSpace { block: 2, ..DepthToSpace::default() };
    check(block, &[d], &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let q = Dequantize { axis: 0, block: 0 };
    check(q, &[v, (&[2], &[0.5, 10.0]), (&[2], &[1.0, 0.0])], &[2], &[0.0, 30.0]);
}
