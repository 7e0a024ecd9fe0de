//! Where new nodes go: right behind the last node they read, or, when they read none, before the first that reads them.
//!
//! Records keep their order. Should a change have left a record before a node that it now reads, all nodes of the graph are put
//! into the graph's topological order, which follows the records' order as far as it can.

use crate::FrontendError;
use normfold_ir::{Graph, IdMap, IdSet, OpId, OpKind};

/// Where a node stands: a record number, then before (0), at (1) or after (2) that record, then a running number.
pub(crate) type Position = (u32, u8, u32);

/// A node of the graph as it will be written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Item {
    /// That node record.
    Record(u32),
    /// A new op.
    New(OpId),
    /// The Identity node of that alias.
    Alias(u32),
}

/// The order of a graph's nodes.
#[derive(Debug)]
pub(crate) enum Order {
    /// Records in document order, these items between them.
    Document(Vec<(Position, Item)>),
    /// Everything anew.
    Resorted(Vec<Item>),
}

/// Orders the nodes of a graph. `record` gives the node record of an op, `created` the new ops that become nodes, `aliases` the
/// ops whose results take an Identity node.
pub(crate) fn order(
    graph: &Graph,
    record: &dyn Fn(OpId) -> Option<u32>,
    created: &[OpId],
    aliases: &[OpId],
) -> Result<Order, FrontendError> {
    let mut positions: IdMap<OpId, Position> = IdMap::default();
    let sources = |op: OpId| graph.operands(op).chain(graph.captures(op)).flatten().map(|v| v.op);
    let mut items = Vec::new();
    if !created.is_empty() {
        // New ops may read one another: take them in an order in which that is settled.
        let mut pending: Vec<OpId> = created.to_vec();
        let is_new: IdSet<OpId> = created.iter().copied().collect();
        let mut running = 0;
        while !pending.is_empty() {
            let before = pending.len();
            pending.retain(|&op| {
                if sources(op).any(|s| is_new.contains(&s) && !positions.contains_key(&s)) {
                    return true;
                }
                let at =
                    |s: OpId| positions.get(&s).copied().or_else(|| record(s).map(|i| (i, 1, 0)));
                let position = match sources(op).filter_map(at).max() {
                    Some((i, phase, _)) => (i, if phase == 0 { 0 } else { 2 }, running),
                    None => (first_user(graph, op, record), 0, running),
                };
                running += 1;
                positions.insert(op, position);
                items.push((position, Item::New(op)));
                false
            });
            if pending.len() == before {
                return Err(cycle(graph, &pending));
            }
        }
    }
    for (n, &op) in aliases.iter().enumerate() {
        let position = positions.get(&op).copied().or_else(|| record(op).map(|i| (i, 1, 0)));
        let position = position.map_or((0, 0, u32::MAX), |(i, phase, _)| {
            (i, phase.max(2), u32::MAX - aliases.len() as u32 + n as u32)
        });
        items.push((position, Item::Alias(n as u32)));
    }
    items.sort_by_key(|(p, _)| *p);
    let at = |op: OpId| positions.get(&op).copied().or_else(|| record(op).map(|i| (i, 1, 0)));
    let sorted = graph.ops().all(|op| match at(op) {
        Some(here) => sources(op).filter_map(at).all(|there| there < here),
        None => true,
    });
    if sorted {
        return Ok(Order::Document(items));
    }
    let topo = graph.topo_order().map_err(|c| cycle(graph, &c.ops))?;
    let mut all: Vec<Item> = topo
        .into_iter()
        .filter_map(|op| match record(op) {
            Some(i) => Some(Item::Record(i)),
            None => positions.contains_key(&op).then_some(Item::New(op)),
        })
        .collect();
    all.extend((0..aliases.len() as u32).map(Item::Alias));
    Ok(Order::Resorted(all))
}

fn first_user(graph: &Graph, op: OpId, record: &dyn Fn(OpId) -> Option<u32>) -> u32 {
    let users = graph.results(op).flat_map(|v| graph.uses(v).map(|u| u.user).collect::<Vec<_>>());
    users.filter_map(record).min().unwrap_or(0)
}

fn cycle(graph: &Graph, ops: &[OpId]) -> FrontendError {
    let names: Vec<_> = ops
        .iter()
        .filter(|&&o| !matches!(graph.kind(o), OpKind::Return(_)))
        .map(|&o| graph.location(o))
        .collect();
    FrontendError::invalid(
        "module",
        format!("graph `{}`", graph.name()),
        format!("a cycle through {}", names.join(", ")),
    )
}
