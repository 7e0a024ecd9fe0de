//! Links of groups of the newer form: messages of the object header (IV.A.2.c and g) while they are few, and a fractal heap
//! with a B-tree of version 2 over their names (III.G, III.A.2) when they are many.

use super::{
    UNDEFINED, malformed,
    walk::{Bytes, Numbers as _},
};
use crate::FrontendError;
use std::collections::HashSet;

/// What a link's name is encoded in.
const UTF8: u8 = 1;
/// Kinds of links that a reader knows; 64 and above are of other files or defined by users.
const HARD: u8 = 0;
const SOFT: u8 = 1;
/// The B-tree of links by the hash of their names, and the bytes of its records: hash and place in the heap.
const NAME_INDEX: u8 = 5;
/// Signature, version, type and checksum of a node of a B-tree of version 2.
const NODE: u64 = 10;

/// What a group of the newer form says about its links (IV.A.2.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LinkInfo {
    flags: u8,
    /// The number that the next link gets, where the order in which links came is kept.
    next: Option<u64>,
    heap: u64,
    names: u64,
}

impl LinkInfo {
    pub(super) fn read(data: &[u8], at: u64) -> Result<Self, FrontendError> {
        let flags = data.u8_at(1);
        let tracked = flags & 1 != 0;
        let place = if tracked { 10 } else { 2 };
        if data.u8_at(0) != 0 || data.len() < place + 16 + if flags & 2 != 0 { 8 } else { 0 } {
            return Err(malformed(at, "a link info message that is cut short, or newer"));
        }
        let next = tracked.then(|| data.u64_at(2));
        Ok(Self { flags, next, heap: data.u64_at(place), names: data.u64_at(place + 8) })
    }

    /// Whether the links are in a heap.
    pub(super) fn is_dense(&self) -> bool {
        self.heap != UNDEFINED
    }

    /// The number that the next link gets, where the order in which links came is kept.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// The message of a group with its links in the header, of which the next gets that number.
    pub(super) fn bytes(&self, next: u64) -> Vec<u8> {
        let mut out = vec![0, self.flags & 3];
        if self.next.is_some() {
            out.extend(next.to_le_bytes());
        }
        let trees = if self.flags & 2 != 0 { 3 } else { 2 };
        for _ in 0..trees {
            out.extend(UNDEFINED.to_le_bytes());
        }
        out
    }
}

/// Where a link goes, as its message has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// To the object at an address.
    Address(u64),
    /// To a path.
    Soft(Vec<u8>),
    /// To another file, or whatever a user defined: the kind and what belongs to it.
    Other(u8, Vec<u8>),
}

/// A link message (IV.A.2.g).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LinkMessage {
    pub(super) name: String,
    pub(super) goal: Goal,
    /// When it came, among the links of its group, where that is kept.
    pub(super) order: Option<u64>,
}

impl LinkMessage {
    pub(super) fn read(data: &[u8], at: u64) -> Result<Self, FrontendError> {
        let short = || malformed(at, "a link message that is cut short");
        if data.u8_at(0) != 1 {
            return Err(malformed(at, "a link message of another version"));
        }
        let flags = data.u8_at(1);
        let mut place = 2usize;
        let mut take = |len: usize| {
            let part = data.get(place..place.checked_add(len)?)?;
            place += len;
            Some(part)
        };
        let kind = match flags & 8 {
            0 => HARD,
            _ => take(1).ok_or_else(short)?.u8_at(0),
        };
        let order = match flags & 4 {
            0 => None,
            _ => Some(take(8).ok_or_else(short)?.u64_at(0)),
        };
        if flags & 16 != 0 {
            take(1).ok_or_else(short)?;
        }
        let len = take(1 << (flags & 3)).ok_or_else(short)?.u64_at(0);
        let name = usize::try_from(len).ok().and_then(&mut take).ok_or_else(short)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| malformed(at, "the name of a link is not UTF-8"))?
            .to_owned();
        let goal = match kind {
            HARD => Goal::Address(take(8).ok_or_else(short)?.u64_at(0)),
            kind => {
                let len = take(2).ok_or_else(short)?.u16_at(0);
                let value = take(len.into()).ok_or_else(short)?.to_vec();
                if kind == SOFT { Goal::Soft(value) } else { Goal::Other(kind, value) }
            }
        };
        Ok(Self { name, goal, order })
    }

    /// The message; `None` where a name or path has more bytes than fit.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let name = u16::try_from(self.name.len()).ok()?;
        // The kind is given, the encoding too, and two bytes say how long the name is.
        let mut out = vec![1, 8 | 16 | 1 | if self.order.is_some() { 4 } else { 0 }];
        out.push(match self.goal {
            Goal::Address(_) => HARD,
            Goal::Soft(_) => SOFT,
            Goal::Other(kind, _) => kind,
        });
        out.extend(self.order.iter().flat_map(|o| o.to_le_bytes()));
        out.push(if self.name.is_ascii() { 0 } else { UTF8 });
        out.extend(name.to_le_bytes());
        out.extend(self.name.as_bytes());
        match &self.goal {
            Goal::Address(at) => out.extend(at.to_le_bytes()),
            Goal::Soft(value) | Goal::Other(_, value) => {
                out.extend(u16::try_from(value.len()).ok()?.to_le_bytes());
                out.extend(value);
            }
        }
        // With what pads it, it has to fit into a message.
        (out.len() + 8 <= usize::from(u16::MAX)).then_some(out)
    }
}

/// The links that a group has in a heap, in no particular order.
pub(super) fn dense(bytes: &Bytes<'_>, info: &LinkInfo) -> Result<Vec<LinkMessage>, FrontendError> {
    let heap = Heap::read(bytes, info.heap)?;
    let mut links = Vec::new();
    for record in records(bytes, info.names)? {
        let (at, len) = heap.object(bytes, record)?;
        links.push(LinkMessage::read(bytes.block(at, len, "a link message")?, at)?);
    }
    Ok(links)
}

/// How many bytes numbers up to a limit take.
fn width(limit: u64) -> usize {
    limit.max(1).ilog2() as usize / 8 + 1
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let part = bytes.get(at..).unwrap_or_default().iter().take(width.min(8));
    part.rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// The records of a B-tree of version 2 without their hashes: places in the heap.
fn records<'b>(bytes: &Bytes<'b>, tree: u64) -> Result<Vec<&'b [u8]>, FrontendError> {
    let head = bytes.block(tree, 38, "a B-tree")?;
    if !head.starts_with(b"BTHD") || (head.u8_at(4), head.u8_at(5)) != (0, NAME_INDEX) {
        return Err(malformed(tree, "no index of names where one should be"));
    }
    let (size, record) = (u64::from(head.u32_at(6)), u64::from(head.u16_at(10)));
    let (depth, root, count) = (head.u16_at(12), head.u64_at(16), head.u16_at(24));
    if record <= 4 || size < NODE + record {
        return Err(malformed(tree, "a B-tree whose nodes have no room"));
    }
    // What a node at each depth can lead to bounds the numbers in it, and so how many bytes they take.
    let most = (size - NODE) / record;
    let mut pointers = vec![0];
    let (mut below, mut total) = (most, 0);
    for _ in 0..depth.min(64) {
        let pointer = 8 + width(most) as u64 + total;
        let here = size.saturating_sub(NODE + pointer) / (record + pointer);
        below = (here + 1).saturating_mul(below).saturating_add(here);
        total = width(below) as u64;
        pointers.push(pointer);
    }
    let (mut out, mut seen) = (Vec::new(), HashSet::new());
    let mut stack =
        if root == UNDEFINED { Vec::new() } else { vec![(root, depth, u64::from(count))] };
    while let Some((at, depth, count)) = stack.pop() {
        if !seen.insert(at) {
            return Err(malformed(at, "a B-tree that leads back to itself"));
        }
        let pointer = pointers.get(usize::from(depth)).copied();
        let pointer = pointer.ok_or_else(|| malformed(at, "a B-tree of absurd depth"))?;
        let taken = count.saturating_mul(record).saturating_add((count + 1) * pointer);
        if taken.saturating_add(NODE) > size {
            return Err(malformed(at, "a B-tree node with more entries than it has room for"));
        }
        let node = bytes.block(at, NODE + taken, "a B-tree node")?;
        let signature: &[u8] = if depth == 0 { b"BTLF" } else { b"BTIN" };
        if !node.starts_with(signature) || node.u8_at(5) != NAME_INDEX {
            return Err(malformed(at, "no B-tree node where one should be"));
        }
        let (record, count) = (record as usize, count as usize);
        let held = node.get(6..6 + record * count).unwrap_or_default();
        out.extend(held.chunks_exact(record).map(|r| r.from(4)));
        if depth > 0 {
            for i in 0..=count {
                let place = 6 + record * count + i * pointer as usize;
                let child = number(node, place + 8, width(most));
                stack.push((node.u64_at(place), depth - 1, child));
            }
        }
    }
    Ok(out)
}

/// A fractal heap (III.G).
struct Heap {
    /// Blocks per row of the doubling table.
    width: u64,
    /// Bytes of a block of the first two rows; each further row doubles them.
    start: u64,
    /// Rows of blocks that hold data themselves.
    direct_rows: u64,
    root: u64,
    /// Rows of the root; 0 where it is a block of data.
    rows: u64,
    /// Bytes of an offset in a block's head, in a place, and of the length in a place.
    offset: usize,
    length: usize,
}

impl Heap {
    fn read(bytes: &Bytes<'_>, at: u64) -> Result<Self, FrontendError> {
        let head = bytes.block(at, 146, "a heap of links")?;
        if !head.starts_with(b"FRHP") || head.u8_at(4) != 0 {
            return Err(malformed(at, "no heap of links where one should be"));
        }
        if head.u16_at(7) != 0 {
            return Err(FrontendError::unsupported(super::FORMAT, "a heap of links with a filter"));
        }
        let (width_, start, direct) = (head.u16_at(110), head.u64_at(112), head.u64_at(120));
        let bits = head.u16_at(128);
        let sound = width_ > 0 && start.is_power_of_two() && direct.is_power_of_two();
        if !sound || direct < start || bits == 0 || bits > 64 {
            return Err(malformed(at, "a heap of links with absurd blocks"));
        }
        Ok(Self {
            width: width_.into(),
            start,
            direct_rows: u64::from(direct.ilog2() - start.ilog2()) + 2,
            root: head.u64_at(132),
            rows: head.u16_at(140).into(),
            offset: usize::from(bits.div_ceil(8)),
            length: width(direct).min(width(head.u32_at(10).into())),
        })
    }

    /// Bytes of a block of a row.
    fn size(&self, row: u64) -> Option<u64> {
        let doublings = u32::try_from(row.saturating_sub(1)).ok()?;
        1u64.checked_shl(doublings)?.checked_mul(self.start)
    }

    /// Where an object is in the file, and its bytes.
    fn object(&self, bytes: &Bytes<'_>, place: &[u8]) -> Result<(u64, u64), FrontendError> {
        let problem = |what: &str| malformed(self.root, what);
        if place.u8_at(0) >> 4 != 0 || place.len() < 1 + self.offset + self.length {
            return Err(problem("a link that is not in a block of its heap"));
        }
        let offset = number(place, 1, self.offset);
        let len = number(place, 1 + self.offset, self.length);
        let missing = || problem("a link beyond its heap");
        let (mut at, mut rows, mut rest) = (self.root, self.rows, offset);
        let mut size = self.start;
        // Each indirect block has fewer rows than the one that leads to it.
        while rows > 0 {
            let mut row = 0;
            loop {
                size = self.size(row).filter(|_| row < rows).ok_or_else(missing)?;
                let whole = size.checked_mul(self.width).ok_or_else(missing)?;
                match rest.checked_sub(whole) {
                    Some(beyond) => (rest, row) = (beyond, row + 1),
                    None => break,
                }
            }
            let index = row * self.width + rest / size;
            rest %= size;
            let head = 13 + self.offset as u64;
            if bytes.block(at, 4, "a block of a heap")? != b"FHIB" {
                return Err(malformed(at, "no block of a heap where one should be"));
            }
            let entry = at.saturating_add(head + 8 * index);
            at = bytes.block(entry, 8, "a block of a heap")?.u64_at(0);
            let inner = match row < self.direct_rows {
                true => 0,
                false => u64::from(size.ilog2() + 1)
                    .saturating_sub(u64::from((self.start * self.width).max(1).ilog2())),
            };
            if inner >= rows {
                return Err(malformed(
                    at,
                    "a block of a heap that has more rows than the one before",
                ));
            }
            rows = inner;
        }
        let block = bytes.block(at, 4, "a block of a heap")?;
        if !block.starts_with(b"FHDB") || rest.checked_add(len).is_none_or(|end| end > size) {
            return Err(malformed(at, "no block of a heap where one should be"));
        }
        Ok((at.saturating_add(rest), len))
    }
}
