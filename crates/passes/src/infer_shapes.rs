//! `infer-shapes`: writes down the types that are certain.
//!
//! ```text
//! %x = parameter 0 : tensor<?{N}x3x8x8xf32>      %x = parameter 0 : tensor<?{N}x3x8x8xf32>
//! %y = relu %x : unknown                    →    %y = relu %x : tensor<?{N}x3x8x8xf32>
//! ```

use crate::{
    CertainTypes, NoOptions,
    pass::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec},
};
use normfold_ir::{Dim, Graph, OpKind, RemarkKind, TensorType, Type, Value};
use std::collections::HashSet;

/// The pass `infer-shapes`.
#[derive(Clone, Copy, Debug, Default)]
pub struct InferShapes;

impl PassSpec for InferShapes {
    type Options = NoOptions;

    const INFO: PassInfo = PassInfo {
        name: "infer-shapes",
        summary: "Write down the types that are certain",
        description: "\
Gives every value the element type and the extents that follow from the parameters of the graph, from constants and from what \
the ops do, whatever the document declares for intermediate values. An extent that is certainly that of a parameter has its \
name: a batch keeps its name through convolutions, reshapes and matrix products, a width through everything that keeps widths.

Where nothing is certain a declaration stays: behind custom ops, in functions, and for what a body takes from around it. One \
that contradicts what is certain was stale; it is replaced, with a remark `stale-type`. Parameters and results of a graph keep \
the types that callers were told; a result whose type cannot be gets the remark alone.

In an ONNX document the types appear as `value_info`. Other passes need not have this one before them: they ask the same \
analysis.",
        statistics: &[
            ("stated", "values whose type is new, in the graph or in the document, or says more"),
            ("stale", "declared types that contradicted what is certain"),
        ],
        reasons: &[],
    };

    fn new(_: NoOptions) -> Self {
        InferShapes
    }
}

/// The code of remarks about declared types that contradict what is certain.
const STALE: &str = "stale-type";

impl Pass for InferShapes {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let types = cx.analysis::<CertainTypes>(graph);
        let results: HashSet<Value> =
            graph.return_op().into_iter().flat_map(|r| graph.operands(r)).flatten().collect();
        let has_records = graph.ops().any(|op| graph.origin(op).is_some());
        let declared: HashSet<Value> = graph.declared_types().collect();
        let is_new = |g: &Graph, v: Value| g.origin(v.op).is_none() && !declared.contains(&v);
        let mut changed = false;
        for op in graph.topo_order().unwrap_or_default() {
            let kind = graph.kind(op);
            if matches!(kind, OpKind::Parameter(_) | OpKind::Constant(_) | OpKind::Return(_)) {
                continue;
            }
            for v in graph.results(op) {
                // A result that the document leaves out.
                if graph.is_unused(v) && graph.value_name(v).is_none() {
                    continue;
                }
                let told = results.contains(&v);
                let found = match refined(graph, &types, v) {
                    Some(found) => found,
                    // What a pass made is not in the document yet.
                    None => match graph.ty(v) {
                        Type::Tensor(ty) if has_records && !told && is_new(graph, v) => {
                            Refined { ty: ty.clone(), stale: false }
                        }
                        _ => continue,
                    },
                };
                if found.stale {
                    let (old, new) = (graph.ty(v), &found.ty);
                    let then =
                        if told { "; as a result it keeps what callers were told" } else { "" };
                    let name = graph.value_name(v).map_or_else(String::new, |n| format!("{n:?} "));
                    let message = format!("{name}was declared {old}, but is certainly {new}{then}");
                    cx.remark(cx.about(graph, op, RemarkKind::Analysis, STALE, message));
                }
                if told {
                    continue;
                }
                if cx.rewrite(graph, |rw| rw.declare_ty(v, found.ty)).is_none() {
                    return Ok(outcome(changed));
                }
                cx.stat(if found.stale { "stale" } else { "stated" }, 1);
                changed = true;
            }
        }
        Ok(outcome(changed))
    }
}

fn outcome(changed: bool) -> PassOutcome {
    PassOutcome::from_changed(changed).preserving::<CertainTypes>().preserving::<crate::Constness>()
}

/// A type that says more than the declared one.
struct Refined {
    ty: TensorType,
    /// Whether the declared one said something else.
    stale: bool,
}

/// `None` where the declared type says all that is certain.
fn refined(g: &Graph, types: &CertainTypes, v: Value) -> Option<Refined> {
    let (dtype, shape) = (types.dtype(v), types.shape(v));
    let old = match g.ty(v) {
        Type::Tensor(t) => t,
        // Without extents there is little to say.
        Type::Unknown => {
            let ty = TensorType { dtype: dtype?, shape: Some(shape?) };
            return Some(Refined { ty, stale: false });
        }
        Type::Other(_) => return None,
    };
    let mut stale = dtype.is_some_and(|d| d != old.dtype);
    let shape = match (shape, &old.shape) {
        (None, declared) => declared.clone(),
        (Some(found), Some(declared)) if found.len() == declared.len() => {
            let each = found.iter().zip(declared.iter()).map(|(found, declared)| {
                let (dim, contradicts) = refined_dim(found, declared);
                stale |= contradicts;
                dim
            });
            Some(each.collect())
        }
        (found, declared) => {
            stale |= declared.is_some();
            found
        }
    };
    let ty = TensorType { dtype: dtype.unwrap_or(old.dtype), shape };
    (ty != *old).then_some(Refined { ty, stale })
}

/// What is known of an extent, and whether the declared one cannot be.
fn refined_dim(found: &Dim, declared: &Dim) -> (Dim, bool) {
    match (found, declared) {
        (Dim::Known(a), Dim::Known(b)) => (found.clone(), a != b),
        // A caller chooses that extent.
        (Dim::Named(_), Dim::Known(_)) => (found.clone(), true),
        (Dim::Known(_) | Dim::Named(_), _) => (found.clone(), false),
        (Dim::Unknown, _) => (declared.clone(), false),
    }
}
