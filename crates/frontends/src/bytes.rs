//! Where the bytes of a document are: a mapped file or memory.

use std::{fmt, fs::File, io, ops::Range, path::Path, sync::Arc, time::SystemTime};

/// A file, mapped for reading and open for positioned reads.
///
/// What is parsed is read through the map; what is copied into an output is read through the file, because a file that is
/// truncated meanwhile then is an error instead of a signal (and because it is faster). What is read through the map, the
/// structure of a document and the parameters that passes look at, is out of reach of such care: a file that loses these
/// bytes while they are read ends the process by SIGBUS.
pub struct MappedFile {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
    file: File,
    len: u64,
    /// When it was last written to, where the system says so.
    modified: Option<SystemTime>,
}

impl MappedFile {
    /// Opens and maps a regular file.
    ///
    /// # Errors
    /// The file cannot be opened or mapped, or is not a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Maps an open regular file.
    ///
    /// # Errors
    /// The file cannot be mapped, or is not a regular file.
    #[allow(
        unsafe_code,
        reason = "a map is undefined behaviour only if another process changes the file while it is read: \
            every reader of large files takes that risk; what is copied to an output goes through `read_at` instead"
    )]
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let len = metadata.len();
        // SAFETY: the map is read-only and lives as long as the `Mmap`; see the reason above for what may go wrong.
        let map = if len == 0 { None } else { Some(unsafe { memmap2::Mmap::map(&file)? }) };
        Ok(Self { map, file, len, modified: metadata.modified().ok() })
    }

    /// All bytes, through the map.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// The bytes in the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `buf` from the file at `offset`, not through the map.
    ///
    /// # Errors
    /// The file cannot be read, or ends before `buf` is full.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match read_exact_at(&self.file, offset, buf) {
            Err(e)
                if e.kind() == io::ErrorKind::UnexpectedEof
                    && offset.saturating_add(buf.len() as u64) <= self.len =>
            {
                self.unchanged().and(Err(e))
            }
            other => other,
        }
    }

    /// Whether the file is what it was when it was opened, as far as its length and its time of modification tell.
    ///
    /// # Errors
    /// It is not, or the system does not say.
    pub fn unchanged(&self) -> io::Result<()> {
        let now = self.file.metadata()?;
        if now.len() != self.len {
            let (was, is) = (self.len, now.len());
            return Err(io::Error::other(format!(
                "the file changed while it was read: it had {was} bytes and has {is}"
            )));
        }
        if now.modified().ok() != self.modified {
            return Err(io::Error::other("the file changed while it was read"));
        }
        Ok(())
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.len)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The bytes of a document: a mapped file or memory. Cheap to clone.
#[derive(Clone)]
pub enum Source {
    /// A file.
    File(Arc<MappedFile>),
    /// Memory.
    Memory(Arc<[u8]>),
}

impl Source {
    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Source::File(f) => f.bytes(),
            Source::Memory(b) => b,
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Source::File(f) => f.len(),
            Source::Memory(b) => b.len() as u64,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`: by a positioned read of a file, never through its map.
    ///
    /// # Errors
    /// The range reaches beyond the end, or the file cannot be read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match self {
            Source::File(f) => f.read_at(offset, buf),
            Source::Memory(b) => {
                let range = slice_range(b.len(), offset..offset.saturating_add(buf.len() as u64))
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                buf.copy_from_slice(&b[range]);
                Ok(())
            }
        }
    }

    /// [`MappedFile::unchanged`]; memory does not change.
    ///
    /// # Errors
    /// As there.
    pub fn unchanged(&self) -> io::Result<()> {
        match self {
            Source::File(f) => f.unchanged(),
            Source::Memory(_) => Ok(()),
        }
    }

    /// The bytes of a range, without a copy.
    pub fn mapped(&self, range: Range<u64>) -> Option<&[u8]> {
        let bytes = self.bytes();
        bytes.get(slice_range(bytes.len(), range)?)
    }
}

impl normfold_ir::ByteSource for Source {
    fn len(&self) -> u64 {
        self.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buf)
    }
    fn mapped(&self, range: Range<u64>) -> Option<&[u8]> {
        self.mapped(range)
    }
}

fn slice_range(len: usize, range: Range<u64>) -> Option<Range<usize>> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= len).then_some(start..end)
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(file) => file.fmt(f),
            Source::Memory(b) => write!(f, "Memory({} bytes)", b.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_no_bytes() {
        let file = tempfile::tempfile().unwrap();
        let mapped = MappedFile::new(file).unwrap();
        assert!(mapped.is_empty() && mapped.bytes().is_empty());
        assert!(mapped.read_at(0, &mut []).is_ok());
        assert!(mapped.read_at(0, &mut [0]).is_err());
    }

    #[test]
    fn a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(MappedFile::open(dir.path()).is_err());
    }

    #[test]
    fn both_sources_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"0123456789").unwrap();
        for source in [
            Source::File(Arc::new(MappedFile::open(&path).unwrap())),
            Source::Memory(Arc::from(&b"0123456789"[..])),
        ] {
            let mut buf = [0; 4];
            source.read_at(3, &mut buf).unwrap();
            assert_eq!(&buf, b"3456");
            assert!(source.read_at(7, &mut buf).is_err());
            assert!(source.read_at(u64::MAX, &mut buf).is_err());
            assert_eq!(source.mapped(8..10), Some(&b"89"[..]));
            assert_eq!(source.mapped(8..11), None);
        }
    }
}
