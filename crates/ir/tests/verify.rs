//! The verifier: each invariant broken once, and what must not be refused.

use normfold_ir::*;
use std::sync::Arc;

/// The findings as `rule: location: message`.
fn findings(m: &Module) -> Vec<String> {
    match verify(m) {
        Ok(()) => Vec::new(),
        Err(e) => {
            assert_eq!(e.to_string().lines().count(), e.len());
            e.iter().map(|e| format!("{}: {}: {}", e.rule, e.location, e.message)).collect()
        }
    }
}

fn of(text: &str) -> Vec<String> {
    findings(&text::parse(text).unwrap_or_else(|e| panic!("{e:?}: {}", &text[e.span.clone()])))
}

/// Findings in a graph that takes an image `%x`, a matrix `%m`, a vector `%v`, integers `%i` and a condition `%c`.
fn in_graph(ops: &str) -> Vec<String> {
    of(&format!(
        "module @t {{ graph @main(%x: tensor<1x4x8x8xf32>, %m: tensor<4x3xf32>, %v: tensor<4xf32>, %i: tensor<2xi64>, %c: tensor<bool>) {{ {ops} return %x }} }}"
    ))
}

macro_rules! broken {
    ($($ops:expr => $($finding:literal),+;)*) => {$(
        assert_eq!(in_graph($ops), [$($finding),+], "{}", $ops);
    )*};
}

#[test]
fn a_valid_module_has_no_findings() {
    assert_eq!(in_graph("%y = relu %x : tensor<1x4x8x8xf32>"), [""; 0]);
    assert_eq!(verify(&Module::new("empty")), Ok(()));
}

#[test]
fn cycles() {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let relu = |g: &mut Graph, name: &str| {
        let op = g
            .create(OpSpec::new(UnaryKind::Relu).operands([None]).result(Type::Unknown).name(name));
        g.result(op, 0)
    };
    let (a, b) = (relu(&mut g, "a"), relu(&mut g, "b"));
    g.set_operand(Use { user: a.op, operand: 0 }, Some(b));
    g.set_operand(Use { user: b.op, operand: 0 }, Some(a));
    g.create(OpSpec::new(Return::default()).operand(b));
    m.add_graph(g);
    assert_eq!(findings(&m), [r#"1: a: reads its own result, by way of "a", "b""#]);
}

#[test]
fn frames() {
    assert_eq!(of("module @t { graph @main() { } }"), ["2: : has no `return`"]);
    assert_eq!(
        of("module @t { graph @a() { return } graph @b() { return } }"),
        ["6: : is a second main graph"]
    );
    assert_eq!(
        of("module @t { function @f() { return } function @f() { return } }"),
        ["6: : is a second function of that name"]
    );
    assert_eq!(
        of("module @t { graph @main(%x) captures(%y) { %0 as \"x\" = relu %x return %x } }"),
        ["3: y: captures, but its graph is no body", "4: x: a second value is named \"x\""]
    );

    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    for (index, name) in [(0, "a"), (0, "b"), (5, "c")] {
        let spec = OpSpec::new(Parameter { index, capture: false });
        g.create(spec.named_result(name, Type::Unknown));
    }
    g.create(OpSpec::new(Return { names: vec!["y".into()] }));
    m.add_graph(g);
    assert_eq!(
        findings(&m),
        [
            "5: return: 1 names for 0 operands",
            "3: b: argument 0 has a parameter already",
            "3: c: has index 5, of 3 arguments"
        ]
    );
}

#[test]
fn calls() {
    let call = |op: &str| {
        of(&format!(
            "module @t {{ graph @main(%x) {{ {op} return %x }} function @f(%a, %b) {{ return %a }} }}"
        ))
    };
    assert_eq!(call("%y = call %x {callee = \"f\"}"), [""; 0]);
    assert_eq!(call("%y = call %x {callee = \"g\"}"), ["7: y: no function is named \"g\""]);
    assert_eq!(
        call("%y, %z = call %x, %x, %x {callee = \"f\"}"),
        ["7: y: gives 3 operands and asks for 2 results of \"f\", which has 2 and 1"]
    );
}

#[test]
fn bodies() {
    broken! {
        "%y = if %c body @a() { return }" => "8: y: has 1 bodies", "9: y: body \"a\" takes 0 values and gives 0, not 0 and 1";
        "%y = relu %x body @a() { return }" => "8: y: has 1 bodies";
        "%y = loop none, %c, %x body @a(%k, %d) { return %d, %k }" => "9: y: body \"a\" takes 2 values and gives 2, not 3 and 2";
        "%y = scan %x {scan_inputs = 1} body @a() { %k = constant dense<1> : tensor<i8> return %k }" => "9: y: body \"a\" takes 0 values and gives 1, not 1 and 1";
        "opaque \"N\" captures(%x) body @a() captures(%p: tensor<1x4x8x8xf16>, %q) { return }" => "10: p: is a tensor<1x4x8x8xf16> inside, a tensor<1x4x8x8xf32> outside", "10: q: is capture 1 of an op that has 1";
        "%y = relu %x captures(%x)" => "10: y: captures values without a body";
    }
    assert_eq!(in_graph("opaque \"N\" captures(%x) body @a() { return }"), [""; 0]);

    // A body that two ops own; one that is a function.
    let mut m = text::parse("module @t { graph @main() { opaque \"A\" \"a\" body @b() { return } return } function @f() { return } }").unwrap();
    let (main, f) = (m.main().unwrap(), m.function("f").unwrap());
    let body = m.graph_ids().find(|&g| m.graph(g).role() == GraphRole::Body).unwrap();
    let opaque = Opaque { name: "B".into(), ..Opaque::default() };
    m.graph_mut(main).create(OpSpec::new(opaque).region(body).region(f).name("b"));
    assert_eq!(
        findings(&m),
        [
            "8: b: owns body \"b\", which is owned already",
            "8: b: owns graph \"f\", which is no body"
        ]
    );
}

#[test]
fn operands_and_results() {
    broken! {
        "%y = conv %x" => "11: y: has 1 operands, not 2 to 3";
        "%y = conv %x, none" => "11: y: operand 1 is absent";
        "%y = add %x, %x, %x" => "11: y: has 3 operands, not 2";
        "%y = concat" => "11: y: has 0 operands, not at least 1";
        "%y = concat %x, none" => "11: y: an operand is absent";
        "%y = batch_norm %x, none, none, %v, none" => "11: y: operand 4 is absent";
        "%y, %z = relu %x" => "12: y: has 2 results, not 1";
        "relu %x" => "12: relu: has 0 results, not 1";
        "%y = loop %i" => "11: y: has 1 operands, not at least 2", "8: y: has 0 bodies";
        "%y = reshape %x" => "14: y: `shape` is neither an attribute nor operand 1";
        "%y = reshape %x, %i {shape = [4]}" => "14: y: `shape` is an attribute and operand 1";
        "%y = clip %x, %v {min = 0.0}" => "14: y: `min` is an attribute and operand 1";
        "%y = slice %x, %i" => "14: y: `ends` is neither an attribute nor operand 2";
    }
}

#[test]
fn attributes() {
    broken! {
        "%k = constant splat<1.0> : tensor<4x4x3x3xf32> %y = conv %x, %k {groups = 0, strides = [1], pad = [[0, 0], [0, 0], [0, 0]]}" => "13: y: `strides` has 1 entries for 2 spatial axes", "13: y: `pad` has 3 entries for 2 spatial axes", "13: y: `groups` is 0";
        "%y = pool %x {kernel = [2, 2], strides = [0, 1]}" => "13: y: `strides` has a 0";
        "%y = pool %x {kernel = [2]}" => "13: y: `kernel` is no window";
        "%y = transpose %x {perm = [0, 1, 1, 3]}" => "13: y: `perm` is no permutation";
        "%y = depth_to_space %x {block = 0}" => "13: y: `block` is 0";
        "%a, %b = split %x {sizes = [1, 2, 1]} : unknown, unknown" => "13: a: `sizes` are not as many as the results";
        "%y = slice %x {starts = [0], ends = [1, 2]}" => "13: y: `starts`, `ends` and `axes` have different lengths";
        "%y = constant_of_shape %i {value = dense<[1, 2]> : tensor<2xi8>}" => "13: y: `value` is not one element";
    }
}

#[test]
fn types() {
    broken! {
        "%y = constant splat<1.0> : tensor<2xf32> : tensor<2xf16>" => "15: y: is a tensor<2xf16>, its entry a tensor<2xf32>";
        "%y = relu %x : tensor<1x4x8x9xf32>" => "16: y: gives a tensor<1x4x8x9xf32>, operand 0 is a tensor<1x4x8x8xf32>";
        "%y = relu %x : tensor<1x4x8x8xf16>" => "16: y: gives a tensor<1x4x8x8xf16>, operand 0 is a tensor<1x4x8x8xf32>";
        "%y = cast %x {to = f16} : tensor<1x4x8x8xf32>" => "16: y: gives elements of type f32, not f16";
        "%y = add %x, %m : tensor<1x4x8x8xf32>" => "16: y: tensor<1x4x8x8xf32> and tensor<4x3xf32> do not broadcast";
        "%y = add %m, %v : tensor<4x3xf32>" => "16: y: tensor<4x3xf32> and tensor<4xf32> do not broadcast";
        "%k = constant splat<1.0> : tensor<4x1xf32> %y = add %v, %k : tensor<4xf32>" => "16: y: gives a tensor<4xf32>, the operands broadcast to a tensor<4x4xf32>";
        "%y = equal %x, %x : tensor<1x4x8x8xf32>" => "16: y: gives elements of type f32, not bool";
        "%y = equal %x, %i" => "16: y: tensor<1x4x8x8xf32> and tensor<2xi64> do not broadcast", "16: y: compares f32 and i64";
        "%k = constant splat<1.0> : tensor<5x4x3x3xf32> %y = conv %x, %k, %v : tensor<1x6x6x6xf32>" => "16: y: the result has 6 channels, the kernel gives 5", "16: y: the bias has 4 channels, the kernel gives 5";
        "%y = conv %x, %m" => "16: y: operand 1 is a tensor<4x3xf32>, not of rank 4";
        "%y = linear %x, %m {matrix = true}" => "16: y: operand 0 is a tensor<1x4x8x8xf32>, not of rank 2";
        "%k = constant splat<1.0> : tensor<5xf32> %y = batch_norm %x, %v, %k, %m, %v" => "16: y: operand 2 has 5 channels, not 4", "16: y: operand 3 is a tensor<4x3xf32>, not of rank 1";
        "%y = reshape %x, %i : tensor<3x5xf32>" => "16: y: gives a tensor<3x5xf32>, operand 0 is a tensor<1x4x8x8xf32>";
        "%y = transpose %m : tensor<4x3xf32>" => "16: y: gives a tensor<4x3xf32>, not a tensor<3x4xf32>";
        "%y = transpose %m {perm = [0]}" => "16: y: `perm` has 1 axes, operand 0 is a tensor<4x3xf32>";
        "%y = flatten %x : tensor<4x8x8xf32>" => "16: y: gives a tensor<4x8x8xf32>, not of rank 2";
        "%y = shape %x : tensor<4xi32>" => "16: y: gives elements of type i32, not i64";
    }
    for fine in [
        "%y = relu %x : tensor<?x?{c}x8x?xf32>",
        "%y = relu %x : tensor<*xf32>",
        "%e = constant dense<2> : tensor<i64> %y = pow %x, %e : tensor<1x4x8x8xf32>",
        "%y = where %c, %x, %x : tensor<1x4x8x8xf32>",
        "%y = conv %x, %x",
        "%y = opaque \"Relu\" %x : tensor<3xf16>",
    ] {
        assert_eq!(in_graph(fine), [""; 0], "{fine}");
    }
}

/// What a document says of intermediate values may be stale.
#[test]
fn types_of_documents_are_hints() {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let f32s = TensorType::of(DType::F32, &[2]);
    let x = g.create(OpSpec::new(Parameter::default()).named_result("x", f32s.clone()));
    let stale = TensorType::of(DType::F16, &[3]);
    let a = g.create(OpSpec::new(UnaryKind::Relu).operand(g.result(x, 0)).result(stale).origin(0));
    // Nor is anything concluded from such a type.
    let b = g.create(OpSpec::new(UnaryKind::Relu).operand(g.result(a, 0)).result(f32s));
    g.create(OpSpec::new(Return::default()).operand(g.result(b, 0)));
    m.add_graph(g);
    assert_eq!(verify(&m), Ok(()));
}

#[derive(Debug)]
struct Nothing;
impl ByteSource for Nothing {
    fn len(&self) -> u64 {
        10
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Other.into())
    }
    fn mapped(&self, _: std::ops::Range<u64>) -> Option<&[u8]> {
        None
    }
}

#[test]
fn constants() {
    let finding = |ty: TensorType, data: ConstData| {
        let mut m = Module::new("m");
        let entry = m.constants.add(ty.clone(), data);
        let mut g = Graph::new("main", GraphRole::Main);
        g.create(OpSpec::new(Constant::new(entry)).named_result("k", ty));
        g.create(OpSpec::new(Return::default()));
        m.add_graph(g);
        findings(&m).join("; ")
    };
    let ty = TensorType::of(DType::F32, &[3]);
    let owned = |n: usize| ConstData::Owned(vec![0; n].into());
    assert_eq!(finding(ty.clone(), owned(12)), "");
    assert_eq!(finding(ty.clone(), owned(8)), "17: k: 8 bytes for a tensor<3xf32>, which has 12");
    assert_eq!(
        finding(ty.clone(), ConstData::Splat([0; 3].into())),
        "17: k: 3 bytes of one element for a tensor<3xf32>, which has 4"
    );
    let mapped = |offset| ConstData::Mapped { source: Arc::new(Nothing), offset };
    assert_eq!(finding(ty.clone(), mapped(0)), "17: k: 12 bytes from 0 on are beyond the source");
    assert_eq!(finding(TensorType::of(DType::F32, &[2]), mapped(2)), "");
    assert_eq!(
        finding(ty.clone(), mapped(u64::MAX)),
        "17: k: 12 bytes from 18446744073709551615 on are beyond the source"
    );
    assert_eq!(finding(ty, ConstData::Strings([].into())), "17: k: strings are no tensor<3xf32>");
    let strings = TensorType::of(DType::Str, &[2]);
    assert_eq!(
        finding(strings.clone(), ConstData::Strings([[].into()].into())),
        "17: k: 1 strings for a tensor<2xstr>, which has 2"
    );
    assert_eq!(finding(strings, owned(2)), "17: k: bytes are no tensor<2xstr>");
    let huge = TensorType::of(DType::F32, &[u64::MAX, u64::MAX]);
    assert_eq!(
        finding(huge, ConstData::Absent { hash: None }),
        "17: k: a tensor<18446744073709551615x18446744073709551615xf32> is too large"
    );

    // Derived, and wrong within: the vector is too short, the base does not broadcast.
    let mut m = Module::new("m");
    let base = m.constants.add_f64(DType::F32, &[4], &[1.0; 4]);
    let short = m.constants.add_f64(DType::F64, &[3], &[1.0; 3]);
    let scaled =
        m.constants.derive(base, Step::Scale { map: ElementMap::axis(&[4], 0), factors: short });
    let spread = m.constants.derive(base, Step::Broadcast { dims: vec![4, 2] });
    let outside = Step::Embed { source: base, offset: vec![1], negated: false };
    let outside = m.constants.derive(base, outside);
    let mut g = Graph::new("main", GraphRole::Main);
    for (entry, name) in [(scaled, "scaled"), (spread, "spread"), (outside, "outside")] {
        let ty = m.constants.ty(entry).clone();
        g.create(OpSpec::new(Constant::new(entry)).named_result(name, ty));
    }
    g.create(OpSpec::new(Return::default()));
    m.add_graph(g);
    assert_eq!(
        findings(&m),
        [
            "18: scaled: a map reaches beyond its vector, a tensor<3xf64>",
            "18: spread: [4] does not broadcast to [4, 2]",
            "18: outside: a tensor<4xf32> at [1] is not within [4]"
        ]
    );
}
