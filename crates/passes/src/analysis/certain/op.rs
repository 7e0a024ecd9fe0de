//! What follows for the results of one op from what is certain of its operands.

use super::extents::{
    self, Extent, at, axis, broadcast, concatenated, flattened, padded, permuted, product_dims,
    reshaped, scaled, squeezed, unsqueezed, window, windowed,
};
use super::{Certain, CertainTypes, Constants, Constness, fixed_ints};
use normfold_ir::{
    BatchNorm, Binding, ConstPool, DType, Graph, GraphRole, KernelOrder, OpId, OpKind, PoolKind,
    Resize, Slice, Value,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// One op, and what is known before it.
pub(super) struct OpCx<'a> {
    pub(super) graph: &'a Graph,
    pub(super) constants: &'a ConstPool,
    pub(super) types: &'a CertainTypes,
    pub(super) known: &'a Constness,
    pub(super) op: OpId,
}

impl OpCx<'_> {
    fn operand(&self, i: usize) -> Certain {
        let known = self.graph.operand(self.op, i).and_then(|v| self.types.get(v));
        known.cloned().unwrap_or_default()
    }

    /// The extent that element `i` of a list of extents certainly is, operand `list` of the op.
    fn behind(&self, list: usize, i: usize) -> Option<Extent> {
        let v = self.graph.operand(self.op, list)?;
        let Self { graph, constants: pool, types, known, .. } = *self;
        let all = Constants { graph, pool, types: Some(types), known };
        let (x, axis) = all.extent_behind(v, i as u64)?;
        types.get(x)?.dims.as_ref()?.get(axis).copied()
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

    /// Whether parameters have the types that they declare.
    fn is_typed(&self) -> bool {
        match self.graph.role() {
            GraphRole::Main => true,
            GraphRole::Function => self.graph.capabilities().functions_are_typed(),
            GraphRole::Body => false,
        }
    }

    /// The types that the results declare.
    fn declared(&self) -> SmallVec<[Certain; 1]> {
        let ty = |v| self.graph.ty(v).tensor().map(Certain::of).unwrap_or_default();
        self.graph.results(self.op).map(ty).collect()
    }

    /// What is certain of the results.
    pub(super) fn results(&self) -> SmallVec<[Certain; 1]> {
        let x = self.operand(0);
        let with_dims = |dims: Option<extents::Extents>| Certain { dtype: x.dtype, dims };
        let one = match self.graph.kind(self.op) {
            OpKind::Constant(c) => Certain::of(self.constants.ty(c.entry)),
            OpKind::Parameter(p) if !p.capture && self.is_typed() => {
                let v = Value::new(self.op, 0);
                self.graph.ty(v).tensor().map(Certain::of).unwrap_or_default()
            }
            OpKind::Opaque(_) if self.graph.capabilities().opaque_results_are_typed() => {
                return self.declared();
            }
            OpKind::Call(_) if self.graph.capabilities().functions_are_typed() => {
                return self.declared();
            }
            OpKind::Opaque(o) if o.shaped => x,
            OpKind::Unary(_)
            | OpKind::Activation(_)
            | OpKind::Clip(_)
            | OpKind::PRelu(_)
            | OpKind::Softmax(_)
            | OpKind::Identity(_)
            | OpKind::Dropout(_) => x,
            OpKind::BatchNorm(b) => with_dims(x.dims.map(|d| self.normalised(&d, b))),
            OpKind::Binary(_) => with_dims(broadcast(&[x.dims, self.operand(1).dims])),
            OpKind::Compare(_) => Certain {
                dtype: Some(DType::Bool),
                dims: broadcast(&[x.dims, self.operand(1).dims]),
            },
            OpKind::Where(_) => {
                let (a, b) = (self.operand(1), self.operand(2));
                Certain { dtype: a.dtype, dims: broadcast(&[x.dims, a.dims, b.dims]) }
            }
            OpKind::Cast(c) => Certain { dtype: Some(c.to), dims: x.dims },
            OpKind::CastLike(_) => Certain { dtype: self.operand(1).dtype, dims: x.dims },
            OpKind::Quantize(_) | OpKind::Dequantize(_) => Certain { dtype: None, dims: x.dims },
            OpKind::Conv(c) => {
                let w = self.operand(1).dims;
                let extent = |a: usize| w.as_ref().and_then(|w| w.get(a)?.known());
                let out = match c.w.order {
                    KernelOrder::Scm => extent(c.w.out_axis())
                        .zip(extent(c.w.in_axis()))
                        .and_then(|(m, c)| m.checked_mul(c)),
                    _ => extent(c.w.out_axis()),
                };
                let spatial = |i: usize, n: Extent| {
                    let kernel = extent(c.w.first_spatial_axis() + i)?;
                    window(n, kernel, at(&c.strides, i), at(&c.dilations, i), &c.pad, i, false)
                };
                with_dims(windowed(x.dims.as_deref(), &c.x, out.into(), spatial))
            }
            OpKind::ConvTranspose(c) => {
                let w = self.operand(1).dims;
                let extent = |a: usize| w.as_ref().and_then(|w| w.get(a)?.known());
                let out = extent(c.w.out_axis()).and_then(|n| match c.w.order {
                    KernelOrder::Ios | KernelOrder::Soi => n.checked_mul(c.groups),
                    _ => None,
                });
                let spatial = |i: usize, n: Extent| {
                    if let Some(&n) = c.output_shape.get(i) {
                        return u64::try_from(n).ok().map(Extent::Known);
                    }
                    let n = n.known()?;
                    let reach = (extent(c.w.first_spatial_axis() + i)?.checked_sub(1)?)
                        .checked_mul(at(&c.dilations, i))?
                        .checked_add(1)?;
                    let (a, b) = c.pad.explicit(i)?;
                    let more = c.output_padding.get(i).copied().unwrap_or(0);
                    (n.checked_sub(1)?.checked_mul(at(&c.strides, i))?.checked_add(reach)?)
                        .checked_add_signed(more.checked_sub(a)?.checked_sub(b)?)
                        .map(Extent::Known)
                };
                with_dims(windowed(x.dims.as_deref(), &c.x, out.into(), spatial))
            }
            OpKind::Pool(p) => {
                let axis = p.x.channel_axis();
                let channels = x.dims.as_ref().and_then(|d| d.get(axis).copied());
                let channels = channels.unwrap_or(Extent::Unknown);
                let spatial = |i: usize, n: Extent| {
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
                let y = with_dims(windowed(x.dims.as_deref(), &p.x, channels, spatial));
                return match p.f {
                    PoolKind::Max => {
                        let indices = Certain { dtype: Some(DType::I64), dims: y.dims.clone() };
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
                    dims.map(|(i, &n)| if kept(i) { n } else { Extent::Known(1) }).collect()
                } else {
                    dims.filter(|&(i, _)| kept(i)).map(|(_, &n)| n).collect()
                }
            })),
            OpKind::Transpose(t) => with_dims(x.dims.and_then(|d| permuted(&d, &t.perm))),
            OpKind::Flatten(f) => with_dims(Some(
                x.dims
                    .and_then(|d| flattened(&d, f.axis))
                    .unwrap_or_else(|| Arc::from([Extent::Unknown; 2])),
            )),
            OpKind::Reshape(r) => {
                let target = self.each(r.shape.as_ref(), 1);
                let behind = |i| self.behind(1, i).filter(|_| r.shape.is_none());
                with_dims(target.map(|t| reshaped(x.dims.as_deref(), &t, r.allow_zero, behind)))
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
            OpKind::Expand(_) => with_dims(broadcast(&[x.dims, self.given(1)])),
            OpKind::Pad(p) => {
                let axes = self.graph.operand(self.op, 3);
                let amounts = self.ints(p.amounts.as_ref(), 1).filter(|_| axes.is_none());
                with_dims(x.dims.map(|d| padded(&d, amounts.as_deref())))
            }
            OpKind::Concat(c) => {
                let parts: Option<Vec<extents::Extents>> = self
                    .graph
                    .operands(self.op)
                    .map(|v| self.types.get(v?)?.dims.clone())
                    .collect();
                with_dims(parts.and_then(|p| concatenated(&p, c.axis)))
            }
            OpKind::Slice(s) => with_dims(x.dims.map(|d| self.sliced(&d, s))),
            OpKind::Split(s) => {
                let n = self.graph.num_results(self.op);
                let sizes = self.ints(s.sizes.as_ref(), 1);
                let along = x.dims.as_ref().and_then(|d| axis(s.axis, d.len()));
                let size = |i: usize, whole: Extent| {
                    let size = match &sizes {
                        Some(list) => list.get(i).and_then(|&n| u64::try_from(n).ok()),
                        None => whole
                            .known()
                            .filter(|w| w.is_multiple_of(n as u64))
                            .map(|w| w / n as u64),
                    };
                    Extent::from(size)
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
                    let one = |(i, &n): (usize, &Extent)| match axes.contains(&i) {
                        false => Some(n),
                        true => r.keepdims.then_some(Extent::Known(1)),
                    };
                    Some(d.iter().enumerate().filter_map(one).collect())
                }))
            }
            OpKind::DepthToSpace(d) if d.block > 0 => {
                let b = d.block;
                with_dims(x.dims.filter(|d| d.len() == 4).map(|d| {
                    let divided = |c: u64| {
                        let cells = b.checked_mul(b)?;
                        c.is_multiple_of(cells).then_some(c / cells)
                    };
                    let channels = d[1].known().and_then(divided).into();
                    let wide = |n: Extent| n.known().and_then(|n| n.checked_mul(b)).into();
                    Arc::from([d[0], channels, wide(d[2]), wide(d[3])])
                }))
            }
            OpKind::Linear(l) => {
                let n = self.operand(1).dims.and_then(|w| {
                    w.get(if l.trans_w { 0 } else { w.len().checked_sub(1)? }).copied()
                });
                let lead = x.dims.clone().and_then(|d| match l.trans_x {
                    false => Some(d.split_last()?.1.to_vec()),
                    true => (d.len() == 2).then(|| vec![d[1]]),
                });
                let lead = lead.or_else(|| l.matrix.then(|| vec![Extent::Unknown]));
                with_dims(lead.map(|mut d| {
                    d.push(n.unwrap_or(Extent::Unknown));
                    d.into()
                }))
            }
            OpKind::MatMul(_) => {
                with_dims(product_dims(x.dims.as_deref(), self.operand(1).dims.as_deref()))
            }
            OpKind::Shape(s) => {
                let count = x.dims.map(|d| {
                    let rank = d.len() as i64;
                    let clamp =
                        |i: i64| (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank);
                    clamp(s.end.unwrap_or(rank)).saturating_sub(clamp(s.start)).max(0) as u64
                });
                Certain { dtype: Some(DType::I64), dims: Some(Arc::from([count.into()])) }
            }
            OpKind::Size(_) => Certain { dtype: Some(DType::I64), dims: Some(Arc::from([])) },
            OpKind::Gather(k) => {
                let (d, index) = (x.dims.clone(), self.operand(1).dims);
                with_dims(d.zip(index).and_then(|(d, index)| {
                    let at = axis(k.axis, d.len())?;
                    Some(d[..at].iter().chain(index.iter()).chain(&d[at + 1..]).copied().collect())
                }))
            }
            OpKind::SpaceToDepth(d) if d.block > 0 => {
                let b = d.block;
                with_dims(x.dims.filter(|d| d.len() == 4).map(|d| {
                    let deep = |n: u64| n.checked_mul(b.checked_mul(b)?);
                    let channels = d[1].known().and_then(deep).into();
                    let part = |n: u64| n.is_multiple_of(b).then_some(n / b);
                    let narrow = |n: Extent| n.known().and_then(part).into();
                    Arc::from([d[0], channels, narrow(d[2]), narrow(d[3])])
                }))
            }
            OpKind::Resize(r) => with_dims(x.dims.map(|d| self.resized(&d, r))),
            OpKind::ConstantOfShape(c) => Certain {
                dtype: Some(c.value.map_or(DType::F32, |v| self.constants.dtype(v))),
                dims: self.given(0),
            },
            _ => Certain::default(),
        };
        SmallVec::from_elem(one, 1)
    }
}

impl OpCx<'_> {
    /// A batch norm does not broadcast: there are as many channels as statistics.
    fn normalised(&self, d: &[Extent], b: &BatchNorm) -> extents::Extents {
        let mean = self.operand(3).dims;
        let channels = mean.filter(|m| m.len() == 1).and_then(|m| m[0].known());
        let mut dims = d.to_vec();
        if let (Some(extent), Some(n)) = (dims.get_mut(b.axis as usize), channels)
            && extent.known().is_none()
        {
            *extent = Extent::Known(n);
        }
        dims.into()
    }

    fn resized(&self, d: &[Extent], r: &Resize) -> extents::Extents {
        let plain =
            r.axes.is_none() && *r.aspect == *"stretch" && *r.coordinates != *"tf_crop_and_resize";
        if plain && self.graph.operand(self.op, 3).is_some() {
            return self
                .given(3)
                .filter(|to| to.len() == d.len())
                .unwrap_or_else(|| d.iter().map(|_| Extent::Unknown).collect());
        }
        let scales = match (&r.scales, self.graph.operand(self.op, 2)) {
            (Some(list), _) => Some(list.clone()),
            (None, Some(v)) => match self.graph.kind(v.op) {
                OpKind::Constant(c)
                    if c.binding == Binding::Fixed
                        && self.constants.count(c.entry) == d.len() as u64 =>
                {
                    self.constants.to_f64(c.entry).ok()
                }
                _ => None,
            },
            _ => None,
        };
        let scale =
            |i: usize| scales.as_ref().filter(|s| plain && s.len() == d.len()).map(|s| s[i]);
        let one = |(i, &n): (usize, &Extent)| scale(i).map_or(Extent::Unknown, |s| scaled(n, s));
        d.iter().enumerate().map(one).collect()
    }

    /// The extents that operand `i` lists.
    fn given(&self, i: usize) -> Option<extents::Extents> {
        let list = self.each(None, i)?;
        let one = |(k, n): (usize, Option<i64>)| match n {
            Some(n) => u64::try_from(n).ok().into(),
            None => self.behind(i, k).unwrap_or(Extent::Unknown),
        };
        Some(list.into_iter().enumerate().map(one).collect())
    }

    fn sliced(&self, d: &[Extent], s: &Slice) -> extents::Extents {
        let starts = self.each(s.starts.as_ref(), 1);
        let ends = self.each(s.ends.as_ref(), 2);
        let given = s.axes.is_some() || self.graph.operand(self.op, 3).is_some();
        let axes = self.ints(s.axes.as_ref(), 3);
        let steps = self.each(None, 4);
        let has_steps = self.graph.operand(self.op, 4).is_some();
        let mut out = vec![Extent::Unknown; d.len()];
        let Some(axes) = axes.or_else(|| {
            let n = starts.as_ref()?.len() as i64;
            (!given).then(|| (0..n).collect())
        }) else {
            return out.into();
        };
        out.copy_from_slice(d);
        for (k, &a) in axes.iter().enumerate() {
            let Some(a) = axis(a, d.len()) else {
                return vec![Extent::Unknown; d.len()].into();
            };
            let one = |list: &Option<Vec<Option<i64>>>| list.as_ref()?.get(k).copied()?;
            let step = if has_steps { one(&steps) } else { Some(1) };
            let n = d[a].known().and_then(|n| i64::try_from(n).ok());
            out[a] = match (n, one(&starts), one(&ends), step) {
                (Some(n), Some(from), Some(to), Some(1)) => {
                    let clamp = |i: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n);
                    Extent::Known(clamp(to).saturating_sub(clamp(from)).max(0) as u64)
                }
                (None, Some(0), Some(i64::MAX), Some(1)) => d[a],
                _ => Extent::Unknown,
            };
        }
        out.into()
    }
}
