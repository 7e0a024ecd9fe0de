//! The constant pool: immutable tensors, viewed in a file, owned, splat, absent or derived.

mod compose;
mod derived;
mod elements;
mod embed;
mod kernel;
mod map;
mod reader;
mod vector;
mod work;

pub use derived::{Derived, RoundingStats, Step};
pub use elements::{decode_f64, encode_f64};
pub(crate) use embed::embeds;
pub use map::{ElementMap, MapTerm};
pub use reader::ElementReader;

use crate::{ConstId, DType, IdMap, TensorType};
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use std::{fmt, hash::BuildHasher, io, ops::Range, sync::Arc};
use work::Work;

/// Random-access immutable bytes, e.g. a mapped file. I/O itself lives outside this crate.
pub trait ByteSource: Send + Sync + fmt::Debug {
    /// The number of bytes.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// The bytes cannot be read; reaching beyond the end is `UnexpectedEof`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// The bytes in memory, where they are.
    fn mapped(&self, range: Range<u64>) -> Option<&[u8]>;
}

/// Where the elements of an entry are. Row-major, little-endian, sub-byte elements packed low bits first.
#[derive(Clone, Debug)]
pub enum ConstData {
    /// Bytes of a source from `offset` on; the length follows from the type.
    Mapped {
        /// The source.
        source: Arc<dyn ByteSource>,
        /// Where the first byte is.
        offset: u64,
    },
    /// Bytes owned by the pool.
    Owned(Arc<[u8]>),
    /// Every element has these bytes (a sub-byte element in the low bits of one).
    Splat(Arc<[u8]>),
    /// Strings.
    Strings(Arc<[Arc<[u8]>]>),
    /// The bytes are not at hand; the content hash may be.
    Absent {
        /// First 64 bits of the SHA-256 that [`ConstPool::content_hash`] gives.
        hash: Option<u64>,
    },
    /// Computed from other entries when it is read.
    Derived(Arc<Derived>),
}

/// An entry of the pool.
#[derive(Clone, Debug)]
pub struct ConstEntry {
    /// Element type and extents, all known.
    pub ty: TensorType,
    /// The elements.
    pub data: ConstData,
}

/// Why elements cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConstError {
    /// The bytes are not at hand.
    #[error("the elements are absent")]
    Absent,
    /// The element type has no numeric value that an f64 holds.
    #[error("elements of type {0} are not numbers")]
    NotNumeric(DType),
    /// The file could not be read.
    #[error("reading the elements failed: {0}")]
    Io(Arc<io::Error>),
    /// The range reaches beyond the tensor.
    #[error("elements {0:?} are beyond the tensor")]
    OutOfRange(Range<u64>),
}

impl From<io::Error> for ConstError {
    fn from(e: io::Error) -> Self {
        ConstError::Io(Arc::new(e))
    }
}

/// The module's constants. Entries are immutable and never removed; derived ones are interned by base and expression.
#[derive(Clone, Debug, Default)]
pub struct ConstPool {
    entries: Vec<ConstEntry>,
    interned: IndexMap<Arc<Derived>, ConstId>,
    /// The last entry of each content that was added to be shared, by the hash of that.
    vectors: IdMap<u64, ConstId>,
    work: Work,
}

/// Whether a [`Step::Scatter`] on a tensor of `count` elements is well formed; positions that are absent may be anything.
pub(crate) fn scatters(pool: &ConstPool, positions: ConstId, addends: ConstId, count: u64) -> bool {
    let n = pool.count(positions);
    let ascending = match pool.to_i64(positions) {
        Ok(list) => {
            list.windows(2).all(|w| w[0] < w[1])
                && list.iter().all(|&p| u64::try_from(p).is_ok_and(|p| p < count))
        }
        Err(ConstError::Absent) => true,
        Err(_) => false,
    };
    pool.dtype(positions) == DType::I64
        && pool.dims(positions).len() == 1
        && pool.dims(addends) == [n]
        && ascending
}

fn extents_of(ty: &TensorType) -> impl Iterator<Item = u64> + '_ {
    ty.shape.iter().flat_map(|s| s.iter()).map(|d| d.known().unwrap_or(0))
}

fn count_of(ty: &TensorType) -> u64 {
    extents_of(ty).product()
}

impl ConstPool {
    /// Adds an entry.
    ///
    /// # Panics
    /// An extent of the type is unknown: constants have static shapes.
    #[track_caller]
    pub fn add(&mut self, ty: TensorType, data: ConstData) -> ConstId {
        assert!(ty.static_dims().is_some(), "a constant has known extents, not {ty}");
        self.entries.push(ConstEntry { ty, data });
        ConstId((self.entries.len() - 1) as u32)
    }

    /// Adds a tensor of f64 values rounded to `dtype`.
    ///
    /// # Panics
    /// The number of values is not that of the extents, or the type has no encoding of numbers.
    #[track_caller]
    pub fn add_f64(&mut self, dtype: DType, dims: &[u64], values: &[f64]) -> ConstId {
        assert_eq!(
            dims.iter().product::<u64>(),
            values.len() as u64,
            "values of a tensor {dims:?}"
        );
        let mut bytes = vec![0; dtype.bytes_for(values.len() as u64).unwrap_or(0) as usize];
        assert!(encode_f64(dtype, values, &mut bytes), "{dtype} holds no numbers");
        self.add(TensorType::of(dtype, dims), ConstData::Owned(bytes.into()))
    }

    /// The vector of those f64 values: an entry that this gave before for the same bits, else a new one. Models repeat
    /// parameters, and what is derived from one base by equal vectors is one entry then.
    pub fn vector(&mut self, values: &[f64]) -> ConstId {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let hash = FxBuildHasher.hash_one(&*bytes);
        if let Some(&id) = self.vectors.get(&hash)
            && let ConstData::Owned(held) = &self.entry(id).data
            && **held == *bytes
        {
            return id;
        }
        let ty = TensorType::of(DType::F64, &[values.len() as u64]);
        let id = self.add(ty, ConstData::Owned(bytes.into()));
        self.vectors.insert(hash, id);
        id
    }

    /// Adds a tensor of i64 values.
    #[track_caller]
    pub fn add_i64(&mut self, dims: &[u64], values: &[i64]) -> ConstId {
        assert_eq!(
            dims.iter().product::<u64>(),
            values.len() as u64,
            "values of a tensor {dims:?}"
        );
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(TensorType::of(DType::I64, dims), ConstData::Owned(bytes.into()))
    }

    /// Gives the elements of an absent entry that only the text form has, at its end.
    pub(crate) fn fill(&mut self, id: ConstId, bytes: Arc<[u8]>) {
        self.entries[id.index()].data = ConstData::Owned(bytes);
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry's id.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = ConstId> + use<> {
        (0..self.entries.len() as u32).map(ConstId)
    }

    /// How many elements may still be read, by all evaluators of this module together, before they refuse: what a model of
    /// few bytes can make them compute has no bound otherwise. 2^27, 2^12 for every entry and 4 for every byte that is
    /// stored, less what was read; the second two are left out while there is enough without them.
    pub fn evaluation_left(&self) -> u64 {
        self.work.left(&self.entries)
    }

    /// Counts reads of an evaluator.
    pub(crate) fn spend_evaluation(&self, reads: u64) {
        self.work.spend(reads);
    }

    /// An entry.
    pub fn entry(&self, id: ConstId) -> &ConstEntry {
        &self.entries[id.index()]
    }

    /// Element type and extents.
    pub fn ty(&self, id: ConstId) -> &TensorType {
        &self.entry(id).ty
    }

    /// The element type.
    pub fn dtype(&self, id: ConstId) -> DType {
        self.ty(id).dtype
    }

    /// The extents.
    pub fn dims(&self, id: ConstId) -> Vec<u64> {
        self.ty(id).static_dims().unwrap_or_default()
    }

    /// The extents one by one.
    pub fn extents(&self, id: ConstId) -> impl Iterator<Item = u64> + '_ {
        extents_of(self.ty(id))
    }

    /// The number of elements.
    pub fn count(&self, id: ConstId) -> u64 {
        count_of(self.ty(id))
    }

    /// The number of bytes of the elements; 0 for strings.
    pub fn byte_len(&self, id: ConstId) -> u64 {
        self.dtype(id).bytes_for(self.count(id)).unwrap_or(0)
    }

    /// Whether elements can be read: the entry, and what it is derived from, is at hand.
    pub fn is_present(&self, id: ConstId) -> bool {
        match &self.entry(id).data {
            ConstData::Absent { .. } => false,
            ConstData::Derived(d) => d.sources().all(|s| self.is_present(s)),
            _ => true,
        }
    }

    /// Reads elements `start .. start + out.len()` as f64, as they are stored: a derived entry is rounded to its type.
    /// Floats widen exactly; 64-bit integers round.
    ///
    /// # Errors
    /// The elements are absent, are no numbers, cannot be read, or are beyond the tensor.
    pub fn read_f64(&self, id: ConstId, start: u64, out: &mut [f64]) -> Result<(), ConstError> {
        let e = self.entry(id);
        let dtype = e.ty.dtype;
        let n = out.len() as u64;
        if start.checked_add(n).is_none_or(|end| end > self.count(id)) {
            return Err(ConstError::OutOfRange(start..start.saturating_add(n)));
        }
        match &e.data {
            ConstData::Absent { .. } => Err(ConstError::Absent),
            ConstData::Strings(_) => Err(ConstError::NotNumeric(dtype)),
            ConstData::Derived(d) => {
                d.read_exact(self, start, out)?;
                elements::round_in_place(dtype, out);
                Ok(())
            }
            ConstData::Splat(bytes) => {
                let mut one = [0.0];
                if !decode_f64(dtype, bytes, 0, &mut one) {
                    return Err(ConstError::NotNumeric(dtype));
                }
                out.fill(one[0]);
                Ok(())
            }
            ConstData::Owned(bytes) => {
                if decode_f64(dtype, bytes, start, out) {
                    Ok(())
                } else {
                    Err(ConstError::NotNumeric(dtype))
                }
            }
            ConstData::Mapped { source, offset } => {
                let bits = u64::from(dtype.bits());
                let first = start * bits / 8;
                let last = ((start + n) * bits).div_ceil(8);
                let skip = start - first * 8 / bits.max(1);
                // A view is read in place while analysing; large streams come through `read_bytes`.
                let ok = match source.mapped(offset + first..offset + last) {
                    Some(bytes) => decode_f64(dtype, bytes, skip, out),
                    None => {
                        let mut bytes = vec![0; (last - first) as usize];
                        source.read_at(offset + first, &mut bytes)?;
                        decode_f64(dtype, &bytes, skip, out)
                    }
                };
                if ok { Ok(()) } else { Err(ConstError::NotNumeric(dtype)) }
            }
        }
    }

    /// One element, as [`ConstPool::read_f64`] gives it, without allocating.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn element_f64(&self, id: ConstId, i: u64) -> Result<f64, ConstError> {
        let mut one = [0.0];
        match &self.entry(id).data {
            ConstData::Derived(d) => {
                one[0] = d.element_exact(self, i)?;
                elements::round_in_place(self.dtype(id), &mut one);
            }
            _ => self.read_f64(id, i, &mut one)?,
        }
        Ok(one[0])
    }

    /// Every element in f64 before any rounding to the stored type: what a further fold composes with.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn to_exact_f64(&self, id: ConstId) -> Result<Vec<f64>, ConstError> {
        let mut out = vec![0.0; self.count(id) as usize];
        match &self.entry(id).data {
            ConstData::Derived(d) => d.read_exact(self, 0, &mut out)?,
            _ => self.read_f64(id, 0, &mut out)?,
        }
        Ok(out)
    }

    /// Every element as f64, as [`ConstPool::read_f64`] gives it.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn to_f64(&self, id: ConstId) -> Result<Vec<f64>, ConstError> {
        let mut out = vec![0.0; self.count(id) as usize];
        self.read_f64(id, 0, &mut out)?;
        Ok(out)
    }

    /// Elements `start .. start + out.len()` in f64 before any rounding to the stored type.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn read_exact_f64(
        &self,
        id: ConstId,
        start: u64,
        out: &mut [f64],
    ) -> Result<(), ConstError> {
        match &self.entry(id).data {
            ConstData::Derived(d) => d.read_exact(self, start, out),
            _ => self.read_f64(id, start, out),
        }
    }

    /// Every element of an integer or boolean tensor, exactly.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`]; a u64 above `i64::MAX` is not numeric here.
    pub fn to_i64(&self, id: ConstId) -> Result<Vec<i64>, ConstError> {
        let dtype = self.dtype(id);
        if !matches!(dtype, DType::I64 | DType::U64) {
            if !dtype.is_int() && dtype != DType::Bool {
                return Err(ConstError::NotNumeric(dtype));
            }
            return Ok(self.to_f64(id)?.into_iter().map(|v| v as i64).collect());
        }
        let mut bytes = vec![0; self.byte_len(id) as usize];
        self.read_bytes(id, 0, &mut bytes)?;
        let words =
            bytes.chunks_exact(8).map(|c| c.try_into().map(i64::from_le_bytes).unwrap_or_default());
        let out: Vec<i64> = words.collect();
        if dtype == DType::U64 && out.iter().any(|&v| v < 0) {
            return Err(ConstError::NotNumeric(dtype));
        }
        Ok(out)
    }

    /// Fills `out` with the bytes of the tensor from byte `start` on. `start` and the length are multiples of the element
    /// size for derived entries. Reads files by `read_at`, never through the mapping.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn read_bytes(&self, id: ConstId, start: u64, out: &mut [u8]) -> Result<(), ConstError> {
        self.read_bytes_measured(id, start, out, None)
    }

    /// [`ConstPool::read_bytes`], measuring the rounding of a derived entry on the way.
    ///
    /// # Errors
    /// As [`ConstPool::read_f64`].
    pub fn read_bytes_measured(
        &self,
        id: ConstId,
        start: u64,
        out: &mut [u8],
        stats: Option<&mut RoundingStats>,
    ) -> Result<(), ConstError> {
        let e = self.entry(id);
        let end = start.saturating_add(out.len() as u64);
        if end > self.byte_len(id) {
            return Err(ConstError::OutOfRange(start..end));
        }
        match &e.data {
            ConstData::Absent { .. } => Err(ConstError::Absent),
            ConstData::Strings(_) => Err(ConstError::NotNumeric(e.ty.dtype)),
            ConstData::Mapped { source, offset } => Ok(source.read_at(offset + start, out)?),
            ConstData::Owned(bytes) => {
                out.copy_from_slice(&bytes[start as usize..end as usize]);
                Ok(())
            }
            ConstData::Splat(bytes) => {
                // Sub-byte elements repeat within the byte.
                let bits = e.ty.dtype.bits();
                let packed = match bits {
                    4 => vec![bytes[0] & 15 | bytes[0] << 4],
                    2 => vec![(bytes[0] & 3) * 0b0101_0101],
                    _ => bytes.to_vec(),
                };
                for (i, b) in out.iter_mut().enumerate() {
                    *b = packed[(start as usize + i) % packed.len()];
                }
                // Padding after the last element is 0, as where elements are packed one by one.
                let rest = self.count(id) * u64::from(bits) % 8;
                if rest > 0
                    && end == self.byte_len(id)
                    && let Some(last) = out.last_mut()
                {
                    *last &= (1 << rest) - 1;
                }
                Ok(())
            }
            ConstData::Derived(d) => d.read_bytes(self, e.ty.dtype, start, out, stats),
        }
    }

    /// [`ConstPool::derive_all`] of one step.
    pub fn derive(&mut self, base: ConstId, step: Step) -> ConstId {
        self.derive_all(base, [step])
    }

    /// A derived entry of `base` with further steps, composed with the steps that base already has: those that scale and
    /// shift alike become one scale and one shift, see the module `compose`. The element type stays; the shape changes
    /// only by [`Step::Broadcast`]. What is between the steps is no entry. No steps give `base`.
    ///
    /// Equal bases and expressions give the same entry.
    pub fn derive_all(&mut self, base: ConstId, steps: impl IntoIterator<Item = Step>) -> ConstId {
        self.derived(base, steps, compose::composed)
    }

    /// [`ConstPool::derive`] with the step as it is, for an expression that is written down.
    pub(crate) fn derive_literally(&mut self, base: ConstId, step: Step) -> ConstId {
        self.derived(base, [step], |_, _, _| None)
    }

    fn derived(
        &mut self,
        base: ConstId,
        steps: impl IntoIterator<Item = Step>,
        composed: fn(&mut Self, &Derived, &Step) -> Option<Derived>,
    ) -> ConstId {
        let mut ty = self.ty(base).clone();
        let before = match &self.entry(base).data {
            ConstData::Derived(d) => Some(d.clone()),
            _ => None,
        };
        let mut now = None;
        for step in steps {
            if let Step::Broadcast { dims } = &step {
                ty = TensorType::of(ty.dtype, dims);
            }
            let derived = match now.as_ref().or(before.as_ref()) {
                Some(d) => composed(self, d, &step).unwrap_or_else(|| d.then(step)),
                None => Derived::new(base, step),
            };
            now = Some(Arc::new(derived));
        }
        now.map_or(base, |derived| self.intern(ty, derived))
    }

    fn intern(&mut self, ty: TensorType, derived: Arc<Derived>) -> ConstId {
        if let Some(&id) = self.interned.get(&derived) {
            return id;
        }
        let id = self.add(ty, ConstData::Derived(derived.clone()));
        self.interned.insert(derived, id);
        id
    }

    /// First 64 bits of the SHA-256 over element type, extents and bytes.
    ///
    /// # Errors
    /// The elements cannot be read; an absent entry whose hash is known gives that.
    pub fn content_hash(&self, id: ConstId) -> Result<u64, ConstError> {
        use sha2::Digest;
        let e = self.entry(id);
        if let ConstData::Absent { hash: Some(h) } = e.data {
            return Ok(h);
        }
        let mut sha = sha2::Sha256::new();
        sha.update(format!("{}\0", e.ty));
        if let ConstData::Strings(list) = &e.data {
            for s in list.iter() {
                sha.update((s.len() as u64).to_le_bytes());
                sha.update(s);
            }
        } else {
            let mut buf = vec![0; 1 << 16];
            let (mut at, len) = (0, self.byte_len(id));
            while at < len {
                let n = (len - at).min(buf.len() as u64) as usize;
                self.read_bytes(id, at, &mut buf[..n])?;
                sha.update(&buf[..n]);
                at += n as u64;
            }
            if matches!(e.data, ConstData::Absent { .. }) {
                return Err(ConstError::Absent);
            }
        }
        let digest = sha.finalize();
        Ok(u64::from_be_bytes(digest[..8].try_into().unwrap_or_default()))
    }
}
