//! What is known of values.

use crate::{IdMap, Value};

/// A list of so few entries is searched in less time than a hash takes.
const FEW: usize = 16;

/// A map from values. Most requests plan and bind a handful of them, and there are as many requests as there are rewrites:
/// nothing is hashed, and one allocation made, until there are more.
pub(super) struct Table<T> {
    list: Vec<(Value, T)>,
    /// Where values are in the list, once it is long.
    places: IdMap<Value, u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { list: Vec::new(), places: IdMap::default() }
    }
}

impl<T> Table<T> {
    pub(super) fn with_capacity(n: usize) -> Self {
        Self { list: Vec::with_capacity(n), places: IdMap::default() }
    }

    /// Where a value is in the order of insertion.
    pub(super) fn position(&self, v: Value) -> Option<usize> {
        match self.list.len() <= FEW {
            // What came last is asked for most.
            true => self.list.iter().rposition(|e| e.0 == v),
            false => self.places.get(&v).map(|&at| at as usize),
        }
    }

    pub(super) fn get(&self, v: Value) -> Option<&T> {
        self.position(v).map(|at| &self.list[at].1)
    }

    pub(super) fn insert(&mut self, v: Value, x: T) {
        match self.position(v) {
            Some(at) => self.list[at].1 = x,
            None => self.push(v, x),
        }
    }

    /// Inserts a value that is not there.
    pub(super) fn push(&mut self, v: Value, x: T) {
        self.list.push((v, x));
        match self.list.len() {
            n if n <= FEW => {}
            n if n == FEW + 1 => self.index(),
            n => _ = self.places.insert(v, n as u32 - 1),
        }
    }

    /// Keeps what `f` says.
    pub(super) fn retain(&mut self, mut f: impl FnMut(Value, &T) -> bool) {
        self.list.retain(|(v, x)| f(*v, x));
        self.index();
    }

    /// Keeps the first `n`.
    pub(super) fn truncate(&mut self, n: usize) {
        if n < self.list.len() {
            self.list.truncate(n);
            self.index();
        }
    }

    fn index(&mut self) {
        self.places.clear();
        if self.list.len() > FEW {
            let places = self.list.iter().enumerate().map(|(at, e)| (e.0, at as u32));
            self.places.extend(places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpId;

    #[test]
    fn finds_what_a_map_finds() {
        let value = |i: u32| Value::new(OpId { seq: i, slot: 100 - i }, i % 3);
        let (mut table, mut map) = (Table::default(), IdMap::default());
        for i in (0..FEW as u32 + 9).chain(5..20) {
            table.insert(value(i), i * 7 + map.len() as u32);
            map.insert(value(i), i * 7 + map.len() as u32);
            assert_eq!(table.list.len(), map.len());
            for k in 0..40 {
                assert_eq!(table.get(value(k)), map.get(&value(k)), "{k} after {i}");
            }
        }
        for limit in [20, 9, 0] {
            table.retain(|v, _| v.op.seq < limit);
            map.retain(|v, _| v.op.seq < limit);
            for k in 0..40 {
                assert_eq!(table.get(value(k)), map.get(&value(k)), "{k} below {limit}");
            }
        }
        table.insert(value(3), 1);
        table.insert(value(4), 2);
        assert_eq!(table.position(value(4)), Some(1));
        table.truncate(1);
        assert_eq!((table.get(value(3)), table.get(value(4))), (Some(&1), None));
    }
}
