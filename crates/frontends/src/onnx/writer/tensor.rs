//! Tensors: the data of a pool entry in the form its record had.
//!
//! A rewritten tensor keeps its form: raw stays raw, packed floats stay packed floats, external stays external. Integer
//! fields are varints whose length depends on the values: up to [`TYPED_LIMIT`] bytes they are encoded at once, beyond that the
//! tensor becomes raw, which every reader takes as well.

use super::{bytes, copy, header, int, message, rebuild, replace_text, text};
use crate::{
    FrontendError,
    onnx::{
        model::{Storage, TensorView},
        types::{dtype_code, typed_field},
        wire::push_varint,
    },
    payload::Weights,
    save::Content,
};
use normfold_ir::{ConstData, ConstId, DType};

/// Up to so many bytes, varint fields of a rewritten tensor are encoded in memory.
pub(crate) const TYPED_LIMIT: u64 = 8 << 20;

/// Up to so many bytes, the data of a rewritten tensor is computed at once: it is less than what a promise of it takes.
const SMALL: u64 = 256;

/// Where a tensor's data goes when it leaves the model file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outside {
    pub(crate) location: String,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The data field of a tensor.
enum Form {
    Raw,
    /// `float_data` or `double_data`, packed: the same bytes as raw.
    Packed(u32),
    /// Another typed field, packed varints.
    Varints(u32),
    Strings,
    Outside(Outside),
}

impl<'a> Weights<'a> {
    /// A new tensor.
    pub(crate) fn tensor(
        self,
        id: ConstId,
        name: &str,
        outside: Option<Outside>,
    ) -> Result<Content<'a>, FrontendError> {
        let mut out = Content::new();
        self.dims(&mut out, id);
        int(&mut out, 2, self.code(id, name)?);
        if !name.is_empty() {
            text(&mut out, 8, name);
        }
        let form = match (&self.entry(id).data, outside) {
            (ConstData::Strings(_), _) => Form::Strings,
            (_, Some(outside)) => Form::Outside(outside),
            (_, None) => Form::Raw,
        };
        let external = matches!(form, Form::Outside(_));
        self.data(&mut out, id, name, form)?;
        if external {
            int(&mut out, 14, 1);
        }
        Ok(out)
    }

    /// The record `old` with the elements of `id` and another name: all other fields stay where they are. With `outside`,
    /// its data is there; without, an external tensor becomes raw.
    pub(crate) fn rewrite(
        self,
        old: &TensorView<'_>,
        id: ConstId,
        name: &str,
        outside: Option<Outside>,
    ) -> Result<Content<'a>, FrontendError> {
        let dtype = self.pool.dtype(id);
        let code = self.code(id, name)?;
        let dims = self.pool.dims(id);
        let same_dims =
            old.dims.iter().map(|&d| u64::try_from(d).ok()).eq(dims.iter().map(|&d| Some(d)));
        let external = outside.is_some();
        let form = match (outside, &old.storage) {
            (Some(o), _) => Form::Outside(o),
            (None, _) if dtype == DType::Str => Form::Strings,
            (None, Storage::Typed { .. }) => match typed_field(dtype) {
                Some(f @ (4 | 10)) => Form::Packed(f),
                Some(f) if self.pool.byte_len(id) <= TYPED_LIMIT => Form::Varints(f),
                _ => Form::Raw,
            },
            (None, _) => Form::Raw,
        };
        let mut form = Some(form);
        let (mut dims_done, mut code_done, mut name_done) = (false, false, false);
        let mut location_done = false;
        let mut out = rebuild(old.content, |out, f| {
            match f.number {
                1 if same_dims => copy(out, f),
                1 if !std::mem::replace(&mut dims_done, true) => self.dims(out, id),
                1 => {}
                2 if i64::from(f.int32()?) == code => {
                    code_done = true;
                    copy(out, f);
                }
                2 if !std::mem::replace(&mut code_done, true) => int(out, 2, code),
                2 => {}
                8 => {
                    name_done = true;
                    replace_text(out, f, name)?;
                }
                4..=7 | 9..=11 | 13 => {
                    if let Some(form) = form.take() {
                        self.data(out, id, name, form)?;
                    }
                }
                14 if external => {
                    location_done = true;
                    if f.int32()? == 1 { copy(out, f) } else { int(out, 14, 1) }
                }
                14 if matches!(old.storage, Storage::External(_)) => {}
                _ => copy(out, f),
            }
            Ok::<_, FrontendError>(())
        })?;
        if !same_dims && !dims_done {
            self.dims(&mut out, id);
        }
        if !code_done {
            int(&mut out, 2, code);
        }
        if !name_done && !name.is_empty() {
            text(&mut out, 8, name);
        }
        if let Some(form) = form {
            self.data(&mut out, id, name, form)?;
        }
        if external && !location_done {
            int(&mut out, 14, 1);
        }
        Ok(out)
    }

    fn code(self, id: ConstId, name: &str) -> Result<i64, FrontendError> {
        let dtype = self.pool.dtype(id);
        dtype_code(dtype).map(i64::from).ok_or_else(|| FrontendError::NotExpressible {
            op: name.to_owned(),
            why: format!("ONNX has no element type {dtype}"),
        })
    }

    fn dims(self, out: &mut Content<'_>, id: ConstId) {
        for d in self.pool.dims(id) {
            int(out, 1, d as i64);
        }
    }

    fn data(
        self,
        out: &mut Content<'a>,
        id: ConstId,
        name: &str,
        form: Form,
    ) -> Result<(), FrontendError> {
        let len = self.pool.byte_len(id);
        let field = match form {
            Form::Raw => 9,
            Form::Packed(f) => f,
            Form::Varints(f) => {
                let body = self.varints(id, name)?;
                bytes(out, f, &body);
                return Ok(());
            }
            Form::Strings => {
                if let ConstData::Strings(list) = &self.entry(id).data {
                    list.iter().for_each(|s| bytes(out, 6, s));
                }
                return Ok(());
            }
            Form::Outside(o) => {
                for (key, value) in [
                    ("location", o.location),
                    ("offset", o.offset.to_string()),
                    ("length", o.len.to_string()),
                ] {
                    let mut pair = Content::new();
                    text(&mut pair, 1, key);
                    text(&mut pair, 2, &value);
                    message(out, 13, pair);
                }
                return Ok(());
            }
        };
        header(out, field, len);
        if len > SMALL {
            out.produced(self.chunks(id, name));
        } else {
            out.bytes(&self.bytes(id, name)?);
        }
        Ok(())
    }

    /// Elements as varints: integers by value (negative ones sign-extended), other types by bit pattern, sub-byte ones a
    /// packed byte each.
    fn varints(self, id: ConstId, name: &str) -> Result<Vec<u8>, FrontendError> {
        let dtype = self.pool.dtype(id);
        let raw = self.bytes(id, name)?;
        let mut out = Vec::with_capacity(raw.len());
        for word in raw.chunks(((dtype.bits() / 8) as usize).max(1)) {
            let mut wide = [0; 8];
            if let Some(w) = wide.get_mut(..word.len()) {
                w.copy_from_slice(word);
            }
            let v = u64::from_le_bytes(wide);
            push_varint(
                &mut out,
                match dtype {
                    DType::I8 => v as i8 as i64 as u64,
                    DType::I16 => v as i16 as i64 as u64,
                    DType::I32 => v as i32 as i64 as u64,
                    _ => v,
                },
            );
        }
        Ok(out)
    }
}
