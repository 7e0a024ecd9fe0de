//! What is certain of the types of values, whatever their declarations say.

use super::{Analysis, Constants, Constness};
use normfold_ir::{
    Binding, ConstPool, DType, DataLayout, Dim, Graph, GraphRole, KernelOrder, OpId, OpKind,
    Padding, PoolKind, Slice, Spatial, TensorType, Value,
};
use smallvec::SmallVec;
use std::{collections::HashMap, sync::Arc};

/// Extents; `None` is unknown.
pub type Extents = Arc<[Option<u64>]>;

/// What is certain of the type of a value: each part holds at every run of the graph, or is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CertainType {
    /// The element type.
    pub dtype: Option<DType>,
    /// The extents; a list is a certain rank.
    pub dims: Option<Extents>,
}

impl CertainType {
    fn of(ty: &TensorType) -> Self {
        let dims = ty.shape.as_ref().map(|s| s.iter().map(Dim::known).collect());
        Self { dtype: Some(ty.dtype), dims }
    }

    /// The number of axes.
    pub fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(|d| d.len())
    }
}

/// Types that follow from the parameters of the main graph, from constants and from what ops do.
///
/// The declared type of any other value may be stale: documents carry along shapes that some exporter noted before it
/// changed the graph, and no runtime minds. So no rewrite may be legal by a declaration alone.
///
/// Shapes are computed forward, once, in time linear in the ops; where an op's rule is not known here, nothing is said.
/// Statements are about values, so they stay true while ops are rewritten; of ops created later nothing is known.
#[derive(Debug, Default)]
pub struct CertainTypes {
    /// By slot. The id tells whether the slot still holds the op that was looked at.
    ops: Vec<Option<(OpId, SmallVec<[CertainType; 1]>)>>,
}

impl CertainTypes {
    /// What is certain of the value's type.
    pub fn of(&self, v: Value) -> CertainType {
        match self.ops.get(v.op.slot()) {
            Some(Some((op, results))) if *op == v.op => {
                results.get(v.result as usize).cloned().unwrap_or_default()
            }
            _ => CertainType::default(),
        }
    }

    /// The rank of the value.
    pub fn rank(&self, v: Value) -> Option<usize> {
        self.of(v).rank()
    }

    /// The extents of the value.
    pub fn dims(&self, v: Value) -> Option<Extents> {
        self.of(v).dims
    }

    /// The element type of the value.
    pub fn dtype(&self, v: Value) -> Option<DType> {
        self.of(v).dtype
    }
}

impl Analysis for CertainTypes {
    fn compute(graph: &Graph, constants: &ConstPool) -> Self {
        let mut this = Self { ops: vec![None; graph.slot_bound()] };
        let known = &Constness::compute(graph, constants);
        let ranks = implied_ranks(graph);
        // Nothing is said of a graph with a cycle.
        for op in graph.topo_order().unwrap_or_default() {
            let cx = OpCx { graph, constants, types: &this, known, op };
            let mut results = cx.results();
            results.resize(graph.num_results(op), CertainType::default());
            for (v, ty) in graph.results(op).zip(&mut results) {
                if let (None, Some(&rank)) = (&ty.dims, ranks.get(&v)) {
                    ty.dims = Some(vec![None; rank].into());
                }
            }
            this.ops[op.slot()] = Some((op, results));
        }
        this
    }
}

/// The ranks that readers take for granted: a model in which they differ cannot run.
fn implied_ranks(g: &Graph) -> HashMap<Value, usize> {
    let rank = |op: OpId| {
        let rank = match g.kind(op) {
            OpKind::Conv(c) => usize::from(c.x.spatial) + 2,
            OpKind::ConvTranspose(c) => usize::from(c.x.spatial) + 2,
            OpKind::Pool(p) => usize::from(p.x.spatial) + 2,
            OpKind::Linear(l) if l.matrix => 2,
            _ => return None,
        };
        Some((g.operand(op, 0)?, rank))
    };
    g.ops().filter_map(rank).collect()
}

/// The elements of a short integer tensor that is constant for good.
pub(crate) fn fixed_ints(g: &Graph, constants: &ConstPool, v: Value) -> Option<Vec<i64>> {
    const LONGEST: u64 = 64;
    match g.kind(v.op) {
        OpKind::Constant(c)
            if c.binding == Binding::Fixed && constants.count(c.entry) <= LONGEST =>
        {
            constants.to_i64(c.entry).ok()
        }
        _ => None,
    }
}

/// Integers that an op has as an attribute or as operand `i`.
pub(crate) fn attr_or_fixed(
    g: &Graph,
    constants: &ConstPool,
    op: OpId,
    attr: Option<&Vec<i64>>,
    i: usize,
) -> Option<Vec<i64>> {
    match attr {
        Some(list) => Some(list.clone()),
        None => fixed_ints(g, constants, g.operand(op, i)?),
    }
}

/// An axis counted from the end when negative.
fn axis(a: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    usize::try_from(if a < 0 { a.checked_add(rank)? } else { a })
        .ok()
        .filter(|&a| (a as i64) < rank)
}

struct OpCx<'a> {
    graph: &'a Graph,
    constants: &'a ConstPool,
    types: &'a CertainTypes,
    known: &'a Constness,
    op: OpId,
}

impl OpCx<'_> {
    fn operand(&self, i: usize) -> CertainType {
        self.graph.operand(self.op, i).map(|v| self.types.of(v)).unwrap_or_default()
    }

    fn ints(&self, attr: Option<&Vec<i64>>, i: usize) -> Option<Vec<i64>> {
        self.each(attr, i)?.into_iter().collect()
    }

    /// Integers, each known or not, that the op has as an attribute or as operand `i`.
    fn each(&self, attr: Option<&Vec<i64>>, i: usize) -> Option<Vec<Option<i64>>> {
        if let Some(list) = attr {
            return Some(list.iter().copied().map(Some).collect());
        }
        let v = self.graph.operand(self.op, i)?;
        if let Some(list) = fixed_ints(self.graph, self.constants, v) {
            return Some(list.into_iter().map(Some).collect());
        }
        let Self { graph, constants: pool, types, known, .. } = *self;
        Constants { graph, pool, types: Some(types), known }.ints(v)
    }

    fn results(&self) -> SmallVec<[CertainType; 1]> {
        let x = self.operand(0);
        let with_dims = |dims: Option<Extents>| CertainType { dtype: x.dtype, dims };
        let one = match self.graph.kind(self.op) {
            OpKind::Constant(c) => CertainType::of(self.constants.ty(c.entry)),
            OpKind::Parameter(p) if !p.capture && self.graph.role() == GraphRole::Main => {
                let v = Value::new(self.op, 0);
                self.graph.ty(v).tensor().map(CertainType::of).unwrap_or_default()
            }
            OpKind::Opaque(o) if o.shaped => x,
            OpKind::Unary(_)
            | OpKind::Activation(_)
            | OpKind::Clip(_)
            | OpKind::PRelu(_)
            | OpKind::Softmax(_)
            | OpKind::Identity(_)
            | OpKind::Dropout(_)
            | OpKind::BatchNorm(_) => x,
            OpKind::Binary(_) => with_dims(broadcast(&[x.dims, self.operand(1).dims])),
            OpKind::Compare(_) => CertainType {
                dtype: Some(DType::Bool),
                dims: broadcast(&[x.dims, self.operand(1).dims]),
            },
            OpKind::Where(_) => {
                let (a, b) = (self.operand(1), self.operand(2));
                CertainType { dtype: a.dtype, dims: broadcast(&[x.dims, a.dims, b.dims]) }
            }
            OpKind::Cast(c) => CertainType { dtype: Some(c.to), dims: x.dims },
            OpKind::CastLike(_) => CertainType { dtype: self.operand(1).dtype, dims: x.dims },
            OpKind::Quantize(_) | OpKind::Dequantize(_) => {
                CertainType { dtype: None, dims: x.dims }
            }
            OpKind::Conv(c) => {
                let w = self.operand(1).dims;
                let extent = |a: usize| w.as_ref().and_then(|w| w.get(a).copied()?);
                let out = match c.w.order {
                    KernelOrder::Scm => extent(c.w.out_axis())
                        .zip(extent(c.w.in_axis()))
                        .and_then(|(m, c)| m.checked_mul(c)),
                    _ => extent(c.w.out_axis()),
                };
                let spatial = |i: usize, n: u64| {
                    let kernel = extent(c.w.first_spatial_axis() + i)?;
                    window(n, kernel, at(&c.strides, i), at(&c.dilations, i), &c.pad, i, false)
                };
                with_dims(windowed(&x, &c.x, out, spatial))
            }
            OpKind::ConvTranspose(c) => {
                let w = self.operand(1).dims;
                let extent = |a: usize| w.as_ref().and_then(|w| w.get(a).copied()?);
                let out = extent(c.w.out_axis()).and_then(|n| match c.w.order {
                    KernelOrder::Ios | KernelOrder::Soi => n.checked_mul(c.groups),
                    _ => None,
                });
                let spatial = |i: usize, n: u64| {
                    if let Some(&n) = c.output_shape.get(i) {
                        return u64::try_from(n).ok();
                    }
                    let reach = (extent(c.w.first_spatial_axis() + i)?.checked_sub(1)?)
                        .checked_mul(at(&c.dilations, i))?;
                    let (a, b) = c.pad.explicit(i)?;
                    let more = c.output_padding.get(i).copied().unwrap_or(0);
                    (n.checked_sub(1)?.checked_mul(at(&c.strides, i))?.checked_add(reach + 1)?)
                        .checked_add_signed(more.checked_sub(a)?.checked_sub(b)?)
                };
                with_dims(windowed(&x, &c.x, out, spatial))
            }
            OpKind::Pool(p) => {
                let axis = p.x.channel_axis();
                let channels = x.dims.as_ref().and_then(|d| d.get(axis).copied()?);
                let spatial = |i: usize, n: u64| {
                    let kernel = p.kernel.get(i).copied()?;
                    window(
                        n,
                        kernel,
                        at(&p.strides, i),
                        at(&p.dilations, i),
                        &p.pad,
                        i,
                        p.ceil_mode,
                    )
                };
                let y = with_dims(windowed(&x, &p.x, channels, spatial));
                return match p.f {
                    PoolKind::Max => {
                        let indices = CertainType { dtype: Some(DType::I64), dims: y.dims.clone() };
                        SmallVec::from_iter([y, indices])
                    }
                    _ => SmallVec::from_elem(y, 1),
                };
            }
            OpKind::GlobalPool(p) => with_dims(x.dims.map(|d| {
                let last = d.len().saturating_sub(1);
                let is_channel = |i: usize| i == if p.channel_last { last } else { 1 };
                let kept = |i: usize| i == 0 || is_channel(i);
                let dims = d.iter().enumerate();
                if p.keepdims {
                    dims.map(|(i, &n)| if kept(i) { n } else { Some(1) }).collect()
                } else {
                    dims.filter(|&(i, _)| kept(i)).map(|(_, &n)| n).collect()
                }
            })),
            OpKind::Transpose(t) => with_dims(x.dims.and_then(|d| permuted(&d, &t.perm))),
            OpKind::Flatten(f) => with_dims(Some(
                x.dims
                    .and_then(|d| flattened(&d, f.axis))
                    .unwrap_or_else(|| Arc::from([None, None])),
            )),
            OpKind::Reshape(r) => {
                let target = self.each(r.shape.as_ref(), 1);
                with_dims(target.and_then(|t| reshaped(x.dims.as_deref(), &t, r.allow_zero)))
            }
            OpKind::Squeeze(s) => {
                let axes = self.ints(s.axes.as_ref(), 1);
                let all = s.axes.is_none() && self.graph.operand(self.op, 1).is_none();
                with_dims(x.dims.and_then(|d| squeezed(&d, axes.as_deref(), all)))
            }
            OpKind::Unsqueeze(u) => {
                let axes = self.ints(u.axes.as_ref(), 1);
                with_dims(x.dims.zip(axes).and_then(|(d, axes)| unsqueezed(&d, &axes)))
            }
            OpKind::Expand(_) => {
                let to = self.ints(None, 1);
                let to =
                    to.and_then(|t| t.iter().map(|&n| u64::try_from(n).ok().map(Some)).collect());
                with_dims(broadcast(&[x.dims, to]))
            }
            OpKind::Pad(p) => {
                let axes = self.graph.operand(self.op, 3);
                let amounts = self.ints(p.amounts.as_ref(), 1).filter(|_| axes.is_none());
                with_dims(x.dims.map(|d| padded(&d, amounts.as_deref())))
            }
            OpKind::Concat(c) => {
                let parts: Option<Vec<Extents>> = self
                    .graph
                    .operands(self.op)
                    .map(|v| v.and_then(|v| self.types.dims(v)))
                    .collect();
                with_dims(parts.and_then(|p| concatenated(&p, c.axis)))
            }
            OpKind::Slice(s) => with_dims(x.dims.map(|d| self.sliced(&d, s))),
            OpKind::Split(s) => {
                let n = self.graph.num_results(self.op);
                let sizes = self.ints(s.sizes.as_ref(), 1);
                let along = x.dims.as_ref().and_then(|d| axis(s.axis, d.len()));
                let size = |i: usize, whole: Option<u64>| match &sizes {
                    Some(list) => list.get(i).and_then(|&n| u64::try_from(n).ok()),
                    None => whole.filter(|w| w.is_multiple_of(n as u64)).map(|w| w / n as u64),
                };
                let result = |i: usize| {
                    let along = along?;
                    let dims = x.dims.as_ref()?.iter().enumerate();
                    Some(dims.map(|(a, &d)| if a == along { size(i, d) } else { d }).collect())
                };
                return (0..n).map(|i| with_dims(result(i))).collect();
            }
            OpKind::Reduce(r) => {
                let axes = self.ints(r.axes.as_ref(), 1);
                let all = r.axes.is_none() && self.graph.operand(self.op, 1).is_none();
                with_dims(x.dims.and_then(|d| {
                    let axes: Vec<usize> = match axes {
                        Some(list) if !list.is_empty() => {
                            list.iter().map(|&a| axis(a, d.len())).collect::<Option<_>>()?
                        }
                        Some(_) if r.noop_with_empty_axes => return Some(d),
                        None if all && r.noop_with_empty_axes => return Some(d),
                        None if !all => return None,
                        _ => (0..d.len()).collect(),
                    };
                    let one = |(i, &n): (usize, &Option<u64>)| match axes.contains(&i) {
                        false => Some(n),
                        true => r.keepdims.then_some(Some(1)),
                    };
                    Some(d.iter().enumerate().filter_map(one).collect())
                }))
            }
            OpKind::DepthToSpace(d) if d.block > 0 => {
                let b = d.block;
                with_dims(x.dims.filter(|d| d.len() == 4).map(|d| {
                    let channels = d[1].filter(|c| c.is_multiple_of(b * b)).map(|c| c / (b * b));
                    let wide = |n: Option<u64>| n.and_then(|n| n.checked_mul(b));
                    Arc::from([d[0], channels, wide(d[2]), wide(d[3])])
                }))
            }
            OpKind::Linear(l) => {
                let n = self
                    .operand(1)
                    .dims
                    .and_then(|w| *w.get(if l.trans_w { 0 } else { w.len().checked_sub(1)? })?);
                let x_dims = x.dims.clone().filter(|_| !l.trans_x);
                let lead = x_dims.and_then(|d| Some(d.split_last()?.1.to_vec()));
                let lead = lead.or_else(|| l.matrix.then(|| vec![None]));
                with_dims(lead.map(|mut d| {
                    d.push(n);
                    d.into()
                }))
            }
            OpKind::MatMul(_) => {
                with_dims(product_dims(x.dims.as_deref(), self.operand(1).dims.as_deref()))
            }
            OpKind::Shape(s) => {
                let whole = s.start == 0 && s.end.is_none();
                let rank = x.rank().filter(|_| whole).map(|r| r as u64);
                CertainType { dtype: Some(DType::I64), dims: Some(Arc::from([rank])) }
            }
            OpKind::Size(_) => CertainType { dtype: Some(DType::I64), dims: Some(Arc::from([])) },
            _ => CertainType::default(),
        };
        SmallVec::from_elem(one, 1)
    }
}

impl OpCx<'_> {
    fn sliced(&self, d: &[Option<u64>], s: &Slice) -> Extents {
        let starts = self.each(s.starts.as_ref(), 1);
        let ends = self.each(s.ends.as_ref(), 2);
        let given = s.axes.is_some() || self.graph.operand(self.op, 3).is_some();
        let axes = self.ints(s.axes.as_ref(), 3);
        let steps = self.each(None, 4);
        let has_steps = self.graph.operand(self.op, 4).is_some();
        let mut out: Vec<Option<u64>> = vec![None; d.len()];
        let Some(axes) = axes.or_else(|| {
            let n = starts.as_ref()?.len() as i64;
            (!given).then(|| (0..n).collect())
        }) else {
            return out.into();
        };
        out.copy_from_slice(d);
        for (k, &a) in axes.iter().enumerate() {
            let Some(a) = axis(a, d.len()) else { return vec![None; d.len()].into() };
            let one = |list: &Option<Vec<Option<i64>>>| list.as_ref()?.get(k).copied()?;
            let step = if has_steps { one(&steps) } else { Some(1) };
            out[a] = match (d[a].map(|n| n as i64), one(&starts), one(&ends), step) {
                (Some(n), Some(from), Some(to), Some(1)) => {
                    let clamp = |i: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n);
                    u64::try_from(clamp(to).saturating_sub(clamp(from))).ok().or(Some(0))
                }
                _ => None,
            };
        }
        out.into()
    }
}

/// Numpy `matmul`: leading axes broadcast; a vector takes part without its axis in the result.
fn product_dims(a: Option<&[Option<u64>]>, b: Option<&[Option<u64>]>) -> Option<Extents> {
    let (a, b) = (a?, b?);
    let (rows, a_lead) = match a {
        [lead @ .., m, _] => (Some(*m), lead),
        [_] => (None, &[][..]),
        [] => return None,
    };
    let (columns, b_lead) = match b {
        [lead @ .., _, n] => (Some(*n), lead),
        [_] => (None, &[][..]),
        [] => return None,
    };
    let lead = broadcast(&[Some(a_lead.into()), Some(b_lead.into())])?;
    Some(lead.iter().copied().chain(rows).chain(columns).collect())
}

/// Numpy broadcasting.
fn broadcast(all: &[Option<Extents>]) -> Option<Extents> {
    let all: Vec<&Extents> = all.iter().map(Option::as_ref).collect::<Option<_>>()?;
    let rank = all.iter().map(|d| d.len()).max()?;
    let at = |d: &[Option<u64>], i: usize| match (i + d.len()).checked_sub(rank) {
        Some(i) => d[i],
        None => Some(1),
    };
    Some(
        (0..rank)
            .map(|i| {
                // An extent other than 1 decides: the others are it or 1.
                let known = all.iter().filter_map(|d| at(d, i)).find(|&n| n != 1);
                known.or_else(|| all.iter().all(|d| at(d, i).is_some()).then_some(1))
            })
            .collect(),
    )
}

/// Batch, channels and the spatial extents that `spatial(i, extent of x)` gives.
fn windowed(
    x: &CertainType,
    layout: &DataLayout,
    channels: Option<u64>,
    spatial: impl Fn(usize, u64) -> Option<u64>,
) -> Option<Extents> {
    let extent = |i: usize| x.dims.as_ref().and_then(|d| d.get(i).copied()?);
    let channel = layout.channel_axis();
    let first = if channel == 1 { 2 } else { 1 };
    let one = |i: usize| match i {
        0 => extent(0),
        i if i == channel => channels,
        i => extent(i).and_then(|n| spatial(i - first, n)),
    };
    Some((0..layout.rank()).map(one).collect())
}

fn at(list: &Spatial<u64>, i: usize) -> u64 {
    list.get(i).copied().unwrap_or(1)
}

/// How many windows fit on `n` elements. Frameworks differ in which partial windows count: with `ceil` only a whole
/// number is certain.
fn window(
    n: u64,
    kernel: u64,
    stride: u64,
    dilation: u64,
    pad: &Padding,
    i: usize,
    ceil: bool,
) -> Option<u64> {
    if stride == 0 {
        return None;
    }
    if matches!(pad, Padding::SameUpper | Padding::SameLower) {
        return Some(n.div_ceil(stride));
    }
    let (before, after) = pad.explicit(i)?;
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let room = n.checked_add_signed(before)?.checked_add_signed(after)?.checked_sub(reach)?;
    (!ceil || room.is_multiple_of(stride)).then_some(room / stride + 1)
}

fn permuted(d: &[Option<u64>], perm: &[i64]) -> Option<Extents> {
    if perm.is_empty() {
        return Some(d.iter().rev().copied().collect());
    }
    if perm.len() != d.len() {
        return None;
    }
    perm.iter().map(|&p| axis(p, d.len()).map(|p| d[p])).collect()
}

fn product(d: &[Option<u64>]) -> Option<u64> {
    d.iter().try_fold(1u64, |a, n| a.checked_mul((*n)?))
}

fn flattened(d: &[Option<u64>], at: i64) -> Option<Extents> {
    // The axis may be the rank itself.
    let at = if at == d.len() as i64 { d.len() } else { axis(at, d.len())? };
    Some(Arc::from([product(&d[..at]), product(&d[at..])]))
}

fn reshaped(
    x: Option<&[Option<u64>]>,
    target: &[Option<i64>],
    allow_zero: bool,
) -> Option<Extents> {
    let mut out: Vec<Option<u64>> = target
        .iter()
        .enumerate()
        .map(|(i, &t)| match t? {
            0 if !allow_zero => x.and_then(|x| x.get(i).copied()?),
            t => u64::try_from(t).ok(),
        })
        .collect();
    // One open extent follows from the others; which of an unknown target's is the open one may be unknown too.
    let open = |t: &Option<i64>| t.is_none_or(|t| t < 0);
    if let (Some(open), 1) =
        (target.iter().position(open), target.iter().filter(|t| open(t)).count())
    {
        let others: Vec<_> =
            out.iter().enumerate().filter(|(i, _)| *i != open).map(|(_, n)| *n).collect();
        out[open] = match (x.and_then(product), product(&others)) {
            (Some(all), Some(rest)) if rest > 0 && all % rest == 0 => Some(all / rest),
            _ => None,
        };
    }
    Some(out.into())
}

fn squeezed(d: &[Option<u64>], axes: Option<&[i64]>, all: bool) -> Option<Extents> {
    if all {
        // Which axes go is known only with every extent.
        let known: Vec<u64> = d.iter().copied().collect::<Option<_>>()?;
        return Some(known.into_iter().filter(|&n| n != 1).map(Some).collect());
    }
    let axes: Vec<usize> = axes?.iter().map(|&a| axis(a, d.len())).collect::<Option<_>>()?;
    Some(d.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, n)| *n).collect())
}

fn unsqueezed(d: &[Option<u64>], axes: &[i64]) -> Option<Extents> {
    let rank = d.len() + axes.len();
    let axes: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Option<_>>()?;
    let mut rest = d.iter();
    (0..rank)
        .map(|i| if axes.contains(&i) { Some(Some(1)) } else { rest.next().copied() })
        .collect()
}

fn padded(d: &[Option<u64>], amounts: Option<&[i64]>) -> Extents {
    let amounts = amounts.filter(|a| a.len() == 2 * d.len());
    let one = |(i, n): (usize, &Option<u64>)| {
        let a = amounts?;
        n.and_then(|n| n.checked_add_signed(a[i])?.checked_add_signed(a[i + d.len()]))
    };
    d.iter().enumerate().map(one).collect()
}

fn concatenated(parts: &[Extents], along: i64) -> Option<Extents> {
    let rank = parts.first()?.len();
    let along = axis(along, rank)?;
    if parts.iter().any(|p| p.len() != rank) {
        return None;
    }
    Some(
        (0..rank)
            .map(|i| match i == along {
                true => parts.iter().try_fold(0u64, |a, p| a.checked_add(p[i]?)),
                false => parts.iter().find_map(|p| p[i]),
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(d: &[i64]) -> Extents {
        d.iter().map(|&n| u64::try_from(n).ok()).collect()
    }

    fn t(d: &[i64]) -> Vec<Option<i64>> {
        d.iter().copied().map(Some).collect()
    }

    #[test]
    fn windows() {
        let pad = |a, b| Padding::Explicit(Spatial::from_slice(&[(a, b)]));
        assert_eq!(window(7, 3, 2, 1, &pad(1, 1), 0, false), Some(4));
        assert_eq!(window(7, 3, 1, 2, &pad(0, 0), 0, false), Some(3));
        assert_eq!(window(8, 3, 2, 1, &pad(0, 0), 0, false), Some(3));
        assert_eq!(window(8, 3, 2, 1, &pad(0, 0), 0, true), None);
        assert_eq!(window(7, 3, 2, 1, &Padding::SameUpper, 0, false), Some(4));
        assert_eq!(window(2, 3, 1, 1, &pad(0, 0), 0, false), None);
    }

    #[test]
    fn shapes() {
        let b = |a: &[i64], b: &[i64]| broadcast(&[Some(e(a)), Some(e(b))]);
        assert_eq!(b(&[2, 1, 4], &[3, 1]), Some(e(&[2, 3, 4])));
        assert_eq!(b(&[-1, 4], &[1, 1]), Some(e(&[-1, 4])));
        assert_eq!(b(&[-1, 4], &[7, 4]), Some(e(&[7, 4])));
        assert_eq!(broadcast(&[Some(e(&[1])), None]), None);
        assert_eq!(permuted(&e(&[1, 2, 3]), &[2, 0, 1]), Some(e(&[3, 1, 2])));
        assert_eq!(permuted(&e(&[1, 2, 3]), &[]), Some(e(&[3, 2, 1])));
        assert_eq!(permuted(&e(&[1, 2]), &[0, 2]), None);
        assert_eq!(flattened(&e(&[2, -1, 4]), 2), Some(e(&[-1, 4])));
        assert_eq!(flattened(&e(&[2, 3]), 2), Some(e(&[6, 1])));
        assert_eq!(reshaped(Some(&e(&[2, 3, 4])), &t(&[0, -1]), false), Some(e(&[2, 12])));
        assert_eq!(reshaped(Some(&e(&[-1, 3, 4])), &t(&[0, -1]), false), Some(e(&[-1, -1])));
        assert_eq!(reshaped(None, &t(&[5, -1]), false), Some(e(&[5, -1])));
        assert_eq!(reshaped(Some(&e(&[0, 3])), &t(&[0, -1]), false), Some(e(&[0, -1])));
        assert_eq!(squeezed(&e(&[1, -1, 1]), Some(&[-1]), false), Some(e(&[1, -1])));
        assert_eq!(squeezed(&e(&[1, -1]), None, true), None);
        assert_eq!(squeezed(&e(&[1, 5, 1]), None, true), Some(e(&[5])));
        assert_eq!(unsqueezed(&e(&[5]), &[0, -1]), Some(e(&[1, 5, 1])));
        assert_eq!(padded(&e(&[1, -1, 3]), Some(&[0, 1, 1, 0, 1, -1])), e(&[1, -1, 3]));
        assert_eq!(concatenated(&[e(&[1, 2]), e(&[-1, 3])], 1), Some(e(&[1, 5])));
        assert_eq!(axis(-3, 2), None);
        assert_eq!(axis(i64::MIN, 2), None);
    }
}
