use super::super::ConstData;
use super::*;
use crate::DType;

const MAX: f64 = f64::MAX;
const TINY: f64 = f64::MIN_POSITIVE;

#[derive(Clone, Copy)]
enum By<'a> {
    Scale(&'a [f64]),
    Shift(&'a [f64]),
}
use By::{Scale, Shift};

fn step(pool: &mut ConstPool, map: &ElementMap, by: By<'_>) -> Step {
    match by {
        Scale(v) => Step::Scale { map: map.clone(), factors: pool.vector(v) },
        Shift(v) => Step::Shift { map: map.clone(), addends: pool.vector(v) },
    }
}

/// The entry that `derive` gives of `base`, and the one that has every step of its own.
fn both(
    pool: &mut ConstPool,
    base: ConstId,
    map: &ElementMap,
    list: &[By<'_>],
) -> (ConstId, ConstId) {
    list.iter().fold((base, base), |(a, b), &by| {
        let step = step(pool, map, by);
        (pool.derive(a, step.clone()), pool.derive_literally(b, step))
    })
}

fn steps(pool: &ConstPool, id: ConstId) -> &[Step] {
    match &pool.entry(id).data {
        ConstData::Derived(d) => d.steps(),
        _ => &[],
    }
}

/// What `derive` gives has so many steps, and the elements that one step after the other gives.
#[track_caller]
fn check(base: &[f64], list: &[By<'_>], len: usize) {
    let mut pool = ConstPool::default();
    let n = base.len() as u64;
    let map = ElementMap::axis(&[n, 1], 0);
    let id = pool.add_f64(DType::F64, &[n, 1], base);
    let (a, b) = both(&mut pool, id, &map, list);
    assert_eq!(steps(&pool, a).len(), len);
    let (a, b) = (pool.to_exact_f64(a).expect("present"), pool.to_exact_f64(b).expect("present"));
    for (x, y) in a.iter().zip(&b) {
        let close = (x - y).abs() <= 1e-14 * y.abs();
        assert!(close || x == y || (x.is_nan() && y.is_nan()), "{a:?}, one by one {b:?}");
    }
}

#[test]
fn one_scale_and_one_shift() {
    let x = [1.5, -2.0, 0.0, 1e30];
    let (s, t) = (&[0.1, -3.0, 7.0, 0.0], &[0.7, 0.0, -0.3, 1.0]);
    check(&x, &[Scale(s), Scale(t)], 1);
    check(&x, &[Shift(s), Shift(t)], 1);
    check(&x, &[Shift(s), Scale(t)], 2);
    check(&x, &[Scale(s), Shift(t), Scale(s)], 2);
    check(&x, &[Shift(t), Scale(s), Shift(t), Scale(t), Scale(s), Shift(s), Shift(t)], 2);
    let many: Vec<By<'_>> = [Scale(&[0.9, 1.1, -1.0, 1.0]), Shift(t)].repeat(50);
    check(&x, &many, 2);
}

/// Where a product leaves the range in which f64 has all its digits, or is no number, every step stays.
#[test]
fn the_ends_of_the_range() {
    let inf = f64::INFINITY;
    check(&[1e-200], &[Scale(&[1e200]), Scale(&[1e200])], 2);
    check(&[1e200], &[Scale(&[1e-200]), Scale(&[1e-200])], 2);
    check(&[1e10], &[Scale(&[TINY]), Scale(&[0.3])], 2);
    check(&[0.0], &[Scale(&[1e200]), Scale(&[1e200])], 2);
    check(&[1.0], &[Scale(&[inf]), Scale(&[2.0])], 2);
    check(&[1.0], &[Scale(&[inf]), Scale(&[0.0])], 2);
    check(&[1.0], &[Scale(&[0.0]), Scale(&[f64::NAN])], 2);
    check(&[inf], &[Scale(&[0.0]), Scale(&[3.0])], 1);
    check(&[-MAX], &[Shift(&[MAX]), Shift(&[MAX])], 2);
    check(&[1.0], &[Shift(&[inf]), Shift(&[-inf])], 2);
    check(&[-MAX / 2.0], &[Shift(&[MAX / 2.0]), Scale(&[2.0])], 2);
    check(&[0.0], &[Shift(&[1.0]), Scale(&[inf])], 2);
    check(&[1.0], &[Shift(&[inf]), Scale(&[0.0])], 2);
    check(&[inf], &[Shift(&[1.0]), Scale(&[0.0])], 2);
    check(&[1e300], &[Scale(&[1e-200]), Shift(&[1.0]), Scale(&[1e-200])], 3);
    // One element that cannot be composed keeps all of them.
    check(&[1.0, 1e-200], &[Scale(&[2.0, 1e200]), Scale(&[3.0, 1e200])], 2);
}

#[test]
fn other_channels_and_other_steps_end_the_tail() {
    let mut pool = ConstPool::default();
    let base = pool.add_f64(DType::F32, &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let [rows, columns] = [0, 1].map(|axis| ElementMap::axis(&[2, 2], axis));
    let by_row = step(&mut pool, &rows, Scale(&[2.0, 3.0]));
    let by_column = step(&mut pool, &columns, Scale(&[5.0, 7.0]));
    let add = step(&mut pool, &columns, Shift(&[1.0, 1.0]));
    let same = Step::Broadcast { dims: vec![2, 2] };
    for between in [by_column, add, same] {
        let list = [by_row.clone(), between, by_row.clone()];
        let id = list.into_iter().fold(base, |id, step| pool.derive(id, step));
        assert_eq!(steps(&pool, id).len(), 3);
    }
}

/// The same expression is the same entry, whichever way it came about; elements are rounded once.
#[test]
fn interned_and_rounded_once() {
    let mut pool = ConstPool::default();
    let base = pool.add_f64(DType::F16, &[1], &[3.0]);
    let map = ElementMap::single();
    let (a, b) = both(&mut pool, base, &map, &[Scale(&[1.0 / 3.0]), Scale(&[3.0]), Scale(&[0.1])]);
    assert_ne!(a, b);
    assert_eq!(pool.to_f64(a).expect("present"), [half::f16::from_f64(0.3).to_f64()]);
    let again = step(&mut pool, &map, Scale(&[1.0 / 3.0 * 3.0 * 0.1]));
    assert_eq!(pool.derive(base, again), a);
}

/// A vector that is not at hand stays a step.
#[test]
fn absent_vectors() {
    let mut pool = ConstPool::default();
    let base = pool.add_f64(DType::F32, &[1], &[3.0]);
    let ty = crate::TensorType::of(DType::F64, &[1]);
    let factors = pool.add(ty, ConstData::Absent { hash: None });
    let scale = Step::Scale { map: ElementMap::single(), factors };
    let once = pool.derive(base, scale.clone());
    let twice = pool.derive(once, scale);
    assert_eq!(steps(&pool, twice).len(), 2);
}
