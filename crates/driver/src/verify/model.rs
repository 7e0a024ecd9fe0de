//! What a model says of itself that decides whether running it can prove something.

use normfold_ir::{DType, Graph, Module, OpId, OpKind};
#[cfg(feature = "verify")]
use normfold_ir::{IdSet, Value};

/// ONNX ops whose results are drawn anew at every run, unless they say a seed.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// An op whose results are random.
pub(super) fn random(module: &Module) -> Option<String> {
    let is_random = |kind: &OpKind| match kind {
        OpKind::Opaque(o) => {
            o.domain.is_empty() && RANDOM.contains(&&*o.name) && !o.attrs.contains_key("seed")
        }
        OpKind::Dropout(d) => d.training,
        _ => false,
    };
    ops(module).find(|(g, op)| is_random(g.kind(*op))).map(|(g, op)| place(g, op))
}

/// Whether it computes in that type anywhere.
pub(super) fn has_type(module: &Module, dtype: DType) -> bool {
    let mut constants = module.constants.ids().map(|id| module.constants.dtype(id));
    let mut values = ops(module).flat_map(|(g, op)| g.results(op).filter_map(|v| g.ty(v).dtype()));
    constants.any(|t| t == dtype) || values.any(|t| t == dtype)
}

/// A constant with elements that an engine of 32-bit numbers computes something else with. It takes the nearest integer that
/// it has: where a slice begins or ends that is the same place, directly or behind ops that hand elements on.
#[cfg(feature = "verify")]
pub(super) fn beyond_32_bits(module: &Module) -> Option<String> {
    let pool = &module.constants;
    ops(module).find_map(|(g, op)| {
        let OpKind::Constant(c) = g.kind(op) else { return None };
        let v = Value::new(op, 0);
        let beyond = match pool.dtype(c.entry) {
            DType::I64 | DType::U64 | DType::U32 => {
                let elements = pool.to_i64(c.entry).unwrap_or_default();
                let beyond = elements.iter().any(|&v| i32::try_from(v).is_err());
                (beyond && !bounds_slices(g, v)).then_some("i32")
            }
            DType::F64 => {
                let elements = pool.to_f64(c.entry).unwrap_or_default();
                elements.iter().any(|&v| is_beyond_f32(v)).then_some("f32")
            }
            _ => None,
        };
        let name = g.value_name(v).map_or_else(|| g.location(op), Clone::clone);
        beyond
            .filter(|_| !g.is_unused(v))
            .map(|ty| format!("constant `{name}` has elements beyond {ty}"))
    })
}

/// Whether nothing but bounds of slices follows from a value.
#[cfg(feature = "verify")]
fn bounds_slices(g: &Graph, v: Value) -> bool {
    let (mut seen, mut open) = (IdSet::default(), vec![v]);
    while let Some(v) = open.pop() {
        for u in g.uses(v) {
            let hands_on = match g.kind(u.user) {
                _ if u.capture().is_some() => false,
                OpKind::Slice(_) if matches!(u.operand, 1 | 2) => continue,
                OpKind::Concat(_) => true,
                OpKind::Identity(_)
                | OpKind::Reshape(_)
                | OpKind::Squeeze(_)
                | OpKind::Unsqueeze(_) => u.operand == 0,
                OpKind::Cast(c) => c.to == DType::I64,
                _ => false,
            };
            if !hands_on {
                return false;
            }
            let result = Value::new(u.user, 0);
            if seen.insert(result) {
                open.push(result);
            }
        }
    }
    true
}

/// Whether a number becomes infinite or 0 in f32 that is neither.
#[cfg(feature = "verify")]
pub(super) fn is_beyond_f32(v: f64) -> bool {
    v.is_finite() && v != 0.0 && matches!((v as f32).abs(), 0.0 | f32::INFINITY)
}

/// What and where a node is that an engine names: `NonMaxSuppression "boxes"`.
pub(super) fn node(module: &Module, name: &str) -> String {
    let is_named = |(g, op): &(&Graph, OpId)| match g.op_name(*op).filter(|n| !n.is_empty()) {
        Some(own) => **own == *name,
        // Called as its first result for the engine.
        None => g.results(*op).next().and_then(|v| g.value_name(v)).is_some_and(|n| **n == *name),
    };
    let computes = |(g, op): &(&Graph, OpId)| {
        !matches!(g.kind(*op), OpKind::Constant(_) | OpKind::Parameter(_))
    };
    let found = ops(module).filter(computes).find(is_named);
    found.map_or_else(|| format!("{name:?}"), |(g, op)| format!("{} {name:?}", kind(g, op)))
}

fn kind(g: &Graph, op: OpId) -> String {
    match g.kind(op) {
        OpKind::Opaque(o) => o.name.to_string(),
        kind => kind.mnemonic().to_owned(),
    }
}

fn place(g: &Graph, op: OpId) -> String {
    format!("{} {:?}", kind(g, op), g.location(op))
}

/// Every op of every graph.
fn ops(module: &Module) -> impl Iterator<Item = (&Graph, OpId)> {
    module.graph_ids().flat_map(|id| {
        let g = module.graph(id);
        g.ops().map(move |op| (g, op))
    })
}
