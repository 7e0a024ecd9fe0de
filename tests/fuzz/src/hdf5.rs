//! HDF5 files: what is opened is written again as it was, and patched; the result is opened again and holds the same but for
//! the change.

use crate::Random;
use normfold_frontends::{
    bytes::Source,
    hdf5::{Edit, File, ObjectId, Payload, Storage, Value},
    save::{Content, WriteOptions},
};
use std::sync::Arc;

/// Objects that are looked at: groups may contain themselves.
const OBJECTS: usize = 500;

/// Tries to open the bytes.
pub(crate) fn run(data: &[u8]) {
    let source = Source::Memory(Arc::from(data));
    let Ok(file) = File::open(&source, 0..source.len()) else { return };
    let sources = [source];
    let same = Edit::new(&file, 0).finish().unwrap_or_else(|e| panic!("no change: {e}"));
    assert!(written(&same, &sources) == data, "a file is not what it was");

    let objects = objects(&file);
    let dataset = objects.iter().copied().find(|&id| held(&file, id).is_some());
    let mut edit = Edit::new(&file, 0);
    let group = edit.create_group(file.root(), "a new group");
    edit.set_attribute(file.root(), "a new attribute", Value::Texts(vec!["x".into(), "yz".into()]));
    if let Some(id) = dataset {
        let len = held(&file, id).map_or(0, |r| r.end - r.start) as usize;
        let shape = file.dataset(id).map(|d| d.shape.clone()).unwrap_or_default();
        edit.create_dataset(group, "new", id, &shape, Payload::Bytes(vec![9; len]));
        edit.replace(id, Payload::Bytes(vec![5; len]));
    }
    let first = file.children(file.root()).next().map(|(name, id)| (name.to_owned(), id));
    if let Some((name, id)) = &first {
        edit.unlink(file.root(), name);
        edit.link(group, "moved", *id);
    }
    // Blocks of a damaged file may overlap, which is an error with a reason.
    let Ok(content) = edit.finish() else { return };
    let after = Source::Memory(written(&content, &sources).into());
    let again = File::open(&after, 0..after.len()).unwrap_or_else(|e| panic!("patched: {e}"));
    let group = again.find(again.root(), "a new group").expect("the new group");
    if let Some((name, _)) = &first
        && name != "a new group"
    {
        assert!(again.find(again.root(), name).is_none(), "{name}");
        assert!(again.find(group, "moved").is_some());
    }
    assert_eq!(dataset.is_some(), again.find(group, "new").is_some());
}

fn held(file: &File, id: ObjectId) -> Option<std::ops::Range<u64>> {
    match &file.dataset(id)?.storage {
        Storage::Bytes(range) => Some(range.clone()),
        _ => None,
    }
}

fn objects(file: &File) -> Vec<ObjectId> {
    let (mut found, mut next) = (vec![file.root()], 0);
    while let Some(&id) = found.get(next) {
        next += 1;
        for (_, child) in file.children(id) {
            if found.len() < OBJECTS && !found.contains(&child) {
                found.push(child);
            }
        }
        assert!(file.attributes(id).all(|name| file.attribute(id, name).is_some()));
    }
    found
}

fn written(content: &Content<'_>, sources: &[Source]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Err(e) = content.write_to(sources, &mut out, WriteOptions::default()) {
        panic!("{e:?}");
    }
    out
}

/// Changes fields of blocks and messages, and bytes and runs of bytes anywhere.
pub(crate) fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        if data.len() < 16 {
            data.extend(b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0");
        }
        // Everything stands at a multiple of 8.
        let at = random.below(data.len()) / 8 * 8;
        let at = (at + [0, 0, 2, 4][random.below(4)]).min(data.len() - 1);
        match random.below(6) {
            0 => data[at] ^= 1 << random.below(8),
            1 => {
                let numbers =
                    [0, 1, 2, 8, 16, 0x11, 0xffff, 0xffff_ffff, u64::MAX, data.len() as u64];
                let number = random.of(&numbers).copied().unwrap_or_default().to_le_bytes();
                let len = [1, 2, 4, 8][random.below(4)].min(data.len() - at);
                data[at..at + len].copy_from_slice(&number[..len]);
            }
            2 => {
                let by = random.below(5) as u8;
                data[at] = data[at].wrapping_add(by).wrapping_sub(2);
            }
            3 => data.truncate(at.max(16)),
            // An address in the place of another one.
            _ => {
                let from = random.below(data.len()) / 8 * 8;
                let len = 8.min(data.len() - from).min(data.len() - at);
                data.copy_within(from..from + len, at);
            }
        }
    }
}
