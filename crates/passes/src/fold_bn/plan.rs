//! A plan: relative transforms of constants and the ops to change, computed on the read-only graph and committed whole.
//!
//! A plan holds *relative* transforms (`· s`, `+ t`), never values, so that it composes with whatever the constant already
//! is derived from: elements are rounded once, however many batch norms met in them. A plan never outlives another commit.

use normfold_ir::{
    BinaryKind, ConstData, ConstId, ConstPool, DType, ElementMap, Graph, IdMap, OpId, OpKind,
    OpSpec, Pad, PatternRewriter, Step, TensorType, Type, Use, Value,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// A step on a constant; factors and addends are vectors of the plan.
#[derive(Clone, Debug)]
pub(super) enum Relative {
    Scale {
        map: ElementMap,
        vector: usize,
    },
    Shift {
        map: ElementMap,
        vector: usize,
    },
    /// Adds to single elements.
    Scatter {
        positions: Vec<u64>,
        vector: usize,
    },
    Broadcast {
        dims: Vec<u64>,
    },
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

impl Target {
    /// The element type of what is written.
    fn dtype(&self, pool: &ConstPool) -> DType {
        match self {
            Target::InPlace { base, .. } | Target::Copy { base, .. } => pool.dtype(*base),
            Target::New { dtype, .. } => *dtype,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Transform {
    pub(super) target: Target,
    pub(super) steps: Vec<Relative>,
}

/// An Add of a vector of `dims` extents after a result.
#[derive(Clone, Debug)]
pub(super) struct Addend {
    pub(super) dtype: DType,
    pub(super) dims: Vec<u64>,
    pub(super) vector: usize,
    pub(super) name: Option<Arc<str>>,
    /// What the Add is called.
    pub(super) op_name: Option<Arc<str>>,
}

/// What happens to one op that takes a scale and shift in.
#[derive(Clone, Debug)]
pub(super) struct Absorbed {
    pub(super) op: OpId,
    pub(super) vectors: Vec<Vec<f64>>,
    pub(super) transforms: Vec<Transform>,
    /// Its new kind, where it changes.
    pub(super) kind: Option<OpKind>,
    /// What is added to its result, where it has no slot for that.
    pub(super) addend: Option<Box<Addend>>,
    /// An op that it gets a copy of for one of its operands: what is said of that op is done to the copy.
    pub(super) clone: Option<Box<(OpId, Use)>>,
    /// The new kind of another op, behind its weight.
    pub(super) rekind: Option<Box<(OpId, OpKind)>>,
}

impl Absorbed {
    /// Nothing happens to `op` yet.
    pub(super) fn of(op: OpId, vectors: Vec<Vec<f64>>) -> Self {
        // A weight and a bias: one sum may have a hundred thousand terms that absorb.
        let transforms = Vec::with_capacity(2);
        Self { op, vectors, transforms, kind: None, addend: None, clone: None, rekind: None }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) absorbed: Vec<Absorbed>,
    /// Constants that are branches of a sum or a concatenation; the op is the one that reads them.
    pub(super) constants: Vec<Absorbed>,
    /// The ops that go, in topological order: users read that operand instead.
    pub(super) bypassed: Vec<(OpId, usize)>,
    /// What is added where the first bypassed op stood.
    pub(super) shift: Option<(Vec<f64>, Addend)>,
    /// Pads whose value becomes another one.
    pub(super) pads: Vec<(OpId, f64, DType)>,
}

impl Plan {
    /// The element types of all constants that it rounds anew.
    pub(super) fn dtypes<'a>(&'a self, pool: &'a ConstPool) -> impl Iterator<Item = DType> + 'a {
        let of = move |a: &'a Absorbed| {
            let addend = a.addend.iter().map(|addend| addend.dtype);
            a.transforms.iter().map(move |t| t.target.dtype(pool)).chain(addend)
        };
        let shift = self.shift.iter().map(|s| s.1.dtype);
        let pads = self.pads.iter().map(|p| p.2);
        self.absorbed.iter().chain(&self.constants).flat_map(of).chain(shift).chain(pads)
    }

    /// Carries the plan out. Gives what stands in the place of each old result that is gone, and the ops created.
    pub(super) fn commit(
        self,
        rw: &mut PatternRewriter<'_>,
    ) -> (IdMap<Value, Value>, Vec<(OpId, OpId)>) {
        let (mut instead, mut created) = (IdMap::default(), Vec::new());
        for a in self.absorbed.into_iter().chain(self.constants) {
            let vectors: Vec<ConstId> =
                a.vectors.iter().map(|v| rw.constants_mut().vector(v)).collect();
            let own = a.clone.map(|c| (c.0, clone(c.0, c.1, rw)));
            let now = |op: OpId| own.filter(|(old, _)| *old == op).map_or(op, |(_, new)| new);
            for mut t in a.transforms {
                if let Target::Copy { at, .. } | Target::New { at, .. } = &mut t.target {
                    at.user = now(at.user);
                }
                apply(t, &vectors, rw);
            }
            if let Some((op, kind)) = a.rekind.map(|r| *r) {
                rw.set_kind(now(op), kind);
            }
            if let Some(kind) = a.kind {
                rw.set_kind(a.op, kind);
            }
            if let Some(addend) = a.addend {
                let y = Value::new(a.op, 0);
                let sum = add(y, *addend, &vectors, rw);
                created.push((sum.op, a.op));
                instead.insert(y, sum);
            }
        }
        for (op, value, dtype) in self.pads {
            set_pad(op, value, dtype, rw);
        }
        let mut shift = self.shift;
        for (op, data) in self.bypassed {
            let y = Value::new(op, 0);
            let Some(mut x) = rw.graph().operand(op, data) else { continue };
            // The data stays even where nothing reads it: the certificate does.
            let others: Vec<Value> =
                rw.graph().operands(op).flatten().filter(|&v| v != x).collect();
            if let Some((values, addend)) = shift.take() {
                x = instead_of(op, x, &values, addend, rw);
                created.push((x.op, op));
            }
            let ty = rw.graph().ty(y).clone();
            // The declared type of the older value may be stale; the users saw this one. What a caller or the pool says
            // is not.
            if matches!(rw.graph().kind(x.op), OpKind::Parameter(_) | OpKind::Constant(_)) {
                let ty = rw.graph().ty(x).clone();
                rw.set_ty(y, ty);
            } else if ty != Type::Unknown {
                rw.set_ty(x, ty);
            }
            rw.replace_op(op, &[x]);
            instead.insert(y, x);
            for p in others {
                rw.erase_dead_constant(p);
            }
        }
        (instead, created)
    }
}

/// A second `op` with the same operands, for one reader.
fn clone(op: OpId, at: Use, rw: &mut PatternRewriter<'_>) -> OpId {
    let g = rw.graph();
    let operands: Vec<Option<Value>> = g.operands(op).collect();
    let ty = g.ty(Value::new(op, 0)).clone();
    let spec = OpSpec::new(g.kind(op).clone()).operands(operands).result(ty);
    let new = rw.create(spec, op);
    rw.set_operand(at, Some(Value::new(new, 0)));
    new
}

/// A pad that stands for something else outside.
fn set_pad(op: OpId, value: f64, dtype: DType, rw: &mut PatternRewriter<'_>) {
    let OpKind::Pad(p) = rw.graph().kind(op).clone() else { return };
    // Attributes or operands, never both: an old opset has no operand for the value.
    if p.value.is_some() || p.amounts.is_some() {
        rw.set_kind(op, Pad { value: Some(value), ..*p });
        return;
    }
    let entry = rw.constants_mut().add_f64(dtype, &[], &[value]);
    let old = rw.graph().operand(op, 2);
    let v = rw.create_constant(entry, None, op);
    rw.set_operand(Use { user: op, operand: 2 }, Some(v));
    if let Some(old) = old {
        rw.erase_dead_constant(old);
    }
}

/// The sum of `x` and a vector, for the readers of `op` alone.
fn instead_of(
    op: OpId,
    x: Value,
    values: &[f64],
    a: Addend,
    rw: &mut PatternRewriter<'_>,
) -> Value {
    let vector = rw.constants_mut().vector(values);
    let base = zeros(rw, a.dtype, &a.dims);
    let shift = Relative::Shift { map: vector_map(&a.dims), vector: 0 };
    let entry = derive(rw, base, vec![shift], &[vector]);
    let t = rw.create_constant(entry, a.name, op);
    let ty = rw.graph().ty(Value::new(op, 0)).clone();
    let mut spec = OpSpec::new(BinaryKind::Add).operand(x).operand(t).result(ty);
    if let Some(name) = a.op_name {
        spec = spec.name(name);
    }
    let sum = rw.create(spec, op);
    Value::new(sum, 0)
}

/// Everything that reads `x` reads the sum instead.
fn add(x: Value, a: Addend, vectors: &[ConstId], rw: &mut PatternRewriter<'_>) -> Value {
    let base = zeros(rw, a.dtype, &a.dims);
    let shift = Relative::Shift { map: vector_map(&a.dims), vector: a.vector };
    let entry = derive(rw, base, vec![shift], vectors);
    let t = rw.create_constant(entry, a.name, x.op);
    let ty = rw.graph().ty(x).clone();
    let mut spec = OpSpec::new(BinaryKind::Add).operand(x).operand(t).result(ty);
    if let Some(name) = a.op_name {
        spec = spec.name(name);
    }
    let uses: Vec<Use> = rw.graph().uses(x).collect();
    let sum = rw.create(spec, x.op);
    let y = Value::new(sum, 0);
    // A name that callers or bodies know goes with what they read.
    if uses.iter().any(|&u| rw.graph().is_use_by_name(u)) {
        let name = rw.graph().value_name(x).cloned();
        rw.set_value_name(x, None);
        rw.set_value_name(y, name);
    }
    for u in uses {
        rw.set_operand(u, Some(y));
    }
    y
}

fn derive(
    rw: &mut PatternRewriter<'_>,
    base: ConstId,
    steps: Vec<Relative>,
    vectors: &[ConstId],
) -> ConstId {
    let steps = steps.into_iter().map(|step| match step {
        Relative::Scale { map, vector } => Step::Scale { map, factors: vectors[vector] },
        Relative::Shift { map, vector } => Step::Shift { map, addends: vectors[vector] },
        Relative::Scatter { positions, vector } => {
            let positions: Vec<i64> = positions.into_iter().map(|p| p as i64).collect();
            let n = positions.len() as u64;
            let positions = rw.constants_mut().add_i64(&[n], &positions);
            Step::Scatter { positions, addends: vectors[vector] }
        }
        Relative::Broadcast { dims } => Step::Broadcast { dims },
    });
    let steps: SmallVec<[Step; 2]> = steps.collect();
    rw.constants_mut().derive_all(base, steps)
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
                rw.erase_dead_constant(old);
            }
        }
    }
}

/// The map of a tensor that has one axis longer than 1, or none.
fn vector_map(dims: &[u64]) -> ElementMap {
    dims.iter()
        .position(|&d| d > 1)
        .map_or_else(ElementMap::single, |axis| ElementMap::axis(dims, axis))
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
