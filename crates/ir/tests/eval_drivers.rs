//! The two drivers of the evaluator: depth, limits, bindings, errors; and that no verified graph makes it panic.

use normfold_ir::{
    Activation, BinaryKind, Cast, CastLike, ConstData, ConstPool, Constant, Conv, DType, Dropout,
    ElementMap, EvalError, Evaluator, Expand, Gather, Graph, GraphRole, Identity, OpKind, OpSpec,
    Opaque, Parameter, Quantize, Range, Reshape, Scalar, Shape, Step, Tensor, TensorType, Type,
    UnaryKind, Value, Where,
    eval::{Binding, MAX_DEPTH, Tally},
};

fn graph() -> Graph {
    Graph::new("main", GraphRole::Main)
}

fn add(g: &mut Graph, kind: impl Into<OpKind>, operands: &[Value]) -> Value {
    let spec = OpSpec::new(kind).operands(operands.iter().map(|&v| Some(v)));
    let op = g.create(spec.result(Type::Unknown));
    g.result(op, 0)
}

fn parameter(g: &mut Graph, name: &str) -> Value {
    let op = g.create(OpSpec::new(Parameter::default()).named_result(name, Type::Unknown));
    g.result(op, 0)
}

fn constant(g: &mut Graph, pool: &mut ConstPool, dims: &[u64], values: &[f64]) -> Value {
    let entry = pool.add_f64(DType::F32, dims, values);
    add(g, Constant::new(entry), &[])
}

fn ints(g: &mut Graph, pool: &mut ConstPool, dims: &[u64], values: &[i64]) -> Value {
    let entry = pool.add_i64(dims, values);
    add(g, Constant::new(entry), &[])
}

fn floats(values: &[f64]) -> Binding<'static> {
    Binding::Tensor(Tensor::floats(DType::F32, &[values.len() as u64], values.to_vec()))
}

/// A stack of the size that threads have, so that the deepest recursion allowed is proved to fit.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(f).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_chain_of_any_length_is_evaluated_whole() {
    on_a_small_stack(|| {
        let (mut g, mut pool) = (graph(), ConstPool::default());
        let x = parameter(&mut g, "x");
        let one = constant(&mut g, &mut pool, &[], &[1.0]);
        let mut y = x;
        for i in 0..100_000 {
            y = if i % 2 == 0 {
                add(&mut g, BinaryKind::Add, &[y, one])
            } else {
                add(&mut g, Identity {}, &[y])
            };
        }
        let mut ev = Evaluator::new(&g, &pool);
        ev.bind(x, floats(&[0.0, 0.5]));
        assert_eq!(ev.tensor(y).unwrap().to_f64s(), [50_000.0, 50_000.5]);
        assert_eq!(ev.dims(y).unwrap(), [2]);
        // What is held counts against the limit.
        let mut small = Evaluator::new(&g, &pool).with_limit(1000);
        small.bind(x, floats(&[0.0, 0.5]));
        assert!(matches!(small.tensor(y), Err(EvalError::TooLarge { limit: 1000, .. })));
    });
}

#[test]
fn one_element_recurses_to_a_stated_depth() {
    on_a_small_stack(|| {
        let (mut g, mut pool) = (graph(), ConstPool::default());
        let x = parameter(&mut g, "x");
        let w = constant(&mut g, &mut pool, &[1, 1, 1, 1], &[1.0]);
        // Convolutions have the largest frames.
        let mut chain = vec![x];
        for i in 0..=MAX_DEPTH as usize {
            let y = add(&mut g, Conv::default(), &[chain[i], w]);
            chain.push(y);
        }
        let mut ev = Evaluator::new(&g, &pool);
        let data = Tensor::floats(DType::F32, &[1, 1, 1, 1], vec![2.5]);
        ev.bind(x, Binding::Tensor(data));
        let at = |ev: &mut Evaluator<'_>, depth: usize| ev.element(chain[depth], &[0; 4]);
        assert_eq!(at(&mut ev, MAX_DEPTH as usize).unwrap(), Scalar::F(2.5));
        assert!(matches!(at(&mut ev, MAX_DEPTH as usize + 1), Err(EvalError::TooDeep)));
        // What was computed whole is not descended into again.
        ev.tensor(chain[100]).unwrap();
        assert_eq!(at(&mut ev, MAX_DEPTH as usize + 1).unwrap(), Scalar::F(2.5));
    });
}

#[test]
fn an_exponential_element_ends_at_the_work_limit() {
    let (mut g, pool) = (graph(), ConstPool::default());
    let x = parameter(&mut g, "x");
    let mut y = x;
    for _ in 0..100 {
        y = add(&mut g, BinaryKind::Mul, &[y, y]);
    }
    let mut ev = Evaluator::new(&g, &pool).with_work_limit(10_000);
    ev.bind(x, floats(&[1.0]));
    assert!(matches!(ev.element(y, &[0]), Err(EvalError::TooMuchWork { limit: 10_000 })));
    assert_eq!(ev.tensor(y).unwrap().to_f64s(), [1.0]);
}

/// An element that is shared is computed once, and what is read for it counts as often as it is read.
#[test]
fn shared_elements_are_computed_once() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    let c = constant(&mut g, &mut pool, &[2], &[1.0, -3.0]);
    let entry = pool.add_f64(DType::F32, &[2], &[1.0, -3.0]);
    let mut doubled = vec![c];
    for i in 0..100 {
        doubled.push(add(&mut g, BinaryKind::Add, &[doubled[i], doubled[i]]));
    }
    let tally = Tally::default();
    let mut ev = Evaluator::new(&g, &pool).with_tally(&tally);
    ev.bind(c, Binding::Stored { entry, counted: true });
    for times in [3, 24, 60, 100] {
        let y = ev.element(doubled[times], &[1]).unwrap().to_f64();
        let power = 2f64.powi(times as i32);
        assert_eq!(y, -3.0 * power);
        let counted = tally.take();
        assert_eq!(counted.magnitude, 3.0 * power);
        assert_eq!(counted.reads, power);
        // What is not remembered yet is a term each time.
        assert!(counted.terms <= 1 << 17, "{counted:?}");
        // What is remembered does not count less in the next request.
        ev.element(doubled[times], &[1]).unwrap();
        assert_eq!(tally.take(), counted);
    }
    // What was bound since holds.
    ev.bind(c, floats(&[0.0, 5.0]));
    assert_eq!(ev.element(doubled[60], &[1]).unwrap().to_f64(), 5.0 * 2f64.powi(60));
}

#[test]
fn bindings_stop_evaluation_and_can_be_replaced() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    let x = parameter(&mut g, "x");
    let custom = add(&mut g, Opaque { name: "Custom".into(), ..Opaque::default() }, &[x]);
    let two = constant(&mut g, &mut pool, &[], &[2.0]);
    let y = add(&mut g, BinaryKind::Mul, &[custom, two]);
    let mut ev = Evaluator::new(&g, &pool);
    assert!(matches!(ev.tensor(y), Err(EvalError::Unbound(n)) if &*n == "x"));
    ev.bind(x, floats(&[1.0]));
    let refused = ev.tensor(y).unwrap_err();
    assert_eq!(refused.to_string(), "opaque (Custom): this op is not evaluated");
    ev.bind(custom, floats(&[3.0, 4.0]));
    assert_eq!(ev.tensor(y).unwrap().to_f64s(), [6.0, 8.0]);
    ev.bind(custom, floats(&[5.0]));
    assert_eq!(ev.tensor(y).unwrap().to_f64s(), [10.0]);
    // A constant can be bound, too; integers given for floats are taken as numbers.
    let f = Box::new(|i: &[u64]| Scalar::I(i[0] as i64 - 1));
    ev.bind(two, Binding::Lazy { dtype: DType::F32, dims: vec![3], f });
    assert_eq!(ev.tensor(y).unwrap().to_f64s(), [-5.0, 0.0, 5.0]);
    assert_eq!(ev.element(y, &[2]).unwrap(), Scalar::F(5.0));
    assert!(matches!(ev.element(y, &[3]), Err(EvalError::Index { index: 3, extent: 3, .. })));
    assert!(matches!(ev.element(y, &[0, 0]), Err(EvalError::Shape { .. })));
}

#[test]
fn lazy_bindings_see_the_positions() {
    let (mut g, pool) = (graph(), ConstPool::default());
    let x = parameter(&mut g, "x");
    let y = add(&mut g, UnaryKind::Neg, &[x]);
    for dims in [
        vec![],
        vec![7],
        vec![1, 5, 1, 3],
        vec![3, 1 << 20, 999],
        vec![1 << 16, 3, 1 << 14],
        vec![1 << 33, 2],
        vec![2; 10],
    ] {
        let mut ev = Evaluator::new(&g, &pool);
        let f = Box::new(|at: &[u64]| Scalar::F(at.iter().fold(0.0, |n, &i| n * 1e7 + i as f64)));
        ev.bind(x, Binding::Lazy { dtype: DType::F64, dims: dims.clone(), f });
        for seed in 0..500u64 {
            let scatter = |k: u64| seed.wrapping_mul(k).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let at: Vec<u64> = (1..).zip(&dims).map(|(k, &d)| scatter(k) % d).collect();
            let want = at.iter().fold(0.0, |n, &i| n * 1e7 + i as f64);
            assert_eq!(ev.element(y, &at).unwrap(), Scalar::F(-want), "{at:?} of {dims:?}");
        }
    }
}

#[test]
fn constants_are_read_as_they_are_stored() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    // 64-bit integers that f64 does not hold.
    let big = ints(&mut g, &mut pool, &[2], &[(1 << 62) + 1, -(1 << 53) - 1]);
    let one = ints(&mut g, &mut pool, &[], &[1]);
    let sum = add(&mut g, BinaryKind::Add, &[big, one]);
    // A derived entry rounds once, to f32.
    let base = pool.add_f64(DType::F32, &[2, 1], &[1.0, 3.0]);
    let factors = pool.add_f64(DType::F64, &[2], &[0.1, 1.0 / 3.0]);
    let map = ElementMap::axis(&[2, 1], 0);
    let derived = pool.derive(base, Step::Scale { map, factors });
    let derived = add(&mut g, Constant::new(derived), &[]);
    let twice = add(&mut g, BinaryKind::Add, &[derived, derived]);
    let absent = pool.add(TensorType::of(DType::F32, &[2]), ConstData::Absent { hash: None });
    let absent = add(&mut g, Constant::new(absent), &[]);
    g.set_value_name(absent, Some("w".into()));
    let negated = add(&mut g, UnaryKind::Neg, &[absent]);
    let text = ConstData::Strings([b"a"[..].into()].into());
    let text = pool.add(TensorType::of(DType::Str, &[1]), text);
    let text = add(&mut g, Constant::new(text), &[]);
    let extents = add(&mut g, Shape::default(), &[text]);

    let mut ev = Evaluator::new(&g, &pool);
    assert_eq!(ev.tensor(sum).unwrap().to_i64s(), [(1 << 62) + 2, -(1 << 53)]);
    assert_eq!(ev.element(sum, &[0]).unwrap(), Scalar::I((1 << 62) + 2));
    let stored = [f64::from(0.1f32), 1.0];
    assert_eq!(ev.tensor(twice).unwrap().to_f64s(), stored.map(|v| 2.0 * v));
    assert_eq!(ev.dims(negated).unwrap(), [2]);
    assert!(matches!(ev.element(negated, &[0]), Err(EvalError::Absent(n)) if &*n == "w"));
    assert!(matches!(ev.tensor(negated), Err(EvalError::Absent(_))));
    assert!(matches!(ev.tensor(text), Err(EvalError::NotNumeric(DType::Str))));
    assert_eq!(ev.tensor(extents).unwrap().to_i64s(), [1]);
}

#[test]
fn type_uses_need_no_value() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    // The bias that an exporter hides: Expand(CastLike(0, x), Shape(w)) with x unbound.
    let op = g.create(
        OpSpec::new(Parameter::default()).named_result("x", TensorType::unranked(DType::F16)),
    );
    let x = g.result(op, 0);
    let w = constant(&mut g, &mut pool, &[3], &[1.0, 2.0, 3.0]);
    let zero = constant(&mut g, &mut pool, &[], &[0.0]);
    let like = add(&mut g, CastLike {}, &[zero, x]);
    let extents = add(&mut g, Shape::default(), &[w]);
    let bias = add(&mut g, Expand {}, &[like, extents]);
    let ratio = parameter(&mut g, "ratio");
    let dropped = add(&mut g, Dropout::default(), &[bias, ratio]);
    let mut ev = Evaluator::new(&g, &pool);
    let t = ev.tensor(dropped).unwrap();
    assert_eq!((t.dtype(), t.dims(), t.to_f64s()), (DType::F16, &[3][..], vec![0.0; 3]));
}

#[test]
fn integers_wrap_to_their_width_and_never_divide_by_zero() {
    let (mut g, pool) = (graph(), ConstPool::default());
    let (a, b) = (parameter(&mut g, "a"), parameter(&mut g, "b"));
    let ops = [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div, BinaryKind::Mod];
    let results: Vec<Value> = ops.iter().map(|&k| add(&mut g, k, &[a, b])).collect();
    let run = |dtype: DType, x: i64, y: i64| {
        let mut ev = Evaluator::new(&g, &pool);
        ev.bind(a, Binding::Tensor(Tensor::ints(dtype, &[], vec![x])));
        ev.bind(b, Binding::Tensor(Tensor::ints(dtype, &[], vec![y])));
        results
            .iter()
            .map(|&r| ev.tensor(r).map(|t| t.to_i64s()[0]).map_err(|e| e.to_string()))
            .collect::<Vec<_>>()
    };
    let ok = |list: [i64; 5]| list.map(Ok::<i64, String>).to_vec();
    assert_eq!(run(DType::I8, -128, -1), ok([127, -127, -128, -128, 0]));
    assert_eq!(run(DType::U8, 3, 250), ok([253, 9, 238, 0, 3]));
    assert_eq!(run(DType::I64, i64::MIN, -1), ok([i64::MAX, i64::MIN + 1, i64::MIN, i64::MIN, 0]));
    assert_eq!(run(DType::I32, -7, 2), ok([-5, -9, -14, -3, 1]));
    let zero = run(DType::I64, 5, 0);
    assert_eq!(zero[3], Err("div: division by zero".into()));
    assert_eq!(zero[4], Err("mod: division by zero".into()));
    assert_eq!(run(DType::U64, 1, 2)[1], Err("sub: a u64 of 2^63 or more".into()));
}

#[test]
fn casts_round_once_and_saturate() {
    let (mut g, pool) = (graph(), ConstPool::default());
    let x = parameter(&mut g, "x");
    let mut cast = |from: Tensor, to: DType| {
        let y = add(&mut g, Cast { to }, &[x]);
        let mut ev = Evaluator::new(&g, &pool);
        ev.bind(x, Binding::Tensor(from));
        Tensor::clone(&*ev.tensor(y).unwrap())
    };
    let mut of = |v: &[f64], to: DType| {
        let from = Tensor::floats(DType::F64, &[v.len() as u64], v.to_vec());
        cast(from, to).to_f64s()
    };
    let inf = f64::INFINITY;
    assert_eq!(of(&[1e300, -inf, 0.1], DType::F32), [inf, -inf, f64::from(0.1f32)]);
    // Halfway plus what f32 would lose: one rounding goes up.
    assert_eq!(of(&[1.0 + 2f64.powi(-11) + 2f64.powi(-40)], DType::F16), [1.0 + 2f64.powi(-10)]);
    assert_eq!(
        of(&[300.7, -129.5, f64::NAN, -0.9, inf], DType::I8),
        [127.0, -128.0, 0.0, 0.0, 127.0]
    );
    assert_eq!(of(&[0.1, -0.0, f64::NAN], DType::Bool), [1.0, 0.0, 1.0]);
    assert_eq!(
        of(&[500.0, -1e9, 1.0625, 1.1875, 0.3], DType::F8E4M3FN),
        [448.0, -448.0, 1.0, 1.25, 0.3125]
    );
    assert_eq!(of(&[2.5, 7.0, -0.25, 0.75, 3.5], DType::F4E2M1), [2.0, 6.0, 0.0, 1.0, 4.0]);
    let exact = (1i64 << 24) + 1;
    let big = |to| cast(Tensor::ints(DType::I64, &[1], vec![exact]), to).to_f64s();
    let mut big = big;
    assert_eq!(big(DType::F32), [(1i64 << 24) as f64]);
    assert_eq!(big(DType::I8), [1.0]);
}

#[test]
fn quantized_types_follow_the_zero_point_or_the_declaration() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    let x = constant(&mut g, &mut pool, &[4], &[-1.0, 0.25, 0.75, 400.0]);
    let scale = constant(&mut g, &mut pool, &[], &[0.5]);
    let plain = add(&mut g, Quantize::default(), &[x, scale]);
    let declared = add(&mut g, Quantize::default(), &[x, scale]);
    g.set_ty(declared, TensorType::of(DType::I8, &[4]));
    let mut ev = Evaluator::new(&g, &pool);
    // Ties to even: 0.5 to 0, 1.5 to 2.
    let t = ev.tensor(plain).unwrap();
    assert_eq!((t.dtype(), t.to_i64s()), (DType::U8, vec![0, 0, 2, 255]));
    let t = ev.tensor(declared).unwrap();
    assert_eq!((t.dtype(), t.to_i64s()), (DType::I8, vec![-2, 0, 2, 127]));
}

#[test]
fn a_condition_guards_what_it_does_not_choose() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    let c = parameter(&mut g, "c");
    let x = ints(&mut g, &mut pool, &[], &[7]);
    let zero = ints(&mut g, &mut pool, &[], &[0]);
    let quotient = add(&mut g, BinaryKind::Div, &[x, zero]);
    let y = add(&mut g, Where {}, &[c, quotient, x]);
    let mut ev = Evaluator::new(&g, &pool);
    ev.bind(c, Binding::Tensor(Tensor::ints(DType::Bool, &[], vec![0])));
    assert_eq!(ev.element(y, &[]).unwrap(), Scalar::I(7));
    assert!(matches!(ev.tensor(y), Err(EvalError::Integer { .. })));
}

#[test]
fn contradictions_are_named() {
    let (mut g, mut pool) = (graph(), ConstPool::default());
    let x = constant(&mut g, &mut pool, &[2, 3], &[0.0; 6]);
    let v = constant(&mut g, &mut pool, &[4], &[0.0; 4]);
    let shape = ints(&mut g, &mut pool, &[2], &[4, -1]);
    let huge = ints(&mut g, &mut pool, &[3], &[1 << 40, 1 << 40, 1]);
    let beyond = ints(&mut g, &mut pool, &[1], &[2]);
    let (from, to, by) = (
        ints(&mut g, &mut pool, &[], &[i64::MIN]),
        ints(&mut g, &mut pool, &[], &[i64::MAX]),
        ints(&mut g, &mut pool, &[], &[1]),
    );
    let cases = [
        (add(&mut g, BinaryKind::Add, &[x, v]), "add: extents [2, 3] and [4] do not broadcast"),
        (add(&mut g, Reshape::default(), &[x, shape]), "reshape: 6 elements do not fill [4, -1]"),
        (add(&mut g, Gather::default(), &[x, beyond]), "gather: index 2 is outside 2 elements"),
        (add(&mut g, BinaryKind::Add, &[x]), "add: operand 1 is missing"),
        (add(&mut g, BinaryKind::And, &[x, x]), "and: operands of type f32 is not evaluated"),
    ];
    let expanded = add(&mut g, Expand {}, &[v, huge]);
    let long = add(&mut g, Range {}, &[from, to, by]);
    let pass = add(&mut g, Activation::default(), &[x]);
    let mut ev = Evaluator::new(&g, &pool);
    for (v, message) in cases {
        assert_eq!(ev.tensor(v).unwrap_err().to_string(), message);
        // A failure leaves nothing behind.
        assert_eq!(ev.tensor(v).unwrap_err().to_string(), message);
    }
    assert!(matches!(
        ev.tensor(expanded),
        Err(EvalError::TooLarge { .. } | EvalError::Shape { .. })
    ));
    assert!(matches!(ev.tensor(long), Err(EvalError::TooLarge { .. })));
    assert_eq!(ev.tensor(pass).unwrap().to_f64s(), [0.0; 6]);
}
