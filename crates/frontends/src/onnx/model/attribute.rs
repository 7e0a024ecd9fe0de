//! `AttributeProto`.

use super::{SparseView, TensorView, TypeView};
use crate::onnx::wire::{Bytes, Inside, WireError, repeated};

/// Which field of an attribute is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AttributeKind {
    Float,
    Int,
    String,
    Tensor,
    Graph,
    SparseTensor,
    TypeProto,
    Floats,
    Ints,
    Strings,
    Tensors,
    Graphs,
    SparseTensors,
    TypeProtos,
    /// Neither a known `type` nor a value: a reference to an attribute of the function, or an empty list in an old file.
    Undefined,
}

impl AttributeKind {
    /// `AttributeProto.AttributeType`.
    fn of_type(ty: i32) -> Option<Self> {
        use AttributeKind::*;
        Some(match ty {
            1 => Float,
            2 => Int,
            3 => String,
            4 => Tensor,
            5 => Graph,
            6 => Floats,
            7 => Ints,
            8 => Strings,
            9 => Tensors,
            10 => Graphs,
            11 => SparseTensor,
            12 => SparseTensors,
            13 => TypeProto,
            14 => TypeProtos,
            _ => return None,
        })
    }

    /// The kind whose values a field holds.
    fn of_field(number: u32) -> Option<Self> {
        use AttributeKind::*;
        Some(match number {
            2 => Float,
            3 => Int,
            4 => String,
            5 => Tensor,
            6 => Graph,
            7 => Floats,
            8 => Ints,
            9 => Strings,
            10 => Tensors,
            11 => Graphs,
            14 => TypeProto,
            15 => TypeProtos,
            22 => SparseTensor,
            23 => SparseTensors,
            _ => return None,
        })
    }
}

/// `AttributeProto`. Scalars are decoded, lists and messages when asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributeView<'a> {
    pub(crate) name: &'a str,
    /// The attribute of the enclosing function that stands in for the value; empty when there is none.
    pub(crate) ref_attr_name: &'a str,
    /// The `type` field, or, in old files that have none, what the value is.
    pub(crate) kind: AttributeKind,
    pub(crate) f: f32,
    pub(crate) i: i64,
    pub(crate) s: &'a [u8],
    t: Option<Bytes<'a>>,
    g: Option<Bytes<'a>>,
    tp: Option<Bytes<'a>>,
    sparse: Option<Bytes<'a>>,
    /// The message.
    pub(crate) content: Bytes<'a>,
}

impl<'a> AttributeView<'a> {
    pub(crate) fn decode(content: Bytes<'a>) -> Result<Self, WireError> {
        let mut a = Self {
            name: "",
            ref_attr_name: "",
            kind: AttributeKind::Undefined,
            f: 0.0,
            i: 0,
            s: &[],
            t: None,
            g: None,
            tp: None,
            sparse: None,
            content,
        };
        let (mut declared, mut found) = (None, None);
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => a.name = f.text().inside("name")?,
                2 => a.f = f.float().inside("f")?,
                3 => a.i = f.int().inside("i")?,
                4 => a.s = f.bytes().inside("s")?.data,
                5 => f.singular(&mut a.t).inside("t")?,
                6 => f.singular(&mut a.g).inside("g")?,
                14 => f.singular(&mut a.tp).inside("tp")?,
                20 => declared = AttributeKind::of_type(f.int32().inside("type")?),
                21 => a.ref_attr_name = f.text().inside("ref_attr_name")?,
                22 => f.singular(&mut a.sparse).inside("sparse_tensor")?,
                _ => {}
            }
            found = found.or(AttributeKind::of_field(f.number));
        }
        a.kind = declared.or(found).unwrap_or(AttributeKind::Undefined);
        Ok(a)
    }

    fn each(
        &self,
        number: u32,
        mut then: impl FnMut(&crate::onnx::wire::Field<'a>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut fields = self.content.fields();
        while let Some(f) = fields.next()? {
            if f.number == number {
                then(&f).inside(format_args!("attribute `{}`", self.name))?;
            }
        }
        Ok(())
    }

    /// `floats`.
    pub(crate) fn floats(&self) -> Result<Vec<f32>, WireError> {
        let mut out = Vec::new();
        self.each(7, |f| repeated(f, Some(4), |v| out.push(f32::from_bits(v as u32))))?;
        Ok(out)
    }

    /// `ints`.
    pub(crate) fn ints(&self) -> Result<Vec<i64>, WireError> {
        let mut out = Vec::new();
        self.each(8, |f| repeated(f, None, |v| out.push(v as i64)))?;
        Ok(out)
    }

    /// `strings`: bytes, usually UTF-8.
    pub(crate) fn strings(&self) -> Result<Vec<&'a [u8]>, WireError> {
        let mut out = Vec::new();
        self.each(9, |f| f.bytes().map(|b| out.push(b.data)))?;
        Ok(out)
    }

    /// `t`.
    pub(crate) fn tensor(&self) -> Result<Option<TensorView<'a>>, WireError> {
        self.t.map(TensorView::decode).transpose().inside(format_args!("attribute `{}`", self.name))
    }

    /// `tensors`.
    pub(crate) fn tensors(&self) -> Result<Vec<TensorView<'a>>, WireError> {
        let mut out = Vec::new();
        self.each(10, |f| TensorView::decode(f.bytes()?).map(|t| out.push(t)))?;
        Ok(out)
    }

    /// `g`: content of a graph, see [`super::Model::graph_at`].
    pub(crate) fn graph(&self) -> Option<Bytes<'a>> {
        self.g
    }

    /// `graphs`: contents of graphs.
    pub(crate) fn graphs(&self) -> Result<Vec<Bytes<'a>>, WireError> {
        let mut out = Vec::new();
        self.each(11, |f| f.bytes().map(|b| out.push(b)))?;
        Ok(out)
    }

    /// `sparse_tensor`.
    pub(crate) fn sparse_tensor(&self) -> Result<Option<SparseView<'a>>, WireError> {
        self.sparse
            .map(SparseView::decode)
            .transpose()
            .inside(format_args!("attribute `{}`", self.name))
    }

    /// `tp`.
    pub(crate) fn type_proto(&self) -> Result<Option<TypeView<'a>>, WireError> {
        let ty = self.tp.map(|t| TypeView::decode(t, super::TYPE_DEPTH_LIMIT)).transpose();
        ty.inside(format_args!("attribute `{}`", self.name))
    }
}
