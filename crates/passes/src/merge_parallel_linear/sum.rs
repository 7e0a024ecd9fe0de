//! Trees of sums and differences whose partial sums nothing else reads.

use normfold_ir::{
    BinaryKind, Binding, ConstPool, Graph, OpId, OpKind, PatternRewriter, Type, Use, Value,
};
use std::collections::HashSet;

/// A term of a tree.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Term {
    pub(super) value: Value,
    /// Whether the tree subtracts it.
    pub(super) negative: bool,
}

fn sum_kind(g: &Graph, op: OpId) -> Option<BinaryKind> {
    match g.kind(op) {
        OpKind::Binary(k @ (BinaryKind::Add | BinaryKind::Sub)) => Some(*k),
        _ => None,
    }
}

/// The one use of a value, of whatever kind.
pub(super) fn only_use(g: &Graph, v: Value) -> Option<Use> {
    let mut uses = g.uses(v);
    let first = uses.next()?;
    uses.next().is_none().then_some(first)
}

/// The sum that alone reads a value, as a term.
fn reader(g: &Graph, v: Value) -> Option<(OpId, usize)> {
    let u = only_use(g, v).filter(|u| u.capture().is_none() && !g.is_quantized(v))?;
    sum_kind(g, u.user).map(|_| (u.user, u.operand as usize))
}

/// A tree.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Sum {
    /// From left to right.
    pub(super) terms: Vec<Term>,
    /// The sums, each before those that it reads.
    pub(super) ops: Vec<OpId>,
}

/// The tree that `root` is the root of; empty where it is none.
pub(super) fn tree(g: &Graph, root: OpId) -> Sum {
    let y = Value::new(root, 0);
    let mut out = Sum::default();
    if sum_kind(g, root).is_none() || reader(g, y).is_some() || g.is_quantized(y) {
        return out;
    }
    let mut stack = vec![Term { value: y, negative: false }];
    while let Some(term) = stack.pop() {
        let Term { value, negative } = term;
        match sum_kind(g, value.op) {
            Some(kind) if value == y || reader(g, value).is_some() => {
                out.ops.push(value.op);
                let second = negative != (kind == BinaryKind::Sub);
                let sides = [(1, second), (0, negative)];
                stack.extend(sides.into_iter().filter_map(|(side, negative)| {
                    Some(Term { value: g.operand(value.op, side)?, negative })
                }));
            }
            _ => out.terms.push(term),
        }
    }
    out
}

/// Whether a term cannot leave its sum: `v − o` would leave `−o` behind.
pub(super) fn is_stuck(g: &Graph, v: Value) -> bool {
    reader(g, v).is_none_or(|(op, side)| side == 0 && sum_kind(g, op) == Some(BinaryKind::Sub))
}

/// What goes when a term leaves its tree.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Removal {
    /// The sum that goes.
    pub(super) sum: OpId,
    /// What its reader reads instead.
    pub(super) instead: Value,
    /// The use that is pointed there; `None` where the root goes.
    pub(super) reader: Option<Use>,
    /// Partial sums that may have other extents without the term.
    pub(super) retyped: Vec<Value>,
}

/// A sum that gives one of its operands as it is: the other is a single 0 of rank 0.
pub(super) fn adding_nothing(
    g: &Graph,
    pool: &ConstPool,
    root: OpId,
    sum: OpId,
) -> Option<Removal> {
    let is_zero = |side: usize| {
        let v = g.operand(sum, side)?;
        let OpKind::Constant(c) = g.kind(v.op) else { return None };
        let fixed = c.binding == Binding::Fixed && pool.ty(c.entry).rank() == Some(0);
        let zero = fixed && pool.element_f64(c.entry, 0).ok() == Some(0.0);
        (zero && !g.is_quantized(v)).then_some(side)
    };
    let subtracts = sum_kind(g, sum) == Some(BinaryKind::Sub);
    let side = is_zero(1).or_else(|| is_zero(0).filter(|_| !subtracts))?;
    let instead = g.operand(sum, 1 - side)?;
    let y = Value::new(sum, 0);
    let reader = if sum == root { None } else { Some(only_use(g, y)?) };
    let retyped = Vec::new();
    g.can_stand_for(instead, y).then_some(Removal { sum, instead, reader, retyped })
}

impl Removal {
    /// Carries it out and gives the value of the whole tree, where that is another one now.
    pub(super) fn carry_out(self, rw: &mut PatternRewriter<'_>) -> Option<Value> {
        let Removal { sum, instead, reader, retyped } = self;
        if let Some(u) = reader {
            rw.set_operand(u, Some(instead));
            // Documents declare types by name: what has no name is declared nothing that no longer holds.
            for y in retyped {
                rw.set_ty(y, Type::Unknown);
                rw.set_value_name(y, None);
            }
            rw.erase(sum);
            return None;
        }
        // What is declared of a partial sum may be stale; the readers of the whole saw this.
        let (y, x) = (rw.graph().ty(Value::new(sum, 0)), rw.graph().ty(instead));
        if !y.compatible(x) {
            let ty = y.clone();
            rw.set_ty(instead, ty);
        }
        rw.replace_op(sum, &[instead]);
        Some(instead)
    }
}

/// How many sums may stand between a term and the one that it is merged into.
const FARTHEST: usize = 256;

/// How `gone` leaves the tree of `root`, where the term `kept` stays.
pub(super) fn removal(g: &Graph, root: OpId, gone: Value, kept: Value) -> Option<Removal> {
    if is_stuck(g, gone) {
        return None;
    }
    let (sum, side) = reader(g, gone)?;
    let instead = g.operand(sum, 1 - side)?;
    if sum == root {
        return Some(Removal { sum, instead, reader: None, retyped: Vec::new() });
    }
    let reader_of_sum = only_use(g, Value::new(sum, 0))?;
    let mut retyped = Vec::new();
    let mut above = None;
    let (mut op, mut from, mut ty) =
        (reader_of_sum.user, Value::new(sum, 0), g.ty(instead).clone());
    loop {
        let y = Value::new(op, 0);
        // A partial sum of terms of its own type keeps it, and so does every sum above.
        let same = |v: Option<Value>| {
            v.is_some_and(|v| if v == from { ty == *g.ty(y) } else { g.ty(v) == g.ty(y) })
        };
        if ty != Type::Unknown && g.operands(op).all(same) {
            break;
        }
        if above.get_or_insert_with(|| sums_above(g, kept)).contains(&op) {
            break;
        }
        retyped.push(y);
        if retyped.len() > FARTHEST {
            return None;
        }
        (from, ty, op) = (y, Type::Unknown, reader(g, y)?.0);
    }
    Some(Removal { sum, instead, reader: Some(reader_of_sum), retyped })
}

/// The sums that a term goes into, as far as is looked.
fn sums_above(g: &Graph, mut v: Value) -> HashSet<OpId> {
    let mut out = HashSet::new();
    while let Some((op, _)) = reader(g, v).filter(|_| out.len() <= FARTHEST) {
        out.insert(op);
        v = Value::new(op, 0);
    }
    out
}
