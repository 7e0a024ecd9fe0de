//! Elements that are given: those of constants, and of functions that are bound.

use super::{ElementFn, Scalar, Tally};
use crate::{ConstId, ConstPool, DType, ElementReader, Value};
use smallvec::SmallVec;
use std::cell::OnceCell;

/// How elements of a constant are read.
enum Elements<'a> {
    /// From its bytes: most are read once or twice, and nothing is made for that.
    Bytes(&'a [u8]),
    Reader(Box<ElementReader<'a>>),
    /// One by one.
    Pool,
}

/// A constant.
pub(super) struct Stored<'a> {
    pub(super) entry: ConstId,
    /// The value that has its elements.
    pub(super) value: Value,
    /// Found when an element is read: of a wide concatenation, most constants never are.
    elements: OnceCell<Elements<'a>>,
    /// Who counts the reads.
    pub(super) tally: Option<&'a Tally>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(value: Value, entry: ConstId, tally: Option<&'a Tally>) -> Self {
        Self { entry, value, elements: OnceCell::new(), tally }
    }

    /// What `read` gives of a reader of its `count` elements; `None` where only the pool reads it.
    #[inline]
    pub(super) fn read<T>(
        &self,
        pool: &'a ConstPool,
        (dtype, count): (DType, u64),
        read: impl FnOnce(&ElementReader<'a>) -> T,
    ) -> Option<T> {
        let find = || match pool.plain_bytes(self.entry) {
            Some(bytes) => Elements::Bytes(bytes),
            None => {
                let reader = pool.element_reader(self.entry);
                reader.map_or(Elements::Pool, |reader| Elements::Reader(Box::new(reader)))
            }
        };
        match self.elements.get_or_init(find) {
            Elements::Bytes(bytes) => Some(read(&ElementReader::plain(dtype, count, bytes))),
            Elements::Reader(reader) => Some(read(reader)),
            Elements::Pool => None,
        }
    }
}

/// The largest rank that positions are kept in place for.
const RANK: usize = 8;

/// A binding's function, and how a linear index becomes positions for it.
pub(super) struct Lazy<'a> {
    f: Box<ElementFn<'a>>,
    /// ⌈2^64 / extent⌉ per axis: `(i · r) >> 64` is `i / extent` for `i` and extents below 2^32 (Lemire, Kaser, Kurz,
    /// "Faster remainder by direct computation", 2019), several times faster than a division. Empty where that does not
    /// hold.
    reciprocals: SmallVec<[u64; 4]>,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(f: Box<ElementFn<'a>>, dims: &[u64]) -> Self {
        let small = dims.len() <= RANK
            && super::index::count(dims).is_some_and(|n| u32::try_from(n).is_ok())
            && dims.iter().all(|&d| u32::try_from(d).is_ok());
        // With an extent of 1 there is nothing to divide, and 2^64 does not fit.
        let reciprocal = |&d: &u64| if d > 1 { u64::MAX / d + 1 } else { 0 };
        let reciprocals =
            if small { dims.iter().map(reciprocal).collect() } else { SmallVec::new() };
        Self { f, reciprocals }
    }

    pub(super) fn get(&self, dims: &[u64], i: u64) -> Scalar {
        (self.f)(&self.unravel(dims, i))
    }

    /// [`super::index::unravel`], faster where that can be.
    fn unravel(&self, dims: &[u64], mut i: u64) -> SmallVec<[u64; RANK]> {
        if self.reciprocals.len() != dims.len() {
            return SmallVec::from_slice(&super::index::unravel(dims, i));
        }
        let mut at = SmallVec::from_elem(0, dims.len());
        for ((p, &d), &r) in at.iter_mut().zip(dims).zip(&self.reciprocals).rev() {
            if d > 1 {
                let q = ((u128::from(i) * u128::from(r)) >> 64) as u64;
                *p = i - q * d;
                i = q;
            }
        }
        at
    }

    /// Floats at `first`, `first + stride`, …: usually neighbours along one axis.
    pub(super) fn get_strided(&self, dims: &[u64], first: u64, stride: u64, out: &mut [f64]) {
        let mut at = self.unravel(dims, first);
        let mut between = 1;
        let n = out.len() as u64;
        let axis = dims.iter().zip(&at).enumerate().rev().find_map(|(axis, (&d, &p))| {
            let is_along = between == stride && n <= d - p;
            between = between.saturating_mul(d);
            is_along.then_some(axis)
        });
        let mut i = first;
        for x in out {
            match axis {
                Some(axis) => {
                    *x = (self.f)(&at).to_f64();
                    at[axis] += 1;
                }
                None => *x = self.get(dims, i).to_f64(),
            }
            i = i.wrapping_add(stride);
        }
    }
}
