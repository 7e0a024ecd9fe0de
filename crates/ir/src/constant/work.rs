//! How much may be computed of a module's constants: in proportion to what was given.

use super::{ConstData, ConstEntry, count_of};
use crate::IdMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What every module may read.
const BASE: u64 = 1 << 27;
/// What it may read more for each entry.
const PER_ENTRY: u64 = 1 << 12;
/// What it may read more for each byte that is stored.
const PER_BYTE: u64 = 4;

/// Reads that were spent, and granted.
#[derive(Debug, Default)]
pub(super) struct Work {
    spent: AtomicU64,
    granted: Mutex<Granted>,
}

/// What entries grant beyond the base. Few modules spend so much that it matters: it is found out then.
#[derive(Clone, Debug, Default)]
struct Granted {
    reads: u64,
    /// How many entries have been looked at.
    entries: usize,
    /// Up to where the bytes of each source have been counted: entries may view the same ones.
    counted: IdMap<usize, u64>,
}

impl Clone for Work {
    fn clone(&self) -> Self {
        let spent = AtomicU64::new(self.spent.load(Relaxed));
        Self { spent, granted: Mutex::new(self.granted().clone()) }
    }
}

impl Work {
    fn granted(&self) -> MutexGuard<'_, Granted> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least so many reads are left to a module with those entries: exactly so many once half of the base is spent.
    pub(super) fn left(&self, entries: &[ConstEntry]) -> u64 {
        let spent = self.spent.load(Relaxed);
        if spent < BASE / 2 {
            return BASE - spent;
        }
        let mut granted = self.granted();
        let new = entries.get(granted.entries..).unwrap_or_default();
        granted.entries += new.len();
        for entry in new {
            granted.add(entry);
        }
        BASE.saturating_add(granted.reads).saturating_sub(spent)
    }

    pub(super) fn spend(&self, reads: u64) {
        // Threads that spend at once may count too little; there are none.
        self.spent.store(self.spent.load(Relaxed).saturating_add(reads), Relaxed);
    }
}

impl Granted {
    fn add(&mut self, entry: &ConstEntry) {
        let bytes = match &entry.data {
            ConstData::Owned(bytes) => bytes.len() as u64,
            ConstData::Mapped { source, offset } => {
                let len = entry.ty.dtype.bytes_for(count_of(&entry.ty)).unwrap_or(0);
                let end = offset.saturating_add(len).min(source.len());
                let counted = self.counted.entry(Arc::as_ptr(source).addr()).or_insert(0);
                let more = end.saturating_sub(*counted);
                *counted = end.max(*counted);
                more
            }
            _ => 0,
        };
        let reads = bytes.saturating_mul(PER_BYTE).saturating_add(PER_ENTRY);
        self.reads = self.reads.saturating_add(reads);
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
        let work = Work::default();
        work.spend(BASE);
        let sources: [Arc<dyn ByteSource>; 2] = [Arc::new(Source(1000)), Arc::new(Source(50))];
        let mut entries = Vec::new();
        let mut grant = |source: usize, offset: u64, bytes: u64| {
            let before = work.left(&entries);
            let data = ConstData::Mapped { source: sources[source].clone(), offset };
            entries.push(ConstEntry { ty: TensorType::of(DType::U8, &[bytes]), data });
            (work.left(&entries) - before - PER_ENTRY) / PER_BYTE
        };
        assert_eq!([grant(0, 0, 100), grant(0, 50, 100), grant(0, 0, 150)], [100, 50, 0]);
        assert_eq!([grant(1, 0, 40), grant(0, 0, 160), grant(1, 0, 40)], [40, 10, 0]);
        // No more than there are, whatever entries say.
        assert_eq!([grant(1, 20, 1 << 40), grant(0, u64::MAX, 9), grant(0, 0, 1000)], [10, 840, 0]);
        let data = ConstData::Splat([0].into());
        entries.push(ConstEntry { ty: TensorType::of(DType::U8, &[1 << 40]), data });
        assert_eq!(work.left(&entries), 10 * PER_ENTRY + 1050 * PER_BYTE);
        assert_eq!(work.clone().left(&entries), work.left(&entries));
        work.spend(u64::MAX);
        assert_eq!((work.left(&entries), work.clone().left(&entries)), (0, 0));
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
        // What entries grant shows once much is spent.
        pool.spend_evaluation(BASE);
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
