//! Object headers of version 1 (IV.A.1.a): lists of messages in one or more chunks.

use super::{
    malformed,
    walk::{Bytes, Numbers as _, REMEDY},
};
use crate::FrontendError;
use std::{collections::HashSet, ops::Range};

pub(super) const NIL: u16 = 0x0;
pub(super) const DATASPACE: u16 = 0x1;
pub(super) const LINK_INFO: u16 = 0x2;
pub(super) const DATATYPE: u16 = 0x3;
pub(super) const FILL_OLD: u16 = 0x4;
pub(super) const FILL: u16 = 0x5;
pub(super) const LINK: u16 = 0x6;
pub(super) const LAYOUT: u16 = 0x8;
pub(super) const ATTRIBUTE: u16 = 0xc;
pub(super) const CONTINUATION: u16 = 0x10;
pub(super) const SYMBOL_TABLE: u16 = 0x11;
pub(super) const ATTRIBUTE_INFO: u16 = 0x15;

/// What a continuation takes: where it leads, and how many bytes are there.
pub(super) const CONTINUATION_LEN: u64 = 16;

/// The header before its messages.
pub(super) const PREFIX: u64 = 16;
/// A message before its data.
pub(super) const MESSAGE: u64 = 8;

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) flags: u8,
    /// Where its data is in the file.
    pub(super) data: Range<u64>,
}

impl Message {
    /// Whether its data stands elsewhere.
    pub(super) fn is_shared(&self) -> bool {
        self.flags & 2 != 0
    }
}

/// The messages of the header at an address, without those that only hold it together, and the chunks they are in.
pub(super) fn read(
    bytes: &Bytes<'_>,
    address: u64,
) -> Result<(Vec<Message>, Vec<Range<u64>>), FrontendError> {
    let head = bytes.block(address, PREFIX, "an object header")?;
    if head.starts_with(b"OHDR") {
        let what = format!("an object header of version 2 ({REMEDY}), which");
        return Err(FrontendError::unsupported(super::FORMAT, what));
    }
    if head.u8_at(0) != 1 {
        return Err(malformed(address, "no object header where one should be"));
    }
    let (count, size) = (head.u16_at(2), u64::from(head.u32_at(8)));
    let mut messages = Vec::new();
    let mut chunks = vec![(address + PREFIX, size)];
    let (mut extents, mut seen, mut read) = (Vec::new(), HashSet::new(), 0u32);
    let mut next = 0;
    while let Some(&(at, len)) = chunks.get(next) {
        next += 1;
        if !seen.insert(at) {
            return Err(malformed(at, "an object header that continues in itself"));
        }
        let chunk = bytes.block(at, len, "an object header")?;
        extents.push(if next == 1 { address..at + len } else { at..at + len });
        let mut place = 0;
        while place + MESSAGE <= len && read < u32::from(count) {
            let message = chunk.from(place as usize);
            let (kind, size) = (message.u16_at(0), u64::from(message.u16_at(2)));
            let data = at + place + MESSAGE..at + place + MESSAGE + size;
            if data.end > at + len {
                return Err(malformed(at + place, "a message reaches beyond its object header"));
            }
            match kind {
                NIL => {}
                CONTINUATION => {
                    let body = message.from(MESSAGE as usize);
                    if size < 16 {
                        return Err(malformed(at + place, "a continuation that leads nowhere"));
                    }
                    chunks.push((body.u64_at(0), body.u64_at(8)));
                }
                _ => messages.push(Message { kind, flags: message.u8_at(4), data: data.clone() }),
            }
            read += 1;
            place = data.end - at;
        }
    }
    Ok((messages, extents))
}
