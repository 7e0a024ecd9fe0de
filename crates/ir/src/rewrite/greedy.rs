//! The worklist driver: applies patterns until none applies, at a cost linear in the rewrites.

use super::{Event, PatternSet};
use crate::{ConstPool, Graph, OpId, Remark};
use std::collections::HashSet;

/// Limits of a greedy run.
#[derive(Clone, Copy, Debug)]
pub struct GreedyConfig {
    /// Rewrites after which the run stops, e.g. to bisect.
    pub max_rewrites: u64,
}

impl Default for GreedyConfig {
    fn default() -> Self {
        Self { max_rewrites: u64::MAX }
    }
}

/// What a greedy run did.
#[derive(Debug, Default)]
pub struct GreedyOutcome {
    /// Rewrites applied, by pattern in set order.
    pub rewrites: Vec<(&'static str, u64)>,
    /// Why matches were refused, one remark per op and code, from the final state.
    pub missed: Vec<Remark>,
    /// Whether nothing was left to do (false: the limit was reached).
    pub converged: bool,
}

impl GreedyOutcome {
    /// All rewrites.
    pub fn total(&self) -> u64 {
        self.rewrites.iter().map(|(_, n)| n).sum()
    }
}

#[derive(Default)]
struct Worklist {
    queue: Vec<OpId>,
    queued: HashSet<OpId>,
}

impl Worklist {
    fn push(&mut self, op: OpId) {
        if self.queued.insert(op) {
            self.queue.push(op);
        }
    }

    fn pop(&mut self) -> Option<OpId> {
        let op = self.queue.pop()?;
        self.queued.remove(&op);
        Some(op)
    }
}

/// Applies `patterns` to the graph until none applies.
///
/// Ops are visited in topological order first; afterwards those that a rewrite touched, and the users of what it changed.
/// An op on a cycle is never visited.
pub fn apply_greedily(
    graph: &mut Graph,
    constants: &mut ConstPool,
    patterns: &PatternSet<'_>,
    config: GreedyConfig,
) -> GreedyOutcome {
    let mut out = GreedyOutcome {
        rewrites: patterns.iter().map(|p| (p.name(), 0)).collect(),
        converged: true,
        ..GreedyOutcome::default()
    };
    let mut list = Worklist::default();
    for op in graph.topo_order().unwrap_or_default().into_iter().rev() {
        list.push(op);
    }
    let mut missed: indexmap::IndexMap<OpId, Vec<Remark>> = indexmap::IndexMap::new();
    while let Some(op) = list.pop() {
        if !graph.contains(op) {
            continue;
        }
        // A verdict stands only for the state it was taken in.
        if let Some(old) = missed.get_mut(&op) {
            old.clear();
        }
        for (i, p) in patterns.iter().enumerate() {
            if out.total() >= config.max_rewrites {
                out.converged = false;
                break;
            }
            let mut touched = Vec::new();
            let result = p.apply(graph, constants, op, &mut |_, e| match e {
                Event::Created(o) | Event::Modified(o) => touched.push(o),
                Event::Erased(_) => {}
            });
            match result {
                Ok(false) => continue,
                Ok(true) => {
                    tracing::trace!(pattern = p.name(), "applied");
                    out.rewrites[i].1 += 1;
                    for o in touched {
                        if graph.contains(o) {
                            list.push(o);
                        }
                    }
                    if graph.contains(op) {
                        list.push(op);
                    }
                    break;
                }
                Err(remark) => {
                    missed.entry(op).or_default().push(*remark);
                }
            }
        }
        if !out.converged {
            break;
        }
    }
    missed.retain(|op, _| graph.contains(*op));
    out.missed = missed.into_values().flatten().collect();
    out
}
