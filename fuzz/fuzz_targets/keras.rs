//! See `tests/fuzz/src/keras.rs`.
#![no_main]

normfold_libfuzzer::target!("keras");
