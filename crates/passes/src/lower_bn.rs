//! `lower-bn`: says a batch norm by other means.
//!
//! ```text
//! Given   %y = batch_norm %x, %γ, %β, %μ, %σ²      Result  %m = mul %x, s
//!                                                          %y = add %m, t
//! ```
//!
//! with `s = γ/√(σ²+ε)` and `t = β − μ·s` per channel, or a batch norm with `γ' = s·√(1+ε)`, `β' = t`, mean 0 and variance 1.

use crate::{
    CertainTypes, Constness, FoldReason, Globs,
    fold_bn::scale_and_shift,
    option_enum,
    pass::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec},
    pass_options,
};
use normfold_ir::{
    BinaryKind, Binding, ConstId, ConstPool, DType, Graph, OpId, OpKind, OpSpec, PatternRewriter,
    Reason, RemarkKind, Use, Value,
};

option_enum! {
    /// What a batch norm becomes.
    pub enum LowerForm {
        /// A product and a sum.
        MulAdd "mul-add",
        /// A batch norm with mean 0 and variance 1.
        Unit "unit",
    }
}

pass_options! {
    /// Options of `lower-bn`.
    pub struct LowerBnOptions {
        /// What a batch norm becomes.
        form: LowerForm = LowerForm::MulAdd,
        /// Lower only batch norms whose name matches; empty is all.
        only: Globs = Globs::default(),
        /// Keep batch norms whose name matches.
        skip: Globs = Globs::default(),
    }
}

/// The pass `lower-bn`.
#[derive(Clone, Debug)]
pub struct LowerBn {
    options: LowerBnOptions,
}

impl PassSpec for LowerBn {
    type Options = LowerBnOptions;

    const INFO: PassInfo = PassInfo {
        name: "lower-bn",
        summary: "Turn batch norms into Mul and Add, or give them mean 0 and variance 1",
        description: "\
For what `fold-bn` keeps and a runtime or a quantizer has no op for: `y = batch_norm(x)` becomes `y = x·s + t` with
`s = γ/√(σ²+ε)` and `t = β − μ·s` per channel, computed in f64 and rounded once to the type of x. With `form=unit` it stays a
batch norm, with `γ' = s·√(1+ε)`, `β' = t`, mean 0 and variance 1.

A batch norm in training mode, or whose constants are not constant, stays and gets a remark with a reason of
docs/legality.md. Where `μ·s` is large beside the result, digits cancel that `(x − μ)·s` would keep: with types of 16 bits
prefer `form=unit`, which runtimes compute in one go. A document without room for other constants, as Keras's, takes that form
alone: the four constants of the batch norm get other elements.",
        statistics: &[("lowered", "batch norms lowered"), ("kept", "batch norms kept")],
        reasons: FoldReason::CODES,
    };

    fn new(options: LowerBnOptions) -> Self {
        Self { options }
    }
}

impl Pass for LowerBn {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let types = cx.analysis::<CertainTypes>(graph);
        let known = cx.constness(graph);
        let norms: Vec<OpId> = graph
            .topo_order()
            .unwrap_or_default()
            .into_iter()
            .filter(|&op| matches!(graph.kind(op), OpKind::BatchNorm(_)))
            .collect();
        let mut changed = false;
        // The last first: of what is created the analysis knows nothing, and a batch norm may read another one's result.
        for op in norms.into_iter().rev() {
            match self.plan(graph, cx.constants(), &types, &known, op) {
                Ok(None) => {}
                Ok(Some(plan)) => {
                    if cx.rewrite(graph, |rw| plan.commit(op, rw)).is_none() {
                        break;
                    }
                    cx.stat("lowered", 1);
                    changed = true;
                }
                Err(reason) => {
                    cx.stat("kept", 1);
                    let (code, message) = (reason.code(), reason.to_string());
                    let remark = cx.about(graph, op, RemarkKind::Missed, code, message);
                    cx.remark(remark);
                }
            }
        }
        Ok(PassOutcome::from_changed(changed))
    }
}

/// What takes the place of a batch norm.
struct Plan {
    form: LowerForm,
    /// Of x, and of what s and t are stored in.
    dtype: DType,
    /// What s and t broadcast from.
    dims: Vec<u64>,
    s: Vec<f64>,
    t: Vec<f64>,
    /// The constants that get other elements, where there is no room for others.
    held: Option<[OpId; 4]>,
}

impl LowerBn {
    /// `None` where there is nothing to do.
    fn plan(
        &self,
        g: &Graph,
        pool: &ConstPool,
        types: &CertainTypes,
        known: &Constness,
        op: OpId,
    ) -> Result<Option<Plan>, FoldReason> {
        let OpKind::BatchNorm(kind) = g.kind(op) else { return Ok(None) };
        let o = &self.options;
        let name = g.location(op);
        if !o.only.is_empty() && !o.only.matches(&name) || o.skip.matches(&name) {
            return Err(FoldReason::NotSelected { blocker: None });
        }
        let (s, t) = scale_and_shift(g, pool, types, known, op)?;
        let n = s.len() as u64;
        // A model that contradicts itself stays what it is.
        let extent =
            g.operand(op, 0).and_then(|x| types.dims(x)?.get(kind.axis as usize).copied()?);
        if let Some(expected) = extent.filter(|&d| d != n) {
            let blocker = crate::Blocker::of(g, op);
            return Err(FoldReason::ChannelMismatch { blocker, expected, found: n });
        }
        let mut plan = match o.form {
            LowerForm::Unit => {
                let statistic = |i| known_values(g, pool, op, i);
                let unit = statistic(3).is_some_and(|v| v.iter().all(|&x| x == 0.0))
                    && statistic(4).is_some_and(|v| v.iter().all(|&x| x == 1.0));
                let dtype = g.operand(op, 1).and_then(|v| types.dtype(v));
                let Some(dtype) = dtype.filter(|_| !unit) else { return Ok(None) };
                let root = (1.0 + kind.eps).sqrt();
                let s = s.iter().map(|s| s * root).collect();
                Plan { form: o.form, dtype, dims: vec![n], s, t, held: None }
            }
            LowerForm::MulAdd => {
                let x = g.operand(op, 0);
                let rank = x.and_then(|x| types.rank(x)).or(types.rank(Value::new(op, 0)));
                let axis = kind.axis as usize;
                let blocker = || crate::Blocker::of(g, op);
                let Some(rank) = rank.filter(|&r| r > axis) else {
                    return Err(FoldReason::UnknownRank { blocker: blocker() });
                };
                let Some(dtype) = x.and_then(|x| types.dtype(x)) else {
                    return Err(FoldReason::UnknownType { blocker: blocker() });
                };
                for k in [BinaryKind::Mul, BinaryKind::Add] {
                    if !g.capabilities().may_create(&k.into(), dtype) {
                        return Err(FoldReason::NotExpressible { what: "Mul and Add" });
                    }
                }
                let mut dims = vec![1; rank - axis];
                dims[0] = n;
                Plan { form: o.form, dtype, dims, s, t, held: None }
            }
        };
        if !g.capabilities().may_add_constant(plan.dtype) {
            let held = held(g, pool, op, plan.dtype).filter(|_| o.form == LowerForm::Unit);
            plan.held =
                Some(held.ok_or(FoldReason::NotExpressible { what: "constants of this type" })?);
        }
        let limit = plan.dtype.max_finite().unwrap_or(f64::MAX);
        if let Some(channel) =
            plan.s.iter().zip(&plan.t).position(|(s, t)| s.abs().max(t.abs()) > limit)
        {
            let channel = Some(channel);
            return Err(FoldReason::Overflow { what: crate::Role::Scale, channel });
        }
        Ok(Some(plan))
    }
}

/// The constants of a batch norm, if it has all four for itself and they can be others.
fn held(g: &Graph, pool: &ConstPool, op: OpId, dtype: DType) -> Option<[OpId; 4]> {
    let constant = |i| {
        let v = g.operand(op, i)?;
        let OpKind::Constant(c) = g.kind(v.op) else { return None };
        let fits = c.binding == Binding::Fixed && pool.dtype(c.entry) == dtype;
        let own = g.uses(v).count() == 1 && g.capabilities().may_change_constant(v.op);
        (fits && own).then_some(v.op)
    };
    Some([constant(1)?, constant(2)?, constant(3)?, constant(4)?])
}

/// The elements of an operand that is a constant.
fn known_values(g: &Graph, pool: &ConstPool, op: OpId, i: usize) -> Option<Vec<f64>> {
    let v = g.operand(op, i)?;
    match g.kind(v.op) {
        OpKind::Constant(c) => pool.to_f64(c.entry).ok(),
        _ => None,
    }
}

impl Plan {
    fn commit(self, op: OpId, rw: &mut PatternRewriter<'_>) {
        let old: Vec<Option<Value>> = rw.graph().operands(op).collect();
        let add = |pool: &mut ConstPool, v: &[f64]| pool.add_f64(self.dtype, &self.dims, v);
        let (s, t) = (add(rw.constants_mut(), &self.s), add(rw.constants_mut(), &self.t));
        match self.form {
            LowerForm::Unit => {
                let n = self.s.len();
                let (zero, one) = (vec![0.0; n], vec![1.0; n]);
                let rest = [add(rw.constants_mut(), &zero), add(rw.constants_mut(), &one)];
                if let Some(held) = self.held {
                    for (constant, entry) in held.into_iter().zip([s, t].into_iter().chain(rest)) {
                        rw.set_constant(constant, entry);
                    }
                    return;
                }
                for (i, entry) in [s, t].into_iter().chain(rest).enumerate() {
                    let v = constant(rw, entry, op);
                    rw.set_operand(Use { user: op, operand: i as u32 + 1 }, Some(v));
                }
            }
            LowerForm::MulAdd => {
                let Some(x) = old.first().copied().flatten() else { return };
                let ty = rw.graph().ty(Value::new(op, 0)).clone();
                let name = rw.graph().op_name(op).cloned();
                let (s, t) = (constant(rw, s, op), constant(rw, t, op));
                let mut product =
                    OpSpec::new(BinaryKind::Mul).operand(x).operand(s).result(ty.clone());
                let mut sum = OpSpec::new(BinaryKind::Add);
                if let Some(name) = name {
                    product = product.name(format!("{name}/scale"));
                    sum = sum.name(name);
                }
                let product = rw.create(product, op);
                let product = Value::new(product, 0);
                let sum = rw.create(sum.operand(product).operand(t).result(ty), op);
                rw.replace_op(op, &[Value::new(sum, 0)]);
            }
        }
        for v in old.into_iter().skip(1).flatten() {
            let g = rw.graph();
            if g.contains(v.op) && !g.has_uses(v.op) && g.kind(v.op).is_pure() {
                rw.erase(v.op);
            }
        }
    }
}

fn constant(rw: &mut PatternRewriter<'_>, entry: ConstId, at: OpId) -> Value {
    rw.create_constant(entry, None, at)
}
