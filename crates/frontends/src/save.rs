//! Writing a document: what to write, as segments, and how it gets into a file.
//!
//! [`Content`] lists segments in order: ranges of a source that are copied, bytes that are owned, and tensors that are
//! computed while they are written. Its length is known before anything is written, so that the output is cut into jobs of
//! at most 8 MiB, which a few threads read, compute and write at known offsets through one buffer each: the bytes
//! are the same with any number of threads, and memory does not grow with the model.
//!
//! Checksums that stand in the file itself ([`Content::seal`]) are computed by the way and put in last.
//!
//! A file is written beside its target under a fresh name and renamed into place. Whatever happens before the rename, the
//! target is as it was and the fresh file is removed.

mod contents;
mod seal;
mod target;
mod transaction;
mod unfinished;

pub(crate) use contents::Contents;
pub use target::{Check, FileIdentity, write_file, write_stream};
pub(crate) use target::{
    NAME_MAX, Staged, directory_of, explain, resolve, shortened, write_checked,
};
pub(crate) use transaction::Transaction;
pub use unfinished::{Halted, remove_unfinished};

use crate::bytes::Source;
use seal::{Parts, Seal, overlay};
use std::{
    fmt,
    hash::Hasher as _,
    io::{self, Write},
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};
use twox_hash::XxHash3_64;

/// Bytes of one job.
const JOB: u64 = 8 << 20;
/// Bytes that a worker reads, computes and writes at once: they stay in the second cache. Outputs are written by cells of a
/// grid of this, so that the page cache takes them by whole pages, and in pages as large as that.
const CELL: usize = 128 << 10;
/// Ranges of sources below this are read with what follows them: documents are full of short ones.
const SMALL: u64 = 16 << 10;
/// Bytes read at once for the sake of small ranges.
const AHEAD: u64 = 64 << 10;
/// Outputs below this are written without threads: starting them costs more than it saves.
const INLINE: u64 = 2 << 20;
/// Computed chunks begin at multiples of this within their tensor: no element straddles two chunks.
pub const CHUNK_ALIGN: usize = 64;

/// A tensor that is computed while it is written.
pub trait ChunkProducer: fmt::Debug + Send + Sync {
    /// The bytes of the whole tensor.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes that begin at `offset`, a multiple of [`CHUNK_ALIGN`]. Chunks are asked for in any order,
    /// from several threads.
    ///
    /// # Errors
    /// The weights cannot be read, or what they became must not be written.
    fn produce(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// Told how many bytes of how many are written, from any thread; breaks to have the output dropped.
pub type Progress<'a> = dyn Fn(u64, u64) -> ControlFlow<()> + Sync + 'a;

/// How to write.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Threads that read, compute and write; 0 counts as 1.
    pub threads: usize,
    /// Told how many bytes of how many are written, and may stop it.
    pub progress: Option<&'a Progress<'a>>,
    /// Whether the file is on the disk before it gets its name, and its name before the call returns, so that a loss of power
    /// cannot take either.
    pub sync: bool,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self { threads: 1, progress: None, sync: false }
    }
}

impl fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOptions").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Segment {
    Source { source: u32, start: u64, len: u64 },
    Owned { start: usize, len: u64 },
    Produced { index: u32, len: u64 },
    Zeros { len: u64 },
}

impl Segment {
    fn len(self) -> u64 {
        match self {
            Segment::Source { len, .. }
            | Segment::Owned { len, .. }
            | Segment::Produced { len, .. }
            | Segment::Zeros { len } => len,
        }
    }
}

/// What a file will hold, in order.
#[derive(Default, Debug)]
pub struct Content<'a> {
    segments: Vec<Segment>,
    owned: Vec<u8>,
    produced: Vec<Box<dyn ChunkProducer + 'a>>,
    /// By range; ranges do not overlap.
    seals: Vec<Seal>,
    len: u64,
}

impl<'a> Content<'a> {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes in all.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a range of a source. A range that continues the last one joins it.
    pub fn source(&mut self, source: u32, range: std::ops::Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        if len == 0 {
            return;
        }
        self.len += len;
        if let Some(Segment::Source { source: s, start, len: l }) = self.segments.last_mut()
            && *s == source
            && *start + *l == range.start
        {
            *l += len;
            return;
        }
        self.segments.push(Segment::Source { source, start: range.start, len });
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (start, len) = (self.owned.len(), bytes.len() as u64);
        self.owned.extend_from_slice(bytes);
        self.len += len;
        if let Some(Segment::Owned { start: s, len: l }) = self.segments.last_mut()
            && *s as u64 + *l == start as u64
        {
            *l += len;
            return;
        }
        self.segments.push(Segment::Owned { start, len });
    }

    /// Appends a tensor that is computed while it is written.
    pub fn produced(&mut self, producer: Box<dyn ChunkProducer + 'a>) {
        let len = producer.len();
        if len == 0 {
            return;
        }
        self.len += len;
        self.segments.push(Segment::Produced { index: self.produced.len() as u32, len });
        self.produced.push(producer);
    }

    /// Appends zeros until the length is a multiple of `alignment`.
    pub fn align(&mut self, alignment: u64) {
        self.zeros(self.len.next_multiple_of(alignment) - self.len);
    }

    fn zeros(&mut self, len: u64) {
        if len > 0 {
            self.len += len;
            self.segments.push(Segment::Zeros { len });
        }
    }

    /// Has the CRC-32 (IEEE) of a range of this content written, little-endian, at each of these places of it, over bytes
    /// that were appended there. They are four bytes each, in no sealed range; ranges come in order and do not overlap.
    pub fn seal(&mut self, range: std::ops::Range<u64>, at: Vec<u64>) {
        debug_assert!(range.start <= range.end && range.end <= self.len);
        debug_assert!(self.seals.last().is_none_or(|s| s.range.end <= range.start));
        debug_assert!(at.iter().all(|at| at + 4 <= self.len));
        self.seals.push(Seal { range, at });
    }

    /// Appends all of another content with the same sources.
    pub fn append(&mut self, other: Content<'a>) {
        let shift = self.len;
        self.seals.extend(other.seals.into_iter().map(|s| s.shifted(shift)));
        let (owned, produced) = (self.owned.len(), self.produced.len() as u32);
        self.produced.extend(other.produced);
        self.owned.extend_from_slice(&other.owned);
        self.segments.reserve(other.segments.len());
        for segment in other.segments {
            match segment {
                Segment::Source { source, start, len } => self.source(source, start..start + len),
                Segment::Owned { start, len } => {
                    let start = start + owned;
                    self.len += len;
                    match self.segments.last_mut() {
                        Some(Segment::Owned { start: s, len: l })
                            if *s as u64 + *l == start as u64 =>
                        {
                            *l += len
                        }
                        _ => self.segments.push(Segment::Owned { start, len }),
                    }
                }
                Segment::Produced { index, len } => {
                    self.len += len;
                    self.segments.push(Segment::Produced { index: index + produced, len });
                }
                Segment::Zeros { len } => self.zeros(len),
            }
        }
    }

    /// Whether this is exactly the range of source 0, untouched.
    pub fn is_source(&self, range: std::ops::Range<u64>) -> bool {
        let len = range.end - range.start;
        match self.segments.as_slice() {
            [] => len == 0,
            [Segment::Source { source: 0, start, len: l }] => *start == range.start && *l == len,
            _ => false,
        }
    }

    /// Writes everything in order, without threads. What is sealed is read and computed twice: a checksum may stand before
    /// what it is of, and `out` takes nothing back.
    ///
    /// # Errors
    /// A source cannot be read, a tensor not be computed, or `out` not be written.
    pub fn write_to(
        &self,
        sources: &[Source],
        out: &mut dyn Write,
        options: WriteOptions<'_>,
    ) -> Result<(), WriteError> {
        let (mut done, mut parts) = (0, Parts::default());
        let mut buffer = Buffer::default();
        let jobs = self.jobs();
        if !self.seals.is_empty() {
            for job in &jobs {
                self.run(job, sources, &mut buffer, &mut |at, bytes| {
                    parts.write(&self.seals, at, bytes);
                    Ok(())
                })?;
            }
        }
        let sums = parts.finish(&self.seals);
        for job in &jobs {
            self.run(job, sources, &mut buffer, &mut |at, bytes| {
                overlay(&sums, at, bytes);
                out.write_all(bytes)?;
                done += bytes.len() as u64;
                go_on(options, done, self.len)
            })?;
        }
        out.flush().map_err(WriteError::Write)
    }

    /// Writes everything by positioned writes over a pool of threads: `write` gets offsets in any order. With `digest`, gives
    /// the XXH3 of the XXH3 of each job: jobs depend on the content alone, so the digest does, too. It is taken before seals
    /// are put in, which follow from the rest.
    pub(crate) fn write_at(
        &self,
        sources: &[Source],
        write: &(dyn Fn(u64, &[u8]) -> io::Result<()> + Sync),
        options: WriteOptions<'_>,
        digest: bool,
    ) -> Result<Option<u64>, WriteError> {
        let jobs = self.jobs();
        let digests: Mutex<Vec<u64>> =
            Mutex::new(if digest { vec![0; jobs.len()] } else { Vec::new() });
        let threads =
            if self.len < INLINE { 1 } else { options.threads.clamp(1, jobs.len().max(1)) };
        let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let failure: Mutex<Option<(usize, WriteError)>> = Mutex::new(None);
        let parts = Mutex::new(Parts::default());
        let worker = || {
            let mut buffer = Buffer::default();
            let mut own = Parts::default();
            while !stop.load(Relaxed) {
                let index = next.fetch_add(1, Relaxed);
                let Some(job) = jobs.get(index) else { break };
                let mut hash = digest.then(XxHash3_64::new);
                let result = self.run(job, sources, &mut buffer, &mut |at, bytes| {
                    write(at, bytes)?;
                    own.write(&self.seals, at, bytes);
                    if let Some(hash) = &mut hash {
                        hash.write(bytes);
                    }
                    let n = bytes.len() as u64;
                    let done = done.fetch_add(n, Relaxed) + n;
                    go_on(options, done, self.len)
                });
                if let Some(hash) = hash {
                    let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(d) = digests.get_mut(index) {
                        *d = hash.finish();
                    }
                }
                if let Err(e) = result {
                    stop.store(true, Relaxed);
                    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.as_ref().is_none_or(|(i, _)| index < *i) {
                        *first = Some((index, e));
                    }
                }
            }
            parts.lock().unwrap_or_else(PoisonError::into_inner).append(own);
        };
        if threads == 1 {
            worker();
        } else {
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(worker);
                }
                worker();
            });
        }
        if let Some((_, e)) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(e);
        }
        let parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (at, sum) in parts.finish(&self.seals) {
            write(at, &sum).map_err(WriteError::Write)?;
        }
        Ok(digest.then(|| {
            let digests = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut hash = XxHash3_64::new();
            digests.iter().for_each(|d| hash.write(&d.to_le_bytes()));
            hash.finish()
        }))
    }

    /// Cuts the segments into runs of at most [`JOB`] bytes. Cuts inside a tensor are aligned within the tensor.
    fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let (mut at, mut job) = (0, Job { at: 0, segment: 0, skip: 0, len: 0 });
        for (segment, s) in self.segments.iter().enumerate() {
            let mut skip = 0;
            while skip < s.len() {
                if job.len == JOB {
                    jobs.push(job);
                    job = Job { at, segment, skip, len: 0 };
                }
                let mut part = (s.len() - skip).min(JOB - job.len);
                if part < s.len() - skip {
                    part -= part % CHUNK_ALIGN as u64;
                    if part == 0 {
                        jobs.push(job);
                        job = Job { at, segment, skip, len: 0 };
                        continue;
                    }
                }
                job.len += part;
                skip += part;
                at += part;
                if skip < s.len() {
                    jobs.push(job);
                    job = Job { at, segment, skip, len: 0 };
                }
            }
        }
        if job.len > 0 {
            jobs.push(job);
        }
        jobs
    }

    /// Fills the buffer from the segments of one job, a cell of the output at a time, and hands on what belongs to the job.
    fn run(
        &self,
        job: &Job,
        sources: &[Source],
        buffer: &mut Buffer,
        write: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let Buffer { cell, ahead } = buffer;
        // A computed chunk that does not end on the cell's border goes on to the grid of its tensor.
        let cell = cell.resized(CELL + CHUNK_ALIGN);
        let (mut at, mut from) = (job.at, (job.at % CELL as u64) as usize);
        let mut filled = from;
        let (mut left, mut skip) = (job.len, job.skip);
        for &segment in self.segments.get(job.segment..).unwrap_or_default() {
            let end = segment.len().min(skip + left);
            left -= end - skip;
            while skip < end {
                if filled >= CELL {
                    write(at, &mut cell[from..CELL]).map_err(WriteError::writing)?;
                    at += (CELL - from) as u64;
                    cell.copy_within(CELL..filled, 0);
                    (from, filled) = (0, filled - CELL);
                }
                let want = end - skip;
                let space = match segment {
                    Segment::Produced { .. } => (CELL - filled).next_multiple_of(CHUNK_ALIGN),
                    _ => CELL - filled,
                };
                let n = want.min(space as u64) as usize;
                let chunk = &mut cell[filled..filled + n];
                match segment {
                    Segment::Zeros { .. } => chunk.fill(0),
                    Segment::Owned { start, .. } => {
                        let owned = self.owned.get(start + skip as usize..).unwrap_or_default();
                        chunk.copy_from_slice(&owned[..n]);
                    }
                    Segment::Source { source, start, .. } => sources
                        .get(source as usize)
                        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
                        .and_then(|s| ahead.read(s, source, start + skip, chunk))
                        .map_err(|error| WriteError::Read { source: source as usize, error })?,
                    Segment::Produced { index, .. } => {
                        self.produced[index as usize]
                            .produce(skip, chunk)
                            .map_err(WriteError::Produce)?;
                    }
                }
                filled += n;
                skip += n as u64;
            }
            skip = 0;
            if left == 0 {
                break;
            }
        }
        while from < filled {
            let end = filled.min(CELL);
            write(at, &mut cell[from..end]).map_err(WriteError::writing)?;
            at += (end - from) as u64;
            cell.copy_within(end..filled, 0);
            (from, filled) = (0, filled - end);
        }
        Ok(())
    }
}

/// What one worker reads and computes into.
#[derive(Default)]
struct Buffer {
    cell: Pages,
    ahead: Ahead,
}

/// Bytes that begin on a page, as those of files do in the page cache: some processors copy at half the speed where the
/// two sides of a copy are a few bytes apart within their pages.
#[derive(Default)]
struct Pages {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Pages {
    const SIZE: usize = 4096;

    /// So many bytes, whatever they are.
    fn resized(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < len + Self::SIZE {
            self.bytes = vec![0; len + Self::SIZE];
            // Where it cannot be told, nothing but time is lost.
            self.start = self.bytes.as_ptr().align_offset(Self::SIZE).min(Self::SIZE);
        }
        self.len = len;
        &mut self.bytes[self.start..self.start + len]
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

/// The last bytes that were read for the sake of a small range.
#[derive(Default)]
struct Ahead {
    source: u32,
    start: u64,
    bytes: Pages,
}

impl Ahead {
    /// Fills `out` from `offset` of a source.
    fn read(&mut self, from: &Source, source: u32, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let len = out.len() as u64;
        if len >= SMALL {
            return from.read_at(offset, out);
        }
        let end = self.start + self.bytes.len as u64;
        if self.source != source || offset < self.start || offset + len > end {
            let ahead = AHEAD.min(from.len().saturating_sub(offset)).max(len);
            let read = from.read_at(offset, self.bytes.resized(ahead as usize));
            if let Err(e) = read {
                self.bytes.len = 0;
                return Err(e);
            }
            (self.source, self.start) = (source, offset);
        }
        let at = (offset - self.start) as usize;
        out.copy_from_slice(&self.bytes.bytes()[at..at + out.len()]);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Job {
    /// Where the job's bytes go in the output.
    at: u64,
    /// The first segment, and how much of it belongs to earlier jobs.
    segment: usize,
    skip: u64,
    len: u64,
}

/// What stopped the writing.
#[derive(Debug)]
pub enum WriteError {
    /// The output cannot be written.
    Write(io::Error),
    /// A source cannot be read.
    Read {
        /// Which of the sources.
        source: usize,
        /// What the system says.
        error: io::Error,
    },
    /// A tensor cannot be computed.
    Produce(io::Error),
    /// Somebody asked to stop.
    Cancelled,
}

impl WriteError {
    /// What an error of the callback that writes means.
    fn writing(e: io::Error) -> Self {
        match e.get_ref().is_some_and(|inner| inner.is::<Cancelled>()) {
            true => WriteError::Cancelled,
            false => WriteError::Write(e),
        }
    }
}

/// Tells whoever watches how far it is.
pub(crate) fn watched(progress: Option<&Progress<'_>>, done: u64, total: u64) -> ControlFlow<()> {
    progress.map_or(ControlFlow::Continue(()), |progress| progress(done, total))
}

/// [`watched`], as an error when that one has it stop.
fn go_on(options: WriteOptions<'_>, done: u64, total: u64) -> io::Result<()> {
    match watched(options.progress, done, total) {
        ControlFlow::Break(()) => Err(io::Error::other(Cancelled)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// What stands in an I/O error where somebody asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("cancelled")]
struct Cancelled;

#[cfg(test)]
mod tests;
