//! Writes a changed module back: each record of the document is compared with the op that came from it.
//!
//! Names are planned from the outermost graph inwards, because a body names what it captures; records are written from the
//! innermost graph outwards, because a body is a part of its node's record. Both go by the numbers of the tables, in which a
//! body always follows the graph around it, so that nesting costs no call stack.

pub(crate) mod graph;
pub(crate) mod order;
pub(crate) mod outside;
mod value_info;

use super::{
    model::{GraphOwner, GraphTable, GraphView, MAIN, Model, Origin},
    names::{self, FreshNames, GraphNames, Interface},
    writer::{DOCUMENT, replace},
};
use crate::{FrontendError, payload::Weights, save::Content};
use normfold_ir::{ConstId, Graph, GraphId, IdSet, Module, OpId, OpKind, Value};
use order::Order;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What import made of the document.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// The module's graph of each table.
    pub(crate) graphs: Vec<Option<GraphId>>,
    /// Per table, the pool entries of constants by the number of their record, in ascending order.
    constants: Vec<Vec<(u32, ConstId)>>,
}

impl Imported {
    /// Notes which entry each constant has now, to know later which of them changed.
    pub(crate) fn new(module: &Module, graphs: Vec<Option<GraphId>>) -> Self {
        let of = |id: &Option<GraphId>| -> Vec<(u32, ConstId)> {
            let Some(g) = id.map(|id| module.graph(id)) else { return Vec::new() };
            let entry = |op| match g.kind(op) {
                OpKind::Constant(c) => g.origin(op).map(|o| (o, c.entry)),
                _ => None,
            };
            let mut list: Vec<_> = g.ops().filter_map(entry).collect();
            list.sort_unstable_by_key(|(o, _)| *o);
            list
        };
        Self { constants: graphs.iter().map(of).collect(), graphs }
    }

    fn constant(&self, table: u32, origin: u32) -> Option<ConstId> {
        let list = self.constants.get(table as usize)?;
        list.binary_search_by_key(&origin, |(o, _)| *o)
            .ok()
            .and_then(|i| list.get(i))
            .map(|(_, id)| *id)
    }
}

/// How many records differ from the document's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) edited: usize,
    pub(crate) removed: usize,
    pub(crate) added: usize,
}

/// One graph, ready to be written.
pub(crate) struct GraphPlan<'a> {
    view: GraphView<'a>,
    graph: &'a Graph,
    /// The op of each record, by number.
    by_record: Vec<Option<OpId>>,
    /// New ops that become nodes.
    nodes: Vec<OpId>,
    /// New constants that become initializers.
    constants: Vec<OpId>,
    /// Initializers without an op that other records still name.
    kept: IdSet<u32>,
    names: GraphNames,
    order: Order,
}

impl<'a> GraphPlan<'a> {
    fn table(&self) -> &'a GraphTable {
        self.view.table
    }

    fn op(&self, origin: Origin) -> Option<OpId> {
        *self.by_record.get(self.table().number(origin) as usize)?
    }

    fn name(&self, v: Value) -> &str {
        self.names.of(self.graph, v)
    }
}

/// The module as a change of the document.
pub(crate) struct Export<'a> {
    model: Model<'a>,
    imported: &'a Imported,
    weights: Weights<'a>,
    plans: Vec<Option<GraphPlan<'a>>>,
}

impl<'a> Export<'a> {
    /// Plans names and order.
    ///
    /// # Errors
    /// A record is malformed, or the module has a cycle.
    pub(crate) fn plan(
        model: Model<'a>,
        module: &'a Module,
        imported: &'a Imported,
        weights: Weights<'a>,
    ) -> Result<Self, FrontendError> {
        let mut this = Self { model, imported, weights, plans: Vec::new() };
        let reserved = model.table.training_names.iter().map(|n| n.as_str().into()).collect();
        let mut fresh = FreshNames::new(module, reserved);
        for index in 0..model.table.graphs.len() as u32 {
            let plan = this.plan_graph(module, index, &mut fresh)?;
            this.plans.push(plan);
        }
        Ok(this)
    }

    /// The node op whose record holds a body.
    fn owner(&self, view: GraphView<'a>) -> Option<(&GraphPlan<'a>, OpId)> {
        let GraphOwner::Node { graph, node } = view.table.owner else { return None };
        let parent = self.plans.get(graph as usize)?.as_ref()?;
        Some((parent, parent.op(Origin::Node(node))?))
    }

    fn plan_graph(
        &self,
        module: &'a Module,
        index: u32,
        fresh: &mut FreshNames<'_>,
    ) -> Result<Option<GraphPlan<'a>>, FrontendError> {
        let Some(view) = self.model.graph(index) else { return Ok(None) };
        let Some(&Some(id)) = self.imported.graphs.get(index as usize) else { return Ok(None) };
        let body = matches!(view.table.owner, GraphOwner::Node { .. });
        let owner = self.owner(view);
        if body && owner.is_none() {
            // The node is gone, and its record with it.
            return Ok(None);
        }
        let (graph, table) = (module.graph(id), view.table);
        let records = table.number(Origin::Input(0)) as usize
            + match table.owner {
                GraphOwner::Function(i) => {
                    self.model.table.functions.get(i as usize).map_or(0, |f| f.inputs.len())
                }
                _ => table.inputs.len(),
            };
        let mut by_record: Vec<Option<OpId>> = vec![None; records];
        let mut new = Vec::new();
        for op in graph.ops() {
            match graph.origin(op).and_then(|o| by_record.get_mut(o as usize)) {
                Some(slot) if slot.is_none_or(|other| op.seq() < other.seq()) => {
                    new.extend(slot.replace(op));
                }
                _ if matches!(graph.kind(op), OpKind::Parameter(_) | OpKind::Return(_)) => {}
                _ => new.push(op),
            }
        }
        new.sort_unstable_by_key(|&op| (graph.order_key(op), op.seq()));
        // Functions have no initializers; before IR version 4 an initializer is a graph input, which a body cannot grow.
        let as_nodes = matches!(table.owner, GraphOwner::Function(_))
            || (body && self.model.table.ir_version < 4);
        let (constants, nodes): (Vec<OpId>, Vec<OpId>) = new
            .into_iter()
            .partition(|&op| !as_nodes && matches!(graph.kind(op), OpKind::Constant(_)));

        let mut plan = GraphPlan {
            view,
            graph,
            by_record,
            nodes,
            constants,
            kept: IdSet::default(),
            names: GraphNames::default(),
            order: Order::Document(Vec::new()),
        };
        let kept = self.kept(&mut plan)?;
        let outputs: Vec<Arc<str>> = match table.owner {
            GraphOwner::Function(i) => match self.model.table.functions.get(i as usize) {
                Some(f) => f.outputs.iter().map(|o| o.as_str().into()).collect(),
                None => Vec::new(),
            },
            _ => (0..table.outputs.len())
                .map(|i| Ok(view.output(i)?.name.into()))
                .collect::<Result<_, FrontendError>>()?,
        };
        let captures = match owner {
            Some((parent, op)) => captured(parent, op, graph),
            None => Vec::new(),
        };
        let interface = Interface { outputs: &outputs, kept: &kept, captures: &captures };
        let known: Vec<OpId> = plan
            .by_record
            .iter()
            .flatten()
            .chain(&plan.nodes)
            .chain(&plan.constants)
            .copied()
            .collect();
        plan.names = names::plan(graph, &known, &interface, fresh);

        let nodes = table.nodes.len() as u32;
        let firsts = &plan.by_record;
        let record = |op: OpId| {
            let number = graph.origin(op).filter(|&o| o < nodes)?;
            (firsts.get(number as usize) == Some(&Some(op))).then_some(number)
        };
        let aliases: Vec<OpId> = plan.names.aliases.iter().map(|a| a.value.op).collect();
        plan.order = order::order(graph, &record, &plan.nodes, &aliases)?;
        Ok(Some(plan))
    }

    /// Initializers whose op is gone but which a quantization annotation or training still names: their names.
    fn kept(&self, plan: &mut GraphPlan<'a>) -> Result<Vec<Arc<str>>, FrontendError> {
        let (view, table) = (plan.view, plan.table());
        let erased: Vec<u32> = (0..table.initializers.len() as u32)
            .filter(|&i| plan.op(Origin::Initializer(i)).is_none())
            .collect();
        if erased.is_empty()
            || (table.annotations.is_empty() && self.model.table.training_names.is_empty())
        {
            return Ok(Vec::new());
        }
        let mut named: BTreeSet<&str> =
            self.model.table.training_names.iter().map(String::as_str).collect();
        for i in 0..table.annotations.len() {
            named.extend(view.annotation(i)?.parameters.iter().map(|(_, tensor)| *tensor));
        }
        let mut names = Vec::new();
        for i in erased {
            let name = view.initializer(i as usize)?.name;
            if named.contains(name) {
                plan.kept.insert(i);
                names.push(name.into());
            }
        }
        Ok(names)
    }

    /// The whole document with every change made. `outside` says which constants' data leaves the file or comes into it.
    ///
    /// # Errors
    /// A record is malformed, or a change cannot be said in the document's opset.
    pub(crate) fn content(
        &self,
        outside: &outside::Destinations,
    ) -> Result<(Content<'a>, Counts), FrontendError> {
        let mut counts = Counts::default();
        let mut bodies: HashMap<u64, Content<'a>> = HashMap::new();
        for plan in self.plans.iter().rev().flatten() {
            let content =
                graph::Writer::new(self, plan, outside).write(&mut bodies, &mut counts)?;
            let range = plan.table().content.clone();
            if !content.is_source(range.clone()) {
                bodies.insert(range.start, content);
            }
        }
        let document = self.model.document();
        let mut out = Content::new();
        if bodies.is_empty() {
            out.source(DOCUMENT, document.range());
            return Ok((out, counts));
        }
        let mut fields = document.fields();
        while let Some(f) = fields.next()? {
            let body = match f.number {
                7 | 25 => bodies.remove(&f.bytes()?.offset),
                _ => None,
            };
            match body {
                Some(body) => replace(&mut out, &f, body)?,
                None => super::writer::copy(&mut out, &f),
            }
        }
        Ok((out, counts))
    }
}

/// The final names of what a body captures, by its capture parameters.
fn captured(parent: &GraphPlan<'_>, op: OpId, body: &Graph) -> Vec<(Value, Arc<str>)> {
    let values: Vec<Option<Value>> = parent.graph.captures(op).collect();
    let mut out = Vec::new();
    for &p in body.parameters() {
        if let OpKind::Parameter(k) = body.kind(p)
            && k.capture
            && let Some(Some(v)) = values.get(k.index as usize)
        {
            out.push((body.result(p, 0), parent.name(*v).into()));
        }
    }
    out
}

/// Whether a table is that of the main graph.
fn is_main(view: GraphView<'_>) -> bool {
    view.index == MAIN
}
