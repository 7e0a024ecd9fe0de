//! Tensors as entries of the constant pool: viewed where they lie in the document wherever the bytes are those of the
//! elements (`raw_data`, one packed `float_data` or `double_data`, external data), decoded else.

use super::types::Types;
use crate::{
    FrontendError,
    bytes::Source,
    onnx::{
        external::ExternalFiles,
        model::{AttributeKind, AttributeView, SparseView, Storage, TensorView},
        types::{dtype_of, typed_field},
    },
};
use normfold_ir::{ByteSource, ConstData, ConstEntry, DType, TensorType};
use std::{collections::HashMap, sync::Arc};

/// Sparse tensors up to this many bytes become dense; the elements of larger ones are absent.
const DENSE_LIMIT: u64 = 1 << 20;
/// What all of them may have together: a few bytes of a document say each.
const ALL_DENSE_LIMIT: u64 = 64 << 20;

pub(super) struct Tensors<'d> {
    document: Arc<dyn ByteSource>,
    external: &'d ExternalFiles,
    files: HashMap<Arc<str>, Arc<dyn ByteSource>>,
    /// The bytes of sparse tensors that became dense.
    dense: u64,
}

fn invalid(tensor: &str, problem: impl Into<String>) -> FrontendError {
    FrontendError::invalid("ONNX model", format!("tensor `{tensor}`"), problem)
}

/// The number of elements, or what is wrong with the dims.
///
/// Extents of 0 do not excuse an overflow of the others: strides are products of them.
fn elements(name: &str, dims: &[i64]) -> Result<(Vec<u64>, u64), FrontendError> {
    let shape: Option<Vec<u64>> = dims.iter().map(|&d| u64::try_from(d).ok()).collect();
    let Some(shape) = shape else {
        return Err(invalid(name, format!("dims {dims:?} have a negative extent")));
    };
    let widest = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d.max(1)));
    match widest {
        Some(n) if n <= 1 << 60 => {
            let n = if shape.contains(&0) { 0 } else { n };
            Ok((shape, n))
        }
        _ => Err(invalid(name, format!("dims {dims:?} have more elements than can be counted"))),
    }
}

impl<'d> Tensors<'d> {
    pub(super) fn new(source: &Source, external: &'d ExternalFiles) -> Self {
        Self { document: Arc::new(source.clone()), external, files: HashMap::new(), dense: 0 }
    }

    /// The entry of a tensor that messages call `name`.
    ///
    /// # Errors
    /// Dims, element type and data contradict each other, or external data breaks a rule.
    pub(super) fn entry(
        &mut self,
        types: &mut Types,
        t: &TensorView<'_>,
        name: &str,
    ) -> Result<ConstEntry, FrontendError> {
        if t.segmented {
            return Err(FrontendError::unsupported(format!("tensor `{name}`"), "`segment`"));
        }
        let Some(dtype) = dtype_of(t.data_type) else {
            return Err(FrontendError::unsupported(
                format!("tensor `{name}`"),
                format!("data type {}", t.data_type),
            ));
        };
        let (dims, n) = elements(name, &t.dims)?;
        let ty = types.of_dims(dtype, &dims);
        if dtype == DType::Str {
            return self.strings(t, name, n).map(|data| ConstEntry { ty, data });
        }
        let Some(len) = dtype.bytes_for(n) else {
            return Err(invalid(
                name,
                format!("dims {:?} need more bytes than can be counted", t.dims),
            ));
        };
        let mapped = |source: &Arc<dyn ByteSource>, offset| ConstData::Mapped {
            source: source.clone(),
            offset,
        };
        let data = match &t.storage {
            Storage::None if n == 0 => ConstData::Owned(Arc::default()),
            Storage::None => {
                return Err(invalid(
                    name,
                    format!("dims {:?} need {len} bytes, there is no data", t.dims),
                ));
            }
            Storage::Raw(raw) if raw.len() == len => mapped(&self.document, raw.offset),
            Storage::Raw(raw) => {
                return Err(invalid(
                    name,
                    format!(
                        "raw_data has {} bytes, dims {:?} of {dtype} need {len}",
                        raw.len(),
                        t.dims
                    ),
                ));
            }
            Storage::Typed { field, packed } => {
                if Some(*field) != typed_field(dtype) {
                    return Err(invalid(
                        name,
                        format!("elements of {dtype} in `{}`", field_name(*field)),
                    ));
                }
                match packed {
                    Some(b) if matches!(field, 4 | 10) && b.len() == len => {
                        mapped(&self.document, b.offset)
                    }
                    _ => ConstData::Owned(typed(t, name, dtype, *field, n, len)?),
                }
            }
            Storage::Strings => {
                return Err(invalid(name, format!("elements of {dtype} in `string_data`")));
            }
            Storage::External(entries) => {
                let found = self.external.resolve(name, entries, len)?;
                let source =
                    self.files.entry(found.location).or_insert_with(|| Arc::new(found.source));
                mapped(source, found.offset)
            }
            Storage::Several => {
                return Err(invalid(name, "the elements are in more than one data field"));
            }
        };
        Ok(ConstEntry { ty, data })
    }

    fn strings(&self, t: &TensorView<'_>, name: &str, n: u64) -> Result<ConstData, FrontendError> {
        let list = match &t.storage {
            Storage::None => Vec::new(),
            Storage::Strings => t.strings()?,
            _ => return Err(invalid(name, "strings outside `string_data`")),
        };
        if list.len() as u64 != n {
            return Err(invalid(
                name,
                format!("string_data has {} elements, dims {:?} need {n}", list.len(), t.dims),
            ));
        }
        Ok(ConstData::Strings(list.into_iter().map(Arc::from).collect()))
    }

    /// The entry of a sparse tensor: dense up to limits of its own and of the document, absent beyond.
    ///
    /// # Errors
    /// As [`Tensors::entry`]; indices are missing, of another type or shape, or beyond the tensor.
    pub(super) fn sparse(
        &mut self,
        types: &mut Types,
        s: &SparseView<'_>,
        name: &str,
    ) -> Result<ConstEntry, FrontendError> {
        let (dims, n) = elements(name, &s.dims)?;
        let values = self.entry(types, &s.values, name)?;
        let dtype = values.ty.dtype;
        let ty = types.of_dims(dtype, &dims);
        let absent = ConstEntry { ty: ty.clone(), data: ConstData::Absent { hash: None } };
        let width = u64::from(dtype.bits() / 8);
        let Some(len) = dtype.bytes_for(n) else {
            return Ok(absent);
        };
        if width == 0 || len > DENSE_LIMIT.min(ALL_DENSE_LIMIT - self.dense) {
            return Ok(absent);
        }
        let Some(view) = &s.indices else {
            return Err(invalid(name, "a sparse tensor without indices"));
        };
        let indices = self.entry(types, view, name)?;
        let (nnz, per) = match (count(&values.ty), indices.ty.static_dims().as_deref()) {
            (nnz, Some([m])) if *m == nnz => (nnz, 1),
            (nnz, Some([m, r])) if *m == nnz && *r > 0 && *r == dims.len() as u64 => {
                (nnz, dims.len())
            }
            _ => return Err(invalid(name, "indices and values of the sparse tensor do not match")),
        };
        if indices.ty.dtype != DType::I64 {
            return Err(invalid(name, "indices of a sparse tensor must be i64"));
        }
        // Each element has an index of its own in a valid tensor, so that neither list is larger than the dense one.
        if nnz > n {
            return Err(invalid(name, "the sparse tensor has more values than elements"));
        }
        let values = bytes(&values, name, nnz * width)?;
        let indices = bytes(&indices, name, nnz * per as u64 * 8)?;
        self.dense += len;
        let mut dense = vec![0u8; len as usize];
        let width = width as usize;
        for (value, index) in values.chunks_exact(width).zip(indices.chunks_exact(8 * per)) {
            let mut position =
                index.chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().unwrap_or_default()));
            let beyond = || invalid(name, "an index of the sparse tensor is beyond its extents");
            let at = if per == 1 {
                position.next().and_then(|i| u64::try_from(i).ok()).filter(|&i| i < n)
            } else {
                position.zip(&dims).try_fold(0u64, |at, (i, &d)| {
                    let i = u64::try_from(i).ok().filter(|&i| i < d)?;
                    Some(at * d + i)
                })
            };
            let at = at.ok_or_else(beyond)? as usize * width;
            dense.get_mut(at..at + width).ok_or_else(beyond)?.copy_from_slice(value);
        }
        Ok(ConstEntry { ty, data: ConstData::Owned(dense.into()) })
    }

    /// The entry that a Constant node's one attribute says; `None` when it is none of those that the specification knows.
    ///
    /// # Errors
    /// As [`Tensors::entry`].
    pub(super) fn of_attribute(
        &mut self,
        types: &mut Types,
        a: &AttributeView<'_>,
        name: &str,
    ) -> Result<Option<ConstEntry>, FrontendError> {
        use AttributeKind::*;
        let mut owned = |dtype, dims: &[u64], bytes: Vec<u8>| {
            Some(ConstEntry {
                ty: types.of_dims(dtype, dims),
                data: ConstData::Owned(bytes.into()),
            })
        };
        Ok(match (a.name, a.kind) {
            ("value", Tensor) => match a.tensor()? {
                Some(t) => Some(self.entry(types, &t, name)?),
                None => None,
            },
            ("sparse_value", SparseTensor) => match a.sparse_tensor()? {
                Some(s) => Some(self.sparse(types, &s, name)?),
                None => None,
            },
            ("value_float", Float) => owned(DType::F32, &[], a.f.to_le_bytes().to_vec()),
            ("value_int", Int) => owned(DType::I64, &[], a.i.to_le_bytes().to_vec()),
            ("value_floats", Floats) => {
                let v = a.floats()?;
                owned(
                    DType::F32,
                    &[v.len() as u64],
                    v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                )
            }
            ("value_ints", Ints) => {
                let v = a.ints()?;
                owned(
                    DType::I64,
                    &[v.len() as u64],
                    v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                )
            }
            ("value_string", String) => Some(ConstEntry {
                ty: types.of_dims(DType::Str, &[]),
                data: ConstData::Strings(Arc::from([Arc::from(a.s)])),
            }),
            ("value_strings", Strings) => {
                let list = a.strings()?;
                Some(ConstEntry {
                    ty: types.of_dims(DType::Str, &[list.len() as u64]),
                    data: ConstData::Strings(list.into_iter().map(Arc::from).collect()),
                })
            }
            _ => None,
        })
    }
}

fn count(ty: &TensorType) -> u64 {
    ty.static_dims().unwrap_or_default().iter().product()
}

/// The bytes of an entry that is small and not derived.
fn bytes(entry: &ConstEntry, name: &str, len: u64) -> Result<Vec<u8>, FrontendError> {
    let mut out = vec![0; len as usize];
    match &entry.data {
        ConstData::Owned(b) if b.len() as u64 == len => out.copy_from_slice(b),
        ConstData::Mapped { source, offset } => source
            .read_at(*offset, &mut out)
            .map_err(|e| invalid(name, format!("reading the elements failed: {e}")))?,
        _ => return Err(invalid(name, "indices and values of the sparse tensor do not match")),
    }
    Ok(out)
}

fn field_name(field: u32) -> &'static str {
    match field {
        4 => "float_data",
        5 => "int32_data",
        7 => "int64_data",
        10 => "double_data",
        _ => "uint64_data",
    }
}

/// Decodes a typed field of `n` elements, `len` bytes once packed.
fn typed(
    t: &TensorView<'_>,
    name: &str,
    dtype: DType,
    field: u32,
    n: u64,
    len: u64,
) -> Result<Arc<[u8]>, FrontendError> {
    // How many bytes each entry gives: complex elements take two entries, elements narrower than a byte share one.
    let width = match dtype {
        DType::C64 => 4,
        DType::C128 => 8,
        _ => (dtype.bits() as usize / 8).max(1),
    };
    let want = match dtype {
        DType::C64 | DType::C128 => n * 2,
        d if d.bits() < 8 => len,
        _ => n,
    };
    let mismatch = |have: String| {
        invalid(
            name,
            format!(
                "{} has {have} entries, dims {:?} of {dtype} need {want}",
                field_name(field),
                t.dims
            ),
        )
    };
    // An entry takes at least one byte of the document: what it cannot hold is not allocated.
    if want > t.content.len() {
        return Err(mismatch("fewer".into()));
    }
    let mut out = Vec::with_capacity(len as usize);
    let mut have = 0u64;
    t.typed(field, |v| {
        have += 1;
        if have <= want {
            out.extend_from_slice(&v.to_le_bytes()[..width]);
        }
    })?;
    if have != want {
        return Err(mismatch(have.to_string()));
    }
    Ok(out.into())
}
