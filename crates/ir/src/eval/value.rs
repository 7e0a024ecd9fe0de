//! Scalars, tensors, bindings.

use super::{EvalError, index};
use crate::{ConstId, DType};
use std::{cell::Cell, fmt};

/// One element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    /// Of a float type.
    F(f64),
    /// Of an integer type, or a boolean (0 or 1).
    I(i64),
}

impl Scalar {
    /// As a float; integers beyond 2^53 round.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::F(v) => v,
            Scalar::I(v) => v as f64,
        }
    }

    /// As an integer; floats truncate and saturate, NaN is 0.
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::F(v) => v as i64,
            Scalar::I(v) => v,
        }
    }

    /// The variant that elements of `dtype` have.
    pub(super) fn of(self, dtype: DType) -> Self {
        if dtype.is_float() { Scalar::F(self.to_f64()) } else { Scalar::I(self.to_i64()) }
    }
}

impl From<f64> for Scalar {
    fn from(v: f64) -> Self {
        Scalar::F(v)
    }
}

impl From<i64> for Scalar {
    fn from(v: i64) -> Self {
        Scalar::I(v)
    }
}

impl From<bool> for Scalar {
    fn from(v: bool) -> Self {
        Scalar::I(i64::from(v))
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Elements {
    F(Vec<f64>),
    I(Vec<i64>),
}

/// A whole value, row-major. Floats of every type are held as f64, integers and booleans as i64.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    dtype: DType,
    dims: Vec<u64>,
    elements: Elements,
}

impl Tensor {
    /// A tensor of a float type. The values are taken as they are, not rounded to the type.
    ///
    /// # Panics
    /// The type is no float type, or the number of values is not that of the extents.
    #[track_caller]
    pub fn floats(dtype: DType, dims: &[u64], values: Vec<f64>) -> Self {
        assert!(dtype.is_float(), "{dtype} is no float type");
        assert_eq!(index::count(dims), Some(values.len() as u64), "values of a tensor {dims:?}");
        Self { dtype, dims: dims.to_vec(), elements: Elements::F(values) }
    }

    /// A tensor of an integer type or of booleans.
    ///
    /// # Panics
    /// The type is neither, or the number of values is not that of the extents.
    #[track_caller]
    pub fn ints(dtype: DType, dims: &[u64], values: Vec<i64>) -> Self {
        assert!(dtype.is_int() || dtype == DType::Bool, "{dtype} is neither integer nor boolean");
        assert_eq!(index::count(dims), Some(values.len() as u64), "values of a tensor {dims:?}");
        Self { dtype, dims: dims.to_vec(), elements: Elements::I(values) }
    }

    /// A tensor from its elements, in order.
    pub(super) fn collect(
        dtype: DType,
        dims: &[u64],
        n: u64,
        mut element: impl FnMut(u64) -> Result<Scalar, EvalError>,
    ) -> Result<Self, EvalError> {
        let elements = if dtype.is_float() {
            Elements::F((0..n).map(|i| Ok(element(i)?.to_f64())).collect::<Result<_, EvalError>>()?)
        } else if dtype.is_int() || dtype == DType::Bool {
            Elements::I((0..n).map(|i| Ok(element(i)?.to_i64())).collect::<Result<_, EvalError>>()?)
        } else {
            return Err(EvalError::NotNumeric(dtype));
        };
        Ok(Self { dtype, dims: dims.to_vec(), elements })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents.
    pub fn dims(&self) -> &[u64] {
        &self.dims
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.elements {
            Elements::F(v) => v.len(),
            Elements::I(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i` in row-major order.
    pub fn get(&self, i: usize) -> Option<Scalar> {
        match &self.elements {
            Elements::F(v) => v.get(i).map(|&v| Scalar::F(v)),
            Elements::I(v) => v.get(i).map(|&v| Scalar::I(v)),
        }
    }

    /// Every element as a float; integers beyond 2^53 round.
    pub fn to_f64s(&self) -> Vec<f64> {
        match &self.elements {
            Elements::F(v) => v.clone(),
            Elements::I(v) => v.iter().map(|&v| v as f64).collect(),
        }
    }

    /// Every element as an integer; floats truncate and saturate.
    pub fn to_i64s(&self) -> Vec<i64> {
        match &self.elements {
            Elements::F(v) => v.iter().map(|&v| v as i64).collect(),
            Elements::I(v) => v.clone(),
        }
    }
}

/// From an index, one position per axis, to the element there.
pub type ElementFn<'a> = dyn Fn(&[u64]) -> Scalar + 'a;

/// What a value is given instead of being computed.
pub enum Binding<'a> {
    /// All elements.
    Tensor(Tensor),
    /// A function from the index to the element. It must give the same element each time; it is called with one position
    /// per axis, each below its extent.
    Lazy {
        /// The element type.
        dtype: DType,
        /// The extents.
        dims: Vec<u64>,
        /// The function.
        f: Box<ElementFn<'a>>,
    },
    /// Made-up data: numbers in (0, 1], multiples of 1/64, which follow from the seed and the position in row-major order.
    Sample {
        /// The element type, a float.
        dtype: DType,
        /// The extents.
        dims: Vec<u64>,
        /// Different seeds give different data.
        seed: u64,
    },
    /// What an entry of the pool stores.
    Stored {
        /// The entry.
        entry: ConstId,
        /// Whether every read counts in the evaluator's tally.
        counted: bool,
    },
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Element `i` of [`Binding::Sample`]. Neighbours along every axis differ.
#[inline]
pub(super) fn sample(seed: u64, i: u64) -> f64 {
    mixed(start(seed).wrapping_add(i.wrapping_mul(STEP)))
}

/// Elements `first`, `first + stride`, …
#[inline]
pub(super) fn samples(seed: u64, first: u64, stride: u64, out: &mut [f64]) {
    let mut sum = start(seed).wrapping_add(first.wrapping_mul(STEP));
    let step = stride.wrapping_mul(STEP);
    for x in out {
        *x = mixed(sum);
        sum = sum.wrapping_add(step);
    }
}

#[inline]
fn start(seed: u64) -> u64 {
    seed.wrapping_mul(0xa076_1d64_78bd_642f).wrapping_add(STEP)
}

#[inline]
fn mixed(sum: u64) -> f64 {
    let mixed = (sum ^ (sum >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    // Below 64, so the shorter conversion does.
    f64::from((mixed >> 58) as u32 + 1) / 64.0
}

/// What was read of constants. Bounds of rounding errors follow from it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Counted {
    /// The sum of the magnitudes, each as often as it counts in the result.
    pub magnitude: f64,
    /// How many elements, each as often as it counts in the result, which where elements are shared again and again is more than
    /// integers hold.
    pub reads: f64,
    /// How many terms were added up to come to it: what is shared and computed once is a term from there on.
    pub terms: u64,
}

/// Counts what is read of constants.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    counted: Cell<Counted>,
}

impl Tally {
    /// Counts one element.
    #[inline]
    pub fn note(&self, x: f64) {
        self.add(Counted { magnitude: x.abs(), reads: 1.0, terms: 1 });
    }

    /// Counts what was counted elsewhere.
    #[inline]
    pub(super) fn add(&self, more: Counted) {
        let Counted { magnitude, reads, terms } = self.counted.get();
        self.counted.set(Counted {
            magnitude: magnitude + more.magnitude,
            reads: reads + more.reads,
            terms: terms.saturating_add(more.terms),
        });
    }

    /// Counts each.
    pub fn note_all(&self, list: &[f64]) {
        // Several sums at once do not wait for each other.
        let mut sums = [0.0; 4];
        let (fours, rest) = list.as_chunks::<4>();
        for four in fours {
            for (sum, x) in sums.iter_mut().zip(four) {
                *sum += x.abs();
            }
        }
        let rest: f64 = rest.iter().map(|x| x.abs()).sum();
        let sum = sums.iter().sum::<f64>() + rest;
        let n = list.len() as u64;
        self.add(Counted { magnitude: sum, reads: n as f64, terms: n });
    }

    /// What was counted since the last call.
    pub fn take(&self) -> Counted {
        self.counted.take()
    }
}

impl fmt::Debug for Binding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Binding::Tensor(t) => f.debug_tuple("Tensor").field(t).finish(),
            Binding::Lazy { dtype, dims, .. } => {
                f.debug_struct("Lazy").field("dtype", dtype).field("dims", dims).finish()
            }
            Binding::Sample { dtype, dims, seed } => f
                .debug_struct("Sample")
                .field("dtype", dtype)
                .field("dims", dims)
                .field("seed", seed)
                .finish(),
            Binding::Stored { entry, .. } => f.debug_tuple("Stored").field(entry).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, sample, samples};

    #[test]
    fn several_at_once_are_those_one_by_one() {
        for (first, stride, n) in [(0, 1, 9), (5, 7, 4), (9, 0, 2), (u64::MAX, 3, 3), (1, 1, 0)] {
            let mut out = vec![f64::NAN; n];
            samples(3, first, stride, &mut out);
            let at = |k: usize| first.wrapping_add(stride.wrapping_mul(k as u64));
            let one_by_one: Vec<f64> = (0..n).map(|k| sample(3, at(k))).collect();
            assert_eq!(out, one_by_one);
            let (a, b) = (Tally::default(), Tally::default());
            a.note_all(&out);
            out.iter().for_each(|&x| b.note(x));
            assert_eq!(a.take(), b.take());
        }
    }

    #[test]
    fn neighbours_of_samples_differ() {
        let mut equal = 0;
        for i in 0..100u64 {
            let x = sample(0, i);
            assert!(x > 0.0 && x <= 1.0 && (x * 64.0).fract() == 0.0);
            // Beside it on axes with so much between neighbours, and in other data.
            let others = [sample(0, i + 1), sample(0, i + 14), sample(0, i + 196), sample(1, i)];
            equal += others.iter().filter(|&&y| y == x).count();
        }
        assert!(equal < 20, "{equal} of 400");
    }
}
