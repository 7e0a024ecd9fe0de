//! Import: an ONNX model as a module.
//!
//! One pass over the records of each graph, in document order, innermost bodies first. Names are resolved graph by graph: what
//! a body reads from outside becomes a capture of the op that owns it, level by level, so that every graph of the module is
//! isolated. What import and export agree on is in the documentation of the parent module.

mod attrs;
mod constant;
mod graph;
mod opaque;
mod ops;
mod scope;
mod types;

use super::{
    external::ExternalFiles,
    model::{GraphOwner, MAIN, Model},
};
use crate::{FrontendError, bytes::Source};
use constant::Tensors;
use normfold_ir::{AttrField, AttrMap, Attribute, Graph, GraphId, GraphRole, Module};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use types::Types;

/// A module, and which of its graphs is which of the document's.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) module: Module,
    /// By the number of a graph's table; `None` for graphs of training.
    pub(crate) graphs: Vec<Option<GraphId>>,
}

/// What conversions of every graph share.
struct Shared<'d> {
    types: Types,
    tensors: Tensors<'d>,
}

struct Importer<'a, 'd> {
    model: Model<'a>,
    shared: Shared<'d>,
    module: Module,
    graphs: Vec<Option<GraphId>>,
    functions: Functions<'a>,
}

/// The model's functions.
#[derive(Default)]
struct Functions<'a> {
    /// By domain, name and overload.
    by_key: HashMap<(&'a str, &'a str, &'a str), u32>,
    /// Names in the module.
    names: Vec<Arc<str>>,
    /// Whom each calls.
    calls: Vec<Vec<u32>>,
    /// The one being imported.
    current: Option<u32>,
}

fn invalid(place: impl Into<String>, problem: impl Into<String>) -> FrontendError {
    FrontendError::invalid("ONNX model", place, problem)
}

/// Imports a scanned model whose bytes are those of `source`.
///
/// # Errors
/// Names, versions or tensors contradict each other: the error names node and value.
pub(crate) fn import(
    model: Model<'_>,
    source: &Source,
    external: &ExternalFiles,
) -> Result<Import, FrontendError> {
    let table = model.table;
    check_versions(model)?;
    let name = match model.main().name()? {
        "" => "main",
        name => name,
    };
    let mut module = Module::new(name);
    module.attrs = attrs(model);
    let mut importer = Importer {
        model,
        shared: Shared { types: Types::default(), tensors: Tensors::new(source, external) },
        module,
        graphs: Vec::with_capacity(table.graphs.len()),
        functions: functions(model)?,
    };
    // Ids in the order of the document; bodies are imported before the graphs around them.
    for g in &table.graphs {
        let role = match g.owner {
            GraphOwner::Main => Some(GraphRole::Main),
            GraphOwner::Function(_) => Some(GraphRole::Function),
            GraphOwner::Node { graph, .. } => {
                importer.graphs.get(graph as usize).copied().flatten().map(|_| GraphRole::Body)
            }
            GraphOwner::Training(_) => None,
        };
        let id = role.map(|r| importer.module.add_graph(Graph::new("", r)));
        importer.graphs.push(id);
    }
    importer.root(MAIN)?;
    for (i, f) in table.functions.iter().enumerate() {
        importer.functions.current = Some(i as u32);
        importer.root(f.body)?;
    }
    importer.functions.check_recursion()?;
    Ok(Import { module: importer.module, graphs: importer.graphs })
}

fn check_versions(model: Model<'_>) -> Result<(), FrontendError> {
    let table = model.table;
    let ir = table.ir_version;
    if ir < 1 {
        return Err(invalid("ModelProto", format!("ir_version is {ir}, which no version is")));
    }
    if ir > 14 {
        tracing::warn!(ir, "an IR version newer than 14: what is new in it is carried along");
    }
    if ir >= 3 && table.opsets.is_empty() {
        return Err(invalid("ModelProto", "opset_import is missing: operators have no version"));
    }
    let functions = table.functions.iter().map(|f| (&*f.name, &f.opsets));
    for (place, opsets) in std::iter::once(("ModelProto", &table.opsets)).chain(functions) {
        if let Some(o) = opsets.iter().find(|o| o.domain.is_empty() && o.version < 1) {
            return Err(invalid(place, format!("opset version {} does not exist", o.version)));
        }
    }
    Ok(())
}

/// What the module says of its source. Producers are left out: dumps of one model by two exporters compare.
fn attrs(model: Model<'_>) -> AttrMap {
    let opsets: AttrMap = model
        .table
        .opsets
        .iter()
        .map(|o| (o.domain.as_str().into(), Attribute::Int(o.version)))
        .collect();
    [
        ("source".into(), Attribute::Str("onnx".into())),
        ("ir".into(), Attribute::Int(model.table.ir_version)),
        ("opset".into(), opsets.to_attr()),
    ]
    .into_iter()
    .collect()
}

fn functions(model: Model<'_>) -> Result<Functions<'_>, FrontendError> {
    let mut all = Functions::default();
    let mut taken = HashSet::new();
    for (i, f) in model.table.functions.iter().enumerate() {
        let mut name = match &*f.domain {
            "" => f.name.clone(),
            domain => format!("{domain}::{}", f.name),
        };
        if !f.overload.is_empty() {
            name.push(':');
            name.push_str(&f.overload);
        }
        let key = (&*f.domain, &*f.name, &*f.overload);
        if all.by_key.insert(key, i as u32).is_some() {
            return Err(invalid(name, "the model has two functions of this name"));
        }
        // Colons are legal in names, so that two keys can read the same.
        while !taken.insert(name.clone()) {
            name.push('\'');
        }
        all.names.push(name.into());
        all.calls.push(Vec::new());
    }
    Ok(all)
}

impl Functions<'_> {
    /// # Errors
    /// A function calls itself, directly or through others: its calls could not end.
    fn check_recursion(&self) -> Result<(), FrontendError> {
        // 0 is not seen, 1 is on the path, 2 is done.
        let mut state = vec![0u8; self.calls.len()];
        for root in 0..self.calls.len() {
            let mut path = vec![(root, 0)];
            while let Some((at, next)) = path.pop() {
                if next == 0 {
                    if state[at] != 0 {
                        continue;
                    }
                    state[at] = 1;
                }
                let Some(&callee) = self.calls[at].get(next) else {
                    state[at] = 2;
                    continue;
                };
                path.push((at, next + 1));
                let callee = callee as usize;
                match state[callee] {
                    0 => path.push((callee, 0)),
                    1 => {
                        let from = path.iter().position(|p| p.0 == callee).unwrap_or_default();
                        let names: Vec<&str> =
                            path[from..].iter().map(|p| &*self.names[p.0]).collect();
                        return Err(invalid(
                            &*self.names[callee],
                            format!("the function calls itself: {} → itself", names.join(" → ")),
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
