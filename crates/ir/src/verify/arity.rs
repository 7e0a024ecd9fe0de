//! Invariants 11, 12 and 14: operands and results by kind.

use super::Verifier;
use crate::{Graph, OpId, OpKind};

/// How many operands and results a kind has.
struct Arity {
    /// Operand slots.
    operands: (usize, usize),
    /// Slots that must be present.
    required: &'static [usize],
    results: (usize, usize),
}

const MANY: usize = usize::MAX;

fn arity(kind: &OpKind) -> Option<Arity> {
    let of = |min, max, results| {
        let required: &[usize] = &[0, 1, 2];
        Some(Arity { operands: (min, max), required: &required[..min.min(3)], results })
    };
    match kind {
        OpKind::Constant(_) | OpKind::Parameter(_) => of(0, 0, (1, 1)),
        OpKind::Return(_) => of(0, MANY, (0, 0)),
        OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) => of(2, 3, (1, 1)),
        OpKind::MatMul(_)
        | OpKind::Binary(_)
        | OpKind::Compare(_)
        | OpKind::PRelu(_)
        | OpKind::CastLike(_)
        | OpKind::Expand(_)
        | OpKind::Gather(_) => of(2, 2, (1, 1)),
        OpKind::BatchNorm(_) => {
            Some(Arity { operands: (5, 5), required: &[0, 3, 4], results: (1, 5) })
        }
        OpKind::Unary(_)
        | OpKind::Activation(_)
        | OpKind::Softmax(_)
        | OpKind::Cast(_)
        | OpKind::Identity(_)
        | OpKind::Transpose(_)
        | OpKind::Flatten(_)
        | OpKind::Shape(_)
        | OpKind::Size(_)
        | OpKind::ConstantOfShape(_)
        | OpKind::GlobalPool(_)
        | OpKind::DepthToSpace(_)
        | OpKind::SpaceToDepth(_) => of(1, 1, (1, 1)),
        OpKind::Reshape(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) | OpKind::Reduce(_) => {
            of(1, 2, (1, 1))
        }
        OpKind::Clip(_) => of(1, 3, (1, 1)),
        OpKind::Where(_) | OpKind::Range(_) => of(3, 3, (1, 1)),
        OpKind::Dropout(_) => of(1, 3, (1, 2)),
        OpKind::Concat(_) => of(1, MANY, (1, 1)),
        OpKind::Split(_) => of(1, 2, (1, MANY)),
        OpKind::Slice(_) => of(1, 5, (1, 1)),
        OpKind::Pool(_) => of(1, 1, (1, 2)),
        OpKind::Pad(_) | OpKind::Resize(_) => of(1, 4, (1, 1)),
        OpKind::Quantize(_) | OpKind::Dequantize(_) => of(2, 3, (1, 1)),
        OpKind::If(_) => of(1, 1, (0, MANY)),
        // Trip count and condition are slots, present or not.
        OpKind::Loop(_) => Some(Arity { operands: (2, MANY), required: &[], results: (0, MANY) }),
        OpKind::Scan(s) => {
            let scanned = usize::try_from(s.scan_inputs).unwrap_or(MANY);
            Some(Arity { operands: (scanned, MANY), required: &[], results: (0, MANY) })
        }
        OpKind::Call(_) | OpKind::Opaque(_) => None,
    }
}

/// `2`, `2 to 3`, `at least 2`.
fn range((min, max): (usize, usize)) -> String {
    match max {
        MANY => format!("at least {min}"),
        _ if min == max => min.to_string(),
        _ => format!("{min} to {max}"),
    }
}

impl Verifier<'_> {
    pub(super) fn arity(&mut self, g: &Graph, op: OpId) {
        let Some(arity) = arity(g.kind(op)) else { return };
        let within = |n: usize, (min, max): (usize, usize)| (min..=max).contains(&n);
        let n = g.num_operands(op);
        if within(n, arity.operands) {
            for &i in arity.required.iter().filter(|&&i| g.operand(op, i).is_none()) {
                self.op_error(11, g, op, format!("operand {i} is absent"));
            }
            if matches!(g.kind(op), OpKind::Concat(_)) && g.operands(op).any(|v| v.is_none()) {
                self.op_error(11, g, op, "an operand is absent");
            }
        } else {
            self.op_error(11, g, op, format!("has {n} operands, not {}", range(arity.operands)));
        }
        if !within(g.num_results(op), arity.results) {
            let message =
                format!("has {} results, not {}", g.num_results(op), range(arity.results));
            self.op_error(12, g, op, message);
        }
        self.said_once(g, op);
    }

    /// Attributes that may be operands instead.
    fn said_once(&mut self, g: &Graph, op: OpId) {
        let mut check = |name: &str, attribute: bool, operand: usize, must: bool| match (
            attribute,
            g.operand(op, operand).is_some(),
        ) {
            (true, true) => {
                let message = format!("`{name}` is an attribute and operand {operand}");
                self.op_error(14, g, op, message);
            }
            (false, false) if must => {
                let message = format!("`{name}` is neither an attribute nor operand {operand}");
                self.op_error(14, g, op, message);
            }
            _ => {}
        };
        match g.kind(op) {
            OpKind::Clip(k) => {
                check("min", k.min.is_some(), 1, false);
                check("max", k.max.is_some(), 2, false);
            }
            OpKind::Reshape(k) => check("shape", k.shape.is_some(), 1, true),
            OpKind::Squeeze(k) => check("axes", k.axes.is_some(), 1, false),
            OpKind::Unsqueeze(k) => check("axes", k.axes.is_some(), 1, true),
            OpKind::Split(k) => check("sizes", k.sizes.is_some(), 1, false),
            OpKind::Slice(k) => {
                check("starts", k.starts.is_some(), 1, true);
                check("ends", k.ends.is_some(), 2, true);
                check("axes", k.axes.is_some(), 3, false);
            }
            OpKind::Pad(k) => {
                check("amounts", k.amounts.is_some(), 1, true);
                check("value", k.value.is_some(), 2, false);
            }
            OpKind::Resize(k) => check("scales", k.scales.is_some(), 2, false),
            OpKind::Reduce(k) => check("axes", k.axes.is_some(), 1, false),
            _ => {}
        }
    }
}
