//! See `tests/fuzz/src/archive.rs`.
#![no_main]

normfold_libfuzzer::target!("archive");
