use super::*;
use crate::save::{Content, WriteOptions, write_file};
use std::sync::Arc;

mod build;
mod hostile;
mod patched;

use build::{Built, Entry};

fn memory(bytes: &[u8]) -> Source {
    Source::Memory(Arc::from(bytes))
}

fn open(bytes: &[u8]) -> Result<Archive, FrontendError> {
    Archive::open(&memory(bytes))
}

/// The content in order, and as several threads write it.
fn written(content: &Content<'_>, sources: &[Source]) -> Vec<u8> {
    let mut bytes = Vec::new();
    content.write_to(sources, &mut bytes, WriteOptions::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let options = WriteOptions { threads: 3, ..WriteOptions::default() };
    write_file(content, sources, &[], &path, options).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    bytes
}

fn small() -> Built {
    Built::new(vec![
        Entry::stored("metadata.json", b"{}"),
        Entry::deflated("config.json", &b"{\"class_name\": \"Sequential\"}".repeat(20)),
        Entry::stored("empty/", b""),
        Entry::stored("model.weights.h5", &[7; 300]),
    ])
}

#[test]
fn members_are_found_and_read() {
    let bytes = small().bytes();
    assert!(Archive::looks_like(&bytes));
    let archive = open(&bytes).unwrap();
    let names: Vec<&str> = archive.members().iter().map(Member::name).collect();
    assert_eq!(names, ["metadata.json", "config.json", "empty/", "model.weights.h5"]);
    let weights = archive.member("model.weights.h5").unwrap();
    let range = archive.stored_range(weights).unwrap();
    assert_eq!(bytes[range.start as usize..range.end as usize], [7; 300]);
    assert_eq!(archive.read(weights, 300).unwrap(), [7; 300]);
    archive.check(weights, 3).unwrap();
    let config = archive.member("config.json").unwrap();
    assert_eq!((config.method(), config.size()), (Method::Deflated, 28 * 20));
    assert_eq!(archive.stored_range(config), None);
    assert!(archive.read(config, 1000).unwrap().starts_with(b"{\"class_name\""));
    assert_eq!(archive.find("nothing"), None);
}

#[test]
fn a_limit_is_stated() {
    let bytes = small().bytes();
    let archive = open(&bytes).unwrap();
    for name in ["config.json", "model.weights.h5"] {
        let e = archive.read(archive.member(name).unwrap(), 299).unwrap_err();
        assert!(matches!(e, FrontendError::Limit { .. }), "{e}");
        assert!(e.to_string().contains("at most 299 are read"), "{e}");
    }
}

#[test]
fn damage_is_noticed() {
    let bytes = small().bytes();
    let archive = open(&bytes).unwrap();
    for name in ["metadata.json", "config.json", "model.weights.h5"] {
        let member = archive.member(name).unwrap().clone();
        let mut damaged = bytes.clone();
        damaged[member.data.start as usize + 1] ^= 0x10;
        let archive = open(&damaged).unwrap();
        let e = archive.read(&member, 1 << 20).unwrap_err();
        assert!(e.to_string().contains(name), "{e}");
        if member.method() == Method::Stored {
            let e = archive.check(&member, 2).unwrap_err();
            assert!(e.to_string().contains("checksum"), "{e}");
        }
    }
}

#[test]
fn checksums_do_not_depend_on_threads() {
    let data: Vec<u8> = (0..5_000_003u32).map(|i| (i ^ i >> 8) as u8).collect();
    let bytes = Built::new(vec![Entry::stored("data", &data)]).bytes();
    let archive = open(&bytes).unwrap();
    for threads in [0, 1, 2, 3, 7] {
        archive.check(&archive.members()[0], threads).unwrap();
    }
}

#[test]
fn an_empty_archive_has_no_members() {
    let bytes = Built::new(vec![]).bytes();
    assert!(Archive::looks_like(&bytes));
    let archive = open(&bytes).unwrap();
    assert!(archive.members().is_empty());
    assert!(written(&Patch::new(&archive, 0).finish().unwrap(), &[memory(&bytes)]) == bytes);
}
