//! The rank of a value, where it is certain.
//!
//! Declared types of intermediate values may be stale (ONNX value_info), so only what the ops themselves say counts:
//! parameters, constants, and ops whose result rank follows from their operands' or their definition.

use normfold_ir::{ConstPool, Graph, OpKind, Value};

/// How many ops are looked at for one rank.
const FUEL: usize = 256;

/// The rank of `v`; `None` when it is not certain.
pub fn rank_of(g: &Graph, pool: &ConstPool, v: Value) -> Option<usize> {
    rank(g, pool, v, &mut { FUEL })
}

fn rank(g: &Graph, pool: &ConstPool, v: Value, fuel: &mut usize) -> Option<usize> {
    *fuel = fuel.checked_sub(1)?;
    let mut of = |i: usize| g.operand(v.op, i).and_then(|x| rank(g, pool, x, fuel));
    match g.kind(v.op) {
        OpKind::Parameter(p) if !p.capture => g.ty(v).rank(),
        OpKind::Constant(c) => pool.ty(c.entry).rank(),
        OpKind::Conv(c) => Some(c.x.rank()),
        OpKind::ConvTranspose(c) => Some(c.x.rank()),
        OpKind::Pool(p) => Some(p.x.rank()),
        OpKind::Linear(l) if l.matrix => Some(2),
        OpKind::Linear(_)
        | OpKind::BatchNorm(_)
        | OpKind::Unary(_)
        | OpKind::Activation(_)
        | OpKind::Clip(_)
        | OpKind::Softmax(_)
        | OpKind::Cast(_)
        | OpKind::CastLike(_)
        | OpKind::Identity(_)
        | OpKind::Dropout(_)
        | OpKind::Pad(_)
        | OpKind::Slice(_)
        | OpKind::Split(_)
        | OpKind::Concat(_)
        | OpKind::Transpose(_)
        | OpKind::PRelu(_)
        | OpKind::Quantize(_)
        | OpKind::Dequantize(_) => of(0),
        OpKind::Binary(_) | OpKind::Compare(_) => Some(of(0)?.max(of(1)?)),
        OpKind::Flatten(_) => Some(2),
        OpKind::Shape(_) => Some(1),
        OpKind::Size(_) => Some(0),
        OpKind::MatMul(_) => {
            let (a, b) = (of(0)?, of(1)?);
            // A vector operand loses its axis in the result.
            Some(a.max(b).max(2) - usize::from(a == 1) - usize::from(b == 1))
        }
        OpKind::Reshape(r) => match &r.shape {
            Some(s) => Some(s.len()),
            None => constant_length(g, pool, g.operand(v.op, 1)?),
        },
        OpKind::GlobalPool(p) if p.keepdims => of(0),
        OpKind::Reduce(r) if r.keepdims => of(0),
        OpKind::Reduce(r) => Some(of(0)?.checked_sub(r.axes.as_ref()?.len())?),
        OpKind::Unsqueeze(u) => Some(
            of(0)?
                + u.axes.as_ref().map_or_else(
                    || constant_length(g, pool, g.operand(v.op, 1)?),
                    |a| Some(a.len()),
                )?,
        ),
        OpKind::Squeeze(s) => of(0)?.checked_sub(
            s.axes
                .as_ref()
                .map_or_else(|| constant_length(g, pool, g.operand(v.op, 1)?), |a| Some(a.len()))?,
        ),
        _ => None,
    }
}

/// The number of elements of a rank-1 constant.
fn constant_length(g: &Graph, pool: &ConstPool, v: Value) -> Option<usize> {
    match g.kind(v.op) {
        OpKind::Constant(c) if pool.ty(c.entry).rank() == Some(1) => {
            usize::try_from(pool.count(c.entry)).ok()
        }
        OpKind::Identity(_) => constant_length(g, pool, g.operand(v.op, 0)?),
        _ => None,
    }
}
