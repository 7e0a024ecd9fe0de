//! What an ONNX document of a given opset can say.

use super::writer::encode::encode;
use normfold_ir::{BinaryKind, Capabilities, DType, OpId, OpKind};

/// The standard opset that a graph is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OnnxCapabilities {
    /// Version of the standard domain; `None` when the model does not import it.
    pub(crate) opset: Option<i64>,
}

/// The first opset in which the standard arithmetic takes an element type.
fn since(kind: &OpKind, dtype: DType) -> Option<i64> {
    let moves = matches!(kind, OpKind::Identity(_) | OpKind::Reshape(_) | OpKind::Transpose(_));
    Some(match dtype {
        DType::F32 | DType::F64 | DType::F16 => 1,
        DType::BF16 => match kind {
            OpKind::Conv(_) | OpKind::ConvTranspose(_) => 22,
            _ => 13,
        },
        DType::I32 | DType::I64 | DType::U32 | DType::U64 => match kind {
            OpKind::Binary(
                BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Div,
            ) => 7,
            OpKind::MatMul(_) | OpKind::Linear(_) => 9,
            _ if moves => 1,
            _ => return None,
        },
        DType::Bool | DType::I8 | DType::I16 | DType::U8 | DType::U16 if moves => 1,
        _ => return None,
    })
}

impl Capabilities for OnnxCapabilities {
    fn may_create(&self, kind: &OpKind, dtype: DType) -> bool {
        let Some(opset) = self.opset else { return false };
        if let OpKind::Constant(_) = kind {
            return self.may_add_constant(dtype);
        }
        since(kind, dtype).is_some_and(|s| s <= opset) && encode(kind, opset).is_ok()
    }

    fn may_add_constant(&self, dtype: DType) -> bool {
        super::types::dtype_code(dtype).is_some()
    }

    fn may_add_bias(&self, _: OpId, kind: &OpKind) -> bool {
        matches!(kind, OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_))
            && self.opset.is_some()
    }

    fn may_change(&self, from: &OpKind, to: &OpKind) -> bool {
        let Some(opset) = self.opset else { return false };
        match (from, to) {
            (OpKind::Constant(_), OpKind::Constant(_)) => true,
            (OpKind::MatMul(_), OpKind::Linear(l)) => encode(to, opset).is_ok() && !l.trans_x,
            _ => {
                std::mem::discriminant(from) == std::mem::discriminant(to)
                    && encode(to, opset).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::{Conv, DataLayout, Graph, GraphRole, Linear, MatMul, OpSpec};

    #[test]
    fn opsets_limit_what_can_be_said() {
        let at = |opset| OnnxCapabilities { opset: Some(opset) };
        let add = OpKind::from(BinaryKind::Add);
        assert!(at(7).may_create(&add, DType::F32) && !at(6).may_create(&add, DType::F32));
        assert!(!at(12).may_create(&add, DType::BF16) && at(13).may_create(&add, DType::BF16));
        let conv = OpKind::from(Conv::default());
        let mut g = Graph::new("g", GraphRole::Main);
        let op = g.create(OpSpec::new(conv.clone()));
        assert!(at(1).may_add_bias(op, &conv) && at(1).may_change(&conv, &conv));
        let nhwc = OpKind::from(Conv { x: DataLayout::channels_last(2), ..Conv::default() });
        assert!(!at(17).may_create(&nhwc, DType::F32));
        assert!(at(9).may_change(&MatMul {}.into(), &Linear::default().into()));
        assert!(!OnnxCapabilities { opset: None }.may_create(&add, DType::F32));
    }
}
