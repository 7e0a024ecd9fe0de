//! Writes protobuf records: copied, spliced at field level, or new.
//!
//! A record whose content did not change is copied with its header. One whose content changed keeps the bytes of its tag and,
//! if its length is what it was, of its length, minimal or not. Fields that an edit does not speak of stay where they are.

pub(crate) mod encode;
pub(crate) mod node;
pub(crate) mod tensor;

use super::wire::{Bytes, Field, WireError, push_varint, varint_len};
use crate::save::Content;

/// The document among the sources of a [`Content`].
pub(crate) const DOCUMENT: u32 = 0;

/// Copies a field as it is.
pub(crate) fn copy(out: &mut Content<'_>, field: &Field<'_>) {
    out.source(DOCUMENT, field.record());
}

/// Appends a varint field.
pub(crate) fn int(out: &mut Content<'_>, number: u32, value: i64) {
    let mut bytes = Vec::with_capacity(12);
    push_varint(&mut bytes, u64::from(number) << 3);
    push_varint(&mut bytes, value as u64);
    out.bytes(&bytes);
}

/// Appends a float field.
pub(crate) fn float(out: &mut Content<'_>, number: u32, value: f32) {
    let mut bytes = Vec::with_capacity(8);
    push_varint(&mut bytes, u64::from(number) << 3 | 5);
    bytes.extend(value.to_le_bytes());
    out.bytes(&bytes);
}

/// Appends the tag and length of a length-delimited field.
pub(crate) fn header(out: &mut Content<'_>, number: u32, len: u64) {
    let mut bytes = Vec::with_capacity(14);
    push_varint(&mut bytes, u64::from(number) << 3 | 2);
    push_varint(&mut bytes, len);
    out.bytes(&bytes);
}

/// Appends a length-delimited field.
pub(crate) fn bytes(out: &mut Content<'_>, number: u32, value: &[u8]) {
    header(out, number, value.len() as u64);
    out.bytes(value);
}

/// Appends a string field.
pub(crate) fn text(out: &mut Content<'_>, number: u32, value: &str) {
    bytes(out, number, value.as_bytes());
}

/// Appends a message field.
pub(crate) fn message<'c>(out: &mut Content<'c>, number: u32, body: Content<'c>) {
    header(out, number, body.len());
    out.append(body);
}

/// Appends a length-delimited field of the document with another content.
pub(crate) fn replace<'c>(
    out: &mut Content<'c>,
    field: &Field<'_>,
    body: Content<'c>,
) -> Result<(), WireError> {
    let content = field.bytes()?;
    if body.is_source(content.range()) {
        copy(out, field);
        return Ok(());
    }
    if body.len() == content.len() {
        out.source(DOCUMENT, field.start..content.offset);
    } else {
        // The tag stays when it is in its shortest form; in a padded header it is not told apart without a look.
        let tag = varint_len(u64::from(field.number) << 3 | 2);
        if content.offset - field.start == tag + varint_len(content.len()) {
            out.source(DOCUMENT, field.start..field.start + tag);
            let mut length = Vec::with_capacity(10);
            push_varint(&mut length, body.len());
            out.bytes(&length);
        } else {
            header(out, field.number, body.len());
        }
    }
    out.append(body);
    Ok(())
}

/// A field of the document that is written anew in the place of an old one.
pub(crate) fn replace_text(
    out: &mut Content<'_>,
    field: &Field<'_>,
    value: &str,
) -> Result<(), WireError> {
    let mut body = Content::new();
    if field.bytes()?.data == value.as_bytes() {
        copy(out, field);
        return Ok(());
    }
    body.bytes(value.as_bytes());
    replace(out, field, body)
}

/// The content of a message, field by field: `edit` writes or drops each.
pub(crate) fn rebuild<'c, E: From<WireError>>(
    content: Bytes<'_>,
    mut edit: impl FnMut(&mut Content<'c>, &Field<'_>) -> Result<(), E>,
) -> Result<Content<'c>, E> {
    let mut out = Content::new();
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        edit(&mut out, &f)?;
    }
    Ok(out)
}
