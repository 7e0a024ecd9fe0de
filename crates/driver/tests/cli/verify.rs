//! What `verify` and `opt --verify` say, print and leave.

#[cfg(feature = "verify")]
use crate::model::{Message, conv_bn, ints, node, tensor, weight};
use crate::{Place, check};
#[cfg(feature = "verify")]
use std::fs;

#[cfg(not(feature = "verify"))]
#[test]
fn without_the_engine_there_is_no_verdict() {
    let place = Place::new();
    place.copy("resnet_tiny.onnx");
    let outcome =
        check!(place, "verify-not-built", ["verify", "resnet_tiny.onnx", "resnet_tiny.onnx"]);
    assert_eq!(outcome.code, Some(7));
    let args = ["opt", "resnet_tiny.onnx", "-o", "out.onnx", "--verify"];
    assert_eq!(place.run(&args).code, Some(7));
    assert_eq!(place.others(&["resnet_tiny.onnx"]), [""; 0]);
}

#[test]
fn options_without_verify_would_do_nothing() {
    let place = Place::new();
    place.copy("resnet_tiny.onnx");
    let opt = ["opt", "resnet_tiny.onnx", "-o", "out.onnx"];
    check!(place, "verify-options-alone", [&opt[..], &["--tolerance=1e-3"]].concat());
    check!(place, "verify-without-output", ["opt", "resnet_tiny.onnx", "--verify"]);
    for wrong in ["--dim=N", "--dim==2", "--dim=N=0", "--tolerance=-1", "--tolerance=nan"] {
        let outcome = place.run(&["verify", "resnet_tiny.onnx", "resnet_tiny.onnx", wrong]);
        assert_eq!(outcome.code, Some(2), "{wrong}: {}", outcome.stderr);
    }
}

/// Runs the program and compares with the snapshot, but for figures that depend on the machine's arithmetic.
#[cfg(feature = "verify")]
macro_rules! verify {
    ($place:expr, $name:expr, $code:expr, $args:expr) => {{
        let args: &[&str] = &$args;
        let outcome = $place.run(args);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
            insta::assert_snapshot!($name, without_figures(&outcome.show(args)));
        });
        assert_eq!(outcome.code, Some($code), "{}", outcome.stderr);
        outcome
    }};
}

/// `1.2e-7` and `123.4 dB` become `_`, and columns that shift with them are closed up.
#[cfg(feature = "verify")]
fn without_figures(text: &str) -> String {
    let figure = |word: &str| word.contains("e-") && word.parse::<f64>().is_ok();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        if !words.contains(&"dB") && !words.iter().any(|w| figure(w)) {
            return line.to_owned();
        }
        let words = words.iter().enumerate().filter(|(_, w)| !w.is_empty());
        let words = words.map(|(i, w)| match words_after(line, i) {
            Some("dB") => "_",
            _ if figure(w) && *w != "1.0e-5" => "_",
            _ => w,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(feature = "verify")]
fn words_after(line: &str, i: usize) -> Option<&str> {
    line.split(' ').nth(i + 1)
}

/// A convolution and a batch norm as the engine wants them, strides spelled out, with that shape of the input.
#[cfg(feature = "verify")]
fn runnable(weight: Message, x: Message, output: &str) -> Vec<u8> {
    padded(weight, 0, x, output)
}

#[cfg(feature = "verify")]
fn padded(weight: Message, pad: u64, x: Message, output: &str) -> Vec<u8> {
    let two = |name: &str, a: f32, b: f32| tensor(name, &[2], &[a, b]);
    let conv = node("Conv", "conv", &["x", "w"], &["c"])
        .message(5, ints("strides", &[1, 1]))
        .message(5, ints("dilations", &[1, 1]))
        .message(5, ints("pads", &[pad; 4]));
    let norm = node("BatchNormalization", "bn", &["c", "scale", "bias", "mean", "var"], &[output]);
    let initializers = [
        weight,
        two("scale", 1.5, 0.5),
        two("bias", 0.125, -0.25),
        two("mean", 0.1, -0.2),
        two("var", 0.9, 1.1),
    ];
    let graph = [conv, norm].into_iter().fold(Message::default(), |m, n| m.message(1, n));
    let graph = initializers.into_iter().fold(graph.text(2, "g"), |m, t| m.message(5, t));
    crate::model::model(graph.message(11, x).message(12, declared(output, &[])))
}

/// An f32 tensor's declaration with extents, or names for them; without any, of unknown rank.
#[cfg(feature = "verify")]
fn declared(name: &str, dims: &[Result<u64, &str>]) -> Message {
    let mut tensor = Message::default().int(1, 1);
    if !dims.is_empty() {
        let dim = |d: &Result<u64, &str>| match d {
            Ok(n) => Message::default().int(1, *n),
            Err(symbol) => Message::default().text(2, symbol),
        };
        tensor =
            tensor.message(2, dims.iter().fold(Message::default(), |m, d| m.message(1, dim(d))));
    }
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

#[cfg(feature = "verify")]
const FREE: [Result<u64, &str>; 4] = [Err("N"), Ok(2), Err("side"), Ok(4)];

#[cfg(feature = "verify")]
fn place_with_models() -> Place {
    let place = Place::new();
    place.write("a.onnx", runnable(weight(), declared("x", &FREE), "y"));
    let damaged = tensor("w", &[2, 2, 1, 1], &[0.5, -1.0, 0.25, 2.25]);
    place.write("damaged.onnx", runnable(damaged, declared("x", &FREE), "y"));
    place
}

#[cfg(feature = "verify")]
#[test]
fn equal_and_different() {
    let place = place_with_models();
    assert_eq!(place.run(&["opt", "a.onnx", "-o", "b.onnx"]).code, Some(0));
    verify!(place, "verify", 0, ["verify", "a.onnx", "b.onnx"]);
    verify!(place, "verify-different", 6, ["verify", "a.onnx", "damaged.onnx"]);
    // A folded copy of the damaged one is as wrong.
    let args = ["opt", "damaged.onnx", "-o", "damaged.onnx", "--verify"];
    assert_eq!(place.run(&args).code, Some(0));
    assert_eq!(place.run(&["verify", "a.onnx", "damaged.onnx", "-q"]).code, Some(6));
    let lenient = place.run(&["verify", "a.onnx", "damaged.onnx", "--tolerance=0.5"]);
    assert_eq!(lenient.code, Some(0), "{}", lenient.stderr);
    let quiet = place.run(&["verify", "a.onnx", "b.onnx", "-q"]);
    assert_eq!((quiet.code, &*quiet.stdout, &*quiet.stderr), (Some(0), "", ""));
}

/// Every model of the tests verifies but those, with what rten says.
#[cfg(feature = "verify")]
#[test]
fn whole_models() {
    const CANNOT: [(&str, &str); 9] = [
        ("custom_domain.onnx", "Swirl"),
        ("dcgan_groups.onnx", "conv_transpose \"/volume/volume.0/ConvTranspose\""),
        ("local_function.onnx", "local/Block operator not supported"),
        ("opset14_training.onnx", "training_mode"),
        ("opset6_is_test.onnx", "is_test"),
        ("opset6_training.onnx", "is_test"),
        ("opset7_spatial0.onnx", "spatial"),
        ("opset9_training.onnx", "batch_norm \"n1\": rten says: operator \"n1\" failed"),
        ("small_train.onnx", "training_mode"),
    ];
    let place = Place::new();
    for data in ["external.bin", "external.n2.bin"] {
        place.copy(data);
    }
    let mut verified = 0;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models");
    for file in fs::read_dir(folder).expect("models") {
        let file = file.expect("a file").file_name();
        let model = file.to_str().expect("a name");
        if !model.ends_with(".onnx") {
            continue;
        }
        place.copy(model);
        let outcome = place.run(&["opt", model, "-o", "out.onnx", "--verify", "--format=json"]);
        if let Some((_, why)) = CANNOT.iter().find(|(name, _)| *name == model) {
            assert_eq!(outcome.code, Some(7), "{model}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(why), "{model}: {}", outcome.stderr);
            continue;
        }
        assert_eq!(outcome.code, Some(0), "{model}: {}", outcome.stderr);
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let found = &report["verification"];
        assert_eq!((&found["equal"], &found["samples"]), (&true.into(), &2.into()), "{model}");
        let outcome = place.run(&["verify", model, "out.onnx", "--json"]);
        let again: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(&again["verification"], found, "{model}");
        verified += 1;
    }
    assert!(verified >= 18, "{verified}");
}

/// A model of these nodes, of the input `x` of 2 numbers, with those outputs.
#[cfg(feature = "verify")]
fn nodes(nodes: &[Message], initializers: &[Message], outputs: &[Message]) -> Vec<u8> {
    let m = nodes.iter().fold(Message::default(), |m, n| m.message(1, n.clone())).text(2, "g");
    let m = initializers.iter().fold(m, |m, t| m.message(5, t.clone()));
    let m = m.message(11, declared("x", &[Ok(2)]));
    crate::model::model(outputs.iter().fold(m, |m, o| m.message(12, o.clone())))
}

/// A tensor's declaration of that element type.
#[cfg(feature = "verify")]
fn typed(name: &str, dtype: u64) -> Message {
    let tensor = Message::default().int(1, dtype);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

/// A scalar initializer of that type.
#[cfg(feature = "verify")]
fn scalar(name: &str, dtype: u64, bytes: &[u8]) -> Message {
    Message::default().int(2, dtype).text(8, name).bytes(9, bytes)
}

#[cfg(feature = "verify")]
const I64: u64 = 7;
#[cfg(feature = "verify")]
const F64: u64 = 11;

#[cfg(feature = "verify")]
fn says(place: &Place, args: &[&str], code: i32, words: &[&str]) {
    let outcome = place.run(&[&["verify"], args].concat());
    assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "{args:?}: {word}: {}", outcome.stderr);
    }
}

/// One output that is compared does not speak for another one.
#[cfg(feature = "verify")]
#[test]
fn every_output_has_to_prove_something() {
    let place = Place::new();
    let sum = node("Add", "", &["x", "one"], &["y"]);
    let one = || tensor("one", &[1], &[1.0]);
    let with = |op: &str, by: f32| {
        let other = node(op, "", &["x", "by"], &["z"]);
        let initializers = [one(), tensor("by", &[1], &[by])];
        nodes(&[sum.clone(), other], &initializers, &[declared("y", &[]), declared("z", &[])])
    };
    place.write("a.onnx", with("Mul", 1.0));
    place.write("inf.onnx", with("Mul", f32::INFINITY));
    place.write("zero.onnx", with("Mul", 0.0));
    says(&place, &["a.onnx", "a.onnx"], 0, &[]);
    let help = "help: --dim=NAME=N and --inputs=FILE.npz give other inputs\n";
    says(&place, &["inf.onnx", "inf.onnx"], 7, &["output `z`", "finite", "nothing"]);
    says(&place, &["zero.onnx", "zero.onnx"], 7, &["output `z` is 0 everywhere", help]);
    // A difference is one whatever else there is.
    says(&place, &["inf.onnx", "a.onnx"], 6, &["1 of 2 outputs"]);
    says(&place, &["a.onnx", "zero.onnx"], 6, &["1 of 2 outputs"]);
    // An integer that is 0 is a number like others.
    let is_large = node("Greater", "", &["x", "by"], &["z"]);
    let initializers = [one(), tensor("by", &[1], &[9.0])];
    let outputs = [declared("y", &[]), typed("z", 9)];
    place.write("bool.onnx", nodes(&[sum, is_large], &initializers, &outputs));
    says(&place, &["bool.onnx", "bool.onnx"], 0, &[]);
}

/// rten computes with 32 bits, and takes what is nearest for constants that need more.
#[cfg(feature = "verify")]
#[test]
fn what_the_engine_cannot_hold_is_not_compared() {
    let place = Place::new();
    let help = "help: --engine=ort is another engine";
    let cast = node("Cast", "", &["x"], &["i"]).message(5, crate::model::int("to", I64));
    let integers = |n: i64| {
        let add = node("Add", "", &["i", "n"], &["y"]);
        nodes(&[cast.clone(), add], &[scalar("n", I64, &n.to_le_bytes())], &[typed("y", I64)])
    };
    place.write("a.onnx", integers(1 << 40));
    place.write("b.onnx", integers(1 << 41));
    place.write("c.onnx", integers(5));
    says(&place, &["a.onnx", "b.onnx"], 7, &["constant `n` has elements beyond i32", help]);
    says(&place, &["c.onnx", "b.onnx"], 7, &["cannot verify `b.onnx`", "beyond i32"]);
    says(&place, &["c.onnx", "c.onnx"], 0, &[]);
    // As the end of a slice it means what any large number means.
    let list = |name: &str, n: i64| scalar(name, I64, &n.to_le_bytes()).int(1, 1);
    let slice = node("Slice", "", &["x", "from", "to"], &["y"]);
    let bounds = [list("from", 0), list("to", i64::MAX)];
    place.write("slice.onnx", nodes(&[slice], &bounds, &[declared("y", &[])]));
    says(&place, &["slice.onnx", "slice.onnx"], 0, &[]);
    // Floats.
    let cast = node("Cast", "", &["x"], &["d"]).message(5, crate::model::int("to", F64));
    let doubles = |by: f64, twice: bool| {
        let by = scalar("by", F64, &by.to_le_bytes());
        let mul = |x: &str, y: &str| node("Mul", "", &[x, "by"], &[y]);
        let last = if twice { mul("z", "y") } else { node("Add", "", &["z", "by"], &["y"]) };
        nodes(&[cast.clone(), mul("d", "z"), last], &[by], &[typed("y", F64), typed("z", F64)])
    };
    place.write("huge.onnx", doubles(1e300, false));
    place.write("tiny.onnx", doubles(1e-300, false));
    for model in ["huge.onnx", "tiny.onnx"] {
        says(&place, &[model, model], 7, &["constant `by` has elements beyond f32", help]);
    }
    place.write("large.onnx", doubles(1e30, true));
    says(&place, &["large.onnx", "large.onnx"], 7, &["output `y`"]);
    place.write("plain.onnx", doubles(1.5, true));
    says(&place, &["plain.onnx", "plain.onnx"], 0, &[]);
}

#[cfg(feature = "verify")]
#[test]
fn what_is_random_is_not_compared() {
    let place = Place::new();
    let random = node("RandomNormalLike", "noise", &["x"], &["y"]);
    place.write("a.onnx", nodes(&[random], &[], &[declared("y", &[])]));
    says(&place, &["a.onnx", "a.onnx"], 7, &["RandomNormalLike \"noise\"", "random"]);
    assert!(!place.run(&["verify", "a.onnx", "a.onnx"]).stderr.contains("help"));
}

/// Nodes without a name, or with that of a value, are named all the same.
#[cfg(feature = "verify")]
#[test]
fn where_the_engine_stops_is_named() {
    let place = Place::new();
    for name in ["", "y"] {
        let product = node("MatMul", name, &["x", "w"], &["y"]);
        let w = tensor("w", &[3, 1], &[1.0, 2.0, 3.0]);
        place.write("a.onnx", nodes(&[product], &[w], &[declared("y", &[])]));
        let words =
            ["matmul \"y\": rten says: operator \"y\" failed", "--engine=ort another engine"];
        says(&place, &["a.onnx", "a.onnx"], 7, &words);
    }
}

#[cfg(feature = "verify")]
#[test]
fn inputs_have_a_bound() {
    let place = place_with_models();
    for dim in ["--dim=N=20000000", "--dim=N=9000000000000000000"] {
        says(&place, &["a.onnx", "a.onnx", dim], 7, &["input `x` of", "GB", "--dim=NAME=N"]);
    }
}

#[cfg(feature = "verify")]
#[test]
fn figures_as_json() {
    let place = place_with_models();
    let outcome = place.run(&["verify", "a.onnx", "damaged.onnx", "--json"]);
    assert_eq!(outcome.code, Some(6));
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let found = &report["verification"];
    assert_eq!(found["equal"], false);
    let input = serde_json::json!({ "name": "x", "type": "f32", "shape": [2, 2, 2, 4] });
    assert_eq!(found["inputs"], serde_json::json!([input]));
    let output = &found["outputs"][0];
    assert_eq!((&output["name"], &output["equal"]), (&"y".into(), &false.into()));
    assert_eq!((&output["compared"], &output["non_finite"]), (&64.into(), &0.into()));
    let number = |name: &str| output[name].as_f64().expect("a number");
    assert!((number("absolute") / number("largest") - number("relative")).abs() < 1e-12);
    // A quarter of an input below 1, times 0.5/√1.1.
    assert!(number("absolute") > 0.05 && number("absolute") < 0.12, "{output}");
    assert!(number("psnr") > 10.0 && number("psnr") < 60.0 && number("tolerance") == 1e-5);
}

#[cfg(feature = "verify")]
#[test]
fn extents_are_given() {
    let place = place_with_models();
    let args = ["verify", "a.onnx", "a.onnx", "--dim=N=1", "--dim=x[2]=5"];
    verify!(place, "verify-dims", 0, args);
    verify!(place, "verify-unknown-dim", 2, ["verify", "a.onnx", "a.onnx", "--dim=M=1"]);
}

#[cfg(feature = "verify")]
#[test]
fn what_cannot_be_verified_is_no_pass() {
    let place = place_with_models();
    place.copy("custom_domain.onnx");
    verify!(place, "verify-cannot", 7, ["verify", "custom_domain.onnx", "custom_domain.onnx"]);
    place.write("out.onnx", "as it was");
    verify!(
        place,
        "verify-cannot-opt",
        7,
        ["opt", "custom_domain.onnx", "-o", "out.onnx", "--verify"]
    );
    assert_eq!(fs::read(place.path("out.onnx")).unwrap(), b"as it was");
    assert_eq!(place.others(&["a.onnx", "damaged.onnx", "custom_domain.onnx"]), ["out.onnx"]);
    place.write("text.nf", place.run(&["opt", "a.onnx", "--emit=ir", "--weights=full"]).stdout);
    verify!(place, "verify-text", 7, ["verify", "text.nf", "a.onnx"]);
    // Strides that are not said are 1.
    place.write("bare.onnx", conv_bn(weight()));
    assert_eq!(place.run(&["verify", "bare.onnx", "bare.onnx"]).code, Some(0));
    let stdin = place.run(&["verify", "-", "-"]);
    assert_eq!((stdin.code, stdin.stderr.contains("standard input")), (Some(2), true));
    // What is nowhere finite proves nothing.
    let nan = tensor("w", &[2, 2, 1, 1], &[f32::NAN; 4]);
    place.write("nan.onnx", runnable(nan, declared("x", &FREE), "y"));
    verify!(place, "verify-nothing-finite", 7, ["verify", "nan.onnx", "nan.onnx"]);
    verify!(place, "verify-not-finite", 6, ["verify", "a.onnx", "nan.onnx"]);
    let half = tensor("w", &[2, 2, 1, 1], &[f32::NAN, 1.0, 0.25, 2.0]);
    place.write("half.onnx", runnable(half, declared("x", &FREE), "y"));
    verify!(place, "verify-partly-finite", 0, ["verify", "half.onnx", "half.onnx"]);
}

#[cfg(feature = "verify")]
#[test]
fn interfaces_have_to_be_the_same() {
    let place = place_with_models();
    place.write("renamed.onnx", runnable(weight(), declared("x", &FREE), "z"));
    verify!(place, "verify-renamed", 6, ["verify", "a.onnx", "renamed.onnx"]);
    let outcome = place.run(&["verify", "a.onnx", "renamed.onnx", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let found = &report["verification"];
    assert_eq!((outcome.code, &found["equal"]), (Some(6), &false.into()));
    assert_eq!(found["interface"], "outputs are y in the first and z in the second");
    let other = [Err("N"), Ok(2), Ok(3), Ok(3)];
    place.write("shape.onnx", runnable(weight(), declared("x", &other), "y"));
    verify!(place, "verify-other-shape", 6, ["verify", "a.onnx", "shape.onnx"]);
    // A dimension that one of them fixes is one that the other leaves open.
    let fixed = [Ok(1), Ok(2), Ok(2), Ok(4)];
    place.write("fixed.onnx", runnable(weight(), declared("x", &fixed), "y"));
    let outcome = place.run(&["verify", "a.onnx", "fixed.onnx", "--dim=N=1"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// One `.npz` member, stored, as `numpy.savez` writes it.
#[cfg(feature = "verify")]
fn npz(name: &str, shape: &str, values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    let (size, name) = ((npy.len() as u32).to_le_bytes(), name.as_bytes());
    let length = (name.len() as u16).to_le_bytes();
    // Local header: signature, version, flags, method, time, date, CRC (which nobody here reads), sizes, lengths.
    let common = [&[0; 12][..], &size, &size, &length, &[0; 2]].concat();
    let local = [b"PK\x03\x04\x14\0", &common[..], name, &npy].concat();
    let central = [b"PK\x01\x02\x14\0\x14\0", &common[..], &[0; 14], name].concat();
    let (start, len) = ((local.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &len, &start, &[0; 2]].concat();
    [local, central, end].concat()
}

#[cfg(feature = "verify")]
#[test]
fn inputs_are_given() {
    let place = place_with_models();
    place.write("x.npz", npz("x.npy", "(1, 2, 1, 4)", &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    // The damaged weight meets zeros only.
    verify!(place, "verify-npz", 0, ["verify", "a.onnx", "damaged.onnx", "--inputs=x.npz"]);
    place.write("x.npz", npz("x.npy", "(1, 2, 1, 4)", &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]));
    assert_eq!(place.run(&["verify", "a.onnx", "damaged.onnx", "--inputs=x.npz"]).code, Some(6));
    place.write("shape.npz", npz("x.npy", "(1, 3, 1, 1)", &[0.0; 3]));
    verify!(place, "verify-npz-shape", 3, ["verify", "a.onnx", "a.onnx", "--inputs=shape.npz"]);
    place.write("name.npz", npz("image.npy", "(1, 2, 1, 4)", &[0.0; 8]));
    verify!(place, "verify-npz-name", 3, ["verify", "a.onnx", "a.onnx", "--inputs=name.npz"]);
    assert_eq!(place.run(&["verify", "a.onnx", "a.onnx", "--inputs=none.npz"]).code, Some(3));
}

#[cfg(feature = "verify")]
#[test]
fn nothing_is_written_that_does_not_pass() {
    let place = place_with_models();
    place.write("out.onnx", "as it was");
    // Rounding alone is more than nothing.
    let args = ["opt", "a.onnx", "-o", "out.onnx", "--verify", "--tolerance=0"];
    verify!(place, "verify-opt-fails", 6, args);
    assert_eq!(fs::read(place.path("out.onnx")).unwrap(), b"as it was");
    assert_eq!(place.others(&["a.onnx", "damaged.onnx"]), ["out.onnx"]);
    verify!(place, "verify-opt", 0, ["opt", "a.onnx", "-o", "out.onnx", "--verify"]);
    // In place, and from standard input.
    let before = fs::read(place.path("a.onnx")).unwrap();
    let stdin = fs::File::open(place.path("a.onnx")).unwrap();
    let args = ["opt", "-", "-o", "piped.onnx", "--verify"];
    assert_eq!(place.run_with(&args, stdin.into()).code, Some(0));
    assert_eq!(place.run(&["opt", "a.onnx", "-o", "a.onnx", "--verify"]).code, Some(0));
    let after = fs::read(place.path("a.onnx")).unwrap();
    assert!(after != before && after == fs::read(place.path("piped.onnx")).unwrap());
    assert_eq!(after, fs::read(place.path("out.onnx")).unwrap());
}

/// The engine is given external data whatever its file is called.
#[cfg(feature = "verify")]
#[test]
fn external_data_is_verified_too() {
    let place = Place::new();
    let values = (0..2 * 2 * 17 * 17).map(|i| (i % 7) as f32 - 3.0);
    place.write("w.bin", values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>());
    let external = crate::model::external("w", &[2, 2, 17, 17], "w.bin");
    place.write("a.onnx", padded(external, 8, declared("x", &FREE), "y"));
    let names = ["a.onnx", "w.bin"];
    let fails = place.run(&["opt", "a.onnx", "-o", "out.onnx", "--verify", "--tolerance=0"]);
    assert_eq!(fails.code, Some(6), "{}", fails.stderr);
    assert_eq!(place.others(&names), [""; 0]);
    let passes = place.run(&["opt", "a.onnx", "-o", "out.onnx", "--verify"]);
    assert_eq!(passes.code, Some(0), "{}", passes.stderr);
    let written = place.others(&names);
    assert_eq!(written.len(), 2, "{written:?}");
    let data = written.iter().find(|n| n.ends_with(".bin")).expect("external data");
    place.write(data, vec![0; fs::read(place.path(data)).unwrap().len()]);
    assert_eq!(place.run(&["verify", "a.onnx", "out.onnx"]).code, Some(6));
}
