//! What a model takes and gives.

use super::tensor_type;
use normfold_ir::{DType, Dim, Module, OpKind, Tensor, TensorType, Type};
use std::sync::Arc;

/// The inputs without a value of their own, and the outputs, in the order of the model.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Interface {
    pub(super) inputs: Vec<(Arc<str>, TensorType)>,
    pub(super) outputs: Vec<(Arc<str>, Type)>,
}

impl Interface {
    /// The interface of a module, or why nobody can call it.
    pub(super) fn of(module: &Module) -> Result<Self, String> {
        let g = module.graph(module.main().ok_or("there is no main graph")?);
        let mut inputs = Vec::new();
        for &op in g.parameters() {
            let v = g.result(op, 0);
            let name = g.value_name(v).cloned().ok_or("an input has no name")?;
            let ty = tensor_type("input", &name, g.ty(v))?.clone();
            inputs.push((name, ty));
        }
        let mut outputs = Vec::new();
        if let Some(op) = g.return_op()
            && let OpKind::Return(r) = g.kind(op)
        {
            for (i, v) in g.operands(op).enumerate() {
                let v = v.ok_or_else(|| format!("output {i} has no value"))?;
                let name = r.names.get(i).filter(|n| !n.is_empty()).or_else(|| g.value_name(v));
                let name = name.cloned().ok_or_else(|| format!("output {i} has no name"))?;
                outputs.push((name, g.ty(v).clone()));
            }
        }
        if outputs.is_empty() {
            return Err("it has no outputs".into());
        }
        Ok(Self { inputs, outputs })
    }

    /// The first difference from another interface.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let typed: Vec<(Arc<str>, Type)> =
            self.inputs.iter().map(|(n, t)| (n.clone(), t.clone().into())).collect();
        let others: Vec<(Arc<str>, Type)> =
            other.inputs.iter().map(|(n, t)| (n.clone(), t.clone().into())).collect();
        first_difference("input", &typed, &others)
            .or_else(|| first_difference("output", &self.outputs, &other.outputs))
    }

    /// The extents that dimensions without one were given: `N = 2, x[2] = 2`; empty where every extent is declared.
    pub(super) fn free_dims(&self, values: &[(Arc<str>, Tensor)]) -> String {
        let mut list: Vec<String> = Vec::new();
        for ((name, ty), (_, value)) in self.inputs.iter().zip(values) {
            for (axis, dim) in ty.shape.iter().flat_map(|s| s.iter()).enumerate() {
                let extent = value.dims().get(axis).copied().unwrap_or_default();
                let text = match dim {
                    Dim::Known(_) => continue,
                    Dim::Named(symbol) => format!("{symbol} = {extent}"),
                    Dim::Unknown => format!("{name}[{axis}] = {extent}"),
                };
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
        list.join(", ")
    }
}

fn first_difference(what: &str, a: &[(Arc<str>, Type)], b: &[(Arc<str>, Type)]) -> Option<String> {
    let names = |list: &[(Arc<str>, Type)]| {
        let names: Vec<&str> = list.iter().map(|(n, _)| &**n).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    if a.iter().map(|(n, _)| n).ne(b.iter().map(|(n, _)| n)) {
        return Some(format!(
            "{what}s are {} in the first and {} in the second",
            names(a),
            names(b)
        ));
    }
    let mut pairs = a.iter().zip(b);
    let differs = pairs.find(|((_, x), (_, y))| !compatible(x, y));
    differs.map(|((name, x), (_, y))| {
        format!("{what} `{name}` is {x} in the first and {y} in the second")
    })
}

/// Equal wherever both say something; dimensions may have other names.
fn compatible(a: &Type, b: &Type) -> bool {
    let rank_and_type = |t: &Type| (t.dtype(), t.rank());
    match (a, b) {
        (Type::Tensor(x), Type::Tensor(y)) if x.shape.is_some() && y.shape.is_some() => {
            rank_and_type(a) == rank_and_type(b) && a.compatible(b)
        }
        _ => a.compatible(b),
    }
}

/// Element types of which made-up values can be given.
pub(super) fn has_values(dtype: DType) -> bool {
    dtype.is_arithmetic_float() || dtype.is_int() || dtype == DType::Bool
}
