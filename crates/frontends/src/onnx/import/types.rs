//! Element types and value types of ONNX as those of the module, repeated shapes shared.

use crate::onnx::{
    model::{DimView, TypeView},
    types::dtype_of,
};
use normfold_ir::{DType, Dim, TensorType, Type};
use std::{collections::HashSet, sync::Arc};

/// The element type of the name that Cast of opset 1 writes: that of the `TensorProto.DataType` member.
pub(super) fn dtype_named(name: &str) -> Option<DType> {
    use DType::*;
    Some(match name {
        "FLOAT" => F32,
        "UINT8" => U8,
        "INT8" => I8,
        "UINT16" => U16,
        "INT16" => I16,
        "INT32" => I32,
        "INT64" => I64,
        "STRING" => Str,
        "BOOL" => Bool,
        "FLOAT16" => F16,
        "DOUBLE" => F64,
        "UINT32" => U32,
        "UINT64" => U64,
        "COMPLEX64" => C64,
        "COMPLEX128" => C128,
        _ => return None,
    })
}

/// Makes types; equal shapes and dimension names are one allocation.
#[derive(Default, Debug)]
pub(super) struct Types {
    shapes: HashSet<Arc<[Dim]>>,
    names: HashSet<Arc<str>>,
    scratch: Vec<Dim>,
}

impl Types {
    /// A tensor of known extents.
    pub(super) fn of_dims(&mut self, dtype: DType, dims: &[u64]) -> TensorType {
        self.scratch.clear();
        self.scratch.extend(dims.iter().map(|&d| Dim::Known(d)));
        TensorType { dtype, shape: Some(self.shared()) }
    }

    fn shared(&mut self) -> Arc<[Dim]> {
        if let Some(shape) = self.shapes.get(self.scratch.as_slice()) {
            return shape.clone();
        }
        let shape: Arc<[Dim]> = self.scratch.as_slice().into();
        self.shapes.insert(shape.clone());
        shape
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.names.get(name) {
            return shared.clone();
        }
        let shared: Arc<str> = name.into();
        self.names.insert(shared.clone());
        shared
    }

    /// The type that a value description declares. What it does not say, or says with an element type unknown here, is
    /// unknown; a negative extent is an unknown one.
    pub(super) fn of_view(&mut self, view: Option<&TypeView<'_>>) -> Type {
        match view {
            None | Some(TypeView::Unspecified) => Type::Unknown,
            Some(TypeView::Tensor { elem_type, shape }) => match dtype_of(*elem_type) {
                Some(dtype) => self.tensor(dtype, shape.as_deref()).into(),
                None => Type::Unknown,
            },
            Some(other) => Type::Other(self.spell(other).into()),
        }
    }

    fn tensor(&mut self, dtype: DType, shape: Option<&[DimView<'_>]>) -> TensorType {
        let Some(dims) = shape else { return TensorType::unranked(dtype) };
        self.scratch.clear();
        for d in dims {
            let dim = match *d {
                DimView::Value(n) => u64::try_from(n).map_or(Dim::Unknown, Dim::Known),
                DimView::Param("") | DimView::Unknown => Dim::Unknown,
                DimView::Param(name) => Dim::Named(self.name(name)),
            };
            self.scratch.push(dim);
        }
        TensorType { dtype, shape: Some(self.shared()) }
    }

    /// A type that is no tensor, in the manner of ONNX's type strings.
    fn spell(&mut self, view: &TypeView<'_>) -> String {
        let scalar = |t: i32| dtype_of(t).map_or("?", DType::name);
        match view {
            TypeView::Tensor { elem_type, shape } => match dtype_of(*elem_type) {
                Some(dtype) => self.tensor(dtype, shape.as_deref()).to_string(),
                None => "tensor".into(),
            },
            TypeView::Sparse { elem_type, shape } => match dtype_of(*elem_type) {
                Some(dtype) => format!("sparse({})", self.tensor(dtype, shape.as_deref())),
                None => "sparse".into(),
            },
            TypeView::Sequence(inner) => format!("seq({})", self.spell(inner)),
            TypeView::Optional(inner) => format!("optional({})", self.spell(inner)),
            TypeView::Map { key, value } => format!("map({}, {})", scalar(*key), self.spell(value)),
            TypeView::Opaque { domain, name } => format!("opaque({domain}, {name})"),
            TypeView::Unspecified => "?".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shapes_are_shared() {
        let mut types = Types::default();
        let view = TypeView::Tensor {
            elem_type: 1,
            shape: Some(vec![DimView::Param("N"), DimView::Value(3), DimView::Value(-1)]),
        };
        let (a, b) = (types.of_view(Some(&view)), types.of_view(Some(&view)));
        assert_eq!(a.to_string(), "tensor<?{N}x3x?xf32>");
        let shape = |t: &Type| t.tensor().and_then(|t| t.shape.clone()).unwrap();
        assert!(Arc::ptr_eq(&shape(&a), &shape(&b)));
        let c = types.of_dims(DType::I64, &[2, 3]);
        assert_eq!(c, TensorType::of(DType::I64, &[2, 3]));
    }

    #[test]
    fn what_is_not_a_tensor_is_spelled() {
        let mut types = Types::default();
        let inner = TypeView::Tensor { elem_type: 7, shape: None };
        let view = TypeView::Sequence(Box::new(TypeView::Optional(Box::new(inner))));
        assert_eq!(types.of_view(Some(&view)), Type::Other("seq(optional(tensor<*xi64>))".into()));
        assert_eq!(
            types.of_view(Some(&TypeView::Tensor { elem_type: 99, shape: None })),
            Type::Unknown
        );
        assert_eq!(types.of_view(None), Type::Unknown);
    }
}
