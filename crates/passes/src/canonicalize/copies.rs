//! Ops that copy their operand by definition, or because of its element type.

use super::SameValue;
use crate::{CertainTypes, analysis::fixed_ints};
use normfold_ir::{ConstPool, Graph, OpId, OpKind, Value};

pub(super) const IDENTITY: &str = "identity";
pub(super) const DROPOUT: &str = "inference-dropout";
pub(super) const CAST: &str = "same-type-cast";
pub(super) const CONCAT: &str = "single-concat";

/// ```text
/// Given   %y = identity %x          Result  readers of %y read %x
/// ```
pub(super) struct Identity;

impl SameValue for Identity {
    const NAME: &'static str = IDENTITY;

    fn source(&self, g: &Graph, _: &ConstPool, op: OpId) -> Option<Value> {
        matches!(g.kind(op), OpKind::Identity(_)).then(|| g.operand(op, 0))?
    }
}

/// ```text
/// Given   %y, %mask = dropout %x, %ratio?, false?    Result  readers of %y read %x
///         %mask is not read
/// ```
pub(super) struct Dropout;

impl SameValue for Dropout {
    const NAME: &'static str = DROPOUT;

    fn source(&self, g: &Graph, constants: &ConstPool, op: OpId) -> Option<Value> {
        let OpKind::Dropout(d) = g.kind(op) else { return None };
        let off =
            g.operand(op, 2).is_none_or(|mode| fixed_ints(g, constants, mode) == Some(vec![0]));
        (!d.training && off).then(|| g.operand(op, 0))?
    }
}

/// ```text
/// Given   %y = cast %x {to = T}     Result  readers of %y read %x
///         %x certainly has elements of type T
/// ```
pub(super) struct Cast<'a> {
    pub(super) types: &'a CertainTypes,
}

impl SameValue for Cast<'_> {
    const NAME: &'static str = CAST;

    fn source(&self, g: &Graph, _: &ConstPool, op: OpId) -> Option<Value> {
        let x = g.operand(op, 0)?;
        let to = match g.kind(op) {
            OpKind::Cast(c) => c.to,
            OpKind::CastLike(_) => self.types.dtype(g.operand(op, 1)?)?,
            _ => return None,
        };
        (self.types.dtype(x) == Some(to)).then_some(x)
    }
}

/// ```text
/// Given   %y = concat %x            Result  readers of %y read %x
/// ```
pub(super) struct Concat;

impl SameValue for Concat {
    const NAME: &'static str = CONCAT;

    fn source(&self, g: &Graph, _: &ConstPool, op: OpId) -> Option<Value> {
        let alone = matches!(g.kind(op), OpKind::Concat(_)) && g.num_operands(op) == 1;
        alone.then(|| g.operand(op, 0))?
    }
}
