//! References to external data: a small model whose tensors' entries are the input, in a folder with a few files, links
//! among them. Whatever the entries are, no byte comes from outside the folder, and what was opened can be saved elsewhere, but
//! for what would make hidden files there.
//!
//! The input is text of a line each: `dims=3,2`, `type=2` (as in `TensorProto`), and anything else a key and a value of
//! `external_data`. An empty line begins the next tensor; every second one is the value of a Constant node.

use crate::{run, wire::*};
use normfold_frontends::{
    FrontendError,
    onnx::{OnnxDocument, OpenOptions, SaveOptions},
};
use normfold_ir::Module;
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// What every byte outside the folder is, and none inside.
const SECRET: u8 = 0x5e;
/// What every byte inside is.
const OPEN: u8 = 7;

struct Place {
    /// Dropped with the program.
    _root: tempfile::TempDir,
    /// The model's folder.
    inside: PathBuf,
    /// Where it is saved to.
    elsewhere: PathBuf,
    /// All files at first.
    listing: BTreeSet<PathBuf>,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| make().unwrap_or_else(|e| panic!("no folder to work in: {e}")))
}

fn make() -> std::io::Result<Place> {
    let root = tempfile::tempdir()?;
    let (inside, outside) = (root.path().join("in"), root.path().join("out"));
    fs::create_dir_all(inside.join("sub"))?;
    fs::create_dir(inside.join(".git"))?;
    fs::create_dir(&outside)?;
    let files =
        [("w.bin", 64), ("sub/v.bin", 24), ("empty.bin", 0), ("model.onnx", 8), (".git/h", 16)];
    for (name, n) in files {
        fs::write(inside.join(name), vec![OPEN; n])?;
    }
    fs::write(outside.join("secret"), [SECRET; 64])?;
    fs::write(root.path().join("secret"), [SECRET; 64])?;
    fs::hard_link(outside.join("secret"), inside.join("hard"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("w.bin", inside.join("soft"))?;
        symlink("../out/secret", inside.join("leak"))?;
        symlink("../out", inside.join("away"))?;
        symlink("sub", inside.join("near"))?;
        symlink("loop", inside.join("loop"))?;
        std::os::unix::net::UnixListener::bind(inside.join("socket"))?;
    }
    let listing = list(root.path());
    Ok(Place { inside, elsewhere: root.path().join("saved"), listing, _root: root })
}

/// Every file and folder below one, links not followed.
fn list(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

/// The tensor that a paragraph of the input says.
fn tensor(name: &str, lines: &[&[u8]]) -> Message {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<i64>().ok();
    let mut dims = vec![4];
    let mut dtype = 2;
    let mut entries = Vec::new();
    for line in lines {
        let at = line.iter().position(|&b| b == b'=').unwrap_or(line.len());
        let (key, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        match key {
            b"dims" => dims = value.split(|&b| b == b',').filter_map(number).take(6).collect(),
            b"type" => dtype = number(value).unwrap_or(2),
            _ => entries.push(Message::new(Kind::Entry).bytes(1, key).bytes(2, value)),
        }
    }
    let m = dims.into_iter().fold(Message::new(Kind::Tensor), |m, d| m.int(1, d));
    let m = m.int(2, dtype).bytes(8, name);
    entries.into_iter().fold(m, |m, e| m.message(13, e)).int(14, 1)
}

fn model(data: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = data.split(|&b| b == b'\n').collect();
    let mut graph = Message::new(Kind::Graph).bytes(2, "g");
    for (i, lines) in lines.split(|l| l.is_empty()).take(8).enumerate() {
        let name = format!("t{i}");
        let t = tensor(&name, lines);
        graph = if i % 2 == 0 {
            graph.message(5, t)
        } else {
            let value = Message::new(Kind::Attribute).bytes(1, "value").message(5, t).int(20, 4);
            let node = Message::new(Kind::Node).bytes(2, &name).bytes(4, "Constant");
            graph.message(1, node.message(5, value))
        };
        graph = graph.message(12, Message::new(Kind::Value).bytes(1, &name));
    }
    let opset = Message::new(Kind::Opset).int(2, 17);
    Message::new(Kind::Model).int(1, 8).message(7, graph).message(8, opset).encode()
}

/// The bytes of every constant that has any.
fn content(module: &Module) -> Vec<Vec<u8>> {
    let pool = &module.constants;
    let read = |id| {
        let mut bytes = vec![0; pool.byte_len(id) as usize];
        let read = pool.read_bytes(id, 0, &mut bytes);
        read.unwrap_or_else(|e| panic!("an accepted reference cannot be read: {e}"));
        bytes
    };
    pool.ids().filter(|&id| pool.is_present(id)).map(read).collect()
}

pub(crate) fn run(data: &[u8]) {
    let place = place();
    let mut options = OpenOptions::default();
    options.external_directory = Some(place.inside.clone());
    let bytes = model(data);
    let opened = OnnxDocument::from_bytes(bytes.clone(), &options);
    if opened.is_ok() {
        // Without a folder there is nothing to refer to; a model without references is the same.
        let bare = OnnxDocument::from_bytes(bytes, &OpenOptions::default());
        let named = opened.as_ref().is_ok_and(|(d, _)| !d.external_files().is_empty());
        assert_eq!(bare.is_err(), named, "external data of a model without a folder");
    }
    let Ok((document, module)) = opened else { return };
    run::valid(&module, "the import");

    for (location, path) in document.external_files() {
        let real = path.canonicalize().unwrap_or_else(|e| panic!("{location}: {e}"));
        let within = place.inside.canonicalize().is_ok_and(|folder| real.starts_with(folder));
        assert!(within, "{location}: outside the folder");
        assert!(!path.is_symlink(), "{location}: a link");
    }
    let content = content(&module);
    assert!(!content.concat().contains(&SECRET), "bytes from outside the folder");

    let saved = place.elsewhere.join("model.onnx");
    let _ = fs::remove_dir_all(&place.elsewhere);
    fs::create_dir(&place.elsewhere).unwrap_or_else(|e| panic!("{e}"));
    let written = document.save(&module, &saved, SaveOptions::default());
    let is_hidden = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let found = list(&place.elsewhere);
    assert!(!found.iter().any(|path| is_hidden(path)), "hidden files were made: {found:?}");
    let named = document.external_files();
    let hides = named
        .iter()
        .any(|(location, _)| Path::new(&**location).iter().any(|c| is_hidden(c.as_ref())));
    let hidden = |e: &FrontendError| matches!(e, FrontendError::Data { problem, .. } if problem.contains("hidden"));
    let taken = |e: &FrontendError| matches!(e, FrontendError::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists);
    match written {
        Ok(_) => assert!(!hides, "hidden files were to be made"),
        Err(e) if hides && hidden(&e) => {
            assert!(found.is_empty(), "a run that failed left {found:?}");
            return;
        }
        // The output would stand where its own external data is to be.
        Err(e) if taken(&e) => {
            let _ = fs::remove_dir_all(&place.elsewhere);
            return;
        }
        Err(e) => panic!("cannot be saved: {e}"),
    }
    let reopened = OnnxDocument::open(&saved, &OpenOptions::default());
    let (_, again) = reopened.unwrap_or_else(|e| panic!("what was saved: {e}"));
    assert!(self::content(&again) == content, "other data was saved");
    let _ = fs::remove_dir_all(&place.elsewhere);
    let root = place.inside.parent().unwrap_or(&place.inside);
    assert_eq!(list(root), place.listing, "something else was written");
}
