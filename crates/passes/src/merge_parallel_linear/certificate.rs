//! The certificate of a merge: the sum of both ops before, and the one op after, on a bounded sample.
//!
//! Positions include every corner, where padding enters. Data is at most 1, so elements count as they are.

use super::linear::{Facts, LinearOp};
use crate::certify::{
    self, Certificate, Compared, Demand, Given, Reads, Rounding, Side, own_factor,
};
use normfold_ir::{
    ChannelMap, ConstPool, DType, OpId, Value,
    eval::{Binding, EvalError, Evaluator, Tally},
};

/// The data of the sample, and what both ops gave together.
#[derive(Debug)]
pub(super) struct Sample {
    dims: Vec<u64>,
    dtype: DType,
    points: Vec<Vec<u64>>,
    /// Per point: the sum, and what was read for it.
    before: Vec<(f64, Reads)>,
}

impl Sample {
    /// Whether the ops give numbers that can be compared, within a bound.
    pub(super) fn is_finite(&self) -> bool {
        // One op reads no more than both.
        self.before
            .iter()
            .all(|(x, reads)| (x + 2.0 * reads.magnitude).is_finite() && reads.is_finite())
    }
}

/// Evaluates the ops as they are, each taken away where `negative`.
pub(super) fn before(
    facts: Facts<'_>,
    pool: &ConstPool,
    (kept, gone): (&LinearOp, &LinearOp),
    negative: [bool; 2],
) -> Result<Sample, EvalError> {
    let _entered = tracing::debug_span!("certificate").entered();
    let g = facts.g;
    let dims = data_dims(facts, kept, gone);
    let outputs = result_dims(facts, pool, kept, &dims)?;
    let others = result_dims(facts, pool, gone, &dims)?;
    if outputs != others {
        let message = format!("results of extents {outputs:?} and {others:?}").into();
        return Err(EvalError::Shape { op: g.location(gone.op), message });
    }
    let points = certify::corners(&outputs);
    let on = (facts, pool, Side::Before);
    let a = values(on, (kept.op, kept.data), kept.dtype, &dims, &points)?;
    let b = values(on, (gone.op, gone.data), kept.dtype, &dims, &points)?;
    let [s, t] = negative.map(|n| if n { -1.0 } else { 1.0 });
    let both = a.into_iter().zip(b).map(|((a, m), (b, n))| (s * a + t * b, m + n));
    Ok(Sample { dtype: kept.dtype, before: both.collect(), dims, points })
}

/// An evaluator, on data of a linear op.
fn evaluator<'a>(
    (facts, pool, side): (Facts<'a>, &'a ConstPool, Side),
    data: Option<Value>,
    l: (DType, &[u64]),
    tally: &'a Tally,
) -> Evaluator<'a> {
    let data = data.map(|value| Given { value, dtype: l.0, dims: l.1.to_vec() });
    certify::evaluator((facts.g, pool, facts.known), side, data.as_slice(), tally)
}

/// The extents of the result on data of those extents.
fn result_dims(
    facts: Facts<'_>,
    pool: &ConstPool,
    l: &LinearOp,
    dims: &[u64],
) -> Result<Vec<u64>, EvalError> {
    let tally = Tally::default();
    let data = facts.g.operand(l.op, l.data);
    let mut e = evaluator((facts, pool, Side::Before), data, (l.dtype, dims), &tally);
    e.dims(Value::new(l.op, 0))
}

/// The op's results at the points, with what was read of its constants.
fn values(
    (facts, pool, side): (Facts<'_>, &ConstPool, Side),
    (op, data): (OpId, usize),
    dtype: DType,
    dims: &[u64],
    points: &[Vec<u64>],
) -> Result<Vec<(f64, Reads)>, EvalError> {
    let g = facts.g;
    let tally = Tally::default();
    let mut e = evaluator((facts, pool, side), g.operand(op, data), (dtype, dims), &tally);
    for (_, v) in g.operands(op).enumerate().filter(|(i, _)| *i != data) {
        let constant = v.map(|v| facts.source(v));
        if let Some((v, entry)) = constant.and_then(|v| Some((v, facts.entry(v)?))) {
            e.bind(v, Binding::Stored { entry, counted: true });
        }
    }
    let factor = own_factor(g, op);
    let one = |p: &Vec<u64>| {
        let y = e.element(Value::new(op, 0), p)?.to_f64();
        Ok((y, Reads::of(tally.take(), factor)))
    };
    points.iter().map(one).collect()
}

/// Evaluates the op that is left. `Ok(Err(message))` is a disagreement.
pub(super) fn after(
    facts: Facts<'_>,
    pool: &ConstPool,
    at: (OpId, usize),
    sample: &Sample,
) -> Result<Result<Certificate, String>, EvalError> {
    let _entered = tracing::debug_span!("certificate").entered();
    let on = (facts, pool, Side::After);
    let now = values(on, at, sample.dtype, &sample.dims, &sample.points)?;
    let stored = Rounding::of(sample.dtype);
    let mut certificate = Certificate::default();
    for ((p, &(before, m)), (after, n)) in sample.points.iter().zip(&sample.before).zip(now) {
        let compared = Compared { before, after, reads: m + n, rounding: 0.0, slack: 0.0 };
        if let Err(message) = certificate.compare(p, stored, compared) {
            return Ok(Err(message));
        }
    }
    Ok(Ok(certificate))
}

/// Extents of the data: those that are certain; else what is enough for both ops.
fn data_dims(facts: Facts<'_>, kept: &LinearOp, gone: &LinearOp) -> Vec<u64> {
    let Facts { g, types, .. } = facts;
    let certain = g.operand(kept.op, kept.data).and_then(|x| types.dims(x));
    let rank = certain.as_ref().map_or(2, |d| d.len());
    let demand = |l: &LinearOp| {
        let (kind, weight) = (g.kind(l.op), l.weight.dims.as_slice());
        let map = ChannelMap::of(kind, 1 - l.data, weight);
        let demand = Demand {
            weight,
            // A vector has no other axis.
            channels: map.map_or(weight.first().copied().unwrap_or(1), |m| m.input.count),
            rank,
            rows: certify::rows(kind, l.bias.as_ref().map(|b| b.dims.as_slice())),
            is_left: l.data == 1,
        };
        demand.data_dims(kind)
    };
    let guess: Vec<u64> =
        demand(kept).into_iter().zip(demand(gone)).map(|(a, b)| a.max(b)).collect();
    match certain {
        // One batch is enough; rows of a matrix may be those of a bias.
        Some(c) if c.len() == guess.len() => {
            let one = |(i, (c, n)): (usize, (&Option<u64>, u64))| match c {
                Some(c) if i > 0 || guess.len() < 3 => *c,
                _ => n,
            };
            c.iter().zip(guess.iter().copied()).enumerate().map(one).collect()
        }
        _ => guess,
    }
}
