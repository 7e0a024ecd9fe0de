//! A plan: relative transforms of constants and the ops to change, computed on the read-only graph and committed whole.
//!
//! A plan holds *relative* transforms (`· s`, `+ t`), never values, so that it composes with whatever the constant already
//! is derived from: elements are rounded once, however many batch norms met in them. A plan never outlives another commit.

use normfold_ir::{
    BinaryKind, ConstData, ConstId, DType, ElementMap, Graph, OpId, OpKind, OpSpec,
    PatternRewriter, Step, TensorType, Use, Value,
};
use std::sync::Arc;

/// A step on a constant; factors and addends are vectors of the plan.
#[derive(Clone, Debug)]
pub(super) enum Relative {
    Scale { map: ElementMap, vector: usize },
    Shift { map: ElementMap, vector: usize },
    Broadcast { dims: Vec<u64> },
}

/// Which constant is transformed.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The `constant` op names the new entry: nobody else reads it.
    InPlace { constant: OpId, base: ConstId },
    /// The user gets its own constant.
    Copy { at: Use, base: ConstId, name: Option<Arc<str>> },
    /// There is no constant yet: starts as zeros.
    New { at: Use, dtype: DType, dims: Vec<u64>, name: Option<Arc<str>> },
}

#[derive(Clone, Debug)]
pub(super) struct Transform {
    pub(super) target: Target,
    pub(super) steps: Vec<Relative>,
}

/// What becomes of the batch norm.
#[derive(Clone, Debug)]
pub(super) enum Finish {
    /// Its users read its input instead.
    Replace,
    /// An Add of a vector of the plan, of extents `dims`, takes its place.
    Add { dtype: DType, dims: Vec<u64>, vector: usize, name: Option<Arc<str>> },
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) bn: OpId,
    pub(super) absorber: OpId,
    pub(super) vectors: Vec<Vec<f64>>,
    pub(super) transforms: Vec<Transform>,
    /// The absorber's new kind, where it changes.
    pub(super) kind: Option<OpKind>,
    pub(super) finish: Finish,
}

impl Plan {
    /// Carries the plan out and returns the value that stands where the batch norm's result stood.
    pub(super) fn commit(self, rw: &mut PatternRewriter<'_>) -> Value {
        let vectors: Vec<ConstId> = self
            .vectors
            .iter()
            .map(|v| rw.constants_mut().add_f64(DType::F64, &[v.len() as u64], v))
            .collect();
        for t in self.transforms {
            apply(t, &vectors, rw);
        }
        if let Some(kind) = self.kind {
            rw.set_kind(self.absorber, kind);
        }
        let params: Vec<Value> = rw.graph().operands(self.bn).skip(1).flatten().collect();
        let result = finish(self.bn, self.finish, &vectors, rw);
        for p in params {
            erase_dead(p.op, rw);
        }
        result
    }
}

fn derive(
    rw: &mut PatternRewriter<'_>,
    base: ConstId,
    steps: Vec<Relative>,
    vectors: &[ConstId],
) -> ConstId {
    steps.into_iter().fold(base, |entry, step| {
        let step = match step {
            Relative::Scale { map, vector } => Step::Scale { map, factors: vectors[vector] },
            Relative::Shift { map, vector } => Step::Shift { map, addends: vectors[vector] },
            Relative::Broadcast { dims } => Step::Broadcast { dims },
        };
        rw.constants_mut().derive(entry, step)
    })
}

fn zeros(rw: &mut PatternRewriter<'_>, dtype: DType, dims: &[u64]) -> ConstId {
    let element = vec![0; dtype.bytes_for(1).unwrap_or(0) as usize];
    rw.constants_mut().add(TensorType::of(dtype, dims), ConstData::Splat(element.into()))
}

fn apply(t: Transform, vectors: &[ConstId], rw: &mut PatternRewriter<'_>) {
    match t.target {
        Target::InPlace { constant, base } => {
            let entry = derive(rw, base, t.steps, vectors);
            rw.set_constant(constant, entry);
        }
        Target::Copy { at, base, name } => {
            let entry = derive(rw, base, t.steps, vectors);
            let v = rw.create_constant(entry, name, at.user);
            rw.set_operand(at, Some(v));
        }
        Target::New { at, dtype, dims, name } => {
            let base = zeros(rw, dtype, &dims);
            let entry = derive(rw, base, t.steps, vectors);
            let old = rw.graph().operand(at.user, at.operand as usize);
            let v = rw.create_constant(entry, name, at.user);
            rw.set_operand(at, Some(v));
            if let Some(old) = old {
                erase_dead(old.op, rw);
            }
        }
    }
}

fn finish(bn: OpId, finish: Finish, vectors: &[ConstId], rw: &mut PatternRewriter<'_>) -> Value {
    let y = rw.graph().result(bn, 0);
    let ty = rw.graph().ty(y).clone();
    let Some(x) = rw.graph().operand(bn, 0) else { unreachable!("a matched batch norm has data") };
    let with = match finish {
        Finish::Replace => x,
        Finish::Add { dtype, dims, vector, name } => {
            let base = zeros(rw, dtype, &dims);
            let entry =
                derive(rw, base, vec![Relative::Shift { map: vector_map(&dims), vector }], vectors);
            let t = rw.create_constant(entry, name, bn);
            let mut spec = OpSpec::new(BinaryKind::Add).operand(x).operand(t).result(ty.clone());
            if let Some(name) = rw.graph().op_name(bn).cloned() {
                spec = spec.name(name);
            }
            let add = rw.create(spec, bn);
            rw.graph().result(add, 0)
        }
    };
    // The declared type of the producer's result may be stale; the batch norm's users saw this one.
    rw.set_ty(with, ty);
    rw.replace_op(bn, &[with]);
    with
}

/// The map of a tensor that has one axis longer than 1, or none.
fn vector_map(dims: &[u64]) -> ElementMap {
    dims.iter()
        .position(|&d| d > 1)
        .map_or_else(ElementMap::single, |axis| ElementMap::axis(dims, axis))
}

/// Erases a constant, and identities over it, that nothing reads any more.
fn erase_dead(op: OpId, rw: &mut PatternRewriter<'_>) {
    let mut next = Some(op);
    while let Some(op) = next.take() {
        if !rw.graph().contains(op) || rw.graph().has_uses(op) {
            return;
        }
        match rw.graph().kind(op) {
            OpKind::Identity(_) => next = rw.graph().operand(op, 0).map(|v| v.op),
            OpKind::Constant(c) if c.binding == normfold_ir::Binding::Fixed => {}
            _ => return,
        }
        rw.erase(op);
    }
}

/// A name for the bias of the op whose weight has that name: `conv1.weight` → `conv1.bias`.
pub(super) fn bias_name(g: &Graph, weight: OpId) -> Option<Arc<str>> {
    let name = g.value_name(g.result(weight, 0))?;
    for (weight, bias) in [
        ("weight", "bias"),
        ("kernel", "bias"),
        ("Weight", "Bias"),
        ("_W", "_B"),
        ("_w", "_b"),
        (".w", ".b"),
    ] {
        if let Some(stem) = name.strip_suffix(weight) {
            return Some(format!("{stem}{bias}").into());
        }
    }
    Some(format!("{name}.bias").into())
}
