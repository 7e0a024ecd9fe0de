//! The program is ended, or refused a call, at every single call that changes a file: what docs/files.md promises holds.
//!
//! A library in C is preloaded into the program (shim.c) and counts these calls. Each case is run once to count them, and
//! then once per call and per way of going wrong.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod concurrent;
mod every_call;
mod inputs;
mod signals;

use normfold_driver::{Driver, Input};
use normfold_ir::text::{PrintOptions, Weights};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};
use tempfile::TempDir;

/// Relative paths and contents of all files below a directory.
type Files = BTreeMap<String, Vec<u8>>;

/// The compiled shim. It is built once for all tests of this process.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let library = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/shim.c");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status()
            .expect("a C compiler, which linking Rust needs, too");
        assert!(done.success());
        (dir, library)
    });
    path
}

fn model(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models").join(name);
    fs::read(path).expect("a model")
}

/// Two directories: inputs, and where the output goes.
struct Place {
    dir: TempDir,
}

impl Place {
    /// With these files; names say `in/…` or `out/…`.
    fn with(files: &Files) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["in", "out"] {
            fs::create_dir(dir.path().join(name)).expect("a folder");
        }
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("a folder").join(name)
    }

    /// The program with `{in}` and `{out}` in its arguments replaced.
    fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_normfold"));
        for arg in args {
            let arg = arg.replace("{in}", &self.path("in").to_string_lossy());
            command.arg(arg.replace("{out}", &self.path("out").to_string_lossy()));
        }
        command.env_remove("NORMFOLD_LOG").stdin(Stdio::null());
        command
    }

    /// The same with the shim: `what` happens at the call with that number.
    fn shimmed(&self, args: &[&str], at: usize, what: &str) -> Command {
        let mut command = self.program(args);
        command
            .env("LD_PRELOAD", shim())
            .env("CRASH_DIR", self.path("out"))
            .env("CRASH_LOG", self.path("log"))
            .env("CRASH_FILE", self.path("gate"))
            .env("CRASH_AT", at.to_string())
            .env("CRASH_DO", what);
        command
    }

    /// The calls that a run makes, in order.
    fn calls(&self, args: &[&str]) -> Vec<String> {
        let output = self.shimmed(args, 0, "count").output().expect("the program");
        assert!(output.status.success(), "{args:?}: {output:?}");
        self.logged()
    }

    fn logged(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The files below `in` and `out`. What a report says of the place is left out.
    fn files(&self) -> Files {
        let mut found = Files::new();
        for name in ["in", "out"] {
            collect(&self.path(name), name, &mut found);
        }
        if let Some(report) = found.get_mut("out/r.json") {
            let text = String::from_utf8_lossy(report);
            *report = text.replace(&*self.path("").to_string_lossy(), "").into_bytes();
        }
        found
    }

    /// All directories below `out`.
    fn directories(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("out")).expect("a folder");
        entries.map(|e| e.expect("an entry").path()).filter(|p| p.is_dir()).collect()
    }

    /// The module that a model and its external data hold, hashes of all weights included.
    fn module(&self, name: &str) -> String {
        let opened = Driver::new().open(Input::from(self.path(name).as_path()));
        let opened = opened.unwrap_or_else(|e| panic!("{name} cannot be loaded: {e}"));
        opened.to_text(&PrintOptions { weights: Weights::Hash }).expect("text")
    }
}

fn collect(dir: &Path, name: &str, into: &mut Files) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = format!("{name}/{}", path.file_name().expect("a name").to_string_lossy());
        match path.is_dir() {
            true => collect(&path, &name, into),
            false => drop(into.insert(name, fs::read(&path).expect("a file"))),
        }
    }
}

/// What a case starts from, and what it runs.
struct Case {
    before: Files,
    args: Vec<&'static str>,
    /// The model that is written.
    target: &'static str,
    /// What the case is about: calls that it has to make.
    calls: &'static [&'static str],
    /// Names that are given after that of the model.
    later: usize,
    /// The file without which the model is nothing.
    half: Option<&'static str>,
}

impl Case {
    fn new(inputs: &[(&str, Vec<u8>)], args: &[&'static str], target: &'static str) -> Self {
        let before = inputs.iter().map(|(n, c)| ((*n).to_owned(), c.clone())).collect();
        let args = ["opt", "-q", "--threads=2"].into_iter().chain(args.iter().copied()).collect();
        let calls = &["open", "ftruncate", "write", "rename"];
        Self { before, args, target, calls, later: 0, half: None }
    }

    /// With what another run has left.
    fn after(mut self, args: &[&'static str]) -> Self {
        let place = Place::with(&self.before);
        let output = place.program(args).output().expect("the program");
        assert!(output.status.success(), "{output:?}");
        self.before = place.files();
        self
    }

    fn calling(mut self, calls: &'static [&'static str]) -> Self {
        self.calls = calls;
        self
    }
}

/// A new model where none was.
fn fresh() -> Case {
    let inputs = [("in/m.onnx", model("resnet_tiny.onnx"))];
    Case::new(&inputs, &["{in}/m.onnx", "-o", "{out}/m.onnx"], "out/m.onnx")
}

/// A new model in the place of another one, whose permissions it gets.
fn overwriting() -> Case {
    let inputs =
        [("in/m.onnx", model("resnet_tiny.onnx")), ("out/m.onnx", model("small_fp16.onnx"))];
    Case::new(&inputs, &["{in}/m.onnx", "-o", "{out}/m.onnx"], "out/m.onnx").calling(&["fchmod"])
}

/// The output is the input.
fn in_place() -> Case {
    let inputs = [("out/m.onnx", model("resnet_tiny.onnx"))];
    Case::new(&inputs, &["{out}/m.onnx", "-o", "{out}/m.onnx"], "out/m.onnx")
}

const SINGLE: [&str; 4] = ["{in}/m.onnx", "--external=single", "-o", "{out}/m.onnx"];

/// A new model with external data.
fn external() -> Case {
    Case::new(&[("in/m.onnx", model("resnet_tiny.onnx"))], &SINGLE, "out/m.onnx")
}

/// A new model with external data in the place of another one that has some.
fn external_overwriting() -> Case {
    let inputs =
        [("in/m.onnx", model("resnet_tiny.onnx")), ("in/old.onnx", model("dcgan_groups.onnx"))];
    Case::new(&inputs, &SINGLE, "out/m.onnx").after(&[
        "opt",
        "{in}/old.onnx",
        "--external=single",
        "-o",
        "{out}/m.onnx",
    ])
}

/// The same run again, to the same files.
fn external_again() -> Case {
    let inputs = [("in/m.onnx", model("resnet_tiny.onnx"))];
    let args = ["opt", "{in}/m.onnx", "--external=single", "-o", "{out}/m.onnx"];
    Case::new(&inputs, &SINGLE, "out/m.onnx").after(&args).calling(&["unlink"])
}

fn external_files(to: &str) -> Vec<(String, Vec<u8>)> {
    ["external.onnx", "external.bin", "external.n2.bin"]
        .map(|name| (format!("{to}/{name}"), model(name)))
        .to_vec()
}

/// Input and output are one model that has external data in two files.
fn external_in_place() -> Case {
    let files = external_files("out");
    let inputs: Vec<_> = files.iter().map(|(n, c)| (&**n, c.clone())).collect();
    let args = ["{out}/external.onnx", "-o", "{out}/external.onnx"];
    Case::new(&inputs, &args, "out/external.onnx")
}

/// Several data files: a new one, and one of the input's in a directory that is made for it.
fn several() -> Case {
    let mut document = model("external.onnx");
    let (was, is) = (b"external.bin", b"made/up1.bin");
    let places: Vec<usize> =
        (0..document.len() - 12).filter(|&i| &document[i..i + 12] == was).collect();
    assert!(!places.is_empty());
    for i in places {
        document[i..i + 12].copy_from_slice(is);
    }
    let inputs = [
        ("in/m.onnx", document),
        ("in/made/up1.bin", model("external.bin")),
        ("in/external.n2.bin", model("external.n2.bin")),
    ];
    let args = ["{in}/m.onnx", "--passes=", "-o", "{out}/m.onnx"];
    Case::new(&inputs, &args, "out/m.onnx").calling(&["mkdir", "rename"])
}

/// With a new file, two that are copied, and everything synced.
fn synced() -> Case {
    let files = external_files("in");
    let mut inputs: Vec<_> = files.iter().map(|(n, c)| (&**n, c.clone())).collect();
    inputs.push(("out/external.onnx", model("small_fp16.onnx")));
    let args =
        ["{in}/external.onnx", "--passes=fold-bn{skip=n2}", "--sync", "-o", "{out}/external.onnx"];
    Case::new(&inputs, &args, "out/external.onnx").calling(&["fsync"])
}

/// More than one buffer of data, by two threads.
fn large() -> Case {
    let inputs = [("in/m.onnx", model("mobilenet_v2_x025.onnx"))];
    let args = ["{in}/m.onnx", "--passes=", "--external=single", "-o", "{out}/m.onnx"];
    Case::new(&inputs, &args, "out/m.onnx")
}

/// A model of another format, in the place of another one.
fn other_format(name: &str, target: &'static str, args: &[&'static str]) -> Case {
    let old = target.replace("/m.", "/old.");
    let inputs = [(&*target.replace("out/", "in/"), model(name)), (&*old, b"no output".to_vec())];
    Case::new(&inputs, args, target)
}

/// A Keras architecture with its weights, where none was.
fn keras_in_two() -> Case {
    let inputs = [
        ("in/m.json", model("keras/branches.json")),
        ("in/m.weights.h5", model("keras/branches.weights.h5")),
    ];
    let args = ["{in}/m.json", "--weights-in={in}/m.weights.h5", "-o", "{out}/m.json"];
    let case = Case::new(&inputs, &args, "out/m.json");
    Case { half: Some("out/m.weights.h5"), ..case }
}

/// External data that comes into the model, or some of what is in it that goes out.
fn moved(external: &'static str) -> Case {
    let files = external_files("in");
    let mut inputs: Vec<_> = files.iter().map(|(n, c)| (&**n, c.clone())).collect();
    inputs.push(("out/m.onnx", model("small_fp16.onnx")));
    Case::new(&inputs, &["{in}/external.onnx", external, "-o", "{out}/m.onnx"], "out/m.onnx")
}

/// With a report, which is written after the model.
fn reported() -> Case {
    let mut case = overwriting();
    case.before.insert("out/r.json".to_owned(), b"an older report".to_vec());
    case.args.push("--report={out}/r.json");
    case.later = 1;
    case
}

/// A name that only an unfinished file has.
fn is_fresh_name(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.starts_with('.') && base.ends_with(".tmp")
}
