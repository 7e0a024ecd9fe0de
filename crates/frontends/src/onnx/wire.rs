//! A zero-copy reader of the protobuf wire format.
//!
//! Offsets are absolute in the document and 64 bits wide, so that files beyond protobuf's 2 GiB can be read. A field knows
//! the range of its whole record, tag included: what an edit keeps or replaces. Nothing is decoded that is not asked for.
//!
//! Groups are deprecated but legal: they are skipped as unknown fields, up to [`GROUP_LIMIT`] inside one another.

use super::model::GRAPH_DEPTH_LIMIT;
use std::{fmt, ops::Range};

/// How deeply groups may nest inside one another.
pub(crate) const GROUP_LIMIT: usize = 64;

/// What is wrong with the bytes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WireProblem {
    /// The message ends inside a tag, a number or a fixed-width value.
    Truncated,
    /// A varint of more than ten bytes, or of more than 64 bits.
    OverlongVarint,
    /// A length that reaches beyond the enclosing message.
    Length { len: u64, available: u64 },
    /// A wire type that protobuf does not define.
    WireType(u8),
    /// Field number 0, or one beyond 2²⁹ − 1.
    FieldNumber(u64),
    /// An end-group tag without its beginning, or a group that does not end.
    UnmatchedGroup,
    /// Groups beyond [`GROUP_LIMIT`].
    GroupDepth,
    /// Graphs beyond [`GRAPH_DEPTH_LIMIT`].
    GraphDepth,
    /// A known field with another wire type than the schema's.
    Mismatch,
    /// A second value of a singular message: protobuf would merge the two.
    Duplicate,
    /// Text that is not UTF-8.
    Utf8,
}

impl fmt::Display for WireProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ends inside a value (truncated file?)"),
            Self::OverlongVarint => f.write_str("a varint of more than 64 bits"),
            Self::Length { len, available } => {
                write!(
                    f,
                    "a length of {len} bytes reaches beyond its message, which has {available} left (truncated file?)"
                )
            }
            Self::WireType(t) => write!(f, "wire type {t} does not exist"),
            Self::FieldNumber(n) => write!(f, "field number {n} does not exist"),
            Self::UnmatchedGroup => f.write_str("a group without its beginning or end"),
            Self::GroupDepth => write!(f, "more than {GROUP_LIMIT} groups inside one another"),
            Self::GraphDepth => write!(f, "graphs nest more than {GRAPH_DEPTH_LIMIT} deep"),
            Self::Mismatch => f.write_str("the field has another wire type than its schema says"),
            Self::Duplicate => f.write_str("a second value of a field that has one"),
            Self::Utf8 => f.write_str("text that is not UTF-8"),
        }
    }
}

/// What is wrong, in which message, at which byte of the document.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}byte {offset}: {problem}", if path.is_empty() { String::new() } else { format!("{path}, ") })]
pub(crate) struct WireError {
    pub(crate) problem: WireProblem,
    pub(crate) offset: u64,
    /// The messages around the place, outermost first: `graph.node[3].attribute[0]`.
    pub(crate) path: String,
}

impl WireError {
    pub(crate) fn new(problem: WireProblem, offset: u64) -> Self {
        Self { problem, offset, path: String::new() }
    }

    /// The error as the enclosing message sees it.
    pub(crate) fn inside(mut self, step: impl fmt::Display) -> Self {
        self.path =
            if self.path.is_empty() { step.to_string() } else { format!("{step}.{}", self.path) };
        self
    }
}

/// Adds the enclosing message to the path of an error.
pub(crate) trait Inside: Sized {
    /// Names the message that holds what failed.
    fn inside(self, step: impl fmt::Display) -> Self;
}

impl<T> Inside for Result<T, WireError> {
    fn inside(self, step: impl fmt::Display) -> Self {
        self.map_err(|e| e.inside(step))
    }
}

/// A range of the document with its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes<'a> {
    pub(crate) data: &'a [u8],
    /// Where `data` begins in the document.
    pub(crate) offset: u64,
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.offset, self.end())
    }
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(data: &'a [u8], offset: u64) -> Self {
        Self { data, offset }
    }

    pub(crate) fn end(self) -> u64 {
        self.offset + self.data.len() as u64
    }

    pub(crate) fn len(self) -> u64 {
        self.data.len() as u64
    }

    pub(crate) fn range(self) -> Range<u64> {
        self.offset..self.end()
    }

    /// The text these bytes are.
    pub(crate) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.data)
            .map_err(|e| WireError::new(WireProblem::Utf8, self.offset + e.valid_up_to() as u64))
    }

    /// The fields of the message these bytes are.
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { rest: self }
    }

    fn truncated(self) -> WireError {
        WireError::new(WireProblem::Truncated, self.end())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let Some((head, tail)) = self.data.split_at_checked(n) else {
            return Err(self.truncated());
        };
        self.data = tail;
        self.offset += n as u64;
        Ok(head)
    }

    /// Reads a varint off the front: at most ten bytes and 64 bits, minimal or not.
    pub(crate) fn take_varint(&mut self) -> Result<u64, WireError> {
        let overlong = WireError::new(WireProblem::OverlongVarint, self.offset);
        let mut value = 0u64;
        for (i, &byte) in self.data.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return Err(overlong);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.data = &self.data[i + 1..];
                self.offset += i as u64 + 1;
                return Ok(value);
            }
        }
        Err(if self.data.len() < 10 { self.truncated() } else { overlong })
    }

    /// Reads a 4-byte little-endian word off the front.
    pub(crate) fn take_u32(&mut self) -> Result<u32, WireError> {
        let short = self.truncated();
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| short)
    }

    /// Reads an 8-byte little-endian word off the front.
    pub(crate) fn take_u64(&mut self) -> Result<u64, WireError> {
        let short = self.truncated();
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| short)
    }

    /// Reads a tag off the front: field number and wire type.
    fn take_tag(&mut self) -> Result<(u32, u8), WireError> {
        let at = self.offset;
        let tag = self.take_varint()?;
        let number = tag >> 3;
        match u32::try_from(number) {
            Ok(n) if n != 0 && n < 1 << 29 => Ok((n, (tag & 7) as u8)),
            _ => Err(WireError::new(WireProblem::FieldNumber(number), at)),
        }
    }

    /// Reads a length and as many bytes off the front.
    fn take_len(&mut self) -> Result<Bytes<'a>, WireError> {
        let at = self.offset;
        let len = self.take_varint()?;
        let available = self.data.len() as u64;
        if len > available {
            return Err(WireError::new(WireProblem::Length { len, available }, at));
        }
        let offset = self.offset;
        Ok(Bytes { data: self.take(len as usize)?, offset })
    }

    /// Skips the rest of a group whose start tag has just been read.
    fn skip_group(&mut self, number: u32, at: u64) -> Result<(), WireError> {
        let unmatched = WireError::new(WireProblem::UnmatchedGroup, at);
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            if self.data.is_empty() {
                return Err(unmatched);
            }
            let tag_at = self.offset;
            let (n, wire) = self.take_tag()?;
            match wire {
                0 => drop(self.take_varint()?),
                1 => drop(self.take(8)?),
                2 => drop(self.take_len()?),
                3 if open.len() >= GROUP_LIMIT => {
                    return Err(WireError::new(WireProblem::GroupDepth, tag_at));
                }
                3 => open.push(n),
                4 if n == innermost => drop(open.pop()),
                4 => return Err(WireError::new(WireProblem::UnmatchedGroup, tag_at)),
                5 => drop(self.take(4)?),
                w => return Err(WireError::new(WireProblem::WireType(w), tag_at)),
            }
        }
        Ok(())
    }
}

/// The value of a field, by wire type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WireValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Len(Bytes<'a>),
    /// A group: nothing that ONNX defines.
    Group,
    Fixed32(u32),
}

/// One field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: WireValue<'a>,
    /// The first byte of the record: that of its tag.
    pub(crate) start: u64,
    /// One past the last byte of the record.
    pub(crate) end: u64,
}

impl<'a> Field<'a> {
    /// The whole record, tag included.
    pub(crate) fn record(&self) -> Range<u64> {
        self.start..self.end
    }

    fn mismatch(&self) -> WireError {
        WireError::new(WireProblem::Mismatch, self.start)
    }

    /// The bytes of a length-delimited field.
    pub(crate) fn bytes(&self) -> Result<Bytes<'a>, WireError> {
        match self.value {
            WireValue::Len(b) => Ok(b),
            _ => Err(self.mismatch()),
        }
    }

    /// The text of a string field.
    pub(crate) fn text(&self) -> Result<&'a str, WireError> {
        self.bytes()?.text()
    }

    /// The number of a varint field.
    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            WireValue::Varint(v) => Ok(v),
            _ => Err(self.mismatch()),
        }
    }

    /// The number of an int64 field.
    pub(crate) fn int(&self) -> Result<i64, WireError> {
        Ok(self.varint()? as i64)
    }

    /// The number of an int32 or enum field: protobuf keeps the low 32 bits.
    pub(crate) fn int32(&self) -> Result<i32, WireError> {
        Ok(self.varint()? as i32)
    }

    /// The number of a float field.
    pub(crate) fn float(&self) -> Result<f32, WireError> {
        match self.value {
            WireValue::Fixed32(v) => Ok(f32::from_bits(v)),
            _ => Err(self.mismatch()),
        }
    }

    /// Keeps a singular message; a second one is refused, protobuf would merge the two.
    pub(crate) fn singular(&self, slot: &mut Option<Bytes<'a>>) -> Result<(), WireError> {
        if slot.is_some() {
            return Err(WireError::new(WireProblem::Duplicate, self.start));
        }
        *slot = Some(self.bytes()?);
        Ok(())
    }
}

/// The fields of a message, in document order.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: Bytes<'a>,
}

impl<'a> Fields<'a> {
    /// The next field; `None` at the end of the message.
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.data.is_empty() {
            return Ok(None);
        }
        let start = self.rest.offset;
        let (number, wire) = self.rest.take_tag()?;
        let value = match wire {
            0 => WireValue::Varint(self.rest.take_varint()?),
            1 => WireValue::Fixed64(self.rest.take_u64()?),
            2 => WireValue::Len(self.rest.take_len()?),
            3 => {
                self.rest.skip_group(number, start)?;
                WireValue::Group
            }
            4 => return Err(WireError::new(WireProblem::UnmatchedGroup, start)),
            5 => WireValue::Fixed32(self.rest.take_u32()?),
            w => return Err(WireError::new(WireProblem::WireType(w), start)),
        };
        Ok(Some(Field { number, value, start, end: self.rest.offset }))
    }
}

/// Elements of a repeated scalar field, packed or not: calls `each` with the bytes that hold them, in order.
///
/// `fixed` is the width of fixed-width elements, `None` for varints.
pub(crate) fn repeated<'a>(
    field: &Field<'a>,
    fixed: Option<usize>,
    mut each: impl FnMut(u64),
) -> Result<(), WireError> {
    match (field.value, fixed) {
        (WireValue::Varint(v), None) => each(v),
        (WireValue::Fixed32(v), Some(4)) => each(u64::from(v)),
        (WireValue::Fixed64(v), Some(8)) => each(v),
        (WireValue::Len(mut b), fixed) => {
            while !b.data.is_empty() {
                each(match fixed {
                    None => b.take_varint()?,
                    Some(4) => u64::from(b.take_u32()?),
                    Some(_) => b.take_u64()?,
                });
            }
        }
        _ => return Err(field.mismatch()),
    }
    Ok(())
}

/// Appends a varint in its shortest form.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes that the shortest form of a varint takes.
pub(crate) fn varint_len(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(data: &[u8]) -> Result<Vec<(u32, u64, u64)>, WireError> {
        let mut fields = Bytes::new(data, 100).fields();
        let mut out = Vec::new();
        while let Some(f) = fields.next()? {
            out.push((f.number, f.start, f.end));
        }
        Ok(out)
    }

    fn problem(data: &[u8]) -> (WireProblem, u64) {
        let e = all(data).unwrap_err();
        (e.problem, e.offset)
    }

    #[test]
    fn records_have_absolute_ranges() {
        // field 1 varint 300, field 2 "ab", field 3 fixed32, field 4 fixed64
        let data = [8, 0xac, 2, 18, 2, b'a', b'b', 29, 1, 2, 3, 4, 33, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(
            all(&data).unwrap(),
            [(1, 100, 103), (2, 103, 107), (3, 107, 112), (4, 112, 121)]
        );
    }

    #[test]
    fn varints() {
        let mut b = Bytes::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 0);
        assert_eq!(b.take_varint(), Ok(u64::MAX));
        // Not minimal, still legal: what is written keeps such a tag.
        assert_eq!(Bytes::new(&[0x81, 0x80, 0], 0).take_varint(), Ok(1));
        assert_eq!(
            problem(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).0,
            WireProblem::OverlongVarint
        );
        assert_eq!(
            problem(&[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]).0,
            WireProblem::OverlongVarint
        );
        assert_eq!(problem(&[8, 0x80]), (WireProblem::Truncated, 102));
        for v in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            push_varint(&mut out, v);
            assert_eq!(out.len() as u64, varint_len(v));
            assert_eq!(Bytes::new(&out, 0).take_varint(), Ok(v));
        }
    }

    #[test]
    fn lengths_beyond_the_message() {
        assert_eq!(problem(&[18, 3, 1, 2]), (WireProblem::Length { len: 3, available: 2 }, 101));
        let huge = [18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(
            problem(&huge),
            (WireProblem::Length { len: i64::MAX as u64, available: 0 }, 101)
        );
        assert_eq!(problem(&[29, 1, 2]).0, WireProblem::Truncated);
        assert_eq!(problem(&[33, 1, 2]).0, WireProblem::Truncated);
    }

    #[test]
    fn tags() {
        assert_eq!(problem(&[14]), (WireProblem::WireType(6), 100));
        assert_eq!(problem(&[0, 1]), (WireProblem::FieldNumber(0), 100));
        assert_eq!(
            problem(&[0x80, 0x80, 0x80, 0x80, 0x10, 1]),
            (WireProblem::FieldNumber(1 << 29), 100)
        );
    }

    #[test]
    fn groups_are_skipped_up_to_a_depth() {
        assert_eq!(all(&[11, 8, 1, 19, 20, 12, 8, 5]).unwrap(), [(1, 100, 106), (1, 106, 108)]);
        assert_eq!(problem(&[11, 8, 1]), (WireProblem::UnmatchedGroup, 100));
        assert_eq!(problem(&[11, 20]), (WireProblem::UnmatchedGroup, 101));
        assert_eq!(problem(&[12]), (WireProblem::UnmatchedGroup, 100));
        assert_eq!(problem(&[11; 100_000]).0, WireProblem::GroupDepth);
    }

    #[test]
    fn text_must_be_utf8() {
        let b = Bytes::new(&[b'a', 0xff], 7);
        assert_eq!(b.text(), Err(WireError::new(WireProblem::Utf8, 8)));
    }

    #[test]
    fn repeated_scalars_packed_or_not() {
        let mut seen = Vec::new();
        let data = [8, 5, 10, 2, 6, 7];
        let mut fields = Bytes::new(&data, 0).fields();
        while let Some(f) = fields.next().unwrap() {
            repeated(&f, None, |v| seen.push(v)).unwrap();
        }
        assert_eq!(seen, [5, 6, 7]);
        let data = [10, 3, 1, 2, 3];
        let f = Bytes::new(&data, 0).fields().next().unwrap().unwrap();
        assert_eq!(repeated(&f, Some(4), |_| ()).unwrap_err().problem, WireProblem::Truncated);
    }

    #[test]
    fn errors_name_the_path() {
        let e = all(&[14]).inside("attribute[0]").inside("graph.node[3]").unwrap_err();
        assert_eq!(
            e.to_string(),
            "graph.node[3].attribute[0], byte 100: wire type 6 does not exist"
        );
    }
}
