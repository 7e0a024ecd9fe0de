//! Planned values: extents, element type, and where elements come from.

use super::{
    EvalError, Evaluator, Scalar, Tensor,
    index::Dims,
    reader::Reader,
    source::{Lazy, Stored},
};
use crate::{DType, OpId};
use smallvec::SmallVec;
use std::{rc::Rc, sync::Arc};

/// A planned value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeId(pub(super) u32);

/// How one element of a result follows from elements of operands: the definition of an op, with its attributes resolved
/// against concrete extents. Indices are linear (row-major).
pub(super) trait Formula {
    /// The operands that elements are read of.
    fn operands(&self) -> SmallVec<[NodeId; 4]>;
    /// Element `i`, which is below the number of elements.
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError>;
}

/// Where the elements of a node come from.
pub(super) enum Source<'a> {
    Tensor(Arc<Tensor>),
    Const(Stored<'a>),
    Lazy(Rc<Lazy<'a>>),
    /// Those of [`value::sample`] with that seed.
    Sample(u64),
    /// Those of another node in the same order.
    Same(NodeId),
    Formula(Rc<dyn Formula>),
}

pub(super) struct Node<'a> {
    pub(super) dtype: DType,
    pub(super) dims: Dims,
    pub(super) count: u64,
    pub(super) source: Source<'a>,
}

/// What an op was planned to be.
pub(super) struct Planned<'a> {
    pub(super) dtype: DType,
    pub(super) dims: Dims,
    pub(super) source: Source<'a>,
}

impl Planned<'_> {
    pub(super) fn formula(dtype: DType, dims: Dims, f: impl Formula + 'static) -> Self {
        Self { dtype, dims, source: Source::Formula(Rc::new(f)) }
    }
}

pub(super) type Plan<'a> = Result<Planned<'a>, EvalError>;

/// One result of one op while it is planned; its operands are planned already.
pub(super) struct Site<'s, 'a> {
    pub(super) ev: &'s mut Evaluator<'a>,
    pub(super) op: OpId,
    pub(super) result: usize,
    pub(super) operands: SmallVec<[Option<NodeId>; 6]>,
}

impl<'a> Site<'_, 'a> {
    /// Location and mnemonic, for messages.
    pub(super) fn name(&self) -> Arc<str> {
        self.ev.op_label(self.op)
    }

    pub(super) fn shape_error(&self, message: impl Into<Box<str>>) -> EvalError {
        EvalError::Shape { op: self.name(), message: message.into() }
    }

    pub(super) fn unsupported(&self, what: impl Into<Box<str>>) -> EvalError {
        EvalError::Unsupported { op: self.name(), what: what.into() }
    }

    /// An operand that may be absent.
    pub(super) fn optional(&self, i: usize) -> Option<NodeId> {
        self.operands.get(i).copied().flatten()
    }

    /// An operand that the op needs.
    pub(super) fn operand(&self, i: usize) -> Result<NodeId, EvalError> {
        self.optional(i).ok_or_else(|| self.shape_error(format!("operand {i} is missing")))
    }

    /// An operand of a float type.
    pub(super) fn float(&self, i: usize) -> Result<NodeId, EvalError> {
        let n = self.operand(i)?;
        match self.dtype(n) {
            d if d.is_float() => Ok(n),
            d => Err(self.unsupported(format!("operand {i} of type {d}"))),
        }
    }

    pub(super) fn dims(&self, n: NodeId) -> Dims {
        Dims::from_slice(&self.ev.node(n).dims)
    }

    pub(super) fn dtype(&self, n: NodeId) -> DType {
        self.ev.node(n).dtype
    }

    pub(super) fn count(&self, n: NodeId) -> u64 {
        self.ev.node(n).count
    }

    /// The elements of an operand that says a shape, positions or axes.
    pub(super) fn ints(&mut self, n: NodeId) -> Result<Vec<i64>, EvalError> {
        Ok(self.ev.whole(n)?.to_i64s())
    }

    /// The elements of an operand that says scales.
    pub(super) fn floats(&mut self, n: NodeId) -> Result<Vec<f64>, EvalError> {
        Ok(self.ev.whole(n)?.to_f64s())
    }

    /// The list an attribute gives, or else operand `i`; `None` when neither is there.
    pub(super) fn list(
        &mut self,
        attribute: Option<&Vec<i64>>,
        i: usize,
    ) -> Result<Option<Vec<i64>>, EvalError> {
        match (attribute, self.optional(i)) {
            (Some(list), _) => Ok(Some(list.clone())),
            (None, Some(n)) => self.ints(n).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// An axis of a tensor of that rank.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, EvalError> {
        super::index::axis(axis, rank)
            .ok_or_else(|| self.shape_error(format!("axis {axis} of a tensor of rank {rank}")))
    }

    /// A list of different axes of a tensor of that rank.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, EvalError> {
        let mut out: Vec<usize> = Vec::with_capacity(axes.len());
        for &a in axes {
            let a = self.axis(a, rank)?;
            if out.contains(&a) {
                return Err(self.shape_error(format!("axis {a} is named twice")));
            }
            out.push(a);
        }
        Ok(out)
    }

    /// An extent that an attribute or operand says.
    pub(super) fn extent(&self, v: i64) -> Result<u64, EvalError> {
        u64::try_from(v).map_err(|_| self.shape_error(format!("extent {v}")))
    }

    /// The same elements under other extents.
    pub(super) fn same(&self, x: NodeId, dims: Dims) -> Plan<'a> {
        let node = self.ev.node(x);
        let target = match node.source {
            Source::Same(m) => m,
            _ => x,
        };
        if super::index::count(&dims) != Some(node.count) {
            return Err(self.shape_error(format!(
                "{} elements do not fill {:?}",
                node.count,
                &dims[..]
            )));
        }
        Ok(Planned { dtype: node.dtype, dims, source: Source::Same(target) })
    }
}
