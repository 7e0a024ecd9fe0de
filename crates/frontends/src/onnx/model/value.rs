//! Descriptions of values: names, types, annotations.

use super::{TYPE_DEPTH_LIMIT, string_pair};
use crate::onnx::wire::{Bytes, Inside, WireError};

/// `ValueInfoProto`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ValueInfoView<'a> {
    pub(crate) name: &'a str,
    pub(crate) ty: Option<TypeView<'a>>,
}

impl<'a> ValueInfoView<'a> {
    pub(crate) fn decode(content: Bytes<'a>) -> Result<Self, WireError> {
        let (mut name, mut ty) = ("", None);
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => name = f.text().inside("name")?,
                2 => f.singular(&mut ty).inside("type")?,
                _ => {}
            }
        }
        Ok(Self {
            name,
            ty: ty.map(|t| TypeView::decode(t, TYPE_DEPTH_LIMIT)).transpose().inside("type")?,
        })
    }
}

/// One dimension of `TensorShapeProto`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DimView<'a> {
    /// `dim_value`, as written.
    Value(i64),
    /// `dim_param`.
    Param(&'a str),
    /// Neither.
    Unknown,
}

/// `TypeProto`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TypeView<'a> {
    /// `elem_type` and, when the rank is known, dimensions.
    Tensor {
        elem_type: i32,
        shape: Option<Vec<DimView<'a>>>,
    },
    /// The same of a sparse tensor.
    Sparse {
        elem_type: i32,
        shape: Option<Vec<DimView<'a>>>,
    },
    Sequence(Box<TypeView<'a>>),
    Optional(Box<TypeView<'a>>),
    Map {
        key: i32,
        value: Box<TypeView<'a>>,
    },
    /// An opaque type: domain and name.
    Opaque {
        domain: &'a str,
        name: &'a str,
    },
    /// None of these is said.
    Unspecified,
}

impl<'a> TypeView<'a> {
    /// Decodes a type that may nest `depth` more levels; deeper ones are unspecified, no operation needs them.
    pub(crate) fn decode(content: Bytes<'a>, depth: u32) -> Result<Self, WireError> {
        let mut ty = TypeView::Unspecified;
        if depth == 0 {
            return Ok(ty);
        }
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            ty = match f.number {
                1 | 8 => {
                    let (elem_type, shape) = Self::tensor(f.bytes()?)?;
                    if f.number == 1 {
                        TypeView::Tensor { elem_type, shape }
                    } else {
                        TypeView::Sparse { elem_type, shape }
                    }
                }
                4 | 5 | 9 => {
                    let mut inner = f.bytes()?.fields();
                    let (mut key, mut value) = (0, Box::new(TypeView::Unspecified));
                    // A map's value is field 2; the element of the others is field 1.
                    let number = if f.number == 5 { 2 } else { 1 };
                    while let Some(i) = inner.next()? {
                        if i.number == number {
                            *value = Self::decode(i.bytes()?, depth - 1)?;
                        } else if i.number == 1 {
                            key = i.int32()?;
                        }
                    }
                    match f.number {
                        4 => TypeView::Sequence(value),
                        5 => TypeView::Map { key, value },
                        _ => TypeView::Optional(value),
                    }
                }
                7 => {
                    let (mut domain, mut name) = ("", "");
                    let mut inner = f.bytes()?.fields();
                    while let Some(i) = inner.next()? {
                        match i.number {
                            1 => domain = i.text()?,
                            2 => name = i.text()?,
                            _ => {}
                        }
                    }
                    TypeView::Opaque { domain, name }
                }
                _ => continue,
            };
        }
        Ok(ty)
    }

    fn tensor(content: Bytes<'a>) -> Result<(i32, Option<Vec<DimView<'a>>>), WireError> {
        let (mut elem_type, mut shape) = (0, None);
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => elem_type = f.int32()?,
                2 => f.singular(&mut shape).inside("shape")?,
                _ => {}
            }
        }
        let Some(shape) = shape else { return Ok((elem_type, None)) };
        let mut dims = Vec::new();
        let mut fields = shape.fields();
        while let Some(f) = fields.next()? {
            if f.number != 1 {
                continue;
            }
            let mut dim = DimView::Unknown;
            let mut inner = f.bytes()?.fields();
            while let Some(d) = inner.next()? {
                match d.number {
                    1 => dim = DimView::Value(d.int()?),
                    2 => dim = DimView::Param(d.text()?),
                    _ => {}
                }
            }
            dims.push(dim);
        }
        Ok((elem_type, Some(dims)))
    }
}

/// `TensorAnnotation`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnnotationView<'a> {
    pub(crate) tensor_name: &'a str,
    /// Keys such as `SCALE_TENSOR` and the names of tensors.
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> AnnotationView<'a> {
    pub(crate) fn decode(content: Bytes<'a>) -> Result<Self, WireError> {
        let mut view = Self::default();
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => view.tensor_name = f.text()?,
                2 => view.parameters.push(string_pair(f.bytes()?)?),
                _ => {}
            }
        }
        Ok(view)
    }
}
