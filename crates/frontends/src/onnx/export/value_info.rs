//! Types that a module declares anew, as `value_info`: records that say something else are spliced, missing ones added.

use super::GraphPlan;
use crate::{
    FrontendError,
    onnx::{
        model::{DimView, GraphOwner, Model, TypeView},
        types::{dtype_code, dtype_of},
        wire::{Bytes, Field},
        writer::{copy, int, message, rebuild, replace, text},
    },
    save::Content,
};
use normfold_ir::{Dim, OpKind, TensorType, Type};
use std::collections::BTreeMap;

/// The first IR version in which functions have `value_info`.
const FUNCTIONS: i64 = 10;

/// What becomes of the types of one graph.
#[derive(Default)]
pub(super) struct ValueInfos<'c> {
    /// New contents of records, by number.
    pub(super) edited: BTreeMap<u32, Content<'c>>,
    /// Contents of new records.
    pub(super) added: Vec<Content<'c>>,
}

impl<'c> ValueInfos<'c> {
    pub(super) fn plan(
        plan: &GraphPlan<'c>,
        model: Model<'c>,
    ) -> Result<ValueInfos<'c>, FrontendError> {
        let (graph, table) = (plan.graph, plan.table());
        let mut this = Self::default();
        if matches!(table.owner, GraphOwner::Function(_)) && model.table.ir_version < FUNCTIONS {
            return Ok(this);
        }
        let mut wanted: BTreeMap<&str, &TensorType> = BTreeMap::new();
        for v in graph.declared_types() {
            let returned = graph.uses(v).any(|u| Some(u.user) == graph.return_op());
            let elsewhere = matches!(graph.kind(v.op), OpKind::Parameter(_) | OpKind::Constant(_));
            let name = plan.name(v);
            if let Type::Tensor(ty) = graph.ty(v)
                && !returned
                && !elsewhere
                && !name.is_empty()
            {
                wanted.insert(name, ty);
            }
        }
        if wanted.is_empty() {
            return Ok(this);
        }
        let mut said = Vec::new();
        for (i, &record) in table.value_infos.iter().enumerate() {
            let info = plan.view.value_info(i)?;
            let Some(&ty) = wanted.get(info.name) else { continue };
            said.push(info.name);
            if !says(info.ty.as_ref(), ty) {
                let content = model.content(record)?;
                this.edited.insert(i as u32, spliced(content, ty)?);
            }
        }
        for name in said {
            wanted.remove(name);
        }
        for (name, ty) in wanted {
            let mut info = Content::new();
            text(&mut info, 1, name);
            let mut whole = Content::new();
            message(&mut whole, 1, tensor(None, ty)?);
            message(&mut info, 2, whole);
            this.added.push(info);
        }
        Ok(this)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edited.is_empty() && self.added.is_empty()
    }
}

/// Whether a document's type says the same.
fn says(view: Option<&TypeView<'_>>, ty: &TensorType) -> bool {
    let Some(TypeView::Tensor { elem_type, shape }) = view else { return false };
    let dims = match (shape, &ty.shape) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| says_dim(*a, b))
        }
        (a, b) => a.is_none() && b.is_none(),
    };
    dims && dtype_of(*elem_type) == Some(ty.dtype)
}

fn says_dim(view: DimView<'_>, dim: &Dim) -> bool {
    match (view, dim) {
        (DimView::Value(a), Dim::Known(b)) => u64::try_from(a) == Ok(*b),
        (DimView::Value(a), Dim::Unknown) => a < 0,
        (DimView::Param(a), Dim::Named(b)) => *a == **b,
        (DimView::Param(a), Dim::Unknown) => a.is_empty(),
        (DimView::Unknown, Dim::Unknown) => true,
        _ => false,
    }
}

/// The content of a record with another type; its documentation and denotations stay.
fn spliced<'c>(content: Bytes<'_>, ty: &TensorType) -> Result<Content<'c>, FrontendError> {
    let mut done = false;
    let mut out = rebuild(content, |out, f| {
        if f.number != 2 {
            copy(out, f);
            return Ok::<_, FrontendError>(());
        }
        done = true;
        let mut inner = false;
        let mut whole = rebuild(f.bytes()?, |out, f| {
            if f.number != 1 {
                copy(out, f);
                return Ok::<_, FrontendError>(());
            }
            inner = true;
            replace(out, f, tensor(Some(f), ty)?)?;
            Ok(())
        })?;
        if !inner {
            message(&mut whole, 1, tensor(None, ty)?);
        }
        replace(out, f, whole)?;
        Ok(())
    })?;
    if !done {
        let mut whole = Content::new();
        message(&mut whole, 1, tensor(None, ty)?);
        message(&mut out, 2, whole);
    }
    Ok(out)
}

/// `TypeProto.Tensor`. Dimensions of an old one that say the same, or as many as there are now, keep what else they say.
fn tensor<'c>(old: Option<&Field<'_>>, ty: &TensorType) -> Result<Content<'c>, FrontendError> {
    let mut old_dims = Vec::new();
    if let Some(old) = old {
        let mut fields = old.bytes()?.fields();
        while let Some(f) = fields.next()? {
            if f.number != 2 {
                continue;
            }
            let mut dims = f.bytes()?.fields();
            while let Some(d) = dims.next()? {
                if d.number == 1 {
                    old_dims.push(d);
                }
            }
        }
    }
    let mut out = Content::new();
    int(&mut out, 1, dtype_code(ty.dtype).unwrap_or(0).into());
    let Some(dims) = &ty.shape else { return Ok(out) };
    let mut shape = Content::new();
    for (i, dim) in dims.iter().enumerate() {
        let mut content = Content::new();
        match dim {
            Dim::Known(n) => int(&mut content, 1, *n as i64),
            Dim::Named(name) => text(&mut content, 2, name),
            Dim::Unknown => {}
        }
        if let Some(old) = old_dims.get(i).filter(|_| old_dims.len() == dims.len()) {
            let mut fields = old.bytes()?.fields();
            while let Some(f) = fields.next()? {
                if f.number > 2 {
                    copy(&mut content, &f);
                }
            }
        }
        message(&mut shape, 1, content);
    }
    message(&mut out, 2, shape);
    Ok(out)
}
