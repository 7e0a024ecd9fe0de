//! Whether two modules compute the same, by the reference evaluator, on deterministic inputs.
//!
//! Every graph is compared for itself: bodies and functions get inputs of their own, but for the constants they capture. Results of ops that the evaluator does
//! not define (control flow, calls, opaque ops) are given equal values in both modules, and what such ops read is compared
//! as if it were a result of the graph.

use crate::inputs;
use normfold_ir::{
    DType, Evaluator, Graph, GraphId, Module, OpId, OpKind, Parameter, Tensor, TensorType, Type,
    Value, eval::Binding,
};
use std::{collections::BTreeMap, fmt::Display, sync::Arc};

/// Tensors whose elements are all smaller are judged as if the largest were this: what is left of a cancellation.
const FLOOR: f64 = 1e-3;

/// What was compared.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Comparison {
    /// Elements that were compared.
    pub elements: usize,
    /// The largest difference, relative to the largest magnitude of its tensor.
    pub worst: f64,
}

/// Compares every graph of two modules of which one came from the other by passes.
///
/// # Errors
/// Something cannot be evaluated or is not equal within `tolerance` of the largest element of its tensor: what, and where.
pub fn modules(before: &Module, after: &Module, tolerance: f64) -> Result<Comparison, String> {
    // As numbers first; a value that depends on how results are rounded has to be equal where they are.
    compare(before, after, tolerance, false)
        .or_else(|e| compare(before, after, tolerance, true).map_err(|_| e))
}

fn compare(
    before: &Module,
    after: &Module,
    tolerance: f64,
    rounded: bool,
) -> Result<Comparison, String> {
    let mut out = Comparison::default();
    for id in before.innermost_first() {
        let a = observe(before, id, rounded)?;
        let b = observe(after, id, rounded)?;
        for (what, x) in &a {
            // What an op read that is gone now is nobody's business any more.
            let Some(y) = b.get(what) else {
                if what.starts_with("result") {
                    return Err(format!("{what} is gone"));
                }
                continue;
            };
            let place = format!("graph {:?}, {what}", before.graph(id).name());
            equal(&place, x, y, tolerance, &mut out)?;
        }
    }
    Ok(out)
}

fn equal(
    place: &str,
    a: &Tensor,
    b: &Tensor,
    tolerance: f64,
    out: &mut Comparison,
) -> Result<(), String> {
    if (a.dtype(), a.dims()) != (b.dtype(), b.dims()) {
        return Err(format!(
            "{place}: {} {:?} became {} {:?}",
            a.dtype(),
            a.dims(),
            b.dtype(),
            b.dims()
        ));
    }
    let (x, y) = (a.to_f64s(), b.to_f64s());
    let largest = x.iter().filter(|v| v.is_finite()).fold(0.0_f64, |m, v| m.max(v.abs()));
    let bound = if a.dtype().is_float() { tolerance * largest.max(FLOOR) } else { 0.0 };
    for (i, (&p, &q)) in x.iter().zip(&y).enumerate() {
        let same = p == q || p.is_nan() && q.is_nan() || (p - q).abs() <= bound;
        if !same {
            return Err(format!(
                "{place}: element {i} was {p:e}, is {q:e}; the largest is {largest:e}"
            ));
        }
        if p.is_finite() && largest > 0.0 {
            out.worst = out.worst.max((p - q).abs() / largest);
        }
    }
    out.elements += x.len();
    Ok(())
}

/// The results of a graph, and what ops without a definition read, on deterministic inputs.
fn observe(
    module: &Module,
    id: GraphId,
    rounded: bool,
) -> Result<BTreeMap<String, Arc<Tensor>>, String> {
    let g = module.graph(id);
    let context = |what: &str, e: &dyn Display| format!("graph {:?}, {what}: {e}", g.name());
    let (mut evaluator, undefined) = bound(module, id, rounded)?;
    let mut seen = BTreeMap::new();
    let mut see = |name: String, v: Option<Value>| -> Result<(), String> {
        if let Some(v) = v
            && g.ty(v).dtype().is_none_or(|t| t.is_arithmetic_float() || t.is_int())
        {
            let tensor = evaluator.tensor(v).map_err(|e| context(&name, &e))?;
            seen.insert(name, tensor);
        }
        Ok(())
    };
    for (i, v) in g.return_op().into_iter().flat_map(|r| g.operands(r)).enumerate() {
        see(format!("result {i}"), v)?;
    }
    for op in undefined {
        for (i, v) in g.operands(op).enumerate() {
            see(format!("operand {i} of {}", g.location(op)), v)?;
        }
        // Which of them are captured may change.
        for v in g.captures(op).flatten() {
            let name = g.value_name(v).cloned().unwrap_or_default();
            see(format!("{name:?} captured by {}", g.location(op)), Some(v))?;
        }
    }
    Ok(seen)
}

/// An evaluator of a graph that has values for its parameters and for the results of ops without a definition, and these
/// ops.
fn bound(
    module: &Module,
    id: GraphId,
    rounded: bool,
) -> Result<(Evaluator<'_>, Vec<OpId>), String> {
    let g = module.graph(id);
    let context = |what: &str, e: &dyn Display| format!("graph {:?}, {what}: {e}", g.name());
    let mut evaluator = Evaluator::new(g, &module.constants);
    if rounded {
        evaluator = evaluator.rounded();
    }
    for (i, &p) in g.parameters().iter().enumerate() {
        let v = g.result(p, 0);
        let name = format!("parameter {i}");
        let input = match constant_outside(module, id, p).or_else(|| inputs::tensor(&name, g.ty(v)))
        {
            None if g.is_unused(v) => continue,
            None => handed_in(module, id, p)?.and_then(|ty| inputs::tensor(&name, &ty)),
            known => known,
        };
        let input =
            input.ok_or_else(|| context(&name, &format!("no input of type {}", g.ty(v))))?;
        evaluator.bind(v, Binding::Tensor(input));
    }
    let order = g.topo_order().map_err(|_| format!("graph {:?} has a cycle", g.name()))?;
    let undefined: Vec<OpId> = order.into_iter().filter(|&op| is_undefined(g, op)).collect();
    for &op in &undefined {
        for v in g.results(op).filter(|&v| !g.is_unused(v)) {
            let name = format!("{} result {}", g.location(op), v.result);
            // Where nothing is known of the result: the shape of the first operand.
            let like = g.operand(op, 0).and_then(|x| evaluator.dims(x).ok());
            let like = like.map(|dims| Type::from(TensorType::of(DType::F32, &dims)));
            let t = inputs::tensor(&name, g.ty(v))
                .or_else(|| inputs::tensor(&name, &like?))
                .ok_or_else(|| context(&name, &format!("no value of type {}", g.ty(v))))?;
            evaluator.bind(v, Binding::Tensor(t));
        }
    }
    Ok((evaluator, undefined))
}

/// The value outside that a body captures, or that the first call gives.
fn outside(module: &Module, inner: GraphId, parameter: OpId) -> Option<(GraphId, Value)> {
    let g = module.graph(inner);
    let OpKind::Parameter(Parameter { index, capture }) = *g.kind(parameter) else { return None };
    let uses = |g: &Graph, op: OpId, name: &str| match g.kind(op) {
        OpKind::Call(c) => !capture && &*c.callee == name,
        _ => capture && g.regions(op).contains(&inner),
    };
    let (around, op) = module
        .graph_ids()
        .flat_map(|id| module.graph(id).ops().map(move |op| (id, op)))
        .find(|&(id, op)| uses(module.graph(id), op, g.name()))?;
    let outer = module.graph(around);
    let v = match capture {
        true => outer.captures(op).nth(index as usize).flatten(),
        false => outer.operand(op, index as usize),
    };
    Some((around, v?))
}

/// The type that a value handed in turns out to have outside.
fn handed_in(module: &Module, inner: GraphId, parameter: OpId) -> Result<Option<Type>, String> {
    let Some((around, v)) = outside(module, inner, parameter) else { return Ok(None) };
    let (mut evaluator, _) = bound(module, around, false)?;
    match (evaluator.dtype(v), evaluator.dims(v)) {
        (Ok(dtype), Ok(dims)) => Ok(Some(TensorType::of(dtype, &dims).into())),
        _ => Ok(None),
    }
}

/// What a capture parameter stands for, where that follows from constants.
fn constant_outside(module: &Module, id: GraphId, parameter: OpId) -> Option<Tensor> {
    let (around, v) = outside(module, id, parameter)?;
    let g = module.graph(around);
    match g.kind(v.op) {
        OpKind::Parameter(p) if p.capture => constant_outside(module, around, v.op),
        _ => {
            let tensor = Evaluator::new(g, &module.constants).rounded().tensor(v).ok()?;
            Some((*tensor).clone())
        }
    }
}

fn is_undefined(g: &Graph, op: OpId) -> bool {
    let control = matches!(
        g.kind(op),
        OpKind::Opaque(_) | OpKind::Call(_) | OpKind::If(_) | OpKind::Loop(_) | OpKind::Scan(_)
    );
    // In training a batch norm computes statistics, which the evaluator does not define.
    control || matches!(g.kind(op), OpKind::BatchNorm(b) if b.training)
}
