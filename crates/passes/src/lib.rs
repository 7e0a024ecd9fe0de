//! The pass framework of normfold, and its passes.
//!
//! A [`Pass`] transforms one graph. A [`PassSpec`] has a name and options beside, so that a [`PassRegistry`] can hold it and
//! a [`Pipeline`] can be written as text: `canonicalize,fixpoint(fold-bn,dce)`. A [`PassManager`] runs a pipeline over a
//! module and reports what each pass did, and why it did not do more.
//!
//! # A pass of one's own
//!
//! ```
//! use normfold_ir::{Graph, OpKind, RemarkKind, UnaryKind, text};
//! use normfold_passes::{
//!     Pass, PassCx, PassError, PassInfo, PassManager, PassOutcome, PassSpec, Pipeline, builtin,
//!     pass_options,
//! };
//!
//! pass_options! {
//!     /// Options of `swap-activation`.
//!     pub struct SwapOptions {
//!         /// At most how many.
//!         limit: u64 = 100,
//!     }
//! }
//!
//! /// Puts silu where relu was, as one does before training anew.
//! struct SwapActivation(SwapOptions);
//!
//! impl PassSpec for SwapActivation {
//!     type Options = SwapOptions;
//!     const INFO: PassInfo = PassInfo {
//!         name: "swap-activation",
//!         summary: "Put silu where relu was",
//!         description: "Changes what the model computes: train it anew.",
//!         statistics: &[("swapped", "activations swapped")],
//!         reasons: &["limit-reached"],
//!     };
//!     fn new(options: SwapOptions) -> Self {
//!         SwapActivation(options)
//!     }
//! }
//!
//! impl Pass for SwapActivation {
//!     fn run(&mut self, g: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
//!         let mut swapped = 0;
//!         for op in g.topo_order().unwrap_or_default() {
//!             if !matches!(g.kind(op), OpKind::Unary(UnaryKind::Relu)) {
//!                 continue;
//!             }
//!             if swapped == self.0.limit {
//!                 // Not an error: a remark.
//!                 let message = format!("{swapped} were swapped already");
//!                 cx.remark(cx.about(g, op, RemarkKind::Missed, "limit-reached", message));
//!                 continue;
//!             }
//!             // One rewrite: counted, traced, and refused when the user asked to stop before it.
//!             if cx.rewrite(g, |rw| rw.set_kind(op, UnaryKind::Silu)).is_none() {
//!                 break;
//!             }
//!             swapped += 1;
//!         }
//!         cx.stat("swapped", swapped);
//!         Ok(PassOutcome::from_changed(swapped > 0))
//!     }
//! }
//!
//! let mut module = text::parse(
//!     r#"module @example {
//!   graph @main(%x: tensor<4xf32>) -> (%y: tensor<4xf32>) {
//!     %a = identity %x : tensor<4xf32>
//!     %b = relu %a "first" : tensor<4xf32>
//!     %unread = neg %b : tensor<4xf32>
//!     %y = relu %b "second" : tensor<4xf32>
//!     return %y
//!   }
//! }
//! "#,
//! )
//! .unwrap();
//!
//! let mut registry = builtin();
//! registry.register::<SwapActivation>();
//! let pipeline = Pipeline::parse("canonicalize,swap-activation{limit=1},dce", &registry).unwrap();
//! let report = PassManager::default().run(&pipeline, &mut module).unwrap();
//!
//! assert_eq!(report.passes[1].statistics["swapped"], 1);
//! assert_eq!(
//!     report.remarks[0].to_string(),
//!     r#"swap-activation: relu "second": limit-reached: 1 were swapped already"#
//! );
//! assert_eq!(
//!     text::print(&module, &Default::default()).unwrap(),
//!     r#"module @example {
//!   graph @main(%x: tensor<4xf32>) -> (%y: tensor<4xf32>) {
//!     %b = silu %x "first" : tensor<4xf32>
//!     %y = relu %b "second" : tensor<4xf32>
//!     return %y
//!   }
//! }
//! "#
//! );
//! ```
//!
//! A pass of normfold itself takes one line in [`builtin`] instead of the registration, and golden cases in
//! `tests/golden`.

mod analysis;
mod canonicalize;
mod certify;
mod const_fold;
mod cse;
mod dce;
pub mod docs;
mod fold_bn;
mod infer_shapes;
mod lower_bn;
mod manager;
mod merge_parallel_linear;
mod options;
mod pass;
mod pipeline;
mod registry;

pub use analysis::{
    Analysis, CertainType, CertainTypes, ChannelRanges, Constants, Constness, Extents, LayerRanges,
    NotConstant, Preserved, RangeReader,
};
pub use canonicalize::Canonicalize;
pub use const_fold::{ConstFold, ConstFoldOptions};
pub use cse::Cse;
pub use dce::Dce;
pub use fold_bn::{
    AmbiguousName, Blocker, Direction, FoldBn, FoldBnOptions, FoldReason, Pairs, ResidualShift,
    Role, Shared,
};
pub use infer_shapes::InferShapes;
pub use lower_bn::{LowerBn, LowerBnOptions, LowerForm};
pub use manager::{
    Instrumentation, ManagerOptions, PassManager, PassReport, PassRun, PipelineReport,
};
pub use merge_parallel_linear::{MergeParallelLinear, MergeParallelLinearOptions};
pub use options::{
    Globs, NoOptions, OptionError, OptionInfo, OptionValue, PassOptions, dashed, write_settings,
};
pub use pass::{NO_CONVERGENCE, Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec};
pub use pipeline::{
    DEFAULT_ROUNDS, Item, MAX_DEPTH, PassCall, Pipeline, PipelineError, PipelineErrorKind,
};
pub use registry::{NamedPipeline, PassEntry, PassRegistry, builtin};
