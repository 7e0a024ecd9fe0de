//! Zip archives: what is opened is read, written again as it was, and patched; the result is opened again and holds the same
//! members but for the change.

use crate::Random;
use normfold_frontends::{
    archive::{Archive, Member, Patch},
    bytes::Source,
    save::{Content, WriteOptions},
};
use std::sync::Arc;

/// Members of more bytes are not read.
const LIMIT: u64 = 1 << 20;
const OTHER: &[u8] = b"other data";

/// Tries to open the bytes.
pub(crate) fn run(data: &[u8]) {
    let source = Source::Memory(Arc::from(data));
    let Ok(archive) = Archive::open(&source) else { return };
    let sources = [source];
    assert!(written(Patch::new(&archive, 0), &sources) == data, "an archive is not what it was");
    let data: Vec<_> = archive.members().iter().map(|m| read(&archive, m)).collect();
    // All members in turn would take a time that grows with the square of their number.
    let last = archive.members().len().saturating_sub(1);
    for changed in [0, last / 2, last] {
        let Some(member) = archive.members().get(changed) else { continue };
        let mut other = Content::new();
        if !member.name().ends_with('/') {
            other.bytes(OTHER);
        }
        let expected = if other.is_empty() { &b""[..] } else { OTHER };
        let (mut replace, mut remove) = (Patch::new(&archive, 0), Patch::new(&archive, 0));
        replace.replace(changed, other);
        remove.remove(changed);
        for (patch, stays) in [(replace, true), (remove, false)] {
            let source = Source::Memory(written(patch, &sources).into());
            let patched = Archive::open(&source).unwrap_or_else(|e| panic!("patched: {e}"));
            for (index, member) in archive.members().iter().enumerate() {
                let is = patched.member(member.name());
                assert_eq!(is.is_some(), index != changed || stays, "{}", member.name());
                let Some(is) = is.map(|m| read(&patched, m)) else { continue };
                if index == changed {
                    assert_eq!(is.as_deref(), Some(expected), "{}", member.name());
                } else {
                    assert!(is == data[index], "{}", member.name());
                }
            }
        }
    }
}

fn read(archive: &Archive, member: &Member) -> Option<Vec<u8>> {
    let data = archive.read(member, LIMIT).ok();
    if archive.stored_range(member).is_some() && member.size() <= LIMIT {
        assert_eq!(archive.check(member, 2).is_ok(), data.is_some(), "{}", member.name());
    }
    data
}

fn written(patch: Patch<'_, '_>, sources: &[Source]) -> Vec<u8> {
    let content = patch.finish().unwrap_or_else(|e| panic!("{e}"));
    let mut out = Vec::new();
    if let Err(e) = content.write_to(sources, &mut out, WriteOptions::default()) {
        panic!("{e:?}");
    }
    out
}

/// Changes fields of headers and records, and bytes and runs of bytes anywhere.
pub(crate) fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        if data.is_empty() {
            data.extend(b"PK\x05\x06");
            data.resize(22, 0);
        }
        let records: Vec<usize> = data
            .windows(4)
            .enumerate()
            .filter(|(_, w)| w.starts_with(b"PK") && w[2] < 9 && w[3] < 9)
            .map(|(at, _)| at)
            .collect();
        let anywhere = random.below(data.len());
        // Every field of a record begins at an even offset, or in what follows the fixed part.
        let at = match random.of(&records) {
            Some(record) if !random.once_in(4) => (record + random.below(64)).min(data.len() - 1),
            _ => anywhere,
        };
        match random.below(9) {
            0 => data[at] ^= 1 << random.below(8),
            1 | 2 => {
                let numbers =
                    [0, 1, 8, 20, 46, 64, 0xffff, 0xffff_ffff, u64::MAX, data.len() as u64];
                let number = random.of(&numbers).copied().unwrap_or_default().to_le_bytes();
                let len = [1, 2, 4, 8][random.below(4)].min(data.len() - at);
                data[at..at + len].copy_from_slice(&number[..len]);
            }
            3 => {
                let by = random.below(5) as u8;
                data[at] = data[at].wrapping_add(by).wrapping_sub(2);
            }
            4 => data.truncate(at),
            5 => {
                let end = (at + 1 + random.below(64)).min(data.len());
                data.drain(at..end);
            }
            6 => {
                let end = (at + 1 + random.below(64)).min(data.len());
                let run = data[at..end].to_vec();
                let to = random.below(data.len());
                data.splice(to..to, run);
            }
            // A record in the place of another one.
            7 => {
                if let Some(&from) = random.of(&records) {
                    let len = 46.min(data.len() - from).min(data.len() - at);
                    data.copy_within(from..from + len, at);
                }
            }
            _ => {
                if let Some(&from) = random.of(&records) {
                    let to = from + random.below(46).min(data.len() - from);
                    let value = data[at];
                    if let Some(byte) = data.get_mut(to) {
                        *byte = value;
                    }
                }
            }
        }
    }
}
