//! The evaluator on ops that make no sense: attributes and extents at random, small and enormous. It must give a value or an
//! error, never panic, and hold no more than its limit.

use normfold_ir::{
    Activation, ActivationKind, BatchNorm, BinaryKind, Cast, Clip, CompareKind, Concat, ConstPool,
    ConstantOfShape, Conv, ConvTranspose, DType, DataLayout, DepthMode, DepthToSpace, Dequantize,
    Dropout, EvalError, Evaluator, Expand, Flatten, Gather, GlobalPool, Graph, GraphRole,
    KernelLayout, KernelOrder, Linear, MatMul, OpKind, OpSpec, PRelu, Pad, PadMode, Padding,
    Parameter, Pool, PoolKind, Quantize, Range, Reduce, ReduceKind, Reshape, Resize, Scalar, Shape,
    Size, Slice, Softmax, SoftmaxKind, SpaceToDepth, Spatial, Split, Squeeze, Tensor, Transpose,
    Type, UnaryKind, Unsqueeze, Value, Where, eval::Binding,
};

/// A linear congruential generator: the same cases everywhere.
struct Random {
    state: u64,
    /// What most tensors of a case have, so that operands often fit together.
    rank: u64,
    dtype: DType,
}

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// Mostly small, sometimes at the ends of the range.
    fn int(&mut self) -> i64 {
        const EDGES: [i64; 8] =
            [i64::MIN, i64::MAX, i64::MIN + 1, 1 << 62, 1 << 31, -(1 << 40), 1 << 30, -7];
        if self.chance(4) { self.of(&EDGES) } else { self.below(6) as i64 - 2 }
    }

    fn positive(&mut self) -> u64 {
        const EDGES: [u64; 6] = [0, u64::MAX, 1 << 63, 1 << 32, 1 << 30, 1 << 20];
        if self.chance(4) { self.of(&EDGES) } else { 1 + self.below(3) }
    }

    fn ints(&mut self) -> Vec<i64> {
        (0..self.below(5)).map(|_| self.int()).collect()
    }

    fn maybe<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(50) { Some(f(self)) } else { None }
    }

    fn spatial<T>(&mut self, n: u8, mut f: impl FnMut(&mut Self) -> T) -> Spatial<T> {
        let n = if self.chance(30) { 0 } else { u64::from(n) + u64::from(self.chance(3)) };
        (0..n).map(|_| f(self)).collect()
    }

    fn padding(&mut self, n: u8) -> Padding {
        match self.below(6) {
            0 => Padding::SameUpper,
            1 => Padding::SameLower,
            2 => Padding::Valid,
            3 => Padding::Causal,
            _ => Padding::Explicit(self.spatial(n, |r| (r.int(), r.int()))),
        }
    }

    fn layout(&mut self, spatial: u8) -> DataLayout {
        DataLayout { spatial, channel_last: self.chance(40) }
    }

    fn kernel(&mut self, spatial: u8) -> KernelLayout {
        KernelLayout::new(self.of(KernelOrder::ALL), spatial)
    }

    fn kind(&mut self) -> OpKind {
        let n =
            if self.chance(90) { self.rank.saturating_sub(2).min(3) } else { self.below(4) } as u8;
        let axis = |r: &mut Self| r.int();
        match self.below(39) {
            0 | 37 => Conv {
                x: self.layout(n),
                w: self.kernel(n),
                groups: if self.chance(80) { 1 } else { self.positive() },
                strides: self.spatial(n, Self::positive),
                dilations: self.spatial(n, Self::positive),
                pad: self.padding(n),
            }
            .into(),
            1 | 38 => ConvTranspose {
                x: self.layout(n),
                w: self.kernel(n),
                groups: if self.chance(80) { 1 } else { self.positive() },
                strides: self.spatial(n, Self::positive),
                dilations: self.spatial(n, Self::positive),
                pad: self.padding(n),
                output_padding: self.spatial(n, axis),
                output_shape: self.spatial(n, axis),
            }
            .into(),
            2 => Pool {
                f: self.of(PoolKind::ALL),
                x: self.layout(n),
                kernel: (0..n).map(|_| self.positive()).collect(),
                strides: self.spatial(n, Self::positive),
                dilations: self.spatial(n, Self::positive),
                pad: self.padding(n),
                ceil_mode: self.chance(50),
                count_include_pad: self.chance(50),
                p: self.int(),
            }
            .into(),
            3 | 36 => Linear {
                trans_x: self.chance(40),
                trans_w: self.chance(50),
                matrix: self.chance(50),
                ..Linear::default()
            }
            .into(),
            4 => MatMul {}.into(),
            5 => BatchNorm {
                axis: self.below(4) as u32,
                spatial: self.chance(80),
                ..BatchNorm::default()
            }
            .into(),
            6 => self.of(UnaryKind::ALL).into(),
            7 | 8 => self.of(BinaryKind::ALL).into(),
            9 => self.of(CompareKind::ALL).into(),
            10 => Activation { f: self.of(ActivationKind::ALL), alpha: 0.0, beta: f64::NAN }.into(),
            11 => Clip { min: self.maybe(|r| r.int() as f64), max: None }.into(),
            12 => PRelu {}.into(),
            13 => Where {}.into(),
            14 => {
                Softmax { f: self.of(SoftmaxKind::ALL), axis: self.int(), flatten: self.chance(50) }
                    .into()
            }
            15 => Cast { to: self.of(DType::ALL) }.into(),
            16 => Dropout::default().into(),
            17 => Reshape { allow_zero: self.chance(50), shape: self.maybe(Self::ints) }.into(),
            18 => Flatten { axis: self.int() }.into(),
            19 => Squeeze { axes: self.maybe(Self::ints) }.into(),
            20 => Unsqueeze { axes: self.maybe(Self::ints) }.into(),
            21 => Transpose { perm: self.ints() }.into(),
            22 => Expand {}.into(),
            23 => Concat { axis: self.int() }.into(),
            24 => Split { axis: self.int(), sizes: self.maybe(Self::ints) }.into(),
            25 => Slice {
                starts: self.maybe(Self::ints),
                ends: self.maybe(Self::ints),
                axes: self.maybe(Self::ints),
            }
            .into(),
            26 => Gather { axis: self.int() }.into(),
            27 => Shape { start: self.int(), end: self.maybe(Self::int) }.into(),
            28 => ConstantOfShape::default().into(),
            29 => Range {}.into(),
            30 => DepthToSpace { block: self.positive(), mode: self.of(DepthMode::ALL) }.into(),
            31 => SpaceToDepth { block: self.positive() }.into(),
            32 => Pad {
                mode: self.of(PadMode::ALL),
                amounts: self.maybe(Self::ints),
                value: self.maybe(|_| 1.5),
            }
            .into(),
            33 => Resize {
                mode: self.of(&["nearest", "linear", "cubic"]).into(),
                coordinates: self
                    .of(&["half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"])
                    .into(),
                axes: self.maybe(Self::ints),
                scales: self.maybe(|r| r.ints().iter().map(|&v| v as f64 / 2.0).collect()),
                aspect: self.of(&["stretch", "not_larger", "not_smaller"]).into(),
                exclude_outside: self.chance(50),
                ..Resize::default()
            }
            .into(),
            34 => match self.below(4) {
                0 => GlobalPool {
                    f: self.of(PoolKind::ALL),
                    channel_last: self.chance(50),
                    keepdims: self.chance(50),
                    p: self.int(),
                }
                .into(),
                1 => Quantize { axis: self.int(), block: self.int() }.into(),
                2 => Dequantize { axis: self.int(), block: self.int() }.into(),
                _ => Size {}.into(),
            },
            _ => Reduce {
                f: self.of(ReduceKind::ALL),
                axes: self.maybe(Self::ints),
                keepdims: self.chance(50),
                noop_with_empty_axes: self.chance(50),
            }
            .into(),
        }
    }

    fn dims(&mut self) -> Vec<u64> {
        let rank = if self.chance(80) { self.rank } else { self.below(6) };
        (0..rank)
            .map(|_| match self.below(40) {
                0 => self.of(&[1 << 20, 1 << 31, 1 << 40, 1 << 62, u64::MAX]),
                1..3 => 0,
                _ => self.of(&[1, 1, 1, 2, 2, 3]),
            })
            .collect()
    }

    fn binding(&mut self) -> Binding<'static> {
        let (dims, salt) = (self.dims(), self.below(1000));
        let dtype = if self.chance(90) { self.dtype } else { self.of(DType::ALL) };
        if self.chance(20) {
            // A list such as operands of shapes are.
            let list = self.ints();
            return Binding::Tensor(Tensor::ints(DType::I64, &[list.len() as u64], list));
        }
        let f = move |at: &[u64]| {
            let n = at.iter().fold(salt, |n, &i| n.wrapping_mul(31).wrapping_add(i)) % 7;
            Scalar::I(n as i64 - 2)
        };
        Binding::Lazy { dtype, dims, f: Box::new(f) }
    }
}

#[test]
fn nothing_panics() {
    let mut r = Random { state: 1, rank: 0, dtype: DType::F32 };
    let (mut values, mut errors, mut elements) = (0, 0, 0);
    let mut kinds = std::collections::BTreeMap::<&str, u32>::new();
    let pool = ConstPool::default();
    for case in 0..20_000 {
        r.rank = r.below(6);
        r.dtype = r.of(&[DType::F32, DType::F32, DType::F16, DType::I64, DType::U8, DType::Bool]);
        let mut g = Graph::new("main", GraphRole::Main);
        let parameters: Vec<Value> = (0..3)
            .map(|_| {
                let op = g.create(OpSpec::new(Parameter::default()).result(Type::Unknown));
                g.result(op, 0)
            })
            .collect();
        let mut all = parameters.clone();
        // A few ops, each on what there is.
        for _ in 0..1 + r.below(3) {
            let kind = r.kind();
            let usual = match &kind {
                OpKind::BatchNorm(_) => 5,
                OpKind::Where(_) | OpKind::Range(_) => 3,
                OpKind::Resize(_) => 1 + r.below(4),
                _ => 2,
            };
            let n = if r.chance(80) { usual } else { 1 + r.below(5) };
            let operands: Vec<Option<Value>> = (0..n as usize)
                .map(|i| match r.below(100) {
                    0..3 => None,
                    3..70 => Some(parameters[i % 3]),
                    _ => Some(r.of(&all)),
                })
                .collect();
            let results = if matches!(kind, OpKind::Split(_) | OpKind::Pool(_)) { 2 } else { 1 };
            let spec = (0..results).fold(OpSpec::new(kind), |s, _| s.result(Type::Unknown));
            let op = g.create(spec.operands(operands));
            all.extend(g.results(op));
        }
        let mut ev = Evaluator::new(&g, &pool).with_limit(2_000).with_work_limit(20_000);
        for &p in &parameters {
            ev.bind(p, r.binding());
        }
        for &v in &all {
            if let Ok(dims) = ev.dims(v) {
                let at: Vec<u64> = dims.iter().map(|&d| r.below(1 << 31) % d.max(1)).collect();
                elements += u32::from(ev.element(v, &at).is_ok());
            }
            match ev.tensor(v) {
                Ok(t) => {
                    assert!(t.len() <= 2_000, "case {case}");
                    assert_eq!(ev.dims(v).expect("planned"), t.dims());
                    if !parameters.contains(&v) {
                        *kinds.entry(g.kind(v.op).mnemonic()).or_default() += 1;
                    }
                    values += 1;
                }
                Err(EvalError::Cycle(op)) => panic!("case {case}: {op}"),
                Err(e) => {
                    assert!(!e.to_string().is_empty());
                    errors += 1;
                }
            }
        }
    }
    // Enough of them do make sense that the arithmetic is reached.
    assert!(
        values > 40_000 && errors > 10_000 && elements > 40_000,
        "{values} {errors} {elements}"
    );
    for (kind, least) in [
        ("conv", 20),
        ("conv_transpose", 20),
        ("pool", 20),
        ("linear", 20),
        ("matmul", 20),
        ("batch_norm", 5),
        ("resize", 10),
        ("pad", 20),
        ("slice", 20),
        ("range", 20),
    ] {
        assert!(kinds.get(kind).is_some_and(|&n| n >= least), "{kind} of {kinds:?}");
    }
}
