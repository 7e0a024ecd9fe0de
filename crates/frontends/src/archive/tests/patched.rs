//! Archives with members replaced and removed.

use super::{Built, Entry, memory, open, small, written};
use crate::{
    archive::{Archive, Method, Patch},
    bytes::Source,
    save::{ChunkProducer, Content, WriteOptions},
};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

#[derive(Debug)]
struct Counting(u64);

impl ChunkProducer for Counting {
    fn len(&self) -> u64 {
        self.0
    }
    fn produce(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for (i, b) in buf.iter_mut().enumerate() {
            *b = ((offset + i as u64) / 5) as u8;
        }
        Ok(())
    }
}

/// Names and data of all members, each checked.
fn all(archive: &Archive) -> Vec<(String, Vec<u8>)> {
    let read = |m| archive.read(m, 1 << 30).unwrap();
    archive.members().iter().map(|m| (m.name().to_owned(), read(m))).collect()
}

fn owned(bytes: &[u8]) -> Content<'static> {
    let mut content = Content::new();
    content.bytes(bytes);
    content
}

/// Every kind of member that is read.
pub(super) fn varied() -> Vec<Built> {
    let streamed = Built::new(vec![
        Entry::stored("net/model.json", b"{}").streamed(),
        Entry::deflated("net/notes", &[b'x'; 4000]).streamed(),
        Entry::stored("net/data/0", &[3; 1000]).aligned().streamed(),
        Entry::stored("net/data/1", &[4; 77]).aligned().streamed(),
        Entry::stored("net/data/2", &[5; 128]).aligned().streamed(),
    ]);
    let wide = Built {
        zip64: true,
        ..Built::new(vec![
            Entry::stored("a", &[1; 100]).zip64(),
            Entry { comment: b"of the member".to_vec(), ..Entry::deflated("b", &[2; 100]).zip64() },
            Entry::stored("c", &[3; 100]),
        ])
    };
    let said =
        Built { comment: b"PK\x05\x06 of the archive".to_vec(), prefix: b"#!".to_vec(), ..small() };
    vec![small(), streamed, wide, said]
}

#[test]
fn without_changes_nothing_changes() {
    for built in varied() {
        let bytes = built.bytes();
        let archive = open(&bytes).unwrap();
        assert!(written(&Patch::new(&archive, 0).finish().unwrap(), &[memory(&bytes)]) == bytes);
    }
}

#[test]
fn any_member_can_be_replaced_or_removed() {
    for built in varied() {
        let bytes = built.bytes();
        let archive = open(&bytes).unwrap();
        let before = all(&archive);
        for index in 0..before.len() {
            if before[index].0.ends_with('/') {
                continue;
            }
            for data in [Some(&b""[..]), Some(b"other data"), Some(&[9; 5000]), None] {
                let mut expected = before.clone();
                let mut patch = Patch::new(&archive, 0);
                match data {
                    Some(data) => {
                        patch.replace(index, owned(data));
                        expected[index].1 = data.to_vec();
                    }
                    None => {
                        patch.remove(index);
                        expected.remove(index);
                    }
                }
                let out = written(&patch.finish().unwrap(), &[memory(&bytes)]);
                let patched = open(&out).unwrap();
                assert_eq!(all(&patched), expected);
                for member in patched.members() {
                    let old = archive.member(member.name()).unwrap();
                    if old.method() == Method::Stored && old.data.start.is_multiple_of(64) {
                        assert_eq!(member.data.start % 64, 0, "{}", member.name());
                    }
                    if data.is_some() && member.name() == before[index].0 {
                        assert_eq!(member.method(), Method::Stored);
                    } else {
                        // Local headers and descriptors, too.
                        let was = &bytes[old.header as usize..old.data.end as usize];
                        let is = &out[member.header as usize..member.data.end as usize];
                        assert!(was == is, "{}", member.name());
                    }
                }
                assert!(out.ends_with(&built.comment));
                assert!(out.starts_with(&built.prefix));
            }
        }
    }
}

#[test]
fn several_changes_and_sources() {
    let bytes = small().bytes();
    let archive = open(&bytes).unwrap();
    let other: Vec<u8> = (0..3_000_000u32).map(|i| (i / 11) as u8).collect();
    let mut data = Content::new();
    data.bytes(b"head");
    data.source(0, 10..2_000_000);
    data.produced(Box::new(Counting(20_000_003)));
    data.source(0, 5..9);
    let mut expected = b"head".to_vec();
    expected.extend(&other[10..2_000_000]);
    expected.extend((0..20_000_003u64).map(|i| (i / 5) as u8));
    expected.extend(&other[5..9]);
    let mut patch = Patch::new(&archive, 1);
    patch.replace(archive.find("model.weights.h5").unwrap(), data);
    patch.replace(archive.find("config.json").unwrap(), owned(b"[]"));
    patch.remove(archive.find("empty/").unwrap());
    let out = written(&patch.finish().unwrap(), &[memory(&other), memory(&bytes)]);
    let patched = all(&open(&out).unwrap());
    assert!(
        patched
            == [
                ("metadata.json".to_owned(), b"{}".to_vec()),
                ("config.json".to_owned(), b"[]".to_vec()),
                ("model.weights.h5".to_owned(), expected),
            ]
    );
}

#[test]
fn everything_can_go() {
    let bytes = small().bytes();
    let archive = open(&bytes).unwrap();
    let mut patch = Patch::new(&archive, 0);
    (0..archive.members().len()).for_each(|i| patch.remove(i));
    let out = written(&patch.finish().unwrap(), &[memory(&bytes)]);
    assert_eq!(out, Built::new(vec![]).bytes());
}

/// All but the first member.
fn all_but_first(archive: &Archive) -> Vec<(String, Vec<u8>)> {
    let read = |m| archive.read(m, 1 << 30).unwrap();
    archive.members().iter().skip(1).map(|m| (m.name().to_owned(), read(m))).collect()
}

/// Writes the content with holes where there are only zeros; the bytes that took room.
fn sparse(content: &Content<'_>, sources: &[Source], path: &Path) -> u64 {
    let mut file = File::create(path).unwrap();
    file.set_len(content.len()).unwrap();
    let (file, kept) = (Mutex::new(&mut file), AtomicU64::new(0));
    let zeros = vec![0; 1 << 20];
    let write = |at: u64, bytes: &[u8]| {
        if bytes != &zeros[..bytes.len()] {
            kept.fetch_add(bytes.len() as u64, Relaxed);
            let mut file = file.lock().unwrap();
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)?;
        }
        Ok(())
    };
    content.write_at(sources, &write, WriteOptions::default(), false).unwrap();
    kept.into_inner()
}

#[test]
fn beyond_four_gigabytes() {
    #[derive(Debug)]
    struct Zeros(u64);
    impl ChunkProducer for Zeros {
        fn len(&self) -> u64 {
            self.0
        }
        fn produce(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
            buf.fill(0);
            Ok(())
        }
    }
    let bytes = small().bytes();
    let archive = open(&bytes).unwrap();
    let mut patch = Patch::new(&archive, 0);
    let size = (4 << 30) + 10;
    let mut data = Content::new();
    data.produced(Box::new(Zeros(size)));
    patch.replace(0, data);
    let content = patch.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    assert!(sparse(&content, &[memory(&bytes)], &path) < 8 << 20);
    let source = Source::File(crate::bytes::MappedFile::open(&path).unwrap().into());
    let patched = Archive::open(&source).unwrap();
    let first = &patched.members()[0];
    assert_eq!((first.size(), first.method()), (size, Method::Stored));
    assert_eq!(all_but_first(&patched), all_but_first(&archive));
    // And back below.
    let mut patch = Patch::new(&patched, 0);
    patch.replace(0, owned(b"small"));
    let out = written(&patch.finish().unwrap(), &[source]);
    let back = open(&out).unwrap();
    assert_eq!(all(&back)[0].1, b"small");
    assert_eq!(all_but_first(&back), all_but_first(&archive));
}
