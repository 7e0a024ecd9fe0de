//! Files that are damaged: an error, or a tree that is sound; never a panic, and never much memory or time.

use super::*;

fn tried(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let file = File::open(&memory(bytes), 0..bytes.len() as u64).map_err(|e| e.to_string())?;
    // Groups may contain themselves: paths are followed a little.
    let mut pending = vec![(0, file.root())];
    let mut seen = 0;
    while let Some((depth, id)) = pending.pop() {
        seen += 1;
        if let Some(Storage::Bytes(range)) = file.dataset(id).map(|d| &d.storage) {
            assert!(range.end <= bytes.len() as u64);
        }
        if depth < 4 && seen < 2000 {
            pending.extend(file.children(id).map(|(_, id)| (depth + 1, id)));
        }
    }
    // What was opened can be patched, or says why not.
    let mut edit = Edit::new(&file, 0);
    edit.create_group(file.root(), "new");
    if let Ok(content) = edit.finish() {
        let after = written(&content, bytes);
        let again = File::open(&memory(&after), 0..after.len() as u64);
        let again = again.unwrap_or_else(|e| panic!("patched: {e}"));
        assert!(again.find(again.root(), "new").is_some());
    }
    Ok(BTreeMap::new())
}

#[test]
fn every_truncation_is_an_error() {
    for name in ["branches.k2.weights_only.h5", "links.h5"] {
        let bytes = bytes_of(name);
        for len in (0..bytes.len()).rev().step_by(97).chain(0..200) {
            let error = tried(&bytes[..len]).expect_err("cut short");
            assert!(error.contains("HDF5"), "{name}, {len}: {error}");
        }
    }
}

#[test]
fn bits_flip() {
    for name in ["branches.k2.weights_only.h5", "links.h5"] {
        let refused = flipped(&bytes_of(name));
        assert!(refused > 100, "{name}: {refused}");
    }
}

/// How many of many damaged files are refused.
fn flipped(bytes: &[u8]) -> usize {
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..3000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..1 + next(4) {
            let at = next(damaged.len());
            match next(4) {
                0 => damaged[at] ^= 1 << next(8),
                1 => damaged[at] = next(256) as u8,
                2 => {
                    let from = next(bytes.len());
                    let len = 8.min(bytes.len() - from.max(at));
                    damaged.copy_within(from..from + len, at);
                }
                _ => {
                    let len = 8.min(bytes.len() - at);
                    damaged[at..at + len].fill([0, 0xff][next(2)]);
                }
            }
        }
        refused += usize::from(tried(&damaged).is_err());
    }
    refused
}

/// The place of a link's symbol table entry.
fn entry(file: &File, group: &str, name: &str) -> usize {
    let group = file.find(file.root(), group).expect("a group");
    let link = file.links(group).iter().find(|l| l.name == name).expect("a link");
    link.entry.expect("an entry") as usize
}

#[test]
fn a_group_that_contains_itself_is_no_loop() {
    let bytes = bytes_of("branches.k2.weights_only.h5");
    let file = open(&bytes);
    let at = entry(&file, "", "dense");
    let mut damaged = bytes;
    let root = file.object(file.root()).expect("the root").address;
    damaged[at + 8..at + 16].copy_from_slice(&root.to_le_bytes());
    let cyclic = open(&damaged);
    assert_eq!(cyclic.find(cyclic.root(), "dense/dense/dense"), Some(cyclic.root()));
    tried(&damaged).expect("hard links may form a cycle");
}

#[test]
fn sizes_that_lie() {
    let bytes = bytes_of("branches.k2.weights_only.h5");
    let file = open(&bytes);
    let tree = file
        .object(file.root())
        .expect("the root")
        .messages
        .iter()
        .find(|m| m.kind == header::SYMBOL_TABLE);
    let tree = tree.expect("a symbol table").data.start as usize;
    let at = u64::from_le_bytes(bytes[tree..tree + 8].try_into().expect("8 bytes")) as usize;
    let heap = u64::from_le_bytes(bytes[tree + 8..tree + 16].try_into().expect("8 bytes")) as usize;
    for (place, value, expected) in [
        (at + 6, 0xffff_u64, "more entries"),
        (heap + 8, u64::MAX / 2, "beyond the file"),
        (heap + 24, u64::MAX - 3, "beyond the file"),
        (40, 1 << 60, "cut short"),
        (24, 512, "user block"),
        (16, 0, "no room"),
        (8, 2, "a superblock of version 2"),
        (13, 4, "another size of addresses"),
        (at, 0, "no B-tree node"),
        (heap, 0, "no local heap"),
    ] {
        let mut damaged = bytes.clone();
        let len = match place {
            p if p == at + 6 => 2,
            8 | 13 => 1,
            16 => 2,
            _ => 8,
        };
        damaged[place..place + len].copy_from_slice(&value.to_le_bytes()[..len]);
        let error = tried(&damaged).expect_err("a size that lies");
        assert!(error.contains(expected), "{place}: {error}");
    }
}
