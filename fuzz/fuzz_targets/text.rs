//! See `tests/fuzz/src/text.rs`.
#![no_main]

normfold_libfuzzer::target!("text");
