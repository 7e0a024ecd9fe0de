//! External data: tensors whose bytes are in files beside the model.
//!
//! A location comes from the model, which may come from a stranger, so it can only name a regular file at or below the
//! model's directory. The rules, each of which has had a vulnerability of its own in some reader:
//!
//! 1. The location is a relative path of plain components: not empty, not absolute, no drive prefix, no NUL, no backslash, no
//!    `..`, not ONNX Runtime's in-memory marker.
//! 2. The file, with directories' links resolved, is below the model's directory, with its links resolved.
//! 3. The file itself is no symbolic link, is a regular file, and has one name only (no hard link).
//! 4. `offset + length` does not overflow and ends within the file; the length, which may be left out, is what dims and element
//!    type need. Checked before anything is read.
//!
//! Unknown keys are ignored with a warning. Each file is opened and mapped once and kept open: what is checked is what is read.

use crate::{
    FrontendError,
    bytes::{MappedFile, Source},
};
use indexmap::IndexMap;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Where the bytes of an external tensor are.
#[derive(Clone, Debug)]
pub(crate) struct ExternalRef {
    /// The opened file.
    pub(crate) source: Source,
    /// The relative path as the model writes it.
    pub(crate) location: Arc<str>,
    pub(crate) offset: u64,
}

/// The external files of one model.
#[derive(Debug)]
pub(crate) struct ExternalFiles {
    /// The model's directory; `None` for a model in memory.
    base: Option<PathBuf>,
    /// The model is reached by a symbolic link, beside which its data is looked for.
    linked: bool,
    opened: Mutex<IndexMap<Arc<str>, Source>>,
}

impl ExternalFiles {
    /// Of a model in directory `base`, or of one in memory that has none.
    pub(crate) fn new(base: Option<PathBuf>) -> Self {
        // The parent of a bare file name is the empty path, which names no directory to the system.
        let base = base.map(|b| if b.as_os_str().is_empty() { PathBuf::from(".") } else { b });
        Self { base, linked: false, opened: Mutex::default() }
    }

    /// Of a model whose path is a symbolic link, or not.
    pub(crate) fn linked(self, linked: bool) -> Self {
        Self { linked, ..self }
    }

    /// The model's directory.
    pub(crate) fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// The files opened so far, by location, in the order they were first met.
    pub(crate) fn opened(&self) -> Vec<(Arc<str>, Source)> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Checks the `external_data` entries of a tensor that needs `needed` bytes and opens its file.
    ///
    /// # Errors
    /// A rule of the module's list is broken, or the file is absent; the error names tensor, location and rule.
    pub(crate) fn resolve(
        &self,
        tensor: &str,
        entries: &[(&str, &str)],
        needed: u64,
    ) -> Result<ExternalRef, FrontendError> {
        let (mut location, mut offset, mut length) = (None, 0u64, None);
        let location_of =
            || entries.iter().find(|(k, _)| *k == "location").map_or("", |(_, v)| *v).to_owned();
        let broken = |rule: String| FrontendError::External {
            tensor: tensor.to_owned(),
            location: location_of(),
            rule,
        };
        let number = |key: &str, text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let value = if digits { text.parse::<u64>().ok() } else { None };
            value.ok_or_else(|| {
                broken(format!("{key} `{text}` is not a non-negative number of bytes"))
            })
        };
        for &(key, value) in entries {
            match key {
                "location" => location = Some(value),
                "offset" => offset = number(key, value)?,
                "length" => length = Some(number(key, value)?),
                "checksum" | "basepath" => {}
                _ => tracing::warn!(tensor, key, "unknown key of external data ignored"),
            }
        }
        let location = location.ok_or_else(|| broken("the entry `location` is missing".into()))?;
        check_location(location).map_err(|rule| broken(rule.into()))?;
        let source = self.open(location).map_err(broken)?;
        let size = source.len();
        let len = length.unwrap_or(needed);
        match offset.checked_add(len) {
            Some(end) if end <= size => {}
            _ => {
                let what = match length {
                    Some(_) => format!("length {len}"),
                    None => format!("the {len} bytes that dims and element type need"),
                };
                return Err(broken(format!(
                    "offset {offset} and {what} reach beyond the end of the file, which has {size} bytes"
                )));
            }
        }
        if len != needed {
            return Err(broken(format!(
                "the data has {len} bytes, dims and element type need {needed}"
            )));
        }
        Ok(ExternalRef { source, location: location.into(), offset })
    }

    /// Opens the file of a location that some part of the document names which is not imported.
    ///
    /// # Errors
    /// As [`ExternalFiles::resolve`]; offset and length are not looked at.
    pub(crate) fn carried(&self, location: &str) -> Result<Source, FrontendError> {
        let checked = check_location(location).map_err(str::to_owned);
        checked.and_then(|()| self.open(location)).map_err(|rule| {
            FrontendError::invalid("ONNX model", format!("external data `{location}`"), rule)
        })
    }

    fn open(&self, location: &str) -> Result<Source, String> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = opened.get(location) {
            return Ok(source.clone());
        }
        let base =
            self.base.as_ref().ok_or("the model is in memory and has no directory to look in")?;
        let file = open_beside(base, location).map_err(|e| match self.linked && e == ABSENT {
            true => format!("{e}, which is a symbolic link: data is looked for beside the link"),
            false => e,
        })?;
        let mapped = MappedFile::new(file).map_err(|e| format!("cannot map the file: {e}"))?;
        let source = Source::File(Arc::new(mapped));
        opened.insert(location.into(), source.clone());
        Ok(source)
    }
}

/// Rule 1.
fn check_location(location: &str) -> Result<(), &'static str> {
    if location.is_empty() {
        return Err("the location is empty");
    }
    if location.contains("_ORT_MEM_ADDR_") {
        return Err("the location is an address in the memory of another process");
    }
    if location.contains('\0') {
        return Err("the location has a NUL character");
    }
    if location.contains('\\') {
        return Err("the location has a backslash; components are separated by `/`");
    }
    if location.starts_with('/') {
        return Err("the location is absolute; it must be relative to the model's directory");
    }
    if location.as_bytes().get(1) == Some(&b':') {
        return Err(
            "the location has a drive prefix; it must be relative to the model's directory",
        );
    }
    if location.split('/').any(|c| c == "..") {
        return Err("the location has a `..` component");
    }
    Ok(())
}

const ABSENT: &str = "no such file beside the model";

/// Rules 2 and 3.
fn open_beside(base: &Path, location: &str) -> Result<File, String> {
    let path = base.join(location);
    let failed = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => ABSENT.to_owned(),
            _ => format!("cannot {what}: {e}"),
        }
    };
    let named = fs::symlink_metadata(&path).map_err(failed("read the file's properties"))?;
    if named.is_symlink() {
        return Err("the file is a symbolic link".into());
    }
    if !named.is_file() {
        return Err("not a regular file".into());
    }
    let within = fs::canonicalize(base).map_err(failed("resolve the model's directory"))?;
    let real = fs::canonicalize(&path).map_err(failed("resolve the path"))?;
    if !real.starts_with(&within) {
        return Err("the file is outside the model's directory".into());
    }
    let file = File::open(&real).map_err(failed("open the file"))?;
    let opened = file.metadata().map_err(failed("read the file's properties"))?;
    if !opened.is_file() {
        return Err("not a regular file".into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // The file that was opened is the one that was looked at: nothing was put in its place in between.
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err("the file was replaced while it was opened".into());
        }
        if opened.nlink() != 1 {
            return Err("the file has several names (hard links)".into());
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("w.bin"), [7; 100]).unwrap();
        fs::write(dir.path().join("sub/w.bin"), [8; 100]).unwrap();
        dir
    }

    fn rule(dir: &Path, entries: &[(&str, &str)], needed: u64) -> String {
        let files = ExternalFiles::new(Some(dir.into()));
        match files.resolve("conv1.weight", entries, needed) {
            Err(FrontendError::External { tensor, rule, .. }) => {
                assert_eq!(tensor, "conv1.weight");
                rule
            }
            other => panic!("{entries:?}: {other:?}"),
        }
    }

    #[test]
    fn a_file_is_opened_once() {
        let dir = dir();
        let files = ExternalFiles::new(Some(dir.path().into()));
        let a = files
            .resolve(
                "a",
                &[("location", "w.bin"), ("length", "10"), ("offset", "90"), ("new", "x")],
                10,
            )
            .unwrap();
        assert_eq!(a.offset, 90);
        files.resolve("b", &[("location", "w.bin")], 100).unwrap();
        // Without a length it is as long as dims and element type say, wherever the file ends.
        files.resolve("b", &[("location", "w.bin"), ("offset", "10")], 20).unwrap();
        files
            .resolve("c", &[("location", "sub/w.bin"), ("length", "0"), ("offset", "100")], 0)
            .unwrap();
        let mut buf = [0; 2];
        a.source.read_at(98, &mut buf).unwrap();
        assert_eq!(buf, [7, 7]);
        assert_eq!(files.opened().len(), 2);
    }

    #[test]
    fn locations() {
        let dir = dir();
        for (location, want) in [
            ("", "empty"),
            ("/etc/passwd", "absolute"),
            ("C:/w.bin", "drive prefix"),
            ("sub\\w.bin", "backslash"),
            ("a\0b", "NUL"),
            ("../w.bin", "`..`"),
            ("sub/../w.bin", "`..`"),
            ("*/_ORT_MEM_ADDR_/*", "memory of another process"),
            ("absent.bin", "no such file"),
            ("sub", "not a regular file"),
        ] {
            let got = rule(dir.path(), &[("location", location)], 100);
            assert!(got.contains(want), "{location}: {got}");
        }
        assert!(rule(dir.path(), &[], 1).contains("missing"));
        let files = ExternalFiles::new(None);
        assert!(
            files
                .resolve("a", &[("location", "w.bin")], 100)
                .unwrap_err()
                .to_string()
                .contains("in memory")
        );
    }

    #[test]
    fn ranges() {
        let dir = dir();
        for (offset, length, needed, want) in [
            ("0", "101", 101, "beyond the end"),
            ("101", "0", 0, "beyond the end"),
            ("18446744073709551615", "2", 2, "beyond the end"),
            ("18446744073709551616", "2", 2, "not a non-negative"),
            ("-1", "2", 2, "not a non-negative"),
            ("+1", "2", 2, "not a non-negative"),
            ("0", "", 2, "not a non-negative"),
            ("0", "50", 51, "need 51"),
        ] {
            let got = rule(
                dir.path(),
                &[("location", "w.bin"), ("offset", offset), ("length", length)],
                needed,
            );
            assert!(got.contains(want), "{offset} {length}: {got}");
        }
        assert!(
            rule(dir.path(), &[("location", "w.bin"), ("offset", "200")], 1)
                .contains("beyond the end")
        );
    }

    #[cfg(unix)]
    #[test]
    fn links() {
        use std::os::unix::fs::symlink;
        let dir = dir();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), [1; 100]).unwrap();
        symlink("w.bin", dir.path().join("soft")).unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("sub", dir.path().join("in")).unwrap();
        fs::write(dir.path().join("two"), [1; 100]).unwrap();
        fs::hard_link(dir.path().join("two"), dir.path().join("names")).unwrap();
        assert!(rule(dir.path(), &[("location", "soft")], 100).contains("symbolic link"));
        assert!(rule(dir.path(), &[("location", "out/secret")], 100).contains("outside"));
        assert!(rule(dir.path(), &[("location", "two")], 100).contains("hard links"));
        let files = ExternalFiles::new(Some(dir.path().into()));
        files.resolve("a", &[("location", "in/w.bin")], 100).unwrap();
    }
}
