//! See `tests/fuzz/src/pt2.rs`.
#![no_main]

normfold_libfuzzer::target!("pt2");
