//! Datatypes and dataspaces (IV.A.2.d and b).

use super::{Element, walk::Numbers as _};
use normfold_ir::DType;

const FIXED: u8 = 0;
const FLOAT: u8 = 1;
const STRING: u8 = 3;
const OPAQUE: u8 = 5;
const COMPOUND: u8 = 6;
const REFERENCE: u8 = 7;
const VARIABLE: u8 = 9;
const ARRAY: u8 = 10;

/// A datatype, as far as it is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Datatype {
    class: u8,
    bits: u32,
    /// Bytes of an element.
    pub(super) size: u32,
    properties: Vec<u8>,
}

impl Datatype {
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        if data.len() < 8 {
            return None;
        }
        let (class, version) = (data.u8_at(0) & 15, data.u8_at(0) >> 4);
        let bits = data.u32_at(0) >> 8;
        let size = data.u32_at(4);
        ((1..=4).contains(&version) && size > 0).then(|| Self {
            class,
            bits,
            size,
            properties: data.from(8).to_vec(),
        })
    }

    /// What its elements are.
    pub(super) fn element(&self) -> Element {
        let p = &self.properties;
        let known = match (self.class, self.size) {
            (FIXED, size) if self.bits & 1 == 0 && p.u16_at(0) == 0 => {
                let signed = self.bits & 8 != 0;
                let whole = u64::from(p.u16_at(2)) == u64::from(size) * 8;
                match (size, signed) {
                    _ if !whole => None,
                    (1, true) => Some(DType::I8),
                    (1, false) => Some(DType::U8),
                    (2, true) => Some(DType::I16),
                    (2, false) => Some(DType::U16),
                    (4, true) => Some(DType::I32),
                    (4, false) => Some(DType::U32),
                    (8, true) => Some(DType::I64),
                    (8, false) => Some(DType::U64),
                    _ => None,
                }
            }
            // Byte order, and where sign, exponent and mantissa are.
            (FLOAT, size) if self.bits & 0x41 == 0 => {
                let form =
                    (p.u16_at(0), p.u16_at(2), p.u8_at(4), p.u8_at(5), p.u8_at(6), p.u8_at(7));
                match (size, form, p.u32_at(8), self.bits >> 8 & 255) {
                    (2, (0, 16, 10, 5, 0, 10), 15, 15) => Some(DType::F16),
                    (2, (0, 16, 7, 8, 0, 7), 127, 15) => Some(DType::BF16),
                    (4, (0, 32, 23, 8, 0, 23), 127, 31) => Some(DType::F32),
                    (8, (0, 64, 52, 11, 0, 52), 1023, 63) => Some(DType::F64),
                    _ => None,
                }
            }
            _ => None,
        };
        match (known, self.class) {
            (Some(dtype), _) => Element::Known(dtype),
            (None, OPAQUE) => Element::Opaque(self.size),
            _ => Element::Other,
        }
    }

    /// Whether it is text of a fixed length.
    pub(super) fn is_fixed_string(&self) -> bool {
        self.class == STRING
    }

    /// Whether it is text of any length.
    pub(super) fn is_variable_string(&self) -> bool {
        self.class == VARIABLE && self.bits & 15 == 1 && self.size == 16
    }

    /// Whether elements refer to other places of the file, or may.
    pub(super) fn has_references(&self) -> bool {
        matches!(self.class, COMPOUND | REFERENCE | VARIABLE | ARRAY) || self.class > ARRAY
    }
}

/// The extents of a dataspace; none for a scalar, one of 0 for an empty one.
pub(super) fn dataspace(data: &[u8]) -> Option<Vec<u64>> {
    let rank = usize::from(data.u8_at(1));
    let at = match data.u8_at(0) {
        1 => 8,
        2 if data.u8_at(3) == 2 => return Some(vec![0]),
        2 => 4,
        _ => return None,
    };
    (rank <= 32 && data.len() >= at + 8 * rank)
        .then(|| (0..rank).map(|i| data.u64_at(at + 8 * i)).collect())
}
