//! The walk from a batch norm back to the op that could absorb it.

use super::reason::{Blocker, FoldReason};
use normfold_ir::{Graph, OpId, OpKind, Use, Value};

/// The op that produces the batch norm's data, and the ops looked through on the way.
pub(super) fn walk(g: &Graph, bn: OpId) -> Result<(OpId, Vec<OpId>), FoldReason> {
    if g.is_quantized(Value::new(bn, 0)) {
        return Err(FoldReason::Quantized { blocker: Blocker::of(g, bn) });
    }
    let mut via = Vec::new();
    let mut at = Use { user: bn, operand: 0 };
    loop {
        let Some(v) = g.operand(at.user, at.operand as usize) else {
            return Err(FoldReason::GraphInput { name: g.location(bn) });
        };
        let def = v.op;
        match g.kind(def) {
            OpKind::Parameter(p) if p.capture => {
                return Err(FoldReason::RegionBoundary {
                    what: "its input comes from the enclosing graph".into(),
                });
            }
            OpKind::Parameter(_) => return Err(FoldReason::GraphInput { name: g.location(def) }),
            _ => {}
        }
        // Further results of an op (a mask, indices) are not its data.
        if v.result != 0 {
            return Err(FoldReason::NoLinearProducer { blocker: Blocker::of(g, def) });
        }
        if let Some(reason) = end_of_walk(g, def) {
            return Err(reason);
        }
        only_reader(g, v)?;
        if g.is_quantized(v) {
            return Err(FoldReason::Quantized { blocker: Blocker::of(g, def) });
        }
        match g.kind(def) {
            OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) | OpKind::MatMul(_) => {
                via.reverse();
                return Ok((def, via));
            }
            // Looked through; end_of_walk left nothing else.
            _ => {
                via.push(def);
                at = Use { user: def, operand: 0 };
            }
        }
    }
}

/// The reason a producer ends the walk; `None` for what absorbs or is looked through.
fn end_of_walk(g: &Graph, op: OpId) -> Option<FoldReason> {
    let blocker = || Blocker::of(g, op);
    Some(match g.kind(op) {
        OpKind::Conv(_)
        | OpKind::ConvTranspose(_)
        | OpKind::Linear(_)
        | OpKind::MatMul(_)
        | OpKind::Identity(_) => {
            return None;
        }
        OpKind::Dropout(d) if !d.training => return None,
        OpKind::Quantize(_) | OpKind::Dequantize(_) => FoldReason::Quantized { blocker: blocker() },
        OpKind::Opaque(o) if o.quantized => FoldReason::Quantized { blocker: blocker() },
        OpKind::Opaque(o) if !o.domain.is_empty() => {
            FoldReason::CustomDomain { blocker: blocker() }
        }
        OpKind::Unary(k) if !matches!(k, normfold_ir::UnaryKind::Neg) => {
            FoldReason::ActivationBetween { blocker: blocker() }
        }
        OpKind::Activation(_) | OpKind::Clip(_) | OpKind::PRelu(_) | OpKind::Softmax(_) => {
            FoldReason::ActivationBetween { blocker: blocker() }
        }
        OpKind::If(_) | OpKind::Loop(_) | OpKind::Scan(_) | OpKind::Call(_) => {
            FoldReason::RegionBoundary {
                what: format!("its input comes out of {}", blocker()).into(),
            }
        }
        _ => FoldReason::NoLinearProducer { blocker: blocker() },
    })
}

fn only_reader(g: &Graph, v: Value) -> Result<(), FoldReason> {
    // Another result in use (a dropout mask) reads the op as well.
    if g.single_value_use(v).is_some() {
        return Ok(());
    }
    let users = g.value_uses(v).count();
    let returned = g.value_uses(v).any(|u| Some(u.user) == g.return_op());
    Err(FoldReason::MultipleConsumers { blocker: Blocker::of(g, v.op), users, returned })
}
