//! Deterministic topological order.

use super::Graph;
use crate::OpId;
use std::{cmp::Reverse, collections::BinaryHeap};

/// A cycle: these ops wait for each other.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// Ops of one cycle, each reading the next.
    pub ops: Vec<OpId>,
}

impl Graph {
    /// Every op after the ops whose results it reads; among those ready, the smallest (order key, creation number)
    /// first. `return` comes last. Linear where the import order holds, else `n log n`.
    ///
    /// # Errors
    /// The graph has a cycle.
    pub fn topo_order(&self) -> Result<Vec<OpId>, Cycle> {
        let mut ids: Vec<OpId> = self.ops().filter(|&o| Some(o) != self.return_op()).collect();
        ids.sort_by_key(|&o| (self.order_key(o), o.seq));
        ids.extend(self.return_op());
        let mut position = vec![u32::MAX; self.slot_bound()];
        let sorted = ids.iter().enumerate().all(|(i, &op)| {
            position[op.slot()] = i as u32;
            self.operands(op)
                .chain(self.captures(op))
                .flatten()
                .all(|v| position[v.op.slot()] < i as u32)
        });
        if sorted { Ok(ids) } else { self.kahn(&ids) }
    }

    fn kahn(&self, ids: &[OpId]) -> Result<Vec<OpId>, Cycle> {
        let mut waiting = vec![0u32; self.slot_bound()];
        let key = |op: OpId| Reverse((Some(op) == self.return_op(), self.order_key(op), op));
        let mut ready = BinaryHeap::new();
        for &op in ids {
            let n = self.operands(op).chain(self.captures(op)).flatten().count() as u32;
            waiting[op.slot()] = n;
            if n == 0 {
                ready.push(key(op));
            }
        }
        let mut order = Vec::with_capacity(ids.len());
        while let Some(Reverse((_, _, op))) = ready.pop() {
            order.push(op);
            for r in self.results(op) {
                for u in self.uses(r) {
                    let w = &mut waiting[u.user.slot()];
                    *w -= 1;
                    if *w == 0 {
                        ready.push(key(u.user));
                    }
                }
            }
        }
        if order.len() == ids.len() { Ok(order) } else { Err(self.find_cycle(ids, &waiting)) }
    }

    fn find_cycle(&self, ids: &[OpId], waiting: &[u32]) -> Cycle {
        let stuck = |op: OpId| waiting[op.slot()] > 0;
        let mut path: Vec<OpId> = Vec::new();
        let mut seen = vec![u32::MAX; self.slot_bound()];
        // Every stuck op reads a stuck op or one downstream of a cycle; going to definitions must come round.
        let mut op = ids.iter().copied().find(|&o| stuck(o));
        while let Some(o) = op {
            if seen[o.slot()] != u32::MAX {
                let start = seen[o.slot()] as usize;
                return Cycle { ops: path.split_off(start) };
            }
            seen[o.slot()] = path.len() as u32;
            path.push(o);
            op = self
                .operands(o)
                .chain(self.captures(o))
                .flatten()
                .map(|v| v.op)
                .find(|&d| stuck(d));
        }
        Cycle { ops: path }
    }
}
