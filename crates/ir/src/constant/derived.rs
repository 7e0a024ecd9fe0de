//! Derived entries: steps over a base entry, in f64, rounded once when they are read.

use super::{
    ConstError, ConstPool, ElementMap, decode_f64,
    embed::{self, Embedding},
    encode_f64,
};
use crate::{ConstId, DType};
use smallvec::SmallVec;

/// One step from a tensor to a tensor of the same element type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// `x · factors[map(i)]`.
    Scale {
        /// Which factor an element has.
        map: ElementMap,
        /// An f64 vector.
        factors: ConstId,
    },
    /// `x + addends[map(i)]`.
    Shift {
        /// Which addend an element has.
        map: ElementMap,
        /// An f64 vector.
        addends: ConstId,
    },
    /// `x[positions[k]] + addends[k]`; every other element stays.
    Scatter {
        /// Linear element indices, strictly ascending: an i64 vector.
        positions: ConstId,
        /// An f64 vector of the same length.
        addends: ConstId,
    },
    /// `x[offset + j] + source[j]`, or minus that; every other element stays.
    Embed {
        /// A tensor of the same element type and rank, which counts before it is rounded.
        source: ConstId,
        /// Where its first element stands, per axis.
        offset: Vec<u64>,
        /// Whether it is taken away.
        negated: bool,
    },
    /// Numpy broadcasting to `dims`.
    Broadcast {
        /// The extents.
        dims: Vec<u64>,
    },
}

/// A base entry and the steps from it. The base is never derived itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Derived {
    base: ConstId,
    steps: SmallVec<[Step; 2]>,
}

/// What rounding to the stored type did to a derived entry.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RoundingStats {
    /// The largest `|stored − exact|` relative to the largest exact magnitude of the same channel (or of the same block,
    /// where a channel spans several).
    pub relative_error: f64,
    /// How many elements are not finite.
    pub non_finite: u64,
}

impl RoundingStats {
    /// Takes in what was found of elements of one channel.
    fn note(&mut self, (largest, error, sum): Extremes, non_finite: impl FnOnce() -> usize) {
        if sum.is_nan() {
            self.non_finite += non_finite() as u64;
        } else if largest > 0.0 {
            self.relative_error = self.relative_error.max(error / largest);
        }
    }

    /// Both together.
    pub fn merge(&mut self, other: &RoundingStats) {
        self.relative_error = self.relative_error.max(other.relative_error);
        self.non_finite += other.non_finite;
    }
}

const BLOCK: usize = 4096;

/// What a step reads.
#[derive(Default)]
pub(super) struct Vectors<'a> {
    positions: Vec<u64>,
    values: Vec<f64>,
    embedding: Option<Box<Embedding<'a>>>,
}

impl Vectors<'_> {
    /// Adds what belongs to the elements of a block that begins at element `start`.
    fn scatter(&self, start: u64, block: &mut [f64]) {
        let first = self.positions.partition_point(|&p| p < start);
        for (&p, &x) in self.positions.iter().zip(&self.values).skip(first) {
            match block.get_mut((p - start) as usize) {
                Some(element) => *element += x,
                None => return,
            }
        }
    }

    fn embed(&self, pool: &ConstPool, start: u64, block: &mut [f64]) -> Result<(), ConstError> {
        self.embedding.as_ref().map_or(Ok(()), |e| e.add(pool, start, block))
    }
}

impl Derived {
    /// One step over a base that is not derived.
    pub fn new(base: ConstId, step: Step) -> Self {
        Self { base, steps: SmallVec::from_iter([step]) }
    }

    /// One more step.
    pub fn then(&self, step: Step) -> Self {
        let mut d = self.clone();
        d.steps.push(step);
        d
    }

    /// The base entry.
    pub fn base(&self) -> ConstId {
        self.base
    }

    /// The steps, first applied first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Every entry it is computed from.
    pub fn sources(&self) -> impl Iterator<Item = ConstId> + '_ {
        let of = |s: &Step| match s {
            Step::Scale { factors: v, .. } | Step::Shift { addends: v, .. } => [Some(*v), None],
            Step::Scatter { positions, addends } => [Some(*positions), Some(*addends)],
            Step::Embed { source, .. } => [Some(*source), None],
            Step::Broadcast { .. } => [None, None],
        };
        std::iter::once(self.base).chain(self.steps.iter().flat_map(of).flatten())
    }

    /// What the steps read, but for the elements of embedded tensors: once per call of the readers below.
    pub(super) fn vectors<'a>(
        &'a self,
        pool: &'a ConstPool,
    ) -> Result<SmallVec<[Vectors<'a>; 2]>, ConstError> {
        let of = |(n, s): (usize, &Step)| {
            Ok(match s {
                Step::Scale { factors: v, .. } | Step::Shift { addends: v, .. } => {
                    Vectors { values: pool.to_f64(*v)?, ..Vectors::default() }
                }
                Step::Scatter { positions, addends } => {
                    let positions = pool.to_i64(*positions)?;
                    let positions = positions.into_iter().map(|p| p as u64).collect();
                    Vectors { positions, values: pool.to_f64(*addends)?, ..Vectors::default() }
                }
                Step::Embed { source, offset, negated } => {
                    let dims = self.dims_after(pool, n);
                    let embedding = Embedding::new(pool, *source, offset, *negated, &dims)?;
                    Vectors { embedding: Some(Box::new(embedding)), ..Vectors::default() }
                }
                Step::Broadcast { .. } => Vectors::default(),
            })
        };
        self.steps.iter().enumerate().map(of).collect()
    }

    /// Element `i` in f64, not rounded.
    pub(super) fn element_exact(&self, pool: &ConstPool, i: u64) -> Result<f64, ConstError> {
        self.element_after(pool, self.steps.len(), i)
    }

    fn element_after(&self, pool: &ConstPool, n: usize, i: u64) -> Result<f64, ConstError> {
        let Some(last) = n.checked_sub(1) else { return pool.element_f64(self.base, i) };
        match &self.steps[last] {
            Step::Scale { map, factors } => {
                Ok(self.element_after(pool, last, i)? * pool.element_f64(*factors, map.at(i))?)
            }
            Step::Shift { map, addends } => {
                Ok(self.element_after(pool, last, i)? + pool.element_f64(*addends, map.at(i))?)
            }
            Step::Scatter { positions, addends } => {
                let (mut low, mut high) = (0, pool.count(*positions));
                while low < high {
                    let middle = low + (high - low) / 2;
                    // Indices of elements are exact in f64.
                    if (pool.element_f64(*positions, middle)? as u64) < i {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                let x = self.element_after(pool, last, i)?;
                let here =
                    low < pool.count(*positions) && pool.element_f64(*positions, low)? as u64 == i;
                Ok(if here { x + pool.element_f64(*addends, low)? } else { x })
            }
            Step::Embed { source, offset, negated } => {
                let x = self.element_after(pool, last, i)?;
                let dims = self.dims_after(pool, last);
                let added = embed::addend(pool, *source, offset, *negated, &dims, i)?;
                Ok(added.map_or(x, |a| x + a))
            }
            Step::Broadcast { dims } => self.element_after(
                pool,
                last,
                broadcast_source(&self.dims_after(pool, last), dims, i),
            ),
        }
    }

    /// Elements in f64, not rounded.
    pub(super) fn read_exact(
        &self,
        pool: &ConstPool,
        start: u64,
        out: &mut [f64],
    ) -> Result<(), ConstError> {
        self.exact_all(pool, &self.vectors(pool)?, start, out)
    }

    /// [`Derived::read_exact`], with what the steps read at hand.
    pub(super) fn exact_all(
        &self,
        pool: &ConstPool,
        vectors: &[Vectors<'_>],
        start: u64,
        out: &mut [f64],
    ) -> Result<(), ConstError> {
        let mut at = start;
        for block in out.chunks_mut(BLOCK) {
            self.exact(pool, vectors, self.steps.len(), at, block)?;
            at += block.len() as u64;
        }
        Ok(())
    }

    /// The exact (f64) elements after the first `n` steps.
    fn exact(
        &self,
        pool: &ConstPool,
        vectors: &[Vectors<'_>],
        n: usize,
        start: u64,
        out: &mut [f64],
    ) -> Result<(), ConstError> {
        let Some(step) = n.checked_sub(1).map(|i| &self.steps[i]) else {
            return pool.read_f64(self.base, start, out);
        };
        match step {
            Step::Scale { map, .. } => {
                self.exact(pool, vectors, n - 1, start, out)?;
                map.zip(start, out, &vectors[n - 1].values, |x, s| x * s);
                Ok(())
            }
            Step::Shift { map, .. } => {
                self.exact(pool, vectors, n - 1, start, out)?;
                map.zip(start, out, &vectors[n - 1].values, |x, t| x + t);
                Ok(())
            }
            Step::Scatter { .. } => {
                self.exact(pool, vectors, n - 1, start, out)?;
                vectors[n - 1].scatter(start, out);
                Ok(())
            }
            Step::Embed { .. } => {
                self.exact(pool, vectors, n - 1, start, out)?;
                vectors[n - 1].embed(pool, start, out)
            }
            Step::Broadcast { dims } => {
                let from = self.dims_after(pool, n - 1);
                for (k, o) in out.iter_mut().enumerate() {
                    *o = self.element_after(
                        pool,
                        n - 1,
                        broadcast_source(&from, dims, start + k as u64),
                    )?;
                }
                Ok(())
            }
        }
    }

    fn dims_after(&self, pool: &ConstPool, n: usize) -> Vec<u64> {
        let last = self.steps[..n].iter().rev().find_map(|s| match s {
            Step::Broadcast { dims } => Some(dims.clone()),
            _ => None,
        });
        last.unwrap_or_else(|| pool.dims(self.base))
    }

    /// The stored bytes of elements from byte `start` on.
    pub(super) fn read_bytes(
        &self,
        pool: &ConstPool,
        dtype: DType,
        start: u64,
        out: &mut [u8],
        mut stats: Option<&mut RoundingStats>,
    ) -> Result<(), ConstError> {
        let width = u64::from(dtype.bits() / 8);
        if width == 0 || !start.is_multiple_of(width) || !(out.len() as u64).is_multiple_of(width) {
            return Err(ConstError::NotNumeric(dtype));
        }
        let vectors = self.vectors(pool)?;
        if let ([Step::Scale { map, .. }], DType::F32) = (self.steps.as_slice(), dtype)
            && in_runs(map)
        {
            return self.scale_f32(pool, map, &vectors[0].values, start, out, stats);
        }
        // Raw bytes come by `read_at`, in pieces of a page or more: the mapping must not be touched while streaming.
        let piece = BLOCK * 16;
        let largest = (piece * width as usize).min(out.len());
        let mut raw = vec![0; if self.streams() { largest } else { 0 }];
        let mut exact = [0.0; BLOCK];
        let mut stored = [0.0; BLOCK];
        let mut at = start / width;
        for big in out.chunks_mut(piece * width as usize) {
            let raw = &mut raw[..if self.streams() { big.len() } else { 0 }];
            if self.streams() {
                pool.read_bytes(self.base, at * width, raw)?;
            }
            for (k, bytes) in big.chunks_mut(BLOCK * width as usize).enumerate() {
                let n = bytes.len() / width as usize;
                let block = &mut exact[..n];
                if self.streams() {
                    if !decode_f64(dtype, raw, (k * BLOCK) as u64, block) {
                        return Err(ConstError::NotNumeric(dtype));
                    }
                    for (s, v) in self.steps.iter().zip(&vectors) {
                        match s {
                            Step::Scale { map, .. } => map.zip(at, block, &v.values, |x, s| x * s),
                            Step::Shift { map, .. } => map.zip(at, block, &v.values, |x, t| x + t),
                            Step::Scatter { .. } => v.scatter(at, block),
                            Step::Embed { .. } => v.embed(pool, at, block)?,
                            Step::Broadcast { .. } => unreachable!("streams() excludes it"),
                        }
                    }
                } else {
                    self.exact(pool, &vectors, self.steps.len(), at, block)?;
                }
                if !encode_f64(dtype, block, bytes) {
                    return Err(ConstError::NotNumeric(dtype));
                }
                if let Some(stats) = &mut stats {
                    decode_f64(dtype, bytes, 0, &mut stored[..n]);
                    self.measure(at, block, &stored[..n], stats);
                }
                at += n as u64;
            }
        }
        Ok(())
    }

    /// [`Derived::read_bytes`] of the usual case, f32 weights with one factor per channel, in one go over the bytes.
    fn scale_f32(
        &self,
        pool: &ConstPool,
        map: &ElementMap,
        factors: &[f64],
        start: u64,
        out: &mut [u8],
        mut stats: Option<&mut RoundingStats>,
    ) -> Result<(), ConstError> {
        let mut at = start;
        for piece in out.chunks_mut(BLOCK * 64) {
            pool.read_bytes(self.base, at, piece)?;
            map.for_runs(at / 4, piece.len() as u64 / 4, |first, n, channel| {
                let run = &mut piece[4 * first as usize..4 * (first + n) as usize];
                let (elements, _) = run.as_chunks_mut::<4>();
                let found = scale_run(elements, factors[channel as usize]);
                if let Some(stats) = &mut stats {
                    let infinite = |e: &&[u8; 4]| !f32::from_le_bytes(**e).is_finite();
                    stats.note(found, || elements.iter().filter(infinite).count());
                }
            });
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Whether elements stand where their base elements stand.
    fn streams(&self) -> bool {
        !self.steps.iter().any(|s| matches!(s, Step::Broadcast { .. }))
    }

    fn measure(&self, start: u64, exact: &[f64], stored: &[f64], stats: &mut RoundingStats) {
        let single = ElementMap::single();
        let map = self.steps.iter().rev().find_map(|s| match s {
            Step::Scale { map, .. } | Step::Shift { map, .. } => Some(map),
            Step::Scatter { .. } | Step::Embed { .. } | Step::Broadcast { .. } => None,
        });
        // Runs of one element would compare each weight with itself only: take the block as one channel then.
        let map = map.filter(|m| in_runs(m)).unwrap_or(&single);
        map.for_runs(start, exact.len() as u64, |first, n, _| {
            let range = first as usize..(first + n) as usize;
            let found = extremes(&exact[range.clone()], &stored[range.clone()]);
            stats.note(found, || stored[range].iter().filter(|s| !s.is_finite()).count());
        });
    }
}

/// Whether neighbours share a channel.
fn in_runs(map: &ElementMap) -> bool {
    map.terms().iter().all(|t| t.stride > 1)
}

/// Multiplies little-endian f32 elements by `s` in f64, rounds each once, and gives what [`extremes`] gives.
fn scale_run(elements: &mut [[u8; 4]], s: f64) -> Extremes {
    const LANES: usize = 8;
    let (mut largest, mut error, mut sum) = ([0.0; LANES], [0.0; LANES], [0.0f32; LANES]);
    let mut step = |e: &mut [u8; 4], k: usize| {
        let exact = f64::from(f32::from_le_bytes(*e)) * s;
        let stored = exact as f32;
        *e = stored.to_le_bytes();
        largest[k] = larger(exact.abs(), largest[k]);
        error[k] = larger((f64::from(stored) - exact).abs(), error[k]);
        sum[k] += stored * 0.0;
    };
    let (chunks, tail) = elements.as_chunks_mut::<LANES>();
    for chunk in chunks {
        chunk.iter_mut().enumerate().for_each(|(k, e)| step(e, k));
    }
    tail.iter_mut().for_each(|e| step(e, 0));
    let sum: f32 = sum.iter().sum();
    (largest.into_iter().fold(0.0, larger), error.into_iter().fold(0.0, larger), sum.into())
}

fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The largest magnitude, the largest error, and a sum that is NaN when an element is not finite.
type Extremes = (f64, f64, f64);

/// The largest `|exact|`, the largest `|stored − exact|`, and `Σ 0·stored`, which is NaN when an element is not finite
/// (0·∞ and 0·NaN) and 0 otherwise. Eight lanes, so that the loop vectorises: float maxima are not reordered by compilers.
fn extremes(exact: &[f64], stored: &[f64]) -> Extremes {
    const LANES: usize = 8;
    let (mut largest, mut error, mut sum) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let (es, tail) = exact.as_chunks::<LANES>();
    let (ss, _) = stored.as_chunks::<LANES>();
    for (e, s) in es.iter().zip(ss) {
        for k in 0..LANES {
            largest[k] = larger(e[k].abs(), largest[k]);
            error[k] = larger((s[k] - e[k]).abs(), error[k]);
            sum[k] += s[k] * 0.0;
        }
    }
    for (&e, &s) in tail.iter().zip(&stored[exact.len() - tail.len()..]) {
        largest[0] = larger(e.abs(), largest[0]);
        error[0] = larger((s - e).abs(), error[0]);
        sum[0] += s * 0.0;
    }
    (largest.into_iter().fold(0.0, larger), error.into_iter().fold(0.0, larger), sum.iter().sum())
}

/// The element of a tensor of extents `from` that element `i` of its broadcast to `dims` reads.
fn broadcast_source(from: &[u64], dims: &[u64], i: u64) -> u64 {
    let lead = dims.len() - from.len();
    let (mut rest, mut source, mut stride) = (i, 0, 1);
    for (axis, &d) in dims.iter().enumerate().rev() {
        let at = rest % d.max(1);
        rest /= d.max(1);
        if axis >= lead {
            let extent = from[axis - lead];
            source += if extent == 1 { 0 } else { at } * stride;
            stride *= extent;
        }
    }
    source
}

#[cfg(test)]
mod tests;
