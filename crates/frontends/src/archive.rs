//! Zip archives: read by their central directory, and patched member by member.
//!
//! An archive is not unpacked. [`Archive::open`] reads the directory and the local headers and checks them against each
//! other, so that every reader of the file sees the members that are seen here; [`Archive::stored_range`] says where in the
//! file the bytes of a stored member are; [`Archive::read`] inflates others. [`Patch`] gives the archive with members replaced
//! or removed: everything else is copied as it was.
//!
//! References are to the sections of APPNOTE 6.3.10. Archives of one file are read, with zip64 (4.3.14), members stored or
//! deflated; what is compressed otherwise can be carried. Encrypted members, names that leave the archive, two members of one
//! name, members that overlap and sizes that contradict each other are errors.

mod directory;
mod patch;

pub use patch::Patch;

use crate::{FrontendError, bytes::Source};
use directory::End;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use std::{collections::HashMap, fmt, ops::Range};

/// Deflate makes at most that many bytes of one (258 bytes of two bits and a bit of each kind).
const MAX_RATIO: u64 = 1032;
/// Bytes whose checksum is taken at once.
const CHUNK: usize = 1 << 20;

/// How the data of a member is kept (4.4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// As it is.
    Stored,
    /// Deflated.
    Deflated,
    /// By a method of that number, which is not read.
    Other(u16),
}

/// A file in an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    name: String,
    method: Method,
    /// Of the data once unpacked.
    crc: u32,
    /// Of the data once unpacked.
    size: u64,
    /// Where the local header begins.
    header: u64,
    /// Where the packed data is.
    data: Range<u64>,
    /// Where its record of the central directory is.
    record: Range<u64>,
}

impl Member {
    /// The path in the archive, with slashes; that of a directory ends in one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the data is kept.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The bytes of the data once unpacked.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of the data as it is kept.
    fn compressed(&self) -> u64 {
        self.data.end - self.data.start
    }

    /// The CRC-32 of the data once unpacked.
    pub fn crc(&self) -> u32 {
        self.crc
    }
}

/// An archive that is open.
#[derive(Clone)]
pub struct Archive {
    source: Source,
    /// In the order of the central directory.
    members: Vec<Member>,
    names: HashMap<String, usize>,
    /// Indices of members in the order of their local headers.
    order: Vec<usize>,
    end: End,
}

impl Archive {
    /// Whether the content begins like a zip archive.
    pub fn looks_like(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
    }

    /// Reads the directory of an archive. Takes memory in proportion to the directory, never to what a size claims.
    ///
    /// # Errors
    /// The file is cut short or contradicts itself; a name is not safe or there twice; members overlap; something is
    /// encrypted or spread over several files. The error names the member.
    pub fn open(source: &Source) -> Result<Self, FrontendError> {
        let bytes = source.bytes();
        let end = End::find(bytes)?;
        let members = directory::members(bytes, &end)?;
        let mut names = HashMap::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            if names.insert(member.name.clone(), index).is_some() {
                return Err(invalid(&member.name, "the archive has two members of that name"));
            }
        }
        let order = directory::in_order(&members)?;
        Ok(Self { source: source.clone(), members, names, order, end })
    }

    /// The members in the order of the directory.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The index of the member of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(self.find(name)?)
    }

    /// Where in the source the data of a member is, if it is stored.
    pub fn stored_range(&self, member: &Member) -> Option<Range<u64>> {
        (member.method == Method::Stored).then(|| member.data.clone())
    }

    /// The data of a member, unpacked, of at most `limit` bytes.
    ///
    /// # Errors
    /// The data is larger, or larger than what is said of it; it is damaged; its method is not read; it cannot be read.
    pub fn read(&self, member: &Member, limit: u64) -> Result<Vec<u8>, FrontendError> {
        let name = &member.name;
        if member.size > limit {
            let limit = format!("it has {} bytes, at most {limit} are read", member.size);
            return Err(FrontendError::Limit { place: place(name), limit });
        }
        let size = usize::try_from(member.size)
            .map_err(|_| FrontendError::unsupported(place(name), "its size on this system"))?;
        let data = match member.method {
            Method::Stored => {
                let mut data = vec![0; size];
                self.source
                    .read_at(member.data.start, &mut data)
                    .map_err(|e| FrontendError::io("read", name, e))?;
                data
            }
            Method::Deflated => {
                let packed = self.source.mapped(member.data.clone()).unwrap_or_default();
                let data = decompress_to_vec_with_limit(packed, size).map_err(|e| {
                    use miniz_oxide::inflate::TINFLStatus::HasMoreOutput;
                    if e.status == HasMoreOutput {
                        invalid(name, format!("it inflates to more than the {size} bytes it says"))
                    } else {
                        invalid(name, "its data is no deflate stream, or cut short")
                    }
                })?;
                if data.len() != size {
                    let n = data.len();
                    return Err(invalid(name, format!("it inflates to {n} bytes, not to {size}")));
                }
                data
            }
            Method::Other(number) => return Err(unreadable(name, number)),
        };
        if crc32fast::hash(&data) != member.crc {
            return Err(damaged(name));
        }
        Ok(data)
    }

    /// Checks the checksum of a stored member whose data is read in place, over that many threads.
    ///
    /// # Errors
    /// The data is damaged, not stored, or cannot be read.
    pub fn check(&self, member: &Member, threads: usize) -> Result<(), FrontendError> {
        if let Method::Other(number) = member.method {
            return Err(unreadable(&member.name, number));
        }
        let Some(range) = self.stored_range(member) else {
            return Err(FrontendError::unsupported(place(&member.name), "reading it in place"));
        };
        let len = range.end - range.start;
        let threads = (threads.max(1) as u64).min(len.div_ceil(CHUNK as u64).max(1));
        let cut =
            |i: u64| range.start + (u128::from(len) * u128::from(i) / u128::from(threads)) as u64;
        let sums: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (1..threads)
                .map(|i| scope.spawn(move || self.checksum(cut(i)..cut(i + 1))))
                .collect();
            let first = self.checksum(cut(0)..cut(1));
            let others = started
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            std::iter::once(first).chain(others).collect()
        });
        let mut whole = crc32fast::Hasher::new();
        for sum in sums {
            whole.combine(&sum.map_err(|e| FrontendError::io("read", &member.name, e))?);
        }
        if whole.finalize() == member.crc { Ok(()) } else { Err(damaged(&member.name)) }
    }

    fn checksum(&self, range: Range<u64>) -> std::io::Result<crc32fast::Hasher> {
        let mut hasher = crc32fast::Hasher::new();
        let len = (range.end - range.start).min(CHUNK as u64) as usize;
        let mut buffer = vec![0; len];
        let mut at = range.start;
        while at < range.end {
            let n = (range.end - at).min(len as u64) as usize;
            let part = buffer.get_mut(..n).unwrap_or_default();
            self.source.read_at(at, part)?;
            hasher.update(part);
            at += n as u64;
        }
        Ok(hasher)
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("source", &self.source)
            .field("members", &self.members)
            .finish()
    }
}

fn place(name: &str) -> String {
    format!("member `{name}`")
}

fn invalid(name: &str, problem: impl Into<String>) -> FrontendError {
    FrontendError::invalid("zip archive", place(name), problem)
}

fn damaged(name: &str) -> FrontendError {
    invalid(name, "the checksum of its data is wrong: the file is damaged")
}

fn unreadable(name: &str, number: u16) -> FrontendError {
    FrontendError::unsupported(
        place(name),
        format!("compression by method {number} (stored and deflate are)"),
    )
}

#[cfg(test)]
mod tests;
