//! What this process has made and would remove if it ended now.
//!
//! Every step that gives a file a name or takes one away happens under one lock, together with its note here. So whoever
//! ends the process at any moment (a signal) can leave the disk as if the run had not been: [`remove_unfinished`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The paths, and the right to make or unmake files among them.
pub(super) struct Names(MutexGuard<'static, Vec<PathBuf>>);

impl Names {
    pub(super) fn lock() -> Self {
        Self(UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a file or an empty directory that goes if nothing else happens.
    pub(super) fn note(&mut self, path: &Path) {
        self.0.push(path.to_path_buf());
    }

    /// Forgets a path: it stays, or is gone.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.retain(|p| p != path);
    }

    /// Removes what is at a path and forgets it.
    pub(super) fn remove(&mut self, path: &Path) {
        self.forget(path);
        if let Err(error) = remove(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove the unfinished file");
        }
    }
}

/// A directory goes only if it is empty: others may have put something into it.
fn remove(path: &Path) -> io::Result<()> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let removed = if is_dir { fs::remove_dir(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if is_dir && e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

/// As long as this lives, no output of this process is begun, gets its name, or is removed.
pub struct Halted {
    _names: Names,
}

/// Removes every file that this process has begun and that has not got its final name, new external data of an output that
/// is not in its place yet included, and stops all writing of outputs while the result lives: for a program that ends now.
/// Outputs that are finished stay.
pub fn remove_unfinished() -> Halted {
    let mut names = Names::lock();
    for path in names.0.drain(..).rev() {
        // Nobody is left to tell.
        let _ = remove(&path);
    }
    Halted { _names: names }
}
