//! The file that is written: a fresh one beside the target, renamed into place.
//!
//! The fresh file of `DIR/NAME` is `DIR/.NAME.PID-N.tmp`, NAME without its end where that would be too long. Only a process that
//! is killed leaves one behind; no later run reads it or is disturbed by it.

use super::{Content, Transaction, WriteError, WriteOptions, unfinished::Names};
use crate::{FrontendError, bytes::Source};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Writes `content` to `target` by way of a fresh file beside it.
///
/// A target that exists keeps its permission bits; a symbolic link keeps pointing where it did. A target that is no regular
/// file (a pipe, a device) cannot be replaced and is written in order. `names` says what the sources are called in errors.
///
/// # Errors
/// The directory is not writable, the disk is full, a source cannot be read: the error names the path. The target is then as
/// it was.
pub fn write_file(
    content: &Content<'_>,
    sources: &[Source],
    names: &[PathBuf],
    target: &Path,
    options: WriteOptions<'_>,
) -> Result<(), FrontendError> {
    write_checked(content, sources, names, target, options, None, Transaction::default())
}

/// [`write_file`] of what `write` gives in order, whose length is not known before.
///
/// # Errors
/// As [`write_file`]; what `write` gives, with the path.
pub fn write_stream(
    target: &Path,
    sync: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FrontendError> {
    let failed = |e| FrontendError::io("write", target, e);
    let buffered = |file: &File| {
        let mut out = BufWriter::new(file);
        write(&mut out).and_then(|()| out.flush()).map_err(failed)
    };
    let Some(real) = resolve(target)? else {
        let out = OpenOptions::new().write(true).open(target);
        return buffered(&out.map_err(|e| FrontendError::io("open", target, e))?);
    };
    let fresh = Fresh::create(&real)?;
    buffered(fresh.file()?)?;
    if sync {
        fresh.file()?.sync_all().map_err(|e| FrontendError::io("sync", target, e))?;
    }
    fresh.take_permissions(&real)?;
    Transaction::default().finish(Staged { fresh, digest: None }, &real, sync)
}

/// Looks at a finished file before it gets its name; `false` drops it.
pub type Check<'a> = dyn Fn(&Path) -> bool + 'a;

/// [`write_file`], with a check that the finished file has to pass before it gets its name, and the external data that gets
/// its names with it.
///
/// # Errors
/// As [`write_file`]; an input of the transaction changed; [`FrontendError::Rejected`] where the check does not let the file
/// pass, or where the target is no regular file, which would be written before it could be checked.
pub(crate) fn write_checked(
    content: &Content<'_>,
    sources: &[Source],
    names: &[PathBuf],
    target: &Path,
    options: WriteOptions<'_>,
    check: Option<&Check<'_>>,
    mut transaction: Transaction,
) -> Result<(), FrontendError> {
    let rejected = || FrontendError::Rejected { path: target.to_path_buf() };
    let Some(real) = resolve(target)? else {
        if check.is_some() {
            return Err(rejected());
        }
        let mut out = OpenOptions::new()
            .write(true)
            .open(target)
            .map_err(|e| FrontendError::io("open", target, e))?;
        return content.write_to(sources, &mut out, options).map_err(|e| explain(e, names, target));
    };
    let staged = Staged::write(content, sources, names, &real, options, false)?;
    transaction.place(options.sync)?;
    if let Some(check) = check {
        if !check(staged.path()) {
            return Err(rejected());
        }
        // The check takes its time and reads the inputs, too.
        transaction.unchanged()?;
    }
    transaction.finish(staged, &real, options.sync)
}

/// The file that `target` names, links followed, also those that lead to where nothing is yet; `None` when that is no regular
/// file and cannot be replaced.
///
/// # Errors
/// The target is a directory, or its links go round in a circle.
pub(crate) fn resolve(target: &Path) -> Result<Option<PathBuf>, FrontendError> {
    match fs::metadata(target) {
        Ok(m) if m.is_dir() => {
            Err(FrontendError::io("write", target, io::ErrorKind::IsADirectory.into()))
        }
        Ok(m) if !m.is_file() => Ok(None),
        // A link of /proc to an open file that has no name any more.
        Ok(_) if followed(target).is_ok_and(|real| fs::symlink_metadata(real).is_err()) => Ok(None),
        // What else stands in the way is told when the file is created.
        _ => followed(target).map(Some).map_err(|e| FrontendError::io("open", target, e)),
    }
}

/// Where links lead that may end where nothing is.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    // As many as systems follow.
    for _ in 0..40 {
        match fs::symlink_metadata(&path) {
            Ok(m) if m.is_symlink() => path = sibling(&path, &fs::read_link(&path)?),
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

/// A path that is meant relative to the directory of another one.
fn sibling(path: &Path, relative: &Path) -> PathBuf {
    path.parent().map_or_else(|| relative.to_path_buf(), |directory| directory.join(relative))
}

/// What tells one file from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileIdentity(Identity);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Identity {
    /// Device and inode of a file that is there.
    #[cfg(unix)]
    Inode(u64, u64),
    /// The path of one that is not there yet, its directory without links.
    Path(PathBuf),
}

impl FileIdentity {
    /// Of what a path names, links followed. `None` for what writing does not replace (a pipe, a device), and for what cannot
    /// be.
    pub fn of(path: &Path) -> Option<Self> {
        let path = resolve(path).ok()??;
        #[cfg(unix)]
        if let Ok(m) = fs::metadata(&path) {
            use std::os::unix::fs::MetadataExt;
            return Some(Self(Identity::Inode(m.dev(), m.ino())));
        }
        let directory = directory_of(&path).canonicalize().ok()?;
        Some(Self(Identity::Path(directory.join(path.file_name()?))))
    }
}

/// The directory of a file. The parent of a bare file name is the empty path, which names none to the system.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What stopped the writing, with the path it stopped at.
pub(crate) fn explain(e: WriteError, names: &[PathBuf], target: &Path) -> FrontendError {
    match e {
        WriteError::Cancelled => FrontendError::Cancelled,
        WriteError::Write(e) => FrontendError::io("write", target, e),
        WriteError::Read { source, error } => {
            FrontendError::io("read", names.get(source).cloned().unwrap_or_default(), error)
        }
        WriteError::Produce(e) => match e.downcast::<FrontendError>() {
            Ok(inner) => inner,
            Err(e) => FrontendError::io("compute weights for", target, e),
        },
    }
}

/// A finished file that has not got its name yet. It is removed unless it gets one.
pub(crate) struct Staged {
    fresh: Fresh,
    /// Of the content, when asked for.
    pub(crate) digest: Option<u64>,
}

impl Staged {
    /// Writes `content` into a fresh file beside `target`, with the permission bits of what is there. See [`write_file`].
    pub(crate) fn write(
        content: &Content<'_>,
        sources: &[Source],
        names: &[PathBuf],
        target: &Path,
        options: WriteOptions<'_>,
        digest: bool,
    ) -> Result<Self, FrontendError> {
        let fresh = Fresh::create(target)?;
        let file = fresh.file()?;
        // The length is known: a full disk shows at once where the file system can tell.
        file.set_len(content.len()).map_err(|e| FrontendError::io("write", target, e))?;
        let write = |at, bytes: &[u8]| write_all_at(file, at, bytes);
        let digest = content
            .write_at(sources, &write, options, digest)
            .map_err(|e| explain(e, names, target))?;
        fresh.take_permissions(target)?;
        if options.sync {
            file.sync_all().map_err(|e| FrontendError::io("sync", target, e))?;
        }
        Ok(Self { fresh, digest })
    }

    /// Where the file is now.
    pub(crate) fn path(&self) -> &Path {
        &self.fresh.path
    }

    /// Gives the file its name, in the directory it was staged for. The caller holds the list of unfinished files.
    pub(super) fn rename_to(self, target: &Path, names: &mut Names) -> Result<(), FrontendError> {
        self.fresh.rename_to(target, names)
    }

    /// Gives the file a name; should the process be ended, it is removed under that one, too.
    pub(super) fn place(self, path: &Path) -> Result<(), FrontendError> {
        let mut names = Names::lock();
        self.fresh.rename_to(path, &mut names)?;
        names.note(path);
        Ok(())
    }
}

/// Why no file can be made beside another one.
fn no_file_in(target: &Path, e: io::Error) -> io::Error {
    let directory = directory_of(target).display();
    let what = match e.kind() {
        io::ErrorKind::NotFound => format!("there is no directory `{directory}`"),
        io::ErrorKind::NotADirectory => format!("`{directory}` is no directory"),
        _ => format!("cannot create a file in `{directory}`: {e}"),
    };
    io::Error::new(e.kind(), what)
}

/// Bytes that file systems let a name have.
pub(crate) const NAME_MAX: usize = 255;

/// The beginning of a text, of at most that many bytes.
pub(crate) fn shortened(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A file under a name of its own that is removed unless it is renamed.
struct Fresh {
    path: PathBuf,
    file: Option<File>,
}

impl Fresh {
    fn create(target: &Path) -> Result<Self, FrontendError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let Some(name) = target.file_name() else {
            let e = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
            return Err(FrontendError::io("write", target, e));
        };
        loop {
            let end = format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Relaxed));
            let mut fresh = OsString::from(".");
            match NAME_MAX.checked_sub(1 + end.len()) {
                Some(room) if name.len() > room => {
                    fresh.push(shortened(&name.to_string_lossy(), room));
                }
                _ => fresh.push(name),
            }
            fresh.push(end);
            let path = target.with_file_name(fresh);
            let mut names = Names::lock();
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    names.note(&path);
                    return Ok(Self { path, file: Some(file) });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(FrontendError::io("write", target, no_file_in(target, e))),
            }
        }
    }

    fn file(&self) -> Result<&File, FrontendError> {
        self.file
            .as_ref()
            .ok_or_else(|| FrontendError::io("write", &self.path, io::ErrorKind::NotFound.into()))
    }

    /// Has the file the permission bits of the one that it is to replace, where there is one.
    fn take_permissions(&self, target: &Path) -> Result<(), FrontendError> {
        let Ok(metadata) = fs::metadata(target) else { return Ok(()) };
        let taken = self.file()?.set_permissions(metadata.permissions());
        taken.map_err(|e| FrontendError::io("write", target, e))
    }

    fn rename_to(mut self, target: &Path, names: &mut Names) -> Result<(), FrontendError> {
        // Closed first: some systems refuse to rename an open file.
        drop(self.file.take());
        if let Err(e) = fs::rename(&self.path, target) {
            names.remove(&std::mem::take(&mut self.path));
            return Err(FrontendError::io("rename the finished file to", target, e));
        }
        names.forget(&std::mem::take(&mut self.path));
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        drop(self.file.take());
        if !self.path.as_os_str().is_empty() {
            Names::lock().remove(&self.path);
        }
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
