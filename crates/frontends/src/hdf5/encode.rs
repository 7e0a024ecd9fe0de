//! New blocks: object headers, symbol tables, heaps, attributes.

use super::{
    UNDEFINED,
    attribute::{Attribute, Form, Value},
    header,
    walk::ENTRY,
};
use crate::FrontendError;

/// Bytes of a small global heap (III.E): none is smaller.
const HEAP_MIN: usize = 4096;
/// Texts in one global heap, whose objects are numbered with 16 bits.
const PER_HEAP: usize = 1 << 15;

/// A message of an object header that is written anew.
#[derive(Clone, Debug)]
pub(super) struct NewMessage {
    pub(super) kind: u16,
    pub(super) flags: u8,
    pub(super) data: Vec<u8>,
}

impl NewMessage {
    pub(super) fn new(kind: u16, mut data: Vec<u8>) -> Self {
        data.resize(data.len().next_multiple_of(8), 0);
        Self { kind, flags: 0, data }
    }
}

/// The bytes of a header with these messages.
pub(super) fn header_len(messages: &[NewMessage]) -> u64 {
    let body: usize = messages.iter().map(|m| header::MESSAGE as usize + m.data.len()).sum();
    header::PREFIX + body as u64
}

/// An object header (IV.A.1.a) in one chunk.
pub(super) fn header(messages: &[NewMessage], references: u32) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend((messages.len() as u16).to_le_bytes());
    out.extend(references.to_le_bytes());
    out.extend(((header_len(messages) - header::PREFIX) as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(body(messages));
    out
}

/// The messages of a header, as one of its pieces holds them.
pub(super) fn body(messages: &[NewMessage]) -> Vec<u8> {
    let mut out = Vec::new();
    for m in messages {
        out.extend(m.kind.to_le_bytes());
        out.extend((m.data.len() as u16).to_le_bytes());
        out.extend([m.flags, 0, 0, 0]);
        out.extend(&m.data);
    }
    out
}

/// The first piece of a header whose messages are elsewhere now: a continuation, and nothing in the rest of the room it has.
/// `None` where there is no room for a continuation.
pub(super) fn forwarded(
    room: u64,
    messages: &[NewMessage],
    references: u32,
    to: u64,
) -> Option<Vec<u8>> {
    let mut rest = room.checked_sub(header::MESSAGE + header::CONTINUATION_LEN)?;
    let mut out = vec![1, 0, 0, 0];
    out.extend(references.to_le_bytes());
    out.extend(u32::try_from(room).ok()?.to_le_bytes());
    out.extend([0; 4]);
    out.extend(header::CONTINUATION.to_le_bytes());
    out.extend((header::CONTINUATION_LEN as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(to.to_le_bytes());
    out.extend((header_len(messages) - header::PREFIX).to_le_bytes());
    let mut count = messages.len() + 1;
    while rest >= header::MESSAGE {
        let len = (rest - header::MESSAGE).min(u64::from(u16::MAX) & !7);
        out.extend(header::NIL.to_le_bytes());
        out.extend((len as u16).to_le_bytes());
        out.resize(out.len() + 4 + len as usize, 0);
        rest -= header::MESSAGE + len;
        count += 1;
    }
    out.resize(out.len() + rest as usize, 0);
    let count = u16::try_from(count).ok()?.to_le_bytes();
    out.get_mut(2..4)?.copy_from_slice(&count);
    Some(out)
}

/// A dataspace (IV.A.2.b), version 1.
pub(super) fn dataspace(shape: &[u64]) -> Vec<u8> {
    let mut out = vec![1, shape.len() as u8, 0, 0, 0, 0, 0, 0];
    out.extend(shape.iter().flat_map(|d| d.to_le_bytes()));
    out
}

/// A contiguous layout (IV.A.2.i), version 3.
pub(super) fn contiguous(address: u64, len: u64) -> Vec<u8> {
    let mut out = vec![3, 1];
    out.extend(address.to_le_bytes());
    out.extend(len.to_le_bytes());
    out
}

/// The addresses of a group's symbol table, as its message has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) tree: u64,
    pub(super) heap: u64,
}

impl Table {
    pub(super) fn bytes(self) -> Vec<u8> {
        [self.tree.to_le_bytes(), self.heap.to_le_bytes()].concat()
    }
}

/// What an entry of a new symbol table leads to.
#[derive(Clone, Debug)]
pub(super) enum Leads {
    /// To the object at an address.
    To(u64),
    /// To a path.
    Soft(Vec<u8>),
}

/// A symbol table (III.A to III.D) of links in the order of their names. `place` finds room for a block of that many bytes;
/// the blocks come back with their addresses.
pub(super) fn symbol_table(
    links: &[(&str, Leads)],
    leaf_k: u16,
    internal_k: u16,
    place: &mut dyn FnMut(u64) -> u64,
) -> (Table, Vec<(u64, Vec<u8>)>) {
    let mut blocks = Vec::new();
    // The heap begins with an empty name, the key before all others.
    let mut names = vec![0u8; 8];
    let mut add = |text: &[u8]| {
        let at = names.len() as u64;
        names.extend(text);
        names.push(0);
        names.resize(names.len().next_multiple_of(8), 0);
        at
    };
    let offsets: Vec<(u64, u64)> = links
        .iter()
        .map(|(name, leads)| {
            let name = add(name.as_bytes());
            (name, if let Leads::Soft(path) = leads { add(path) } else { 0 })
        })
        .collect();
    let heap = place(32 + names.len() as u64);
    let mut head = b"HEAP\0\0\0\0".to_vec();
    // No free space: the list ends at 1.
    for field in [names.len() as u64, 1, heap + 32] {
        head.extend(field.to_le_bytes());
    }
    head.extend(names);
    blocks.push((heap, head));

    let (per_leaf, per_node) = (2 * usize::from(leaf_k), 2 * usize::from(internal_k));
    // Per child: its address, and the greatest name in it.
    let mut children: Vec<(u64, u64)> = Vec::new();
    let entries: Vec<_> = links.iter().zip(&offsets).collect();
    for leaf in entries.chunks(per_leaf) {
        let size = 8 + ENTRY * per_leaf as u64;
        let at = place(size);
        let mut out = b"SNOD\x01\0".to_vec();
        out.extend((leaf.len() as u16).to_le_bytes());
        let mut greatest = 0;
        for ((_, leads), (name, soft)) in leaf {
            greatest = *name;
            let (address, kind, scratch) = match leads {
                Leads::To(address) => (*address, 0u32, 0u64),
                Leads::Soft(_) => (UNDEFINED, 2, *soft),
            };
            out.extend(name.to_le_bytes());
            out.extend(address.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend([0; 4]);
            out.extend(scratch.to_le_bytes());
            out.extend([0; 8]);
        }
        out.resize(size as usize, 0);
        blocks.push((at, out));
        children.push((at, greatest));
    }
    let node_size = 24 + 8 * (2 * per_node as u64 + 1);
    let mut level = 0u8;
    loop {
        let chunks: Vec<&[(u64, u64)]> =
            if children.is_empty() { vec![&[]] } else { children.chunks(per_node).collect() };
        let places: Vec<u64> = chunks.iter().map(|_| place(node_size)).collect();
        let (mut parents, mut before) = (Vec::new(), 0u64);
        for (i, (chunk, &at)) in chunks.iter().zip(&places).enumerate() {
            let mut out = b"TREE\0".to_vec();
            out.push(level);
            out.extend((chunk.len() as u16).to_le_bytes());
            let sibling =
                |j: Option<usize>| j.and_then(|j| places.get(j)).copied().unwrap_or(UNDEFINED);
            out.extend(sibling(i.checked_sub(1)).to_le_bytes());
            out.extend(sibling(i.checked_add(1)).to_le_bytes());
            out.extend(before.to_le_bytes());
            for (child, greatest) in *chunk {
                out.extend(child.to_le_bytes());
                out.extend(greatest.to_le_bytes());
                before = *greatest;
            }
            out.resize(node_size as usize, 0);
            blocks.push((at, out));
            parents.push((at, before));
        }
        if let [(tree, _)] = parents.as_slice() {
            return (Table { tree: *tree, heap }, blocks);
        }
        children = parents;
        level = level.saturating_add(1);
    }
}

/// A global heap (III.E) with these texts, numbered from 1.
fn global_heap(texts: &[&str]) -> Vec<u8> {
    let mut out = b"GCOL\x01\0\0\0".to_vec();
    out.extend([0; 8]);
    for (text, number) in texts.iter().zip(1u16..) {
        out.extend(number.to_le_bytes());
        // How many refer to it.
        out.extend([1, 0, 0, 0, 0, 0]);
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
    let size = (out.len() + 16).max(HEAP_MIN);
    // What is left is free: object 0, its own head counted.
    let free = size - out.len();
    out.extend([0; 8]);
    out.extend((free as u64).to_le_bytes());
    out.resize(size, 0);
    if let Some(field) = out.get_mut(8..16) {
        field.copy_from_slice(&(size as u64).to_le_bytes());
    }
    out
}

/// UTF-8 text of any length, as h5py writes it.
const VARIABLE: &[u8] = &[0x19, 1, 1, 0, 16, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0];
/// Text of a fixed length, padded with NUL, ASCII.
const FIXED: &[u8] = &[0x13, 1, 0, 0, 0, 0, 0, 0];
/// What h5py makes of an empty list: no f64 numbers.
const EMPTY: &[u8] = &[0x11, 0x20, 0x3f, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 0xff, 3, 0, 0];

/// New global heaps: texts in the order in which attributes ask for them.
#[derive(Debug, Default)]
pub(super) struct NewHeaps {
    /// The address of each heap, and how many texts are in it.
    heaps: Vec<(u64, u32)>,
    given: u32,
}

impl NewHeaps {
    /// Heaps for these texts, and their blocks; `place` finds room.
    pub(super) fn new(
        texts: &[&str],
        place: &mut dyn FnMut(u64) -> u64,
    ) -> (Self, Vec<(u64, Vec<u8>)>) {
        let mut blocks = Vec::new();
        for part in texts.chunks(PER_HEAP) {
            let block = global_heap(part);
            blocks.push((place(block.len() as u64), block));
        }
        let counts = texts.chunks(PER_HEAP).map(|part| part.len() as u32);
        let heaps = blocks.iter().map(|(at, _)| *at).zip(counts).collect();
        (Self { heaps, given: 0 }, blocks)
    }

    /// Where the next text is: its heap, and its number there.
    fn next(&mut self) -> Option<(u64, u32)> {
        let mut number = self.given;
        self.given += 1;
        for (at, count) in &self.heaps {
            match number.checked_sub(*count) {
                None => return Some((*at, number + 1)),
                Some(rest) => number = rest,
            }
        }
        None
    }
}

/// How a value is kept: as the attribute kept one before.
fn form(value: &Value, old: Option<&Attribute>) -> Form {
    match (old.and_then(|o| o.form), value) {
        (Some(form), _) => form,
        (None, Value::Text(_)) => Form::Variable,
        (None, _) => Form::Fixed,
    }
}

/// The texts of a value that go into a global heap. Empty ones have no object.
pub(super) fn in_heap<'t>(value: &'t Value, old: Option<&Attribute>) -> Vec<&'t str> {
    let texts: Vec<&str> = match value {
        _ if form(value, old) == Form::Fixed => Vec::new(),
        Value::Text(text) => vec![text],
        Value::Texts(texts) => texts.iter().map(String::as_str).collect(),
        Value::Other => Vec::new(),
    };
    texts.into_iter().filter(|t| !t.is_empty()).collect()
}

/// An attribute message, version 1, that holds a value in the form in which the attribute held one before. What
/// [`in_heap`] gives for it comes next in `heaps`.
pub(super) fn attribute(
    name: &str,
    value: &Value,
    old: Option<&Attribute>,
    heaps: &mut NewHeaps,
) -> Result<NewMessage, FrontendError> {
    let limit = |limit: &str| FrontendError::Limit {
        place: format!("attribute `{name}`"),
        limit: limit.to_owned(),
    };
    let (texts, shape): (Vec<&str>, Vec<u64>) = match value {
        Value::Text(text) => (vec![text.as_str()], Vec::new()),
        Value::Texts(texts) => {
            (texts.iter().map(String::as_str).collect(), vec![texts.len() as u64])
        }
        Value::Other => return Err(limit("a value that is no text")),
    };
    let form = form(value, old);
    let written = old.filter(|o| o.form == Some(form)).map(|o| o.datatype.as_slice());
    let (datatype, body) = match form {
        _ if texts.is_empty() => (EMPTY.to_vec(), Vec::new()),
        Form::Variable => {
            let mut body = Vec::new();
            for text in &texts {
                let (at, number) = match text.is_empty() {
                    true => (0, 0),
                    false => heaps.next().ok_or_else(|| limit("a text without room"))?,
                };
                body.extend((text.len() as u32).to_le_bytes());
                body.extend(at.to_le_bytes());
                body.extend(number.to_le_bytes());
            }
            (written.unwrap_or(VARIABLE).to_vec(), body)
        }
        Form::Fixed => {
            let width = texts.iter().map(|t| t.len()).max().unwrap_or(0).max(1);
            let mut datatype = written.unwrap_or(FIXED).to_vec();
            if let Some(size) = datatype.get_mut(4..8) {
                size.copy_from_slice(&(width as u32).to_le_bytes());
            }
            let mut body = Vec::with_capacity(width * texts.len());
            for text in &texts {
                body.extend(text.as_bytes());
                body.resize(body.len() + width - text.len(), 0);
            }
            (datatype, body)
        }
    };
    let space = dataspace(&shape);
    let mut out = vec![1, 0];
    let mut name = name.as_bytes().to_vec();
    name.push(0);
    for part in [&name, &datatype, &space] {
        let len = u16::try_from(part.len()).map_err(|_| limit("its name is too long"))?;
        out.extend(len.to_le_bytes());
    }
    for part in [name, datatype, space] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out.extend(body);
    let message = NewMessage::new(header::ATTRIBUTE, out);
    if message.data.len() > usize::from(u16::MAX) - 7 {
        return Err(limit("its value has more than the 64 KiB that an object header takes"));
    }
    Ok(message)
}
