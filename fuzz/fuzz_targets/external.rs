//! See `tests/fuzz/src/external.rs`.
#![no_main]

normfold_libfuzzer::target!("external");
