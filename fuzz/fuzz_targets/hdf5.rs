//! See `tests/fuzz/src/hdf5.rs`.
#![no_main]

normfold_libfuzzer::target!("hdf5");
