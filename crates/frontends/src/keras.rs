//! Keras models: `.keras` archives, whole-model HDF5 files, and architectures in JSON with or without a file of weights.
//!
//! An architecture alone is structure: weights become constants that are absent, of the shapes that the layers imply, so
//! that a pass can say what would fold. With weights, constants view them in their file. Data is `NHWC` unless a layer says
//! `channels_first`, kernels are `HWIO` (`HWCM` depthwise, `HWOI` transposed). Keras 2 and Keras 3 are recognised property by
//! property, never by a version number.
//!
//! - A layer that holds an activation becomes two ops of one origin, a separable convolution two convolutions.
//! - A layer called several times has one constant per weight, with as many users.
//! - A nested model is a function of its own; each of its calls is a `call`.
//! - Everything that is not understood, and everything made of somebody else's code, is an opaque op which carries its
//!   configuration verbatim; code in a file is never decoded.
//! - `origin` is the index of the entry in its model's `layers`.
//!
//! A model is written back by patching: `export` finds what became of each layer, `rewrite` edits the JSON, `weights`
//! the HDF5 file. `docs/formats.md` lists the facts of the format.

mod capabilities;
mod cx;
mod document;
mod export;
mod generation;
mod import;
mod layers;
mod model;
mod order;
mod record;
mod rewrite;
mod shape;
mod weights;

use crate::json::{self, splice};

pub use capabilities::KerasCapabilities;
pub use document::{
    KerasDocument, OpenOptions, SaveOptions, SaveReport, looks_like, weights_beside,
};
