//! Helpers shared by the test binaries: golden cases, deterministic inputs, value equality by the reference evaluator.

pub mod case;
pub mod compare;
pub mod inputs;

use std::path::PathBuf;

/// The folder of this package.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files of `tests/models` (below `under`) with that extension, sorted.
///
/// # Panics
/// The folder cannot be read.
pub fn models(under: &str, extension: &str) -> Vec<PathBuf> {
    let folder = folder().join("models").join(under);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut list: Vec<PathBuf> = entries
        .map(|e| e.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path())
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    assert!(!list.is_empty(), "no .{extension} in {}", folder.display());
    list.sort();
    list
}
