//! Checksums of what is written that stand in what is written.
//!
//! A worker takes the checksum of each run of bytes that it writes of a sealed range; runs are put together in the end,
//! which costs a few operations each, whatever their length.

use crc32fast::Hasher;
use std::ops::Range;

/// A range of a content, and where its CRC-32 goes.
#[derive(Clone, Debug)]
pub(super) struct Seal {
    pub(super) range: Range<u64>,
    pub(super) at: Vec<u64>,
}

impl Seal {
    pub(super) fn shifted(mut self, by: u64) -> Self {
        self.range = self.range.start + by..self.range.end + by;
        self.at.iter_mut().for_each(|at| *at += by);
        self
    }
}

/// A run of bytes of one sealed range.
struct Part {
    seal: usize,
    range: Range<u64>,
    hasher: Hasher,
}

/// The runs that have been written, in any order.
#[derive(Default)]
pub(super) struct Parts(Vec<Part>);

impl Parts {
    /// Takes note of bytes at an offset of the content.
    pub(super) fn write(&mut self, seals: &[Seal], at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        let first = seals.partition_point(|s| s.range.end <= at);
        for (seal, s) in seals.iter().enumerate().skip(first) {
            if s.range.start >= end {
                break;
            }
            let range = s.range.start.max(at)..s.range.end.min(end);
            let Some(bytes) = bytes.get((range.start - at) as usize..(range.end - at) as usize)
            else {
                continue;
            };
            match self.0.last_mut() {
                Some(part) if part.seal == seal && part.range.end == range.start => {
                    part.hasher.update(bytes);
                    part.range.end = range.end;
                }
                _ => {
                    let mut hasher = Hasher::new();
                    hasher.update(bytes);
                    self.0.push(Part { seal, range, hasher });
                }
            }
        }
    }

    /// Adds what another worker has written.
    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The checksums and where they go, when everything has been written.
    pub(super) fn finish(mut self, seals: &[Seal]) -> Vec<(u64, [u8; 4])> {
        self.0.sort_by_key(|part| part.range.start);
        let mut whole = vec![Hasher::new(); seals.len()];
        for part in &self.0 {
            if let Some(hasher) = whole.get_mut(part.seal) {
                hasher.combine(&part.hasher);
            }
        }
        let sums = whole.into_iter().map(|hasher| hasher.finalize().to_le_bytes());
        let placed = seals.iter().zip(sums);
        placed.flat_map(|(seal, sum)| seal.at.iter().map(move |&at| (at, sum))).collect()
    }
}

/// Puts checksums over the bytes that begin at an offset of the content.
pub(super) fn overlay(sums: &[(u64, [u8; 4])], at: u64, bytes: &mut [u8]) {
    for (place, sum) in sums {
        for (i, byte) in sum.iter().enumerate() {
            let target = (place + i as u64).checked_sub(at).and_then(|o| usize::try_from(o).ok());
            if let Some(target) = target.and_then(|o| bytes.get_mut(o)) {
                *target = *byte;
            }
        }
    }
}
