//! Killed, out of space, failing: at each call of each case.

use super::*;

/// The files of a case before and after it, and how to tell which of them are there.
struct Judge<'a> {
    case: &'a Case,
    after: Files,
    old: Option<String>,
    new: String,
}

/// What stands in the target's place. Both where a run changes nothing.
#[derive(Clone, Copy, Debug)]
struct Found {
    old: bool,
    new: bool,
}

impl Judge<'_> {
    /// The target is old or new, all other files are as they were, and the model loads with its own data. What else is
    /// there is unfinished, or complete new data.
    fn look(&self, place: &Place, said: &str) -> Found {
        let (files, target) = (place.files(), self.case.target);
        let found = Found {
            old: files.get(target) == self.case.before.get(target),
            new: files.get(target) == self.after.get(target),
        };
        assert!(found.old || found.new, "{said}: the target is neither old nor new");
        for (name, content) in &self.case.before {
            let same = name == target || files.get(name) == Some(content);
            // What is written after the model.
            let later = self.case.later > 0 && found.new && files.get(name) == self.after.get(name);
            assert!(same || later, "{said}: {name} changed");
        }
        for (name, content) in &files {
            let known = self.case.before.contains_key(name) || is_fresh_name(name);
            assert!(known || self.after.get(name) == Some(content), "{said}: {name}");
        }
        match &self.old {
            _ if found.new => assert_eq!(place.module(target), self.new, "{said}"),
            Some(old) => assert_eq!(&place.module(target), old, "{said}"),
            None => assert!(!files.contains_key(target), "{said}"),
        }
        found
    }

    /// The case again, without anything going wrong, among what the first run has left.
    fn again(&self, place: &Place, said: &str) {
        // The input of a run in place that has happened is another one.
        if self.case.before.contains_key(self.case.target)
            && self.case.args.iter().filter(|a| a.ends_with(&self.case.target[3..])).count() > 1
        {
            return;
        }
        let left: Files = place.files().into_iter().filter(|(n, _)| is_fresh_name(n)).collect();
        let output = place.program(&self.case.args).output().expect("the program");
        assert!(output.status.success(), "{said}, and again: {output:?}");
        let mut wanted = self.after.clone();
        wanted.extend(left);
        assert_eq!(place.files(), wanted, "{said}, and again");
    }
}

/// Runs the case with everything that can go wrong at every call.
fn every_call(case: &Case) {
    let clean = Place::with(&case.before);
    let calls = clean.calls(&case.args);
    for wanted in case.calls {
        assert!(calls.iter().any(|c| c == wanted), "no {wanted} among {calls:?}");
    }
    let judge = Judge {
        case,
        after: clean.files(),
        old: (case.before.contains_key(case.target))
            .then(|| Place::with(&case.before).module(case.target)),
        new: clean.module(case.target),
    };
    assert!(!judge.after.keys().any(|n| is_fresh_name(n)), "{:?}", judge.after.keys());
    let renames = || calls.iter().enumerate().filter(|(_, c)| *c == "rename").map(|(n, _)| n);
    let renamed = renames().rev().nth(case.later).expect("a rename");
    for (n, call) in calls.iter().enumerate() {
        for what in ["kill", "torn", "short", "ENOSPC", "EIO"] {
            if matches!(what, "torn" | "short") && call != "write" {
                continue;
            }
            let said = format!("{what} at {call}, call {} of {}", n + 1, calls.len());
            let place = Place::with(&case.before);
            let output = place.shimmed(&case.args, n + 1, what).output().expect("the program");
            let stderr = String::from_utf8_lossy(&output.stderr);
            let found = judge.look(&place, &said);
            // The rename of the model is the moment.
            let moment = match what {
                "short" => n + 1,
                _ if call == "unlink" && what != "kill" => calls.len(),
                _ => n,
            };
            assert!(
                if moment > renamed || what == "short" { found.new } else { found.old },
                "{said}"
            );
            match what {
                "kill" | "torn" => {
                    assert_eq!(output.status.code(), None, "{said}");
                    judge.again(&place, &said);
                }
                "short" => {
                    assert!(output.status.success(), "{said}: {stderr}");
                    assert_eq!(place.files(), judge.after, "{said}");
                }
                // What cannot be removed is named, and does no harm.
                _ if call == "unlink" => {
                    assert!(output.status.success(), "{said}: {stderr}");
                }
                _ => {
                    assert_eq!(output.status.code(), Some(5), "{said}: {stderr}");
                    let cause = if what == "EIO" { "Input/output error" } else { "No space left" };
                    assert!(
                        stderr.starts_with("error: ") && stderr.contains(cause),
                        "{said}: {stderr}"
                    );
                    assert_eq!(stderr.lines().count(), 1, "{said}: {stderr}");
                    let out = place.path("out");
                    assert!(stderr.contains(&*out.to_string_lossy()), "{said}: {stderr}");
                    if n > renamed && case.later > 0 {
                        // The older file that was to come after the model is as it was.
                        let mut wanted = case.before.clone();
                        wanted.insert(case.target.to_owned(), judge.after[case.target].clone());
                        assert_eq!(place.files(), wanted, "{said}");
                    } else if n > renamed {
                        assert!(call == "fsync" && found.new, "{said}: {stderr}");
                        assert_eq!(place.files(), judge.after, "{said}");
                    } else {
                        assert_eq!(place.files(), case.before, "{said}");
                        assert_eq!(
                            place.directories().len(),
                            Place::with(&case.before).directories().len()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_fresh_target() {
    every_call(&fresh());
}

#[test]
fn an_older_model_is_overwritten() {
    every_call(&overwriting());
}

#[test]
fn the_input_is_overwritten() {
    every_call(&in_place());
}

#[test]
fn external_data() {
    every_call(&external());
}

#[test]
fn an_older_model_with_external_data_is_overwritten() {
    let case = external_overwriting();
    assert_eq!(case.before.keys().filter(|n| n.ends_with(".weights.bin")).count(), 1);
    every_call(&case);
}

#[test]
fn the_same_external_data_again() {
    every_call(&external_again());
}

#[test]
fn the_input_with_external_data_is_overwritten() {
    every_call(&external_in_place());
}

#[test]
fn external_data_comes_into_the_model() {
    every_call(&moved("--external=inline"));
}

#[test]
fn some_data_goes_out_of_the_model() {
    every_call(&moved("--external=above=2KiB"));
}

#[test]
fn other_formats() {
    for (name, target, args) in [
        ("keras/seq_conv2d.keras", "out/m.keras", ["{in}/m.keras", "-o", "{out}/m.keras"]),
        ("keras/seq_conv2d.h5", "out/m.h5", ["{in}/m.h5", "-o", "{out}/m.h5"]),
        ("torch/net.pt2", "out/m.pt2", ["{in}/m.pt2", "-o", "{out}/m.pt2"]),
    ] {
        every_call(&other_format(name, target, &args));
    }
}

/// Loading the architecture says nothing of the weights; that they go again does.
#[test]
fn an_architecture_and_its_weights() {
    every_call(&keras_in_two());
}

#[test]
fn a_report_after_the_model() {
    every_call(&reported());
}

#[cfg(feature = "verify")]
#[test]
fn a_model_that_is_verified() {
    let mut case = external_overwriting();
    case.args.push("--verify");
    every_call(&case);
}

#[test]
fn several_data_files_and_a_new_directory() {
    every_call(&several());
}

#[test]
fn new_and_copied_data_synced() {
    every_call(&synced());
}

#[test]
fn several_buffers_and_threads() {
    every_call(&large());
}

#[test]
fn what_is_synced_and_when() {
    let case = synced();
    let calls = Place::with(&case.before).calls(&case.args);
    let short: String = (calls.iter().map(String::as_str))
        .filter_map(|c| match c {
            "fsync" => Some('s'),
            "rename" => Some('r'),
            _ => None,
        })
        .collect();
    // New data, two copies, the model; the names of the data; the directory; the name of the model; the directory.
    assert_eq!(short, "ssssrrrsrs", "{calls:?}");
    let case = external();
    assert!(!Place::with(&case.before).calls(&case.args).contains(&"fsync".to_owned()));
}

#[test]
fn a_data_file_of_that_name_with_other_content_stays() {
    let mut case = external_again();
    let (name, damaged) =
        case.before.iter_mut().find(|(n, _)| n.ends_with(".weights.bin")).expect("a data file");
    damaged[0] ^= 1;
    let (name, damaged) = (name.clone(), damaged.clone());
    let place = Place::with(&case.before);
    let output = place.program(&case.args).output().expect("the program");
    assert!(output.status.success(), "{output:?}");
    let files = place.files();
    assert_eq!(files[&name], damaged);
    assert!(files.contains_key(&name.replace(".weights", "-2.weights")), "{:?}", files.keys());
    let clean = Place::with(&external().before);
    clean.calls(&case.args);
    assert_eq!(
        place.module(case.target).lines().count(),
        clean.module(case.target).lines().count()
    );
}
