//! What searches learnt, so that walks that fail stay linear in the ops however many start behind the same barrier.
//!
//! A walk that ends at an op which neither absorbs nor passes anything on (an activation, a parameter) ends there for every
//! value that it came through, whatever is asked: each of them hands what it is asked on to the next. Folds only shorten
//! such paths, so this holds until one takes a branch away (a fold sideways).

use super::{reason::FoldReason, search::Norms};
use normfold_ir::{Graph, IdMap, Value};

#[derive(Debug, Default)]
pub(super) struct Memory {
    back: IdMap<(Value, Norms), FoldReason>,
    ahead: IdMap<Value, FoldReason>,
    readers: IdMap<Value, (usize, bool)>,
}

impl Memory {
    /// Why nothing can be asked of `v`.
    pub(super) fn barred(&self, v: Value, norms: Norms) -> Option<FoldReason> {
        self.back.get(&(v, norms)).cloned()
    }

    pub(super) fn bar(&mut self, v: Value, norms: Norms, reason: &FoldReason) {
        self.back.entry((v, norms)).or_insert_with(|| reason.clone());
    }

    /// Why the readers of `v` cannot take anything in.
    pub(super) fn barred_ahead(&self, v: Value) -> Option<FoldReason> {
        self.ahead.get(&v).cloned()
    }

    pub(super) fn bar_ahead(&mut self, v: Value, reason: &FoldReason) {
        self.ahead.entry(v).or_insert_with(|| reason.clone());
    }

    /// How many read a value, and whether the graph returns it; counted once between two rounds.
    pub(super) fn readers(&mut self, g: &Graph, v: Value) -> (usize, bool) {
        *self.readers.entry(v).or_insert_with(|| {
            let returned = g.value_uses(v).any(|u| Some(u.user) == g.return_op());
            (g.value_uses(v).count(), returned)
        })
    }

    /// Forgets where walks end: a fold took an op away that stood for a branch of its own.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Forgets what a fold may have changed.
    pub(super) fn next_round(&mut self) {
        self.readers.clear();
    }
}
