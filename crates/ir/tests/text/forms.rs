//! Every form of the text, by example.

use crate::same::{assert_same, exact, round_trip};
use normfold_ir::{
    text::{self, PrintOptions, Weights},
    *,
};
use std::{io, ops::Range, sync::Arc};

#[test]
fn the_smallest_modules() {
    exact("module @m {\n}\n");
    exact("module @\"a b\" {n = 1} {\n}\n");
    assert_eq!(text::parse("module @m {} // nothing").unwrap().graph_ids().len(), 0);
}

#[test]
fn a_network() {
    let m = exact(
        r#"module @net {source = "onnx", ir = 10, opset = [["", 17], ["com.x", 1]]} {
  graph @main(%x: tensor<?{N}x3x224x224xf32>) -> (%y: tensor<?{N}x2x112x112xf32>) {
    %conv1.weight = constant blob<sha 3f9a1c02d4e7b815> : tensor<2x3x7x7xf32>
    %g = constant dense<[0.5, -1.25]> : tensor<2xf32>
    %b = constant splat<0.0> {binding = overridable} : tensor<2xf32>
    %m = constant absent {binding = mutable} : tensor<2xf32> "mean"
    %0 = conv %x, %conv1.weight, none {strides = [2, 2], pad = [[3, 3], [3, 3]]} "conv1" : tensor<?{N}x2x112x112xf32>
    %"bn/out:0" = batch_norm %0, %g, %b, %m, %g {eps = 1e-5f} "bn1" : tensor<?{N}x2x112x112xf32>
    return %"bn/out:0"
  }
}
"#,
    );
    let g = m.graph(m.main().unwrap());
    let names: Vec<_> = g
        .topo_order()
        .unwrap()
        .into_iter()
        .flat_map(|o| g.results(o))
        .map(|v| g.value_name(v).map(|n| n.to_string()))
        .collect();
    assert_eq!(names[5..], [None, Some("bn/out:0".to_owned())]);
    let y = g.operand(g.return_op().unwrap(), 0).unwrap();
    let OpKind::BatchNorm(bn) = g.kind(y.op) else { panic!("{:?}", g.kind(y.op)) };
    assert_eq!(bn.eps, f64::from(1e-5f32));
    assert_eq!(verify(&m), Ok(()));
}

/// One op of each mnemonic, with attributes that are not the default.
#[test]
fn every_op() {
    let ops = r#"
    %conv = conv %x, %w, %b {x = NHWC, w = HWIO, groups = 2, strides = [2, 1], dilations = [1, 2], pad = same_upper} : unknown
    %conv_transpose = conv_transpose %x, %w {x = NCDHW, w = DHWOI, groups = 4, strides = [2, 2, 2], dilations = [3, 1, 1], pad = [[0, 1], [2, 3], [4, 5]], output_padding = [1, 0, 0], output_shape = [7, 8, 9]} : tensor<*xf32>
    %linear = linear %x, %w, %b {alpha = 0.5, beta = 2.0, trans_x = true, trans_w = true, matrix = true} : unknown
    %matmul = matmul %x, %w : unknown
    %batch_norm, %0, %1 = batch_norm %x, none, none, %b, %b {axis = 3, eps = 0.001, training = true, spatial = false} : (tensor<2xf32>, unknown, unknown)
    %activation = activation %x {f = celu, alpha = 0.2f, beta = 1.0} : unknown
    %clip = clip %x {min = 0.0, max = 6.0} : unknown
    %prelu = prelu %x, %b : unknown
    %softmax = softmax %x {f = log_softmax, axis = 1, flatten = true} : unknown
    %cast = cast %x {to = bf16} : tensor<?x?{n}x3xbf16>
    %cast_like = cast_like %x, %b : unknown
    %where = where %x, %x, %b : unknown
    %identity = identity %x : unknown
    %dropout, %mask = dropout %x, none, %b {training = true} : (unknown, tensor<*xbool>)
    %reshape = reshape %x {allow_zero = true, shape = [0, -1]} : unknown
    %transpose = transpose %x {perm = [1, 0]} : unknown
    %flatten = flatten %x {axis = -2} : unknown
    %squeeze = squeeze %x {axes = [0]} : unknown
    %unsqueeze = unsqueeze %x {axes = []} : unknown
    %expand = expand %x, %s : unknown
    %concat = concat %x, %x, %w {axis = 1} : unknown
    %s0, %s1 = split %x {axis = 2, sizes = [1, 3]} : (unknown, unknown)
    %slice = slice %x {starts = [0], ends = [9223372036854775807], axes = [-1]} : unknown
    %gather = gather %x, %s {axis = 1} : unknown
    %shape = shape %x {start = 1, end = -1} : tensor<1xi64>
    %size = size %x : tensor<i64>
    %filled = constant_of_shape %s {value = dense<[7]> : tensor<1xi32>} : unknown
    %range = range %s, %s, %s : unknown
    %global_pool = global_pool %x {f = lp, channel_last = true, keepdims = false, p = 1} : unknown
    %depth_to_space = depth_to_space %x {block = 2, mode = crd} : unknown
    %space_to_depth = space_to_depth %x {block = 2} : unknown
    %quantize = quantize %x, %b, none {axis = 0, block = 32} : unknown
    %dequantize = dequantize %x, %b {axis = -1, block = 16} : unknown
    %pool, %indices = pool %x {f = average, x = NWC, kernel = [3], strides = [2], dilations = [2], pad = causal, ceil_mode = true, count_include_pad = true, p = 3} : (unknown, unknown)
    %pad = pad %x {mode = edge, amounts = [0, 1, 0, -1], value = 0.5} : unknown
    %resize = resize %x, none, none, %s {mode = "cubic", coordinates = "align_corners", nearest = "floor", extrapolation = 1.0, cubic_coeff = -0.5, exclude_outside = true, antialias = true, axes = [2], aspect = "not_larger"} : unknown
    %resize2 = resize %x {scales = [1.0, 2.5]} : unknown
    %reduce = reduce %x {f = log_sum_exp, axes = [1, 2], keepdims = false, noop_with_empty_axes = true} : unknown
    %call = call %x {callee = "helper"} "calling" : unknown
    %opaque = opaque "com.x::Foo" pure type_uses(0, 2) quantized %x, none, %b {k = 1} "foo" : unknown
    opaque "Print"
    %source = opaque "com.x::Source" : tensor<2xf32>
    %split = opaque "a::b"::"c::d" : tensor<2xf32>
    opaque "a::b"::"c::d" {t = type<tensor<2xf32>>}
"#;
    let plain = |kinds: Vec<&str>, operands: &str| -> String {
        kinds.iter().map(|k| format!("    %{k} = {k} {operands} : unknown\n")).collect()
    };
    let unary = plain(UnaryKind::ALL.iter().map(|k| k.mnemonic()).collect(), "%x");
    let binary = plain(BinaryKind::ALL.iter().map(|k| k.mnemonic()).collect(), "%x, %b");
    let compare = plain(CompareKind::ALL.iter().map(|k| k.mnemonic()).collect(), "%x, %b");
    let control = r#"    %if = if %b captures(%x) : unknown
      body @then() captures(%x: unknown) -> (unknown) {
        return %x
      }
      body @else() -> (tensor<i8>) {
        %0 = constant dense<0> : tensor<i8>
        return %0
      }
    %loop = loop none, none : unknown
      body @b(%i: tensor<i64>, %c: tensor<bool>) -> (tensor<bool>, tensor<i64>) {
        return %c, %i
      }
    %scan = scan %x {scan_inputs = 1, input_axes = [1], output_axes = [-1], input_directions = [1], output_directions = [0]} : unknown
      body @b(%e: unknown) -> (unknown) {
        return %e
      }
"#;
    let text = format!(
        "module @m {{\n  graph @main(%x: unknown, %w: unknown, %b: unknown, %s: unknown) -> (unknown) {{{ops}{unary}{binary}{compare}{control}    return %x\n  }}\n}}\n"
    );
    let m = exact(&text);
    let mut seen: Vec<&str> = m
        .graph_ids()
        .flat_map(|g| m.graph(g).ops().map(move |o| (g, o)).collect::<Vec<_>>())
        .map(|(g, o)| m.graph(g).kind(o).mnemonic())
        .collect();
    seen.sort_unstable();
    for mnemonic in OpKind::mnemonics() {
        assert!(seen.binary_search(&mnemonic).is_ok(), "no {mnemonic} above");
    }
    // Attributes in full: what a kind prints is what it takes.
    for g in m.graph_ids() {
        for op in m.graph(g).ops() {
            let kind = m.graph(g).kind(op);
            if !matches!(kind, OpKind::Opaque(_)) {
                let back = OpKind::from_attrs(kind.mnemonic(), &kind.to_attrs());
                assert_eq!(back, Some(Ok(kind.clone())));
            }
        }
    }
}

#[test]
fn attributes_of_every_form() {
    let m = exact(
        r#"module @m {
  graph @main() -> () {
    opaque "A" {a = true, b = -9223372036854775808, c = 1.0, d = 1e300, e = 0x7ff8000000000000, f = 0xfff0000000000000, g = word<"true">, h = word<"1st">, i = "a\"\\\n\u{7f}é", j = bytes<"00ff">, k = [], l = [1, [2.5, "x"]], m = splat<1.0> : tensor<2x2xf16>, n = type<unknown>, o = type<other<"seq(tensor(float))">>, p = ref<"alpha">, q = NHWC, r = none, "with space" = 0.1f, s = -0.0, t = 16777216.0}
    return
  }
}
"#,
    );
    let g = m.graph(m.main().unwrap());
    let op = g.ops().find(|&o| matches!(g.kind(o), OpKind::Opaque(_))).unwrap();
    let attrs = g.kind(op).to_attrs();
    assert_eq!(attrs["with space"], Attribute::Float(f64::from(0.1f32)));
    assert_eq!(attrs["g"], Attribute::Word("true".into()));
    assert_eq!(attrs["i"], Attribute::Str("a\"\\\n\u{7f}é".into()));
    assert_eq!(attrs["r"], Attribute::Word("none".into()));
}

#[test]
fn constants_of_every_form() {
    let m = exact(
        r#"module @m {
  graph @main() -> () {
    %f64 = constant dense<[0.1, -0.0, 0x7ff0000000000000, 5e-324]> : tensor<4xf64>
    %f32 = constant dense<[0.1, 3.4028235e38, 0x7fc00001, 1e-45]> : tensor<2x2xf32>
    %f16 = constant dense<[0.1, 65500.0, 0x7e00]> : tensor<3xf16>
    %bf16 = constant dense<[0.1, 0xff80]> : tensor<2xbf16>
    %f8 = constant dense<[448.0, 0x7f, 0.001953125]> : tensor<3xf8e4m3fn>
    %f4 = constant dense<[6.0, -0.5, 0.0]> : tensor<3xf4e2m1>
    %e8 = constant dense<[1.0, 0xff]> : tensor<2xf8e8m0>
    %i64 = constant dense<[-9223372036854775808, 9223372036854775807]> : tensor<2xi64>
    %u64 = constant dense<18446744073709551615> : tensor<u64>
    %i4 = constant dense<[-8, 7, -1]> : tensor<3xi4>
    %u2 = constant dense<[3, 0, 1]> : tensor<3xu2>
    %bool = constant dense<[true, false, 0x02]> : tensor<3xbool>
    %str = constant dense<["a", "", bytes<"ff">, "q\"é"]> : tensor<4xstr>
    %scalar_str = constant dense<"s"> : tensor<str>
    %c64 = constant dense<[(1.5, -2.0), (0x7fc00000, 0.0)]> : tensor<2xc64>
    %c128 = constant dense<(1.0, 0.1)> : tensor<c128>
    %empty = constant dense<[]> : tensor<0x3xf32>
    %splat = constant splat<0.1> : tensor<1000x1000xf32>
    %splat4 = constant splat<-1> : tensor<3xi4>
    %hash = constant blob<sha 00000000deadbeef> : tensor<2xf32>
    %absent = constant absent : tensor<1000000x1000000xf32>
    %one = constant dense<[1.0]> : tensor<1xf32>
    return
  }
}
"#,
    );
    assert_eq!(verify(&m), Ok(()));
}

#[test]
fn derived_constants() {
    let m = exact(
        r#"module @m {
  graph @main() -> () {
    %w = constant derived(blob<sha 3f9a1c02d4e7b815> : tensor<4x3x3x3xf32>, scale(map[27:4], dense<[0.5, 1.0, 2.0, 0.1]> : tensor<4xf64>), scale(map[27:4], splat<3.0> : tensor<4xf64>), shift(map[9:3, 27:4/2*3], splat<0.0> : tensor<6xf64>)) : tensor<4x3x3x3xf32>
    %b = constant derived(dense<[1.0, 2.0]> : tensor<2x1xf16>, broadcast[3, 2, 4], shift(map[], dense<[1.0]> : tensor<1xf64>)) {binding = overridable} : tensor<3x2x4xf16>
    %e = constant derived(splat<1.0> : tensor<4x3xf32>, embed([1, 2], dense<[1.0, 2.0]> : tensor<2x1xf32>), embed(negated [0, 0], derived(dense<[1.0]> : tensor<1x1xf32>, broadcast[4, 3]) : tensor<4x3xf32>)) : tensor<4x3xf32>
    %n = constant derived(dense<[1.0]> : tensor<1xf32>, scale(map[], derived(dense<[2.0]> : tensor<1xf64>, scale(map[], dense<[3.0]> : tensor<1xf64>)) : tensor<1xf64>)) : tensor<1xf32>
    return
  }
}
"#,
    );
    assert_eq!(verify(&m), Ok(()));
    let n = m
        .constants
        .ids()
        .find(|&i| {
            m.constants.dims(i) == [1]
                && m.constants.dtype(i) == DType::F32
                && matches!(m.constants.entry(i).data, ConstData::Derived(_))
        })
        .unwrap();
    assert_eq!(m.constants.to_f64(n).unwrap(), [6.0]);
}

#[test]
fn graphs_functions_bodies_and_captures() {
    let m = exact(
        r#"module @m {
  graph @"torch-jit export"(%a: tensor<2xf32>, %c "cond": tensor<bool>) -> (%r: tensor<2xf32>) {
    %0 = if %c captures(%a, %c) "branch" : tensor<2xf32>
      body @then() captures(%inner: tensor<2xf32>) -> (tensor<2xf32>) {
        %0 = call %inner {callee = "f"} : tensor<2xf32>
        return %0
      }
      body @else() captures(%c from 1: tensor<bool>) -> (%e: tensor<2xf32>) {
        %0 = cast %c : tensor<f32>
        %e = opaque "com.x::Nest" captures(%0) : tensor<2xf32>
          body @g() captures(%z: tensor<f32>) -> (tensor<f32>) {
            return %z
          }
        return %e
      }
    return %0 "out"
  }
  function @f(%x: unknown) -> (%y: unknown) {
    %y = relu %x : unknown
    return %y
  }
}
"#,
    );
    assert_eq!(verify(&m), Ok(()));
    assert!(m.function("f").is_some());
    let text = text::print_graph(&m, m.function("f").unwrap(), &PrintOptions::default()).unwrap();
    assert_eq!(
        text,
        "function @f(%x: unknown) -> (%y: unknown) {\n  %y = relu %x : unknown\n  return %y\n}\n"
    );
}

#[test]
fn spelling_is_free() {
    let m = text::parse(
        r#"// RUN: --passes=dce
module @m{
  // results may go without types, names without bodies
  graph @main(%x: tensor<2x2xf32>, %"y") {
    %k = constant dense<[[1, 2], [3, 4]]> : tensor<2x2xf32>
    %a, %b = split %x : tensor<1x2xf32>, tensor<1x2xf32> // of two
    %c = add
      %a,
      %k
    opaque "Print"
    %d = batch_norm %c, %k, %k, %k, %k {eps = 1}
    return %d, %b
  }
}"#,
    )
    .unwrap();
    assert_eq!(
        round_trip(&m),
        r#"module @m {
  graph @main(%x: tensor<2x2xf32>, %y: unknown) -> (unknown, tensor<1x2xf32>) {
    %k = constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<2x2xf32>
    %a, %b = split %x : (tensor<1x2xf32>, tensor<1x2xf32>)
    %c = add %a, %k : unknown
    opaque "Print"
    %d = batch_norm %c, %k, %k, %k, %k {eps = 1.0} : unknown
    return %d, %b
  }
}
"#
    );
}

#[test]
fn names_that_are_numbers_or_double() {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let x = g.create(OpSpec::new(Parameter::default()).named_result("12", Type::Unknown));
    let mut v = g.result(x, 0);
    for name in [None, Some("twice"), Some("twice"), Some(""), Some("a b"), None] {
        let mut spec = OpSpec::new(UnaryKind::Relu).operand(v);
        spec = match name {
            Some(n) => spec.named_result(n, Type::Unknown),
            None => spec.result(Type::Unknown),
        };
        let op = g.create(spec);
        v = g.result(op, 0);
    }
    g.create(OpSpec::new(Return { names: vec!["12".into()] }).operand(v));
    m.add_graph(g);
    assert_eq!(
        round_trip(&m),
        r#"module @m {
  graph @main(%"12": unknown) -> (%"12": unknown) {
    %0 = relu %"12" : unknown
    %twice = relu %0 : unknown
    %1 as "twice" = relu %twice : unknown
    %"" = relu %1 : unknown
    %"a b" = relu %"" : unknown
    %2 = relu %"a b" : unknown
    return %2
  }
}
"#
    );
}

#[test]
fn ops_print_in_topological_order_and_one_by_one() {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let x = g.create(OpSpec::new(Parameter::default()).named_result("x", Type::Unknown));
    let x = g.result(x, 0);
    let y = g.create(OpSpec::new(UnaryKind::Relu).operand(x).result(Type::Unknown));
    let ret = g.create(OpSpec::new(Return::default()).operand(g.result(y, 0)));
    // Created last, read by an earlier op.
    let z = g.create(OpSpec::new(UnaryKind::Neg).operand(x).result(Type::Unknown).name("z"));
    g.set_operand(Use { user: y, operand: 0 }, Some(g.result(z, 0)));
    assert_eq!(text::print_op(&g, &m.constants, z), "%_3 = neg %x \"z\" : unknown");
    assert_eq!(text::print_op(&g, &m.constants, ret), "return %_1");
    m.add_graph(g);
    let text = round_trip(&m);
    assert!(text.contains("%0 = neg %x \"z\" : unknown\n    %1 = relu %0"), "{text}");
}

#[test]
fn a_cyclic_graph_still_prints() {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let a =
        g.create(OpSpec::new(UnaryKind::Relu).operands([None]).named_result("a", Type::Unknown));
    g.set_operand(Use { user: a, operand: 0 }, Some(g.result(a, 0)));
    m.add_graph(g);
    let text = text::print(&m, &PrintOptions::default()).unwrap();
    assert!(text.contains("%a = relu %a : unknown"), "{text}");
}

#[derive(Debug)]
struct File(Vec<u8>);
impl ByteSource for File {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        match self.0.get(start..start + buf.len()) {
            Some(b) => buf.copy_from_slice(b),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
    fn mapped(&self, _: Range<u64>) -> Option<&[u8]> {
        None
    }
}

fn large() -> (Module, ConstId) {
    let mut m = Module::new("m");
    let values: Vec<u8> = (0..40u8).flat_map(|i| (f32::from(i) - 20.0).to_le_bytes()).collect();
    let file = Arc::new(File([vec![7; 3], values].concat()));
    let ty = TensorType::of(DType::F32, &[4, 10]);
    let id = m.constants.add(ty.clone(), ConstData::Mapped { source: file, offset: 3 });
    let mut g = Graph::new("main", GraphRole::Main);
    for name in ["w", "again"] {
        g.create(OpSpec::new(Constant::new(id)).named_result(name, ty.clone()));
    }
    g.create(OpSpec::new(Return::default()));
    m.add_graph(g);
    (m, id)
}

#[test]
fn large_constants() {
    let (m, id) = large();
    let with = |weights| text::print(&m, &PrintOptions { weights }).unwrap();
    let hash = m.constants.content_hash(id).unwrap();
    let hashed = with(Weights::Hash);
    assert!(hashed.contains(&format!("blob<sha {hash:016x}> : tensor<4x10xf32>")), "{hashed}");
    round_trip(&m);
    assert!(with(Weights::None).contains("%w = constant absent : tensor<4x10xf32>"));
    let stats = with(Weights::Stats);
    let figures = "stats<min -2.000e1, max 1.900e1, mean -5.000e-1, l2 7.308e1>";
    assert!(stats.contains(figures), "{stats}");
    let back = text::parse(&stats).unwrap();
    assert!(back.constants.ids().all(|i| !back.constants.is_present(i)));

    let full = with(Weights::Full);
    let back = text::parse(&full).unwrap();
    assert_same(&m, &back);
    assert_eq!(back.constants.to_f64(back.constants.ids().next().unwrap()).unwrap()[39], 19.0);
    assert_eq!(back.constants.len(), 1, "one resource is one entry");
    assert_eq!(text::print(&back, &PrintOptions { weights: Weights::Full }).unwrap(), full);
}

#[test]
fn uniform_constants_are_splats_however_they_are_stored() {
    let mut m = Module::new("m");
    let mut g = Graph::new("main", GraphRole::Main);
    let mut add = |m: &mut Module, dtype, n: u64, bytes: Vec<u8>| {
        let ty = TensorType::of(dtype, &[n]);
        let entry = m.constants.add(ty.clone(), ConstData::Owned(bytes.into()));
        g.create(OpSpec::new(Constant::new(entry)).result(ty));
    };
    add(&mut m, DType::F32, 100_000, 0.25f32.to_le_bytes().repeat(100_000));
    add(&mut m, DType::U4, 33, [vec![0x33; 16], vec![0x03]].concat());
    let mut last_differs = vec![0u8; 100_000];
    last_differs[99_999] = 1;
    add(&mut m, DType::I8, 100_000, last_differs);
    m.add_graph(g);
    let text = round_trip(&m);
    assert!(text.contains("%0 = constant splat<0.25> : tensor<100000xf32>"), "{text}");
    assert!(text.contains("%1 = constant splat<3> : tensor<33xu4>"), "{text}");
    assert!(text.contains("%2 = constant blob<sha "), "{text}");
}

#[test]
fn unreadable_constants_are_an_error_that_names_them() {
    let mut m = Module::new("m");
    let ty = TensorType::of(DType::F32, &[100]);
    let source = Arc::new(File(vec![0; 8]));
    let entry = m.constants.add(ty.clone(), ConstData::Mapped { source, offset: 0 });
    let mut g = Graph::new("main", GraphRole::Main);
    let op = g.create(OpSpec::new(Constant::new(entry)).named_result("w", ty));
    assert_eq!(text::print_op(&g, &m.constants, op), "%w = constant absent : tensor<100xf32>");
    m.add_graph(g);
    let error = text::print(&m, &PrintOptions::default()).unwrap_err();
    assert!(matches!(error, text::PrintError::Constant { entry: e, .. } if e == entry));
    assert!(text::print(&m, &PrintOptions { weights: Weights::None }).is_ok());
}

/// 100,000 ops: the cost must stay linear, or this takes minutes.
#[test]
fn long_graphs() {
    let mut text =
        String::from("module @m {\n  graph @main(%x: tensor<4xf32>) -> (tensor<4xf32>) {\n");
    text += "    %v0 = relu %x : tensor<4xf32>\n";
    for i in 1..100_000 {
        text += &format!("    %v{i} = add %v{}, %x : tensor<4xf32>\n", i - 1);
    }
    text += "    return %v99999\n  }\n}\n";
    let m = text::parse(&text).unwrap();
    assert_eq!(m.graph(m.main().unwrap()).len(), 100_002);
    assert_eq!(verify(&m), Ok(()));
    assert!(text::print(&m, &PrintOptions::default()).unwrap() == text);
}
