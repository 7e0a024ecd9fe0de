//! Documents of normfold: ONNX models and Keras architectures in, and written back by patching.

pub mod archive;
pub mod bytes;
mod error;
pub mod hdf5;
pub mod keras;
pub mod onnx;
mod payload;
pub mod save;

pub use error::FrontendError;
