//! Identities: graphs, ops, constants, values and uses.

use rustc_hash::FxBuildHasher;
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// A table keyed by identities. They come from counters, so the hash need not withstand chosen keys; names from a file do
/// not belong here.
pub type IdMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// A set of identities. See [`IdMap`].
pub type IdSet<K> = HashSet<K, FxBuildHasher>;

/// A graph in its module's arena. Graphs are never removed, so the id stays valid for the module's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GraphId(pub(crate) u32);

impl GraphId {
    /// The position in the module's arena.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An op of one graph.
///
/// Storage slots are handed out again after an op is erased; `seq` is unique per created op and checked on every
/// access, so a stale id panics instead of naming another op.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    pub(crate) seq: u32,
    pub(crate) slot: u32,
}

impl OpId {
    /// The creation number within the graph: unique, increasing, never reused.
    pub fn seq(self) -> u32 {
        self.seq
    }

    /// The storage slot: dense (below [`crate::Graph::slot_bound`]), reused after erasure. For side tables that do not
    /// outlive a rewrite.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op#{}@{}", self.seq, self.slot)
    }
}

/// One result of one op.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Value {
    /// The op that defines the value.
    pub op: OpId,
    /// Which of its results.
    pub result: u32,
}

impl Value {
    /// Result `result` of `op`.
    pub fn new(op: OpId, result: u32) -> Self {
        Self { op, result }
    }
}

/// One use of a value: an operand slot of a user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Use {
    /// The op that reads the value.
    pub user: OpId,
    /// The operand slot that reads it. Capture slots have [`Use::CAPTURE`] set.
    pub operand: u32,
}

impl Use {
    /// The bit that marks a capture slot.
    pub const CAPTURE: u32 = 1 << 31;

    /// The position among the user's captures, if a body of the user captures the value.
    pub fn capture(self) -> Option<u32> {
        (self.operand & Self::CAPTURE != 0).then_some(self.operand & !Self::CAPTURE)
    }
}

/// An entry of the module's constant pool. Entries are immutable and never removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConstId(pub(crate) u32);

impl ConstId {
    /// The position in the pool.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
