//! How a new op is described.

use crate::{GraphId, OpId, OpKind, Type, Value};
use std::sync::Arc;

/// One result of an op to be created.
#[derive(Clone, Debug, Default)]
pub struct ResultSpec {
    /// Its name in the source.
    pub name: Option<Arc<str>>,
    /// Its type.
    pub ty: Type,
}

/// An op to be created. See [`crate::Graph::create`] and [`crate::PatternRewriter::create`].
#[derive(Clone, Debug)]
pub struct OpSpec {
    pub(crate) kind: OpKind,
    pub(crate) operands: Vec<Option<Value>>,
    pub(crate) captures: Vec<Option<Value>>,
    pub(crate) results: Vec<ResultSpec>,
    pub(crate) regions: Vec<GraphId>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) origin: Option<u32>,
    pub(crate) at: Option<OpId>,
}

impl OpSpec {
    /// An op of that kind, without operands and results.
    pub fn new(kind: impl Into<OpKind>) -> Self {
        Self {
            kind: kind.into(),
            operands: Vec::new(),
            captures: Vec::new(),
            results: Vec::new(),
            regions: Vec::new(),
            name: None,
            origin: None,
            at: None,
        }
    }

    /// Appends an operand.
    pub fn operand(mut self, v: Value) -> Self {
        self.operands.push(Some(v));
        self
    }

    /// Appends operands; `None` is an absent optional one.
    pub fn operands(mut self, vs: impl IntoIterator<Item = Option<Value>>) -> Self {
        self.operands.extend(vs);
        self
    }

    /// Appends capture operands.
    pub fn captures(mut self, vs: impl IntoIterator<Item = Value>) -> Self {
        self.captures.extend(vs.into_iter().map(Some));
        self
    }

    /// Appends a result without a name.
    pub fn result(mut self, ty: impl Into<Type>) -> Self {
        self.results.push(ResultSpec { name: None, ty: ty.into() });
        self
    }

    /// Appends a result with a name.
    pub fn named_result(mut self, name: impl Into<Arc<str>>, ty: impl Into<Type>) -> Self {
        self.results.push(ResultSpec { name: Some(name.into()), ty: ty.into() });
        self
    }

    /// Appends results.
    pub fn results(mut self, rs: impl IntoIterator<Item = ResultSpec>) -> Self {
        self.results.extend(rs);
        self
    }

    /// Appends a body.
    pub fn region(mut self, graph: GraphId) -> Self {
        self.regions.push(graph);
        self
    }

    /// The op's name in the source.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The source record that the op came from.
    pub fn origin(mut self, record: u32) -> Self {
        self.origin = Some(record);
        self
    }

    /// Sorts the op beside `anchor` in deterministic orders. Default: after everything.
    pub fn at(mut self, anchor: OpId) -> Self {
        self.at = Some(anchor);
        self
    }
}
