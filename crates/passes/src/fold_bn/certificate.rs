//! The certificate of a fold: the whole path before and after, compared on a bounded sample.
//!
//! Positions include the border (where padding enters), channels include those with the largest scale and shift.
//!
//! Beyond what `certify` says of the bound: where an op absorbed something before, the path before the fold reads rounded
//! elements too, and what is folded scales what they are off by: `max|s|·u·(Σ|W|·|x| + |b|)` more.

use super::{
    ask::Ask,
    cx::Cx,
    reason::{FoldReason, Role},
    resolve::resolve,
    search::Found,
};
use crate::certify::{
    self, Certificate, Compared, Demand, Given, Reads, Rounding, Side, evaluator, own_factor,
};
use normfold_ir::{
    ConstData, Conv, DType, Graph, IdSet, OpId, OpKind, Use, Value,
    eval::{Binding, Counted, EvalError, Evaluator, Scalar, Tally},
};
use smallvec::{SmallVec, smallvec};
use std::cell::RefCell;

/// One position per axis.
type Point = SmallVec<[u64; 4]>;

/// One of each point: few in most samples, of which there are as many as folds.
type Each<T> = SmallVec<[T; 4]>;

/// What multiplies sums, of which there are narrower elements, by no more than this leaves them within f64.
const FAR: f64 = 1e100;

/// What the path gave before the fold.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    data: Vec<Given>,
    /// Where each of `before` was taken.
    points: Each<(Value, Point)>,
    before: Each<f64>,
    /// What each of `before` may be off by because the elements it was computed from are rounded themselves.
    rounding: Each<f64>,
    /// What the results may be off by beyond the rounding of stored elements.
    slack: f64,
    amplification: f64,
    /// What magnitudes and numbers of reads after the fold come to at most, where that may be beyond f64; else 0.
    most: f64,
    absorbers: SmallVec<[OpId; 2]>,
    /// The ops that read constants which take the root in themselves.
    readers: SmallVec<[OpId; 2]>,
    /// How the constants that are read are rounded, whichever of them is rounded most.
    stored: Rounding,
    /// The largest number of the type of those that ends first.
    limit: f64,
}

impl Sample {
    /// Whether results are so large that a weight may not be finite once it is scaled, which not every element was looked at
    /// for: the path after the fold would give an infinity.
    pub(super) fn is_far(&self) -> bool {
        self.before.iter().any(|x| x.abs() > 1e-16 * self.limit)
    }

    /// Whether the path gives numbers that can be compared, within a bound.
    pub(super) fn is_finite(&self) -> bool {
        let sum = self.slack + self.amplification + self.most;
        let each = self.before.iter().zip(&self.rounding);
        sum.is_finite() && each.into_iter().all(|(x, r)| (x.abs() + 2.0 * r + sum).is_finite())
    }
}

/// What the path of a fold gives before the plan is committed.
///
/// # Errors
/// There can be no certificate, and why.
pub(super) fn sample(cx: Cx<'_>, found: &Found) -> Result<Sample, FoldReason> {
    if let Some(v) = contested(cx, found) {
        let what = cx.g.location(v.op);
        let message = format!("constant {what:?} is both the data and a parameter of the path");
        return Err(FoldReason::Uncertified { message });
    }
    before(cx, found).map_err(|e| FoldReason::Uncertified { message: e.to_string() })
}

/// A constant that the path reads both as data and otherwise, say `W·Wᵀ`: no sample of the data alone can be made.
fn contested(cx: Cx<'_>, found: &Found) -> Option<Value> {
    let plan = &found.plan;
    // Whether an op reads it as data, as its operand `i`.
    let as_data = |op: OpId, i: usize, v: Value| {
        if let Some(k) = plan.absorbed.iter().position(|a| a.op == op) {
            // Ahead they read the batch norm's result as data, not what that reads.
            return !found.forward && found.frontier.get(k) == Some(&v);
        }
        match plan.bypassed.iter().find(|b| b.0 == op) {
            Some(&(_, data)) => i == data,
            None => {
                let joins = matches!(cx.g.kind(op), OpKind::Concat(_) | OpKind::Binary(_));
                found.via.contains(&op) && (i == 0 || joins)
            }
        }
    };
    let constant = |&v: &Value| cx.is_constant(v);
    found.frontier.iter().copied().filter(constant).find(|&v| {
        let mut seen = IdSet::default();
        let mut open: Vec<OpId> = found.outputs.iter().map(|y| y.op).collect();
        while let Some(op) = open.pop() {
            let mut reads = (0..).zip(cx.g.operands(op)).filter(|r| r.1 == Some(v));
            let first = reads.next();
            if first.is_some_and(|(i, _)| !as_data(op, i, v)) || reads.next().is_some() {
                return true;
            }
            let further = cx.g.operands(op).flatten().filter(|x| !found.frontier.contains(x));
            open.extend(further.map(|x| x.op).filter(|&op| seen.insert(op)));
        }
        false
    })
}

/// Evaluates the path from `found`'s frontier to its outputs as it is, before the plan is committed.
#[inline(never)]
fn before(cx: Cx<'_>, found: &Found) -> Result<Sample, EvalError> {
    let _entered = tracing::debug_span!("certificate").entered();
    let mut failed = None;
    let typed = [16, 32, 7, 1].map(Guess::Typed);
    // A reshape to given extents means something else on data of other extents than the model's.
    let by_extent = |&op: &OpId| {
        matches!(
            cx.g.kind(op),
            OpKind::Reshape(_) | OpKind::Expand(_) | OpKind::Slice(_) | OpKind::Split(_)
        )
    };
    let given = found.via.iter().any(by_extent) || widens(cx, found);
    let smallest = match (given, found.forward || found.sideways) {
        (true, _) => [None, None],
        (false, false) => [Some(Guess::Smallest), None],
        (false, true) => [None, Some(Guess::Smallest)],
    };
    let [first, last] = smallest;
    for guess in first.into_iter().chain(typed).chain(last) {
        match attempt(cx, found, guess) {
            Ok(sample) => return Ok(sample),
            Err(e) => _ = failed.get_or_insert(e),
        }
    }
    Err(failed.unwrap_or(EvalError::TooDeep))
}

/// Whether a constant on the way varies along an axis that the root's factors do not: it would widen smaller data.
fn widens(cx: Cx<'_>, found: &Found) -> bool {
    let own: &[usize] = found.own.as_ref().map_or(&[], |a| a.axes());
    let one = |op: OpId| {
        let rank = cx.rank(Value::new(op, 0)).unwrap_or(0);
        cx.g.operands(op).flatten().filter(|&v| cx.is_constant(v)).any(|v| {
            let dims = cx.constants().ty(v).map_or(Vec::new(), |t| t.1);
            let lead = rank.saturating_sub(dims.len());
            dims.iter().enumerate().any(|(i, &d)| d > 1 && !own.contains(&(lead + i)))
        })
    };
    let gone = found.plan.bypassed.iter().map(|b| b.0);
    let mut on_the_way = gone.chain(found.via.iter().copied());
    on_the_way.any(|op| matches!(cx.g.kind(op), OpKind::Binary(_)) && one(op))
}

/// How extents of the data are chosen.
#[derive(Clone, Copy)]
enum Guess {
    /// As small as the absorbing op allows.
    Smallest,
    /// What types say, with this where they do not.
    Typed(u64),
}

fn attempt(cx: Cx<'_>, found: &Found, guess: Guess) -> Result<Sample, EvalError> {
    let Cx { g, pool, .. } = cx;
    let plan = &found.plan;
    let mut data: Vec<Given> = Vec::new();
    // What is not known is of the type that the op asks for.
    let dtype = |v, op| {
        let certain = cx.types.dtype(v).filter(|d| d.is_arithmetic_float());
        certain.unwrap_or_else(|| stored_type(cx, op))
    };
    for (k, &v) in found.frontier.iter().enumerate() {
        // Sideways the other terms of the sum have the shape of the data.
        let k = if found.sideways { 0 } else { k };
        let Some(a) = plan.absorbed.get(k) else { continue };
        if data.iter().any(|given| given.value == v) {
            continue;
        }
        let dims = match guess {
            Guess::Typed(n) => {
                typed_dims(cx, v, n).unwrap_or_else(|| data_dims(cx, a.op, v, false))
            }
            Guess::Smallest => data_dims(cx, a.op, v, found.via.is_empty()),
        };
        data.push(Given { value: v, dtype: dtype(v, a.op), dims });
    }
    // What stands between may ask for the extents of what the graph is given.
    for &p in g.parameters() {
        let v = Value::new(p, 0);
        let open = cx.known.captured(p).is_none() && data.iter().all(|given| given.value != v);
        if let (true, Guess::Typed(n)) = (open, guess)
            && let Some(dims) = typed_dims(cx, v, n)
        {
            data.push(Given { value: v, dtype: dtype(v, p), dims });
        }
    }
    let (tally, all) = (Tally::default(), Tally::default());
    let mut e = evaluator((g, pool, cx.known), Side::Before, &data, &tally);
    let absorbers: SmallVec<[OpId; 2]> = plan.absorbed.iter().map(|a| a.op).collect();
    let derived = |entry| matches!(pool.entry(entry).data, ConstData::Derived(_));
    let readers: SmallVec<[OpId; 2]> = plan.constants.iter().map(|a| a.op).collect();
    let changed = || {
        let gone = plan.bypassed.iter().map(|b| b.0);
        let ops = absorbers.iter().chain(&readers).copied().chain(gone);
        ops.flat_map(|op| operands(g, op))
    };
    // Casts let constants of several types meet on one way.
    let mut types: SmallVec<[DType; 2]> = SmallVec::new();
    let first = plan.absorbed.first().map_or(DType::F32, |a| stored_type(cx, a.op));
    let rounded = changed().filter_map(|v| watch(&mut e, cx, v, &data, derived, &tally));
    for dtype in [first].into_iter().chain(rounded).chain(plan.dtypes(pool)) {
        if !types.contains(&dtype) {
            types.push(dtype);
        }
    }
    let stored = types[1..].iter().fold(Rounding::of(first), |r, &d| r.or(Rounding::of(d)));
    // Every weight of f16 is looked at as it is.
    let ends = |&d: &DType| d.max_finite().filter(|_| d != DType::F16);
    let limit = types.iter().filter_map(ends).fold(f64::MAX, f64::min);
    let s = plan.absorbed.iter().filter_map(|a| a.vectors.first()).map(|s| largest(s));
    let own = found.own.iter().map(|a| largest_of(&a.s, &a.t, |s, t| s.abs() + t.abs()));
    let factor = s.chain(own).fold(1.0f64, f64::max)
        * absorbers.iter().fold(1.0f64, |m, &op| m.max(own_factor(g, op)));
    let amplification = found.amplification * (1.0 + found.padded);
    // Sums of other types are far from the end of f64, unless they are multiplied by what is not.
    let mut wide = (types.contains(&DType::F64) || factor * amplification > FAR).then(|| {
        let mut e = evaluator((g, pool, cx.known), Side::Before, &data, &all);
        for v in changed() {
            watch(&mut e, cx, v, &data, |_| true, &all);
        }
        e
    });
    let mut points: Each<(Value, Point)> = Each::new();
    for &y in &found.outputs {
        let dims = e.dims(y)?;
        let at = match found.forward {
            false => positions(&dims, found.own.as_ref(), absorbers.len()),
            true => certify::ends(&dims).into_iter().map(Point::from_vec).collect(),
        };
        points.extend(at.into_iter().map(|p| (y, p)));
    }
    let mut before = Each::with_capacity(points.len());
    let mut rounding = Each::with_capacity(points.len());
    let mut most = 0.0f64;
    for (y, p) in &points {
        before.push(e.element(*y, p)?.to_f64());
        let Counted { magnitude, reads, .. } = tally.take();
        let off = stored.unit * (magnitude + found.padded) + reads * stored.smallest;
        rounding.push(factor * found.amplification * off);
        if let Some(e) = &mut wide {
            e.element(*y, p)?;
            let Counted { magnitude, reads, .. } = all.take();
            most = most.max(factor * amplification * (magnitude + reads));
        }
    }
    Ok(Sample {
        data,
        points,
        before,
        rounding,
        slack: found.slack,
        amplification,
        most,
        absorbers,
        readers,
        stored,
        limit,
    })
}

/// Evaluates the path after the commit, at the values that took the places of the old ones.
///
/// `Ok(Err(message))` is a disagreement.
#[inline(never)]
pub(super) fn after(
    cx: Cx<'_>,
    now: impl Fn(Value) -> Value,
    created: &[OpId],
    sample: &Sample,
) -> Result<Result<Certificate, String>, EvalError> {
    let _entered = tracing::debug_span!("certificate").entered();
    let Cx { g, pool, .. } = cx;
    let tally = Tally::default();
    let at = (g, pool, cx.known);
    let mut e = evaluator(at, Side::After, &sample.data, &tally);
    let mut alpha = sample.amplification;
    for &op in sample.absorbers.iter().filter(|&&op| g.contains(op)) {
        // A linear op's factor of its product scales what a weight contributes.
        alpha = alpha.max(sample.amplification * own_factor(g, op));
        for read in operands(g, op) {
            watch(&mut e, cx, read, &sample.data, |_| true, &tally);
        }
    }
    // Among what was created: sums that took a shift no op has room for.
    for read in sample.readers.iter().chain(created).flat_map(|&op| operands(g, op)) {
        watch(&mut e, cx, read, &sample.data, |_| true, &tally);
    }
    let mut certificate = Certificate::default();
    let known = sample.before.iter().zip(&sample.rounding);
    for ((y, p), (&before, &rounding)) in sample.points.iter().zip(known) {
        let after = e.element(now(*y), p)?.to_f64();
        let reads = Reads::of(tally.take(), alpha);
        let compared = Compared { before, after, reads, rounding, slack: sample.slack };
        if let Err(message) = certificate.compare(p, sample.stored, compared) {
            return Ok(Err(message));
        }
    }
    Ok(Ok(certificate))
}

/// The operands of an op that are there.
fn operands(g: &Graph, op: OpId) -> impl Iterator<Item = (Use, Value)> {
    let of = move |(i, v): (usize, Option<Value>)| Some((Use { user: op, operand: i as u32 }, v?));
    g.operands(op).enumerate().filter_map(of)
}

/// The element type of the constants of an op.
fn stored_type(cx: Cx<'_>, op: OpId) -> DType {
    let constants = cx.g.operands(op).flatten().filter(|&v| cx.is_constant(v));
    let mut types = constants.filter_map(|v| match cx.g.kind(v.op) {
        OpKind::Constant(c) => Some(cx.pool.dtype(c.entry)),
        _ => cx.constants().ty(v).ok().map(|t| t.0),
    });
    types.find(|d| d.is_arithmetic_float()).unwrap_or(DType::F32)
}

/// The extents that types say, `n` where they do not, and a batch of 1. Declarations may be stale: extents that do not
/// fit each other cannot be evaluated, and others are tried.
fn typed_dims(cx: Cx<'_>, v: Value, n: u64) -> Option<Vec<u64>> {
    let certain = cx.types.dims(v);
    let declared = cx.g.ty(v).tensor().and_then(|t| t.shape.clone());
    let rank = certain.as_ref().map(|d| d.len()).or(declared.as_ref().map(|d| d.len()))?;
    let one = |i: usize| {
        let known = certain.as_ref().and_then(|d| d.get(i).copied()?);
        let said = || declared.as_ref().and_then(|d| d.get(i)?.known());
        known.or_else(said).unwrap_or(if i == 0 { 1 } else { n })
    };
    Some((0..rank).map(one).collect())
}

/// Binds a constant operand that is `wanted` to its stored elements, adding up the magnitudes of those that are read. A
/// constant that stands for data of the path is left to that. Gives the type of the elements that are counted.
fn watch<'a>(
    e: &mut Evaluator<'a>,
    cx: Cx<'a>,
    (at, v): (Use, Value),
    data: &[Given],
    wanted: impl Fn(normfold_ir::ConstId) -> bool,
    tally: &'a Tally,
) -> Option<DType> {
    let (g, pool) = (cx.g, cx.pool);
    // Most operands are data, or constants that are not asked for: found out without a search.
    match g.kind(v.op) {
        _ if data.iter().any(|given| given.value == v) => return None,
        OpKind::Constant(c) if !wanted(c.entry) => return None,
        OpKind::Constant(c)
            if cx.is_fixed(c.binding) && pool.dtype(c.entry).is_arithmetic_float() =>
        {
            e.bind(v, Binding::Stored { entry: c.entry, counted: true });
            return Some(pool.dtype(c.entry));
        }
        OpKind::Constant(_) | OpKind::Parameter(_) | OpKind::Identity(_) => {}
        OpKind::Reshape(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) | OpKind::Flatten(_) => {}
        OpKind::Transpose(_) | OpKind::Dequantize(_) => {}
        _ => return None,
    }
    // The value as the op reads it; behind a view it is the constant that is watched.
    let Ok(Some(r)) = resolve(cx, at, Role::Weight, &IdSet::default()) else {
        return watch_integers(e, cx, v, tally);
    };
    if r.computed || !wanted(r.entry) {
        return None;
    }
    let v = Value::new(r.op, 0);
    if data.iter().any(|given| given.value == v) {
        return None;
    }
    if !matches!(g.kind(r.op), OpKind::Constant(_) | OpKind::Parameter(_))
        || !pool.dtype(r.entry).is_arithmetic_float()
    {
        return None;
    }
    e.bind(v, Binding::Stored { entry: r.entry, counted: true });
    Some(pool.dtype(r.entry))
}

/// The same of a weight that is dequantized: its rounding is that of its scale.
fn watch_integers<'a>(
    e: &mut Evaluator<'a>,
    cx: Cx<'a>,
    v: Value,
    tally: &'a Tally,
) -> Option<DType> {
    let is_dequantized = matches!(cx.g.kind(v.op), OpKind::Dequantize(_));
    let (dtype, dims) = cx.constants().ty(v).ok()?;
    if !is_dequantized {
        return None;
    }
    let own = RefCell::new(e.unbound());
    let f = Box::new(move |index: &[u64]| {
        let x = own.borrow_mut().element(v, index).map_or(f64::NAN, |x| x.to_f64());
        tally.note(x);
        Scalar::F(x)
    });
    e.bind(v, Binding::Lazy { dtype, dims, f });
    Some(dtype)
}

/// The sampled positions: channels with the largest scale and shift, each at the first corner and in the middle; more of
/// them where several ops absorbed, so that each is looked at.
fn positions(dims: &[u64], own: Option<&Ask>, absorbers: usize) -> Each<Point> {
    if dims.contains(&0) {
        return Each::new();
    }
    let axis = own.and_then(|a| a.axes().first().copied()).filter(|&a| a < dims.len());
    let channel = |v: &[f64]| {
        let most = largest(v);
        v.iter().rposition(|x| x.abs() == most).unwrap_or(0) as u64
    };
    let mut channels: SmallVec<[u64; 2]> = smallvec![0];
    if let (Some(axis), Some(own)) = (axis, own) {
        let n = dims[axis];
        channels = smallvec![channel(&own.s).min(n - 1), channel(&own.t).min(n - 1)];
        if channels[0] == channels[1] {
            channels[1] = n - 1 - channels[0];
        }
        if absorbers > 1 {
            let k = 2 * absorbers.min(16) as u64;
            channels.extend((0..k).map(|i| i * n / k));
        }
        channels.sort_unstable();
        channels.dedup();
    }
    let mut all: Each<Point> = Each::with_capacity(2 * channels.len());
    for &c in &channels {
        for middle in [false, true] {
            let mut p: Point = dims.iter().map(|&d| if middle { d / 2 } else { 0 }).collect();
            if let Some(axis) = axis {
                p[axis] = c;
            }
            all.push(p);
        }
    }
    all.dedup();
    all
}

/// The largest magnitude; 0 of none.
fn largest(v: &[f64]) -> f64 {
    largest_of(v, v, |x, _| x.abs())
}

/// The largest of what `f` gives of pairs, which is not negative; 0 of none.
fn largest_of(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> f64 {
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    let raise = |most: &mut f64, x: f64| {
        if x > *most {
            *most = x;
        }
    };
    // Four at once do not wait for each other.
    let mut most = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for i in 0..4 {
            raise(&mut most[i], f(a[i], b[i]));
        }
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        raise(&mut most[0], f(a, b));
    }
    most.into_iter().fold(0.0, f64::max)
}

/// Whether a convolution with a kernel of those extents reads one position of the data for each of the result.
fn is_pointwise(c: &Conv, kernel: &[u64]) -> bool {
    let first = c.w.first_spatial_axis();
    (0..usize::from(c.w.spatial)).all(|i| {
        kernel.get(first + i) == Some(&1) && c.pad.explicit(i).is_none_or(|pad| pad == (0, 0))
    })
}

/// Extents of the data of an absorbing op: one batch, all channels, and room for an interior and a border. A kernel of one
/// tap has no border: where the result is read directly, a second position says what the first one does.
fn data_dims(cx: Cx<'_>, op: OpId, data: Value, directly: bool) -> Vec<u64> {
    let none = IdSet::default();
    let kind = cx.g.kind(op);
    // What a kernel says of the data follows from its extents alone.
    if matches!(kind, OpKind::Conv(_) | OpKind::ConvTranspose(_))
        && let Some(kernel) = cx.g.operand(op, 1).and_then(|w| cx.constants().ty(w).ok())
        && let Some(mut dims) = certify::convolved_dims(kind, &kernel.1)
    {
        if let OpKind::Conv(c) = kind
            && directly
            && is_pointwise(c, &kernel.1)
        {
            let first = c.x.first_spatial_axis();
            dims[first..first + usize::from(c.x.spatial)].fill(1);
        }
        return dims;
    }
    let Ok(weight) = super::weight::weight(cx, op, &none) else {
        return typed_dims(cx, data, 3).unwrap_or_default();
    };
    let bias = match kind {
        OpKind::Linear(_) => {
            let at = Use { user: op, operand: 2 };
            resolve(cx, at, Role::Bias, &none).ok().flatten()
        }
        _ => None,
    };
    let demand = Demand {
        weight: &weight.resolved.dims,
        channels: weight.map.input.count,
        rank: cx.rank(data).unwrap_or(2),
        rows: certify::rows(kind, bias.as_ref().map(|b| b.dims.as_slice())),
        is_left: weight.map.weight == 0,
    };
    demand.data_dims(kind)
}
