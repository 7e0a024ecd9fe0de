//! `const-fold`: computes what follows from constants.
//!
//! ```text
//! %s = shape %x                              %c = constant dense<[3, 4]>
//! %t = slice %s, [1], [3]             →      %y = reshape %x, %c
//! %y = reshape %x, %t
//! ```

mod targets;

use crate::{
    CertainTypes, Constants, Constness,
    pass::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec},
    pass_options,
};
use normfold_ir::{
    Binding, ConstPool, DType, Graph, OpId, OpKind, PatternRewriter, TensorType, Value,
    eval::Tensor,
};
use std::{collections::HashSet, sync::Arc};

pass_options! {
    /// Options of `const-fold`.
    pub struct ConstFoldOptions {
        /// Bytes by which one computed constant may be larger than the constants that go with it.
        growth: u64 = 64 << 10,
        /// Take constants for constants even where a caller of the model could replace them.
        freeze_inputs: bool = false,
    }
}

/// The pass `const-fold`.
#[derive(Clone, Debug)]
pub struct ConstFold {
    options: ConstFoldOptions,
}

impl PassSpec for ConstFold {
    type Options = ConstFoldOptions;

    const INFO: PassInfo = PassInfo {
        name: "const-fold",
        summary: "Compute what follows from constants",
        description: "\
Puts a constant in the place of every value that follows from constants and from extents that are certain, element by element:
of the shape of a value whose batch is open, the other extents are constant. The evaluator is the one that fold-bn reads
constants with; here every result is rounded to its element type, as an engine stores it.

The target of a reshape may be constant although an extent in it is not: where that is the extent of the same axis of the \
operand it becomes 0, and where it is the only one that is open, -1.

Left alone are random, custom and effectful ops, constants that a caller may replace, training state, what is dequantized (it
would take back a quantization), results of the graph (a document needs a node there), results of more than 2^20 elements, and
results that would let the file grow by more than `growth` bytes: fills and expansions stay what they are.

What only the computed ops read goes with them.",
        statistics: &[
            ("computed", "values computed"),
            ("targets", "targets of reshapes that became constant"),
            ("erased", "ops erased, constants included"),
        ],
        reasons: &[],
    };

    fn new(options: ConstFoldOptions) -> Self {
        Self { options }
    }
}

impl Pass for ConstFold {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let types = cx.analysis::<CertainTypes>(graph);
        let known = match self.options.freeze_inputs {
            true => Arc::new(Constness::frozen(graph)),
            false => cx.analysis::<Constness>(graph),
        };
        let constants =
            Constants { graph, pool: cx.constants(), types: Some(&types), known: &known };
        let (found, targets) = (self.plan(constants), targets::find(constants, &types));
        let may_add = graph.capabilities().may_add_constant(DType::I64);
        let mut changed = false;
        for (op, elements) in targets.into_iter().filter(|_| may_add) {
            let rewritten = cx.rewrite(graph, |rw| targets::rewrite(rw, op, &elements));
            let Some(erased) = rewritten else { break };
            cx.stat("targets", 1);
            cx.stat("erased", erased);
            changed = true;
        }
        for (v, tensor) in found {
            // Only a target read it.
            if !graph.contains(v.op) {
                continue;
            }
            let rewritten = cx.rewrite(graph, |rw| replace(rw, v, &tensor));
            let Some(erased) = rewritten else { break };
            cx.stat("computed", 1);
            cx.stat("erased", erased);
            changed = true;
        }
        Ok(PassOutcome::from_changed(changed).preserving::<CertainTypes>())
    }
}

impl ConstFold {
    /// The values that something reads which is not constant, with their elements; in topological order.
    fn plan(&self, constants: Constants<'_>) -> Vec<(Value, Tensor)> {
        let g = constants.graph;
        let is_constant = |op: OpId| {
            let known = |v| constants.known.culprit(g, v).is_none();
            g.num_results(op) > 0 && g.results(op).all(known)
        };
        let mut needed: HashSet<Value> = HashSet::new();
        let mut found = Vec::new();
        for op in g.topo_order().unwrap_or_default().into_iter().rev() {
            let candidate = is_constant(op) && !matches!(g.kind(op), OpKind::Constant(_));
            let wanted: Vec<Value> = g.results(op).filter(|v| needed.contains(v)).collect();
            let computed: Option<Vec<(Value, Tensor)>> = match candidate {
                true => wanted.iter().map(|&v| Some((v, self.compute(constants, v)?))).collect(),
                false => None,
            };
            match computed {
                Some(list) => found.extend(list.into_iter().rev()),
                // Its operands are read at run time.
                None if !candidate || !wanted.is_empty() => {
                    needed.extend(g.operands(op).chain(g.captures(op)).flatten());
                }
                None => {}
            }
        }
        found.reverse();
        found
    }

    fn compute(&self, constants: Constants<'_>, v: Value) -> Option<Tensor> {
        let g = constants.graph;
        if g.is_quantized(v) || g.uses(v).any(|u| Some(u.user) == g.return_op()) {
            return None;
        }
        // Only of what is read: the extents follow.
        let (dtype, dims) = constants.ty(v).ok()?;
        let count = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
        let bytes = dtype.bytes_for(count)?;
        if !g.capabilities().may_add_constant(dtype) || bytes > self.saved(constants, v)? {
            return None;
        }
        // A constant of another type than was declared would show contradictions in what reads it, and bodies declare what
        // they capture.
        let ty = TensorType::of(dtype, &dims);
        if !g.ty(v).compatible(&ty.into()) {
            return None;
        }
        let tensor = constants.stored(v).ok()?;
        entry_type(&tensor).filter(|&t| t == dtype)?;
        Some(tensor)
    }

    /// The bytes that a constant for `v` may have: those of the constants that go with it, and some more. `None` where
    /// something on the way is not to be computed.
    fn saved(&self, constants: Constants<'_>, v: Value) -> Option<u64> {
        const MOST_OPS: usize = 4096;
        let g = constants.graph;
        let mut cone = vec![v.op];
        let mut seen = HashSet::from([v.op]);
        let mut bytes = self.options.growth;
        let mut at = 0;
        while let Some(&op) = cone.get(at) {
            at += 1;
            match g.kind(op) {
                OpKind::Dequantize(_) | OpKind::Quantize(_) | OpKind::Parameter(_) => return None,
                OpKind::Constant(c) => {
                    let inside = g.uses(Value::new(op, 0)).all(|u| seen.contains(&u.user));
                    if inside && c.binding == Binding::Fixed {
                        bytes = bytes.saturating_add(constants.pool.byte_len(c.entry));
                    }
                    continue;
                }
                // Reads no elements.
                OpKind::Shape(_) | OpKind::Size(_) => continue,
                _ => {}
            }
            cone.extend(g.operands(op).flatten().map(|o| o.op).filter(|&o| seen.insert(o)));
            if cone.len() > MOST_OPS {
                return None;
            }
        }
        Some(bytes)
    }
}

/// The type in which the pool can store a computed tensor exactly.
fn entry_type(t: &Tensor) -> Option<DType> {
    match t.dtype() {
        d if d.is_arithmetic_float() => Some(d),
        DType::I64 => Some(DType::I64),
        d @ (DType::Bool
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U32
        | DType::U16
        | DType::U8) => Some(d),
        _ => None,
    }
}

fn add(pool: &mut ConstPool, t: &Tensor) -> normfold_ir::ConstId {
    match t.dtype() {
        DType::I64 => pool.add_i64(t.dims(), &t.to_i64s()),
        d => pool.add_f64(d, t.dims(), &t.to_f64s()),
    }
}

/// Readers of `v` read a constant. Gives how many ops nothing reads any more, which are gone.
fn replace(rw: &mut PatternRewriter<'_>, v: Value, t: &Tensor) -> u64 {
    let entry = add(rw.constants_mut(), t);
    let name = rw.graph().value_name(v).cloned();
    rw.set_value_name(v, None);
    let c = rw.create_constant(entry, name, v.op);
    // What the document declares may be stale; what was computed is not.
    let ty = rw.graph().ty(c).clone();
    rw.set_ty(v, ty);
    rw.replace_all_uses(v, c);
    erase_dead(rw, v.op)
}

/// Erases an op that nothing reads, and then whatever only it read; gives how many.
fn erase_dead(rw: &mut PatternRewriter<'_>, op: OpId) -> u64 {
    let mut erased = 0;
    let mut dead = vec![op];
    while let Some(op) = dead.pop() {
        let g = rw.graph();
        if !g.contains(op) {
            continue;
        }
        let removable = match g.kind(op) {
            OpKind::Constant(c) => c.binding == Binding::Fixed,
            OpKind::Parameter(_) => false,
            kind => kind.is_pure(),
        };
        if g.has_uses(op) || !removable {
            continue;
        }
        let mut operands: Vec<OpId> = g.operands(op).flatten().map(|o| o.op).collect();
        operands.sort_unstable();
        operands.dedup();
        rw.erase(op);
        erased += 1;
        dead.extend(operands);
    }
    erased
}
