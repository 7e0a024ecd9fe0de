//! Why two linear ops of one value stay two. Each code is a heading of docs/legality.md and occurs in a golden case.

use crate::Blocker;
use normfold_ir::{DType, Reason};
use std::{fmt, sync::Arc};

#[derive(Clone, PartialEq, Debug)]
pub(super) enum MergeReason {
    MultipleConsumers { users: usize },
    NotConstant { what: &'static str, blocker: Blocker },
    OverridableInput { what: &'static str, name: Arc<str> },
    MutableState { what: &'static str, name: Arc<str> },
    Quantized { blocker: Blocker },
    UnsupportedType { what: &'static str, dtype: DType },
    WeightsAbsent { name: Arc<str> },
    SharedWeight { name: Arc<str>, bytes: u64 },
    Overflow { what: &'static str },
    NotExpressible { what: &'static str },
    Uncertified { message: String },
    RewriteLimit,
    AttributesDiffer { what: &'static str },
    WindowsDiffer { why: &'static str },
}

impl MergeReason {
    /// Every code.
    pub(super) const ALL: &'static [&'static str] = &[
        "multiple-consumers",
        "not-constant",
        "overridable-input",
        "mutable-state",
        "quantized",
        "unsupported-type",
        "weights-absent",
        "shared-weight",
        "overflow",
        "not-expressible",
        "uncertified",
        "rewrite-limit",
        "attributes-differ",
        "windows-differ",
    ];
}

impl Reason for MergeReason {
    const CODES: &'static [&'static str] = Self::ALL;

    fn code(&self) -> &'static str {
        match self {
            MergeReason::MultipleConsumers { .. } => "multiple-consumers",
            MergeReason::NotConstant { .. } => "not-constant",
            MergeReason::OverridableInput { .. } => "overridable-input",
            MergeReason::MutableState { .. } => "mutable-state",
            MergeReason::Quantized { .. } => "quantized",
            MergeReason::UnsupportedType { .. } => "unsupported-type",
            MergeReason::WeightsAbsent { .. } => "weights-absent",
            MergeReason::SharedWeight { .. } => "shared-weight",
            MergeReason::Overflow { .. } => "overflow",
            MergeReason::NotExpressible { .. } => "not-expressible",
            MergeReason::Uncertified { .. } => "uncertified",
            MergeReason::RewriteLimit => "rewrite-limit",
            MergeReason::AttributesDiffer { .. } => "attributes-differ",
            MergeReason::WindowsDiffer { .. } => "windows-differ",
        }
    }
}

impl fmt::Display for MergeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MergeReason::MultipleConsumers { users } => {
                write!(f, "its result has {users} readers, not the sum alone")
            }
            MergeReason::NotConstant { what, blocker } => {
                write!(f, "the {what} is no constant but the result of {blocker}")
            }
            MergeReason::OverridableInput { what, name } => {
                write!(f, "a caller may replace the {what} {name:?}")
            }
            MergeReason::MutableState { what, name } => {
                write!(f, "training changes the {what} {name:?}")
            }
            MergeReason::Quantized { blocker } => write!(f, "{blocker} is quantized"),
            MergeReason::UnsupportedType { what, dtype } => {
                write!(f, "the {what} has elements of type {dtype}")
            }
            MergeReason::WeightsAbsent { name } => write!(f, "the elements of {name:?} are absent"),
            MergeReason::SharedWeight { name, bytes } => {
                write!(f, "others read {name:?} too, and a copy of {bytes} bytes is not allowed")
            }
            MergeReason::Overflow { what } => {
                write!(f, "the sum of the {what}s is not finite in their type")
            }
            MergeReason::NotExpressible { what } => f.write_str(what),
            MergeReason::Uncertified { message } => {
                write!(f, "it cannot be evaluated, so the merge could not be proven: {message}")
            }
            MergeReason::RewriteLimit => f.write_str("the limit of rewrites was reached"),
            MergeReason::AttributesDiffer { what } => write!(f, "their {what} differ"),
            MergeReason::WindowsDiffer { why } => f.write_str(why),
        }
    }
}
