//! Documents in files: external data, limits, failures.

use super::*;

fn external(dir: &Path) -> PathBuf {
    let data: Vec<u8> = (0..1000).flat_map(|i| (i as f32).to_le_bytes()).collect();
    fs::write(dir.join("w.bin"), [&data[..], &data[..]].concat()).unwrap();
    let t = |name: &str, offset: &str| {
        tensor_external(
            name,
            &[1000],
            &[("location", "w.bin"), ("offset", offset), ("length", "4000")],
        )
    };
    let m = model(
        8,
        17,
        graph(
            vec![node("Add", &["u", "v"], &["y"])],
            vec![t("u", "0"), t("v", "4000").str(12, "doc")],
            vec![],
            vec![value("y", &[1000])],
        ),
    );
    fs::write(dir.join("m.onnx"), &m.0).unwrap();
    dir.join("m.onnx")
}

pub(super) fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn rewritten_external_data_goes_to_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = external(dir.path());
    let before = fs::read(dir.path().join("w.bin")).unwrap();
    let (doc, mut module) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
    let id = module.main().unwrap();
    double(&mut module, id, "v");
    let mut names = Vec::new();
    for threads in [1, 2] {
        let report = doc
            .save(&module, &dir.path().join("out.onnx"), SaveOptions::default().threads(threads))
            .unwrap();
        let [(data, 4000)] = &report.external[..] else { panic!("{report:?}") };
        names.push(data.file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(names[0], names[1]);
    assert!(
        names[0].starts_with("out.") && names[0].ends_with(".weights.bin") && names[0].len() == 32
    );
    assert_eq!(
        files(dir.path()),
        ["m.onnx", "out.onnx", &names[0], "w.bin"]
            .map(String::from)
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert!(fs::read(dir.path().join("w.bin")).unwrap() == before);
    let (_, out) =
        OnnxDocument::open(&dir.path().join("out.onnx"), &OpenOptions::default()).unwrap();
    let g = out.graph(out.main().unwrap());
    for (name, factor) in [("u", 1.0), ("v", 2.0)] {
        let OpKind::Constant(c) = g.kind(op_of(g, name)) else { panic!() };
        assert_eq!(out.constants.element_f64(c.entry, 999).unwrap(), 999.0 * factor);
    }
    // In memory there is no place for another file.
    let mut bytes = Vec::new();
    doc.save_to(&module, &mut bytes, SaveOptions::default()).unwrap();
    assert!(bytes.len() > 4000);
}

/// Per constant: where the document says that its data is, and its last element.
fn storage(path: &Path) -> Vec<(String, Option<String>, f64)> {
    let bytes = fs::read(path).unwrap();
    let table = ModelTable::scan(&bytes).unwrap();
    let model = Model::new(&bytes, &table);
    let (_, out) = OnnxDocument::open(path, &OpenOptions::default()).unwrap();
    let g = out.graph(out.main().unwrap());
    let view = model.graph(0).unwrap();
    let one = |i| {
        let t = view.initializer(i).unwrap();
        let OpKind::Constant(c) = g.kind(op_of(g, t.name)) else { panic!("{}", t.name) };
        let last = out.constants.count(c.entry) - 1;
        let location = match &t.storage {
            crate::onnx::model::Storage::External(entries) => {
                let offset = entries.iter().find(|(k, _)| *k == "offset").unwrap().1;
                assert!(offset.parse::<u64>().unwrap().is_multiple_of(4096), "{offset}");
                Some(entries.iter().find(|(k, _)| *k == "location").unwrap().1.to_owned())
            }
            _ => None,
        };
        (t.name.to_owned(), location, out.constants.element_f64(c.entry, last).unwrap())
    };
    (0..view.table.initializers.len()).map(one).collect()
}

#[test]
fn external_data_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let m = external(dir.path());
    let inline: Vec<f32> = (0..300).map(|i| i as f32).collect();
    let tensors = ["a", "b"].map(|name| tensor_f32(name, &[300], &inline));
    let small = tensor_float_data("c", &[2], &[1.0, 7.0]);
    // The model of two external tensors, with three in the document.
    let nodes = vec![node("Add", &["u", "v"], &["y"]), node("Sum", &["a", "b", "c"], &["z"])];
    let more =
        graph(nodes, [tensors.to_vec(), vec![small]].concat(), vec![], vec![value("y", &[1000])]);
    let (u, v) = {
        let t = |name: &str, at: &str| {
            let entries = [("location", "w.bin"), ("offset", at), ("length", "4000")];
            tensor_external(name, &[1000], &entries)
        };
        (t("u", "0"), t("v", "4000"))
    };
    fs::write(&m, model(8, 17, more.msg(5, u).msg(5, v)).0).unwrap();
    let before = (fs::read(&m).unwrap(), fs::read(dir.path().join("w.bin")).unwrap());
    let (doc, mut module) = OnnxDocument::open(&m, &OpenOptions::default()).unwrap();
    let target = dir.path().join("out.onnx");
    for changed in [false, true] {
        if changed {
            let id = module.main().unwrap();
            double(&mut module, id, "v");
        }
        let v = if changed { 1998.0 } else { 999.0 };
        for (external, outside) in [
            (ExternalData::SINGLE, "abuv"),
            // Two floats may be scales, which engines read while they load.
            (ExternalData::Above(1), "abuv"),
            (ExternalData::Above(1201), "uv"),
            (ExternalData::Above(1 << 20), ""),
            (ExternalData::Inline, ""),
        ] {
            let options = SaveOptions::default().threads(2).external(external);
            let report = doc.save(&module, &target, options).unwrap();
            let found = storage(&target);
            assert_eq!(found.len(), 5);
            let file =
                report.external.first().map(|(p, _)| p.file_name().unwrap().to_str().unwrap());
            for (name, location, last) in found {
                let expected = file.filter(|_| outside.contains(&name));
                assert_eq!(location.as_deref(), expected, "{name} {external:?}");
                let want = match &*name {
                    "u" => 999.0,
                    "v" => v,
                    "c" => 7.0,
                    _ => 299.0,
                };
                assert_eq!(last, want, "{name} {external:?}");
            }
            assert_eq!(report.external.len(), usize::from(!outside.is_empty()), "{external:?}");
            // What was asked for is what a second run finds.
            let (again, module) = OnnxDocument::open(&target, &OpenOptions::default()).unwrap();
            let mut bytes = Vec::new();
            again.save_to(&module, &mut bytes, SaveOptions::default()).unwrap();
            assert!(bytes == fs::read(&target).unwrap());
        }
    }
    assert!(before == (fs::read(&m).unwrap(), fs::read(dir.path().join("w.bin")).unwrap()));
    let mut bytes = Vec::new();
    let single = SaveOptions::default().external(ExternalData::SINGLE);
    let e = doc.save_to(&module, &mut bytes, single).unwrap_err();
    assert!(e.to_string().contains("directory"), "{e}");
    assert!(matches!(e, FrontendError::Data { elsewhere: Some(Elsewhere::Document), .. }), "{e}");
    let inline = SaveOptions::default().external(ExternalData::Inline);
    let e = doc.save_within(&module, &target, inline, 5000).unwrap_err();
    assert!(e.to_string().contains("out.onnx") && e.to_string().contains("2 GiB"), "{e}");
    let elsewhere = |e: &FrontendError| match e {
        FrontendError::Data { elsewhere, .. } => *elsewhere,
        e => panic!("{e}"),
    };
    assert_eq!(elsewhere(&e), Some(Elsewhere::File));
    // Where more would not fit anywhere, nothing is advised.
    for (external, expected) in [
        (ExternalData::Above(1 << 20), Some(Elsewhere::File)),
        (ExternalData::SINGLE, None),
        (ExternalData::Above(1), None),
        (ExternalData::Keep, None),
    ] {
        let options = SaveOptions::default().external(external);
        let e = doc.save_within(&module, &target, options, 5).unwrap_err();
        assert_eq!(elsewhere(&e), expected, "{external:?}");
    }
    #[cfg(unix)]
    {
        let e = doc.save_within(&module, Path::new("/dev/null"), inline, 5).unwrap_err();
        assert_eq!(elsewhere(&e), None);
    }
}

#[test]
fn external_data_follows_to_another_directory() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (doc, module) = OnnxDocument::open(&external(dir.path()), &OpenOptions::default()).unwrap();
    let target = other.path().join("out.onnx");
    for _ in 0..2 {
        doc.save(&module, &target, SaveOptions::default()).unwrap();
    }
    assert_eq!(files(other.path()), ["out.onnx", "w.bin"]);
    assert!(
        fs::read(other.path().join("w.bin")).unwrap()
            == fs::read(dir.path().join("w.bin")).unwrap()
    );
    fs::write(other.path().join("w.bin"), b"precious").unwrap();
    fs::remove_file(&target).unwrap();
    let e = doc.save(&module, &target, SaveOptions::default()).unwrap_err();
    assert!(e.to_string().contains("w.bin") && e.to_string().contains("other data"), "{e}");
    assert_eq!(files(other.path()), ["w.bin"]);
}

/// The output would be what its own tensors are read from.
#[test]
fn an_output_does_not_take_the_place_of_its_external_data() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (doc, module) = OnnxDocument::open(&external(dir.path()), &OpenOptions::default()).unwrap();
    let before = fs::read(dir.path().join("w.bin")).unwrap();
    for folder in [dir.path(), other.path()] {
        let kept = files(folder);
        let e = doc.save(&module, &folder.join("w.bin"), SaveOptions::default()).unwrap_err();
        assert!(e.to_string().contains("external data"), "{e}");
        assert_eq!(files(folder), kept);
    }
    assert!(fs::read(dir.path().join("w.bin")).unwrap() == before);
}

#[test]
fn what_passes_the_limit_of_protobuf_moves_out() {
    let dir = tempfile::tempdir().unwrap();
    let big: Vec<f32> = (0..5000).map(|i| i as f32).collect();
    let m = model(
        8,
        17,
        graph(
            vec![node("Add", &["u", "v"], &["s"]), node("Add", &["s", "small"], &["y"])],
            vec![
                tensor_f32("u", &[5000], &big),
                tensor_float_data("v", &[5000], &big),
                tensor_f32("small", &[1], &[1.0]),
            ],
            vec![],
            vec![value("y", &[5000])],
        ),
    );
    let (doc, mut module) = open(&m);
    let id = module.main().unwrap();
    set_values(&mut module, id, "small", &[2.0]);
    let target = dir.path().join("out.onnx");
    let report = doc.save_within(&module, &target, SaveOptions::default(), 30_000).unwrap();
    assert!(report.bytes < 1000 && report.external[0].1 == 20_480 + 20_000, "{report:?}");
    let (_, out) = OnnxDocument::open(&target, &OpenOptions::default()).unwrap();
    let g = out.graph(out.main().unwrap());
    for name in ["u", "v"] {
        let OpKind::Constant(c) = g.kind(op_of(g, name)) else { panic!() };
        assert_eq!(out.constants.element_f64(c.entry, 4321).unwrap(), 4321.0);
    }
    let e = doc.save_within(&module, &target, SaveOptions::default(), 100).unwrap_err();
    assert!(e.to_string().contains("2 GiB"), "{e}");
}

#[test]
fn a_weight_that_overflows_stops_the_writing() {
    let dir = tempfile::tempdir().unwrap();
    let (doc, mut module) = open(&conv_bn(8, 17));
    let id = module.main().unwrap();
    for _ in 0..3 {
        let op = op_of(module.graph(id), "w");
        let OpKind::Constant(c) = module.graph(id).kind(op).clone() else { panic!() };
        let factors = module.constants.add_f64(DType::F64, &[], &[1e20]);
        let map = normfold_ir::ElementMap::single();
        let entry = module.constants.derive(c.entry, Step::Scale { map, factors });
        module.graph_mut(id).set_kind(op, Constant { entry, ..c });
    }
    let e = doc.save(&module, &dir.path().join("out.onnx"), SaveOptions::default()).unwrap_err();
    assert!(matches!(&e, FrontendError::NonFinite { constant, .. } if constant == "w"), "{e}");
    assert!(files(dir.path()).is_empty());
}

#[test]
fn the_input_can_be_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    fs::write(&path, conv_bn(8, 17).0).unwrap();
    let (doc, mut module) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
    fold(&mut module);
    doc.save(&module, &path, SaveOptions::default()).unwrap();
    assert_eq!(Written::new(fs::read(&path).unwrap()).initializers(0), ["w", "w.bias"]);
    // The document still reads what it opened.
    assert!(saved(&doc, &module) == fs::read(&path).unwrap());
}

#[test]
fn models_of_the_repository_are_written_as_they_are() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models");
    let mut seen = 0;
    for entry in fs::read_dir(models).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let (doc, module) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
        assert!(saved(&doc, &module) == bytes, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 20);
}

#[test]
fn files_that_are_no_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let e =
        OnnxDocument::open(&dir.path().join("absent.onnx"), &OpenOptions::default()).unwrap_err();
    assert!(e.to_string().contains("cannot open") && e.to_string().contains("absent.onnx"), "{e}");
    let e = OnnxDocument::open(dir.path(), &OpenOptions::default()).unwrap_err();
    assert!(matches!(e, FrontendError::Io { .. }), "{e}");
    fs::write(dir.path().join("empty.onnx"), b"").unwrap();
    let e =
        OnnxDocument::open(&dir.path().join("empty.onnx"), &OpenOptions::default()).unwrap_err();
    assert!(e.to_string().contains("empty"), "{e}");
    let whole = conv_bn(8, 17).0;
    for cut in (1..whole.len()).step_by(7) {
        let _ = OnnxDocument::from_bytes(&whole[..cut], &OpenOptions::default())
            .map_err(|e| e.to_string());
    }
    // Every single-byte corruption is an error or a model, never a panic.
    for i in 0..whole.len() {
        let mut bad = whole.clone();
        bad[i] ^= 0x55;
        if let Ok((doc, module)) = OnnxDocument::from_bytes(bad.clone(), &OpenOptions::default()) {
            assert!(saved(&doc, &module) == bad);
        }
    }
}

#[test]
fn a_check_sees_the_finished_document_and_decides() {
    let dir = tempfile::tempdir().unwrap();
    let path = external(dir.path());
    let (doc, mut module) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
    let id = module.main().unwrap();
    double(&mut module, id, "v");
    let target = dir.path().join("out.onnx");
    fs::write(&target, "as it was").unwrap();
    let seen = std::cell::Cell::new(0);
    let look = |fresh: &Path| {
        assert_eq!(fs::read(&target).unwrap(), b"as it was");
        let (_, out) = OnnxDocument::open(fresh, &OpenOptions::default()).unwrap();
        let g = out.graph(out.main().unwrap());
        let OpKind::Constant(c) = g.kind(op_of(g, "v")) else { panic!() };
        assert_eq!(out.constants.element_f64(c.entry, 999).unwrap(), 1998.0);
        seen.set(seen.get() + 1);
        seen.get() > 1
    };
    let options = SaveOptions::default().check(&look);
    let e = doc.save(&module, &target, options).unwrap_err();
    assert!(matches!(&e, FrontendError::Rejected { path } if *path == target), "{e}");
    assert_eq!(files(dir.path()), ["m.onnx", "out.onnx", "w.bin"]);
    assert_eq!(fs::read(&target).unwrap(), b"as it was");
    doc.save(&module, &target, options).unwrap();
    assert_eq!((seen.get(), files(dir.path()).len()), (2, 4));
}

#[cfg(unix)]
#[test]
fn what_cannot_be_checked_first_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = external(dir.path());
    let (doc, module) = OnnxDocument::open(&path, &OpenOptions::default()).unwrap();
    let e = doc.save(&module, Path::new("/dev/null"), SaveOptions::default().check(&|_| true));
    assert!(matches!(e, Err(FrontendError::Rejected { .. })), "{e:?}");
}
