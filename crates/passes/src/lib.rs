//! The pass framework of normfold, and its passes.

mod analysis;
mod canonicalize;
mod dce;
pub mod docs;
mod manager;
mod options;
mod pass;
mod pipeline;
mod registry;

pub use analysis::{Analysis, CertainType, CertainTypes, Extents, Preserved};
pub use canonicalize::Canonicalize;
pub use dce::Dce;
pub use manager::{
    Instrumentation, ManagerOptions, PassManager, PassReport, PassRun, PipelineReport,
};
pub use options::{
    Globs, NoOptions, OptionError, OptionInfo, OptionValue, PassOptions, dashed, write_settings,
};
pub use pass::{NO_CONVERGENCE, Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec};
pub use pipeline::{
    DEFAULT_ROUNDS, Item, MAX_DEPTH, PassCall, Pipeline, PipelineError, PipelineErrorKind,
};
pub use registry::{NamedPipeline, PassEntry, PassRegistry, builtin};
