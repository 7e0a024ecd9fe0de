//! Documents of normfold: ONNX models, Keras models and PyTorch programs in, and written back by patching.

pub mod archive;
pub mod bytes;
mod error;
pub mod hdf5;
pub mod json;
pub mod keras;
pub mod onnx;
pub mod payload;
pub mod pt2;
pub mod save;

pub use error::{Elsewhere, FrontendError};
