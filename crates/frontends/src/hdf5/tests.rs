//! Files that h5py wrote (`tests/models/keras` and `hdf5`), read, patched and read again.

use super::*;
use crate::save::{Content, WriteOptions};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

mod hostile;

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/keras")
}

fn memory(bytes: &[u8]) -> Source {
    Source::Memory(Arc::from(bytes))
}

fn bytes_of(name: &str) -> Vec<u8> {
    let path = models().join(name);
    let other = models().join("../hdf5").join(name);
    std::fs::read(if path.exists() { path } else { other }).expect("a file")
}

fn open(bytes: &[u8]) -> File {
    File::open(&memory(bytes), 0..bytes.len() as u64).unwrap_or_else(|e| panic!("{e}"))
}

fn written(content: &Content<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    content.write_to(&[memory(bytes)], &mut out, WriteOptions::default()).expect("written");
    out
}

/// Every object by its first path: what it is, with elements and texts.
fn tree(file: &File) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut pending = vec![(String::new(), file.root())];
    while let Some((path, id)) = pending.pop() {
        let mut text: Vec<String> =
            file.attributes(id).map(|n| format!("@{n}={:?}", file.attribute(id, n))).collect();
        text.sort();
        if let Some(d) = file.dataset(id) {
            let data = match &d.storage {
                Storage::Bytes(r) => &file.source.bytes()[r.start as usize..r.end as usize],
                _ => &[],
            };
            text.push(format!("{:?} {:?} {:08x}", d.element, d.shape, crc32fast::hash(data)));
        }
        out.insert(path.clone(), text.join(" "));
        pending.extend(file.children(id).map(|(name, id)| (format!("{path}/{name}"), id)));
    }
    out
}

#[test]
fn a_file_is_read() {
    let bytes = bytes_of("nested.h5");
    assert!(File::looks_like(&bytes));
    let file = open(&bytes);
    let root = file.root();
    let Some(Value::Text(config)) = file.attribute(root, "model_config") else {
        panic!("no architecture")
    };
    assert!(config.starts_with(r#"{"class_name": "Functional""#));
    let group = file.find(root, "model_weights").expect("a group");
    assert!(file.is_group(group) && file.complete);
    let Some(Value::Texts(names)) = file.attribute(group, "layer_names") else {
        panic!("no names")
    };
    assert!(names.contains(&"encoder".to_owned()), "{names:?}");
    let flat = file.find(group, "flatten").expect("a layer");
    assert_eq!(file.attribute(flat, "weight_names"), Some(&Value::Texts(Vec::new())));
    let kernel = file.find(group, "dense/dense/kernel").expect("a kernel");
    let dataset = file.dataset(kernel).expect("a data set");
    assert_eq!(dataset.element, Element::Known(DType::F32));
    let Storage::Bytes(range) = &dataset.storage else { panic!("{dataset:?}") };
    assert_eq!(range.end - range.start, 4 * dataset.shape.iter().product::<u64>());
    assert_eq!(file.find(group, "dense/nothing"), None);
}

#[test]
fn without_changes_it_is_what_it_was() {
    let names = [
        "nested.h5",
        "nested.weights.h5",
        "nested.k2.h5",
        "nested.k2.weights_only.h5",
        "names.h5",
        "links.h5",
    ];
    for name in names {
        let bytes = bytes_of(name);
        let file = open(&bytes);
        let content = Edit::new(&file, 0).finish().expect("a file");
        assert!(content.is_source(0..bytes.len() as u64), "{name}");
    }
}

#[test]
fn changes_are_there_and_nothing_else() {
    for name in ["nested.h5", "nested.weights.h5", "nested.k2.h5", "seq_conv2d.h5", "names.h5"] {
        let bytes = bytes_of(name);
        let file = open(&bytes);
        let before = tree(&file);
        let (path, _) = before
            .iter()
            .find(|(p, t)| t.contains("F32") && p.matches('/').count() > 2)
            .unwrap_or_else(|| panic!("no data set in {name}"));
        let kernel = file.find(file.root(), path).expect("a data set");
        let (parent, last) = path.rsplit_once('/').expect("a group");
        let parent_id = file.find(file.root(), parent).expect("a group");
        let Storage::Bytes(range) = file.dataset(kernel).expect("a data set").storage.clone()
        else {
            panic!("{name}: not in one piece")
        };

        let mut edit = Edit::new(&file, 0);
        let elements = vec![7u8; (range.end - range.start) as usize];
        edit.replace(kernel, Payload::Bytes(elements.clone()));
        let more = Payload::Bytes(vec![1; 12]);
        edit.create_dataset(parent_id, "more", kernel, &[3], more);
        let list: Vec<String> = (0..50).map(|i| format!("name {i}")).collect();
        edit.set_attribute(file.root(), "list", Value::Texts(list.clone()));
        edit.set_attribute(parent_id, "text", Value::Text("a text".into()));
        let new = edit.create_group(file.root(), "new");
        edit.link(new, "again", kernel);
        let after = written(&edit.finish().expect("a file"), &bytes);

        let again = open(&after);
        assert_eq!(again.complete, file.complete, "{name}");
        let mut expected = before.clone();
        let data = |shape: &[u64], bytes: &[u8]| {
            format!("Known(F32) {shape:?} {:08x}", crc32fast::hash(bytes))
        };
        let shape = &file.dataset(kernel).expect("a data set").shape;
        let own = before[path].rsplit_once("Known").expect("a data set").0.to_owned();
        expected.insert(path.clone(), own.clone() + &data(shape, &elements));
        expected.insert(format!("{parent}/more"), own.clone() + &data(&[3], &[1; 12]));
        expected.insert("/new".into(), String::new());
        expected.insert("/new/again".into(), own + &data(shape, &elements));
        let add = |text: &str, more: String| {
            let mut all: Vec<&str> = text.split(" @").filter(|t| !t.is_empty()).collect();
            let more = more.trim_start_matches('@').to_owned();
            all.push(&more);
            let mut all: Vec<String> =
                all.iter().map(|t| format!("@{}", t.trim_start_matches('@'))).collect();
            all.sort();
            all.join(" ")
        };
        let root = add(&before[""], format!("@list={:?}", Some(Value::Texts(list))));
        expected.insert(String::new(), root);
        let group = add(&before[parent], format!("@text={:?}", Some(Value::Text("a text".into()))));
        expected.insert(parent.to_owned(), group);
        let found = tree(&again);
        for (path, text) in &expected {
            assert_eq!(found.get(path), Some(text), "{name}: {path} (changed: {last})");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
    }
}

#[test]
fn links_are_counted() {
    let bytes = bytes_of("branches.weights.h5");
    let file = open(&bytes);
    let stated = |file: &File, bytes: &[u8], path: &str| {
        let id = file.find(file.root(), path).expect("an object");
        let at = file.object(id).expect("an object").address as usize + 4;
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
    };
    let (kernel, other) = ("layers/conv2d/vars/0", "layers/conv2d_1/vars/0");
    assert_eq!([kernel, other].map(|p| stated(&file, &bytes, p)), [1, 1]);
    let like = file.find(file.root(), kernel).expect("a kernel");
    let moved = file.find(file.root(), "layers/conv2d_1").expect("a layer");
    let layers = file.find(file.root(), "layers").expect("layers");
    let mut edit = Edit::new(&file, 0);
    edit.link(file.root(), "once more", like);
    edit.link(file.root(), "and again", like);
    edit.unlink(layers, "conv2d_1");
    edit.link(layers, "elsewhere", moved);
    edit.create_dataset(layers, "new", like, &[1], Payload::Bytes(vec![0; 4]));
    let after = written(&edit.finish().expect("a file"), &bytes);
    let again = open(&after);
    let paths = [kernel, "layers/elsewhere", "layers/new", "layers/dense"];
    assert_eq!(paths.map(|p| stated(&again, &after, p)), [3, 1, 1, 1]);
}

#[test]
fn links_go_and_change_their_names() {
    let bytes = bytes_of("nested.weights.h5");
    let file = open(&bytes);
    let layers = file.find(file.root(), "layers").expect("layers");
    let mut edit = Edit::new(&file, 0);
    let norm = file.find(layers, "batch_normalization").expect("a norm");
    edit.unlink(layers, "batch_normalization");
    edit.link(layers, "renamed", norm);
    edit.unlink(layers, "dense");
    let after = written(&edit.finish().expect("a file"), &bytes);
    let again = open(&after);
    let (before, mut found) = (tree(&file), tree(&again));
    assert!(
        found.keys().all(|p| !p.starts_with("/layers/dense") && !p.starts_with("/layers/batch"))
    );
    found.retain(|p, _| !p.starts_with("/layers/renamed"));
    assert!(found.iter().all(|(p, t)| before.get(p) == Some(t)));
    let renamed = again.find(again.root(), "layers/renamed/vars/0").expect("a weight");
    let old = file.find(file.root(), "layers/batch_normalization/vars/0").expect("a weight");
    assert_eq!(again.dataset(renamed), file.dataset(old));
}

/// More links than one node of a B-tree has room for, and more nodes than a second level has.
#[test]
fn a_group_may_have_many_links() {
    let bytes = bytes_of("branches.weights.h5");
    let file = open(&bytes);
    let like = file.find(file.root(), "layers/conv2d/vars/0").expect("a kernel");
    for count in [0, 1, 8, 9, 256, 257, 5000, 9000] {
        let mut edit = Edit::new(&file, 0);
        let group = edit.create_group(file.root(), "many");
        for i in 0..count {
            edit.link(group, &format!("link {i}"), like);
        }
        let after = written(&edit.finish().expect("a file"), &bytes);
        let again = open(&after);
        let group = again.find(again.root(), "many").expect("a group");
        assert_eq!(again.children(group).count(), count);
        for i in 0..count {
            assert!(again.find(group, &format!("link {i}")).is_some(), "{i} of {count}");
        }
    }
}

#[test]
fn what_nothing_links_to_is_cut_off_at_the_end() {
    let bytes = bytes_of("seq_conv2d.k2.h5");
    let file = open(&bytes);
    let mut edit = Edit::new(&file, 0);
    edit.unlink(file.root(), "optimizer_weights");
    let after = written(&edit.finish().expect("a file"), &bytes);
    assert!(after.len() * 3 < bytes.len() * 2, "{} of {}", after.len(), bytes.len());
    let (before, found) = (tree(&file), tree(&open(&after)));
    assert!(found.iter().all(|(p, t)| before.get(p) == Some(t)));
    assert!(found.contains_key("/model_weights"));
}

#[test]
fn what_has_no_place_is_an_error() {
    let bytes = bytes_of("nested.weights.h5");
    let file = open(&bytes);
    let kernel = file.find(file.root(), "layers/dense/vars/0").expect("a kernel");
    let mut edit = Edit::new(&file, 0);
    edit.replace(kernel, Payload::Bytes(vec![0; 3]));
    let error = edit.finish().expect_err("another size").to_string();
    assert!(error.contains("of another size"), "{error}");
    let mut edit = Edit::new(&file, 0);
    let long: Vec<String> = (0..5000).map(|i| format!("a long name {i:>20}")).collect();
    edit.set_attribute(file.root(), "long", Value::Texts(long));
    let error = edit.finish().expect_err("too long").to_string();
    assert!(error.contains("64 KiB"), "{error}");
}

/// Groups of the newer form: links in the header and in a heap, of every kind, with the order in which they came.
#[test]
fn newer_groups_are_read_and_patched() {
    let bytes = bytes_of("links.h5");
    let file = open(&bytes);
    let group = |file: &File, name: &str| file.find(file.root(), name).expect("a group");
    let names = |file: &File, name: &str| -> Vec<String> {
        file.links(group(file, name)).iter().map(|l| l.name.clone()).collect()
    };
    assert_eq!(names(&file, "few"), ["a", "größe", "outside", "soft", "z"]);
    assert_eq!(names(&file, "gone"), ["link 0", "link 1", "link 2"]);
    let mut many: Vec<String> = (0..150).map(|i| format!("link {i}")).collect();
    many.sort();
    assert_eq!(names(&file, "many"), many);
    let data = file.find(file.root(), "data").expect("a data set");
    assert!(file.children(group(&file, "many")).all(|(_, id)| id == data));
    assert_eq!(file.find(file.root(), "few/größe"), Some(data));

    let mut edit = Edit::new(&file, 0);
    for (name, gone, new) in
        [("few", "z", "ü"), ("many", "link 7", "neu"), ("gone", "link 1", "neu")]
    {
        edit.unlink(group(&file, name), gone);
        edit.link(group(&file, name), new, data);
    }
    edit.set_attribute(group(&file, "many"), "text", Value::Text("a text".into()));
    edit.create_dataset(group(&file, "few"), "größer", data, &[1], Payload::Bytes(vec![7; 4]));
    let after = written(&edit.finish().expect("a file"), &bytes);
    let again = open(&after);
    assert_eq!(names(&again, "few"), ["a", "größe", "größer", "outside", "soft", "ü"]);
    assert_eq!(names(&again, "gone"), ["link 0", "link 2", "neu"]);
    many.retain(|n| n != "link 7");
    many.push("neu".into());
    many.sort();
    assert_eq!(names(&again, "many"), many);
    let order = |file: &File, name: &str, link: &str| {
        file.links(group(file, name)).iter().find(|l| l.name == link).and_then(|l| l.order)
    };
    assert_eq!(["a", "größe", "soft"].map(|n| order(&again, "few", n)), [2, 1, 3].map(Some));
    assert_eq!(order(&again, "few", "ü").max(order(&again, "few", "größer")), Some(6));
    assert_eq!(order(&again, "many", "link 7"), None);
    assert_eq!(
        ["link 0", "link 14", "neu"].map(|n| order(&again, "many", n)),
        [0, 2, 150].map(Some)
    );
    assert_eq!(again.attribute(group(&again, "many"), "text"), Some(&Value::Text("a text".into())));
    let few = |file: &File, name: &str| {
        file.links(group(file, "few")).iter().find(|l| l.name == name).map(|l| l.target.clone())
    };
    for name in ["soft", "outside"] {
        assert_eq!(few(&again, name), few(&file, name));
    }
    // A second patch finds all of it again.
    let mut edit = Edit::new(&again, 0);
    edit.unlink(group(&again, "many"), "neu");
    edit.remove_attribute(group(&again, "many"), "text");
    let last = open(&written(&edit.finish().expect("a file"), &after));
    assert_eq!(names(&last, "many").len(), 149);
    assert_eq!(last.attributes(group(&last, "many")).count(), 0);
}
