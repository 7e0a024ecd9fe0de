//! What a PyTorch program can say.

use normfold_ir::{Capabilities, DType, Linear, OpId, OpKind};
use std::collections::HashSet;

/// What a PyTorch program can say.
///
/// Parameters can get other elements, and new ones can be added; convolutions and linear layers can be given a bias, for which
/// a matrix product becomes a linear op (`addmm`). Otherwise ops are neither created nor turned into others. Of a live module
/// only what its layers hold can change, nothing can be added but their missing biases, and nothing can go but calls of batch
/// norms.
#[derive(Clone, Debug, Default)]
pub struct Pt2Capabilities {
    /// Constants that are part of the graph, or whose storage others see.
    pub(super) fixed: HashSet<OpId>,
    /// Ops without a place for a bias.
    pub(super) unbiased: HashSet<OpId>,
    /// Batch norms that can be left out, of a live module; `None` where every op can.
    pub(super) removable: Option<HashSet<OpId>>,
    /// Whether parameters can be added.
    pub(super) may_add: bool,
}

impl Capabilities for Pt2Capabilities {
    /// A linear op can take the place of a matrix product.
    fn may_create(&self, kind: &OpKind, _: DType) -> bool {
        matches!(kind, OpKind::Linear(l) if is_addmm(l)) && self.may_add
    }

    fn may_add_constant(&self, dtype: DType) -> bool {
        self.may_add && dtype.is_arithmetic_float()
    }

    fn may_add_bias(&self, op: OpId, kind: &OpKind) -> bool {
        matches!(kind, OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_))
            && !self.unbiased.contains(&op)
    }

    fn may_change_constant(&self, constant: OpId) -> bool {
        !self.fixed.contains(&constant)
    }

    fn may_remove(&self, op: OpId, _: &OpKind) -> bool {
        self.removable.as_ref().is_none_or(|norms| norms.contains(&op))
    }

    /// A program is traced: every type in it is that of a tensor that was there, or is guarded.
    fn opaque_results_are_typed(&self) -> bool {
        true
    }

    fn may_change(&self, from: &OpKind, to: &OpKind) -> bool {
        match (from, to) {
            (OpKind::MatMul(_), OpKind::Linear(l)) => is_addmm(l) && self.may_add,
            _ => false,
        }
    }
}

/// Whether a linear op is a product of two matrices and an addend.
pub(super) fn is_addmm(linear: &Linear) -> bool {
    *linear == Linear { matrix: true, ..Linear::default() }
}
