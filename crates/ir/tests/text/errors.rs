//! What is no module, and what is said of it.

use normfold_ir::text::{ParseError, line_column, parse};
use normfold_property::holds;

/// The error of a text: what it points at, line and column, the error itself.
fn error(text: &str) -> (String, (usize, usize), ParseError) {
    let e = match parse(text) {
        Ok(_) => panic!("parses: {text}"),
        Err(e) => e,
    };
    let end = e.span.end.min(text.len());
    (text[e.span.start.min(end)..end].to_owned(), line_column(text, e.span.start), e)
}

/// The error of one op in a graph with `%x: tensor<2xf32>`, as `what it points at: message`, and its help or label.
fn in_graph(op: &str) -> (String, String) {
    let text = format!("module @m {{\n  graph @g(%x: tensor<2xf32>) {{\n    {op}\n  }}\n}}");
    let (at, (line, _), e) = error(&text);
    assert!(line >= 3, "{op}: line {line}: {e}");
    (format!("{at}: {e}"), e.help.or(e.label).unwrap_or_default())
}

macro_rules! refused {
    ($($op:literal => $error:literal, $hint:literal;)*) => {$(
        assert_eq!(in_graph($op), ($error.to_owned(), $hint.to_owned()), "{}", $op);
    )*};
}

#[test]
fn ops() {
    refused! {
        "%y = batchnorm %x" => "batchnorm: no op is called `batchnorm`", "did you mean `batch_norm`?";
        "%y = relus %x" => "relus: no op is called `relus`", "did you mean `relu` or `prelu`?";
        "%y = frobnicate %x" => "frobnicate: no op is called `frobnicate`", "an op of another kind is written opaque \"domain::name\"";
        "%y = parameter {index = 1}" => "parameter: parameters stand in the head of the graph", "write graph @name(%x: type)";
        "%y = conv %x {stride = [1]}" => "stride: `conv` has no attribute `stride`", "its attributes: x, w, groups, strides, dilations, pad";
        "%y = relu %x {alpha = 1.0}" => "alpha: `relu` has no attribute `alpha`", "it has no attributes";
        "%y = conv %x {groups = -1}" => "-1: attribute `groups` must be a u64", "expected a u64";
        "%y = conv %x {x = NCWH}" => "NCWH: attribute `x` must be a data layout such as NCHW or NHWC", "expected a data layout such as NCHW or NHWC";
        "%y = conv %x {pad = [[1, 2, 3]]}" => "[[1, 2, 3]]: attribute `pad` must be [[lo, hi], …] or one of same_upper, same_lower, valid, causal", "expected [[lo, hi], …] or one of same_upper, same_lower, valid, causal";
        "%y = softmax %x {axis = 1, axis = 2}" => "axis: attribute `axis` is given twice", "";
        "%y = constant dense<1.0> {binding = loose} : tensor<f32>" => "loose: attribute `binding` must be one of fixed, overridable, mutable", "expected one of fixed, overridable, mutable";
        "return {names = []}" => "names: `return` has no attribute `names`", "it has no attributes";
        "%y = relu %z" => "%z: `%z` is not defined", "no op above it in this graph defines it";
        "%first = relu %x\n %y = relu %frist" => "%frist: `%frist` is not defined", "did you mean `%first`?";
        "%x = relu %x" => "%x: `%x` is defined twice", "defined again";
        "%a, %a = split %x" => "%a: `%a` is defined twice", "defined again";
        "%y = add %x, " => "}: expected an operand or `none`, found `}`", "expected an operand or `none`";
        "%y = relu %x : tensor<2xf32>, unknown" => ": tensor<2xf32>, unknown: 2 types for 1 results", "";
        "%y relu %x" => "relu: expected `=`, found `relu`", "expected `=`";
        "%y = %x" => "%x: expected an op, found `%x`", "expected an op";
        "return %x\n return" => "return: an op after `return`", "";
        "%y = opaque Foo %x" => "Foo: expected quoted text, found `Foo`", "expected quoted text";
    }
}

#[test]
fn types() {
    refused! {
        "%y = relu %x : tensr<2xf32>" => "tensr: expected a type, found `tensr`", "a type is tensor<2x3xf32>, tensor<*xf32>, unknown or other<\"…\">";
        "%y = relu %x : tensor<2xf31>" => "f31: `f31` is no element type", "did you mean `f32`?";
        "%y = relu %x : tensor<2x3>" => ">: expected `x` after an extent", "a tensor type is tensor<2x3xf32>, tensor<?{N}x3xf32> or tensor<*xf32>";
        "%y = relu %x : tensor<?{a b}xf32>" => "?{a: the extent's name has no end", "write ?{name}, or ?{\"name\"} for one with other characters";
        "%y = relu %x : tensor<99999999999999999999xf32>" => "99999999999999999999: extent is too large", "";
        "%y = relu %x : tensor<2éxf32>" => "é: expected `x` after an extent", "a tensor type is tensor<2x3xf32>, tensor<?{N}x3xf32> or tensor<*xf32>";
        "%y = relu %x : tensor<2xé>" => "é: `` is no element type", "element types: f64, f32, f16, bf16, f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0, f4e2m1, i64, i32, i16, i8, i4, i2, u64, u32, u16, u8, u4, u2, bool, str, c64, c128";
        "%y = relu %x : tensor<2xf32é" => "é: expected `>` after the element type", "";
        "%y = relu %x : tensor<2xf32" => "\n: expected `>` after the element type", "";
    }
}

#[test]
fn constants() {
    refused! {
        "%k = constant dense<[1, 2]> : tensor<3xf32>" => "dense<[1, 2]>: 2 elements for a tensor<3xf32>, which has 3", "";
        "%k = constant dense<[[1], [2, 3]]> : tensor<3xf32>" => "[2, 3]: elements are nested unevenly", "2 here, 1 before";
        "%k = constant dense<[1, [2]]> : tensor<2xf32>" => "[: elements are nested unevenly", "";
        "%k = constant dense<[[1, 2]]> : tensor<2x1xf32>" => "dense<[[1, 2]]>: the brackets are not those of a tensor<2x1xf32>", "";
        "%k = constant dense<300> : tensor<u8>" => "300: not an element of type u8", "expected an integer that u8 holds";
        "%k = constant dense<1.5> : tensor<i8>" => "1.5: not an element of type i8", "expected an integer that i8 holds";
        "%k = constant dense<0x7fc> : tensor<f32>" => "0x7fc: not an element of type f32", "expected a number that f32 holds, or its bits as 0x… with 8 digits";
        "%k = constant splat<1e999> : tensor<9xf64>" => "1e999: not an element of type f64", "expected a number that f64 holds, or its bits as 0x… with 16 digits";
        "%k = constant dense<1> : tensor<bool>" => "1: not an element of type bool", "expected `true` or `false`";
        "%k = constant dense<1> : tensor<str>" => "1: not an element of type str", "expected quoted text";
        "%k = constant splat<\"a\"> : tensor<9xstr>" => "\"a\": strings have no splat", "write dense<[…]>";
        "%k = constant blob<sha 12> : tensor<2xf32>" => "12: a content hash is 16 hex digits", "";
        "%k = constant absent : tensor<?xf32>" => "tensor<?xf32>: the extents of a constant are known", "";
        "%k = constant absent : unknown" => "unknown: a constant is a tensor", "";
        "%k = constant absent : tensor<4294967296x4294967296xf32>" => "tensor<4294967296x4294967296xf32>: the constant is too large", "";
        "%k = constant resource<0> : tensor<2xf32>" => "resource<0>: resource 0 has no bytes", "add them to `resources { … }`";
        "%k = constant 1.0 : tensor<f32>" => "1.0: expected the data of a constant, found `1.0`", "a constant is dense<…>, splat<…>, blob<sha …>, absent, stats<…>, resource<…> or derived(…)";
        "%k = constant derived(splat<1> : tensor<4xf32>, scale(map[1:4], splat<1> : tensor<3xf64>)) : tensor<4xf32>" => "scale(map[1:4], splat<1> : tensor<3xf64>): the map reaches beyond the vector", "the vector has 3 elements";
        "%k = constant derived(splat<1> : tensor<4xf32>, scale(map[0:4], splat<1> : tensor<4xf64>)) : tensor<4xf32>" => "0:4: stride, size and divisor are at least 1", "";
        "%k = constant derived(splat<1> : tensor<4xf32>, broadcast[4, 2]) : tensor<4x2xf32>" => "broadcast[4, 2]: tensor<4xf32> does not broadcast to these extents", "";
        "%k = constant derived(splat<1> : tensor<4xf32>, broadcast[2, 4]) : tensor<4xf32>" => "tensor<4xf32>: the derived constant is a tensor<2x4xf32>", "";
        "%k = constant derived(splat<1> : tensor<4xf32>, twist[2]) : tensor<4xf32>" => "twist: expected a step, found `twist`", "a step is scale(map[…], …), shift(map[…], …), scatter(…, …), embed([…], …) or broadcast[…]";
        "%k = constant derived(splat<1> : tensor<4x3xf32>, embed([3, 0], splat<1> : tensor<2x3xf32>)) : tensor<4x3xf32>" => "embed([3, 0], splat<1> : tensor<2x3xf32>): a tensor<2x3xf32> does not fit there", "into a tensor<4x3xf32>";
    }
}

#[test]
fn attributes() {
    refused! {
        "opaque \"A\" {a = %x}" => "%x: expected an attribute's value, found `%x`", "a value is true, false, a number, a word, quoted text, [a list], a constant, type<…>, bytes<\"hex\"> or ref<\"name\">";
        "opaque \"A\" {a = 9223372036854775808}" => "9223372036854775808: `9223372036854775808` is no 64-bit integer", "write a float with a point: 1.0";
        "opaque \"A\" {a = 0x12}" => "0x12: not the bits of a float", "16 hex digits are an f64, 8 an f32";
        "opaque \"A\" {a = 1.2.3}" => "1.2.3: `1.2.3` is no number", "";
        "opaque \"A\" {a = bytes<\"0g\">}" => "\"0g\": not bytes in hex digits", "";
        "opaque \"A\" {a 1}" => "1: expected `=`, found `1`", "expected `=`";
        "opaque \"A" => "\"A: quoted text does not end on its line", "write a line break as `\\n`";
        "opaque \"\\q\"" => "\\q: unknown escape", "the escapes are \\\" \\\\ \\n \\t \\r and \\u{hex}";
        "opaque \"\\u{d800}\"" => "\\u{d800}: unknown escape", "the escapes are \\\" \\\\ \\n \\t \\r and \\u{hex}";
        "%y = relu ;" => ";: unexpected character ';'", "";
        "%y = relu é" => "é: unexpected character 'é'", "";
        "% = relu" => "%: `%` without a name", "write %name, or %\"name\" for one with other characters";
    }
}

#[test]
fn heads() {
    let cases = [
        ("", "expected `module`, found the end of the text"),
        ("module m {}", "expected a name such as `@main`, found `m`"),
        (
            "module @m {",
            "expected `graph`, `function`, `resources` or `}`, found the end of the text",
        ),
        ("module @m {} module @n {}", "expected the end of the text, found `module`"),
        (
            "module @m { body @b() {} }",
            "expected `graph`, `function`, `resources` or `}`, found `body`",
        ),
        (
            "module @m { graph @g() -> (%a: unknown, unknown) {} }",
            "either every result has a name or none",
        ),
        ("module @m { graph @g() -> (unknown, %a) {} }", "either every result has a name or none"),
        (
            "module @m { graph @g(%x) -> (%a, %b) { return %x } }",
            "`return` gives 1 values, the graph has 2 results",
        ),
        (
            "module @m { graph @g(%x: tensor<f32>) -> (%a: tensor<i8>) { return %x } }",
            "`return` gives a tensor<f32>",
        ),
        ("module @m { graph @g() -> (%a) { } }", "the graph has results but no `return`"),
        ("module @m { graph @g(%x, %x) { } }", "`%x` is defined twice"),
        ("module @m { graph @g() { return \"a", "quoted text has no end"),
        ("module @m { resources { 1 = \"\" } }", "no constant above is resource<1>"),
        (
            "module @m { graph @g() { %k = constant resource<1> : tensor<2xi8> } resources { 1 = \"00\" } }",
            "1 bytes for a tensor<2xi8>, which has 2",
        ),
        (
            "module @m { graph @g() { %k = constant resource<1> : tensor<2xi8> %l = constant resource<1> : tensor<1xi8> } }",
            "resource 1 has another type before",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(error(text).2.message, message, "{text}");
    }
}

#[test]
fn places() {
    let text = "module @m {\n  graph @g(%\"é\": unknown) {\n    %\"é\" = relu %\"é\"\n  }\n}";
    let (at, place, e) = error(text);
    assert_eq!((at.as_str(), place), ("%\"é\"", (3, 5)));
    assert_eq!(e.related.len(), 1);
    let (first, label) = &e.related[0];
    assert_eq!((&text[first.clone()], label.as_str()), ("%\"é\"", "first defined here"));
    assert_eq!(line_column(text, first.start), (2, 12));
    assert_eq!(line_column("aé\nb", 2), (1, 2), "within a character: its beginning");
    assert_eq!(line_column("a", 99), (1, 2));
}

/// Depth is bounded, so that hostile text gives an error and not the end of the stack.
#[test]
fn nesting() {
    let lists = |n: usize| format!("opaque \"A\" {{a = {}{}}}", "[".repeat(n), "]".repeat(n));
    let deep = lists(100_000);
    let (error, _) = in_graph(&deep);
    assert_eq!(error, "[: nested deeper than 128 levels");
    let unclosed = format!("opaque \"A\" {{a = {}", "[".repeat(100_000));
    assert_eq!(in_graph(&unclosed).0, "[: nested deeper than 128 levels");
    let within = format!("module @m {{ graph @g() {{ {} }} }}", lists(127));
    assert!(parse(&within).is_ok());

    let dense = format!("%k = constant dense<{}1", "[".repeat(100_000));
    assert_eq!(in_graph(&dense).0, "[: nested deeper than 64 levels");
    let derived = format!("%k = constant {}", "derived(".repeat(100_000));
    assert_eq!(in_graph(&derived).0, "derived: nested deeper than 16 levels");

    let bodies = |n: usize| {
        let open = "opaque \"A\" body @b() { ".repeat(n);
        format!("module @m {{ graph @g() {{ {open}{} }} }}", "} ".repeat(n))
    };
    assert!(parse(&bodies(64)).is_ok());
    let both = bodies(64).replace("} } ", &format!("{} }} }} ", lists(127)));
    assert!(parse(&both).is_ok());
    assert_eq!(
        parse(&bodies(100_000)).unwrap_err().message,
        "bodies are nested deeper than 64 levels"
    );
}

/// Whatever is cut or changed, the parser answers.
#[test]
fn mutilated_text() {
    let text = include_str!("sample.nf");
    parse(text).unwrap();
    for end in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
        let _ = parse(&text[..end]);
    }
    holds(400, |u| {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..u.int_in_range(1..=8)? {
            let (at, middle) = (u.choose_index(bytes.len())?, bytes.len() / 2);
            match u.int_in_range(0..=2)? {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, *u.choose(b"{}()[]<>,:=%@\"0x-e.")?),
                _ => bytes.swap(at, middle),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(e) = parse(&text) {
            line_column(&text, e.span.start);
            assert!(text.get(e.span.clone()).is_some(), "{:?}", e.span);
        }
        Ok(())
    });
}
