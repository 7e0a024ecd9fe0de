//! Several runs onto one output.

use super::*;
use std::process::Child;

/// Whether a process waits for a lock of a file.
fn waits(child: &Child) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = child.id().to_string();
    locks.lines().any(|l| l.contains("->") && l.split_whitespace().any(|w| w == pid))
}

/// The first run is stopped at each of its calls, and the second runs as far as it gets; then the first goes on, or fails
/// at that call.
fn interleaved(case: &Case, second: &[&'static str]) {
    let second: Vec<&str> = ["opt", "-q"].iter().chain(second).copied().collect();
    let alone = |args: &[&str]| {
        let place = Place::with(&case.before);
        let calls = place.calls(args);
        (calls, place.files())
    };
    let ((calls, of_first), (_, of_second)) = (alone(&case.args), alone(&second));
    for (n, call) in calls.iter().enumerate() {
        for what in ["wait", "wait-EIO"] {
            let said = format!("{what} at {call}, call {} of {}", n + 1, calls.len());
            let place = Place::with(&case.before);
            let mut first = place.shimmed(&case.args, n + 1, what);
            let mut first = first.stderr(Stdio::null()).spawn().expect("the program");
            while !place.path("gate").exists() {
                std::thread::yield_now();
            }
            let mut other = place.program(&second).spawn().expect("the program");
            while !waits(&other) && other.try_wait().expect("the program").is_none() {
                std::thread::yield_now();
            }
            fs::remove_file(place.path("gate")).expect("the gate");
            let first = first.wait().expect("the program");
            assert!(other.wait().expect("the program").success(), "{said}");
            assert_eq!(first.success(), what == "wait" || call == "unlink", "{said}");

            let files = place.files();
            let whole = |set: &Files| {
                let module = |files: &Files| Place::with(files).module(case.target);
                let same = |name: &str| files.get(name) == set.get(name);
                same(case.target) && case.half.is_none_or(same) && module(&files) == module(set)
            };
            assert!(whole(&of_second) || (first.success() && whole(&of_first)), "{said}");
            for (name, content) in &files {
                let known = [&case.before, &of_first, &of_second]
                    .iter()
                    .any(|set| set.get(name) == Some(content));
                let unremoved = call == "unlink" && what == "wait-EIO" && is_fresh_name(name);
                assert!(known || unremoved, "{said}: {name}");
            }
        }
    }
}

#[test]
fn two_models() {
    interleaved(&fresh(), &["{in}/m.onnx", "--passes=", "-o", "{out}/m.onnx"]);
}

#[test]
fn two_models_in_place() {
    interleaved(&overwriting(), &["{in}/m.onnx", "--passes=", "-o", "{out}/m.onnx"]);
}

/// Both write the same data file, and the one that fails must not take it from the other.
#[test]
fn the_same_model_with_external_data() {
    interleaved(&external(), &SINGLE);
}

#[test]
fn different_models_with_external_data() {
    let second = ["{in}/m.onnx", "--passes=", "--external=single", "-o", "{out}/m.onnx"];
    interleaved(&external_overwriting(), &second);
}

#[test]
fn a_model_with_external_data_and_one_without() {
    interleaved(&external(), &["{in}/m.onnx", "-o", "{out}/m.onnx"]);
}

/// The architecture of one run never stands beside the weights of the other.
#[test]
fn an_architecture_and_its_weights() {
    let second =
        ["{in}/m.json", "--weights-in={in}/m.weights.h5", "--passes=", "-o", "{out}/m.json"];
    interleaved(&keras_in_two(), &second);
    let older: Vec<&str> = ["opt", "-q"].into_iter().chain(second).collect();
    interleaved(&keras_in_two().after(&older), &second);
}

/// Whoever waits for long says for what.
#[test]
fn a_wait_is_told() {
    let case = external();
    let place = Place::with(&case.before);
    let calls = Place::with(&case.before).calls(&case.args);
    let locked = calls.iter().position(|c| c == "rename").expect("a rename") + 1;
    let mut first = place.shimmed(&case.args, locked, "wait");
    let mut first = first.stderr(Stdio::null()).spawn().expect("the program");
    while !place.path("gate").exists() {
        std::thread::yield_now();
    }
    // `-q` would keep it to itself.
    let args: Vec<&str> = case.args.iter().copied().filter(|a| *a != "-q").collect();
    let second = place.program(&args).stderr(Stdio::piped()).spawn().expect("the program");
    while !waits(&second) {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    fs::remove_file(place.path("gate")).expect("the gate");
    assert!(first.wait().expect("the program").success());
    let second = second.wait_with_output().expect("the program");
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success(), "{stderr}");
    let told =
        format!("waiting for another run that writes into `{}`", place.path("out").display());
    assert!(stderr.contains(&told), "{stderr}");
}

#[test]
fn many_at_once() {
    let case = external_overwriting();
    let ways: [&[&str]; 4] = [
        &["--external=single"],
        &["--external=single", "--passes="],
        &["--external=above=40KiB"],
        &["--passes="],
    ];
    let args = |way: &[&'static str]| -> Vec<&'static str> {
        ["opt", "-q", "{in}/m.onnx", "-o", "{out}/m.onnx"].iter().chain(way).copied().collect()
    };
    let sets = ways.map(|way| {
        let place = Place::with(&case.before);
        place.calls(&args(way));
        (place.files(), place.module(case.target))
    });
    for _ in 0..4 {
        let place = Place::with(&case.before);
        let all: Vec<Child> = (0..8)
            .map(|i| place.program(&args(ways[i % 4])).spawn().expect("the program"))
            .collect();
        for mut child in all {
            assert!(child.wait().expect("the program").success());
        }
        let (files, module) = (place.files(), place.module(case.target));
        let is_whole = |(set, of_set): &(Files, String)| {
            set[case.target] == files[case.target] && *of_set == module
        };
        assert!(sets.iter().any(is_whole));
        assert!(!files.keys().any(|n| is_fresh_name(n)));
    }
}
