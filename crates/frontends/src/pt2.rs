//! PyTorch programs: the archives that `torch.export.save` writes (`.pt2`, schema version 8).
//!
//! An archive holds a graph of ATen ops as JSON, the bytes of every parameter and buffer, and pickles, which are carried and
//! never opened. Parameters and buffers become constants that view the archive through their offset and strides, named by
//! their fully qualified names (`layer1.0.conv1.weight`); what the caller passes becomes parameters of the graph. Data is
//! `NCHW`, kernels are `OIHW`, transposed ones `IOHW`.
//!
//! - Ops that this compiler has a word for become that op; everything else is opaque, in the domain `torch`.
//! - Programs are not functional: `relu_` overwrites what it reads. `alias` finds where that can be seen; what it can
//!   not be seen of is imported as the functional op, what takes part in the rest stays opaque.
//! - `origin` is the index of the node.
//!
//! A program is written back by patching: `export` finds what became of each node and parameter, `rewrite` edits the JSON,
//! `layout` where elements lie in another order than before, `storage` the bytes of weights. References of the form `schema.X` are to the dataclasses of the program's schema, as
//! PyTorch publishes it. `docs/formats.md` lists the facts of the format.

mod alias;
mod capabilities;
mod document;
mod export;
mod import;
mod layout;
mod ops;
mod program;
mod rewrite;
mod storage;

pub use capabilities::Pt2Capabilities;
pub use document::{OpenOptions, Parameters, Pt2Document, SaveOptions, SaveReport, looks_like};
