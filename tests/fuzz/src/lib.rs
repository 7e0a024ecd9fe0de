//! What is fuzzed. A target is a plain function of bytes that panics when something is not as it must be; libFuzzer drives
//! it (`fuzz/`, its own workspace, nightly), and so does the ordinary test suite (`tests/targets.rs`: every seed, every kept
//! finding, and a fixed number of mutations).
//!
//! Bytes that mean nothing are no finding, an error with a reason is the right answer to them. A panic is, and what the
//! targets demand of what was accepted.

mod archive;
mod external;
mod hdf5;
mod keras;
mod onnx;
mod onnx_mutate;
mod onnx_words;
mod pipeline;
mod pt2;
mod random;
mod run;
mod text;
mod text_mutate;
mod wire;

pub use onnx_mutate::generate as generate_onnx;
pub use random::Random;
pub use wire::{Content, Field, Kind, Message};

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Something to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its folder of seeds, and of libFuzzer's program.
    pub name: &'static str,
    /// Tries bytes. Panics on a finding.
    pub run: fn(&[u8]),
    /// Changes bytes in a way that keeps them meaningful.
    pub mutate: fn(&mut Vec<u8>, &mut Random),
    /// Folders of seeds, from the root of the repository, and the extension that seeds have there; none is any.
    folders: &'static [(&'static str, &'static str)],
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "onnx",
        run: onnx::run,
        mutate: onnx_mutate::mutate,
        folders: &[("fuzz/seeds/onnx", ""), ("fuzz/found/onnx", ""), ("tests/models", "onnx")],
    },
    Target {
        name: "text",
        run: text::run,
        mutate: text_mutate::module,
        folders: &[("fuzz/seeds/text", ""), ("fuzz/found/text", ""), ("tests/golden", "nf")],
    },
    Target {
        name: "pipeline",
        run: pipeline::run,
        mutate: text_mutate::pipeline,
        folders: &[("fuzz/seeds/pipeline", ""), ("fuzz/found/pipeline", "")],
    },
    Target {
        name: "external",
        run: external::run,
        mutate: text_mutate::external,
        folders: &[("fuzz/seeds/external", ""), ("fuzz/found/external", "")],
    },
    Target {
        name: "archive",
        run: archive::run,
        mutate: archive::mutate,
        folders: &[("fuzz/seeds/archive", ""), ("fuzz/found/archive", "")],
    },
    Target {
        name: "hdf5",
        run: hdf5::run,
        mutate: hdf5::mutate,
        folders: &[
            ("fuzz/seeds/hdf5", ""),
            ("fuzz/found/hdf5", ""),
            ("tests/models/hdf5", "h5"),
            ("tests/models/keras", "h5"),
        ],
    },
    Target {
        name: "keras",
        run: keras::run,
        mutate: keras::mutate,
        folders: &[
            ("fuzz/seeds/keras", ""),
            ("fuzz/found/keras", ""),
            ("tests/models/keras", "json"),
            ("tests/models/keras", "keras"),
            ("tests/models/keras", "h5"),
        ],
    },
    Target {
        name: "pt2",
        run: pt2::run,
        mutate: pt2::mutate,
        folders: &[("fuzz/seeds/pt2", ""), ("fuzz/found/pt2", ""), ("tests/models/torch", "pt2")],
    },
];

impl Target {
    /// The target of that name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|t| t.name == name)
    }

    /// Seeds and kept findings of up to `largest` bytes, by path from the root of the repository, sorted.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn seeds(&self, largest: u64) -> Vec<(PathBuf, Vec<u8>)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = Vec::new();
        for (folder, extension) in self.folders {
            collect(&root, Path::new(folder), extension, &mut files);
        }
        let read = |path: PathBuf| {
            let full = root.join(&path);
            let bytes = fs::read(&full).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, bytes)
        };
        let mut seeds: Vec<_> = files.into_iter().map(read).collect();
        seeds.retain(|(_, bytes)| bytes.len() as u64 <= largest);
        seeds.sort();
        seeds
    }
}

/// Lists the files below a folder, as paths from the root.
fn collect(root: &Path, folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    // A target without findings has no folder of them.
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, &path, extension, files);
        } else if extension.is_empty() || path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
}
