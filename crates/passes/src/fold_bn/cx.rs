//! What a fold is planned on: the graph as it is, facts about it, and what the options allow.

use super::memory::Memory;
use crate::{CertainTypes, Constants, Constness, Extents};
use normfold_ir::{Binding, ConstId, ConstPool, Graph, IdMap, OpId, OpKind, Value, eval::Tensor};
use std::cell::RefCell;

/// Constants that are computed from others: a fold that needs one asks for it and is planned again.
#[derive(Debug, Default)]
pub(super) struct Entries {
    known: IdMap<Value, ConstId>,
    wanted: RefCell<Vec<(Value, Tensor)>>,
}

impl Entries {
    pub(super) fn get(&self, v: Value) -> Option<ConstId> {
        self.known.get(&v).copied()
    }

    pub(super) fn want(&self, v: Value, t: Tensor) {
        self.wanted.borrow_mut().push((v, t));
    }

    /// Whether it was asked for.
    pub(super) fn wants(&self, v: Value) -> bool {
        self.wanted.borrow().iter().any(|w| w.0 == v)
    }

    /// Adds what was asked for to the pool; whether there was any.
    pub(super) fn serve(&mut self, pool: &mut ConstPool) -> bool {
        let wanted = self.wanted.take();
        for (v, t) in &wanted {
            self.known.insert(*v, pool.add_f64(t.dtype(), t.dims(), &t.to_f64s()));
        }
        !wanted.is_empty()
    }
}

/// Where ops stand in topological order; kept while ops are created and erased.
#[derive(Debug, Default)]
pub(super) struct Positions {
    by_slot: Vec<u32>,
}

impl Positions {
    pub(super) fn of(order: &[OpId], slots: usize) -> Self {
        let mut by_slot = vec![0; slots];
        for (i, op) in order.iter().enumerate() {
            by_slot[op.slot()] = i as u32;
        }
        Self { by_slot }
    }

    pub(super) fn get(&self, op: OpId) -> u32 {
        self.by_slot.get(op.slot()).copied().unwrap_or(0)
    }

    /// States that a new op stands where `like` stands.
    pub(super) fn place(&mut self, op: OpId, at: u32) {
        if self.by_slot.len() <= op.slot() {
            self.by_slot.resize(op.slot() + 1, 0);
        }
        self.by_slot[op.slot()] = at;
    }
}

#[derive(Clone, Copy)]
pub(super) struct Cx<'a> {
    pub(super) g: &'a Graph,
    pub(super) pool: &'a ConstPool,
    pub(super) types: &'a CertainTypes,
    pub(super) known: &'a Constness,
    pub(super) entries: &'a Entries,
    pub(super) positions: &'a Positions,
    pub(super) memory: &'a RefCell<Memory>,
    pub(super) allow_copy: bool,
    pub(super) copy_limit: u64,
    /// Whether every element of a weight is looked at before it is folded into.
    pub(super) thorough: bool,
    /// Whether constants that a caller could replace count as constants.
    pub(super) freeze: bool,
    /// Whether a bias that is dequantized may become one of floats.
    pub(super) float_bias: bool,
}

impl<'a> Cx<'a> {
    /// The rank of a value where it is certain; declared types of intermediate values may be stale.
    pub(super) fn rank(self, v: Value) -> Option<usize> {
        self.dims(v).map(|d| d.len())
    }

    /// The extents where they are certain; those of a constant created since as well.
    pub(super) fn dims(self, v: Value) -> Option<Extents> {
        self.types.dims(v).or_else(|| match self.g.kind(v.op) {
            OpKind::Constant(c) => Some(self.pool.dims(c.entry).into_iter().map(Some).collect()),
            _ => None,
        })
    }

    /// An extent of a value where it is certain.
    pub(super) fn extent(self, v: Value, axis: usize) -> Option<u64> {
        self.dims(v).and_then(|d| d.get(axis).copied()?)
    }

    pub(super) fn constants(self) -> Constants<'a> {
        let Self { g: graph, pool, types, known, .. } = self;
        Constants { graph, pool, types: Some(types), known }
    }

    pub(super) fn is_constant(self, v: Value) -> bool {
        self.known.culprit(self.g, v).is_none()
    }

    /// Whether a constant that is bound so has its elements at every run.
    pub(super) fn is_fixed(self, binding: Binding) -> bool {
        binding == Binding::Fixed || self.frees(binding)
    }

    fn frees(self, binding: Binding) -> bool {
        self.freeze && binding == Binding::Overridable
    }
}
