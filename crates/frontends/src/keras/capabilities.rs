//! What a Keras model can say.

use normfold_ir::{Capabilities, DType, OpId, OpKind};
use std::collections::HashSet;

/// What a Keras model can say.
///
/// Convolutions and dense layers can be given a bias (`use_bias`), which brings its weight. Nothing else is created or
/// turned into another op: weights belong to layers, so there is no place for a copy of a shared one; a new layer would
/// need a name and an entry; a recorded function means another thing in each generation.
#[derive(Clone, Debug, Default)]
pub struct KerasCapabilities {
    /// Ops that cannot be given a bias: the depthwise half of a separable convolution.
    pub(super) unbiased: HashSet<OpId>,
    /// Constants that stand in the architecture itself.
    pub(super) literals: HashSet<OpId>,
    /// Ops that are a part of what their layer does: a merge of three tensors is two sums, and has no words for one of them.
    pub(super) parts: HashSet<OpId>,
}

impl Capabilities for KerasCapabilities {
    fn may_create(&self, _: &OpKind, _: DType) -> bool {
        false
    }

    fn may_add_constant(&self, _: DType) -> bool {
        false
    }

    fn may_add_bias(&self, op: OpId, kind: &OpKind) -> bool {
        matches!(kind, OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_))
            && !self.unbiased.contains(&op)
    }

    fn may_change_constant(&self, constant: OpId) -> bool {
        !self.literals.contains(&constant)
    }

    fn may_remove(&self, op: OpId, _: &OpKind) -> bool {
        !self.parts.contains(&op)
    }

    /// A model is called with what its input layers say, or the call fails; what it gives follows from that.
    fn functions_are_typed(&self) -> bool {
        true
    }

    fn may_change(&self, _: &OpKind, _: &OpKind) -> bool {
        false
    }
}
