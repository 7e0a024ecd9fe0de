//! Bad input: one clear error that names the place, its exit code, no output, and never a panic.

use crate::{
    Place, check,
    model::{Message, conv_bn, external, graph, model, node, tensor, value, weight},
};

/// Runs `opt` on `in.onnx` and compares what it says; nothing may be left behind.
macro_rules! refused {
    ($place:expr, $name:expr, $code:expr) => {{
        let before = $place.others(&[]);
        let outcome = check!($place, concat!("bad-", $name), ["opt", "in.onnx", "-o", "out.onnx"]);
        assert_eq!(outcome.code, Some($code));
        assert_eq!(outcome.stdout, "");
        assert!(!outcome.stderr.contains("bug") && !outcome.stderr.contains("panicked"));
        assert_eq!($place.others(&[]), before, "something was left behind");
    }};
    ($name:expr, $bytes:expr) => {{
        let place = Place::new();
        place.write("in.onnx", $bytes);
        refused!(place, $name, 4);
    }};
}

#[test]
fn a_sound_model_is_sound() {
    let place = Place::new();
    place.write("in.onnx", conv_bn(weight()));
    let outcome = place.run(&["opt", "in.onnx", "-o", "out.onnx"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("folded 1 of 1"), "{}", outcome.stdout);
}

#[test]
fn no_such_file() {
    refused!(Place::new(), "no-such-file", 3);
}

#[test]
fn a_directory() {
    let place = Place::new();
    std::fs::create_dir(place.path("in.onnx")).unwrap();
    refused!(place, "directory", 3);
}

#[test]
fn empty() {
    refused!("empty", b"");
}

#[test]
fn truncated() {
    let whole = conv_bn(weight());
    refused!("truncated", &whole[..whole.len() / 2]);
    // Wherever it is cut off.
    let place = Place::new();
    for n in (1..whole.len()).step_by(7) {
        place.write("in.onnx", &whole[..n]);
        let outcome = place.run(&["opt", "in.onnx", "-o", "out.onnx"]);
        assert_eq!(outcome.code, Some(4), "cut at {n}: {}", outcome.stderr);
        assert_eq!(place.others(&["in.onnx"]), [""; 0], "cut at {n}");
    }
}

#[test]
fn no_protobuf() {
    refused!("text", "This is not a model.\n");
    refused!("binary", b"\x00\x01\x02\x03");
    refused!("wire-type", b"\x08\x08\x3f\xff\xff\x07");
    refused!("zip", b"PK\x03\x04\x14\x00");
    refused!("json", "{\"a\": 1}");
}

#[test]
fn length_beyond_the_file() {
    let mut bytes = conv_bn(weight());
    // A graph that claims to be 2^40 bytes long.
    bytes.extend([7 << 3 | 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
    refused!("length", bytes);
}

#[test]
fn cycle() {
    let nodes = [
        node("Relu", "a", &["q"], &["p"]),
        node("Relu", "b", &["p"], &["q"]),
        node("Relu", "c", &["p"], &["y"]),
    ];
    refused!("cycle", model(graph(&nodes, &[])));
}

#[test]
fn duplicate_name() {
    let nodes = [node("Relu", "a", &["x"], &["y"]), node("Sigmoid", "b", &["x"], &["y"])];
    refused!("duplicate-name", model(graph(&nodes, &[])));
    let twice = [weight(), tensor("w", &[1], &[1.0])];
    refused!(
        "duplicate-initializer",
        model(graph(&[node("Conv", "c", &["x", "w"], &["y"])], &twice))
    );
}

#[test]
fn undefined_name() {
    refused!("undefined-name", model(graph(&[node("Relu", "a", &["nowhere"], &["y"])], &[])));
}

#[test]
fn missing_opset() {
    let g = graph(&[node("Relu", "a", &["x"], &["y"])], &[]);
    refused!("missing-opset", Message::default().int(1, 8).message(7, g).0);
}

#[test]
fn missing_graph() {
    refused!(
        "missing-graph",
        Message::default().int(1, 8).message(8, Message::default().int(2, 13)).0
    );
}

#[test]
fn nested_10000_deep() {
    let mut inner = graph(&[node("Relu", "a", &["x"], &["y"])], &[]).0;
    for _ in 0..10_000 {
        // A node `If` with an attribute `then_branch` of type GRAPH, built by hand: each level copies the ones inside once.
        let attribute = Message::default().text(1, "then_branch").bytes(6, &inner).int(20, 5);
        let wrapped = node("If", "if", &["x"], &["y"]).message(5, attribute);
        inner = Message::default().message(1, wrapped).text(2, "g").message(12, value("y", &[1])).0;
    }
    refused!("nested", model(Message(inner)));
}

#[test]
fn tensor_of_another_length() {
    refused!("tensor-length", conv_bn(tensor("w", &[2, 2, 1, 1], &[0.5, -1.0])));
}

#[test]
fn external_data() {
    refused!("external-absent", conv_bn(external("w", &[2, 2, 1, 1], "w.bin")));
    refused!("external-parent", conv_bn(external("w", &[2, 2, 1, 1], "../w.bin")));
    refused!("external-absolute", conv_bn(external("w", &[2, 2, 1, 1], "/etc/passwd")));
    let place = Place::new();
    place.write("in.onnx", conv_bn(external("w", &[2, 2, 1, 1], "w.bin")));
    place.write("w.bin", [0; 12]);
    refused!(place, "external-short", 4);
}

#[cfg(unix)]
#[test]
fn external_data_behind_a_symlink() {
    let place = Place::new();
    let elsewhere = Place::new();
    elsewhere.write("w.bin", [0; 16]);
    std::os::unix::fs::symlink(elsewhere.path("w.bin"), place.path("w.bin")).unwrap();
    place.write("in.onnx", conv_bn(external("w", &[2, 2, 1, 1], "w.bin")));
    refused!(place, "external-symlink", 4);
}

#[test]
fn output_that_cannot_be_written() {
    let place = Place::new();
    place.write("in.onnx", conv_bn(weight()));
    place.write("file", "");
    let before = place.others(&[]);
    for (name, output) in [
        ("output-no-directory", "nowhere/out.onnx"),
        ("output-beside-file", "file/out.onnx"),
        ("output-directory", "."),
    ] {
        let outcome = check!(place, format!("bad-{name}"), ["opt", "in.onnx", "-o", output]);
        assert_eq!(outcome.code, Some(5), "{name}");
    }
    assert_eq!(place.others(&[]), before);
}

/// Nobody can create files there, whoever runs the tests.
#[cfg(target_os = "linux")]
#[test]
fn output_directory_that_is_not_writable() {
    let place = Place::new();
    place.write("in.onnx", conv_bn(weight()));
    let outcome = place.run(&["opt", "in.onnx", "-o", "/sys/out.onnx"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(5), ""));
    assert!(outcome.stderr.contains("/sys/out.onnx"), "{}", outcome.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let place = Place::new();
    place.write("in.onnx", conv_bn(weight()));
    let outcome = check!(place, "bad-full-disk", ["opt", "in.onnx", "-o", "/dev/full"]);
    assert_eq!(outcome.code, Some(5));
    let script = format!("'{}' explain in.onnx > /dev/full", env!("CARGO_BIN_EXE_normfold"));
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path("."))
        .output()
        .expect("a shell");
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn a_failed_run_leaves_the_output_as_it_was() {
    let place = Place::new();
    let whole = conv_bn(weight());
    place.write("in.onnx", &whole[..whole.len() / 2]);
    place.write("out.onnx", "precious");
    assert_eq!(place.run(&["opt", "in.onnx", "-o", "out.onnx"]).code, Some(4));
    assert_eq!(std::fs::read_to_string(place.path("out.onnx")).unwrap(), "precious");
}

#[test]
fn command_lines() {
    let place = Place::new();
    place.write("in.onnx", conv_bn(weight()));
    let cases: [(&str, &[&str]); 14] = [
        ("no-command", &[]),
        ("no-input", &["opt"]),
        ("unknown-command", &["fold", "in.onnx"]),
        ("unknown-flag", &["opt", "in.onnx", "--remark=all"]),
        ("unknown-value", &["opt", "in.onnx", "--remarks=some"]),
        ("bad-number", &["opt", "in.onnx", "--threads=many"]),
        ("unknown-pass", &["opt", "in.onnx", "--passes=fold-bm,dce"]),
        ("unknown-option", &["opt", "in.onnx", "--passes=fold-bn{directions=both},dce"]),
        ("unknown-option-value", &["opt", "in.onnx", "--passes=fold-bn{shared=steal}"]),
        ("pipeline-syntax", &["opt", "in.onnx", "--passes=fixpoint(dce"]),
        ("pipeline-comma", &["opt", "in.onnx", "--passes=dce,,dce"]),
        ("unknown-dump", &["opt", "in.onnx", "--print-ir-after=fold"]),
        ("unknown-reason", &["reason", "padded"]),
        ("two-pipelines", &["opt", "in.onnx", "--passes=dce", "--run-reproducer"]),
    ];
    for (name, args) in cases {
        let outcome = check!(place, format!("usage-{name}"), *args);
        assert_eq!(outcome.code, Some(2), "{name}");
    }
    assert_eq!(place.others(&["in.onnx"]), [""; 0]);
}

#[test]
fn text_that_is_wrong() {
    let head = "module @m {\n  graph @main(%x: tensor<1x4xf32>) -> (%y: tensor<1x4xf32>) {\n";
    let cases = [
        ("unknown-op", "    %y = relo %x \"act\" : tensor<1x4xf32>\n    return %y\n  }\n}\n"),
        ("undefined-value", "    %y = relu %z \"act\" : tensor<1x4xf32>\n    return %y\n  }\n}\n"),
        ("bad-type", "    %y = relu %x \"act\" : tensor<1x4xf33>\n    return %y\n  }\n}\n"),
        ("unclosed", "    %y = relu %x \"act\" : tensor<1x4xf32>\n    return %y\n"),
        (
            "unknown-attribute",
            "    %y = softmax %x {axes = 1} \"act\" : tensor<1x4xf32>\n    return %y\n  }\n}\n",
        ),
        (
            "bad-elements",
            "    %k = constant dense<[1.0, 2.0]> : tensor<3xf32>\n    return %x\n  }\n}\n",
        ),
    ];
    let place = Place::new();
    for (name, body) in cases {
        place.write("in.nf", format!("{head}{body}"));
        let outcome = check!(place, format!("text-{name}"), ["opt", "in.nf", "--emit=ir"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(4), ""), "{name}");
    }
}
