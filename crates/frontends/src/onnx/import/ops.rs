//! Nodes of the standard domain as ops that the passes understand.
//!
//! A node means what the highest version of its operator that the opset has says (ONNX IR specification, "Operator Sets"). It
//! becomes a known op only if that meaning is the op's for certain: the operator exists in the opset, operands and results are
//! as many as it has, every attribute is understood. Anything else stays opaque: nothing is guessed. Defaults of float
//! attributes are f32 and widened, as those that are written are.

mod elementwise;
mod linear;
mod shape;
mod spatial;

use super::{Shared, attrs::Attrs, scope::Scope};
use crate::{FrontendError, onnx::model::NodeView};
use normfold_ir::{Binding, ConstId, ConstPool, Constant, If, Loop, OpKind, Scan, Value};

/// A body that a node's attribute holds.
#[derive(Debug)]
pub(super) struct Body<'a> {
    /// The attribute.
    pub(super) name: &'a str,
    pub(super) graph: normfold_ir::GraphId,
    /// Its parameters, captures not among them.
    pub(super) parameters: usize,
    pub(super) results: usize,
}

/// A node, with what stands around it.
pub(super) struct NodeCx<'n, 'a, 'd, 'o> {
    pub(super) node: &'n NodeView<'a>,
    /// The version of the standard domain.
    pub(super) opset: i64,
    pub(super) scope: &'n Scope<'o, 'a>,
    pub(super) pool: &'n mut ConstPool,
    pub(super) shared: &'n mut Shared<'d>,
    /// By input; `None` also for a value that is defined further down.
    pub(super) operands: &'n [Option<Value>],
    pub(super) bodies: &'n [Body<'a>],
    pub(super) attrs: Attrs<'n, 'a>,
    pub(super) error: Option<FrontendError>,
}

/// The op that a node of the standard domain is; `None` when it must stay opaque.
///
/// # Errors
/// An attribute is malformed.
pub(super) fn convert(mut cx: NodeCx<'_, '_, '_, '_>) -> Result<Option<OpKind>, FrontendError> {
    let kind = known(&mut cx);
    if let Some(e) = cx.error {
        return Err(e);
    }
    if let Some(e) = cx.attrs.error.take() {
        return Err(e.into());
    }
    Ok(kind.filter(|_| cx.attrs.all_taken()))
}

fn known(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    if cx.opset < 6 {
        // A hint to reuse memory.
        cx.attrs.skip("consumed_inputs");
    }
    let control = matches!(cx.node.op_type, "If" | "Loop" | "Scan");
    if !control && !cx.bodies.is_empty() {
        return None;
    }
    match cx.node.op_type {
        _ if control => self::control(cx),
        "Conv" => linear::conv(cx),
        "ConvTranspose" => linear::conv_transpose(cx),
        "Gemm" => linear::gemm(cx),
        "MatMul" => linear::matmul(cx),
        "BatchNormalization" => linear::batch_norm(cx),

        "Reshape" => shape::reshape(cx),
        "Transpose" => shape::transpose(cx),
        "Flatten" => shape::flatten(cx),
        "Squeeze" => shape::squeeze(cx),
        "Unsqueeze" => shape::unsqueeze(cx),
        "Expand" => shape::expand(cx),
        "Concat" => shape::concat(cx),
        "Split" => shape::split(cx),
        "Slice" => shape::slice(cx),
        "Gather" => shape::gather(cx),
        "Shape" => shape::shape(cx),
        "Size" => shape::size(cx),
        "ConstantOfShape" => shape::constant_of_shape(cx),
        "Range" => shape::range(cx),

        "MaxPool" | "AveragePool" | "LpPool" => spatial::pool(cx),
        "GlobalMaxPool" | "GlobalAveragePool" | "GlobalLpPool" => spatial::global_pool(cx),
        "Pad" => spatial::pad(cx),
        "Resize" => spatial::resize(cx),
        "Upsample" => spatial::upsample(cx),
        "DepthToSpace" => spatial::depth_to_space(cx),
        "SpaceToDepth" => spatial::space_to_depth(cx),
        name if name.starts_with("Reduce") => spatial::reduce(cx),

        _ => elementwise::known(cx),
    }
}

/// If, Loop and Scan, when their bodies take and give as many values as the node.
fn control(cx: &mut NodeCx<'_, '_, '_, '_>) -> Option<OpKind> {
    let (operands, results) = (cx.node.inputs.len(), cx.node.outputs.len());
    for body in cx.bodies.iter().take(2) {
        cx.attrs.skip(body.name);
    }
    match (cx.node.op_type, cx.bodies) {
        ("If", [yes, no]) => {
            cx.takes(1, 1, usize::MAX)?;
            let fits = |b: &Body<'_>| b.parameters == 0 && b.results == results;
            let named = yes.name == "then_branch" && no.name == "else_branch";
            (named && fits(yes) && fits(no)).then(|| If {}.into())
        }
        ("Loop", [body]) => {
            // Trip count and condition, both of which may be absent; the body gets the iteration and the condition instead.
            let fits = body.name == "body" && operands >= 2;
            let fits = fits && body.parameters == operands && body.results == results + 1;
            fits.then(|| Loop {}.into())
        }
        ("Scan", [body]) if cx.opset >= 9 => {
            let scan = Scan {
                scan_inputs: u64::try_from(cx.attrs.opt_int("num_scan_inputs")??).ok()?,
                input_axes: cx.attrs.ints("scan_input_axes")?.unwrap_or_default(),
                output_axes: cx.attrs.ints("scan_output_axes")?.unwrap_or_default(),
                input_directions: cx.attrs.ints("scan_input_directions")?.unwrap_or_default(),
                output_directions: cx.attrs.ints("scan_output_directions")?.unwrap_or_default(),
            };
            let fits = body.name == "body" && (1..=operands as u64).contains(&scan.scan_inputs);
            let fits = fits && body.parameters == operands && body.results == results;
            fits.then(|| scan.into())
        }
        _ => None,
    }
}

impl NodeCx<'_, '_, '_, '_> {
    /// Holds when the first `required` inputs are there, at most `max` are written, and at most `results` outputs.
    fn takes(&self, required: usize, max: usize, results: usize) -> Option<()> {
        let inputs = &self.node.inputs;
        let there = inputs.len() >= required && inputs[..required].iter().all(|i| !i.is_empty());
        let fits = inputs.len() <= max && (1..=results).contains(&self.node.outputs.len());
        (there && fits).then_some(())
    }

    /// Holds when the operator is part of the opset.
    fn since(&self, version: i64) -> Option<()> {
        (self.opset >= version).then_some(())
    }

    /// Whether input `i` is given.
    fn has(&self, i: usize) -> bool {
        self.node.inputs.get(i).is_some_and(|n| !n.is_empty())
    }

    fn operand(&self, i: usize) -> Option<Value> {
        self.operands.get(i).copied().flatten()
    }

    /// The entry of operand `i`, when it is a constant for good.
    fn constant(&self, i: usize) -> Option<ConstId> {
        let (g, v) = self.scope.source(self.operand(i)?)?;
        match g.kind(v.op) {
            OpKind::Constant(Constant { entry, binding: Binding::Fixed }) => Some(*entry),
            _ => None,
        }
    }

    /// The rank of operand `i`, when it is certain.
    fn rank(&self, i: usize) -> Option<usize> {
        rank(self.scope, self.pool, self.operand(i)?)
    }
}

/// The rank of a value, by constants, declared parameters and ops that state it. Types of intermediate values are hints only:
/// they may be stale.
fn rank(scope: &Scope<'_, '_>, pool: &ConstPool, v: Value) -> Option<usize> {
    let (g, mut v) = scope.source(v)?;
    // Chains of such ops are short; the bound keeps import linear.
    for _ in 0..16 {
        match g.kind(v.op) {
            OpKind::Parameter(p) if !p.capture => return g.ty(v).rank(),
            OpKind::Constant(c) => return pool.ty(c.entry).rank(),
            OpKind::Conv(c) => return Some(c.x.rank()),
            OpKind::ConvTranspose(c) => return Some(c.x.rank()),
            OpKind::Pool(p) => return Some(p.x.rank()),
            OpKind::Flatten(_) => return Some(2),
            OpKind::Linear(l) if l.matrix => return Some(2),
            OpKind::BatchNorm(_)
            | OpKind::Unary(_)
            | OpKind::Activation(_)
            | OpKind::Clip(_)
            | OpKind::PRelu(_)
            | OpKind::Softmax(_)
            | OpKind::Cast(_)
            | OpKind::CastLike(_)
            | OpKind::Identity(_)
            | OpKind::Dropout(_)
            | OpKind::Pad(_)
            | OpKind::GlobalPool(_)
            | OpKind::Quantize(_)
            | OpKind::Dequantize(_) => v = g.operand(v.op, 0)?,
            _ => return None,
        }
    }
    None
}
