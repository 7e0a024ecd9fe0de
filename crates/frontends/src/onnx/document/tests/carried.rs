//! Data files that go along with a model into another directory, and those that do not.

use super::{files::files, *};

/// A model whose only weight is at that location.
fn at(dir: &Path, location: &str) -> PathBuf {
    let data = dir.join(location);
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    fs::write(&data, [1; 4000]).unwrap();
    let weight = tensor_external("u", &[1000], &[("location", location)]);
    let nodes = vec![node("Neg", &["u"], &["y"])];
    let g = graph(nodes, vec![weight], vec![], vec![value("y", &[1000])]);
    fs::write(dir.join("m.onnx"), model(8, 17, g).0).unwrap();
    dir.join("m.onnx")
}

fn save(path: &Path, target: &Path, external: ExternalData) -> Result<SaveReport, FrontendError> {
    let (doc, module) = OnnxDocument::open(path, &OpenOptions::default())?;
    doc.save(&module, target, SaveOptions::default().external(external))
}

/// Whether an error says that the data can go into one new file, or into the document.
fn either(e: &FrontendError) -> bool {
    matches!(e, FrontendError::Data { elsewhere: Some(Elsewhere::Either), .. })
}

/// The author of a model does not choose files that programs read by themselves.
#[test]
fn no_hidden_file_is_made_in_another_directory() {
    for location in [".bashrc", ".git/hooks/post-checkout", "a/.config/x", "./.x"] {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let m = at(dir.path(), location);
        let target = other.path().join("out.onnx");
        let e = save(&m, &target, ExternalData::Keep).unwrap_err();
        assert!(e.to_string().contains("hidden file") && either(&e), "{location}: {e}");
        assert!(files(other.path()).is_empty(), "{location}");
        for external in [ExternalData::SINGLE, ExternalData::Inline] {
            save(&m, &target, external).unwrap();
            OnnxDocument::open(&target, &OpenOptions::default()).unwrap();
        }
        assert!(files(other.path()).iter().all(|n| n.starts_with("out.")), "{location}");
        // Beside the input they are there already.
        save(&m, &dir.path().join("out.onnx"), ExternalData::Keep).unwrap();
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let m = at(dir.path(), "./plain.bin");
    save(&m, &other.path().join("out.onnx"), ExternalData::Keep).unwrap();
    assert_eq!(files(other.path()), ["out.onnx", "plain.bin"]);
}

/// Readers refuse links, so none can stand for a data file, and none leads one out of the directory.
#[cfg(unix)]
#[test]
fn what_stands_in_the_way_of_a_data_file_is_told() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let m = at(dir.path(), "sub/w.bin");
    let data = dir.path().join("sub/w.bin");
    let refused = |told: &str, prepare: &dyn Fn(&Path)| {
        let other = tempfile::tempdir().unwrap();
        prepare(other.path());
        let before = files(other.path());
        let target = other.path().join("out.onnx");
        let e = save(&m, &target, ExternalData::Keep).unwrap_err();
        assert!(e.to_string().contains(told) && either(&e), "{told}: {e}");
        assert_eq!(files(other.path()), before, "{told}");
        save(&m, &target, ExternalData::SINGLE).unwrap();
        OnnxDocument::open(&target, &OpenOptions::default()).unwrap();
    };
    let sub = |other: &Path| fs::create_dir(other.join("sub")).unwrap();
    refused("a symbolic link", &|other| {
        sub(other);
        symlink(&data, other.join("sub/w.bin")).unwrap();
    });
    refused("a directory", &|other| {
        fs::create_dir_all(other.join("sub/w.bin")).unwrap();
    });
    refused("no regular file", &|other| {
        sub(other);
        let socket = other.join("sub/w.bin");
        drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    });
    refused("hard links", &|other| {
        sub(other);
        fs::write(other.join("sub/one"), [1; 4000]).unwrap();
        fs::hard_link(other.join("sub/one"), other.join("sub/w.bin")).unwrap();
    });
    refused("other data", &|other| {
        sub(other);
        fs::write(other.join("sub/w.bin"), [2; 4000]).unwrap();
    });
    let elsewhere = tempfile::tempdir().unwrap();
    refused("out of the output's directory", &|other| {
        symlink(elsewhere.path(), other.join("sub")).unwrap();
    });
    // Also where the data is already on the other side of such a link.
    refused("out of the output's directory", &|other| {
        symlink(dir.path().join("sub"), other.join("sub")).unwrap();
    });
    assert!(files(elsewhere.path()).is_empty());
    assert_eq!(files(&dir.path().join("sub")), ["w.bin"]);
}

/// What the fold does not look at goes along, too, or the output does not open.
#[test]
fn data_of_training_and_of_sparse_tensors_is_carried() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str, location: &str, n: i64| {
        fs::write(dir.path().join(location), vec![0; 4 * n as usize]).unwrap();
        tensor_external(name, &[n], &[("location", location)])
    };
    let sparse = Msg::new().msg(1, at("s", "values.bin", 1)).msg(2, tensor_i64("", &[1], &[0]));
    let hidden = Msg::new().str(1, "k").msg(10, at("", "list.bin", 3)).int(20, 9);
    let odd = node("Odd", &["s"], &["z"]).str(7, "elsewhere").msg(5, hidden);
    let g = graph(vec![odd], vec![], vec![], vec![value("z", &[2])]).msg(15, sparse.int(3, 2));
    let training = graph(
        vec![node("Identity", &["lr"], &["o"]), {
            let t = Msg::new().str(1, "value").msg(5, at("", "node.bin", 2)).int(20, 4);
            node("Constant", &[], &["c"]).msg(5, t)
        }],
        vec![at("lr", "rate.bin", 300)],
        vec![],
        vec![value("o", &[300])],
    );
    let opset = Msg::new().str(1, "elsewhere").int(2, 1);
    let m = model(8, 17, g).msg(8, opset).msg(20, Msg::new().msg(1, training));
    let path = dir.path().join("m.onnx");
    fs::write(&path, &m.0).unwrap();
    let all = ["list.bin", "node.bin", "rate.bin", "values.bin"];
    let (doc, module) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
    assert!(doc.locations().unwrap().into_iter().eq(all));
    assert!(data_beside(&path, &[]).into_iter().eq(all.map(|name| dir.path().join(name))));
    let target = other.path().join("out.onnx");
    for external in [ExternalData::Keep, ExternalData::Inline, ExternalData::SINGLE] {
        doc.save(&module, &target, SaveOptions::default().external(external)).unwrap();
        let mut found = files(other.path());
        found.retain(|n| n != "out.onnx");
        assert_eq!(found, all, "{external:?}");
        OnnxDocument::open(&target, &OpenOptions::default()).unwrap();
        for name in all {
            fs::remove_file(other.path().join(name)).unwrap();
        }
    }
    // A file that is not there cannot be carried.
    fs::remove_file(&target).unwrap();
    fs::remove_file(dir.path().join("rate.bin")).unwrap();
    let e = save(&path, &target, ExternalData::Keep).unwrap_err().to_string();
    assert!(e.contains("rate.bin") && e.contains("no such file"), "{e}");
    assert!(files(other.path()).is_empty());
}

/// A pipe has no directory for data.
#[cfg(unix)]
#[test]
fn what_a_pipe_cannot_have_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let m = at(dir.path(), "w.bin");
    let null = Path::new("/dev/null");
    let report = save(&m, null, ExternalData::Keep).unwrap();
    let [note] = &report.notes[..] else { panic!("{report:?}") };
    assert!(note.contains("w.bin") && note.contains(&*dir.path().to_string_lossy()), "{note}");
    assert!(save(&m, null, ExternalData::Inline).unwrap().notes.is_empty());
    let e = save(&m, null, ExternalData::SINGLE).unwrap_err().to_string();
    assert!(e.contains("/dev/null") && e.contains("needs a directory"), "{e}");
}

/// Whoever opens a link looks beside it.
#[cfg(unix)]
#[test]
fn links_to_models_and_their_data() {
    use std::os::unix::fs::symlink;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let m = at(dir.path(), "w.bin");
    let link = other.path().join("link.onnx");
    symlink(&m, &link).unwrap();
    let e = OnnxDocument::open(&link, &OpenOptions::default()).unwrap_err().to_string();
    assert!(e.contains("w.bin") && e.contains("beside the link"), "{e}");
    // Written through a link, data is beside the file.
    let report = save(&m, &link, ExternalData::Keep).unwrap();
    assert!(report.notes[0].contains("is a symbolic link"), "{report:?}");
    assert_eq!(files(other.path()), ["link.onnx"]);
    assert!(save(&m, &link, ExternalData::Inline).unwrap().notes.is_empty());
    OnnxDocument::open(&link, &OpenOptions::default()).unwrap();
}

/// Shapes and scales are read by engines while they load, when data outside is not there yet.
#[test]
fn short_lists_stay_in_the_document() {
    let dir = tempfile::tempdir().unwrap();
    let floats = |n: usize| vec![1.5; n];
    let g = graph(
        vec![node("Sum", &["matrix", "scales", "long"], &["y"]), node("Sum", &["i", "ii"], &["z"])],
        vec![
            tensor_f32("scales", &[8], &floats(8)),
            tensor_f32("matrix", &[2, 2], &floats(4)),
            tensor_f32("long", &[17], &floats(17)),
            tensor_i64("i", &[100], &[7; 100]),
            tensor_i64("ii", &[128], &[7; 128]),
        ],
        vec![],
        vec![value("y", &[1]), value("z", &[1])],
    );
    let (doc, module) = open(&model(8, 17, g));
    let target = dir.path().join("out.onnx");
    doc.save(&module, &target, SaveOptions::default().external(ExternalData::Above(0))).unwrap();
    let bytes = fs::read(&target).unwrap();
    let table = ModelTable::scan(&bytes).unwrap();
    let view = Model::new(&bytes, &table).graph(0).unwrap();
    let outside: Vec<&str> = (0..5)
        .map(|i| view.initializer(i).unwrap())
        .filter(|t| matches!(t.storage, crate::onnx::model::Storage::External(_)))
        .map(|t| t.name)
        .collect();
    assert_eq!(outside, ["matrix", "long", "ii"]);
}

/// The name of the data follows from that of the model, which may be as long as a name can be.
#[test]
fn the_data_of_a_model_with_a_long_name() {
    let dir = tempfile::tempdir().unwrap();
    let m = at(dir.path(), "w.bin");
    let target = dir.path().join(format!("{}.onnx", "n".repeat(250)));
    let report = save(&m, &target, ExternalData::SINGLE).unwrap();
    assert_eq!(report.external.len(), 1);
    OnnxDocument::open(&target, &OpenOptions::default()).unwrap();
}
