//! Factors and addends, as steps read them.

use super::{ConstData, ConstError, ConstPool};
use crate::{ConstId, DType};

/// The elements of a vector, in f64.
#[derive(Debug)]
pub(crate) enum Vector<'a> {
    /// Where they are in the pool, little-endian, as folds leave them: there may be as many as the weights that they scale.
    Stored(&'a [[u8; 8]]),
    Decoded(Vec<f64>),
}

impl Default for Vector<'_> {
    fn default() -> Self {
        Self::Decoded(Vec::new())
    }
}

impl<'a> Vector<'a> {
    pub(super) fn new(pool: &'a ConstPool, id: ConstId) -> Result<Self, ConstError> {
        match &pool.entry(id).data {
            ConstData::Owned(bytes) if pool.dtype(id) == DType::F64 => {
                Ok(Self::Stored(bytes.as_chunks().0))
            }
            _ => pool.to_f64(id).map(Self::Decoded),
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, i: u64) -> Option<f64> {
        match self {
            Self::Stored(list) => list.get(i as usize).map(|&b| f64::from_le_bytes(b)),
            Self::Decoded(list) => list.get(i as usize).copied(),
        }
    }
}
