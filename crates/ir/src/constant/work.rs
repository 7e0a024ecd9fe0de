//! How much may be computed of a module's constants: in proportion to what was given.

use super::ConstData;
use crate::IdMap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What every module may read.
const BASE: u64 = 1 << 27;
/// What it may read more for each entry.
const PER_ENTRY: u64 = 1 << 12;
/// What it may read more for each byte that is stored.
const PER_BYTE: u64 = 4;

/// Reads that were granted and spent.
#[derive(Debug)]
pub(super) struct Work {
    granted: u64,
    spent: AtomicU64,
    /// Up to where the bytes of each source have been counted: entries may view the same ones.
    counted: IdMap<usize, u64>,
    /// The source that the last entry viewed, which most do as well, and up to where.
    last: (usize, u64),
}

impl Default for Work {
    fn default() -> Self {
        Self { granted: BASE, spent: AtomicU64::new(0), counted: IdMap::default(), last: (0, 0) }
    }
}

impl Clone for Work {
    fn clone(&self) -> Self {
        let spent = AtomicU64::new(self.spent.load(Relaxed));
        Self { granted: self.granted, spent, counted: self.counted.clone(), last: self.last }
    }
}

impl Work {
    /// Grants what a new entry of so many bytes brings.
    pub(super) fn grant(&mut self, data: &ConstData, bytes: impl Fn() -> u64) {
        let more = match data {
            ConstData::Owned(bytes) => bytes.len() as u64,
            ConstData::Mapped { source, offset } => {
                let source_id = Arc::as_ptr(source).addr();
                if self.last.0 != source_id {
                    self.counted.insert(self.last.0, self.last.1);
                    self.last = (source_id, self.counted.get(&source_id).copied().unwrap_or(0));
                }
                let end = offset.saturating_add(bytes());
                if end <= self.last.1 {
                    return self.add(PER_ENTRY);
                }
                let end = end.min(source.len()).max(self.last.1);
                end - std::mem::replace(&mut self.last.1, end)
            }
            _ => 0,
        };
        self.add(more.saturating_mul(PER_BYTE).saturating_add(PER_ENTRY));
    }

    fn add(&mut self, reads: u64) {
        self.granted = self.granted.saturating_add(reads);
    }

    pub(super) fn left(&self) -> u64 {
        self.granted.saturating_sub(self.spent.load(Relaxed))
    }

    pub(super) fn spend(&self, reads: u64) {
        // Threads that spend at once may count too little; there are none.
        self.spent.store(self.spent.load(Relaxed).saturating_add(reads), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BinaryKind, ByteSource, ConstPool, Constant, DType, EvalError, Evaluator, Graph, GraphRole,
        OpSpec, Scalar, TensorType,
    };
    use std::{io, ops::Range};

    #[derive(Debug)]
    struct Source(u64);

    impl ByteSource for Source {
        fn len(&self) -> u64 {
            self.0
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        fn mapped(&self, _: Range<u64>) -> Option<&[u8]> {
            None
        }
    }

    #[test]
    fn bytes_count_once() {
        let mut work = Work::default();
        let sources: [Arc<dyn ByteSource>; 2] = [Arc::new(Source(1000)), Arc::new(Source(50))];
        let mut grant = |source: usize, offset: u64, bytes: u64| {
            let before = work.left();
            let source = sources[source].clone();
            work.grant(&ConstData::Mapped { source, offset }, || bytes);
            (work.left() - before - PER_ENTRY) / PER_BYTE
        };
        assert_eq!([grant(0, 0, 100), grant(0, 50, 100), grant(0, 0, 150)], [100, 50, 0]);
        assert_eq!([grant(1, 0, 40), grant(0, 0, 160), grant(1, 0, 40)], [40, 10, 0]);
        // No more than there are, whatever entries say.
        assert_eq!([grant(1, 20, 1 << 40), grant(0, u64::MAX, 9), grant(0, 0, 1000)], [10, 840, 0]);
        work.grant(&ConstData::Splat([0; 4].into()), || u64::MAX);
        work.spend(u64::MAX);
        assert_eq!((work.left(), work.clone().left()), (0, 0));
    }

    #[test]
    fn evaluators_of_a_module_have_a_budget_together() {
        let mut pool = ConstPool::default();
        let ty = TensorType::of(DType::F32, &[1]);
        let entry = pool.add_f64(DType::F32, &[1], &[2.0]);
        let mut g = Graph::new("g", GraphRole::Main);
        let c = g.create(OpSpec::new(Constant::new(entry)).result(ty.clone()));
        let c = g.result(c, 0);
        let y = g.create(OpSpec::new(BinaryKind::Mul).operand(c).operand(c).result(ty));
        let y = g.result(y, 0);
        let left = pool.evaluation_left();
        assert_eq!(Evaluator::new(&g, &pool).element(y, &[0]).ok(), Some(Scalar::F(4.0)));
        assert!(Evaluator::new(&g, &pool).tensor(y).is_ok());
        let spent = left - pool.evaluation_left();
        assert!(spent > 0 && spent < 100, "{spent}");
        // What is left is less than somebody leaves to others.
        let element = |e: Evaluator<'_>| { e }.element(y, &[0]);
        pool.spend_evaluation(pool.evaluation_left() - 50);
        let reserved = Evaluator::new(&g, &pool).with_reserve(50);
        assert!(matches!(element(reserved), Err(EvalError::Exhausted)));
        assert!(element(Evaluator::new(&g, &pool)).is_ok());
        pool.spend_evaluation(pool.evaluation_left());
        let mut e = Evaluator::new(&g, &pool);
        assert!(matches!(e.dims(y), Err(EvalError::Exhausted)));
        assert!(matches!(e.tensor(y), Err(EvalError::Exhausted)));
        assert!(matches!(element(e), Err(EvalError::Exhausted)));
        assert!(element(Evaluator::new(&g, &pool).beyond_budget()).is_ok());
    }
}
