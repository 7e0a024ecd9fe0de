//! Why a value has no value.

use crate::{ConstError, DType};
use std::sync::Arc;

/// Why an element, a shape or a tensor cannot be computed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A parameter without a binding.
    #[error("`{0}` has no value: bind it")]
    Unbound(Arc<str>),
    /// The op, or this use of it, has no definition here. Bind its result to go on.
    #[error("{op}: {what} is not evaluated")]
    Unsupported {
        /// Location and mnemonic of the op.
        op: Arc<str>,
        /// What is not evaluated.
        what: Box<str>,
    },
    /// The elements of a constant are not at hand.
    #[error("the elements of constant `{0}` are absent")]
    Absent(Arc<str>),
    /// The elements of a constant cannot be read as numbers.
    #[error("constant `{name}`: {source}")]
    Constant {
        /// The constant.
        name: Arc<str>,
        /// What the pool says.
        source: ConstError,
    },
    /// Operands and attributes contradict each other.
    #[error("{op}: {message}")]
    Shape {
        /// Location and mnemonic of the op.
        op: Arc<str>,
        /// What does not fit.
        message: Box<str>,
    },
    /// An index lies outside its tensor: a `gather` index, or one that the caller asked for.
    #[error("{op}: index {index} is outside {extent} elements")]
    Index {
        /// Location and mnemonic of the op.
        op: Arc<str>,
        /// The index.
        index: i64,
        /// How many there are.
        extent: u64,
    },
    /// An operation on integers has no result: division by zero, or a u64 of 2^63 or more.
    #[error("{op}: {message}")]
    Integer {
        /// Location and mnemonic of the op.
        op: Arc<str>,
        /// What happened.
        message: Box<str>,
    },
    /// Elements of this type are not numbers that the evaluator holds.
    #[error("elements of type {0} are not evaluated")]
    NotNumeric(DType),
    /// More elements than [`super::Evaluator::with_limit`] allows would be held.
    #[error("{elements} elements are more than the {limit} that may be held")]
    TooLarge {
        /// How many.
        elements: u64,
        /// The limit.
        limit: u64,
    },
    /// One call read more elements than [`super::Evaluator::with_work_limit`] allows.
    #[error("more than {limit} elements were read for one request")]
    TooMuchWork {
        /// The limit.
        limit: u64,
    },
    /// All evaluators of the module together read more than [`crate::ConstPool::evaluation_left`] allows.
    #[error("evaluations of this model have read more elements than all of them together may")]
    Exhausted,
    /// A single element depends on a chain of more than [`super::MAX_DEPTH`] ops: bind a value in between, or ask for
    /// the whole tensor.
    #[error("one element depends on a chain of more than {} ops", super::MAX_DEPTH)]
    TooDeep,
    /// The op depends on its own result.
    #[error("{0} depends on its own result")]
    Cycle(Arc<str>),
}
