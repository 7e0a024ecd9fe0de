//! Embedding: a tensor added to a larger one of the same rank, somewhere within it.

use super::{ConstData, ConstError, ConstPool, Derived, derived::Vectors, elements::decode_f64};
use crate::{ConstId, DType};
use smallvec::SmallVec;

/// Whether `source` fits into a tensor of extents `dims` and element type `dtype` at `offset`.
pub(crate) fn embeds(
    pool: &ConstPool,
    source: ConstId,
    offset: &[u64],
    dtype: DType,
    dims: &[u64],
) -> bool {
    let from = pool.dims(source);
    let mut ends = from.iter().zip(offset).map(|(f, o)| f.checked_add(*o)).zip(dims);
    pool.dtype(source) == dtype
        && from.len() == dims.len()
        && offset.len() == dims.len()
        && ends.all(|(end, &d)| end.is_some_and(|end| end <= d))
}

/// An axis of both tensors.
#[derive(Clone, Copy)]
struct Axis {
    into: u64,
    from: u64,
    offset: u64,
}

/// A smaller tensor within a larger one, resolved for reading.
pub(super) struct Embedding<'a> {
    axes: SmallVec<[Axis; 5]>,
    sign: f64,
    source: Source<'a>,
}

enum Source<'a> {
    Stored(ConstId),
    Derived(&'a Derived, SmallVec<[Vectors<'a>; 2]>),
}

impl<'a> Embedding<'a> {
    pub(super) fn new(
        pool: &'a ConstPool,
        source: ConstId,
        offset: &[u64],
        negated: bool,
        dims: &[u64],
    ) -> Result<Self, ConstError> {
        let from = pool.dims(source);
        let axes = dims.iter().zip(&from).zip(offset);
        Ok(Self {
            axes: axes.map(|((&into, &from), &offset)| Axis { into, from, offset }).collect(),
            sign: if negated { -1.0 } else { 1.0 },
            source: match &pool.entry(source).data {
                ConstData::Derived(d) => Source::Derived(d, d.vectors(pool)?),
                _ => Source::Stored(source),
            },
        })
    }

    /// The first element of the source that stands at element `i` of the larger tensor or behind it. Both are row-major,
    /// so the elements of a stretch of the larger tensor are a stretch of the source.
    fn first_from(&self, i: u64) -> u64 {
        let count: u64 = self.axes.iter().map(|a| a.from).product();
        let total: u64 = self.axes.iter().map(|a| a.into).product();
        if i >= total {
            return count;
        }
        let (mut rest, mut stride, mut prefix, mut rows) = (i, total, 0, count);
        for a in &self.axes {
            stride /= a.into;
            rows /= a.from.max(1);
            let at = rest / stride;
            rest %= stride;
            if at < a.offset {
                return prefix;
            }
            if at - a.offset >= a.from {
                return prefix + a.from * rows;
            }
            prefix += (at - a.offset) * rows;
        }
        prefix
    }

    /// Adds what belongs to the elements of a block that begins at element `start`.
    pub(super) fn add(
        &self,
        pool: &ConstPool,
        start: u64,
        block: &mut [f64],
    ) -> Result<(), ConstError> {
        let first = self.first_from(start);
        let n = self.first_from(start + block.len() as u64) - first;
        if n == 0 {
            return Ok(());
        }
        let mut source = vec![0.0; n as usize];
        self.source.read(pool, first, &mut source)?;
        // Counts through the axes, so that no element costs a division.
        let mut index: SmallVec<[u64; 5]> = SmallVec::from_elem(0, self.axes.len());
        let mut strides: SmallVec<[u64; 5]> = SmallVec::from_elem(1, self.axes.len());
        let (mut rest, mut stride, mut place) = (first, 1, 0);
        for (k, a) in self.axes.iter().enumerate().rev() {
            (index[k], strides[k]) = (rest % a.from, stride);
            place += (index[k] + a.offset) * stride;
            rest /= a.from;
            stride *= a.into;
        }
        for x in source {
            if let Some(element) = block.get_mut((place - start) as usize) {
                *element += self.sign * x;
            }
            for (k, a) in self.axes.iter().enumerate().rev() {
                index[k] += 1;
                place += strides[k];
                if index[k] < a.from {
                    break;
                }
                place -= index[k] * strides[k];
                index[k] = 0;
            }
        }
        Ok(())
    }
}

impl Source<'_> {
    /// Elements before any rounding to the stored type.
    fn read(&self, pool: &ConstPool, start: u64, out: &mut [f64]) -> Result<(), ConstError> {
        let id = match self {
            Source::Derived(d, vectors) => return d.exact_all(pool, vectors, start, out),
            Source::Stored(id) => *id,
        };
        let dtype = pool.dtype(id);
        if !dtype.bits().is_multiple_of(8) {
            return pool.read_f64(id, start, out);
        }
        // Not through the mapping: this streams.
        let width = u64::from(dtype.bits() / 8);
        let mut bytes = vec![0; out.len() * width as usize];
        pool.read_bytes(id, start * width, &mut bytes)?;
        let numeric = decode_f64(dtype, &bytes, 0, out);
        if numeric { Ok(()) } else { Err(ConstError::NotNumeric(dtype)) }
    }
}

/// What embedding adds to element `i` of a tensor of extents `dims`.
pub(super) fn addend(
    pool: &ConstPool,
    source: ConstId,
    offset: &[u64],
    negated: bool,
    dims: &[u64],
    i: u64,
) -> Result<Option<f64>, ConstError> {
    let from = pool.dims(source);
    let (mut rest, mut at, mut stride) = (i, 0, 1);
    for ((&into, &from), &offset) in dims.iter().zip(&from).zip(offset).rev() {
        let Some(k) = (rest % into).checked_sub(offset).filter(|&k| k < from) else {
            return Ok(None);
        };
        rest /= into;
        at += k * stride;
        stride *= from;
    }
    let x = match &pool.entry(source).data {
        ConstData::Derived(d) => d.element_exact(pool, at)?,
        _ => pool.element_f64(source, at)?,
    };
    Ok(Some(if negated { -x } else { x }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ElementMap, Step};

    fn stored(pool: &ConstPool, id: ConstId, first: u64, n: u64) -> Vec<f64> {
        let width = u64::from(pool.dtype(id).bits() / 8);
        let mut bytes = vec![0; (n * width) as usize];
        pool.read_bytes(id, first * width, &mut bytes).expect("present");
        let mut out = vec![0.0; n as usize];
        assert!(decode_f64(pool.dtype(id), &bytes, 0, &mut out));
        out
    }

    /// Every reader gives the same, from wherever it reads, and that is the sum by definition.
    fn check(pool: &ConstPool, id: ConstId, expected: impl Fn(&[u64]) -> f64) {
        let dims = pool.dims(id);
        let count = pool.count(id);
        let exact: Vec<f64> = (0..count)
            .map(|i| {
                let mut rest = i;
                let mut index: Vec<u64> =
                    dims.iter().rev().map(|&d| (rest % d, rest /= d).0).collect();
                index.reverse();
                expected(&index)
            })
            .collect();
        assert_eq!(pool.to_exact_f64(id).expect("present"), exact);
        let all = pool.to_f64(id).expect("present");
        assert_eq!(stored(pool, id, 0, count), all);
        for (i, &v) in all.iter().enumerate() {
            assert_eq!(pool.element_f64(id, i as u64).expect("present"), v);
            let rest = stored(pool, id, i as u64, count - i as u64);
            assert_eq!(rest, all[i..]);
            assert_eq!(stored(pool, id, 0, i as u64), all[..i]);
        }
    }

    /// A 3×1×2 tensor within one of 4×3×3, at every offset that fits.
    #[test]
    fn every_offset() {
        let large: Vec<f64> = (0..36).map(|i| f64::from(i) * 0.5).collect();
        let small: Vec<f64> = (0..6).map(|i| f64::from(1 + i) * 100.0).collect();
        for offset in (0..2u64).flat_map(|a| (0..3u64).flat_map(move |b| [[a, b, 0], [a, b, 1]])) {
            for negated in [false, true] {
                let mut pool = ConstPool::default();
                let base = pool.add_f64(DType::F32, &[4, 3, 3], &large);
                let source = pool.add_f64(DType::F32, &[3, 1, 2], &small);
                assert!(embeds(&pool, source, &offset, DType::F32, &[4, 3, 3]));
                let step = Step::Embed { source, offset: offset.to_vec(), negated };
                let id = pool.derive(base, step);
                check(&pool, id, |i| {
                    let at: Vec<u64> =
                        i.iter().zip(&offset).map(|(i, o)| i.wrapping_sub(*o)).collect();
                    let inside = at[0] < 3 && at[1] < 1 && at[2] < 2;
                    let x = if inside { small[(at[0] * 2 + at[2]) as usize] } else { 0.0 };
                    large[(i[0] * 9 + i[1] * 3 + i[2]) as usize] + if negated { -x } else { x }
                });
            }
        }
    }

    /// A derived source counts before it is rounded, and may itself hold an embedded one.
    #[test]
    fn derived_sources_round_once() {
        let mut pool = ConstPool::default();
        let third = pool.add_f64(DType::F64, &[1], &[1.0 / 3.0]);
        let one = pool.add_f64(DType::F16, &[1, 1], &[1.0]);
        let scale = Step::Scale { map: ElementMap::single(), factors: third };
        let a = pool.derive(one, scale.clone());
        let row = pool.add_f64(DType::F16, &[1, 2], &[2.0, 4.0]);
        let row = pool.derive(row, scale);
        let row = pool.derive(row, Step::Embed { source: a, offset: vec![0, 1], negated: false });
        let base = pool.add_f64(DType::F16, &[2, 2], &[1.0, 1.0, 1.0, 1.0]);
        let embed = Step::Embed { source: row, offset: vec![1, 0], negated: false };
        let id = pool.derive(base, embed);
        let exact = [1.0, 1.0, 1.0 + 2.0 * (1.0 / 3.0), 1.0 + (4.0 * (1.0 / 3.0) + 1.0 / 3.0)];
        check(&pool, id, |i| exact[(2 * i[0] + i[1]) as usize]);
        assert_eq!(
            pool.element_f64(id, 3).expect("present"),
            half::f16::from_f64(exact[3]).to_f64()
        );
    }

    /// The larger tensor spans many blocks, and so does the smaller one.
    #[test]
    fn streams_in_blocks() {
        let mut pool = ConstPool::default();
        let wide = [70, 40, 3, 3];
        let large: Vec<f64> = (0..25200).map(f64::from).collect();
        let small: Vec<f64> = (0..2800).map(|i| f64::from(i) * 0.25).collect();
        let base = pool.add_f64(DType::F32, &wide, &large);
        let source = pool.add_f64(DType::F32, &[70, 40, 1, 1], &small);
        let step = Step::Embed { source, offset: vec![0, 0, 1, 1], negated: true };
        let id = pool.derive(base, step);
        let s = pool.add_f64(DType::F64, &[70], &[2.0; 70]);
        let id = pool.derive(id, Step::Scale { map: ElementMap::axis(&wide, 0), factors: s });
        let expected: Vec<f64> = (0..25200)
            .map(|i| 2.0 * (large[i] - if i % 9 == 4 { small[i / 9] } else { 0.0 }))
            .collect();
        assert_eq!(pool.to_f64(id).expect("present"), expected);
        assert_eq!(stored(&pool, id, 0, 25200), expected);
        assert_eq!(stored(&pool, id, 4091, 9000), expected[4091..13091]);
    }

    #[test]
    fn what_does_not_fit() {
        let mut pool = ConstPool::default();
        let source = pool.add_f64(DType::F32, &[2, 2], &[0.0; 4]);
        let fits = |offset: &[u64], dtype, dims: &[u64]| embeds(&pool, source, offset, dtype, dims);
        assert!(fits(&[0, 1], DType::F32, &[2, 3]));
        assert!(!fits(&[1, 0], DType::F32, &[2, 3]));
        assert!(!fits(&[u64::MAX, 0], DType::F32, &[2, 3]));
        assert!(!fits(&[0, 0], DType::F64, &[2, 3]));
        assert!(!fits(&[0], DType::F32, &[2, 3]));
        assert!(!fits(&[0, 0, 0], DType::F32, &[2, 2, 1]));
    }
}
