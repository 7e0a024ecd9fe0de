//! Ops that read, change or make extents.

use super::{
    EvalError, Scalar, Tensor,
    index::{self, Dims, View},
    node::{Formula, NodeId, Plan, Planned, Site, Source},
    reader::Reader,
};
use crate::{
    ConstantOfShape, DType, DepthMode, DepthToSpace, Dropout, Flatten, Reshape, Shape,
    SpaceToDepth, Squeeze, Transpose, Unsqueeze,
};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Element `i` is element `view.at(i)` of x.
pub(super) struct Moved {
    pub(super) x: NodeId,
    pub(super) view: View,
}

impl Formula for Moved {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        cx.get(self.x, self.view.at(i))
    }
}

struct Fill(Scalar);

impl Formula for Fill {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        SmallVec::new()
    }
    fn element(&self, _: Reader<'_, '_>, _: u64) -> Result<Scalar, EvalError> {
        Ok(self.0)
    }
}

pub(super) fn identity<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let x = s.operand(0)?;
    s.same(x, s.dims(x))
}

pub(super) fn dropout<'a>(s: &mut Site<'_, 'a>, k: &Dropout) -> Plan<'a> {
    if k.training {
        return Err(s.unsupported("training mode"));
    }
    let x = s.operand(0)?;
    let dims = s.dims(x);
    match s.result {
        0 => s.same(x, dims),
        1 => Ok(Planned::formula(DType::Bool, dims, Fill(Scalar::I(1)))),
        n => Err(s.unsupported(format!("result {n}"))),
    }
}

pub(super) fn reshape<'a>(s: &mut Site<'_, 'a>, k: &Reshape) -> Plan<'a> {
    let x = s.operand(0)?;
    let from = s.dims(x);
    let Some(to) = s.list(k.shape.as_ref(), 1)? else {
        return Err(s.shape_error("no shape is given"));
    };
    let mut dims = Dims::new();
    let mut inferred = None;
    for (axis, &d) in to.iter().enumerate() {
        dims.push(match d {
            -1 if inferred.is_none() => {
                inferred = Some(axis);
                1
            }
            0 if !k.allow_zero => *from
                .get(axis)
                .ok_or_else(|| s.shape_error(format!("axis {axis} of x does not exist")))?,
            d => s.extent(d)?,
        });
    }
    if let Some(axis) = inferred {
        let rest = index::count(&dims).filter(|&n| n > 0 && s.count(x).is_multiple_of(n));
        let Some(rest) = rest else {
            return Err(s.shape_error(format!("{} elements do not fill {to:?}", s.count(x))));
        };
        dims[axis] = s.count(x) / rest;
    }
    s.same(x, dims)
}

pub(super) fn flatten<'a>(s: &mut Site<'_, 'a>, k: &Flatten) -> Plan<'a> {
    let x = s.operand(0)?;
    let dims = s.dims(x);
    // The axis may be one past the last.
    let axis = match i64::try_from(dims.len()) {
        Ok(rank) if k.axis == rank => dims.len(),
        _ => s.axis(k.axis, dims.len())?,
    };
    let (before, after) = dims.split_at(axis);
    s.same(x, smallvec![before.iter().product(), after.iter().product()])
}

pub(super) fn squeeze<'a>(s: &mut Site<'_, 'a>, k: &Squeeze) -> Plan<'a> {
    let x = s.operand(0)?;
    let dims = s.dims(x);
    let axes = match s.list(k.axes.as_ref(), 1)? {
        Some(list) => s.axes(&list, dims.len())?,
        None => (0..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    if let Some(&a) = axes.iter().find(|&&a| dims[a] != 1) {
        return Err(s.shape_error(format!("axis {a} of extent {} does not go", dims[a])));
    }
    let kept = (0..dims.len()).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect();
    s.same(x, kept)
}

pub(super) fn unsqueeze<'a>(s: &mut Site<'_, 'a>, k: &Unsqueeze) -> Plan<'a> {
    let x = s.operand(0)?;
    let dims = s.dims(x);
    let Some(list) = s.list(k.axes.as_ref(), 1)? else {
        return Err(s.shape_error("no axes are given"));
    };
    let rank = dims.len() + list.len();
    let axes = s.axes(&list, rank)?;
    let mut kept = dims.iter();
    let out = (0..rank)
        .map(|a| if axes.contains(&a) { 1 } else { kept.next().copied().unwrap_or(1) })
        .collect();
    s.same(x, out)
}

pub(super) fn transpose<'a>(s: &mut Site<'_, 'a>, k: &Transpose) -> Plan<'a> {
    let x = s.operand(0)?;
    let dims = s.dims(x);
    let perm = match &k.perm[..] {
        [] => (0..dims.len()).rev().collect(),
        list => s.axes(list, dims.len())?,
    };
    if perm.len() != dims.len() {
        return Err(s.shape_error(format!("perm {perm:?} of a tensor of rank {}", dims.len())));
    }
    let strides = index::strides(&dims);
    let view = View::new(0, perm.iter().map(|&p| (dims[p], strides[p] as i64)));
    let out = perm.iter().map(|&p| dims[p]).collect();
    Ok(Planned::formula(s.dtype(x), out, Moved { x, view }))
}

pub(super) fn expand<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let (x, shape) = (s.operand(0)?, s.operand(1)?);
    let from = s.dims(x);
    let to = s.ints(shape)?.into_iter().map(|d| s.extent(d)).collect::<Result<Dims, _>>()?;
    let both = index::broadcast(&from, &to)
        .and_then(|dims| View::broadcast(&from, &dims).map(|view| (dims, view)));
    let Some((dims, view)) = both else {
        return Err(s.shape_error(format!(
            "extents {:?} do not broadcast to {:?}",
            &from[..],
            &to[..]
        )));
    };
    Ok(Planned::formula(s.dtype(x), dims, Moved { x, view }))
}

/// A value that is known when it is planned.
fn known<'a>(dims: Dims, values: Vec<i64>) -> Planned<'a> {
    let tensor = Tensor::ints(DType::I64, &dims, values);
    Planned { dtype: DType::I64, dims, source: Source::Tensor(Arc::new(tensor)) }
}

pub(super) fn shape<'a>(s: &mut Site<'_, 'a>, k: &Shape) -> Plan<'a> {
    let dims = s.dims(s.operand(0)?);
    let rank = dims.len() as i64;
    let clamp = |a: i64| if a < 0 { a.saturating_add(rank) } else { a }.clamp(0, rank) as usize;
    let (start, end) = (clamp(k.start), clamp(k.end.unwrap_or(rank)));
    let extents: Vec<i64> =
        dims.get(start..end.max(start)).unwrap_or_default().iter().map(|&d| d as i64).collect();
    Ok(known(smallvec![extents.len() as u64], extents))
}

pub(super) fn size<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let n = s.count(s.operand(0)?);
    Ok(known(Dims::new(), vec![n as i64]))
}

pub(super) fn constant_of_shape<'a>(s: &mut Site<'_, 'a>, k: &ConstantOfShape) -> Plan<'a> {
    let shape = s.operand(0)?;
    let dims = s.ints(shape)?.into_iter().map(|d| s.extent(d)).collect::<Result<Dims, _>>()?;
    let Some(entry) = k.value else {
        return Ok(Planned::formula(DType::F32, dims, Fill(Scalar::F(0.0))));
    };
    let pool = s.ev.pool;
    let dtype = pool.dtype(entry);
    if pool.count(entry) != 1 {
        return Err(s.shape_error("the value has one element"));
    }
    let value = if dtype.is_float() {
        pool.element_f64(entry, 0).map(Scalar::F)
    } else {
        pool.to_i64(entry).map(|v| Scalar::I(v.first().copied().unwrap_or(0)))
    };
    let value = value.map_err(|e| super::reader::constant_error(s.name(), e))?;
    Ok(Planned::formula(dtype, dims, Fill(value)))
}

struct Steps {
    start: Scalar,
    delta: Scalar,
}

impl Formula for Steps {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        SmallVec::new()
    }
    fn element(&self, _: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        Ok(match (self.start, self.delta) {
            // Every element lies between start and limit, so nothing is lost by wrapping on the way.
            (Scalar::I(a), Scalar::I(d)) => Scalar::I(a.wrapping_add(d.wrapping_mul(i as i64))),
            (a, d) => Scalar::F(a.to_f64() + i as f64 * d.to_f64()),
        })
    }
}

pub(super) fn range<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let mut bounds = [Scalar::I(0); 3];
    let dtype = s.dtype(s.operand(0)?);
    for (i, b) in bounds.iter_mut().enumerate() {
        let n = s.operand(i)?;
        if s.dtype(n) != dtype || s.count(n) != 1 || !(dtype.is_float() || dtype.is_int()) {
            return Err(s.shape_error(format!("operand {i} is no scalar of type {dtype}")));
        }
        *b = s.ev.whole(n)?.get(0).unwrap_or(Scalar::I(0));
    }
    let [start, limit, delta] = bounds;
    if delta.to_f64() == 0.0 {
        return Err(s.shape_error("a step of 0"));
    }
    let n = match (start, limit, delta) {
        (Scalar::I(a), Scalar::I(b), Scalar::I(d)) => {
            let (span, d) = (i128::from(b) - i128::from(a), i128::from(d));
            let n = span / d + i128::from(span % d != 0 && (span < 0) == (d < 0));
            u64::try_from(n.max(0)).unwrap_or(u64::MAX)
        }
        // A span that is not finite saturates, and is refused as too large.
        _ => libm::ceil((limit.to_f64() - start.to_f64()) / delta.to_f64()).max(0.0) as u64,
    };
    Ok(Planned::formula(dtype, smallvec![n], Steps { start, delta }))
}

/// `[N, C, H, W]`, checked to divide by the block.
fn blocks(s: &Site<'_, '_>, x: NodeId, block: u64) -> Result<[u64; 4], EvalError> {
    let dims = s.dims(x);
    let (&[n, c, h, w], true, Some(_)) = (&dims[..], block > 0, block.checked_mul(block)) else {
        return Err(s.shape_error(format!("extents {:?} in blocks of {block}", &dims[..])));
    };
    Ok([n, c, h, w])
}

/// ONNX DepthToSpace: `y[n, c, h·b + i, w·b + j]` is `x[n, (i·b + j)·C' + c, h, w]` (DCR) or
/// `x[n, c·b² + i·b + j, h, w]` (CRD), with `C' = C / b²`.
pub(super) fn depth_to_space<'a>(s: &mut Site<'_, 'a>, k: &DepthToSpace) -> Plan<'a> {
    let x = s.operand(0)?;
    let b = k.block;
    let [n, c, h, w] = blocks(s, x, b)?;
    if !c.is_multiple_of(b * b) {
        return Err(s.shape_error(format!("{c} channels in blocks of {b} by {b}")));
    }
    let out = c / (b * b);
    // Saturating: a tensor without elements may have any extents.
    let plane = |n: u64| n.saturating_mul(h).saturating_mul(w) as i64;
    let (i_step, j_step, c_step) = match k.mode {
        DepthMode::Dcr => (b * out, out, 1),
        DepthMode::Crd => (b, 1, b * b),
    };
    // The result's axes, its rows and columns each split into block and position within it.
    let view = View::new(
        0,
        [
            (n, plane(c)),
            (out, plane(c_step)),
            (h, w as i64),
            (b, plane(i_step)),
            (w, 1),
            (b, plane(j_step)),
        ],
    );
    let dims = grown(s, [n, out, h, w], b)?;
    Ok(Planned::formula(s.dtype(x), dims, Moved { x, view }))
}

fn grown(s: &Site<'_, '_>, [n, c, h, w]: [u64; 4], b: u64) -> Result<Dims, EvalError> {
    match (h.checked_mul(b), w.checked_mul(b)) {
        (Some(h), Some(w)) => Ok(smallvec![n, c, h, w]),
        _ => Err(s.shape_error(format!("blocks of {b}"))),
    }
}

/// ONNX SpaceToDepth: `y[n, (i·b + j)·C + c, h, w]` is `x[n, c, h·b + i, w·b + j]`.
pub(super) fn space_to_depth<'a>(s: &mut Site<'_, 'a>, k: &SpaceToDepth) -> Plan<'a> {
    let x = s.operand(0)?;
    let b = k.block;
    let [n, c, h, w] = blocks(s, x, b)?;
    let channels = c.checked_mul(b * b);
    let (true, true, Some(channels)) = (h.is_multiple_of(b), w.is_multiple_of(b), channels) else {
        return Err(s.shape_error(format!("{h} by {w} in blocks of {b}")));
    };
    let (row, plane) = (w as i64, h.saturating_mul(w) as i64);
    let view = View::new(
        0,
        [
            (n, plane.saturating_mul(c as i64)),
            (b, row),
            (b, 1),
            (c, plane),
            (h / b, row.saturating_mul(b as i64)),
            (w / b, b as i64),
        ],
    );
    let dims = smallvec![n, channels, h / b, w / b];
    Ok(Planned::formula(s.dtype(x), dims, Moved { x, view }))
}
