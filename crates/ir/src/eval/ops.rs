//! Which definition an op has.

use super::{
    cast, conv, elementwise, linear,
    node::{Plan, Site},
    pad, pool, quant, reduce, resize, shape, slice,
};
use crate::OpKind;

/// Plans one result of an op whose operands are planned.
pub(super) fn plan<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    // The kind outlives the borrow of the evaluator.
    let graph = s.ev.graph;
    let kind = graph.kind(s.op);
    let two_results = matches!(kind, OpKind::Split(_) | OpKind::Pool(_) | OpKind::Dropout(_));
    if s.result > 0 && !two_results {
        return Err(s.unsupported(format!("result {}", s.result)));
    }
    match kind {
        OpKind::Unary(k) => elementwise::unary(s, *k),
        OpKind::Binary(k) => elementwise::binary(s, *k),
        OpKind::Compare(k) => elementwise::compare(s, *k),
        OpKind::Activation(k) => elementwise::activation(s, k),
        OpKind::Clip(k) => elementwise::clip(s, k),
        OpKind::PRelu(_) => elementwise::prelu(s),
        OpKind::Where(_) => elementwise::select(s),
        OpKind::Softmax(k) => reduce::softmax(s, k),
        OpKind::Cast(k) => cast::cast(s, k.to),
        OpKind::CastLike(_) => cast::cast_like(s),
        OpKind::Identity(_) => shape::identity(s),
        OpKind::Dropout(k) => shape::dropout(s, k),
        OpKind::Conv(k) => conv::conv(s, k),
        OpKind::ConvTranspose(k) => conv::conv_transpose(s, k),
        OpKind::Linear(k) => linear::linear(s, k),
        OpKind::MatMul(_) => linear::matmul(s),
        OpKind::BatchNorm(k) => linear::batch_norm(s, k),
        OpKind::Reshape(k) => shape::reshape(s, k),
        OpKind::Flatten(k) => shape::flatten(s, k),
        OpKind::Squeeze(k) => shape::squeeze(s, k),
        OpKind::Unsqueeze(k) => shape::unsqueeze(s, k),
        OpKind::Transpose(k) => shape::transpose(s, k),
        OpKind::Expand(_) => shape::expand(s),
        OpKind::Shape(k) => shape::shape(s, k),
        OpKind::Size(_) => shape::size(s),
        OpKind::ConstantOfShape(k) => shape::constant_of_shape(s, k),
        OpKind::Range(_) => shape::range(s),
        OpKind::DepthToSpace(k) => shape::depth_to_space(s, k),
        OpKind::SpaceToDepth(k) => shape::space_to_depth(s, k),
        OpKind::Concat(k) => slice::concat(s, k),
        OpKind::Split(k) => slice::split(s, k),
        OpKind::Slice(k) => slice::slice(s, k),
        OpKind::Gather(k) => slice::gather(s, k),
        OpKind::Pad(k) => pad::pad(s, k),
        OpKind::Pool(k) => pool::pool(s, k),
        OpKind::GlobalPool(k) => reduce::global_pool(s, k),
        OpKind::Reduce(k) => reduce::reduce(s, k),
        OpKind::Resize(k) => resize::resize(s, k),
        OpKind::Quantize(k) => quant::quantize(s, k),
        OpKind::Dequantize(k) => quant::dequantize(s, k),
        OpKind::Constant(_)
        | OpKind::Parameter(_)
        | OpKind::Return(_)
        | OpKind::If(_)
        | OpKind::Loop(_)
        | OpKind::Scan(_)
        | OpKind::Call(_)
        | OpKind::Opaque(_) => Err(s.unsupported("this op")),
    }
}
