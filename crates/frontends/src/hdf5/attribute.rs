//! Attributes (IV.A.2.m), of which texts are read.

use super::{
    malformed,
    types::{self, Datatype},
    walk::{Bytes, Numbers as _},
};
use crate::FrontendError;
use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

/// The value of an attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A list of texts; an empty list of anything is one.
    Texts(Vec<String>),
    /// Anything else.
    Other,
}

/// How texts are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// With a length of their own, in a global heap.
    Variable,
    /// All of one length.
    Fixed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) form: Option<Form>,
    /// The datatype as it is written.
    pub(super) datatype: Vec<u8>,
    /// Where its message's data begins, to find it again.
    pub(super) at: u64,
    known: bool,
}

impl Attribute {
    /// Whether everything it keeps is known.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }
}

/// Reads the data of an attribute message that is at `at`; blocks outside the object header are noted in `extents`.
pub(super) fn read(
    bytes: &Bytes<'_>,
    data: &[u8],
    at: u64,
    heaps: &mut Heaps,
    extents: &mut Vec<Range<u64>>,
) -> Result<Attribute, FrontendError> {
    let version = data.u8_at(0);
    let short = || malformed(at, "an attribute that is cut short");
    let sizes = [data.u16_at(2), data.u16_at(4), data.u16_at(6)].map(usize::from);
    let (mut place, padded) = match version {
        1 => (8, true),
        2 => (8, false),
        3 => (9, false),
        _ => return Err(malformed(at, format!("an attribute of version {version}"))),
    };
    let mut parts = [&[][..]; 3];
    for (part, size) in parts.iter_mut().zip(sizes) {
        *part = data.get(place..place + size).ok_or_else(short)?;
        place += if padded { size.next_multiple_of(8) } else { size };
    }
    let [name, ty, space] = parts;
    let body = data.from(place);
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned();
    let mut attribute =
        Attribute { name, value: Value::Other, form: None, datatype: ty.to_vec(), at, known: true };
    // Type or dataspace may stand elsewhere.
    if version > 1 && data.u8_at(1) != 0 {
        attribute.known = false;
        return Ok(attribute);
    }
    let (Some(datatype), Some(shape)) = (Datatype::read(ty), types::dataspace(space)) else {
        attribute.known = false;
        return Ok(attribute);
    };
    let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).unwrap_or(u64::MAX);
    let texts: Option<Vec<String>> = if count == 0 {
        Some(Vec::new())
    } else if datatype.is_fixed_string() {
        attribute.form = Some(Form::Fixed);
        let size = datatype.size as usize;
        let len =
            usize::try_from(count).ok().and_then(|n| n.checked_mul(size)).ok_or_else(short)?;
        let body = body.get(..len).ok_or_else(short)?;
        body.chunks_exact(size).map(fixed).collect()
    } else if datatype.is_variable_string() {
        attribute.form = Some(Form::Variable);
        let len = usize::try_from(count).ok().and_then(|n| n.checked_mul(16)).ok_or_else(short)?;
        let body = body.get(..len).ok_or_else(short)?;
        let texts = body.chunks_exact(16).map(|r| heaps.text(bytes, r, extents));
        texts.collect::<Result<Vec<_>, _>>()?.into_iter().collect()
    } else {
        attribute.known = !datatype.has_references();
        None
    };
    attribute.value = match (texts, shape.len()) {
        (Some(mut texts), 0) => texts.pop().map_or(Value::Other, Value::Text),
        (Some(texts), 1) => Value::Texts(texts),
        _ => Value::Other,
    };
    Ok(attribute)
}

/// Text of a fixed length, ended by NUL or padded with it.
fn fixed(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes.get(..end)?.to_vec()).ok()
}

/// Global heaps (III.E) that were read: where their objects are, by number.
#[derive(Debug, Default)]
pub(super) struct Heaps(HashMap<u64, HashMap<u16, Range<u64>>>);

impl Heaps {
    /// The text that a reference (length, heap, number) stands for; `None` where it is not UTF-8.
    fn text(
        &mut self,
        bytes: &Bytes<'_>,
        reference: &[u8],
        extents: &mut Vec<Range<u64>>,
    ) -> Result<Option<String>, FrontendError> {
        let (len, heap) = (u64::from(reference.u32_at(0)), reference.u64_at(4));
        let number = reference.u32_at(12);
        if len == 0 {
            return Ok(Some(String::new()));
        }
        let size = bytes.block(heap, 16, "a global heap")?.u64_at(8);
        extents.push(heap..heap.saturating_add(size));
        let objects = match self.0.entry(heap) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Self::objects(bytes, heap)?),
        };
        let object = u16::try_from(number).ok().and_then(|n| objects.get(&n));
        let missing = || malformed(heap, format!("its object {number} is missing or too short"));
        let object = object.filter(|o| o.end - o.start >= len).ok_or_else(missing)?;
        let text = bytes.block(object.start, len, "a text")?;
        let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        Ok(String::from_utf8(text.get(..end).unwrap_or_default().to_vec()).ok())
    }

    fn objects(bytes: &Bytes<'_>, heap: u64) -> Result<HashMap<u16, Range<u64>>, FrontendError> {
        let head = bytes.block(heap, 16, "a global heap")?;
        if !head.starts_with(b"GCOL") || head.u8_at(4) != 1 {
            return Err(malformed(heap, "no global heap where one should be"));
        }
        let size = head.u64_at(8);
        let block = bytes.block(heap, size, "a global heap")?;
        let (mut at, mut objects) = (16u64, HashMap::new());
        while at + 16 <= size {
            let object = block.from(at as usize);
            let (number, len) = (object.u16_at(0), object.u64_at(8));
            if number == 0 {
                break;
            }
            let end = (at + 16).checked_add(len).filter(|&e| e <= size);
            let end =
                end.ok_or_else(|| malformed(heap + at, "an object reaches beyond its heap"))?;
            objects.insert(number, heap + at + 16..heap + end);
            at = end.next_multiple_of(8);
        }
        Ok(objects)
    }
}
