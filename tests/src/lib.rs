//! Helpers shared by the test binaries: golden cases, deterministic inputs, value equality by the reference evaluator.

pub mod case;
pub mod compare;
pub mod inputs;
pub mod random;

use normfold_ir::{
    Module,
    text::{self, PrintOptions, Weights},
};
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

/// The text of a module.
///
/// # Errors
/// Weights that are to be shown cannot be read.
pub fn print(module: &Module, weights: Weights) -> Result<String, String> {
    text::print(module, &PrintOptions { weights }).map_err(|e| e.to_string())
}

/// What is printed, however weights are shown, is parsed again as the same.
///
/// # Errors
/// It is not.
pub fn round_trip(module: &Module) -> Result<(), String> {
    for weights in [Weights::Hash, Weights::Full, Weights::None] {
        let once = print(module, weights)?;
        let parsed = text::parse(&once).map_err(|e| format!("{e} in\n{once}"))?;
        let again = print(&parsed, weights)?;
        if once != again {
            return Err(format!("the text form does not round-trip:\n{once}\n---\n{again}"));
        }
    }
    Ok(())
}
