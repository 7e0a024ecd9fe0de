//! See `tests/fuzz/src/onnx.rs`.
#![no_main]

normfold_libfuzzer::target!("onnx");
