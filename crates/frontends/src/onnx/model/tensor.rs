//! `TensorProto`.

use crate::{
    FrontendError,
    onnx::wire::{Bytes, Inside, WireError, WireValue, repeated},
};
use smallvec::SmallVec;

/// Where the elements of a tensor are. A well-formed tensor uses exactly one form.
#[derive(Clone, Debug)]
pub(crate) enum Storage<'a> {
    /// No data field: a tensor without elements.
    None,
    /// `raw_data`: little-endian, row-major, 4-bit and 2-bit elements packed from the low end.
    Raw(Bytes<'a>),
    /// A typed field, that number: 4 float, 5 int32, 7 int64, 10 double, 11 uint64.
    Typed {
        /// The field number.
        field: u32,
        /// The content when the field is one packed record: for `float_data` and `double_data` the same bytes as raw data.
        packed: Option<Bytes<'a>>,
    },
    /// `string_data`.
    Strings,
    /// `external_data`, key by key.
    External(Vec<(&'a str, &'a str)>),
    /// More than one of these, which the specification forbids.
    Several,
}

/// `TensorProto`, its elements left where they are.
#[derive(Clone, Debug)]
pub(crate) struct TensorView<'a> {
    pub(crate) name: &'a str,
    /// As written; the product may overflow.
    pub(crate) dims: SmallVec<[i64; 4]>,
    /// `TensorProto.DataType`.
    pub(crate) data_type: i32,
    pub(crate) storage: Storage<'a>,
    /// The obsolete `segment` field is there: the tensor is a part of another.
    pub(crate) segmented: bool,
    /// The message.
    pub(crate) content: Bytes<'a>,
}

impl<'a> TensorView<'a> {
    pub(crate) fn decode(content: Bytes<'a>) -> Result<Self, WireError> {
        let mut t = Self {
            name: "",
            dims: SmallVec::new(),
            data_type: 0,
            storage: Storage::None,
            segmented: false,
            content,
        };
        let mut external = Vec::new();
        let mut is_external = false;
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => repeated(&f, None, |v| t.dims.push(v as i64)).inside("dims")?,
                2 => t.data_type = f.int32().inside("data_type")?,
                3 => t.segmented = true,
                4 | 5 | 7 | 10 | 11 => {
                    let empty = matches!(f.value, WireValue::Len(b) if b.data.is_empty());
                    let packed = match f.value {
                        WireValue::Len(b) => Some(b),
                        _ => None,
                    };
                    t.storage = match t.storage {
                        s if empty => s,
                        Storage::None => Storage::Typed { field: f.number, packed },
                        // Several records of one field: their elements follow one another.
                        Storage::Typed { field, .. } if field == f.number => {
                            Storage::Typed { field, packed: None }
                        }
                        _ => Storage::Several,
                    };
                }
                6 => {
                    t.storage = match t.storage {
                        Storage::None | Storage::Strings => Storage::Strings,
                        _ => Storage::Several,
                    };
                }
                8 => t.name = f.text().inside("name")?,
                9 => {
                    let raw = f.bytes().inside("raw_data")?;
                    t.storage = match t.storage {
                        // A repeated scalar field: the last one counts.
                        Storage::None | Storage::Raw(_) => Storage::Raw(raw),
                        s if raw.data.is_empty() => s,
                        _ => Storage::Several,
                    };
                }
                13 => {
                    external.push(f.bytes().and_then(super::string_pair).inside("external_data")?)
                }
                14 => is_external = f.int32().inside("data_location")? == 1,
                _ => {}
            }
        }
        if is_external {
            t.storage = match t.storage {
                Storage::None => Storage::External(external),
                Storage::Raw(b) if b.data.is_empty() => Storage::External(external),
                _ => Storage::Several,
            };
        }
        Ok(t)
    }

    /// The dims, when none is negative.
    pub(crate) fn shape(&self) -> Option<SmallVec<[u64; 4]>> {
        self.dims.iter().map(|&d| u64::try_from(d).ok()).collect()
    }

    /// The number of elements, when no dim is negative and the product does not overflow.
    pub(crate) fn elements(&self) -> Option<u64> {
        self.shape()?.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
    }

    /// Calls `each` with the elements of the typed field of that number, in order: bit patterns of `float_data` (4) and
    /// `double_data` (10), two's complement of the integer fields.
    pub(crate) fn typed(&self, field: u32, mut each: impl FnMut(u64)) -> Result<(), FrontendError> {
        let fixed = match field {
            4 => Some(4),
            10 => Some(8),
            _ => None,
        };
        let mut fields = self.content.fields();
        while let Some(f) = fields.next()? {
            if f.number == field {
                repeated(&f, fixed, &mut each).inside(format_args!("tensor `{}`", self.name))?;
            }
        }
        Ok(())
    }

    /// The elements of `string_data`.
    pub(crate) fn strings(&self) -> Result<Vec<&'a [u8]>, WireError> {
        let mut out = Vec::new();
        let mut fields = self.content.fields();
        while let Some(f) = fields.next()? {
            if f.number == 6 {
                out.push(f.bytes()?.data);
            }
        }
        Ok(out)
    }
}
