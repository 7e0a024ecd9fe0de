//! The data of constants, computed while it is written.

use crate::{FrontendError, save::ChunkProducer};
use normfold_ir::{ConstData, ConstEntry, ConstError, ConstId, ConstPool, RoundingStats};
use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

/// What was measured while constants streamed.
#[derive(Debug, Default)]
pub(crate) struct Measured(Mutex<BTreeMap<ConstId, RoundingStats>>);

impl Measured {
    fn add(&self, id: ConstId, stats: &RoundingStats) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(id).or_default().merge(stats);
    }

    /// Per entry, in the pool's order.
    pub(crate) fn take(self) -> Vec<(ConstId, RoundingStats)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }
}

/// A pool with what is measured while its entries are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    pub(crate) pool: &'a ConstPool,
    pub(crate) measured: &'a Measured,
}

#[derive(Debug)]
struct Chunks<'a> {
    weights: Weights<'a>,
    id: ConstId,
    name: String,
}

impl ChunkProducer for Chunks<'_> {
    fn len(&self) -> u64 {
        self.weights.pool.byte_len(self.id)
    }

    fn produce(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let pool = self.weights.pool;
        let derived = matches!(pool.entry(self.id).data, ConstData::Derived(_));
        let mut stats = RoundingStats::default();
        pool.read_bytes_measured(self.id, offset, buf, derived.then_some(&mut stats)).map_err(
            |e| match e {
                ConstError::Io(e) => io::Error::new(e.kind(), e.to_string()),
                e => io::Error::other(FrontendError::invalid("module", &*self.name, e.to_string())),
            },
        )?;
        if derived {
            self.weights.measured.add(self.id, &stats);
        }
        if stats.non_finite > 0 {
            let error =
                FrontendError::NonFinite { constant: self.name.clone(), entry: self.id.index() };
            return Err(io::Error::other(error));
        }
        Ok(())
    }
}

impl<'a> Weights<'a> {
    pub(crate) fn entry(self, id: ConstId) -> &'a ConstEntry {
        self.pool.entry(id)
    }

    /// The bytes of an entry, computed when they are written.
    pub(crate) fn chunks(self, id: ConstId, name: &str) -> Box<dyn ChunkProducer + 'a> {
        Box::new(Chunks { weights: self, id, name: name.to_owned() })
    }

    /// The bytes of an entry, computed now.
    pub(crate) fn bytes(self, id: ConstId, name: &str) -> Result<Vec<u8>, FrontendError> {
        let mut raw = vec![0; self.pool.byte_len(id) as usize];
        let chunks = Chunks { weights: self, id, name: name.to_owned() };
        chunks.produce(0, &mut raw).map_err(|e| match e.downcast::<FrontendError>() {
            Ok(e) => e,
            Err(e) => FrontendError::invalid("module", name, e.to_string()),
        })?;
        Ok(raw)
    }
}

/// The elements of a constant, row-major and little-endian, computed now.
///
/// # Errors
/// They are not at hand, cannot be read, or are not finite once rounded ([`FrontendError::NonFinite`]).
pub fn elements(pool: &ConstPool, id: ConstId, name: &str) -> Result<Vec<u8>, FrontendError> {
    let measured = Measured::default();
    Weights { pool, measured: &measured }.bytes(id, name)
}
