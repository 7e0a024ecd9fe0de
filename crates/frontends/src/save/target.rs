//! The file that is written: a fresh one beside the target, renamed into place.

use super::{Content, WriteError, WriteOptions};
use crate::{FrontendError, bytes::Source};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
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
    write_checked(content, sources, names, target, options, None)
}

/// Looks at a finished file before it gets its name; `false` drops it.
pub type Check<'a> = dyn Fn(&Path) -> bool + 'a;

/// [`write_file`], with a check that the finished file has to pass before it gets its name.
///
/// # Errors
/// As [`write_file`]; [`FrontendError::Rejected`] where the check does not let the file pass, or where the target is no
/// regular file, which would be written before it could be checked.
pub(crate) fn write_checked(
    content: &Content<'_>,
    sources: &[Source],
    names: &[PathBuf],
    target: &Path,
    options: WriteOptions<'_>,
    check: Option<&Check<'_>>,
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
    if let Ok(metadata) = fs::metadata(&real) {
        let permissions = metadata.permissions();
        staged
            .fresh
            .file()?
            .set_permissions(permissions)
            .map_err(|e| FrontendError::io("write", target, e))?;
    }
    if check.is_some_and(|check| !check(&staged.fresh.path)) {
        return Err(rejected());
    }
    staged.rename_to(&real)
}

/// The file that `target` names, links followed; `None` when that is no regular file and cannot be replaced.
///
/// # Errors
/// The target is a directory.
pub(crate) fn resolve(target: &Path) -> Result<Option<PathBuf>, FrontendError> {
    match fs::metadata(target) {
        Ok(m) if m.is_dir() => {
            Err(FrontendError::io("write", target, io::ErrorKind::IsADirectory.into()))
        }
        Ok(m) if !m.is_file() => Ok(None),
        Ok(_) => {
            fs::canonicalize(target).map(Some).map_err(|e| FrontendError::io("open", target, e))
        }
        Err(_) => Ok(Some(target.to_path_buf())),
    }
}

/// What stopped the writing, with the path it stopped at.
pub(crate) fn explain(e: WriteError, names: &[PathBuf], target: &Path) -> FrontendError {
    match e {
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
    /// Writes `content` into a fresh file beside `target`. See [`write_file`].
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
        Ok(Self { fresh, digest })
    }

    /// Gives the file its name, in the directory it was staged for.
    pub(crate) fn rename_to(self, target: &Path) -> Result<(), FrontendError> {
        self.fresh.rename_to(target)
    }
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
            let mut fresh = OsString::from(".");
            fresh.push(name);
            fresh.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Relaxed)));
            let path = target.with_file_name(fresh);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file: Some(file) }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(FrontendError::io("create a file beside", target, e)),
            }
        }
    }

    fn file(&self) -> Result<&File, FrontendError> {
        self.file
            .as_ref()
            .ok_or_else(|| FrontendError::io("write", &self.path, io::ErrorKind::NotFound.into()))
    }

    fn rename_to(mut self, target: &Path) -> Result<(), FrontendError> {
        // Closed first: some systems refuse to rename an open file.
        drop(self.file.take());
        fs::rename(&self.path, target)
            .map_err(|e| FrontendError::io("rename the finished file to", target, e))?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        drop(self.file.take());
        if !self.path.as_os_str().is_empty()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the unfinished file");
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
