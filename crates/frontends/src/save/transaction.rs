//! Several files that appear together: a document and its external data.
//!
//! A document in place must never refer to data that is not there, nor to data of another document. Hence:
//!
//! 1. Every file is complete under a fresh name before the first of them gets its own.
//! 2. New external data gets a name that no file has. A file that is there already is taken if it holds the same bytes, and
//!    never replaced.
//! 3. A file that belongs to the document under a name that it may have had before is renamed right before the document, so
//!    that as little as there can be lies between.
//! 4. The document is renamed last. That one rename is the moment at which old becomes new.
//! 5. If it does not come to that, the data that got its name is removed again. Nothing else is ever removed, so the data of
//!    an earlier document stays as long as the user wants.
//!
//! Two processes may write the same data file (its name follows from its content), and one of them may fail and remove it
//! while the other is about to refer to it. So steps 2 to 5 happen under an advisory lock of the directory, where the file
//! system has such locks.

use super::{
    target::{Staged, directory_of},
    unfinished::Names,
};
use crate::{
    Elsewhere, FrontendError,
    bytes::{MappedFile, Source},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
#[cfg(unix)]
use std::{sync::mpsc, thread, time::Duration};

/// How long a wait for another run is before it is told.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_secs(1);

/// Files that get their names right before the document that refers to them.
#[derive(Default)]
pub(crate) struct Transaction {
    /// What the files are made from, with names: it must not change meanwhile.
    inputs: Vec<(Source, PathBuf)>,
    staged: Vec<(Staged, PathBuf)>,
    /// What may take the place of another file.
    replacing: Vec<(Staged, PathBuf)>,
    /// What is undone unless the document gets its name: files, and the directories that were made for them.
    placed: Vec<PathBuf>,
    /// Files that were there already and hold the right bytes.
    present: Vec<PathBuf>,
    lock: Option<File>,
}

impl Transaction {
    /// Watches over an input: if it changed by the time the files are complete, none gets its name.
    pub(crate) fn input(&mut self, source: Source, name: PathBuf) {
        self.inputs.push((source, name));
    }

    /// From here to the end no other transaction in that directory looks for names or gives them.
    pub(crate) fn lock(&mut self, directory: &Path) -> Result<(), FrontendError> {
        if self.lock.is_none() {
            let locked = lock(directory);
            self.lock =
                locked.map_err(|e| FrontendError::io("lock the directory", directory, e))?;
        }
        Ok(())
    }

    /// The first of these paths where the file can go: nothing is there, or a file with the same bytes.
    pub(crate) fn free_path(
        &self,
        staged: &Staged,
        paths: impl Iterator<Item = PathBuf>,
    ) -> Result<PathBuf, FrontendError> {
        for path in paths {
            let same = || holds(&path, &Source::File(MappedFile::open(staged.path())?.into()));
            match taken(&path, same).map_err(|e| FrontendError::io("read", &path, e))? {
                Taken::No | Taken::Same => return Ok(path),
                Taken::Other(_) => {}
            }
        }
        Err(FrontendError::io(
            "find a name beside",
            staged.path(),
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    /// Whether a file of external data is there already. [`Transaction::lock`] comes first, or the answer may be outdated.
    ///
    /// # Errors
    /// Something else is there, or it cannot be read.
    pub(crate) fn has(&mut self, path: &Path, source: &Source) -> Result<bool, FrontendError> {
        match taken(path, || holds(path, source)).map_err(|e| FrontendError::io("read", path, e))? {
            Taken::No => Ok(false),
            Taken::Same => {
                self.present.push(path.to_path_buf());
                Ok(true)
            }
            Taken::Other(what) => {
                let problem = format!("{what} is there; write into another directory");
                Err(misplaced(path, problem))
            }
        }
    }

    /// Whether a file of external data is at or below the document's directory, as far as its own is there: links may lead out
    /// of it, where no reader looks.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn stays_within(directory: &Path, path: &Path) -> Result<(), FrontendError> {
        let failed = |e| FrontendError::io("copy external data to", path, e);
        let mut there = directory_of(path);
        while fs::symlink_metadata(there).is_err() {
            there = directory_of(there);
        }
        let real = there.canonicalize().map_err(failed)?;
        if !real.starts_with(directory.canonicalize().map_err(failed)?) {
            let problem = format!("`{}` leads out of the output's directory", there.display());
            return Err(misplaced(path, problem));
        }
        Ok(())
    }

    /// Makes the directory of a file of external data.
    pub(crate) fn make_parent(&mut self, path: &Path) -> Result<(), FrontendError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let missing: Vec<&Path> =
            parent.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists()).collect();
        for directory in missing.into_iter().rev() {
            let mut names = Names::lock();
            fs::create_dir(directory).map_err(|e| FrontendError::io("create", directory, e))?;
            names.note(directory);
            self.placed.push(directory.to_path_buf());
        }
        Ok(())
    }

    /// Adds a finished file for a path that is free, or that holds the same bytes.
    pub(crate) fn add(&mut self, staged: Staged, path: PathBuf) {
        self.staged.push((staged, path));
    }

    /// Adds a finished file that takes its name, from another file where one has it, when nothing is left to do but that.
    pub(crate) fn replace(&mut self, staged: Staged, path: PathBuf) {
        self.replacing.push((staged, path));
    }

    /// Whether the inputs are what they were.
    ///
    /// # Errors
    /// One is not.
    pub(crate) fn unchanged(&self) -> Result<(), FrontendError> {
        let each = |(source, name): &(Source, PathBuf)| {
            source.unchanged().map_err(|e| FrontendError::io("read", name, e))
        };
        self.inputs.iter().try_for_each(each)
    }

    /// Gives external data its names. The document comes next.
    ///
    /// # Errors
    /// An input changed, or a rename failed.
    pub(crate) fn place(&mut self, sync: bool) -> Result<(), FrontendError> {
        self.unchanged()?;
        for (staged, path) in std::mem::take(&mut self.staged) {
            // `free_path` and `has` found it to hold the same bytes.
            if fs::symlink_metadata(&path).is_ok() {
                self.present.push(path);
                continue;
            }
            staged.place(&path)?;
            self.placed.push(path);
        }
        if sync {
            for path in &self.present {
                let synced = File::open(path).and_then(|f| f.sync_all());
                synced.map_err(|e| FrontendError::io("sync", path, e))?;
            }
            let mut directories: Vec<&Path> =
                self.placed.iter().chain(&self.present).filter_map(|p| p.parent()).collect();
            directories.sort();
            directories.dedup();
            for directory in directories {
                sync_directory(directory)?;
            }
        }
        Ok(())
    }

    /// Gives the document its name, and with it everything that was placed, or takes the place of another file.
    ///
    /// # Errors
    /// A rename failed: the document is as it was, but a file of it that was replaced by then is not. A directory could not be
    /// synced: the new files are there.
    pub(crate) fn finish(
        mut self,
        document: Staged,
        target: &Path,
        sync: bool,
    ) -> Result<(), FrontendError> {
        let mut names = Names::lock();
        let mut directories = vec![directory_of(target).to_path_buf()];
        // What is left of them when one fails goes after the names are free again.
        while let Some((staged, path)) = self.replacing.pop() {
            let is_free = fs::symlink_metadata(&path).is_err();
            staged.rename_to(&path, &mut names)?;
            directories.push(directory_of(&path).to_path_buf());
            if is_free {
                names.note(&path);
                self.placed.push(path);
            }
        }
        document.rename_to(target, &mut names)?;
        self.placed.drain(..).for_each(|path| names.forget(&path));
        drop(names);
        directories.dedup();
        match sync {
            true => directories.iter().try_for_each(|directory| sync_directory(directory)),
            false => Ok(()),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.staged.clear();
        self.replacing.clear();
        let mut names = Names::lock();
        for path in self.placed.drain(..).rev() {
            names.remove(&path);
        }
    }
}

/// No copy of a data file can be there.
fn misplaced(path: &Path, problem: String) -> FrontendError {
    FrontendError::Data { path: path.into(), problem, elsewhere: Some(Elsewhere::Either) }
}

/// What is at a path.
enum Taken {
    No,
    Same,
    /// What it is instead.
    Other(&'static str),
}

/// Only a file that a reader of external data accepts can stand for another one.
fn taken(path: &Path, same: impl FnOnce() -> io::Result<bool>) -> io::Result<Taken> {
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Taken::No);
        }
        other => other?,
    };
    #[cfg(unix)]
    let single = std::os::unix::fs::MetadataExt::nlink(&metadata) == 1;
    #[cfg(not(unix))]
    let single = true;
    Ok(if metadata.is_symlink() {
        Taken::Other("a symbolic link, which readers of external data refuse,")
    } else if metadata.is_dir() {
        Taken::Other("a directory")
    } else if !metadata.is_file() {
        Taken::Other("what is no regular file")
    } else if !single {
        Taken::Other(
            "a file with several names (hard links), which readers of external data refuse,",
        )
    } else if same()? {
        Taken::Same
    } else {
        Taken::Other("a file of that name with other data")
    })
}

fn holds(path: &Path, source: &Source) -> io::Result<bool> {
    let other = MappedFile::open(path)?;
    if other.len() != source.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < source.len() {
        let n = (source.len() - at).min(1 << 20) as usize;
        source.read_at(at, &mut a[..n])?;
        other.read_at(at, &mut b[..n])?;
        if a[..n] != b[..n] {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}

/// `None` where there are no such locks.
#[cfg(unix)]
fn lock(directory: &Path) -> io::Result<Option<File>> {
    use rustix::{
        fs::{FlockOperation, flock},
        io::Errno,
    };
    let file = match File::open(directory) {
        // Files may be made in what may not be listed.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        file => file?,
    };
    let take = |how| loop {
        match flock(&file, how) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    let taken = match take(FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => telling(directory, || take(FlockOperation::LockExclusive)),
        other => other,
    };
    Ok(match taken {
        Ok(()) => Some(file),
        Err(error) => {
            tracing::debug!(directory = %directory.display(), %error, "the directory cannot be locked");
            None
        }
    })
}

/// Waits, and says so if it takes longer than a moment.
#[cfg(unix)]
fn telling<T>(directory: &Path, wait: impl FnOnce() -> T) -> T {
    let (done, over) = mpsc::channel::<()>();
    let tell = move || {
        if over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("waiting for another run that writes into `{}`", directory.display());
        }
    };
    thread::scope(|scope| {
        // A wait that nobody tells of is a wait all the same.
        let _ = thread::Builder::new().spawn_scoped(scope, tell);
        let waited = wait();
        drop(done);
        waited
    })
}

#[cfg(not(unix))]
fn lock(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// Makes the names in a directory outlast a loss of power.
pub(super) fn sync_directory(directory: &Path) -> Result<(), FrontendError> {
    #[cfg(unix)]
    {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let synced = File::open(directory).and_then(|d| d.sync_all());
        synced.map_err(|e| FrontendError::io("sync the directory", directory, e))?;
    }
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}
