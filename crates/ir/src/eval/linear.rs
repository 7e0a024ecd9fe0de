//! Matrix products, fully connected layers, batch normalisation.

use super::{
    EvalError, Scalar,
    cast::{beyond_i64, wrap},
    index::{self, Dims, View},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::{BatchNorm, DType, Linear};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// `alpha · Σ_k a[.., k, ..]·b[.., k, ..] + beta · c`.
struct Dot {
    a: NodeId,
    b: NodeId,
    /// Where the sums begin.
    at_a: View,
    at_b: View,
    /// Elements between neighbours along k.
    step_a: u64,
    step_b: u64,
    k: u64,
    alpha: f64,
    beta: f64,
    c: Option<(NodeId, View)>,
}

impl Dot {
    fn nodes(&self) -> SmallVec<[NodeId; 4]> {
        [self.a, self.b].into_iter().chain(self.c.iter().map(|c| c.0)).collect()
    }
}

struct DotFloat(Dot);

impl Formula for DotFloat {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        self.0.nodes()
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let d = &self.0;
        let (a, b) = ((d.a, d.at_a.at(i), d.step_a), (d.b, d.at_b.at(i), d.step_b));
        let mut sum = cx.add_products(0.0, a, b, d.k)?;
        sum *= d.alpha;
        if let Some((c, at)) = &d.c {
            sum += d.beta * cx.f(*c, at.at(i))?;
        }
        Ok(Scalar::F(sum))
    }
}

/// With alpha = beta = 1.
struct DotInt(Dot, DType, Arc<str>);

impl Formula for DotInt {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        self.0.nodes()
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let d = &self.0;
        let (mut a, mut b) = (d.at_a.at(i), d.at_b.at(i));
        let mut sum = 0i128;
        for _ in 0..d.k {
            let product = i128::from(cx.i(d.a, a)?) * i128::from(cx.i(d.b, b)?);
            sum = sum.wrapping_add(product);
            a += d.step_a;
            b += d.step_b;
        }
        if let Some((c, at)) = &d.c {
            sum = sum.wrapping_add(i128::from(cx.i(*c, at.at(i))?));
        }
        wrap(self.1, sum).map(Scalar::I).ok_or_else(|| beyond_i64(&self.2))
    }
}

fn dot<'a>(s: &Site<'_, 'a>, dims: Dims, d: Dot) -> Plan<'a> {
    let dtype = s.dtype(d.a);
    if dtype.is_float() {
        return Ok(Planned::formula(dtype, dims, DotFloat(d)));
    }
    if !dtype.is_int() || d.alpha != 1.0 || d.beta != 1.0 {
        return Err(s.unsupported(format!("a product of type {dtype} with these factors")));
    }
    Ok(Planned::formula(dtype, dims, DotInt(d, dtype, s.name())))
}

/// ONNX Gemm, Keras Dense, aten.linear. With beta = 0, c is not read.
pub(super) fn linear<'a>(s: &mut Site<'_, 'a>, l: &Linear) -> Plan<'a> {
    let (x, w) = (s.operand(0)?, s.operand(1)?);
    let (dx, dw) = (s.dims(x), s.dims(w));
    if dw.len() != 2 || dx.is_empty() || ((l.matrix || l.trans_x) && dx.len() != 2) {
        return Err(s.shape_error(format!("x {:?} and w {:?}", &dx[..], &dw[..])));
    }
    let (sx, sw) = (index::strides(&dx), index::strides(&dw));
    // Axes of x: k, and those that stay.
    let last = dx.len() - 1;
    let (k_axis, rows) = if l.trans_x { (0, 1..2) } else { (last, 0..last) };
    let (wk, wn) = if l.trans_w { (1, 0) } else { (0, 1) };
    if dx[k_axis] != dw[wk] {
        return Err(s.shape_error(format!("x {:?} and w {:?}", &dx[..], &dw[..])));
    }
    let n = dw[wn];
    let dims: Dims = dx[rows.clone()].iter().copied().chain([n]).collect();
    let at_a = rows.clone().map(|axis| (dx[axis], sx[axis] as i64)).chain([(n, 0)]);
    let at_b = rows.map(|axis| (dx[axis], 0)).chain([(n, sw[wn] as i64)]);
    let c = match s.optional(2) {
        Some(c) if l.beta != 0.0 => {
            let view = View::broadcast(&s.dims(c), &dims).ok_or_else(|| {
                s.shape_error(format!(
                    "c {:?} does not broadcast to {:?}",
                    &s.dims(c)[..],
                    &dims[..]
                ))
            })?;
            Some((c, view))
        }
        _ => None,
    };
    let d = Dot {
        a: x,
        b: w,
        at_a: View::new(0, at_a),
        at_b: View::new(0, at_b),
        step_a: sx[k_axis],
        step_b: sw[wk],
        k: dw[wk],
        alpha: l.alpha,
        beta: if c.is_some() { l.beta } else { 1.0 },
        c,
    };
    dot(s, dims, d)
}

/// numpy's matmul: a vector on the left is a row, on the right a column, and its axis goes.
pub(super) fn matmul<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let (a, b) = (s.operand(0)?, s.operand(1)?);
    let (da, db) = (s.dims(a), s.dims(b));
    let mismatch = || s.shape_error(format!("a {:?} and b {:?}", &da[..], &db[..]));
    let (Some(&ka), false) = (da.last(), db.is_empty()) else { return Err(mismatch()) };
    let (sa, sb) = (index::strides(&da), index::strides(&db));
    let (ra, rb) = (da.len(), db.len());
    let k_axis_b = rb.saturating_sub(2);
    if db[k_axis_b] != ka {
        return Err(mismatch());
    }
    let batch_a = &da[..ra.saturating_sub(2)];
    let batch_b = &db[..rb.saturating_sub(2)];
    let batch = index::broadcast(batch_a, batch_b).ok_or_else(mismatch)?;
    // (extent, stride in a, stride in b) per result axis.
    let mut axes: SmallVec<[(u64, i64, i64); 6]> = SmallVec::new();
    let stride = |of: &[u64], strides: &[u64], axis: usize| match (axis + of.len())
        .checked_sub(batch.len())
    {
        Some(i) if of[i] != 1 => strides[i] as i64,
        _ => 0,
    };
    for (axis, &extent) in batch.iter().enumerate() {
        axes.push((extent, stride(batch_a, &sa, axis), stride(batch_b, &sb, axis)));
    }
    if ra >= 2 {
        axes.push((da[ra - 2], sa[ra - 2] as i64, 0));
    }
    if rb >= 2 {
        axes.push((db[rb - 1], 0, sb[rb - 1] as i64));
    }
    let dims = axes.iter().map(|x| x.0).collect();
    let d = Dot {
        a,
        b,
        at_a: View::new(0, axes.iter().map(|x| (x.0, x.1))),
        at_b: View::new(0, axes.iter().map(|x| (x.0, x.2))),
        step_a: 1,
        step_b: sb[k_axis_b],
        k: ka,
        alpha: 1.0,
        beta: 1.0,
        c: None,
    };
    dot(s, dims, d)
}

struct Normalize {
    x: NodeId,
    scale: Option<NodeId>,
    bias: Option<NodeId>,
    mean: NodeId,
    variance: NodeId,
    eps: f64,
    /// The statistics of element `i` are at `i / stride % channels`.
    stride: u64,
    channels: u64,
}

impl Formula for Normalize {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        let mut all = smallvec![self.x, self.mean, self.variance];
        all.extend(self.scale);
        all.extend(self.bias);
        all
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let c = i / self.stride % self.channels;
        let or = |n: Option<NodeId>, default: f64| n.map_or(Ok(default), |n| cx.f(n, c));
        let (x, mean) = (cx.f(self.x, i)?, cx.f(self.mean, c)?);
        let deviation = libm::sqrt(cx.f(self.variance, c)? + self.eps);
        Ok(Scalar::F((x - mean) / deviation * or(self.scale, 1.0)? + or(self.bias, 0.0)?))
    }
}

pub(super) fn batch_norm<'a>(s: &mut Site<'_, 'a>, k: &BatchNorm) -> Plan<'a> {
    if k.training {
        return Err(s.unsupported("training mode"));
    }
    let x = s.float(0)?;
    let dims = s.dims(x);
    let axis = k.axis as usize;
    let (stride, channels) = if !k.spatial {
        // One statistic per element beyond the batch axis.
        (1, dims.iter().skip(1).product())
    } else if let Some(&channels) = dims.get(axis) {
        (index::strides(&dims)[axis], channels)
    } else if dims.len() == 1 && axis == 1 {
        // ONNX from opset 9 on: a vector has one channel.
        (1, 1)
    } else {
        return Err(s.shape_error(format!("axis {axis} of a tensor of rank {}", dims.len())));
    };
    let (mean, variance) = (s.float(3)?, s.float(4)?);
    let (scale, bias) = (s.optional(1), s.optional(2));
    for n in [scale, bias, Some(mean), Some(variance)].into_iter().flatten() {
        if s.count(n) != channels {
            return Err(s.shape_error(format!("{} statistics, {channels} channels", s.count(n))));
        }
    }
    let f = Normalize { x, scale, bias, mean, variance, eps: k.eps, stride, channels };
    Ok(Planned::formula(s.dtype(x), dims, f))
}
