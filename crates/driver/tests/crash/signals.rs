//! Signals: the run ends at once and leaves everything as it was.

use super::*;
use std::os::unix::process::ExitStatusExt;

/// A signal at every call. Writes do not return after it, so the run cannot go on meanwhile.
fn at_every_call(case: &Case, name: &str, number: i32) {
    let clean = Place::with(&case.before);
    let calls = clean.calls(&case.args);
    let after = clean.files();
    let mut ended = 0;
    for n in 0..calls.len() {
        let said = format!("{name} at {}, call {} of {}", calls[n], n + 1, calls.len());
        let place = Place::with(&case.before);
        let output = place.shimmed(&case.args, n + 1, name).output().expect("the program");
        let files = place.files();
        if files == case.before {
            assert_eq!(output.status.signal(), Some(number), "{said}");
            ended += 1;
        } else {
            // It came when there was nothing left to write, so the run may have been faster.
            assert_eq!(files, after, "{said}");
            assert!(!calls[n + 1..].iter().any(|c| c == "write"), "{said}");
            let status = output.status;
            assert!(status.success() || status.signal() == Some(number), "{said}: {status}");
        }
        assert!(place.directories().len() <= clean.directories().len());
    }
    let last_write = calls.iter().rposition(|c| c == "write").expect("a write");
    assert!(ended > last_write, "{ended} of {calls:?}");
}

#[test]
fn sigint_with_a_fresh_target() {
    at_every_call(&fresh(), "SIGINT", 2);
}

#[test]
fn sigterm_with_an_older_model() {
    at_every_call(&overwriting(), "SIGTERM", 15);
}

#[test]
fn sigint_in_place() {
    at_every_call(&external_in_place(), "SIGINT", 2);
}

#[test]
fn sigterm_with_external_data() {
    at_every_call(&external_overwriting(), "SIGTERM", 15);
}

#[test]
fn sigint_with_several_data_files() {
    at_every_call(&several(), "SIGINT", 2);
}

#[test]
fn shells_see_130_and_143() {
    for (name, code) in [("SIGINT", 130), ("SIGTERM", 143)] {
        let case = fresh();
        let place = Place::with(&case.before);
        let program = place.program(&case.args);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "LD_PRELOAD=$CRASH_SHIM \"$@\"; exit $?", "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .env("CRASH_SHIM", shim())
            .env("CRASH_DIR", place.path("out"))
            .env("CRASH_AT", "2")
            .env("CRASH_DO", name)
            .stderr(Stdio::null());
        let status = shell.status().expect("a shell");
        assert_eq!(status.code(), Some(code), "{name}");
        assert_eq!(place.files(), case.before);
    }
}

#[test]
fn a_signal_that_the_caller_ignores_is_ignored() {
    let case = fresh();
    let place = Place::with(&case.before);
    let calls = place.calls(&case.args);
    let last = calls.len().to_string();
    fs::remove_file(place.path("out/m.onnx")).expect("the output");
    let mut shell = Command::new("sh");
    let program = place.program(&case.args);
    shell
        .args(["-c", "trap '' INT; LD_PRELOAD=$CRASH_SHIM exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .env("CRASH_SHIM", shim())
        .env("CRASH_DIR", place.path("out"))
        .env("CRASH_AT", last)
        .env("CRASH_DO", "SIGINT")
        .env("CRASH_KEEP", "1");
    assert!(shell.status().expect("a shell").success());
    assert!(place.path("out/m.onnx").exists());
}

/// `ulimit -f`: the system refuses what is too large, as a full disk would.
#[test]
fn a_limit_of_file_sizes_is_an_error() {
    let mut two = keras_in_two();
    two.args.push("--report={out}/r.json");
    let formats = ["torch/net.pt2", "keras/branches.keras", "keras/branches.h5"];
    let others = formats.map(|name| {
        let inputs = [("in/m", model(name))];
        Case::new(&inputs, &["{in}/m", "-o", "{out}/m"], "out/m")
    });
    let text = |options: &[&'static str]| {
        let inputs = [("in/m.onnx", model("resnet_tiny.onnx")), ("out/m.nf", b"old".to_vec())];
        Case::new(&inputs, &[&["{in}/m.onnx", "--weights=full"], options].concat(), "out/m.nf")
    };
    let texts = [text(&["--emit=ir", "-o", "{out}/m.nf"]), text(&["--reproducer={out}/m.nf"])];
    for case in
        [fresh(), in_place(), external_overwriting(), two].into_iter().chain(others).chain(texts)
    {
        let place = Place::with(&case.before);
        let program = place.program(&case.args);
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -f 2; exec \"$@\"", "sh"]).arg(program.get_program());
        let output = shell.args(program.get_args()).output().expect("a shell");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = format!("{:?}: {stderr}", case.args);
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(stderr.contains("File too large"), "{said}");
        assert!(place.files() == case.before, "{said}");
    }
}

#[test]
fn a_reader_that_goes_away() {
    let case = fresh();
    let place = Place::with(&case.before);
    // The module on standard output: whoever read it has seen enough.
    let mut child = place.program(&["opt", "-q", "{in}/m.onnx", "--emit=ir", "--weights=full"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    // A model that nobody reads to its end was not written.
    let mut child = place.program(&["opt", "-q", "{in}/m.onnx", "-o", "/dev/stdout"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("cannot") && stderr.contains("/dev/stdout"), "{stderr}");
    assert_eq!(place.files(), case.before);
}
