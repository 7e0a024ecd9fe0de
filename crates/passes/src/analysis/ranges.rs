//! The range of weights and biases per output channel of linear ops: what a person who quantizes next has to know.

use super::{Analysis, CertainTypes, Constants, Constness};
use crate::{
    fold_bn::permuted,
    manager::{captured, owners},
};
use normfold_ir::{
    BiasSlot, BinaryKind, ChannelMap, ConstId, ConstPool, ElementMap, Graph, GraphId, GraphRole,
    Module, OpId, OpKind, Value, decode_f64,
};
use std::{collections::HashMap, sync::Arc};

/// Elements that are in memory at a time: a multiple of 8, so that each window begins with a byte.
const WINDOW: usize = 1 << 13;

/// The weight and the bias of a linear op.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerRanges {
    /// The name of the constant that holds the weight, or of the op that computes it.
    pub weight: Arc<str>,
    /// The same of the bias; `None` where there is none.
    pub bias: Option<Arc<str>>,
    /// Output channels.
    pub channels: u64,
    /// What the elements are; `None` where they are not at hand, or a weight is computed and too large for that.
    pub values: Option<ChannelRanges>,
}

/// Ranges over the elements of each output channel, as they are stored: a derived constant is rounded to its type.
#[derive(Clone, PartialEq, Debug)]
pub struct ChannelRanges {
    /// The smallest `|W|` of each channel.
    pub min: Vec<f64>,
    /// The largest `|W|` of each channel.
    pub max: Vec<f64>,
    /// What is added to each channel: the bias, `β·C` of a Gemm, or the constant of the Add right behind a matrix product;
    /// 0 where there is none. `None` where it is not one number per channel, or not at hand.
    pub bias: Option<Vec<f64>>,
}

impl ChannelRanges {
    /// The channels whose weights are all zero: whatever comes in, their result is the bias.
    pub fn dead(&self) -> impl Iterator<Item = u64> + '_ {
        self.max.iter().enumerate().filter(|(_, m)| **m == 0.0).map(|(c, _)| c as u64)
    }
}

/// Where the elements of a weight are.
enum Source {
    /// In an entry of the pool, each for the channel that the map says; integers with what makes them numbers.
    Entry(ConstId, ElementMap, Option<Dequantized>),
    /// Computed by an op, in the order in which the linear op reads them.
    Computed(Value, ElementMap),
}

/// Scale and zero point of integers, each along the map.
struct Dequantized {
    scale: Vec<f64>,
    zero: Vec<f64>,
    along: ElementMap,
}

/// Reads ranges of one graph as it is. Elements are read in windows, so memory does not grow with the weights.
#[derive(Debug)]
pub struct RangeReader<'a> {
    graph: &'a Graph,
    pool: &'a ConstPool,
    types: CertainTypes,
    known: Constness,
}

impl<'a> RangeReader<'a> {
    /// A reader of one graph of a module; takes time linear in the ops.
    pub fn new(module: &'a Module, id: GraphId) -> Self {
        let (graph, pool) = (module.graph(id), &module.constants);
        let types = CertainTypes::compute(graph, pool);
        let captured = match graph.role() {
            GraphRole::Body => captured(module, &owners(module), id),
            _ => HashMap::new(),
        };
        Self { graph, pool, types, known: Constness::with_captured(graph, &captured) }
    }

    /// The ranges of a linear op; `None` for any other op, and where its weight is no constant.
    pub fn layer(&self, op: OpId) -> Option<LayerRanges> {
        let g = self.graph;
        // A matrix product may hold its weight on either side; the right one is the usual.
        let sides: &[usize] = if matches!(g.kind(op), OpKind::MatMul(_)) { &[1, 0] } else { &[1] };
        let (map, v, source) = sides.iter().find_map(|&side| {
            let v = g.operand(op, side)?;
            let map = ChannelMap::of(g.kind(op), side, &self.dims(v)?)?;
            let source = self.source(v, &map.out.map)?;
            Some((map, v, source))
        })?;
        let weight = match &source {
            Source::Entry(_, _, Some(_)) => g.location(self.stored(g.operand(v.op, 0)?)?.0.op),
            Source::Entry(..) => g.location(self.stored(v)?.0.op),
            Source::Computed(v, _) => g.location(v.op),
        };
        let (bias, b) = self.bias(op, &map);
        let bias = bias.map(|v| g.location(self.stored(v).map_or(v, |s| s.0).op));
        let values = self.range(&source, map.out.count);
        let values = values.map(|(min, max)| ChannelRanges { min, max, bias: b });
        Some(LayerRanges { weight, bias, channels: map.out.count, values })
    }

    fn constants(&self) -> Constants<'_> {
        let Self { graph, pool, types, known } = self;
        Constants { graph, pool, types: Some(types), known }
    }

    /// The extents of a constant, whoever may replace it.
    fn dims(&self, v: Value) -> Option<Vec<u64>> {
        match (self.graph.kind(v.op), self.known.captured(v.op)) {
            (OpKind::Constant(c), _) => Some(self.pool.dims(c.entry)),
            (_, Some(entry)) => Some(self.pool.dims(entry)),
            _ => match self.types.dims(v) {
                Some(dims) => dims.iter().copied().collect(),
                None => self.constants().ty(v).ok().map(|t| t.1),
            },
        }
    }

    /// The constant that a value is a view of, its entry, and the transposes between them as in [`permuted`].
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn stored(&self, v: Value) -> Option<(Value, ConstId, Vec<(Vec<u64>, Vec<usize>)>)> {
        let (mut v, mut views) = (v, Vec::new());
        loop {
            match self.graph.kind(v.op) {
                OpKind::Constant(c) => return Some((v, c.entry, views)),
                // Of a graph around this one.
                OpKind::Parameter(_) => return Some((v, self.known.captured(v.op)?, views)),
                OpKind::Identity(_)
                | OpKind::Reshape(_)
                | OpKind::Squeeze(_)
                | OpKind::Unsqueeze(_)
                | OpKind::Flatten(_) => {}
                OpKind::Transpose(t) => {
                    let dims = self.dims(v)?;
                    let n = dims.len();
                    let axis = |&a: &i64| (if a < 0 { a + n as i64 } else { a }) as usize;
                    let perm = match t.perm.as_slice() {
                        [] => (0..n).rev().collect(),
                        p => p.iter().map(axis).collect(),
                    };
                    views.push((dims, perm));
                }
                _ => return None,
            }
            v = self.graph.operand(v.op, 0)?;
        }
    }

    fn source(&self, v: Value, seen: &ElementMap) -> Option<Source> {
        if let Some((_, entry, views)) = self.stored(v) {
            let map =
                views.iter().try_fold(seen.clone(), |map, (dims, perm)| permuted(&map, dims, perm));
            if let Some(map) = map {
                return Some(Source::Entry(entry, map, None));
            }
        }
        if let Some((entry, integers)) = self.dequantized(v) {
            return Some(Source::Entry(entry, seen.clone(), Some(integers)));
        }
        let constant = self.known.culprit(self.graph, v).is_none();
        constant.then(|| Source::Computed(v, seen.clone()))
    }

    /// Integers in the pool with one scale for all of them, or one per position along an axis.
    fn dequantized(&self, v: Value) -> Option<(ConstId, Dequantized)> {
        let g = self.graph;
        let OpKind::Dequantize(d) = g.kind(v.op) else { return None };
        let (_, entry, views) = self.stored(g.operand(v.op, 0)?)?;
        let dims = self.pool.dims(entry);
        let axis = usize::try_from(if d.axis < 0 { d.axis + dims.len() as i64 } else { d.axis });
        let (_, scale) = self.elements(g.operand(v.op, 1)?)?;
        let zero = match g.operand(v.op, 2) {
            Some(zero) => self.elements(zero)?.1,
            None => vec![0.0; scale.len()],
        };
        let along = match scale.len() {
            1 => ElementMap::single(),
            n if *dims.get(axis.ok()?)? == n as u64 => ElementMap::axis(&dims, axis.ok()?),
            _ => return None,
        };
        let plain = views.is_empty() && self.dims(v)? == dims && zero.len() == scale.len();
        (plain && d.block == 0).then_some((entry, Dequantized { scale, zero, along }))
    }

    /// Smallest and largest magnitude of each channel.
    fn range(&self, source: &Source, channels: u64) -> Option<(Vec<f64>, Vec<f64>)> {
        let n = usize::try_from(channels).ok()?;
        let (mut min, mut max) = (vec![f64::INFINITY; n], vec![0.0f64; n]);
        let mut take = |map: &ElementMap, start: u64, window: &[f64]| {
            map.for_runs(start, window.len() as u64, |first, len, channel| {
                let run = &window[first as usize..(first + len) as usize];
                let (Some(min), Some(max)) =
                    (min.get_mut(channel as usize), max.get_mut(channel as usize))
                else {
                    return;
                };
                for x in run {
                    // What is not a number stays visible.
                    (*min, *max) = match x.is_nan() {
                        true => (f64::NAN, f64::NAN),
                        false => (min.min(x.abs()), max.max(x.abs())),
                    };
                }
            });
        };
        match source {
            Source::Entry(entry, map, integers) => {
                let (mut bytes, mut window) = (Vec::new(), vec![0.0; WINDOW]);
                let (mut at, count) = (0, self.pool.count(*entry));
                let dtype = self.pool.dtype(*entry);
                while at < count {
                    let n = (count - at).min(WINDOW as u64) as usize;
                    // By reading, not through a mapping, whose pages would stay.
                    bytes.resize(usize::try_from(dtype.bytes_for(n as u64)?).ok()?, 0);
                    self.pool.read_bytes(*entry, dtype.bytes_for(at)?, &mut bytes).ok()?;
                    decode_f64(dtype, &bytes, 0, &mut window[..n]).then_some(())?;
                    if let Some(Dequantized { scale, zero, along }) = integers {
                        along.zip(at, &mut window[..n], zero, |q, z| q - z);
                        along.zip(at, &mut window[..n], scale, |q, s| q * s);
                    }
                    take(map, at, &window[..n]);
                    at += n as u64;
                }
            }
            Source::Computed(v, map) => {
                take(map, 0, &self.constants().tensor(*v).ok()?.to_f64s());
            }
        }
        // A channel without elements has the range of nothing.
        for m in &mut min {
            *m = if *m == f64::INFINITY { 0.0 } else { *m };
        }
        Some((min, max))
    }

    /// The value that is added to the result, and what it adds to each channel.
    fn bias(&self, op: OpId, map: &ChannelMap) -> (Option<Value>, Option<Vec<f64>>) {
        let n = map.out.count;
        let zeros = || Some(vec![0.0; n as usize]);
        let g = self.graph;
        let (v, back, factor) = match (map.bias, g.kind(op)) {
            (BiasSlot::PerChannel(slot), _) => (g.operand(op, slot), 0, 1.0),
            (BiasSlot::Broadcast(slot), OpKind::Linear(l)) => (g.operand(op, slot), 0, l.beta),
            (BiasSlot::Broadcast(slot), _) => (g.operand(op, slot), 0, 1.0),
            (BiasSlot::None, _) => (self.addend(op), map.out.axis.err().unwrap_or(0), 1.0),
        };
        let Some(v) = v else { return (None, zeros()) };
        let values = self.elements(v).and_then(|(dims, values)| {
            let axis = dims.len().checked_sub(1 + back);
            let other = |(i, &d): (usize, &u64)| d == 1 || Some(i) == axis;
            match values.as_slice() {
                _ if !dims.iter().enumerate().all(other) => None,
                &[one] => Some(vec![one * factor; n as usize]),
                many if many.len() as u64 == n => Some(many.iter().map(|b| b * factor).collect()),
                _ => None,
            }
        });
        (Some(v), values)
    }

    /// The constant that the only reader of a result adds to it.
    fn addend(&self, op: OpId) -> Option<Value> {
        let g = self.graph;
        let u = g.single_value_use(Value::new(op, 0))?;
        if *g.kind(u.user) != OpKind::from(BinaryKind::Add) {
            return None;
        }
        let other = g.operand(u.user, 1 - (u.operand as usize).min(1))?;
        (self.stored(other).is_some() || self.known.culprit(g, other).is_none()).then_some(other)
    }

    fn elements(&self, v: Value) -> Option<(Vec<u64>, Vec<f64>)> {
        if let Some((_, entry, views)) = self.stored(v)
            && views.is_empty()
        {
            return Some((self.dims(v)?, self.pool.to_f64(entry).ok()?));
        }
        let t = self.constants().tensor(v).ok()?;
        Some((t.dims().to_vec(), t.to_f64s()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::text;

    fn ranges(text: &str) -> Vec<Option<LayerRanges>> {
        let m = text::parse(text).expect("a module");
        let g = m.graph(m.main().expect("a main graph"));
        let reader = RangeReader::new(&m, m.main().expect("a main graph"));
        let linear = |op: &OpId| {
            matches!(
                g.kind(*op),
                OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_) | OpKind::MatMul(_)
            )
        };
        g.topo_order()
            .expect("no cycle")
            .into_iter()
            .filter(linear)
            .map(|o| reader.layer(o))
            .collect()
    }

    fn values(text: &str) -> ChannelRanges {
        ranges(text).remove(0).and_then(|r| r.values).expect("ranges")
    }

    #[test]
    fn layouts() {
        // 2 groups of 2 outputs, 1 input each.
        let r = values(
            "module @m { graph @main(%x: tensor<1x2x3xf32>) -> (%y: tensor<1x4x3xf32>) {
    %w = constant dense<[1.0, -2.0, 0.0, 4.0]> : tensor<4x1x1xf32>
    %b = constant dense<[0.5, 0.0, -1.0, 2.0]> : tensor<4xf32>
    %y = conv %x, %w, %b {groups = 2, x = NCW, w = OIW} \"c\" : tensor<1x4x3xf32>
    return %y } }",
        );
        assert_eq!(r.max, [1.0, 2.0, 0.0, 4.0]);
        assert_eq!(r.bias, Some(vec![0.5, 0.0, -1.0, 2.0]));
        assert_eq!(r.dead().collect::<Vec<_>>(), [2]);
        // [K, N] behind a transpose, and the bias in an Add.
        let r = ranges(
            "module @m { graph @main(%x: tensor<1x2xf32>) -> (%y: tensor<1x3xf32>) {
    %w = constant dense<[1.0, -2.0, 3.0, 4.0, -0.5, 0.25]> : tensor<3x2xf32>
    %t = transpose %w {perm = [1, 0]} : tensor<2x3xf32>
    %b = constant dense<[7.0, 8.0, 9.0]> : tensor<3xf32>
    %c = matmul %x, %t \"fc\" : tensor<1x3xf32>
    %y = add %b, %c \"add\" : tensor<1x3xf32>
    return %y } }",
        );
        let r = r[0].clone().expect("ranges");
        assert_eq!((&*r.weight, r.bias.as_deref(), r.channels), ("w", Some("b"), 3));
        let v = r.values.expect("elements");
        assert_eq!((v.min, v.max), (vec![1.0, 3.0, 0.25], vec![2.0, 4.0, 0.5]));
        assert_eq!(v.bias, Some(vec![7.0, 8.0, 9.0]));
    }

    #[test]
    fn captured_and_dequantized_weights() {
        let text = "module @m { graph @main(%x: tensor<1x2xf32>, %f: tensor<bool>) -> (%y: tensor<1x2xf32>) {
    %w = constant dense<[1.0, -2.0, 0.5, 4.0]> : tensor<2x2xf32>
    %q = constant dense<[1, -2, 3, 4]> : tensor<2x2xi8>
    %s = constant dense<[0.5, 2.0]> : tensor<2xf32>
    %d = dequantize %q, %s {axis = 1} \"dq\" : tensor<2x2xf32>
    %h = linear %x, %d \"quantized\" : tensor<1x2xf32>
    %y = if %f captures(%h, %w) \"choose\" : tensor<1x2xf32>
      body @then_body() captures(%h from 0: tensor<1x2xf32>, %v from 1: tensor<2x2xf32>) -> (%t: tensor<1x2xf32>) {
        %t = linear %h, %v \"inner\" : tensor<1x2xf32>
        return %t
      }
      body @else_body() captures(%h from 0: tensor<1x2xf32>) -> (%e: tensor<1x2xf32>) {
        %e = relu %h : tensor<1x2xf32>
        return %e
      }
    return %y } }";
        let m = text::parse(text).expect("a module");
        let layer = |name: &str| {
            let find = |id: GraphId| {
                let g = m.graph(id);
                let op = g.ops().find(|&op| &*g.location(op) == name)?;
                RangeReader::new(&m, id).layer(op)
            };
            m.graph_ids().find_map(find).expect("a layer")
        };
        let inner = layer("inner").values.expect("elements");
        assert_eq!((inner.min, inner.max), (vec![0.5, 2.0], vec![1.0, 4.0]));
        let quantized = layer("quantized");
        assert_eq!(&*quantized.weight, "q");
        let values = quantized.values.expect("elements");
        assert_eq!((values.min, values.max), (vec![0.5, 4.0], vec![1.5, 8.0]));
    }

    #[test]
    fn what_is_not_at_hand_has_no_range() {
        let r = ranges(
            "module @m { graph @main(%x: tensor<1x2xf32>, %u: tensor<2x3xf32>) -> (%y: tensor<1x3xf32>, %z: tensor<1x3xf32>) {
    %w = constant absent : tensor<2x3xf32>
    %y = linear %x, %w \"a\" : tensor<1x3xf32>
    %z = linear %x, %u \"b\" : tensor<1x3xf32>
    return %y, %z } }",
        );
        assert_eq!(r[0].as_ref().map(|r| (r.channels, r.values.is_some())), Some((3, false)));
        assert_eq!(r[1], None);
    }
}
