//! Derived entries: steps over a base entry, in f64, rounded once when they are read.

use super::{
    ConstError, ConstPool, ElementMap, decode_f64,
    embed::{self, Embedding},
    encode_f64,
    kernel::{Extremes, Kernel, extremes, scale_run, vectorised},
    vector::Vector,
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
    steps: Box<[Step]>,
}

/// What rounding from f64 to the stored type did to a derived entry; nothing where f64 is what is stored.
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
    #[inline(always)]
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

/// Elements computed at once: what a step reads and writes stays in the first cache.
const BLOCK: usize = 1024;

/// Bytes read at once: a multiple of every element's, and less than the second cache.
const PIECE: usize = 1 << 17;

/// What a step reads.
#[derive(Default)]
pub(super) struct Vectors<'a> {
    positions: Vec<u64>,
    values: Vector<'a>,
    embedding: Option<Box<Embedding<'a>>>,
}

impl Vectors<'_> {
    /// Adds what belongs to the elements of a block that begins at element `start`.
    fn scatter(&self, start: u64, block: &mut [f64]) {
        let first = self.positions.partition_point(|&p| p < start);
        for (&p, i) in self.positions.iter().zip(0..).skip(first) {
            match (block.get_mut((p - start) as usize), self.values.get(i)) {
                (Some(element), Some(x)) => *element += x,
                _ => return,
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
        Self { base, steps: [step].into() }
    }

    /// One more step.
    pub fn then(&self, step: Step) -> Self {
        let steps = self.steps.iter().cloned().chain([step]).collect();
        Self { base: self.base, steps }
    }

    /// The same base with other steps.
    pub(super) fn with_steps(&self, steps: Box<[Step]>) -> Self {
        Self { base: self.base, steps }
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
                    Vectors { values: Vector::new(pool, *v)?, ..Vectors::default() }
                }
                Step::Scatter { positions, addends } => {
                    let positions = pool.to_i64(*positions)?;
                    let positions = positions.into_iter().map(|p| p as u64).collect();
                    Vectors {
                        positions,
                        values: Vector::new(pool, *addends)?,
                        ..Vectors::default()
                    }
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
                map.zip_vector(start, out, &vectors[n - 1].values, |x, s| x * s);
                Ok(())
            }
            Step::Shift { map, .. } => {
                self.exact(pool, vectors, n - 1, start, out)?;
                map.zip_vector(start, out, &vectors[n - 1].values, |x, t| x + t);
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
        if let ([Step::Scale { map, .. }], DType::F32) = (&*self.steps, dtype)
            && in_runs(map)
        {
            return self.scale_f32(pool, map, &vectors[0].values, start, out, stats);
        }
        let streams = self.streams();
        let mut exact = [0.0; BLOCK];
        let mut stored = [0.0; BLOCK];
        let mut at = start / width;
        for piece in out.chunks_mut(PIECE) {
            if streams {
                // By `read_at`, many elements at once: the mapping must not be touched while streaming.
                pool.read_bytes(self.base, at * width, piece)?;
            }
            for bytes in piece.chunks_mut(BLOCK * width as usize) {
                let n = bytes.len() / width as usize;
                let block = &mut exact[..n];
                if !streams {
                    self.exact(pool, &vectors, self.steps.len(), at, block)?;
                }
                let stored = &mut stored[..n];
                let stats = stats.as_deref_mut();
                vectorised(Block {
                    derived: self,
                    pool,
                    vectors: &vectors,
                    dtype,
                    at,
                    streams,
                    exact: block,
                    bytes,
                    stored,
                    stats,
                })?;
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
        factors: &Vector<'_>,
        start: u64,
        out: &mut [u8],
        mut stats: Option<&mut RoundingStats>,
    ) -> Result<(), ConstError> {
        let mut at = start;
        for piece in out.chunks_mut(PIECE) {
            pool.read_bytes(self.base, at, piece)?;
            let len = piece.len() as u64;
            let stats = stats.as_deref_mut();
            vectorised(ScaleRuns { map, factors, start: at / 4, piece, stats });
            at += len;
        }
        Ok(())
    }

    /// Whether elements stand where their base elements stand.
    fn streams(&self) -> bool {
        !self.steps.iter().any(|s| matches!(s, Step::Broadcast { .. }))
    }

    #[inline(always)]
    fn measure(&self, start: u64, exact: &[f64], stored: &[f64], stats: &mut RoundingStats) {
        let single = ElementMap::single();
        let map = self.steps.iter().rev().find_map(|s| match s {
            Step::Scale { map, .. } | Step::Shift { map, .. } => Some(map),
            Step::Scatter { .. } | Step::Embed { .. } | Step::Broadcast { .. } => None,
        });
        // Runs of one element would compare each weight with itself only: take the block as one channel then.
        let map = map.filter(|m| in_runs(m)).unwrap_or(&single);
        let run = map.run();
        let (mut at, mut exact, mut stored) = (start, exact, stored);
        while !exact.is_empty() {
            let n = run.left(at).min(exact.len() as u64) as usize;
            let (here, later) = stored.split_at(n);
            let found = extremes(&exact[..n], here);
            stats.note(found, || here.iter().filter(|s| !s.is_finite()).count());
            (at, exact, stored) = (at + n as u64, &exact[n..], later);
        }
    }
}

/// Whether neighbours share a channel.
fn in_runs(map: &ElementMap) -> bool {
    map.terms().iter().all(|t| t.stride > 1)
}

/// f32 elements from element `start` on, each multiplied by the factor of its channel.
struct ScaleRuns<'k> {
    map: &'k ElementMap,
    factors: &'k Vector<'k>,
    start: u64,
    piece: &'k mut [u8],
    stats: Option<&'k mut RoundingStats>,
}

impl Kernel for ScaleRuns<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { map, factors, start, piece, mut stats } = self;
        let run = map.run();
        let (mut first, end) = (start, start + piece.len() as u64 / 4);
        while first < end {
            let n = run.left(first).min(end - first);
            let (from, to) = (first - start, first - start + n);
            let (elements, _) = piece[4 * from as usize..4 * to as usize].as_chunks_mut::<4>();
            let found = scale_run(elements, factors.get(map.at(first)).unwrap_or(f64::NAN));
            if let Some(stats) = &mut stats {
                let infinite = |e: &&[u8; 4]| !f32::from_le_bytes(**e).is_finite();
                stats.note(found, || elements.iter().filter(infinite).count());
            }
            first += n;
        }
    }
}

/// A block of elements from element `at` on: computed exactly, rounded, measured.
struct Block<'k, 'v> {
    derived: &'k Derived,
    pool: &'k ConstPool,
    vectors: &'k [Vectors<'v>],
    dtype: DType,
    at: u64,
    /// Whether `bytes` are those of the base; else `exact` is computed.
    streams: bool,
    exact: &'k mut [f64],
    bytes: &'k mut [u8],
    stored: &'k mut [f64],
    stats: Option<&'k mut RoundingStats>,
}

impl Kernel for Block<'_, '_> {
    type Output = Result<(), ConstError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { dtype, at, exact, bytes, stored, .. } = self;
        let not_numeric = Err(ConstError::NotNumeric(dtype));
        if self.streams {
            if !decode_f64(dtype, bytes, 0, exact) {
                return not_numeric;
            }
            for (s, v) in self.derived.steps.iter().zip(self.vectors) {
                match s {
                    Step::Scale { map, .. } => map.zip_vector(at, exact, &v.values, |x, s| x * s),
                    Step::Shift { map, .. } => map.zip_vector(at, exact, &v.values, |x, t| x + t),
                    Step::Scatter { .. } => v.scatter(at, exact),
                    Step::Embed { .. } => v.embed(self.pool, at, exact)?,
                    Step::Broadcast { .. } => {
                        unreachable!("elements do not stand where they stood")
                    }
                }
            }
        }
        if !encode_f64(dtype, exact, bytes) {
            return not_numeric;
        }
        if let Some(stats) = self.stats {
            decode_f64(dtype, bytes, 0, stored);
            self.derived.measure(at, exact, stored, stats);
        }
        Ok(())
    }
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
