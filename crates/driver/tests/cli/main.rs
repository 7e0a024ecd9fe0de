//! The program from outside: standard output, standard error and exit code of every command, and of every bad input.

mod bad_input;
mod commands;
mod files;
mod hostile;
mod model;
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A folder to work in, and the program.
struct Place {
    dir: TempDir,
}

/// What the program left.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file");
    }

    /// Copies a file of the tests' models here.
    fn copy(&self, model: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models").join(model);
        let name = from.file_name().expect("a file");
        fs::copy(&from, self.dir.path().join(name)).expect("a model");
    }

    /// Every file here but those with these names.
    fn others(&self, known: &[&str]) -> Vec<String> {
        let mut list: Vec<String> = fs::read_dir(self.dir.path())
            .expect("a folder")
            .map(|e| e.expect("a file").file_name().to_string_lossy().into_owned())
            .filter(|n| !known.contains(&n.as_str()))
            .collect();
        list.sort();
        list
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, Stdio::null())
    }

    fn run_with(&self, args: &[&str], stdin: Stdio) -> Outcome {
        let output = Command::new(env!("CARGO_BIN_EXE_normfold"))
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("NORMFOLD_LOG")
            .env_remove("NO_COLOR")
            .env("COLUMNS", "100")
            .stdin(stdin)
            .output()
            .expect("the program");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// As a snapshot shows it: what depends on the machine or the clock is replaced.
    fn show(&self, args: &[&str]) -> String {
        let mut out =
            format!("$ normfold {}\nexit code {:?}\n", args.join(" "), self.code.unwrap_or(-1));
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                out.push_str(&format!("-- {name} --\n{}", redacted(text)));
            }
        }
        out
    }
}

/// Numbers that a clock gave become `_`.
fn redacted(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for i in 1..words.len() {
            let unit = words[i].trim_end_matches(['\n', ')', ',']);
            if matches!(unit, "s" | "ms" | "%")
                && words[i - 1].trim_start_matches('(').parse::<f64>().is_ok()
            {
                let open = if words[i - 1].starts_with('(') { "(" } else { "" };
                words[i - 1] = format!("{open}_");
            }
        }
        let joined = words.join(" ");
        // Columns shift with the number of digits.
        let is_table = joined.contains("_ ms");
        out.push_str(&match is_table {
            true => words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "),
            false => joined,
        });
    }
    out
}

/// Runs the program and compares with the snapshot of that name.
macro_rules! check {
    ($place:expr, $name:expr, $args:expr) => {{
        let args: &[&str] = &$args;
        let outcome = $place.run(args);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
            insta::assert_snapshot!($name, outcome.show(args));
        });
        outcome
    }};
}
use check;
