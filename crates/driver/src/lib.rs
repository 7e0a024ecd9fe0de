//! normfold as a library: opens a model, runs a pipeline of passes over it, writes it back.
//!
//! A [`Driver`] holds the passes there are and nothing else: no global state, no printing, no environment. Modules come
//! from a path, from bytes, from IR text, or are built in memory:
//!
//! ```
//! use normfold_driver::{Driver, Input, RunOptions};
//!
//! let text = r#"module @example {
//!   graph @main(%x: tensor<1x4xf32>) -> (%y: tensor<1x4xf32>) {
//!     %a = relu %x "used" : tensor<1x4xf32>
//!     %b = relu %x "unused" : tensor<1x4xf32>
//!     %y = relu %a "result" : tensor<1x4xf32>
//!     return %y
//!   }
//! }
//! "#;
//! let driver = Driver::new();
//! let pipeline = driver.parse_pipeline("dce")?;
//! let mut opened = driver.open(Input::Text { name: "example".into(), text: text.into() })?;
//! let report = driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut [])?;
//! assert_eq!(report.passes[0].statistics["erased"], 1);
//! # Ok::<(), normfold_driver::DriverError>(())
//! ```
//!
//! What happens is told through `tracing`, so any subscriber sees it. The program `normfold` is built on this crate
//! (feature `cli`); docs/cli.md describes it.

#[cfg(feature = "cli")]
pub mod cli;
mod driver;
mod error;
mod instrument;
#[cfg(feature = "json")]
pub mod json;
mod layers;
mod opened;
pub mod reasons;
mod report;
mod reproducer;
mod sink;
pub mod verify;

pub use driver::{Driver, RunOptions, SaveOptions, Verify, external_data};
pub use error::DriverError;
pub use instrument::{Around, IrDumps};
pub use layers::Layer;
pub use opened::{
    DataFile, Input, LiveChanges, LiveParameter, ModelSource, Opened, Parameters, Saved,
};

pub use report::{BatchNorms, BeforeAfter, Report};

/// Which tensors of an ONNX model have their data outside the document.
pub use normfold_frontends::onnx::ExternalData;
/// The graph: modules, types, text form.
pub use normfold_ir as ir;
/// Passes, pipelines, and what it takes to write another.
pub use normfold_passes as passes;

/// The example of the README, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
