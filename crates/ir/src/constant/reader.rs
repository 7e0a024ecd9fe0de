//! Many single elements of one entry, in any order.

use super::{
    ConstData, ConstError, ConstPool, ElementMap, Step, decode_f64, elements, vector::Vector,
};
use crate::{ConstId, DType};
use smallvec::SmallVec;
use std::cell::Cell;

/// An entry resolved once, so that reading an element of it costs a few nanoseconds. Gives the same as
/// [`ConstPool::element_f64`].
#[derive(Debug)]
pub struct ElementReader<'a> {
    dtype: DType,
    count: u64,
    base: Base<'a>,
    steps: SmallVec<[ReaderStep<'a>; 2]>,
}

#[derive(Debug)]
enum Base<'a> {
    Bytes(&'a [u8]),
    Splat(f64),
    /// Bytes that are not in memory.
    Pool(&'a ConstPool, ConstId),
}

#[derive(Debug)]
struct ReaderStep<'a> {
    scale: bool,
    map: &'a ElementMap,
    values: Vector<'a>,
    /// Elements in a row that have one value, and the last such run: where it began, and its value.
    run: u64,
    last: Cell<(u64, f64)>,
}

impl ReaderStep<'_> {
    fn value(&self, i: u64) -> f64 {
        let at = |i| self.values.get(self.map.at(i)).unwrap_or(f64::NAN);
        if self.run <= 1 {
            return at(i);
        }
        let (start, value) = self.last.get();
        if i.wrapping_sub(start) < self.run {
            return value;
        }
        let value = at(i);
        self.last.set((i - i % self.run, value));
        value
    }
}

impl<'a> ElementReader<'a> {
    /// Of an entry that is just these bytes.
    #[inline]
    pub(crate) fn plain(dtype: DType, count: u64, bytes: &'a [u8]) -> Self {
        Self { dtype, count, base: Base::Bytes(bytes), steps: SmallVec::new() }
    }

    /// `None` where an entry has no faster way than [`ConstPool::element_f64`], or none at all.
    fn new(pool: &'a ConstPool, id: ConstId) -> Option<Self> {
        let entry = pool.entry(id);
        let (dtype, count) = (entry.ty.dtype, pool.count(id));
        let reader = |base| Some(Self { dtype, count, base, steps: SmallVec::new() });
        match &entry.data {
            ConstData::Owned(_) | ConstData::Mapped { .. } => {
                reader(pool.plain_bytes(id).map_or(Base::Pool(pool, id), Base::Bytes))
            }
            ConstData::Splat(bytes) => {
                let mut one = [0.0];
                decode_f64(dtype, bytes, 0, &mut one).then_some(())?;
                reader(Base::Splat(one[0]))
            }
            ConstData::Derived(d) => {
                let step = |s: &'a Step| {
                    let (scale, map, vector) = match s {
                        Step::Scale { map, factors } => (true, map, *factors),
                        Step::Shift { map, addends } => (false, map, *addends),
                        Step::Scatter { .. } | Step::Embed { .. } | Step::Broadcast { .. } => {
                            return None;
                        }
                    };
                    let run = map.terms().iter().map(|t| t.stride).min().unwrap_or(count.max(1));
                    let values = Vector::new(pool, vector).ok()?;
                    // No element is in the run that begins at the last index.
                    let last = Cell::new((u64::MAX - run, 0.0));
                    Some(ReaderStep { scale, map, values, run, last })
                };
                let base = Self::new(pool, d.base())?.base;
                let mut steps = SmallVec::with_capacity(d.steps().len());
                for s in d.steps() {
                    steps.push(step(s)?);
                }
                Some(Self { dtype, count, base, steps })
            }
            ConstData::Absent { .. } | ConstData::Strings(_) => None,
        }
    }

    /// Element `i`, as it is stored.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    #[inline]
    pub fn get(&self, i: u64) -> Result<f64, ConstError> {
        if i >= self.count {
            return Err(ConstError::OutOfRange(i..i.saturating_add(1)));
        }
        let mut one = [match &self.base {
            Base::Bytes(bytes) => match (self.dtype, bytes.get(4 * i as usize..)) {
                (DType::F32, Some([a, b, c, d, ..])) => {
                    f64::from(f32::from_le_bytes([*a, *b, *c, *d]))
                }
                _ => {
                    let mut v = [0.0];
                    if !decode_f64(self.dtype, bytes, i, &mut v) {
                        return Err(ConstError::NotNumeric(self.dtype));
                    }
                    v[0]
                }
            },
            Base::Splat(v) => *v,
            Base::Pool(pool, id) => pool.element_f64(*id, i)?,
        }];
        if !self.steps.is_empty() {
            for s in &self.steps {
                let v = s.value(i);
                one[0] = if s.scale { one[0] * v } else { one[0] + v };
            }
            elements::round_in_place(self.dtype, &mut one);
        }
        Ok(one[0])
    }

    /// Elements `first`, `first + stride`, …, as [`ElementReader::get`] gives each.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn get_strided(&self, first: u64, stride: u64, out: &mut [f64]) -> Result<(), ConstError> {
        let Base::Bytes(bytes) = &self.base else {
            for (k, x) in out.iter_mut().enumerate() {
                *x = self.get(first.saturating_add(stride.saturating_mul(k as u64)))?;
            }
            return Ok(());
        };
        let last = (out.len() as u64).saturating_sub(1).saturating_mul(stride);
        if out.is_empty() {
            return Ok(());
        }
        if first.saturating_add(last) >= self.count {
            return Err(ConstError::OutOfRange(first..first.saturating_add(last)));
        }
        let end = first.saturating_add(last).saturating_add(1).saturating_mul(4);
        match (self.dtype, stride) {
            (DType::F32, _) if (bytes.len() as u64) < end => {
                return Err(ConstError::NotNumeric(self.dtype));
            }
            (DType::F32, 1) => {
                let from = bytes.get(4 * first as usize..).unwrap_or_default();
                for (x, &b) in out.iter_mut().zip(from.as_chunks().0) {
                    *x = f64::from(f32::from_le_bytes(b));
                }
            }
            (DType::F32, _) => {
                let all = bytes.as_chunks().0;
                let mut i = first;
                for x in out.iter_mut() {
                    let b = all.get(i as usize).copied().unwrap_or_default();
                    *x = f64::from(f32::from_le_bytes(b));
                    i = i.wrapping_add(stride);
                }
            }
            _ => {
                let mut i = first;
                for x in out.iter_mut() {
                    if !decode_f64(self.dtype, bytes, i, std::slice::from_mut(x)) {
                        return Err(ConstError::NotNumeric(self.dtype));
                    }
                    i = i.wrapping_add(stride);
                }
            }
        }
        for s in &self.steps {
            // Usually along an axis on which the factor is one.
            let v = s.value(first);
            if s.run > 1 && (first + last).wrapping_sub(s.last.get().0) < s.run {
                out.iter_mut().for_each(|x| *x = if s.scale { *x * v } else { *x + v });
                continue;
            }
            let mut i = first;
            for x in out.iter_mut() {
                let v = s.value(i);
                *x = if s.scale { *x * v } else { *x + v };
                i = i.wrapping_add(stride);
            }
        }
        if !self.steps.is_empty() {
            elements::round_in_place(self.dtype, out);
        }
        Ok(())
    }
}

impl ConstPool {
    /// All bytes of an entry that is nothing else, where they are in memory.
    pub(crate) fn plain_bytes(&self, id: ConstId) -> Option<&[u8]> {
        match &self.entry(id).data {
            ConstData::Owned(bytes) => Some(bytes),
            ConstData::Mapped { source, offset } => {
                source.mapped(*offset..offset.checked_add(self.byte_len(id))?)
            }
            _ => None,
        }
    }

    /// A reader of many single elements of an entry; `None` where [`ConstPool::element_f64`] is as good, or fails.
    pub fn element_reader(&self, id: ConstId) -> Option<ElementReader<'_>> {
        ElementReader::new(self, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorType;

    #[test]
    fn gives_what_the_pool_gives() {
        let mut pool = ConstPool::default();
        let dims = [4, 3, 2];
        let w: Vec<f64> = (0..24).map(|i| f64::from(i) * 0.37 - 3.0).collect();
        let s = pool.add_f64(DType::F64, &[4], &[0.1, -2.0, 3.3, 0.7]);
        let t = pool.add_f64(DType::F64, &[3], &[0.25, 1.0 / 3.0, -7.1]);
        let l = pool.add_f64(DType::F64, &[2], &[1e-3, 5.5]);
        let mut ids = Vec::new();
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I8, DType::Bool] {
            let base = pool.add_f64(dtype, &dims, &w);
            ids.push(base);
            if dtype.is_float() {
                let factors =
                    pool.derive(base, Step::Scale { map: ElementMap::axis(&dims, 0), factors: s });
                let addends = Step::Shift { map: ElementMap::axis(&dims, 1), addends: t };
                let both = pool.derive(factors, addends);
                let inner = Step::Scale { map: ElementMap::axis(&dims, 2), factors: l };
                ids.extend([factors, both, pool.derive(both, inner)]);
                ids.push(pool.derive(base, Step::Scale { map: ElementMap::single(), factors: l }));
            }
        }
        let half = [0, 0x38];
        ids.push(pool.add(TensorType::of(DType::F16, &dims), ConstData::Splat(half[..].into())));
        for id in ids {
            let reader = pool.element_reader(id).expect("in memory");
            // Forwards, backwards and in leaps, so that runs are left and entered anywhere.
            let order = (0..24).chain((0..24).rev()).chain((0..24).map(|i| i * 7 % 24));
            for i in order {
                assert_eq!(
                    reader.get(i).expect("a number"),
                    pool.element_f64(id, i).expect("a number")
                );
            }
            assert!(matches!(reader.get(24), Err(ConstError::OutOfRange(_))));
            for (first, stride, n) in [(0, 1, 24), (5, 3, 6), (23, 9, 1), (2, 0, 4), (9, 7, 0)] {
                let mut out = vec![f64::NAN; n];
                reader.get_strided(first, stride, &mut out).expect("numbers");
                for (k, &x) in out.iter().enumerate() {
                    let i = first + stride * k as u64;
                    assert_eq!(x, pool.element_f64(id, i).expect("a number"), "{i}");
                }
            }
            for (first, stride) in [(0, 24), (24, 0), (u64::MAX, u64::MAX)] {
                let beyond = reader.get_strided(first, stride, &mut [0.0; 2]);
                assert!(matches!(beyond, Err(ConstError::OutOfRange(_))), "{first}");
            }
        }
        let absent = pool.add(TensorType::of(DType::F32, &[1]), ConstData::Absent { hash: None });
        assert!(pool.element_reader(absent).is_none());
    }
}
