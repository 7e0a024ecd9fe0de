//! What callers of a graph see of it, which no pass may change.

use normfold_ir::{Graph, OpKind, Type, Value};
use std::sync::Arc;

type Seen = (Option<Arc<str>>, Type);

/// Arguments and results of a graph, by name and type. Captures are between a body and its owner.
pub(super) struct Interface {
    parameters: Vec<Seen>,
    results: Vec<Option<Seen>>,
    names: Vec<Arc<str>>,
}

impl Interface {
    pub(super) fn of(g: &Graph) -> Self {
        let seen = |v: Value| (g.value_name(v).cloned(), g.ty(v).clone());
        let arguments = g
            .parameters()
            .iter()
            .filter(|&&p| !matches!(g.kind(p), OpKind::Parameter(parameter) if parameter.capture));
        let names = match g.return_op().map(|r| g.kind(r)) {
            Some(OpKind::Return(r)) => r.names.clone(),
            _ => Vec::new(),
        };
        Self {
            parameters: arguments.flat_map(|&p| g.results(p)).map(seen).collect(),
            results: g
                .return_op()
                .map(|r| g.operands(r).map(|v| v.map(seen)).collect())
                .unwrap_or_default(),
            names,
        }
    }

    /// # Errors
    /// What differs.
    pub(super) fn compare(&self, after: &Interface) -> Result<(), String> {
        if self.parameters.len() != after.parameters.len() {
            return Err(counts("parameters", self.parameters.len(), after.parameters.len()));
        }
        if self.results.len() != after.results.len() {
            return Err(counts("results", self.results.len(), after.results.len()));
        }
        if self.names != after.names {
            return Err("the names of the results differ".to_owned());
        }
        for (i, (a, b)) in self.parameters.iter().zip(&after.parameters).enumerate() {
            if a != b {
                return Err(format!("parameter {i} was {}, is {}", show(a), show(b)));
            }
        }
        for (i, (a, b)) in self.results.iter().zip(&after.results).enumerate() {
            let same = match (a, b) {
                (Some(a), Some(b)) => a.0 == b.0 && a.1.compatible(&b.1),
                (a, b) => a.is_none() && b.is_none(),
            };
            if !same {
                let show = |s: &Option<Seen>| s.as_ref().map_or("absent".to_owned(), show);
                return Err(format!("result {i} was {}, is {}", show(a), show(b)));
            }
        }
        Ok(())
    }
}

fn counts(what: &str, before: usize, after: usize) -> String {
    format!("it had {before} {what}, it has {after}")
}

fn show((name, ty): &Seen) -> String {
    format!("{:?} of type {ty}", name.as_deref().unwrap_or(""))
}
