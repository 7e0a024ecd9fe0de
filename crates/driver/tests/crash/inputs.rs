//! Inputs that change while they are read.

use super::*;

/// The input loses its second half at each call that changes the output.
fn truncated(case: &Case, input: &str) {
    let clean = Place::with(&case.before);
    let calls = clean.calls(&case.args);
    let renamed = calls.iter().position(|c| c == "rename").expect("a rename");
    for n in 0..renamed {
        let place = Place::with(&case.before);
        let mut program = place.shimmed(&case.args, n + 1, "truncate");
        let output = program.env("CRASH_FILE", place.path(input)).output().expect("the program");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said =
            format!("truncated at {}, call {} of {}: {stderr}", calls[n], n + 1, calls.len());
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert_eq!(stderr.lines().count(), 1, "{said}");
        let path = place.path(input);
        let problem =
            format!("cannot read `{}`: the file changed while it was read", path.display());
        assert!(stderr.contains(&problem), "{said}");
        let mut wanted = case.before.clone();
        let half = wanted[input].len() / 2;
        wanted.get_mut(input).expect("the input").truncate(half);
        assert_eq!(place.files(), wanted, "{said}");
    }
}

#[test]
fn a_model_that_is_truncated() {
    let mut case = overwriting();
    case.args.push("--passes=");
    truncated(&case, "in/m.onnx");
}

#[test]
fn external_data_that_is_truncated() {
    truncated(&several(), "in/made/up1.bin");
}

#[test]
fn a_model_that_is_written_to() {
    let case = fresh();
    let place = Place::with(&case.before);
    let mut child = place.shimmed(&case.args, 1, "wait");
    let child = child.stderr(Stdio::piped()).spawn().expect("the program");
    while !place.path("gate").exists() {
        std::thread::yield_now();
    }
    let mut content = case.before["in/m.onnx"].clone();
    *content.last_mut().expect("a byte") ^= 1;
    fs::write(place.path("in/m.onnx"), content).expect("the input");
    fs::remove_file(place.path("gate")).expect("the gate");
    let output = child.wait_with_output().expect("the program");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("the file changed while it was read"), "{stderr}");
    assert!(!place.path("out/m.onnx").exists());
}

#[test]
fn a_model_that_is_replaced_is_no_matter() {
    let case = fresh();
    let clean = Place::with(&case.before);
    clean.calls(&case.args);
    let place = Place::with(&case.before);
    let mut child = place.shimmed(&case.args, 1, "wait").spawn().expect("the program");
    while !place.path("gate").exists() {
        std::thread::yield_now();
    }
    fs::write(place.path("in/other"), b"no model").expect("a file");
    fs::rename(place.path("in/other"), place.path("in/m.onnx")).expect("the input");
    fs::remove_file(place.path("gate")).expect("the gate");
    assert!(child.wait().expect("the program").success());
    assert_eq!(place.files()["out/m.onnx"], clean.files()["out/m.onnx"]);
}

#[test]
fn the_data_of_the_input_is_no_output() {
    let case = external_in_place();
    let place = Place::with(&case.before);
    let args = ["opt", "-q", "{out}/external.onnx", "-o", "{out}/external.bin"];
    let output = place.program(&args).output().expect("the program");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("external data of the input name the same file"), "{stderr}");
    assert_eq!(place.files(), case.before);
}
