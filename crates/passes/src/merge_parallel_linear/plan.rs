//! What becomes of two linear ops that merge: entries of the pool computed first, then the graph changed at once.

use super::{
    linear::{Facts, Held, LinearOp, offset},
    reason::MergeReason,
    sum::{Removal, removal},
};
use normfold_ir::{
    ConstData, ConstId, ConstPool, DType, ElementMap, OpId, OpKind, PatternRewriter, Step, Type,
    Use, Value,
};

/// A constant operand of the op that stays.
#[derive(Clone, PartialEq, Debug)]
struct Operand {
    at: Use,
    source: Source,
}

#[derive(Clone, PartialEq, Debug)]
enum Source {
    /// A `constant` op as it is.
    AsIs { constant: OpId },
    /// A `constant` op that names another entry: nobody else reads it.
    InPlace { constant: OpId, entry: ConstId },
    /// A new one, named like that one.
    New { entry: ConstId, like: OpId },
}

/// How one linear op takes another in. The larger one stays: its attributes say its window.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub(super) kept: OpId,
    pub(super) gone: OpId,
    /// Whether it stands where the other one stood: that could not go.
    pub(super) moved: bool,
    /// Where the smaller weight stands in the larger one.
    pub(super) offset: Vec<u64>,
    kind: Option<OpKind>,
    operands: Vec<Operand>,
    removal: Removal,
}

/// What stays the same for all pairs of one tree.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) facts: Facts<'a>,
    pub(super) root: OpId,
    /// Bytes of the largest shared constant that an op gets a copy of.
    pub(super) copy_limit: u64,
}

/// How many others one weight takes in: each element of it is a sum of so many.
const MOST_EMBEDDED: usize = 256;

fn embedded(pool: &ConstPool, entry: ConstId) -> usize {
    match &pool.entry(entry).data {
        ConstData::Derived(d) => {
            d.steps().iter().filter(|s| matches!(s, Step::Embed { .. })).count()
        }
        _ => 0,
    }
}

/// Plans to merge two terms: the larger op takes in the smaller one. `negated` says whether the tree subtracts just one of
/// them.
///
/// Entries are added to the pool; nothing else changes.
pub(super) fn plan(
    site: Site<'_>,
    pool: &mut ConstPool,
    (large, small): (&LinearOp, &LinearOp),
    negated: bool,
) -> Result<Plan, MergeReason> {
    let Site { facts, root, copy_limit } = site;
    let g = facts.g;
    let offset = offset(facts, large, small)?;
    if [large, small].iter().any(|l| embedded(pool, l.weight.entry) >= MOST_EMBEDDED) {
        return Err(MergeReason::NotExpressible { what: "too many others were merged already" });
    }
    let value = |l: &LinearOp| Value::new(l.op, 0);
    // `small − o` cannot lose its first operand: the larger one takes that place then.
    let (moved, removal) = match removal(g, root, value(small), value(large)) {
        Some(removal) => (false, removal),
        None => match removal(g, root, value(large), value(small)) {
            Some(removal) => (true, removal),
            None => {
                let what = "both are what something else is subtracted from";
                return Err(MergeReason::NotExpressible { what });
            }
        },
    };
    let capabilities = g.capabilities();
    let signed = |pool: &mut ConstPool, entry: ConstId| match negated && moved {
        true => negative(pool, entry),
        false => entry,
    };
    let mut operands = Vec::new();
    let mut place = |pool: &ConstPool, at: Use, entry: ConstId, from: &[&Held], what| {
        finite(pool, entry, what)?;
        let fits = |h: &&&Held| h.is_exclusive(g, from) && pool.ty(h.entry) == pool.ty(entry);
        let same = |h: &&&Held| h.direct && h.entry == entry;
        let like = from.first().map_or(at.user, |h| h.constant);
        let source = if let Some(h) = from.iter().find(same) {
            Source::AsIs { constant: h.constant }
        } else if let Some(h) = from.iter().find(fits) {
            Source::InPlace { constant: h.constant, entry }
        } else {
            Source::New { entry, like }
        };
        if let Source::New { .. } = source {
            if !capabilities.may_add_constant(pool.dtype(entry)) {
                let what = "the document has no room for another constant";
                return Err(MergeReason::NotExpressible { what });
            }
            let bytes = pool.byte_len(entry);
            if bytes > copy_limit {
                return Err(MergeReason::SharedWeight { name: g.location(like), bytes });
            }
        }
        operands.push(Operand { at, source });
        Ok(())
    };
    let subtract = negated && !moved;
    let base = signed(pool, large.weight.entry);
    let entry = embed(pool, base, small.weight.entry, &offset, subtract);
    place(pool, large.weight.at, entry, &[&large.weight, &small.weight], "weight")?;

    let mut kind = None;
    let at = Use { user: large.op, operand: 2 };
    match (&large.bias, &small.bias) {
        (None, None) => {}
        (Some(l), None) => {
            let entry = signed(pool, l.entry);
            place(pool, at, entry, &[l], "bias")?;
        }
        (None, Some(s)) => {
            let entry = if subtract { negative(pool, s.entry) } else { s.entry };
            place(pool, at, entry, &[s], "bias")?;
            if !capabilities.may_add_bias(large.op, g.kind(large.op)) {
                let what = "the document cannot give the op a bias";
                return Err(MergeReason::NotExpressible { what });
            }
            // The factor of the bias is that of the one which has one; all else agrees.
            if matches!(g.kind(large.op), OpKind::Linear(_)) && g.kind(large.op) != g.kind(small.op)
            {
                kind = Some(g.kind(small.op).clone());
            }
        }
        (Some(l), Some(s)) => {
            let mut base = signed(pool, l.entry);
            let mut source = s.entry;
            if broadcasts(&s.dims, &l.dims) {
                source = widened(pool, source, &l.dims);
            } else if broadcasts(&l.dims, &s.dims) {
                base = widened(pool, base, &s.dims);
            } else {
                return Err(MergeReason::AttributesDiffer { what: "extents of the bias" });
            }
            let zeros = vec![0; pool.dims(base).len()];
            let entry = embed(pool, base, source, &zeros, subtract);
            place(pool, at, entry, &[l, s], "bias")?;
        }
    }
    if let Some(kind) = &kind
        && !capabilities.may_change(g.kind(large.op), kind)
    {
        return Err(MergeReason::NotExpressible { what: "the document cannot change the op" });
    }
    Ok(Plan { kept: large.op, gone: small.op, moved, offset, kind, operands, removal })
}

fn widened(pool: &mut ConstPool, entry: ConstId, dims: &[u64]) -> ConstId {
    match pool.dims(entry) == dims {
        true => entry,
        false => pool.derive(entry, Step::Broadcast { dims: dims.to_vec() }),
    }
}

fn broadcasts(from: &[u64], to: &[u64]) -> bool {
    let lead = to.len().checked_sub(from.len());
    lead.is_some_and(|lead| from.iter().zip(&to[lead..]).all(|(&f, &t)| f == 1 || f == t))
}

fn negative(pool: &mut ConstPool, entry: ConstId) -> ConstId {
    let factors = pool.add_f64(DType::F64, &[1], &[-1.0]);
    pool.derive(entry, Step::Scale { map: ElementMap::single(), factors })
}

/// `base` with `source` added at an offset. What was embedded last in the source is embedded in the base beside it, so that
/// expressions stay flat however many ops merge.
fn embed(
    pool: &mut ConstPool,
    base: ConstId,
    source: ConstId,
    offset: &[u64],
    negated: bool,
) -> ConstId {
    let steps = match &pool.entry(source).data {
        ConstData::Derived(d) => Some((d.base(), d.steps().to_vec())),
        _ => None,
    };
    let Some((first, steps)) = steps else {
        let offset = offset.to_vec();
        return pool.derive(base, Step::Embed { source, offset, negated });
    };
    let tail = steps.iter().rev().take_while(|s| matches!(s, Step::Embed { .. })).count();
    let (head, tail) = steps.split_at(steps.len() - tail);
    let head = head.iter().fold(first, |id, step| pool.derive(id, step.clone()));
    let whole = Step::Embed { source: head, offset: offset.to_vec(), negated };
    let mut out = pool.derive(base, whole);
    for step in tail {
        if let Step::Embed { source, offset: inner, negated: n } = step {
            let offset = offset.iter().zip(inner).map(|(a, b)| a + b).collect();
            let step = Step::Embed { source: *source, offset, negated: *n != negated };
            out = pool.derive(out, step);
        }
    }
    out
}

/// Refuses an entry that has an element which is not finite.
fn finite(pool: &ConstPool, entry: ConstId, what: &'static str) -> Result<(), MergeReason> {
    let mut block = vec![0.0; 1 << 16];
    let (mut at, count) = (0, pool.count(entry));
    while at < count {
        let n = (count - at).min(block.len() as u64) as usize;
        let read = pool.read_f64(entry, at, &mut block[..n]);
        if read.is_err() || block[..n].iter().any(|x| !x.is_finite()) {
            return Err(MergeReason::Overflow { what });
        }
        at += n as u64;
    }
    Ok(())
}

impl Plan {
    /// Carries the plan out and gives the value of the whole tree, where that is another one now.
    pub(super) fn commit(self, rw: &mut PatternRewriter<'_>) -> Option<Value> {
        let old: Vec<Value> = [self.kept, self.gone]
            .iter()
            .flat_map(|&op| rw.graph().operands(op))
            .flatten()
            .collect();
        if let Some(kind) = self.kind {
            rw.set_kind(self.kept, kind);
        }
        for o in self.operands {
            let v = match o.source {
                Source::AsIs { constant } => Value::new(constant, 0),
                Source::InPlace { constant, entry } => {
                    rw.set_constant(constant, entry);
                    Value::new(constant, 0)
                }
                Source::New { entry, like } => {
                    let name = rw.graph().value_name(Value::new(like, 0)).cloned();
                    rw.create_constant(entry, name, self.kept)
                }
            };
            if rw.graph().operand(o.at.user, o.at.operand as usize) != Some(v) {
                rw.set_operand(o.at, Some(v));
            }
        }
        let mut now = self.removal.carry_out(rw);
        if self.moved {
            let (from, to) = (Value::new(self.gone, 0), Value::new(self.kept, 0));
            let ty = rw.graph().ty(from).clone();
            if ty != Type::Unknown {
                rw.set_ty(to, ty);
            }
            rw.replace_all_uses(from, to);
            now = now.map(|v| if v == from { to } else { v });
        }
        rw.erase(self.gone);
        for v in old {
            rw.erase_dead_constant(v);
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::Derived;

    /// However merges are nested, no source of an embedding ends in embeddings, and the sum is the same.
    #[test]
    fn expressions_stay_flat() {
        let mut pool = ConstPool::default();
        let mut add = |n: u64, x: f64| pool.add_f64(DType::F32, &[n], &vec![x; n as usize]);
        let (one, two, three, four) = (add(1, 1.0), add(2, 10.0), add(3, 100.0), add(4, 1000.0));
        let two = embed(&mut pool, two, one, &[1], true);
        let three = embed(&mut pool, three, two, &[1], false);
        let four = embed(&mut pool, four, three, &[0], true);
        assert_eq!(pool.to_f64(four).expect("present"), [900.0, 890.0, 891.0, 1000.0]);
        let steps = |d: &Derived| d.steps().to_vec();
        let ConstData::Derived(d) = &pool.entry(four).data else { panic!("derived") };
        assert_eq!(d.steps().len(), 3);
        for step in steps(d) {
            let Step::Embed { source, .. } = step else { panic!("an embedding") };
            assert!(!matches!(pool.entry(source).data, ConstData::Derived(_)));
        }
    }

    #[test]
    fn sums_beyond_the_type_are_found() {
        let mut pool = ConstPool::default();
        let a = pool.add_f64(DType::F16, &[2], &[1.0, 60000.0]);
        let sum = embed(&mut pool, a, a, &[0], false);
        assert_eq!(finite(&pool, a, "weight"), Ok(()));
        assert_eq!(finite(&pool, sum, "weight"), Err(MergeReason::Overflow { what: "weight" }));
    }
}
