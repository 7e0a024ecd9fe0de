//! The typed dataflow graph of normfold: ops, types, constants, its text form, its verifier, rewriting and diagnostics.
//!
//! A [`Module`] owns [`Graph`]s and a [`ConstPool`]. An op is created from an [`OpSpec`]:
//!
//! ```
//! use normfold_ir::{Constant, DType, Graph, GraphRole, Module, OpSpec, Parameter, Return, TensorType, UnaryKind};
//!
//! let mut module = Module::new("example");
//! let mut g = Graph::new("main", GraphRole::Main);
//! let ty = TensorType::of(DType::F32, &[1, 4]);
//! let x = g.create(OpSpec::new(Parameter { index: 0, capture: false }).named_result("x", ty.clone()));
//! let x = g.result(x, 0);
//! let y = g.create(OpSpec::new(UnaryKind::Relu).operand(x).named_result("y", ty));
//! let y = g.result(y, 0);
//! g.create(OpSpec::new(Return::default()).operand(y));
//! assert_eq!(g.single_value_use(x).map(|u| u.user), Some(y.op));
//! module.add_graph(g);
//! ```
//!
//! `docs/ir.md` has the grammar of the text form and every op.

mod attr;
mod cancel;
mod channel;
mod constant;
mod diag;
pub mod eval;
mod graph;
mod ids;
mod module;
pub mod op;
mod rewrite;
pub mod text;
mod types;
pub mod verify;

pub use attr::{AttrField, AttrMap, Attribute};
pub use cancel::CancelToken;
pub use channel::{BiasSlot, ChannelMap, Channels};
pub use constant::{
    ByteSource, ConstData, ConstEntry, ConstError, ConstPool, Derived, ElementMap, ElementReader,
    MapTerm, RoundingStats, Step, decode_f64, encode_f64,
};
pub use diag::{Diagnostic, Remark, RemarkArg, RemarkKind, Severity};
pub use eval::{EvalError, Evaluator, Scalar, Tensor};
pub use graph::{Cycle, Graph, GraphRole, OpSpec, ResultSpec};
pub use ids::{ConstId, GraphId, IdMap, IdSet, OpId, Use, Value};
pub use module::{Capabilities, Everything, Module};
pub use op::*;
pub use rewrite::{
    DynPattern, Event, GreedyConfig, GreedyOutcome, MatchCx, Miss, NoReason, PatternRewriter,
    PatternSet, Reason, RewritePattern, apply_greedily,
};
pub use types::{DType, Dim, TensorType, Type};
pub use verify::{VerifyError, VerifyErrors, verify};
