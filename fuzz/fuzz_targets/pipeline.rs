//! See `tests/fuzz/src/pipeline.rs`.
#![no_main]

normfold_libfuzzer::target!("pipeline");
