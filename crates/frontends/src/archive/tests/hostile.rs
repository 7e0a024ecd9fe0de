//! Archives that lie: one clear error each, and nothing that costs more than the file.

use super::{Archive, Built, Content, Entry, Member, Patch, memory, open, small};
use crate::{FrontendError, save::WriteOptions};

/// What opening says, which has to be an error.
fn refused(built: &Built) -> String {
    let bytes = built.bytes();
    open(&bytes).map(|_| ()).unwrap_err().to_string()
}

fn with(change: impl FnOnce(&mut Entry)) -> Built {
    let mut built = small();
    change(&mut built.entries[1]);
    built
}

#[test]
fn names_stay_inside() {
    for name in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../config.json",
        "a/../../b",
        "a//b",
        "./config.json",
        "a/./b",
        "C:/x",
        "c:x",
        "..\\x",
        "a\\b",
        "a\0b",
        "a\nb",
        "a/",
        "//",
    ] {
        let e = refused(&with(|m| {
            m.name = name.into();
            m.local_name = name.into();
        }));
        assert!(e.starts_with("invalid zip archive: member `"), "{name:?}: {e}");
    }
    let e = refused(&with(|m| {
        m.name = b"\xff.json".to_vec();
        m.local_name = m.name.clone();
    }));
    assert!(e.contains("not UTF-8"), "{e}");
    for name in ["..data", "a/b..c/...", "ä", "x".repeat(60_000).as_str()] {
        let built = with(|m| {
            m.name = name.into();
            m.local_name = name.into();
        });
        assert_eq!(open(&built.bytes()).unwrap().members()[1].name(), name);
    }
}

#[test]
fn a_name_is_there_once() {
    let mut built = small();
    built.entries.push(Entry::stored("metadata.json", b"[]"));
    let e = refused(&built);
    assert!(e.contains("`metadata.json`: the archive has two members"), "{e}");
}

#[test]
fn members_do_not_overlap() {
    // One local header for two members.
    let mut built = small();
    built.entries[3] = Entry { header: Some(0), ..built.entries[0].clone() };
    built.entries[3].name = b"metadata.jsoo".to_vec();
    assert!(refused(&built).contains("another name"));
    // A member inside the data of another one.
    let inner = Built::new(vec![Entry::stored("inner", b"data")]).bytes();
    let outer = Entry::stored("outer", &inner);
    let built =
        Built::new(vec![outer, Entry { header: Some(35), ..Entry::stored("inner", b"data") }]);
    assert_eq!(refused(&built), "invalid zip archive: member `inner`: it overlaps member `outer`");
}

type Lie<'a> = &'a dyn Fn(&mut Entry);

#[test]
fn sizes_that_lie() {
    let lies: [(&str, Lie<'_>); 9] = [
        ("which cannot be", &|m| m.size = 1 << 31),
        ("which cannot be", &|m| *m = Entry { size: 5, ..Entry::stored("x", b"four") }),
        ("which cannot be", &|m| {
            *m = Entry { size: u64::MAX, ..Entry::deflated("x", b"four").zip64() }
        }),
        ("reach to byte", &|m| {
            *m = Entry { size: 1 << 30, compressed: 1 << 30, ..Entry::stored("x", b"four") }
        }),
        ("cut short", &|m| {
            *m = Entry {
                size: u64::MAX,
                compressed: u64::MAX,
                ..Entry::stored("x", b"four").zip64()
            };
        }),
        ("another size or checksum", &|m| m.local = Some((m.size + 1, m.crc))),
        ("another size or checksum", &|m| m.local = Some((m.size, !m.crc))),
        ("a directory and has data", &|m| *m = Entry::stored("x/", b"four")),
        ("no local header", &|m| m.header = Some(3)),
    ];
    for (why, change) in lies {
        let e = refused(&with(change));
        assert!(e.contains(why), "{why}: {e}");
    }
    for header in [u32::MAX as u64, u64::MAX, 1 << 40] {
        let e = refused(&with(|m| {
            m.zip64 = true;
            m.header = Some(header);
        }));
        assert!(e.contains("no local header"), "{e}");
    }
}

#[test]
fn bombs_have_a_limit() {
    let zeros = vec![0; 4 << 20];
    let bytes = Built::new(vec![Entry::deflated("bomb", &zeros)]).bytes();
    assert!(bytes.len() < 8 << 10);
    let archive = open(&bytes).unwrap();
    let bomb = &archive.members()[0];
    assert!(matches!(archive.read(bomb, 1 << 20).unwrap_err(), FrontendError::Limit { .. }));
    assert_eq!(archive.read(bomb, 4 << 20).unwrap(), zeros);
    // It holds more or less than it says: no more than that is inflated.
    for (size, why) in
        [(1000, "inflates to more than the 1000 bytes"), ((4 << 20) + 1, "not to 4194305")]
    {
        let bytes = Built::new(vec![Entry { size, ..Entry::deflated("bomb", &zeros) }]).bytes();
        let archive = open(&bytes).unwrap();
        let e = archive.read(&archive.members()[0], 1 << 30).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
    }
    let rubbish =
        Entry { packed: vec![0xff; 100], compressed: 100, ..Entry::deflated("x", &[1; 90]) };
    let archive = open(&Built::new(vec![rubbish]).bytes()).unwrap();
    let e = archive.read(&archive.members()[0], 1 << 30).unwrap_err().to_string();
    assert!(e.contains("no deflate stream"), "{e}");
}

#[test]
fn what_is_not_read_is_said() {
    let e = refused(&with(|m| m.flags |= 1));
    assert_eq!(e, "member `config.json`: encryption is not supported");
    let bytes = with(|m| m.method = 12).bytes();
    let archive = open(&bytes).unwrap();
    let member = &archive.members()[1];
    for e in [archive.read(member, 1 << 20).unwrap_err(), archive.check(member, 1).unwrap_err()] {
        assert!(e.to_string().contains("compression by method 12"), "{e}");
    }
    let mut bytes = small().bytes();
    let end = bytes.len() - 22;
    bytes[end + 4] = 1;
    let e = open(&bytes).unwrap_err().to_string();
    assert!(e.contains("an archive of several files is not supported"), "{e}");
}

#[test]
fn the_end_says_the_truth() {
    for (count, why) in [
        (3, "holds more than its members"),
        (5, "no record of the directory"),
        (60_000, "would fit"),
    ] {
        let e = refused(&Built { count: Some(count), ..small() });
        assert!(e.contains(why), "{count}: {e}");
        let e = refused(&Built { count: Some(count), zip64: true, ..small() });
        assert!(e.contains(why), "{count}: {e}");
    }
    let e = refused(&Built { count: Some(u64::MAX), zip64: true, ..small() });
    assert!(e.contains("would fit"), "{e}");
    // Something before the archive that its offsets do not know.
    let mut bytes = b"#!/bin/sh\n".to_vec();
    bytes.extend(small().bytes());
    let e = open(&bytes).unwrap_err().to_string();
    assert!(e.contains("something was put before the archive"), "{e}");
    for bytes in [&b""[..], b"PK", b"PK\x05\x06", &[0; 5000]] {
        let e = open(bytes).unwrap_err().to_string();
        assert!(e.contains("no end record"), "{e}");
    }
}

/// What is opened keeps its promises, whatever it is.
fn holds(bytes: &[u8]) {
    let Ok(archive) = open(bytes) else { return };
    let sources = [memory(bytes)];
    let write = |patch: Patch<'_, '_>| {
        let mut out = Vec::new();
        let content = patch.finish().unwrap();
        content.write_to(&sources, &mut out, WriteOptions::default()).unwrap();
        assert_eq!(out.len() as u64, content.len());
        out
    };
    assert!(write(Patch::new(&archive, 0)) == bytes);
    let read = |archive: &Archive, m: &Member| archive.read(m, 1 << 16).ok();
    for changed in 0..archive.members().len() {
        let (mut replace, mut remove) = (Patch::new(&archive, 0), Patch::new(&archive, 0));
        let mut data = Content::new();
        if !archive.members()[changed].name().ends_with('/') {
            data.bytes(b"other");
        }
        replace.replace(changed, data);
        remove.remove(changed);
        for out in [write(replace), write(remove)] {
            let patched = open(&out).unwrap();
            for (index, member) in archive.members().iter().enumerate() {
                let is = patched.member(member.name()).map(|m| read(&patched, m));
                if index != changed {
                    assert!(is == Some(read(&archive, member)), "{}", member.name());
                } else if let Some(is) = is {
                    assert!(is.is_some_and(|data| data == b"other" || data.is_empty()));
                }
            }
        }
    }
}

#[test]
fn cut_short_anywhere() {
    for built in super::patched::varied() {
        let bytes = built.bytes();
        holds(&bytes);
        for len in 0..bytes.len() {
            holds(&bytes[..len]);
        }
    }
}

#[test]
fn damaged_anywhere() {
    for built in super::patched::varied() {
        let bytes = built.bytes();
        for at in 0..bytes.len() {
            for value in [bytes[at] ^ 1, bytes[at] ^ 0x80, 0, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                holds(&damaged);
            }
        }
    }
}

#[test]
fn what_follows_the_data_may_not_contradict() {
    let streamed = |change: &dyn Fn(&mut Vec<u8>)| {
        with(|m| {
            *m = m.clone().streamed();
            change(&mut m.behind);
        })
    };
    // With a signature or without it, sizes in 32 bits or 64.
    let wide = |behind: &mut Vec<u8>| {
        let sizes: Vec<u8> = behind[8..].chunks(4).flat_map(|n| [n, &[0; 4]].concat()).collect();
        behind.truncate(8);
        behind.extend(sizes);
    };
    let as_it_is = |_: &mut Vec<u8>| {};
    type Change<'c> = &'c dyn Fn(&mut Vec<u8>);
    let changes: [Change<'_>; 2] = [&as_it_is, &wide];
    for change in changes {
        open(&streamed(change).bytes()).expect("with a signature");
        let bare = streamed(&|b| {
            change(b);
            b.drain(..4);
        });
        open(&bare.bytes()).expect("without a signature");
    }
    for at in [0, 4, 8, 12] {
        let e = refused(&streamed(&|b| b[at] ^= 1));
        assert!(e.contains("what follows its data"), "{at}: {e}");
    }
    let e = refused(&streamed(&|b| b.truncate(10)));
    assert!(e.contains("what follows its data"), "{e}");
}
