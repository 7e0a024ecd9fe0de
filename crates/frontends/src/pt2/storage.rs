//! Where the elements of parameters are: each is a view, by offset and strides, of a storage that is a member of the archive.
//!
//! Several parameters may view one storage: two names of one parameter, or parts of one tensor. A storage is written
//! anew only for a parameter that is the only one of its kind in it.

use super::program::{FORMAT, element, invalid, union};
use crate::{
    FrontendError,
    archive::Archive,
    bytes::Source,
    json::Json,
    payload::Weights,
    save::{ChunkProducer, Content},
};
use normfold_ir::{ByteSource, ConstData, ConstId, DType, TensorType};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a packed storage that are unpacked into memory.
const LARGEST_PACKED: u64 = 4 << 30;
/// Bytes that the JSON of an archive may have.
pub(super) const LARGEST_JSON: u64 = 1 << 30;

/// A view of a storage, in elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub(super) dtype: DType,
    pub(super) dims: Vec<u64>,
    strides: Vec<u64>,
    offset: u64,
}

impl View {
    /// What a `schema.TensorMeta` says, where every number of it is known.
    fn read(meta: &Json) -> Option<Self> {
        if meta.get("layout").and_then(Json::as_i64) != Some(7) {
            return None;
        }
        let number = |json: &Json| match union(json)? {
            ("as_int", n) => u64::try_from(n.as_i64()?).ok(),
            _ => None,
        };
        let numbers = |key: &str| -> Option<Vec<u64>> {
            meta.get(key)?.items()?.iter().map(number).collect()
        };
        let (dims, strides) = (numbers("sizes")?, numbers("strides")?);
        let offset = number(meta.get("storage_offset")?)?;
        (dims.len() == strides.len()).then_some(Self {
            dtype: element(meta)?,
            dims,
            strides,
            offset,
        })
    }

    fn count(&self) -> Option<u64> {
        self.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
    }

    fn width(&self) -> u64 {
        u64::from(self.dtype.bits() / 8)
    }

    /// The elements of the storage from the first to the last of the view.
    fn span(&self) -> Option<Range<u64>> {
        if self.count()? == 0 {
            return Some(self.offset..self.offset);
        }
        let last = self
            .dims
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |at, (&d, &s)| at.checked_add((d - 1).checked_mul(s)?))?;
        Some(self.offset..last.checked_add(1)?)
    }

    /// Whether the elements stand side by side in the order of a row-major tensor.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1u64;
        self.dims.iter().zip(&self.strides).rev().all(|(&d, &s)| {
            let fits = d == 1 || s == expected;
            expected = expected.saturating_mul(d);
            fits
        }) || self.dims.contains(&0)
    }

    /// The axes of more than one position, the widest stride first: stride, extent, and the stride of a row-major tensor.
    /// `None` where two indices may be one element of the storage.
    fn axes(&self) -> Option<Vec<(u64, u64, u64)>> {
        let mut row_major = 1u64;
        let mut axes = Vec::with_capacity(self.dims.len());
        for (&d, &s) in self.dims.iter().zip(&self.strides).rev() {
            if d > 1 {
                axes.push((s, d, row_major));
            }
            row_major = row_major.saturating_mul(d);
        }
        axes.sort_by_key(|&(stride, ..)| std::cmp::Reverse(stride));
        let covered = axes.iter().rev().try_fold(1u64, |covered, &(stride, extent, _)| {
            (stride >= covered).then_some(())?;
            covered.checked_add((extent - 1).checked_mul(stride)?)
        });
        covered.is_some().then_some(axes)
    }
}

/// A payload of the archive (`schema.PayloadMeta`).
#[derive(Clone, Debug)]
struct Entry {
    /// Its member; `None` where the bytes are not read.
    member: Option<usize>,
    view: Option<View>,
    pickled: bool,
}

/// Where an archive keeps payloads: parameters and buffers, or constants.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The member that lists them.
    pub(super) member: usize,
    /// The folder of their members.
    pub(super) folder: String,
    pub(super) json: Arc<Json>,
    pub(super) text: Arc<[u8]>,
}

impl Config {
    /// Reads the list of payloads in a folder.
    pub(super) fn read(
        archive: &Archive,
        folder: String,
        name: &str,
    ) -> Result<Option<Self>, FrontendError> {
        let Some(member) = archive.find(&format!("{folder}{name}")) else { return Ok(None) };
        let Some(found) = archive.members().get(member) else { return Ok(None) };
        let text = archive.read(found, LARGEST_JSON)?;
        let json = Json::parse(&text)?;
        if json.get("config").is_none_or(|c| !c.is_object()) {
            return Err(invalid(found.name(), "it lists no payloads"));
        }
        Ok(Some(Self { member, folder, json: Arc::new(json), text: text.into() }))
    }

    /// Whether it lists parameters and buffers; new ones go there.
    pub(super) fn holds_parameters(&self) -> bool {
        self.folder.ends_with("/data/weights/")
    }

    /// The payloads by name.
    pub(super) fn payloads(&self) -> &[(Box<str>, Json)] {
        self.json.get("config").map(Json::members).unwrap_or_default()
    }
}

/// The file name of a payload.
pub(super) fn file_name(payload: &Json) -> Option<&str> {
    payload.get("path_name")?.as_str()
}

/// Every payload by its fully qualified name.
#[derive(Clone, Debug, Default)]
pub(super) struct Storages {
    entries: HashMap<Box<str>, Entry>,
    /// The view that everything with a name in a member is; `None` where names differ in that.
    views: HashMap<usize, Option<View>>,
    /// Packed members, unpacked.
    unpacked: HashMap<usize, Source>,
}

impl Storages {
    /// The payloads that those lists name.
    pub(super) fn open(archive: &Archive, configs: &[Config]) -> Result<Self, FrontendError> {
        let mut all = Self::default();
        for config in configs {
            for (name, payload) in config.payloads() {
                let pickled = payload.get("use_pickle").and_then(Json::as_bool) != Some(false);
                let file = file_name(payload)
                    .ok_or_else(|| invalid(format!("`{name}`"), "its payload has no path_name"))?;
                let path = format!("{}{file}", config.folder);
                let member = archive.find(&path);
                let view = payload.some("tensor_meta").and_then(View::read);
                if let (Some(member), Some(view), false) = (member, &view, pickled) {
                    let held = archive.members().get(member).map_or(0, |m| m.size());
                    let end = view.span().and_then(|s| s.end.checked_mul(view.width()));
                    if end.is_none_or(|end| end > held) && view.count() != Some(0) {
                        let problem = format!("it reaches beyond the {held} bytes of `{path}`");
                        return Err(invalid(format!("`{name}`"), problem));
                    }
                    let known = all.views.entry(member).or_insert_with(|| Some(view.clone()));
                    if known.as_ref() != Some(view) {
                        *known = None;
                    }
                } else if let (None, false) = (member, pickled) {
                    return Err(invalid(format!("`{name}`"), format!("`{path}` is not there")));
                }
                // Of repeated names the last counts, as Python reads them.
                all.entries.insert(name.clone(), Entry { member, view, pickled });
            }
        }
        Ok(all)
    }

    /// The type and the elements of a payload: absent where they are pickled; `None` for what is no tensor of ours.
    pub(super) fn data(
        &mut self,
        archive: &Archive,
        source: &Source,
        name: &str,
    ) -> Result<Option<(TensorType, ConstData)>, FrontendError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(invalid(format!("`{name}`"), "the archive has no payload of that name"));
        };
        let Some(view) = &entry.view else { return Ok(None) };
        let ty = TensorType::of(view.dtype, &view.dims);
        let (Some(index), false) = (entry.member, entry.pickled) else {
            return Ok(Some((ty, ConstData::Absent { hash: None })));
        };
        if view.count() == Some(0) {
            return Ok(Some((ty, ConstData::Owned(Arc::new([])))));
        }
        let Some(member) = archive.members().get(index) else { return Ok(None) };
        let (source, start) = match (archive.stored_range(member), self.unpacked.get(&index)) {
            (Some(range), _) => (source.clone(), range.start),
            (None, Some(unpacked)) => (unpacked.clone(), 0),
            (None, None) => {
                let bytes = archive.read(member, LARGEST_PACKED)?;
                let unpacked = Source::Memory(bytes.into());
                self.unpacked.insert(index, unpacked.clone());
                (unpacked, 0)
            }
        };
        let data = if view.is_contiguous() {
            let source: Arc<dyn ByteSource> = Arc::new(source);
            ConstData::Mapped { source, offset: start + view.offset * view.width() }
        } else {
            let source: Arc<dyn ByteSource> = Arc::new(Strided::new(source, start, view));
            ConstData::Mapped { source, offset: 0 }
        };
        Ok(Some((ty, data)))
    }

    /// Whether the elements of a payload can be others: its bytes are at hand, no two indices are one element, and everything
    /// that has a name in its storage is the same view.
    pub(super) fn may_change(&self, name: &str) -> bool {
        let member = match self.entries.get(name) {
            Some(Entry { member: Some(member), pickled: false, .. }) => member,
            // Its elements are absent, which is what stands in the way of a change.
            Some(Entry { pickled: true, .. }) => return true,
            _ => return false,
        };
        // Of a view without elements it is not known that its place is in the storage.
        let changes = |view: &View| view.axes().is_some() && view.count() != Some(0);
        matches!(self.views.get(member), Some(Some(view)) if changes(view))
    }

    /// The member of a payload.
    pub(super) fn member(&self, name: &str) -> Option<usize> {
        self.entries.get(name)?.member
    }

    /// The storage of a payload with other elements in the place of its own. Ranges are of source 0.
    pub(super) fn rewritten<'a>(
        &self,
        archive: &Archive,
        source: &Source,
        name: &str,
        entry: ConstId,
        weights: Weights<'a>,
    ) -> Result<Option<(usize, Content<'a>)>, FrontendError> {
        let Some(Entry { member: Some(index), view: Some(view), .. }) = self.entries.get(name)
        else {
            return Ok(None);
        };
        let (Some(member), Some(span)) = (archive.members().get(*index), view.span()) else {
            return Ok(None);
        };
        let (start, end) = (span.start * view.width(), span.end * view.width());
        let mut content = Content::new();
        let produced = weights.chunks(entry, name);
        let (held, at) = match (archive.stored_range(member), self.unpacked.get(index)) {
            (Some(range), _) => {
                content.source(0, range.start..range.start + start);
                (source.clone(), range)
            }
            (None, Some(unpacked)) => {
                content.bytes(unpacked.bytes().get(..start as usize).unwrap_or_default());
                (unpacked.clone(), 0..unpacked.len())
            }
            (None, None) => return Ok(None),
        };
        let behind = at.start + end..at.end;
        if view.is_contiguous() {
            content.produced(produced);
        } else {
            let axes = view.axes().ok_or_else(|| {
                FrontendError::unsupported(format!("{FORMAT}: `{name}`"), "elements that overlap")
            })?;
            content.produced(Box::new(Spread {
                elements: produced,
                old: held.clone(),
                first: at.start + start,
                len: end - start,
                width: view.width(),
                axes,
                whole: Mutex::new(None),
            }));
        }
        match archive.stored_range(member) {
            Some(_) => content.source(0, behind),
            None => content.bytes(held.mapped(behind).unwrap_or_default()),
        }
        Ok(Some((*index, content)))
    }
}

/// The elements of a view in row-major order.
#[derive(Debug)]
struct Strided {
    source: Source,
    /// Where its first element is.
    first: u64,
    width: u64,
    dims: Vec<u64>,
    strides: Vec<u64>,
    len: u64,
}

impl Strided {
    fn new(source: Source, start: u64, view: &View) -> Self {
        let width = view.width();
        Self {
            source,
            first: start + view.offset * width,
            width,
            dims: view.dims.clone(),
            strides: view.strides.clone(),
            len: view.count().unwrap_or(0) * width,
        }
    }

    /// Where the bytes of a row-major element are.
    fn at(&self, element: u64) -> u64 {
        let mut rest = element;
        let mut position = 0;
        for (&d, &s) in self.dims.iter().zip(&self.strides).rev() {
            position += rest % d.max(1) * s;
            rest /= d.max(1);
        }
        self.first + position * self.width
    }
}

impl ByteSource for Strided {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset;
        let mut element = vec![0; self.width as usize];
        while at < end {
            let within = (at % self.width) as usize;
            let from = self.at(at / self.width);
            match self.source.mapped(from..from + self.width) {
                Some(bytes) => element.copy_from_slice(bytes),
                None => self.source.read_at(from, &mut element)?,
            }
            let n = (self.width as usize - within).min((end - at) as usize);
            let to = (at - offset) as usize;
            if let (Some(to), Some(part)) =
                (buf.get_mut(to..to + n), element.get(within..within + n))
            {
                to.copy_from_slice(part);
            }
            at += n as u64;
        }
        Ok(())
    }

    fn mapped(&self, _: Range<u64>) -> Option<&[u8]> {
        None
    }
}

/// The part of a storage that a view spans, with other elements in their places and what lies between them as it was.
#[derive(Debug)]
struct Spread<'a> {
    /// In row-major order.
    elements: Box<dyn ChunkProducer + 'a>,
    old: Source,
    /// Where the part begins in the old bytes.
    first: u64,
    len: u64,
    width: u64,
    /// See [`View::axes`].
    axes: Vec<(u64, u64, u64)>,
    /// All elements, from the first chunk on to the last: neighbours in the storage are far apart in the tensor.
    whole: Mutex<Option<Gathered>>,
}

#[derive(Debug)]
struct Gathered {
    elements: Arc<[u8]>,
    /// Bytes of the part that were given out.
    given: u64,
}

impl Spread<'_> {
    /// The row-major index of the element at a place of the part, if there is one.
    fn index(&self, place: u64) -> Option<u64> {
        let (mut rest, mut index) = (place, 0);
        for &(stride, extent, row_major) in &self.axes {
            let position = (rest / stride).min(extent - 1);
            index += position * row_major;
            rest -= position * stride;
        }
        (rest == 0).then_some(index)
    }

    fn gathered(&self) -> io::Result<Arc<[u8]>> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gathered) = &*whole {
            return Ok(gathered.elements.clone());
        }
        let mut elements = vec![0; self.elements.len() as usize];
        // In pieces, so that what is computed for one stays small.
        for (i, piece) in elements.chunks_mut(1 << 20).enumerate() {
            self.elements.produce((i as u64) << 20, piece)?;
        }
        let elements: Arc<[u8]> = elements.into();
        *whole = Some(Gathered { elements: elements.clone(), given: 0 });
        Ok(elements)
    }

    /// Lets go of the elements when every byte was given out.
    fn give(&self, bytes: u64) {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gathered) = &mut *whole {
            gathered.given += bytes;
            if gathered.given >= self.len {
                *whole = None;
            }
        }
    }
}

impl ChunkProducer for Spread<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn produce(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.old.read_at(self.first + offset, buf)?;
        let elements = self.gathered()?;
        let width = self.width as usize;
        for (i, target) in buf.chunks_exact_mut(width).enumerate() {
            let Some(index) = self.index(offset / self.width + i as u64) else { continue };
            let from = index as usize * width;
            if let Some(element) = elements.get(from..from + width) {
                target.copy_from_slice(element);
            }
        }
        drop(elements);
        self.give(buf.len() as u64);
        Ok(())
    }
}

/// Payloads that go: the members that nothing names any more.
pub(super) fn unnamed(
    storages: &Storages,
    configs: &[Config],
    gone: &dyn Fn(&str) -> bool,
) -> Vec<usize> {
    let mut named: BTreeMap<usize, bool> = BTreeMap::new();
    for (name, _) in configs.iter().flat_map(Config::payloads) {
        if let Some(member) = storages.member(name) {
            *named.entry(member).or_default() |= !gone(name);
        }
    }
    named.into_iter().filter(|(_, named)| !named).map(|(member, _)| member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dims: &[u64], strides: &[u64], offset: u64) -> View {
        View { dtype: DType::U8, dims: dims.into(), strides: strides.into(), offset }
    }

    #[derive(Debug)]
    struct Bytes(Vec<u8>);

    impl ChunkProducer for Bytes {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn produce(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let at = offset as usize;
            buf.copy_from_slice(&self.0[at..at + buf.len()]);
            Ok(())
        }
    }

    #[test]
    fn elements_are_read_and_written_through_strides() {
        let storage: Vec<u8> = (0..40).collect();
        let source = Source::Memory(storage.clone().into());
        for view in [
            view(&[2, 3, 4], &[12, 4, 1], 3),
            view(&[2, 3, 4], &[12, 1, 3], 2),
            view(&[4, 3], &[1, 5], 7),
            view(&[3, 2], &[10, 3], 1),
            view(&[1, 5], &[99, 2], 0),
        ] {
            let n = view.count().unwrap();
            let strided = Strided::new(source.clone(), 0, &view);
            let mut read = vec![0; n as usize];
            strided.read_at(0, &mut read).unwrap();
            let at = |i: u64| {
                let mut rest = i;
                let mut place = view.offset;
                for (&d, &s) in view.dims.iter().zip(&view.strides).rev() {
                    place += rest % d * s;
                    rest /= d;
                }
                place as usize
            };
            let expected: Vec<u8> = (0..n).map(|i| storage[at(i)]).collect();
            assert_eq!(read, expected, "{view:?}");
            let mut part = vec![0; 3];
            strided.read_at(2, &mut part).unwrap();
            assert_eq!(part, expected[2..5]);

            let new: Vec<u8> = (0..n).map(|i| 100 + i as u8).collect();
            let span = view.span().unwrap();
            let spread = Spread {
                elements: Box::new(Bytes(new.clone())),
                old: source.clone(),
                first: span.start,
                len: span.end - span.start,
                width: 1,
                axes: view.axes().unwrap(),
                whole: Mutex::new(None),
            };
            let mut written = storage.clone();
            let (a, b) = (span.start as usize, span.end as usize);
            spread.produce(0, &mut written[a..b]).unwrap();
            let mut twin = storage.clone();
            (0..n).for_each(|i| twin[at(i)] = new[i as usize]);
            assert_eq!(written, twin, "{view:?}");
            assert!(spread.whole.lock().unwrap().is_none());
        }
    }

    #[test]
    fn elements_that_are_one_are_seen() {
        assert!(view(&[3, 4], &[0, 1], 0).axes().is_none(), "expanded");
        assert!(view(&[3, 4], &[2, 1], 0).axes().is_none(), "overlapping windows");
        assert!(view(&[3, 4], &[1, 3], 0).axes().is_some(), "transposed");
        assert!(view(&[1, 4], &[0, 1], 0).axes().is_some(), "one row");
        assert!(view(&[3, 4], &[4, 1], 5).is_contiguous());
        assert!(view(&[3, 1, 4], &[4, 77, 1], 5).is_contiguous());
        assert!(!view(&[3, 4], &[5, 1], 0).is_contiguous());
        assert!(view(&[u64::MAX, 3], &[3, 1], 0).span().is_none(), "no overflow");
    }
}
