//! What the commands print when all is well.

use crate::{Place, check};
use std::{fs, process::Stdio};

const MODULE: &str = r#"// RUN: --passes=fold-bn,dce
module @tiny {
  graph @main(%x: tensor<1x2x4x4xf32>) -> (%y: tensor<1x2x4x4xf32>) {
    %w = constant dense<[[[[0.5]], [[-1.0]]], [[[0.25]], [[2.0]]]]> : tensor<2x2x1x1xf32>
    %scale = constant dense<[1.5, 0.5]> : tensor<2xf32>
    %bias = constant dense<[0.125, -0.25]> : tensor<2xf32>
    %mean = constant dense<[0.1, -0.2]> : tensor<2xf32>
    %var = constant dense<[0.9, 1.1]> : tensor<2xf32>
    %c = conv %x, %w "conv" : tensor<1x2x4x4xf32>
    %n = batch_norm %c, %scale, %bias, %mean, %var "bn" : tensor<1x2x4x4xf32>
    %y = relu %n "relu" : tensor<1x2x4x4xf32>
    return %y
  }
}
"#;

#[test]
fn help() {
    let place = Place::new();
    check!(place, "help", ["--help"]);
    check!(place, "help-opt", ["opt", "-h"]);
    check!(place, "help-explain", ["explain", "-h"]);
    assert_eq!(
        place.run(&["--version"]).stdout,
        format!("normfold {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn passes_and_reasons() {
    let place = Place::new();
    check!(place, "passes", ["passes"]);
    check!(place, "passes-dce", ["passes", "dce"]);
    check!(place, "passes-default", ["passes", "default"]);
    check!(place, "passes-unknown", ["passes", "dec"]);
    let list = place.run(&["reason"]);
    assert_eq!(list.code, Some(0));
    for line in list.stdout.lines().filter_map(|l| l.strip_prefix("  ")) {
        let code = line.split_whitespace().next().expect("a code");
        let one = place.run(&["reason", code]);
        assert_eq!(one.code, Some(0), "{code}");
        assert!(one.stdout.starts_with(&format!("{code}\n\n")), "{code}: {}", one.stdout);
    }
    check!(place, "reason-training-mode", ["reason", "training-mode"]);
    assert_eq!(place.run(&["reason", "no-such"]).code, Some(2));
}

#[test]
fn completions() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = place.run(&["completions", shell]);
        assert_eq!((done.code, done.stdout.contains("normfold")), (Some(0), true), "{shell}");
    }
}

#[test]
fn a_model_is_folded() {
    let place = Place::new();
    place.copy("mobilenet_v2_x025.onnx");
    check!(place, "opt", ["opt", "mobilenet_v2_x025.onnx", "-o", "folded.onnx"]);
    assert_eq!(place.others(&["mobilenet_v2_x025.onnx"]), ["folded.onnx"]);
    // What is folded stays as it is.
    check!(place, "opt-again", ["opt", "folded.onnx", "-o", "again.onnx"]);
    assert_eq!(
        fs::read(place.path("folded.onnx")).unwrap(),
        fs::read(place.path("again.onnx")).unwrap()
    );
    // In place.
    check!(
        place,
        "opt-in-place",
        ["opt", "mobilenet_v2_x025.onnx", "-o", "mobilenet_v2_x025.onnx"]
    );
    assert_eq!(
        fs::read(place.path("folded.onnx")).unwrap(),
        fs::read(place.path("mobilenet_v2_x025.onnx")).unwrap()
    );
}

#[test]
fn some_are_kept() {
    let place = Place::new();
    place.copy("awkward.onnx");
    check!(place, "opt-kept", ["opt", "awkward.onnx", "-o", "out.onnx"]);
    check!(place, "opt-remarks", ["opt", "awkward.onnx", "--remarks=kept", "--statistics"]);
    check!(place, "opt-timing", ["opt", "awkward.onnx", "--timing"]);
    check!(place, "opt-stopped", ["opt", "awkward.onnx", "--stop-after-rewrites=2"]);
    check!(place, "opt-no-passes", ["opt", "awkward.onnx", "--passes=", "-o", "same.onnx"]);
    assert_eq!(
        fs::read(place.path("awkward.onnx")).unwrap(),
        fs::read(place.path("same.onnx")).unwrap()
    );
    check!(place, "opt-quiet", ["opt", "awkward.onnx", "-q", "-o", "out.onnx"]);
    check!(place, "explain", ["explain", "awkward.onnx"]);
}

/// Every way, both kinds of verdict, chains, and a body.
const WAYS: &str = r#"module @ways {
  graph @main(%x: tensor<1x2x4x4xf32>, %flag: tensor<bool>) -> (%a: tensor<1x2x4x4xf32>, %b: tensor<1x2x4x4xf32>, %c: tensor<1x2x4x4xf32>, %d: tensor<1x2x4x4xf32>) {
    %w = constant dense<[[[[0.5]], [[-1.0]]], [[[0.25]], [[2.0]]]]> : tensor<2x2x1x1xf32>
    %scale = constant dense<[1.5, 0.5]> : tensor<2xf32>
    %s = constant dense<[1.5, 0.5]> : tensor<2x1x1xf32>
    %var = constant dense<[0.9, 1.1]> : tensor<2xf32>
    %n = batch_norm %x, %scale, %scale, %scale, %var "net/0/bn/BatchNormalization" : tensor<1x2x4x4xf32>
    %a = conv %n, %w "net/0/ahead/Conv" : tensor<1x2x4x4xf32>
    %e = conv %x, %w "net/1/conv/Conv" : tensor<1x2x4x4xf32>
    %i = batch_norm %x, %scale, %scale, %scale, %var "net/1/beside/BatchNormalization" : tensor<1x2x4x4xf32>
    %b = add %e, %i "net/1/Add" : tensor<1x2x4x4xf32>
    %f = conv %a, %w "net/2/conv/Conv" : tensor<1x2x4x4xf32>
    %p = pool %f {f = average, kernel = [1, 1]} "net/2/Pool" : tensor<1x2x4x4xf32>
    %g = mul %p, %s "net/2/scale/Mul" : tensor<1x2x4x4xf32>
    %h = add %g, %s "net/2/shift/Add" : tensor<1x2x4x4xf32>
    %r = relu %h "net/2/Relu" : tensor<1x2x4x4xf32>
    %c = div %r, %s "net/3/Div" : tensor<1x2x4x4xf32>
    %d = batch_norm %r, %scale, %scale, %scale, %var "net/3/after/BatchNormalization" : tensor<1x2x4x4xf32>
    return %a, %b, %c, %d
  }
}
"#;

#[test]
fn every_way_is_explained() {
    let place = Place::new();
    place.write("ways.nf", WAYS);
    check!(place, "explain-ways", ["explain", "ways.nf"]);
    let pairs = "--passes=fold-bn{pairs=net/0/ahead/Conv:net/0/bn/BatchNormalization|a:b}";
    check!(place, "explain-pairs", ["explain", "ways.nf", pairs]);
    let json = place.run(&["explain", "ways.nf", "--json"]);
    assert_eq!(json.stdout, place.run(&["explain", "ways.nf", "--format=json"]).stdout);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let verdicts = report["remarks"].as_array().expect("a list");
    assert_eq!(verdicts.len(), 5);
    for v in verdicts {
        let args = &v["args"];
        match v["kind"].as_str() {
            Some("passed") => {
                assert!(args["direction"].is_string() && args["absorbers"].is_array())
            }
            _ => assert!(args["unlock"].is_string() && args["blocker"].is_string(), "{v}"),
        }
    }
}

#[test]
fn a_keras_architecture_is_explained() {
    let place = Place::new();
    place.copy("keras/awkward.json");
    check!(place, "explain-keras", ["explain", "awkward.json"]);
    check!(place, "opt-keras", ["opt", "awkward.json", "-o", "out.json"]);
    assert_eq!(place.others(&["awkward.json"]), [""; 0]);
}

#[test]
fn text_in_and_out() {
    let place = Place::new();
    place.write("tiny.nf", MODULE);
    check!(place, "emit", ["opt", "tiny.nf", "--emit=ir", "--remarks=all", "--statistics"]);
    check!(
        place,
        "emit-before-and-after",
        ["opt", "tiny.nf", "--print-ir-before=fold-bn", "--print-ir-after", "-o", "o.nf"]
    );
    check!(
        place,
        "emit-changed",
        ["opt", "tiny.nf", "--passes=dce,fold-bn", "--print-ir-after=changed"]
    );
    check!(place, "emit-to-file", ["opt", "tiny.nf", "--emit=ir", "-o", "emitted.nf"]);
    let emitted = fs::read_to_string(place.path("emitted.nf")).unwrap();
    assert_eq!(place.run(&["opt", "tiny.nf", "--emit=ir"]).stdout, emitted);
    let stdin = fs::File::open(place.path("tiny.nf")).unwrap();
    assert_eq!(place.run_with(&["opt", "-", "--emit=ir"], Stdio::from(stdin)).stdout, emitted);
    check!(place, "verify-each", ["opt", "tiny.nf", "--verify-each", "-v"]);
}

#[test]
fn json() {
    let place = Place::new();
    place.write("tiny.nf", MODULE);
    check!(place, "json-opt", ["opt", "tiny.nf", "-o", "out.nf", "--format=json"]);
    check!(place, "json-explain", ["explain", "tiny.nf", "--format=json"]);
    let reported = ["opt", "tiny.nf", "-o", "out.nf", "-q", "--report=report.json"];
    check!(place, "report", reported);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!("report-file", fs::read_to_string(place.path("report.json")).unwrap());
    });
    check!(place, "usage-report-is-output", ["opt", "tiny.nf", "-o", "x", "--report=x"]);
    let timed = place.run(&["opt", "tiny.nf", "--format=json", "--timing", "--remarks=none"]);
    let report: serde_json::Value = serde_json::from_str(&timed.stdout).expect("JSON");
    assert!(report["seconds"].as_f64().is_some_and(|s| s > 0.0));
    assert!(report["passes"][0]["seconds"].as_f64().is_some());
    assert_eq!(report["remarks"], serde_json::json!([]));
}

#[test]
fn reproducers_run_again() {
    let place = Place::new();
    place.copy("awkward.onnx");
    let first = place.run(&["opt", "awkward.onnx", "--reproducer=r.nf", "--emit=ir"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(
        fs::read_to_string(place.path("r.nf"))
            .unwrap()
            .starts_with("// RUN: --passes=fold-bn,dce\nmodule ")
    );
    let again = place.run(&["opt", "r.nf", "--run-reproducer", "--emit=ir"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let folds = |text: &str| text.matches("batch_norm").count();
    assert_eq!((folds(&first.stdout), folds(&again.stdout)), (5, 5));
    check!(place, "no-reproducer", ["opt", "awkward.onnx", "--run-reproducer"]);
}

#[test]
fn a_trace_is_complete() {
    let place = Place::new();
    place.copy("awkward.onnx");
    assert_eq!(
        place.run(&["opt", "awkward.onnx", "-o", "out.onnx", "--trace=trace.json"]).code,
        Some(0)
    );
    let text = fs::read_to_string(place.path("trace.json")).unwrap();
    let events: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let events = events.as_array().expect("an array");
    for name in ["open", "run", "fold-bn", "dce", "save"] {
        let phases: String =
            events.iter().filter(|e| e["name"] == name).filter_map(|e| e["ph"].as_str()).collect();
        assert_eq!(phases, "BE", "{name}");
    }
}

#[test]
fn colours_only_where_wanted() {
    let place = Place::new();
    place.copy("awkward.onnx");
    let plain = place.run(&["opt", "awkward.onnx"]);
    assert!(!plain.stdout.contains('\x1b'));
    assert!(place.run(&["opt", "awkward.onnx", "--color=always"]).stdout.contains('\x1b'));
    assert!(place.run(&["opt", "no-such-file", "--color=always"]).stderr.contains('\x1b'));
    assert!(!place.run(&["opt", "no-such-file"]).stderr.contains('\x1b'));
}

/// A reader that goes away early is no error.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    place.copy("mobilenet_v2_x025.onnx");
    let script = format!(
        "'{}' opt mobilenet_v2_x025.onnx --emit=ir --weights=full | head -n 1; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_normfold")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(place.path("."))
        .output()
        .expect("bash");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn external_data_is_where_it_was_asked_for() {
    let place = Place::new();
    place.copy("mobilenet_v2_x025.onnx");
    let run =
        |external: &str| place.run(&["opt", "mobilenet_v2_x025.onnx", "-o", "o.onnx", external]);
    assert_eq!(run("--external=above=16KiB").code, Some(0));
    let [data] = &place.others(&["mobilenet_v2_x025.onnx", "o.onnx"])[..] else {
        panic!("one file")
    };
    assert!(data.starts_with("o.") && data.ends_with(".weights.bin"), "{data}");
    for (wrong, told) in [
        ("--external=above", "valid: keep, single, inline, above=SIZE"),
        ("--external=above=-1", "in bytes, is a number, or a size such as 64MiB"),
        ("--external=above=1KB", "in bytes, is a number, or a size such as 64MiB"),
    ] {
        let outcome = run(wrong);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    }
    let outcome = place.run(&["opt", "mobilenet_v2_x025.onnx", "--external=single"]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("--external is about what -o FILE writes"),
        "{}",
        outcome.stderr
    );
}

/// A model on standard output has it for itself, whatever is reported; `-` is its name. A file on standard input is one that is
/// mapped, a pipe is held in memory.
#[cfg(unix)]
#[test]
fn models_on_standard_streams() {
    use std::{io::Write, process::Command};
    let place = Place::new();
    place.copy("resnet_tiny.onnx");
    let wanted = place.run(&["opt", "resnet_tiny.onnx", "-o", "out.onnx"]);
    assert!(wanted.stdout.contains("folded"), "{}", wanted.stdout);
    let model = fs::read(place.path("out.onnx")).unwrap();
    let program = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_normfold"));
        program.current_dir(place.dir.path());
        program
    };
    for (output, more) in [("-", "--remarks=all"), ("/dev/stdout", "--format=json"), ("-", "-q")] {
        let done =
            program().args(["opt", "resnet_tiny.onnx", "-o", output, more]).output().unwrap();
        assert!(done.status.success());
        assert_eq!(done.stdout, model, "{output} {more}");
        let told = String::from_utf8_lossy(&done.stderr);
        assert_eq!(told.contains("folded"), more != "-q", "{told}");
    }
    let file = fs::File::open(place.path("resnet_tiny.onnx")).unwrap();
    let done = program().args(["opt", "-", "-o", "-", "-q"]).stdin(file).output().unwrap();
    assert_eq!(done.stdout, model);
    let mut piped = program();
    piped.args(["opt", "-", "-o", "-", "-q"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&fs::read(place.path("resnet_tiny.onnx")).unwrap())
        .unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, model);
    // What is nothing we know is not read to its end, which may never come.
    let endless = program().args(["opt", "/dev/zero", "-o", "-"]).output().unwrap();
    assert_eq!(endless.status.code(), Some(4), "{}", String::from_utf8_lossy(&endless.stderr));
}
