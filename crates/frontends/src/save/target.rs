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
    content: &Content,
    sources: &[Source],
    names: &[PathBuf],
    target: &Path,
    options: WriteOptions<'_>,
) -> Result<(), FrontendError> {
    let explain = |e: WriteError| match e {
        WriteError::Write(e) => FrontendError::io("write", target, e),
        WriteError::Read { source, error } => {
            FrontendError::io("read", names.get(source).cloned().unwrap_or_default(), error)
        }
        WriteError::Produce(e) => match e.downcast::<FrontendError>() {
            Ok(inner) => inner,
            Err(e) => FrontendError::io("compute weights for", target, e),
        },
    };
    let existing = match fs::metadata(target) {
        Ok(m) if m.is_dir() => {
            return Err(FrontendError::io("write", target, io::ErrorKind::IsADirectory.into()));
        }
        Ok(m) if !m.is_file() => {
            let mut out = OpenOptions::new()
                .write(true)
                .open(target)
                .map_err(|e| FrontendError::io("open", target, e))?;
            return content.write_to(sources, &mut out, options).map_err(explain);
        }
        Ok(m) => Some(m.permissions()),
        Err(_) => None,
    };
    let real = match existing {
        Some(_) => fs::canonicalize(target).map_err(|e| FrontendError::io("open", target, e))?,
        None => target.to_path_buf(),
    };
    let fresh = Fresh::create(&real)?;
    if let Some(permissions) = existing {
        fresh
            .file()?
            .set_permissions(permissions)
            .map_err(|e| FrontendError::io("write", target, e))?;
    }
    let file = fresh.file()?;
    // The length is known: a full disk shows at once where the file system can tell.
    file.set_len(content.len()).map_err(|e| FrontendError::io("write", target, e))?;
    content
        .write_at(sources, &|at, bytes| write_all_at(file, at, bytes), options)
        .map_err(explain)?;
    fresh.rename_to(&real)
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
