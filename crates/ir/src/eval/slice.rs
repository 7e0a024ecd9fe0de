//! Ops that take parts and put them together.

use super::{
    EvalError, Scalar,
    index::{self, View},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
    shape::Moved,
};
use crate::{Concat, DType, Gather, Slice, Split};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

struct Joined {
    /// Each operand with where it ends along the axis.
    parts: SmallVec<[(NodeId, u64); 4]>,
    /// Extent of the result along the axis, and elements between neighbours.
    extent: u64,
    stride: u64,
}

impl Formula for Joined {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        self.parts.iter().map(|p| p.0).collect()
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let at = i / self.stride % self.extent;
        let (outer, inner) = (i / self.stride / self.extent, i % self.stride);
        let part = self.parts.partition_point(|&(_, end)| end <= at);
        let start = part.checked_sub(1).map_or(0, |p| self.parts[p].1);
        let (n, end) = self.parts[part];
        cx.get(n, (outer * (end - start) + at - start) * self.stride + inner)
    }
}

pub(super) fn concat<'a>(s: &mut Site<'_, 'a>, k: &Concat) -> Plan<'a> {
    let first = s.operand(0)?;
    let (dtype, mut dims) = (s.dtype(first), s.dims(first));
    let axis = s.axis(k.axis, dims.len())?;
    let mut end = 0u64;
    let mut parts = SmallVec::new();
    for i in 0..s.operands.len() {
        let n = s.operand(i)?;
        let d = s.dims(n);
        let fits = d.len() == dims.len()
            && d.iter().zip(&dims).enumerate().all(|(a, (x, y))| a == axis || x == y);
        let sum = d.get(axis).and_then(|&e| end.checked_add(e));
        let (true, true, Some(sum)) = (fits, s.dtype(n) == dtype, sum) else {
            return Err(s.shape_error(format!("operand {i} of extents {:?} does not fit", &d[..])));
        };
        end = sum;
        parts.push((n, end));
    }
    dims[axis] = end;
    let stride = index::strides(&dims)[axis];
    Ok(Planned::formula(dtype, dims, Joined { parts, extent: end, stride }))
}

pub(super) fn split<'a>(s: &mut Site<'_, 'a>, k: &Split) -> Plan<'a> {
    let x = s.operand(0)?;
    let dims = s.dims(x);
    let axis = s.axis(k.axis, dims.len())?;
    let extent = dims[axis];
    let results = s.ev.graph.num_results(s.op) as u64;
    let sizes = match s.list(k.sizes.as_ref(), 1)? {
        Some(list) => list.into_iter().map(|d| s.extent(d)).collect::<Result<Vec<_>, _>>()?,
        // Evenly; the last takes what is left.
        None => {
            let each = extent.div_ceil(results.max(1));
            (0..results).map(|i| each.min(extent.saturating_sub(i * each))).collect()
        }
    };
    let total = sizes.iter().try_fold(0u64, |n, &d| n.checked_add(d));
    if sizes.len() as u64 != results || total != Some(extent) {
        return Err(s.shape_error(format!("extent {extent} into {results} parts {sizes:?}")));
    }
    let start: u64 = sizes[..s.result].iter().sum();
    let strides = index::strides(&dims);
    let mut out = dims;
    out[axis] = sizes[s.result];
    let offset = start.saturating_mul(strides[axis]) as i64;
    let view = View::new(offset, out.iter().zip(&strides).map(|(&d, &t)| (d, t as i64)));
    Ok(Planned::formula(s.dtype(x), out, Moved { x, view }))
}

/// ONNX Slice: positions count from the end when negative and are clamped to the extent; the operands start at slot 1.
pub(super) fn slice<'a>(s: &mut Site<'_, 'a>, k: &Slice) -> Plan<'a> {
    let x = s.operand(0)?;
    let dims = s.dims(x);
    let (Some(starts), Some(ends)) = (s.list(k.starts.as_ref(), 1)?, s.list(k.ends.as_ref(), 2)?)
    else {
        return Err(s.shape_error("starts or ends are missing"));
    };
    let axes = match s.list(k.axes.as_ref(), 3)? {
        Some(list) => s.axes(&list, dims.len())?,
        None => (0..starts.len()).collect(),
    };
    let steps = s.list(None, 4)?.unwrap_or_else(|| vec![1; axes.len()]);
    let lists = [starts.len(), ends.len(), steps.len()];
    if lists.iter().any(|&n| n != axes.len()) || axes.iter().any(|&a| a >= dims.len()) {
        return Err(s.shape_error("starts, ends, axes and steps differ in length"));
    }
    let strides = index::strides(&dims);
    let mut out = dims.clone();
    let mut moves: SmallVec<[i64; 6]> = strides.iter().map(|&t| t as i64).collect();
    let mut offset = 0;
    for (i, &axis) in axes.iter().enumerate() {
        let extent = dims[axis] as i64;
        let step = steps[i];
        if step == 0 {
            return Err(s.shape_error("a step of 0"));
        }
        let from_end = |p: i64| if p < 0 { p.saturating_add(extent) } else { p };
        let (start, end) = if step > 0 {
            (from_end(starts[i]).clamp(0, extent), from_end(ends[i]).clamp(0, extent))
        } else {
            let last = (extent - 1).max(0);
            (from_end(starts[i]).clamp(0, last), from_end(ends[i]).clamp(-1, last))
        };
        let (span, wide) = (i128::from(end - start), i128::from(step));
        // The number of steps, rounded up; none where the end lies the other way.
        let n = if extent == 0 || span.signum() != wide.signum() {
            0
        } else {
            (span / wide + i128::from(span % wide != 0)) as u64
        };
        out[axis] = n;
        if n > 0 {
            offset += start * moves[axis];
        }
        // Where there is one element the step is never taken; it may be too large to multiply.
        moves[axis] = if n > 1 { step * moves[axis] } else { 0 };
    }
    let view = View::new(offset, out.iter().copied().zip(moves));
    Ok(Planned::formula(s.dtype(x), out, Moved { x, view }))
}

struct Picked {
    x: NodeId,
    indices: NodeId,
    /// Extent of x along the axis, elements between neighbours, and how many indices there are.
    extent: u64,
    stride: u64,
    n: u64,
    op: Arc<str>,
}

impl Formula for Picked {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x, self.indices]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let (outer, inner) = (i / self.stride / self.n, i % self.stride);
        let index = cx.i(self.indices, i / self.stride % self.n)?;
        let at = if index < 0 { index.wrapping_add(self.extent as i64) } else { index };
        match u64::try_from(at) {
            Ok(at) if at < self.extent => {
                cx.get(self.x, (outer * self.extent + at) * self.stride + inner)
            }
            _ => Err(EvalError::Index { op: self.op.clone(), index, extent: self.extent }),
        }
    }
}

pub(super) fn gather<'a>(s: &mut Site<'_, 'a>, k: &Gather) -> Plan<'a> {
    let (x, indices) = (s.operand(0)?, s.operand(1)?);
    let dims = s.dims(x);
    let axis = s.axis(k.axis, dims.len())?;
    if !matches!(s.dtype(indices), DType::I32 | DType::I64) {
        return Err(s.shape_error(format!("indices of type {}", s.dtype(indices))));
    }
    let out = dims[..axis]
        .iter()
        .copied()
        .chain(s.dims(indices))
        .chain(dims[axis + 1..].iter().copied())
        .collect();
    let f = Picked {
        x,
        indices,
        extent: dims[axis],
        stride: index::strides(&dims)[axis],
        n: s.count(indices),
        op: s.name(),
    };
    Ok(Planned::formula(s.dtype(x), out, f))
}
