//! Keras models in every container: written as they were without a pass, and after the default pipeline as models that compute
//! what they computed.

use normfold_driver::{Driver, Input, Opened, Report, RunOptions, SaveOptions};
use normfold_frontends::{
    archive::{Archive, Patch},
    bytes::Source,
    hdf5::{Edit, File, Payload, Value},
    save::WriteOptions,
};
use normfold_ir::OpKind;
use normfold_tests::{compare, models};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// How many stay, by reason.
type Kept = &'static [(&'static str, u64)];

/// Batch norms that fold, and those that stay with their reasons, by model.
const EXPECTED: &[(&str, u64, Kept)] = &[
    ("awkward", 1, &[("axis-mismatch", 1), ("multiple-consumers", 1), ("shared-weight", 2)]),
    ("branches", 1, &[]),
    ("conv_transpose", 3, &[]),
    ("names", 3, &[]),
    ("nested", 2, &[("region-boundary", 1)]),
    ("separable", 4, &[]),
    ("seq_conv2d", 5, &[]),
];

/// The files of a model: what is opened, and the weights beside it.
struct Files {
    path: PathBuf,
    weights: Option<PathBuf>,
}

impl Files {
    fn input(&self) -> Input {
        match &self.weights {
            Some(weights) => {
                Input::WithWeights { path: self.path.clone(), weights: weights.clone() }
            }
            None => Input::Path(self.path.clone()),
        }
    }

    fn name(&self) -> String {
        let name = self.path.file_name().expect("a file").to_string_lossy();
        name.split('.').next().expect("a name").to_owned()
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let paths = [Some(&self.path), self.weights.as_ref()];
        paths.into_iter().flatten().map(|p| fs::read(p).expect("a file")).collect()
    }

    /// The same files elsewhere.
    fn at(&self, folder: &Path) -> Self {
        let moved = |p: &PathBuf| folder.join(p.file_name().expect("a file"));
        Self { path: moved(&self.path), weights: self.weights.as_ref().map(moved) }
    }
}

fn every() -> Vec<Files> {
    let mut all: Vec<Files> = Vec::new();
    for path in models("keras", "keras") {
        all.push(Files { path, weights: None });
    }
    for path in models("keras", "h5") {
        let name = path.to_string_lossy();
        let stem = [".weights.h5", ".weights_only.h5"].iter().find_map(|e| name.strip_suffix(e));
        all.push(match stem {
            Some(stem) => {
                Files { path: format!("{stem}.json").into(), weights: Some(path.clone()) }
            }
            None => Files { path, weights: None },
        });
    }
    assert!(all.len() >= 24, "{}", all.len());
    all
}

fn run(files: &Files, pipeline: &str, to: &Files) -> (Opened, Report) {
    let driver = Driver::new();
    let what = files.path.display();
    let pipeline = driver.parse_pipeline(pipeline).expect("a pipeline");
    let mut opened = driver.open(files.input()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let save = SaveOptions { weights: to.weights.as_deref(), threads: 2, ..SaveOptions::default() };
    let run = RunOptions::default();
    let report = driver
        .run_and_save(&mut opened, &pipeline, &to.path, &run, &save, &mut [])
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    (opened, report)
}

#[test]
fn without_a_pass_files_are_what_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    for files in every() {
        let to = files.at(folder.path());
        run(&files, "", &to);
        assert!(files.bytes() == to.bytes(), "{}", files.path.display());
    }
}

#[test]
fn folded_models_compute_what_they_computed() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = Driver::new();
    for files in every() {
        let (what, name) = (files.path.display(), files.name());
        let to = files.at(folder.path());
        let before = driver.open(files.input()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (_, report) = run(&files, "default", &to);
        let expected = EXPECTED.iter().find(|(n, ..)| *n == name);
        let (_, folded, kept) = expected.unwrap_or_else(|| panic!("{what} is not expected"));
        let mut found: Vec<_> = report.batch_norms.kept.iter().map(|(k, n)| (*k, *n)).collect();
        found.sort();
        assert_eq!((report.batch_norms.folded, found.as_slice()), (*folded, *kept), "{what}");

        let after = driver.open(to.input()).unwrap_or_else(|e| panic!("{what}, folded: {e}"));
        let compared = compare::modules(before.module(), after.module(), 1e-5)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(compared.elements > 0, "{what}");
        let norms: usize = after
            .module()
            .innermost_first()
            .into_iter()
            .map(|id| after.module().graph(id))
            .map(|g| g.ops().filter(|&op| matches!(g.kind(op), OpKind::BatchNorm(_))).count())
            .sum();
        let left: u64 = kept.iter().map(|(_, n)| n).sum();
        assert_eq!(norms as u64, left, "{what}");

        // What was written is a document like any other: nothing is left to do to it.
        let again = tempfile::tempdir().expect("a folder");
        let (_, report) = run(&to, "default", &to.at(again.path()));
        assert_eq!(report.batch_norms.folded, 0, "{what}");
        assert!(to.bytes() == to.at(again.path()).bytes(), "{what}");
    }
}

#[test]
fn the_input_may_be_the_output() {
    let folder = tempfile::tempdir().expect("a folder");
    for files in every().into_iter().filter(|f| matches!(&*f.name(), "branches" | "nested")) {
        let (elsewhere, here) = (folder.path().join("elsewhere"), folder.path().join("here"));
        for path in [&elsewhere, &here] {
            fs::create_dir_all(path).expect("a folder");
        }
        let (to, own) = (files.at(&elsewhere), files.at(&here));
        run(&files, "default", &to);
        for (from, at) in
            [(Some(&files.path), Some(&own.path)), (files.weights.as_ref(), own.weights.as_ref())]
        {
            if let (Some(from), Some(at)) = (from, at) {
                fs::copy(from, at).expect("a copy");
            }
        }
        run(&own, "default", &own);
        assert!(own.bytes() == to.bytes(), "{}", files.path.display());
    }
}

/// The state of an optimizer belongs to the weights that were trained; everything else that a compiled model has stays.
#[test]
fn the_state_of_an_optimizer_is_left_out_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = every();
    let trained: Vec<&Files> = all.iter().filter(|f| f.name() == "seq_conv2d").collect();
    assert_eq!(trained.len(), 4);
    for files in trained {
        let what = files.path.display();
        let to = files.at(folder.path());
        let (_, report) = run(files, "default", &to);
        assert!(report.notes.iter().any(|n| n.contains("optimizer")), "{what}: {:?}", report.notes);
        let (source, range) = hdf5(&files.path);
        let before = File::open(&source, range).expect("an HDF5 file");
        let (source, range) = hdf5(&to.path);
        let after = File::open(&source, range).expect("an HDF5 file");
        for state in ["optimizer", "optimizer_weights"] {
            assert!(after.find(after.root(), state).is_none(), "{what}");
        }
        let attributes = |f: &File| f.attributes(f.root()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(attributes(&before), attributes(&after), "{what}");
        let sizes = [&files.path, &to.path].map(|p| fs::metadata(p).expect("a file").len());
        assert!(sizes[1] < sizes[0], "{what}: {sizes:?}");
    }
}

/// The HDF5 file that a model is, or has.
fn hdf5(path: &Path) -> (Source, std::ops::Range<u64>) {
    let source = Source::Memory(fs::read(path).expect("a file").into());
    let range = match Archive::looks_like(source.bytes()) {
        true => {
            let archive = Archive::open(&source).expect("an archive");
            let member = archive.member("model.weights.h5").expect("weights");
            archive.stored_range(member).expect("a stored member")
        }
        false => 0..source.len(),
    };
    (source, range)
}

/// A file of weights with a change.
fn changed(path: &Path, change: impl FnOnce(&File, &mut Edit<'_, '_>)) -> Vec<u8> {
    let (source, range) = hdf5(path);
    let file = File::open(&source, range).expect("an HDF5 file");
    let mut edit = Edit::new(&file, 0);
    change(&file, &mut edit);
    let content = edit.finish().expect("a file");
    let mut bytes = Vec::new();
    content
        .write_to(std::slice::from_ref(&source), &mut bytes, WriteOptions::default())
        .expect("written");
    bytes
}

#[test]
fn what_does_not_belong_together_is_one_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = every();
    let find = |name: &str| {
        let name = std::ffi::OsStr::new(name);
        let found = all.iter().flat_map(|f| [Some(&f.path), f.weights.as_ref()]);
        found.flatten().find(|p| p.file_name() == Some(name)).expect("a model").clone()
    };
    let refused = |architecture: &str, bytes: &[u8], expected: &[&str]| {
        let weights = folder.path().join("model.h5");
        fs::write(&weights, bytes).expect("a file");
        let path = find(architecture);
        let error =
            Driver::new().open(Input::WithWeights { path, weights }).expect_err(architecture);
        let error = error.to_string();
        assert!(expected.iter().all(|e| error.contains(e)), "{architecture}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    let (classes, names) = (find("branches.weights.h5"), find("branches.k2.weights_only.h5"));

    // The weights of another model.
    let other = fs::read(find("nested.weights.h5")).expect("weights");
    refused("branches.json", &other, &["layers/", "another model"]);
    let other = fs::read(find("nested.k2.weights_only.h5")).expect("weights");
    refused("branches.k2.json", &other, &["group `", "another"]);

    // A data set that is not there.
    let bytes = changed(&classes, |file, edit| {
        let vars = file.find(file.root(), "layers/conv2d_1/vars").expect("weights");
        edit.unlink(vars, "0");
    });
    refused("branches.json", &bytes, &["layer `second`", "kernel is not in the file"]);
    let bytes = changed(&names, |file, edit| {
        let group = file.find(file.root(), "second/second").expect("weights");
        edit.unlink(group, "kernel:0");
    });
    refused("branches.k2.json", &bytes, &["group `second`", "`second/kernel:0`", "not there"]);

    // Other extents.
    let wrong = |file: &File, edit: &mut Edit<'_, '_>, group: &str, name: &str| {
        let vars = file.find(file.root(), group).expect("weights");
        let kernel = file.find(vars, name).expect("a kernel");
        edit.unlink(vars, name);
        edit.create_dataset(vars, name, kernel, &[1, 1, 3, 2], Payload::Bytes(vec![0; 24]));
    };
    let bytes = changed(&classes, |file, edit| wrong(file, edit, "layers/conv2d/vars", "0"));
    refused("branches.json", &bytes, &["[1, 1, 2, 2]", "`layers/conv2d/vars/0` has [1, 1, 3, 2]"]);
    let bytes = changed(&names, |file, edit| wrong(file, edit, "first/first", "kernel:0"));
    refused(
        "branches.k2.json",
        &bytes,
        &["[1, 1, 2, 2]", "`first/first/kernel:0` has [1, 1, 3, 2]"],
    );

    // Lists that say something else.
    let bytes = changed(&names, |file, edit| {
        edit.set_attribute(file.root(), "layer_names", Value::Texts(vec!["elsewhere".into()]));
    });
    refused("branches.k2.json", &bytes, &["group `elsewhere`", "no layer of that name"]);
    let bytes = changed(&names, |file, edit| {
        let group = file.find(file.root(), "norm").expect("a layer");
        edit.set_attribute(group, "weight_names", Value::Texts(vec!["norm/gamma:0".into()]));
    });
    refused("branches.k2.json", &bytes, &["group `norm`", "should have 4 weights and has 1"]);
    refused("branches.json", &fs::read(find("branches.json")).expect("JSON"), &["HDF5"]);

    // Weights alone are no model.
    let error = Driver::new().open(Input::Path(classes)).expect_err("weights").to_string();
    assert!(error.contains("weights alone") && error.contains("architecture"), "{error}");
}

#[test]
fn archives_that_lack_something_are_one_clear_error() {
    let path = models("keras", "keras").remove(0);
    let source = Source::Memory(fs::read(&path).expect("an archive").into());
    let archive = Archive::open(&source).expect("an archive");
    for name in ["config.json", "model.weights.h5"] {
        let mut patch = Patch::new(&archive, 0);
        patch.remove(archive.find(name).expect("a member"));
        let mut bytes = Vec::new();
        let content = patch.finish().expect("an archive");
        content
            .write_to(std::slice::from_ref(&source), &mut bytes, WriteOptions::default())
            .expect("written");
        let input = Input::Bytes { name: "model".into(), bytes };
        let error = Driver::new().open(input).expect_err("no model").to_string();
        assert!(error.contains(name) && error.contains("no .keras archive"), "{error}");
    }
}
