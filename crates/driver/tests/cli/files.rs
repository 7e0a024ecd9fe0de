//! Files that two options name, files that a model names, and what is said about files.

use crate::{Outcome, Place, model};
use std::{fs, path::Path};

/// A place with a model in memory, one with external data, and an output with data beside it.
fn place() -> Place {
    let place = Place::new();
    for name in ["external.onnx", "external.bin", "external.n2.bin", "resnet_tiny.onnx"] {
        place.copy(name);
    }
    for name in ["o", "old"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    place
}

/// Contents of every file below a directory.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(contents(&path)),
            false => found.push((path.display().to_string(), fs::read(&path).unwrap_or_default())),
        }
    }
    found.sort();
    found
}

/// The command line is refused, naming both, and nothing changes.
fn clashes(place: &Place, args: &[&str], both: [&str; 2]) {
    let before = contents(&place.path("."));
    let outcome = place.run(args);
    let said = format!("{args:?}: {}", outcome.stderr);
    assert_eq!(outcome.code, Some(2), "{said}");
    assert!(outcome.stderr.contains("name the same file"), "{said}");
    assert!(both.iter().all(|what| outcome.stderr.contains(what)), "{said}");
    assert!(contents(&place.path(".")) == before, "{said}");
}

fn succeeds(place: &Place, args: &[&str]) -> Outcome {
    let outcome = place.run(args);
    assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.stderr);
    outcome
}

#[test]
fn no_side_file_takes_the_place_of_another_file() {
    let place = place();
    // An older output, with data of its own and data that it took along.
    succeeds(&place, &["opt", "external.onnx", "-o", "o/new.onnx", "--passes=fold-bn{skip=n2}"]);
    let data = contents(&place.path("o"));
    let new = data.iter().find(|(name, _)| name.ends_with(".weights.bin")).unwrap().0.clone();
    let new = Path::new(&new).file_name().unwrap().to_str().unwrap().to_owned();
    for option in ["--report", "--trace", "--reproducer"] {
        for (file, other) in [
            ("external.onnx", "the input"),
            ("./o/../external.onnx", "the input"),
            ("external.bin", "external data of the input"),
            ("./o/new.onnx", "-o"),
            ("o/../o/new.onnx", "-o"),
            (&*format!("o/{new}"), "external data of the output"),
            ("o/external.n2.bin", "external data of the output"),
            ("o/new.0123456789abcdef.weights.bin", "external data of the output"),
        ] {
            let side = format!("{option}={file}");
            let args = ["opt", "external.onnx", "-o", "o/new.onnx", &side];
            clashes(&place, &args, [option, other]);
        }
    }
    // Data that is about to be copied.
    clashes(
        &place,
        &["opt", "external.onnx", "-o", "old/m.onnx", "--report=old/external.bin"],
        ["--report", "external data of the output"],
    );
    clashes(&place, &["explain", "external.onnx", "--trace=external.onnx"], ["--trace", "input"]);
    clashes(&place, &["explain", "external.onnx", "--trace=external.bin"], ["--trace", "data of"]);
    clashes(
        &place,
        &["opt", "external.onnx", "--report=x", "--reproducer=x"],
        ["--report", "--reproducer"],
    );
    clashes(&place, &["opt", "external.onnx", "-o", "external.bin"], ["-o", "data of the input"]);
    let emitted = ["opt", "external.onnx", "--emit=ir", "-o", "external.onnx"];
    clashes(&place, &emitted, ["-o", "the input"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("external.onnx", place.path("link")).unwrap();
        clashes(&place, &["opt", "external.onnx", "--report=link"], ["--report", "the input"]);
        std::os::unix::fs::symlink("o/none.onnx", place.path("to-be")).unwrap();
        let args = ["opt", "external.onnx", "-o", "o/none.onnx", "--report=to-be"];
        clashes(&place, &args, ["--report", "-o"]);
    }
    // In place, with side files of their own, and with files that writing does not replace.
    succeeds(
        &place,
        &[
            "opt",
            "external.onnx",
            "-o",
            "external.onnx",
            "--report=r.json",
            "--trace=t.json",
            "--reproducer=r.nf",
        ],
    );
    succeeds(&place, &["explain", "external.onnx", "--trace=t.json"]);
    #[cfg(unix)]
    succeeds(&place, &["opt", "resnet_tiny.onnx", "-o", "/dev/null", "--report=/dev/null"]);
}

#[test]
fn the_two_files_of_a_keras_model_stay_apart() {
    let place = Place::new();
    place.copy("keras/branches.json");
    place.copy("keras/branches.weights.h5");
    let (k, w) = ("branches.json", "branches.weights.h5");
    let given = format!("--weights-in={w}");
    for (more, both) in [
        (&["-o", w][..], ["-o", "--weights-in"]),
        (&["-o", "x.json", &format!("--weights-out={k}")], ["--weights-out", "the input"]),
        (&["-o", "x.json", "--weights-out=x.json"], ["--weights-out", "-o"]),
        (&["-o", "x.json", "--weights-out=w", "--report=w"], ["--report", "--weights-out"]),
        (&["-o", "x.json", "--report=x.weights.h5"], ["--report", "--weights-out"]),
        (&["-o", "x.json", &format!("--report={w}")], ["--report", "--weights-in"]),
    ] {
        clashes(&place, &[&["opt", k, &given], more].concat(), both);
    }
    succeeds(&place, &["opt", k, &given, "-o", "y.json"]);
    // In place.
    succeeds(&place, &["opt", k, &given, "-o", k]);
    let outcome = succeeds(&place, &["opt", k, &given, "-o", k, "--external=single"]);
    assert!(outcome.stdout.contains("ONNX models alone have external data"), "{}", outcome.stdout);
}

#[test]
fn every_written_file_is_named() {
    let place = place();
    let outcome = succeeds(&place, &["opt", "external.onnx", "-o", "o/m.onnx", "--passes="]);
    assert!(outcome.stdout.contains("o/external.bin, o/external.n2.bin"), "{}", outcome.stdout);
    let bytes: u64 = ["external.bin", "external.n2.bin"]
        .map(|name| fs::metadata(place.path(name)).unwrap().len())
        .iter()
        .sum();
    let kilo = format!("and 2 data files, {:.1} kB", bytes as f64 / 1000.0);
    assert!(outcome.stdout.contains(&kilo), "{kilo}: {}", outcome.stdout);
    // The names are those of the output as it was given, also where one was there.
    let fold = ["opt", "external.onnx", "-o", "o/m.onnx", "--passes=fold-bn{skip=n2}"];
    let outcome = succeeds(&place, &fold);
    assert!(
        outcome.stdout.contains("bytes: o/m.") || outcome.stdout.contains("kB: o/m."),
        "{}",
        outcome.stdout
    );
    // What was there is not written again.
    let outcome = succeeds(&place, &["opt", "external.onnx", "-o", "o/m.onnx", "--passes="]);
    assert!(!outcome.stdout.contains("data file"), "{}", outcome.stdout);
}

#[test]
fn a_hidden_data_file_is_not_planted() {
    let place = Place::new();
    fs::create_dir_all(place.path("in/.git/hooks")).unwrap();
    fs::create_dir(place.path("o")).unwrap();
    place.write(
        "in/.git/hooks/post-checkout",
        [0.5f32, -1.0, 0.25, 2.0].map(f32::to_le_bytes).concat(),
    );
    let weight = model::external("w", &[2, 2, 1, 1], ".git/hooks/post-checkout");
    place.write("in/m.onnx", model::conv_bn(weight));
    let outcome = place.run(&["opt", "in/m.onnx", "-o", "o/m.onnx", "--passes="]);
    assert_eq!(outcome.code, Some(5), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("hidden file (`.git`)"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--external=single or inline"), "{}", outcome.stderr);
    assert_eq!(contents(&place.path("o")), []);
    succeeds(&place, &["opt", "in/m.onnx", "-o", "o/m.onnx", "--passes=", "--external=inline"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_told_what_it_does_not_get() {
    let place = place();
    let keep = ["opt", "external.onnx", "-o", "/dev/null", "--passes="];
    let outcome = succeeds(&place, &keep);
    let said = [outcome.stdout, outcome.stderr].concat();
    assert!(said.contains("names external data that stays in"), "{said}");
    let outcome = place.run(&[&keep[..], &["--external=above=1MiB"]].concat());
    assert_eq!(outcome.code, Some(5));
    assert!(outcome.stderr.contains("--external=inline needs no file"), "{}", outcome.stderr);
}

#[test]
fn sizes_have_units() {
    let place = place();
    for (size, moved) in [("9kB", true), ("9KiB", true), ("1M", false), ("1GB", false), ("0", true)]
    {
        fs::create_dir(place.path(size)).unwrap();
        let (output, external) = (format!("{size}/m.onnx"), format!("--external=above={size}"));
        succeeds(&place, &["opt", "resnet_tiny.onnx", "-o", &output, &external]);
        assert_eq!(contents(&place.path(size)).len(), 1 + usize::from(moved), "{size}");
    }
}

/// An architecture and its weights keep the permissions of the files that they replace.
#[cfg(unix)]
#[test]
fn both_files_of_a_pair_keep_their_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    for name in ["keras/branches.json", "keras/branches.weights.h5"] {
        place.copy(name);
    }
    fs::create_dir(place.path("w")).unwrap();
    let pair = [("o.json", 0o640), ("w/o.h5", 0o600)];
    let args = |passes| {
        let from = ["opt", "branches.json", "--weights-in=branches.weights.h5", passes];
        [&from[..], &["-o", "o.json", "--weights-out=w/o.h5", "--sync"]].concat()
    };
    succeeds(&place, &args("--passes="));
    let before = pair.map(|(file, mode)| {
        fs::set_permissions(place.path(file), fs::Permissions::from_mode(mode)).unwrap();
        fs::read(place.path(file)).unwrap()
    });
    succeeds(&place, &args("--passes=fold-bn,dce"));
    for ((file, mode), before) in pair.into_iter().zip(before) {
        let path = place.path(file);
        assert!(fs::read(&path).unwrap() != before, "{file}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    assert_eq!(fs::read_dir(place.path("w")).unwrap().count(), 1);
}
