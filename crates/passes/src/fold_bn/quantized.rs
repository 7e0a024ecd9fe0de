//! Weights that are stored as integers: `(q − zero)·scale` behind a `dequantize`. A factor goes into the scale, so that the
//! integers stay what they are; where it is negative they are negated (rules.md, "Into the linear op").

use super::{
    cx::Cx,
    linear::target,
    plan::{Absorbed, Relative, Transform},
    reason::{Blocker, FoldReason, Role},
    resolve::{Resolved, resolve},
};
use normfold_ir::{DType, Dequantize, ElementMap, IdSet, OpId, OpKind, Use, Value};
use std::sync::Arc;

/// The operands of `dequantize`.
const ELEMENTS: u32 = 0;
const SCALE: u32 = 1;
const ZERO: u32 = 2;

/// A dequantized weight.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    pub(super) op: OpId,
    kind: Dequantize,
    /// The extents of the weight.
    pub(super) dims: Vec<u64>,
    /// The element type of the scale, and of the weight.
    pub(super) dtype: DType,
    pub(super) scale: Resolved,
    /// Whether the linear op is the only one that reads the weight.
    exclusive: bool,
}

/// The dequantized weight that `at` reads; `None` where it is none.
pub(super) fn integers(
    cx: Cx<'_>,
    at: Use,
    erased: &IdSet<OpId>,
) -> Result<Option<Integers>, FoldReason> {
    let g = cx.g;
    let Some(v) = g.operand(at.user, at.operand as usize) else { return Ok(None) };
    let OpKind::Dequantize(kind) = g.kind(v.op) else { return Ok(None) };
    let refuse = || FoldReason::Quantized { blocker: Blocker::of(g, v.op) };
    if !g.operands(v.op).flatten().all(|v| cx.is_constant(v)) {
        return Err(refuse());
    }
    let (dtype, dims) = cx.constants().ty(v).map_err(|_| refuse())?;
    let scale = resolve(cx, Use { user: v.op, operand: SCALE }, Role::Weight, erased)?;
    let scale = scale.ok_or_else(refuse)?;
    if !dtype.is_arithmetic_float() || cx.pool.dtype(scale.entry) != dtype || g.is_quantized(v) {
        return Err(refuse());
    }
    let exclusive = g.value_uses(v).all(|u| u == at || erased.contains(&u.user));
    let stored = cx.pool.dims(scale.entry);
    if scale.is_view(&stored) {
        return Err(refuse());
    }
    Ok(Some(Integers { op: v.op, kind: kind.clone(), dims, dtype, scale, exclusive }))
}

impl Integers {
    /// Whether its elements are at hand.
    pub(super) fn is_present(&self, cx: Cx<'_>) -> bool {
        let v = Value::new(self.op, 0);
        cx.pool.is_present(self.scale.entry)
            && !matches!(cx.constants().tensor(v), Err(crate::NotConstant::Absent))
    }

    /// Multiplies every element by `factors[map(i)]` of the weight as the linear op at `at` sees it. `vector` is where the
    /// factors stand among the vectors of `absorbed`, which gets what is to be done.
    pub(super) fn scaled(
        &self,
        cx: Cx<'_>,
        at: Use,
        map: &ElementMap,
        vector: usize,
        absorbed: &mut Absorbed,
        copied: &mut Vec<Arc<str>>,
    ) -> Result<(), FoldReason> {
        let g = cx.g;
        let refuse = || FoldReason::Quantized { blocker: Blocker::of(g, self.op) };
        let factors = absorbed.vectors.get(vector).cloned().ok_or_else(refuse)?;
        if factors.contains(&0.0) {
            return Err(refuse());
        }
        let axis = axis_of_map(map, &self.dims);
        let uniform = factors.iter().all(|f| f.abs() == factors[0].abs());
        let scales = cx.pool.dims(self.scale.entry);
        let count = scales.iter().product::<u64>();
        let own_axis = normal(self.kind.axis, self.dims.len());
        let mut steps = Vec::new();
        let mut kind = None;
        let scale_map = if uniform {
            ElementMap::single()
        } else {
            let axis = axis.ok_or_else(refuse)?;
            if self.kind.block == 0 && count == 1 {
                let dims = vec![self.dims[axis]];
                steps.push(Relative::Broadcast { dims: dims.clone() });
                kind = Some(OpKind::from(Dequantize { axis: axis as i64, ..self.kind.clone() }));
                ElementMap::axis(&dims, 0)
            } else if self.kind.block == 0 && own_axis == Some(axis) {
                ElementMap::axis(&scales, 0)
            } else if self.kind.block != 0 && own_axis != Some(axis) {
                ElementMap::axis(&scales, axis)
            } else {
                return Err(refuse());
            }
        };
        if let Some(kind) = &kind
            && !g.capabilities().may_change(g.kind(self.op), kind)
        {
            return Err(refuse());
        }
        let magnitudes = absorbed.vectors.len();
        absorbed.vectors.push(factors.iter().map(|f| f.abs()).collect());
        steps.push(Relative::Scale { map: scale_map, vector: magnitudes });
        if !self.exclusive {
            self.clone_for(cx, at, absorbed, copied)?;
        }
        let operand = |operand| Use { user: self.op, operand };
        let mut r = self.scale.clone();
        r.exclusive &= self.exclusive;
        let target_scale = target(cx, &r, operand(SCALE), Role::Weight, copied)?;
        absorbed.transforms.push(Transform { target: target_scale, steps });
        self.finite(cx, &factors)?;
        if kind.is_some() && g.operand(self.op, ZERO as usize).is_some() {
            let zero = self.constant(cx, ZERO)?;
            let dims = vec![self.dims[axis.ok_or_else(refuse)?]];
            let target = target(cx, &zero, operand(ZERO), Role::Weight, copied)?;
            let steps = vec![Relative::Broadcast { dims }];
            absorbed.transforms.push(Transform { target, steps });
        }
        absorbed.rekind = kind.map(|k| Box::new((self.op, k)));
        if factors.iter().any(|&f| f < 0.0) {
            let elements = self.negatable(cx, map, &factors)?;
            let signs = absorbed.vectors.len();
            absorbed.vectors.push(factors.iter().map(|f| f.signum()).collect());
            let target = target(cx, &elements, operand(ELEMENTS), Role::Weight, copied)?;
            let steps = vec![Relative::Scale { map: map.clone(), vector: signs }];
            absorbed.transforms.push(Transform { target, steps });
        }
        Ok(())
    }

    /// The op gets a `dequantize` of its own.
    fn clone_for(
        &self,
        cx: Cx<'_>,
        at: Use,
        absorbed: &mut Absorbed,
        copied: &mut Vec<Arc<str>>,
    ) -> Result<(), FoldReason> {
        let g = cx.g;
        let name = g.location(self.op);
        let may = g.capabilities().may_create(g.kind(self.op), self.dtype);
        if !cx.allow_copy || !may {
            let bytes = cx.pool.byte_len(self.scale.entry);
            return Err(FoldReason::SharedWeight {
                what: Role::Weight,
                name,
                bytes,
                placeable: may,
            });
        }
        copied.push(name);
        absorbed.clone = Some(Box::new((self.op, at)));
        Ok(())
    }

    /// An operand that is a constant as it is.
    fn constant(&self, cx: Cx<'_>, operand: u32) -> Result<Resolved, FoldReason> {
        let refuse = || FoldReason::Quantized { blocker: Blocker::of(cx.g, self.op) };
        let at = Use { user: self.op, operand };
        let r = resolve(cx, at, Role::Weight, &IdSet::default()).map_err(|_| refuse())?;
        let mut r = r.ok_or_else(refuse)?;
        if r.computed || r.is_view(&cx.pool.dims(r.entry)) {
            return Err(refuse());
        }
        r.exclusive &= self.exclusive;
        Ok(r)
    }

    /// The integers, where each that changes its sign has a negative.
    fn negatable(
        &self,
        cx: Cx<'_>,
        map: &ElementMap,
        factors: &[f64],
    ) -> Result<Resolved, FoldReason> {
        let refuse = || FoldReason::Quantized { blocker: Blocker::of(cx.g, self.op) };
        if cx.g.operand(self.op, ZERO as usize).is_some() {
            let zero = self.constant(cx, ZERO)?;
            let values = cx.pool.to_exact_f64(zero.entry).map_err(|_| refuse())?;
            if values.iter().any(|&z| z != 0.0) {
                return Err(refuse());
            }
        }
        let r = self.constant(cx, ELEMENTS)?;
        let lowest = match cx.pool.dtype(r.entry) {
            DType::I8 => f64::from(i8::MIN),
            DType::I16 => f64::from(i16::MIN),
            DType::I32 => f64::from(i32::MIN),
            _ => return Err(refuse()),
        };
        if !cx.pool.is_present(r.entry) {
            return Ok(r);
        }
        let mut block = [0.0; 4096];
        let (mut at, count) = (0, cx.pool.count(r.entry));
        while at < count {
            let n = (count - at).min(block.len() as u64) as usize;
            cx.pool.read_f64(r.entry, at, &mut block[..n]).map_err(|_| refuse())?;
            let mut fits = true;
            map.for_runs(at, n as u64, |first, len, channel| {
                let run = &block[first as usize..(first + len) as usize];
                fits &= factors[channel as usize] > 0.0 || !run.contains(&lowest);
            });
            if !fits {
                return Err(refuse());
            }
            at += n as u64;
        }
        Ok(r)
    }

    /// Whether every scale stays finite.
    fn finite(&self, cx: Cx<'_>, factors: &[f64]) -> Result<(), FoldReason> {
        let Ok(scales) = cx.pool.to_exact_f64(self.scale.entry) else { return Ok(()) };
        let largest = |v: &[f64]| v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let limit = self.dtype.max_finite().unwrap_or(f64::MAX);
        if scales.iter().any(|s| !s.is_finite()) {
            return Err(FoldReason::NonFinite { what: "the scale of the weight", channel: 0 });
        }
        if largest(&scales) * largest(factors) >= limit {
            return Err(FoldReason::Overflow { what: Role::Weight, channel: None });
        }
        Ok(())
    }
}

fn normal(axis: i64, rank: usize) -> Option<usize> {
    usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&a| a < rank)
}

/// The axis whose position the map gives; `None` where it is made of several.
fn axis_of_map(map: &ElementMap, dims: &[u64]) -> Option<usize> {
    (0..dims.len()).find(|&a| dims[a] > 1 && ElementMap::axis(dims, a) == *map)
}
