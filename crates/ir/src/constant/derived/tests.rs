use super::*;
use crate::TensorType;

fn bytes_of(pool: &ConstPool, id: ConstId) -> Vec<f64> {
    let mut bytes = vec![0; pool.byte_len(id) as usize];
    pool.read_bytes(id, 0, &mut bytes).expect("present");
    let mut out = vec![0.0; pool.count(id) as usize];
    assert!(decode_f64(pool.dtype(id), &bytes, 0, &mut out));
    out
}

/// A tensor of two rows scaled and shifted per row, in every way it can be read.
#[test]
fn readers_agree_and_round_once() {
    let mut pool = ConstPool::default();
    let base = pool.add_f64(DType::F16, &[2, 3], &[1.0, 2.0, 3.0, -4.0, 5.0, 0.5]);
    let third = pool.add_f64(DType::F64, &[2], &[1.0 / 3.0, 3.0]);
    let shift = pool.add_f64(DType::F64, &[2], &[0.25, -1.0]);
    let map = ElementMap::axis(&[2, 3], 0);
    let scaled = pool.derive(base, Step::Scale { map: map.clone(), factors: third });
    let both = pool.derive(scaled, Step::Shift { map: map.clone(), addends: shift });
    // Rounding 1/3 to f16 first and then adding would give another last bit for some element.
    let exact =
        [1.0 / 3.0 + 0.25, 2.0 * (1.0 / 3.0) + 0.25, 3.0 * (1.0 / 3.0) + 0.25, -13.0, 14.0, 0.5];
    assert_eq!(pool.to_exact_f64(both).expect("present"), exact);
    let stored: Vec<f64> = exact.iter().map(|&v| half::f16::from_f64(v).to_f64()).collect();
    assert_eq!(bytes_of(&pool, both), stored);
    assert_eq!(pool.to_f64(both).expect("present"), stored);
    for (i, &v) in stored.iter().enumerate() {
        assert_eq!(pool.element_f64(both, i as u64).expect("present"), v);
    }
    // Reading from the middle, byte by byte of the same elements.
    let mut tail = [0; 4];
    pool.read_bytes(both, 8, &mut tail).expect("present");
    let mut two = [0.0; 2];
    assert!(decode_f64(DType::F16, &tail, 0, &mut two));
    assert_eq!(two, stored[4..]);
    // The same expression is the same entry.
    assert_eq!(pool.derive(scaled, Step::Shift { map, addends: shift }), both);
}

/// f32 elements with one factor per channel go a way of their own: it gives the same bits, from wherever it is read.
#[test]
fn scaled_f32_is_what_its_elements_are() {
    let mut pool = ConstPool::default();
    let values: Vec<f64> = (0..5 * 3 * 7).map(|i| f64::from((i as f32 * 0.37).sin())).collect();
    let base = pool.add_f64(DType::F32, &[5, 3, 7], &values);
    let s = pool.add_f64(DType::F64, &[3], &[1.0 / 3.0, -1e-42, 1e30]);
    let scale = Step::Scale { map: ElementMap::axis(&[5, 3, 7], 1), factors: s };
    let id = pool.derive(base, scale);
    let stored: Vec<f64> = (0..105).map(|i| pool.element_f64(id, i).expect("present")).collect();
    for (first, n) in [(0, 105), (3, 60), (20, 3), (104, 1)] {
        let mut bytes = vec![0; 4 * n];
        let mut stats = RoundingStats::default();
        let start = 4 * first as u64;
        pool.read_bytes_measured(id, start, &mut bytes, Some(&mut stats)).expect("present");
        let mut read = vec![0.0; n];
        assert!(decode_f64(DType::F32, &bytes, 0, &mut read));
        let expected = &stored[first..first + n];
        assert!(read.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{first}");
        assert_eq!(stats.non_finite, 0);
    }
}

/// Some elements get an addend, before and after a scale, from wherever they are read.
#[test]
fn scattered_addends() {
    let mut pool = ConstPool::default();
    let base = pool.add_f64(DType::F32, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let positions = pool.add_i64(&[3], &[0, 4, 5]);
    let addends = pool.add_f64(DType::F64, &[3], &[0.5, 1.0 / 3.0, -6.0]);
    let factors = pool.add_f64(DType::F64, &[2], &[2.0, 3.0]);
    let map = ElementMap::axis(&[2, 3], 0);
    let id = pool.derive(base, Step::Scatter { positions, addends });
    let id = pool.derive(id, Step::Scale { map, factors });
    let id = pool.derive(id, Step::Scatter { positions, addends });
    let exact = [3.5, 4.0, 6.0, 12.0, 3.0 * (5.0 + 1.0 / 3.0) + 1.0 / 3.0, -6.0];
    assert_eq!(pool.to_exact_f64(id).expect("present"), exact);
    let stored: Vec<f64> = exact.iter().map(|&v| f64::from(v as f32)).collect();
    assert_eq!(bytes_of(&pool, id), stored);
    for (i, &v) in stored.iter().enumerate() {
        assert_eq!(pool.element_f64(id, i as u64).expect("present"), v);
    }
    let mut two = [0; 8];
    pool.read_bytes(id, 16, &mut two).expect("present");
    assert_eq!(two[..4], (stored[4] as f32).to_le_bytes());
    assert_eq!(two[4..], (stored[5] as f32).to_le_bytes());
}

#[test]
fn broadcasts_before_and_after_a_scale() {
    let mut pool = ConstPool::default();
    let column = pool.add_f64(DType::F32, &[2, 1], &[1.0, 2.0]);
    let beta = pool.add_f64(DType::F64, &[1], &[10.0]);
    let s = pool.add_f64(DType::F64, &[3], &[1.0, 2.0, 3.0]);
    let id = pool.derive(column, Step::Scale { map: ElementMap::single(), factors: beta });
    let id = pool.derive(id, Step::Broadcast { dims: vec![2, 3] });
    let id = pool.derive(id, Step::Scale { map: ElementMap::axis(&[2, 3], 1), factors: s });
    assert_eq!(pool.dims(id), [2, 3]);
    assert_eq!(bytes_of(&pool, id), [10.0, 20.0, 30.0, 20.0, 40.0, 60.0]);
    assert_eq!(pool.element_f64(id, 4).expect("present"), 40.0);
}

#[test]
fn rounding_is_measured() {
    let mut pool = ConstPool::default();
    let base = pool.add_f64(DType::F32, &[1, 4], &[3.0, 1e30, 1.0, 0.0]);
    let s = pool.add_f64(DType::F64, &[1], &[1.0 / 3.0]);
    let map = ElementMap::axis(&[1, 4], 0);
    let id = pool.derive(base, Step::Scale { map: map.clone(), factors: s });
    let mut stats = RoundingStats::default();
    let mut bytes = [0; 16];
    pool.read_bytes_measured(id, 0, &mut bytes, Some(&mut stats)).expect("present");
    assert!(stats.relative_error <= 2f64.powi(-24) && stats.relative_error > 0.0, "{stats:?}");
    assert_eq!(stats.non_finite, 0);
    let huge = pool.add_f64(DType::F64, &[1], &[1e10]);
    let id = pool.derive(base, Step::Scale { map, factors: huge });
    pool.read_bytes_measured(id, 0, &mut bytes, Some(&mut stats)).expect("present");
    assert_eq!(stats.non_finite, 1);
    let absent =
        pool.add(TensorType::of(DType::F32, &[1]), crate::ConstData::Absent { hash: None });
    assert!(matches!(pool.to_f64(absent), Err(ConstError::Absent)) && !pool.is_present(absent));
}
