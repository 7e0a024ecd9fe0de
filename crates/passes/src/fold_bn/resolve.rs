//! Which constant a value is.

use super::{
    cx::Cx,
    reason::{Blocker, FoldReason, Role},
};
use crate::NotConstant;
use normfold_ir::{
    ConstId, ElementMap, Graph, IdSet, MapTerm, OpId, OpKind, Use, Value, eval::Tensor,
};
use smallvec::{SmallVec, smallvec};

/// Behind more transposes with reshapes between them a constant is taken for a computed one: whoever asks where an element is
/// stored goes through all of them.
const MOST_VIEWS: usize = 16;

/// A value that is a constant.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The `constant` op; the op that computes it where it is computed.
    pub(super) op: OpId,
    /// Its pool entry.
    pub(super) entry: ConstId,
    /// Whether the reader is the only one that reads the constant, directly or through those ops.
    pub(super) exclusive: bool,
    /// Whether it is computed from constants: the entry then is not the constant of any op yet.
    pub(super) computed: bool,
    /// The transposes between the constant and its reader, from the reader on: extents of the result and permutation.
    views: Vec<(Vec<u64>, Vec<usize>)>,
    /// The extents that the reader sees.
    pub(super) dims: Vec<u64>,
}

impl Resolved {
    /// The map of the constant's own elements, given that of the elements that the reader sees.
    pub(super) fn map(&self, seen: &ElementMap) -> Option<ElementMap> {
        self.views.iter().try_fold(seen.clone(), |m, (dims, perm)| permuted(&m, dims, perm))
    }

    /// Where the element that the reader sees at `i` is stored.
    pub(super) fn stored(&self, i: u64) -> Option<u64> {
        self.views.iter().try_fold(i, |mut i, (dims, perm)| {
            let mut index = vec![0; dims.len()];
            let mut base = vec![0; dims.len()];
            for (k, &p) in perm.iter().enumerate().rev() {
                *index.get_mut(p)? = i % dims[k];
                *base.get_mut(p)? = dims[k];
                i /= dims[k];
            }
            Some(index.iter().zip(&base).fold(0, |at, (i, d)| at * d + i))
        })
    }

    /// Whether the reader sees the elements in another order or shape than they are stored in.
    pub(super) fn is_view(&self, stored: &[u64]) -> bool {
        !self.views.is_empty() || self.dims != stored
    }
}

/// The constant that operand `at` reads: as it is, in another shape, transposed, or computed from constants.
///
/// Uses by `erased` ops do not count against exclusiveness.
pub(super) fn resolve(
    cx: Cx<'_>,
    at: Use,
    what: Role,
    erased: &IdSet<OpId>,
) -> Result<Option<Resolved>, FoldReason> {
    let g = cx.g;
    let Some(first) = g.operand(at.user, at.operand as usize) else { return Ok(None) };
    let (mut v, mut u) = (first, at);
    let (mut exclusive, mut plain) = (true, true);
    let mut views: Vec<Transposes<'_>> = Vec::new();
    // Whether only transposes came since the last of those.
    let mut transposing = false;
    loop {
        exclusive &= g.value_uses(v).all(|w| w == u || erased.contains(&w.user));
        match g.kind(v.op) {
            OpKind::Constant(c) if cx.is_fixed(c.binding) => {
                let held = Held { op: v.op, entry: c.entry, exclusive };
                return held.seen(cx, first, what, plain, views).map(Some);
            }
            // Of a constant around this body the op gets a copy in it.
            OpKind::Parameter(_) if let Some(entry) = cx.known.captured(v.op) => {
                let held = Held { op: v.op, entry, exclusive: false };
                return held.seen(cx, first, what, plain, views).map(Some);
            }
            OpKind::Identity(_) => {}
            OpKind::Reshape(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) | OpKind::Flatten(_) => {
                (plain, transposing) = (false, false);
            }
            OpKind::Transpose(t) => {
                match views.last_mut().filter(|_| transposing) {
                    Some(view) => view.1.push(&t.perm),
                    None => views.push((v, smallvec![&*t.perm])),
                }
                if views.len() > MOST_VIEWS {
                    return computed(cx, first, v, what).map(Some);
                }
                (plain, transposing) = (false, true);
            }
            OpKind::Dequantize(_)
                if what == Role::Weight || what == Role::Bias && !cx.float_bias =>
            {
                return Err(FoldReason::Quantized { blocker: Blocker::of(g, v.op) });
            }
            _ => return computed(cx, first, v, what).map(Some),
        }
        u = Use { user: v.op, operand: 0 };
        let Some(source) = g.operand(v.op, 0) else {
            return computed(cx, first, v, what).map(Some);
        };
        v = source;
    }
}

/// The value that transposes make of another one, and their permutations, the last first.
type Transposes<'a> = (Value, SmallVec<[&'a [i64]; 1]>);

/// What transposes that follow each other do together to a tensor of that rank.
fn composed(perms: &[&[i64]], rank: usize) -> Option<Vec<usize>> {
    let mut all: Vec<usize> = (0..rank).collect();
    for perm in perms {
        for axis in &mut all {
            *axis = match *perm {
                [] => rank - 1 - *axis,
                perm => {
                    let &a = perm.get(*axis)?;
                    let a = if a < 0 { a.checked_add_unsigned(rank as u64)? } else { a };
                    usize::try_from(a).ok().filter(|&a| a < rank)?
                }
            };
        }
    }
    Some(all)
}

/// A constant in the pool.
struct Held {
    op: OpId,
    entry: ConstId,
    exclusive: bool,
}

impl Held {
    /// The constant as `first`, the value that is read, shows it.
    fn seen(
        self,
        cx: Cx<'_>,
        first: Value,
        what: Role,
        plain: bool,
        transposes: Vec<Transposes<'_>>,
    ) -> Result<Resolved, FoldReason> {
        let Self { op, entry, exclusive } = self;
        let mut views = Vec::with_capacity(transposes.len());
        if plain {
            let dims = cx.pool.dims(entry);
            return Ok(Resolved { op, entry, exclusive, computed: false, views, dims });
        }
        let seen: Vec<Value> = [first].into_iter().chain(transposes.iter().map(|t| t.0)).collect();
        let types = cx.constants().types_behind(first, &seen);
        let mut types = types.map_err(|e| not_constant(cx.g, first, what, e))?.into_iter();
        let dims = types.next().map_or(Vec::new(), |t| t.1);
        for ((_, dims), (_, perms)) in types.zip(&transposes) {
            let Some(perm) = composed(perms, dims.len()) else {
                return computed(cx, first, first, what);
            };
            views.push((dims, perm));
        }
        let r = Resolved { op, entry, exclusive, computed: false, views, dims };
        // A copy has the order and shape that the reader sees.
        let movable = !exclusive && cx.allow_copy && r.is_view(&cx.pool.dims(entry));
        if movable && cx.pool.is_present(entry) && cx.pool.byte_len(entry) <= cx.copy_limit {
            return match computed(cx, first, first, what) {
                Ok(copy) => Ok(Resolved { op, ..copy }),
                Err(reason) if cx.entries.wants(first) => Err(reason),
                Err(_) => Ok(r),
            };
        }
        Ok(r)
    }
}

/// A constant that no `constant` op holds: it gets an entry of its own.
fn computed(cx: Cx<'_>, v: Value, blocker: Value, what: Role) -> Result<Resolved, FoldReason> {
    let refuse = |e| not_constant(cx.g, blocker, what, e);
    let (dtype, dims) = cx.constants().ty(v).map_err(refuse)?;
    if !dtype.is_arithmetic_float() {
        return Err(FoldReason::UnsupportedType { blocker: Blocker::of(cx.g, v.op), dtype });
    }
    let Some(entry) = cx.entries.get(v) else {
        cx.entries.want(v, cx.constants().tensor(v).map_err(refuse)?);
        return Err(refuse(NotConstant::Depends { on: v.op }));
    };
    Ok(Resolved { op: v.op, entry, exclusive: false, computed: true, views: Vec::new(), dims })
}

/// The elements of an operand that is a constant or computed from constants; `None` when absent, `Some(None)` when the
/// operand is there but its elements are not at hand.
pub(super) struct Values {
    pub(super) dims: Vec<u64>,
    pub(super) elements: Option<Vec<f64>>,
    pub(super) op: OpId,
}

pub(super) fn values(cx: Cx<'_>, at: Use, what: Role) -> Result<Option<Values>, FoldReason> {
    let Some(v) = cx.g.operand(at.user, at.operand as usize) else { return Ok(None) };
    let refuse = |e| not_constant(cx.g, v, what, e);
    if let OpKind::Constant(c) = cx.g.kind(v.op)
        && cx.is_fixed(c.binding)
    {
        let (pool, entry) = (cx.pool, c.entry);
        let elements = match pool.is_present(entry) {
            false => None,
            true => Some(pool.to_f64(entry).map_err(|_| FoldReason::UnsupportedType {
                blocker: Blocker::of(cx.g, v.op),
                dtype: pool.dtype(entry),
            })?),
        };
        return Ok(Some(Values { dims: pool.dims(entry), elements, op: v.op }));
    }
    let (_, dims) = cx.constants().ty(v).map_err(refuse)?;
    let elements = match cx.constants().tensor(v) {
        Ok(t) => Some(Tensor::to_f64s(&t)),
        Err(NotConstant::Absent) => None,
        Err(e) => return Err(refuse(e)),
    };
    Ok(Some(Values { dims, elements, op: v.op }))
}

pub(super) fn not_constant(g: &Graph, v: Value, what: Role, e: NotConstant) -> FoldReason {
    match e {
        NotConstant::Overridable { op } => {
            FoldReason::OverridableInput { what, name: g.location(op) }
        }
        NotConstant::Mutable { op } => FoldReason::MutableState { what, name: g.location(op) },
        NotConstant::Captured { .. } => {
            let what = format!("the {what} is captured from the enclosing graph").into();
            FoldReason::RegionBoundary { what }
        }
        _ => FoldReason::NotConstant { what, blocker: Blocker::of(g, v.op) },
    }
}

/// The map of the elements of x, where `map` is that of `transpose(x, perm)`, whose extents are `dims`. Each term must
/// speak of one axis.
pub(crate) fn permuted(map: &ElementMap, dims: &[u64], perm: &[usize]) -> Option<ElementMap> {
    let mut base = vec![0; dims.len()];
    for (k, &p) in perm.iter().enumerate() {
        *base.get_mut(p)? = *dims.get(k)?;
    }
    let stride = |dims: &[u64], axis: usize| dims[axis + 1..].iter().product::<u64>();
    let terms = map.terms().iter().map(|t| {
        let axis = (0..dims.len()).find(|&a| dims[a] == t.size && stride(dims, a) == t.stride)?;
        Some(MapTerm { stride: stride(&base, perm[axis]), ..*t })
    });
    terms.collect::<Option<Vec<_>>>().map(ElementMap::from_terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_behind_a_transpose() {
        // x of 4×2×3, seen as 3×4×2.
        let (dims, perm) = ([3, 4, 2], [2, 0, 1]);
        let seen = ElementMap::axis(&dims, 1).and(&dims, 0, 2, 4);
        let own = permuted(&seen, &dims, &perm).expect("terms of one axis");
        for i in 0..24u64 {
            let x = [i / 6, i / 3 % 2, i % 3];
            let at = [x[2], x[0], x[1]];
            assert_eq!(own.at(i), seen.at(at[0] * 8 + at[1] * 2 + at[2]));
        }
        let both = ElementMap::from_terms([MapTerm { stride: 2, size: 12, div: 1, mul: 1 }]);
        assert_eq!(permuted(&both, &dims, &perm), None);
    }
}
