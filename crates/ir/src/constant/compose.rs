//! Steps that become one: whatever number of norms met in a constant, one scale and one shift of it by the same channels is
//! what they come to.
//!
//! `x·a·b` is `x·(a·b)`, `x + c + d` is `x + (c + d)`, and `(x + c)·b` is `x·b + c·b`. In f64 both sides differ by no more
//! than the rounding of what is added and multiplied on the way, but for numbers at the ends of the range, where a product
//! loses digits, vanishes or overflows although the result would not: those stay as they are, and so does what is not
//! finite. The sign of a zero may change.

use super::{ConstPool, Derived, ElementMap, Step};
use crate::ConstId;

/// An addend that is not larger cannot make `x·b` overflow where `(x + c)·b` does not.
const LARGEST: f64 = f64::MAX / 4.0;

/// The expression `d` with one more step, where that takes steps before it in. Its vectors are new entries.
pub(super) fn composed(pool: &mut ConstPool, d: &Derived, step: &Step) -> Option<Derived> {
    let (last, before) = d.steps().split_last()?;
    let mut steps = before.to_vec();
    match (last, step) {
        (Step::Scale { map, factors: a }, Step::Scale { map: m, factors: b }) if map == m => {
            let factors = product(pool, *a, *b, f64::MAX)?;
            steps.push(scale(pool, map, &factors));
        }
        (Step::Shift { map, addends: c }, Step::Shift { map: m, addends: d }) if map == m => {
            let addends = sum(pool, *c, *d)?;
            steps.push(shift(pool, map, &addends));
        }
        (Step::Shift { map, addends: c }, Step::Scale { map: m, factors: b }) if map == m => {
            let addends = product(pool, *c, *b, LARGEST)?;
            match before.last() {
                Some(Step::Scale { map: m, factors: a }) if map == m => {
                    let factors = product(pool, *a, *b, f64::MAX)?;
                    steps.pop();
                    steps.push(scale(pool, map, &factors));
                }
                _ => steps.push(step.clone()),
            }
            steps.push(shift(pool, map, &addends));
        }
        _ => return None,
    }
    Some(d.with_steps(steps.into()))
}

fn scale(pool: &mut ConstPool, map: &ElementMap, factors: &[f64]) -> Step {
    Step::Scale { map: map.clone(), factors: pool.vector(factors) }
}

fn shift(pool: &mut ConstPool, map: &ElementMap, addends: &[f64]) -> Step {
    Step::Shift { map: map.clone(), addends: pool.vector(addends) }
}

/// The products of two vectors, where each is exact but for its last place and not larger than that.
fn product(pool: &ConstPool, a: ConstId, b: ConstId, largest: f64) -> Option<Vec<f64>> {
    pairs(pool, a, b, |a, b| {
        let p = a * b;
        let is_zero = (a == 0.0 && b.is_finite()) || (b == 0.0 && a.is_finite());
        (is_zero || (p.is_normal() && p.abs() <= largest)).then_some(p)
    })
}

/// The sums of two vectors, where each is finite.
fn sum(pool: &ConstPool, a: ConstId, b: ConstId) -> Option<Vec<f64>> {
    pairs(pool, a, b, |a, b| Some(a + b).filter(|s| s.is_finite()))
}

fn pairs(
    pool: &ConstPool,
    a: ConstId,
    b: ConstId,
    f: impl Fn(f64, f64) -> Option<f64>,
) -> Option<Vec<f64>> {
    if pool.count(a) != pool.count(b) {
        return None;
    }
    // What cannot be read here may be at hand later.
    let (a, b) = (pool.to_f64(a).ok()?, pool.to_f64(b).ok()?);
    a.into_iter().zip(b).map(|(a, b)| f(a, b)).collect()
}

#[cfg(test)]
mod tests;
