//! Which values are known by name outside their graph's ops, and what that means for replacing one by another.

use super::Graph;
use crate::{Binding, OpKind, Use, Value};

impl Graph {
    /// Whether a use knows the value by its name: the graph's `return`, or a capture by a body.
    pub fn is_use_by_name(&self, u: Use) -> bool {
        u.capture().is_some() || Some(u.user) == self.return_op()
    }

    /// Whether a caller or a body knows the value by its name: it is a result of the graph, or captured.
    pub fn is_known_outside(&self, v: Value) -> bool {
        self.uses(v).any(|u| self.is_use_by_name(u))
    }

    /// Whether the value has to keep its name: that of a parameter or a constant, or one that is known outside.
    pub fn has_fixed_name(&self, v: Value) -> bool {
        matches!(self.kind(v.op), OpKind::Parameter(_) | OpKind::Constant(_))
            || self.is_known_outside(v)
    }

    /// Whether every reader of `result` can read `source` instead, as far as the document is concerned, where both are
    /// the same for every input: a name that is known outside can move to `source`, no annotation is lost, and the
    /// declared types do not contradict each other.
    pub fn can_stand_for(&self, source: Value, result: Value) -> bool {
        // Copying a state takes its value at that time.
        let is_state =
            matches!(self.kind(source.op), OpKind::Constant(c) if c.binding == Binding::Mutable);
        // Annotations belong to one value by name.
        let is_annotated = self.is_quantized(result) || self.is_quantized(source);
        // Declarations that contradict each other are left for somebody to look at.
        let agrees = self.ty(result).compatible(self.ty(source));
        if is_state || is_annotated || !agrees {
            return false;
        }
        !self.is_known_outside(result) || !self.has_fixed_name(source)
    }
}
