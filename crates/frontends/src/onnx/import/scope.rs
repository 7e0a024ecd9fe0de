//! The names of a graph under construction: what is defined, what is awaited, what is captured from around it.

use super::invalid;
use crate::{
    FrontendError,
    onnx::model::{GraphView, NodeView, Origin, ValueInfoView},
};
use indexmap::{IndexMap, map::Entry};
use normfold_ir::{Graph, OpId, OpKind, OpSpec, Opaque, Parameter, Type, Use, Value};
use std::collections::HashMap;

/// What is known of a name.
#[derive(Clone, Copy, Default)]
struct Name {
    /// Where its type is declared: 0 is nowhere, else one more than a number of `value_info`, or with [`OUTPUT`] of `output`.
    info: u32,
    flags: u8,
    value: Option<Value>,
}

const OUTPUT: u32 = 1 << 31;
/// A node further down defines the name (noted in bodies only, where a free name is a capture).
const LATER: u8 = 1;
/// An initializer has the name.
const INITIALIZER: u8 = 2;
/// An initializer and an input have the name.
const BOTH: u8 = 4;

/// Who reads a value.
#[derive(Clone, Copy)]
pub(super) enum Reader {
    Node { graph: u32, node: u32 },
    Output { graph: u32, index: u32 },
}

/// The names that the bodies of one op read from outside, with the first who does, in order.
pub(super) type Captures<'a> = IndexMap<&'a str, Reader>;

/// A graph under construction.
pub(super) struct Scope<'o, 'a> {
    pub(super) graph: Graph,
    names: HashMap<&'a str, Name>,
    pub(super) view: GraphView<'a>,
    outer: Option<&'o Scope<'o, 'a>>,
    /// Version of the standard domain.
    pub(super) opset: Option<i64>,
    /// Uses of names that are not defined yet.
    pub(super) pending: Vec<(&'a str, Use, Reader)>,
    /// Stands in for captured values that are not defined yet.
    placeholder: Option<OpId>,
}

/// `graph.node[3] (`conv1`)`.
pub(super) fn node_place(view: GraphView<'_>, index: u32, node: &NodeView<'_>) -> String {
    format!("{}.node[{index}] (`{}`)", view.path(), node.display_name())
}

pub(super) fn twice(place: String, name: &str) -> FrontendError {
    invalid(place, format!("defines `{name}`, which is defined already"))
}

pub(super) fn hides(place: String, name: &str) -> FrontendError {
    invalid(place, format!("defines `{name}`, which a graph around it defines already"))
}

impl<'o, 'a> Scope<'o, 'a> {
    pub(super) fn new(
        graph: Graph,
        view: GraphView<'a>,
        outer: Option<&'o Scope<'o, 'a>>,
        opset: Option<i64>,
    ) -> Self {
        Self {
            graph,
            names: HashMap::new(),
            view,
            outer,
            opset,
            pending: Vec::new(),
            placeholder: None,
        }
    }

    /// Makes room for that many names.
    pub(super) fn reserve(&mut self, names: usize) {
        self.names.reserve(names);
    }

    /// Where the type of a name is declared.
    pub(super) fn declared(&self, name: &str) -> Result<Option<ValueInfoView<'a>>, FrontendError> {
        Ok(match self.names.get(name).map_or(0, |n| n.info) {
            0 => None,
            i if i & OUTPUT != 0 => Some(self.view.output((i & !OUTPUT) as usize - 1)?),
            i => Some(self.view.value_info(i as usize - 1)?),
        })
    }

    /// Whether an initializer has the name of this input, which then is no parameter.
    pub(super) fn is_default(&mut self, name: &str) -> bool {
        match self.names.get_mut(name) {
            Some(n) if n.flags & INITIALIZER != 0 => {
                n.flags |= BOTH;
                true
            }
            _ => false,
        }
    }

    /// Whether an input has the name of this initializer.
    pub(super) fn has_default(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|n| n.flags & BOTH != 0)
    }

    /// The value of a name that is defined by now.
    pub(super) fn defined(&self, name: &str) -> Option<Value> {
        self.names.get(name).and_then(|n| n.value)
    }

    /// Notes where names get their types, which are initializers, and, in a body, which are defined further down.
    pub(super) fn declare(&mut self) -> Result<(), FrontendError> {
        let (view, table) = (self.view, self.view.table);
        for i in 0..table.outputs.len() {
            self.names.entry(view.output(i)?.name).or_default().info = (i as u32 + 1) | OUTPUT;
        }
        for i in 0..table.value_infos.len() {
            let name = self.names.entry(view.value_info(i)?.name).or_default();
            if name.info == 0 {
                name.info = i as u32 + 1;
            }
        }
        for i in 0..table.initializers.len() {
            self.names.entry(view.initializer(i)?.name).or_default().flags |= INITIALIZER;
        }
        for i in 0..table.sparse_initializers.len() {
            let name = view.sparse_initializer(i)?.values.name;
            self.names.entry(name).or_default().flags |= INITIALIZER;
        }
        if self.outer.is_some() {
            for i in 0..table.nodes.len() {
                for output in view.node(i)?.outputs {
                    self.names.entry(output).or_default().flags |= LATER;
                }
            }
        }
        Ok(())
    }

    pub(super) fn parameter(
        &mut self,
        index: u32,
        name: &'a str,
        ty: Type,
    ) -> Result<(), FrontendError> {
        let parameter = Parameter { index: self.graph.parameters().len() as u32, capture: false };
        let origin = self.view.table.number(Origin::Input(index));
        let spec = OpSpec::new(parameter).named_result(name, ty).origin(origin);
        let op = self.graph.create(spec);
        if self.define(name, Value::new(op, 0)) {
            return Ok(());
        }
        Err(twice(format!("{}.input[{index}]", self.view.path()), name))
    }

    /// Ties a name to its value; false if it has one.
    pub(super) fn define(&mut self, name: &'a str, value: Value) -> bool {
        self.names.entry(name).or_default().value.replace(value).is_none()
    }

    /// Whether a graph around this one has defined the name. Inputs may hide such a name, nodes may not.
    pub(super) fn shadows(&self, name: &str) -> bool {
        let mut at = self.outer;
        while let Some(scope) = at {
            if scope.defined(name).is_some() {
                return true;
            }
            at = scope.outer;
        }
        false
    }

    /// The value of a name; `None` if it is not defined yet. A name that is free in a body is captured.
    pub(super) fn value(
        &mut self,
        name: &'a str,
        reader: Reader,
        captures: &mut Captures<'a>,
    ) -> Option<Value> {
        let known = self.names.get(name).copied().unwrap_or_default();
        if known.value.is_some() || known.flags & LATER != 0 || self.outer.is_none() {
            return known.value;
        }
        let index = match captures.entry(name) {
            Entry::Occupied(e) => e.index(),
            Entry::Vacant(e) => {
                let index = e.index();
                e.insert(reader);
                index
            }
        };
        let ty = self.outer_type(name);
        let parameter = Parameter { index: index as u32, capture: true };
        let op = self.graph.create(OpSpec::new(parameter).named_result(name, ty));
        let value = Value::new(op, 0);
        self.names.entry(name).or_default().value = Some(value);
        Some(value)
    }

    fn outer_type(&self, name: &str) -> Type {
        let mut at = self.outer;
        while let Some(scope) = at {
            if let Some(v) = scope.defined(name) {
                return scope.graph.ty(v).clone();
            }
            at = scope.outer;
        }
        Type::Unknown
    }

    /// The value that a value stands for, behind captures, with its graph; `None` if it is defined further down.
    pub(super) fn source(&self, mut v: Value) -> Option<(&Graph, Value)> {
        let mut scope: &Scope<'_, 'a> = self;
        while let OpKind::Parameter(Parameter { capture: true, .. }) = scope.graph.kind(v.op) {
            let name = scope.graph.value_name(v)?;
            v = loop {
                scope = scope.outer?;
                let known = scope.names.get(&**name).copied().unwrap_or_default();
                match known.value {
                    Some(found) => break found,
                    None if known.flags & LATER != 0 => return None,
                    // A body between: it captures the name once this one is done.
                    None => {}
                }
            };
        }
        Some((&scope.graph, v))
    }

    pub(super) fn placeholder(&mut self) -> Value {
        let graph = &mut self.graph;
        let op = *self.placeholder.get_or_insert_with(|| {
            graph.create(OpSpec::new(Opaque::default()).result(Type::Unknown))
        });
        Value::new(op, 0)
    }

    /// Ties the uses of what was defined after them; then there may be a cycle. Gives whether there were any.
    pub(super) fn resolve_pending(&mut self) -> Result<bool, FrontendError> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        for (name, u, reader) in std::mem::take(&mut self.pending) {
            let Some(v) = self.defined(name) else {
                return Err(self.undefined(name, reader));
            };
            self.graph.set_operand(u, Some(v));
        }
        if let Some(op) = self.placeholder.take() {
            self.graph.erase(op);
        }
        self.graph.topo_order().map(|_| true).map_err(|cycle| {
            let mut names: Vec<String> = cycle
                .ops
                .iter()
                .take(8)
                .map(|&o| format!("`{}`", self.graph.location(o)))
                .collect();
            if cycle.ops.len() > names.len() {
                names.push(format!("{} more", cycle.ops.len() - names.len()));
            }
            let problem =
                format!("nodes read each other's results in a cycle: {}", names.join(", "));
            invalid(self.view.path(), problem)
        })
    }

    pub(super) fn undefined(&self, name: &str, reader: Reader) -> FrontendError {
        let model = self.view.model;
        let (place, verb) = match reader {
            Reader::Node { graph, node } => {
                let place = model.graph(graph).map(|g| match g.node(node as usize) {
                    Ok(n) => node_place(g, node, &n),
                    Err(_) => g.path(),
                });
                (place.unwrap_or_default(), "reads")
            }
            Reader::Output { graph, index } => {
                let path = model.graph(graph).map(GraphView::path).unwrap_or_default();
                (format!("{path}.output[{index}]"), "is")
            }
        };
        invalid(place, format!("{verb} `{name}`, which nothing defines"))
    }
}
