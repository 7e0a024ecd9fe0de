//! A module: graphs, constants, and what its document can say.

use crate::{AttrMap, Attribute, ConstPool, DType, Graph, GraphId, GraphRole, OpId, OpKind};
use std::{fmt, sync::Arc};

/// What a document can say: a rewrite asks before it plans what could not be written (`not-expressible`).
pub trait Capabilities: fmt::Debug + Send + Sync {
    /// Whether an op of this kind on this element type can be created.
    fn may_create(&self, kind: &OpKind, dtype: DType) -> bool;
    /// Whether a constant of this element type can be created.
    fn may_add_constant(&self, dtype: DType) -> bool;
    /// Whether this op, of this kind and without a bias, can be given one.
    fn may_add_bias(&self, op: OpId, kind: &OpKind) -> bool;
    /// Whether this constant can have other elements, in place and of the same type.
    fn may_change_constant(&self, _constant: OpId) -> bool {
        true
    }
    /// Whether the document can be without this op, its users reading an operand of it instead.
    fn may_remove(&self, _op: OpId, _kind: &OpKind) -> bool {
        true
    }
    /// Whether the types that parameters of functions and results of calls declare hold in every call: whoever runs the
    /// document sees to it.
    fn functions_are_typed(&self) -> bool {
        false
    }
    /// Whether the types that results of opaque ops declare hold in every run: whoever made the document computed them.
    fn opaque_results_are_typed(&self) -> bool {
        false
    }
    /// Whether an op can be changed from one kind to another in place.
    fn may_change(&self, from: &OpKind, to: &OpKind) -> bool;
}

/// No limits: a module without a document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Capabilities for Everything {
    fn may_create(&self, _: &OpKind, _: DType) -> bool {
        true
    }
    fn may_add_constant(&self, _: DType) -> bool {
        true
    }
    fn may_add_bias(&self, _: OpId, _: &OpKind) -> bool {
        true
    }
    fn may_change(&self, _: &OpKind, _: &OpKind) -> bool {
        true
    }
}

/// What the module attribute `cannot` rules out: the limits of a document, carried by text.
///
/// A list of `create` (ops), `constant`, `bias`, `change` (the kind of an op) and `remove` (ops other than batch norms), so that
/// text can stand for a module
/// whose document is not at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Limits {
    create: bool,
    constant: bool,
    bias: bool,
    change: bool,
    remove: bool,
}

impl Limits {
    /// Words that say nothing here are left to whoever knows them.
    fn of(attrs: &AttrMap) -> Self {
        let mut limits = Self::default();
        let Some(Attribute::List(words)) = attrs.get("cannot") else { return limits };
        for word in words {
            let (Attribute::Str(w) | Attribute::Word(w)) = word else { continue };
            match &**w {
                "create" => limits.create = true,
                "constant" => limits.constant = true,
                "bias" => limits.bias = true,
                "change" => limits.change = true,
                "remove" => limits.remove = true,
                _ => {}
            }
        }
        limits
    }
}

impl Capabilities for Limits {
    fn may_create(&self, _: &OpKind, _: DType) -> bool {
        !self.create
    }
    fn may_add_constant(&self, _: DType) -> bool {
        !self.constant
    }
    fn may_add_bias(&self, _: OpId, _: &OpKind) -> bool {
        !self.bias
    }
    fn may_change(&self, _: &OpKind, _: &OpKind) -> bool {
        !self.change
    }
    fn may_remove(&self, _: OpId, kind: &OpKind) -> bool {
        !self.remove || matches!(kind, OpKind::BatchNorm(_))
    }
}

/// Several graphs and the constants they share.
///
/// The main graph and functions are found by name; bodies through the ops that own them. Graphs are never removed.
#[derive(Clone, Debug)]
pub struct Module {
    name: Arc<str>,
    /// What the source says of itself (`source = "onnx"`, versions): printed at the head of the text form.
    pub attrs: AttrMap,
    graphs: Vec<Graph>,
    /// The constant pool.
    pub constants: ConstPool,
}

impl Module {
    /// A module without graphs.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            attrs: AttrMap::new(),
            graphs: Vec::new(),
            constants: ConstPool::default(),
        }
    }

    /// The module's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Lets the module attribute `cannot` limit what every graph can say.
    pub(crate) fn honour_limits(&mut self) {
        let limits = Limits::of(&self.attrs);
        if limits != Limits::default() {
            let limits: Arc<dyn Capabilities> = Arc::new(limits);
            for g in &mut self.graphs {
                g.set_capabilities(limits.clone());
            }
        }
    }

    /// Adds a graph.
    pub fn add_graph(&mut self, graph: Graph) -> GraphId {
        self.graphs.push(graph);
        GraphId((self.graphs.len() - 1) as u32)
    }

    /// A graph.
    pub fn graph(&self, id: GraphId) -> &Graph {
        &self.graphs[id.index()]
    }

    /// A graph, to change.
    pub fn graph_mut(&mut self, id: GraphId) -> &mut Graph {
        &mut self.graphs[id.index()]
    }

    /// A graph to change, beside the pool its constants live in.
    pub fn graph_and_constants(&mut self, id: GraphId) -> (&mut Graph, &mut ConstPool) {
        (&mut self.graphs[id.index()], &mut self.constants)
    }

    /// Every graph, in arena order.
    pub fn graph_ids(&self) -> impl ExactSizeIterator<Item = GraphId> + use<> {
        (0..self.graphs.len() as u32).map(GraphId)
    }

    /// The entry.
    pub fn main(&self) -> Option<GraphId> {
        self.graph_ids().find(|&g| self.graph(g).role() == GraphRole::Main)
    }

    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<GraphId> {
        self.graph_ids().find(|&g| {
            self.graph(g).role() == GraphRole::Function && &**self.graph(g).name() == name
        })
    }

    /// Every graph after the bodies its ops own: the order in which passes run. Bodies that no op owns any more are left
    /// out.
    pub fn innermost_first(&self) -> Vec<GraphId> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.graphs.len()];
        for root in self.graph_ids() {
            if self.graph(root).role() != GraphRole::Body {
                self.visit(root, &mut seen, &mut order);
            }
        }
        order
    }

    fn visit(&self, root: GraphId, seen: &mut [bool], order: &mut Vec<GraphId>) {
        // An explicit stack: nesting is bounded by the document, not by ours.
        let mut stack = vec![(root, false)];
        while let Some((id, done)) = stack.pop() {
            if done {
                order.push(id);
                continue;
            }
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            stack.push((id, true));
            let g = self.graph(id);
            let mut owners: Vec<_> = g.ops().filter(|&o| !g.regions(o).is_empty()).collect();
            owners.sort_by_key(|&o| (g.order_key(o), o));
            for body in owners.iter().rev().flat_map(|&o| g.regions(o).iter().rev()) {
                stack.push((*body, false));
            }
        }
    }
}
