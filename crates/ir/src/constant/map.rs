//! Which channel an element belongs to.

use super::vector::Vector;
use smallvec::SmallVec;

/// One term of an [`ElementMap`]: `(i / stride) % size / div · mul` of the linear element index `i`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MapTerm {
    /// Elements between neighbours along the axis.
    pub stride: u64,
    /// Extent of the axis.
    pub size: u64,
    /// Divisor of the position.
    pub div: u64,
    /// Factor of the quotient.
    pub mul: u64,
}

/// Stretches of that many elements; `None` for one of all.
#[derive(Clone, Copy)]
pub(crate) struct Run(Option<u64>);

impl Run {
    /// The elements from `i` to the end of its stretch.
    #[inline(always)]
    pub(crate) fn left(self, i: u64) -> u64 {
        self.0.map_or(u64::MAX, |run| run - i % run)
    }
}

/// From a linear element index to a channel: a sum of terms, one per axis that matters.
///
/// One form says every layout: an axis of its own (`OIHW`, `HWIO`), a group offset (`(c ÷ (C/g))·(M/g) + m` of a grouped
/// transposed convolution), two axes that together are the channel (`HWCM`), repetition and tiling behind a reshape.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ElementMap {
    terms: SmallVec<[MapTerm; 2]>,
}

impl ElementMap {
    /// The position along axis `axis` of a row-major tensor.
    pub fn axis(dims: &[u64], axis: usize) -> Self {
        Self::default().and(dims, axis, 1, 1)
    }

    /// Every element to channel 0.
    pub fn single() -> Self {
        Self::default()
    }

    /// Adds `position(axis) / div · mul`.
    pub fn and(mut self, dims: &[u64], axis: usize, div: u64, mul: u64) -> Self {
        let size = dims[axis];
        if size > div {
            let stride = dims[axis + 1..].iter().product();
            self.terms.push(MapTerm { stride, size, div, mul });
        }
        self
    }

    /// A map of these terms.
    pub fn from_terms(terms: impl IntoIterator<Item = MapTerm>) -> Self {
        Self { terms: terms.into_iter().collect() }
    }

    /// The terms.
    pub fn terms(&self) -> &[MapTerm] {
        &self.terms
    }

    /// The channel of element `i`.
    pub fn at(&self, i: u64) -> u64 {
        self.terms.iter().map(|t| (i / t.stride) % t.size / t.div * t.mul).sum()
    }

    /// The stretches of elements on which the channel is one.
    #[inline(always)]
    pub(crate) fn run(&self) -> Run {
        Run(self.terms.iter().map(|t| t.stride).min())
    }

    /// Calls `f(first element relative to start, number, channel)` for stretches of `start .. start + len` on which the
    /// channel is one.
    #[inline(always)]
    pub fn for_runs(&self, start: u64, len: u64, mut f: impl FnMut(u64, u64, u64)) {
        let run = self.run();
        let (mut i, end) = (start, start + len);
        while i < end {
            let n = run.left(i).min(end - i);
            f(i - start, n, self.at(i));
            i += n;
        }
    }

    /// Applies `f(element, value of its channel)` to a block that begins at element `start`.
    #[inline(always)]
    pub fn zip(
        &self,
        start: u64,
        block: &mut [f64],
        per_channel: &[f64],
        f: impl Fn(f64, f64) -> f64 + Copy,
    ) {
        self.zip_each(start, block, per_channel, |&x| x, f);
    }

    /// [`ElementMap::zip`], with what a step reads.
    #[inline(always)]
    pub(super) fn zip_vector(
        &self,
        start: u64,
        block: &mut [f64],
        per_channel: &Vector<'_>,
        f: impl Fn(f64, f64) -> f64 + Copy,
    ) {
        match per_channel {
            Vector::Stored(list) => {
                self.zip_each(start, block, list, |&b| f64::from_le_bytes(b), f)
            }
            Vector::Decoded(list) => self.zip_each(start, block, list, |&x| x, f),
        }
    }

    #[inline(always)]
    fn zip_each<T>(
        &self,
        start: u64,
        block: &mut [f64],
        per_channel: &[T],
        value: impl Fn(&T) -> f64 + Copy,
        f: impl Fn(f64, f64) -> f64 + Copy,
    ) {
        // The innermost axis is the channel: neighbours have neighbouring channels, so walk both slices in step.
        if let [t] = self.terms.as_slice()
            && t.stride == 1
            && t.div == 1
            && t.mul == 1
        {
            let mut at = (start % t.size) as usize;
            let mut rest = block;
            while !rest.is_empty() {
                let n = rest.len().min(t.size as usize - at);
                let (head, tail) = rest.split_at_mut(n);
                for (x, c) in head.iter_mut().zip(&per_channel[at..at + n]) {
                    *x = f(*x, value(c));
                }
                rest = tail;
                at = 0;
            }
            return;
        }
        let run = self.run();
        let (mut i, mut rest) = (start, block);
        while !rest.is_empty() {
            let n = run.left(i).min(rest.len() as u64);
            let (head, tail) = rest.split_at_mut(n as usize);
            let c = value(&per_channel[self.at(i) as usize]);
            head.iter_mut().for_each(|x| *x = f(*x, c));
            (i, rest) = (i + n, tail);
        }
    }
}
