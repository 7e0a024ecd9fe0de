//! Reductions, global pooling, softmax.

use super::{
    EvalError, Scalar,
    cast::{beyond_i64, int_range, wrap},
    index::{self, Dims, View},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::{DType, GlobalPool, PoolKind, Reduce, ReduceKind, Softmax, SoftmaxKind};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

#[derive(Clone, Copy)]
enum How {
    Reduce(ReduceKind),
    /// The p-norm.
    Lp(f64),
}

/// Elements `outer.at(i) + inner.at(0 .. n)` of x become one.
struct Reduced {
    x: NodeId,
    outer: View,
    inner: View,
    n: u64,
    how: How,
}

impl Formula for Reduced {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let base = self.outer.at(i);
        let fold = |init: f64, f: &dyn Fn(f64, f64) -> f64| {
            (0..self.n).try_fold(init, |acc, k| Ok(f(acc, cx.f(self.x, base + self.inner.at(k))?)))
        };
        let sum = |f: &dyn Fn(f64) -> f64| fold(0.0, &|acc, v| acc + f(v));
        // NaN wins.
        let max =
            || fold(f64::NEG_INFINITY, &|acc, v| if acc.is_nan() || acc > v { acc } else { v });
        Ok(Scalar::F(match self.how {
            How::Reduce(ReduceKind::Mean) => sum(&|v| v)? / self.n as f64,
            How::Reduce(ReduceKind::Sum) => sum(&|v| v)?,
            How::Reduce(ReduceKind::Max) => max()?,
            How::Reduce(ReduceKind::Min) => {
                fold(f64::INFINITY, &|acc, v| if acc.is_nan() || acc < v { acc } else { v })?
            }
            How::Reduce(ReduceKind::Prod) => fold(1.0, &|acc, v| acc * v)?,
            How::Reduce(ReduceKind::L1) => sum(&f64::abs)?,
            How::Reduce(ReduceKind::L2) => libm::sqrt(sum(&|v| v * v)?),
            How::Reduce(ReduceKind::SumSquare) => sum(&|v| v * v)?,
            How::Reduce(ReduceKind::LogSum) => libm::log(sum(&|v| v)?),
            How::Reduce(ReduceKind::LogSumExp) => {
                // Relative to the largest, so that nothing overflows.
                let top = max()?;
                if top.is_finite() { top + libm::log(sum(&|v| libm::exp(v - top))?) } else { top }
            }
            How::Lp(p) => libm::pow(sum(&|v| libm::pow(v.abs(), p))?, 1.0 / p),
        }))
    }
}

struct ReducedInt {
    x: NodeId,
    outer: View,
    inner: View,
    n: u64,
    kind: ReduceKind,
    dtype: DType,
    op: Arc<str>,
}

impl Formula for ReducedInt {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let base = self.outer.at(i);
        let fold = |init: i128, f: fn(i128, i128) -> i128| {
            (0..self.n).try_fold(init, |acc, k| {
                Ok(f(acc, i128::from(cx.i(self.x, base + self.inner.at(k))?)))
            })
        };
        let (low, high) = int_range(self.dtype).unwrap_or((i64::MIN, i64::MAX));
        let v = match self.kind {
            ReduceKind::Sum => fold(0, |a, v| a.wrapping_add(v)),
            ReduceKind::L1 => fold(0, |a, v| a.wrapping_add(v.abs())),
            ReduceKind::SumSquare => fold(0, |a, v| a.wrapping_add(v * v)),
            ReduceKind::Prod => fold(1, i128::wrapping_mul),
            ReduceKind::Max => fold(i128::from(low), i128::max),
            ReduceKind::Min => fold(i128::from(high), i128::min),
            // The sum divided, truncating.
            _ => fold(0, |a, v| a.wrapping_add(v)).and_then(|sum| {
                sum.checked_div(i128::from(self.n)).ok_or_else(|| EvalError::Integer {
                    op: self.op.clone(),
                    message: "the mean of no elements".into(),
                })
            }),
        };
        wrap(self.dtype, v?).map(Scalar::I).ok_or_else(|| beyond_i64(&self.op))
    }
}

/// Reduces `axes` (ascending or not, all different) of x.
fn over<'a>(s: &Site<'_, 'a>, x: NodeId, axes: &[usize], keepdims: bool, how: How) -> Plan<'a> {
    let (dtype, dims) = (s.dtype(x), s.dims(x));
    let strides = index::strides(&dims);
    let mut out = Dims::new();
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for (axis, &d) in dims.iter().enumerate() {
        let step = (d, strides[axis] as i64);
        if !axes.contains(&axis) {
            out.push(d);
            outer.push(step);
            continue;
        }
        inner.push(step);
        if keepdims {
            out.push(1);
            outer.push((1, 0));
        }
    }
    let n = inner.iter().map(|x| x.0).product();
    let (outer, inner) = (View::new(0, outer), View::new(0, inner));
    if dtype.is_float() {
        return Ok(Planned::formula(dtype, out, Reduced { x, outer, inner, n, how }));
    }
    match how {
        How::Reduce(
            kind @ (ReduceKind::Mean
            | ReduceKind::Sum
            | ReduceKind::Max
            | ReduceKind::Min
            | ReduceKind::Prod
            | ReduceKind::L1
            | ReduceKind::SumSquare),
        ) if dtype.is_int() => {
            let f = ReducedInt { x, outer, inner, n, kind, dtype, op: s.name() };
            Ok(Planned::formula(dtype, out, f))
        }
        How::Reduce(kind @ (ReduceKind::Max | ReduceKind::Min)) if dtype == DType::Bool => {
            let f = ReducedInt { x, outer, inner, n, kind, dtype, op: s.name() };
            Ok(Planned::formula(dtype, out, f))
        }
        _ => Err(s.unsupported(format!("an operand of type {dtype}"))),
    }
}

pub(super) fn reduce<'a>(s: &mut Site<'_, 'a>, k: &Reduce) -> Plan<'a> {
    let x = s.operand(0)?;
    let rank = s.dims(x).len();
    let axes = match s.list(k.axes.as_ref(), 1)? {
        Some(list) if !list.is_empty() => s.axes(&list, rank)?,
        _ if k.noop_with_empty_axes => {
            // The versions of the specification differ on whether the elementwise part is applied.
            let plain = matches!(
                k.f,
                ReduceKind::Mean
                    | ReduceKind::Sum
                    | ReduceKind::Max
                    | ReduceKind::Min
                    | ReduceKind::Prod
            );
            return if plain {
                s.same(x, s.dims(x))
            } else {
                Err(s.unsupported("a reduction over no axes"))
            };
        }
        _ => (0..rank).collect(),
    };
    over(s, x, &axes, k.keepdims, How::Reduce(k.f))
}

pub(super) fn global_pool<'a>(s: &mut Site<'_, 'a>, k: &GlobalPool) -> Plan<'a> {
    let x = s.float(0)?;
    let rank = s.dims(x).len();
    if rank < 2 {
        return Err(s.shape_error(format!("a tensor of rank {rank}")));
    }
    let axes: Vec<usize> =
        if k.channel_last { (1..rank - 1).collect() } else { (2..rank).collect() };
    let how = match k.f {
        PoolKind::Max => How::Reduce(ReduceKind::Max),
        PoolKind::Average => How::Reduce(ReduceKind::Mean),
        PoolKind::Lp => How::Lp(k.p as f64),
    };
    over(s, x, &axes, k.keepdims, how)
}

struct Distribution {
    x: NodeId,
    /// Elements of one distribution, and between its neighbours.
    n: u64,
    stride: u64,
    f: SoftmaxKind,
}

impl Formula for Distribution {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let position = i / self.stride % self.n;
        let first = i - position * self.stride;
        let (mut top, mut top_at) = (f64::NEG_INFINITY, 0);
        for k in 0..self.n {
            let v = cx.f(self.x, first + k * self.stride)?;
            if v > top || v.is_nan() {
                (top, top_at) = (v, k);
            }
        }
        if self.f == SoftmaxKind::Hardmax {
            return Ok(Scalar::F(f64::from(u8::from(position == top_at))));
        }
        let mut sum = 0.0;
        for k in 0..self.n {
            sum += libm::exp(cx.f(self.x, first + k * self.stride)? - top);
        }
        let v = cx.f(self.x, i)? - top;
        Ok(Scalar::F(match self.f {
            SoftmaxKind::LogSoftmax => v - libm::log(sum),
            _ => libm::exp(v) / sum,
        }))
    }
}

pub(super) fn softmax<'a>(s: &mut Site<'_, 'a>, k: &Softmax) -> Plan<'a> {
    let x = s.float(0)?;
    let dims = s.dims(x);
    let axis = match (i64::try_from(dims.len()), k.flatten) {
        // Flattened, the axis may be one past the last.
        (Ok(rank), true) if k.axis == rank => dims.len(),
        _ => s.axis(k.axis, dims.len())?,
    };
    let (n, stride) = if k.flatten {
        (dims[axis..].iter().product(), 1)
    } else {
        (dims[axis], index::strides(&dims)[axis])
    };
    Ok(Planned::formula(s.dtype(x), dims, Distribution { x, n, stride, f: k.f }))
}
