//! How far two values of one output are apart.

use normfold_ir::{DType, Tensor};
use std::sync::Arc;

/// The largest difference that a type gets by default, relative to the largest magnitude of the output: what rounding
/// intermediate values in another order costs in a deep network. Integers and booleans have to be equal.
pub fn default_tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        t if t.is_float() => 0.1,
        _ => 0.0,
    }
}

/// How far two values of one output are apart.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Difference {
    /// The name of the output.
    pub name: Arc<str>,
    /// The element type.
    pub dtype: DType,
    /// The extents that the first model gave.
    pub dims: Vec<u64>,
    /// The extents, and the element type, of the second, where they are others; nothing is compared then.
    pub other: Option<(DType, Vec<u64>)>,
    /// Elements that are finite in both.
    pub compared: u64,
    /// Elements that are not finite in the first.
    pub non_finite: u64,
    /// Elements that are NaN or infinite in one of the two and not the same in the other.
    pub mismatched: u64,
    /// The largest absolute difference of elements that are finite in both.
    pub absolute: f64,
    /// The largest finite magnitude in the first.
    pub largest: f64,
    /// 20·log₁₀ of `largest` over the root of the mean squared difference, in dB; infinite when nothing differs.
    pub psnr: f64,
    /// The largest `relative` that passes.
    pub tolerance: f64,
}

impl Difference {
    /// Of what one output was in each sample, and became.
    pub(super) fn of<'a>(
        name: Arc<str>,
        samples: impl Iterator<Item = (&'a Tensor, &'a Tensor)>,
        tolerance: f64,
    ) -> Self {
        let mut d = Self {
            name,
            dtype: DType::F32,
            dims: Vec::new(),
            other: None,
            compared: 0,
            non_finite: 0,
            mismatched: 0,
            absolute: 0.0,
            largest: 0.0,
            psnr: f64::INFINITY,
            tolerance,
        };
        let mut squares = 0.0;
        for (i, (a, b)) in samples.enumerate() {
            let other = (a.dtype(), a.dims()) != (b.dtype(), b.dims());
            if i == 0 || other {
                (d.dtype, d.dims) = (a.dtype(), a.dims().to_vec());
            }
            if other {
                d.other = Some((b.dtype(), b.dims().to_vec()));
                return d;
            }
            d.add(a, b, &mut squares);
        }
        if squares > 0.0 {
            let rms = (squares / d.compared as f64).sqrt();
            d.psnr = 20.0 * (d.largest / rms).log10();
        }
        d
    }

    fn add(&mut self, a: &Tensor, b: &Tensor, squares: &mut f64) {
        let integers = !a.dtype().is_float();
        for i in 0..a.len() {
            let (Some(x), Some(y)) = (a.get(i), b.get(i)) else { break };
            // Differences of large integers do not fit f64; whether they differ does.
            let (x, y, equal) = (x.to_f64(), y.to_f64(), integers && x.to_i64() == y.to_i64());
            if x.is_finite() {
                self.largest = self.largest.max(x.abs());
            } else {
                self.non_finite += 1;
            }
            if x.is_finite() && y.is_finite() {
                let apart = match (x - y).abs() {
                    _ if equal => 0.0,
                    apart if integers => apart.max(1.0),
                    apart => apart,
                };
                self.compared += 1;
                self.absolute = self.absolute.max(apart);
                *squares += apart * apart;
            } else if x != y && !(x.is_nan() && y.is_nan()) {
                self.mismatched += 1;
            }
        }
    }

    /// The largest difference, relative to the largest finite magnitude in the first.
    pub fn relative(&self) -> f64 {
        match self.absolute {
            0.0 => 0.0,
            d if self.largest > 0.0 => d / self.largest,
            _ => f64::INFINITY,
        }
    }

    /// Whether the output is what it was, within the tolerance.
    pub fn passed(&self) -> bool {
        self.other.is_none() && self.mismatched == 0 && self.relative() <= self.tolerance
    }
}

#[cfg(test)]
mod tests {
    use super::Difference;
    use normfold_ir::{DType, Tensor};

    fn floats(a: &[f64], b: &[f64]) -> Difference {
        let t = |v: &[f64]| Tensor::floats(DType::F32, &[v.len() as u64], v.to_vec());
        Difference::of("y".into(), [(&t(a), &t(b))].into_iter(), 0.01)
    }

    #[test]
    fn figures() {
        let d = floats(&[1.0, -100.0, 3.0], &[1.0, -100.0, 3.5]);
        assert_eq!((d.absolute, d.largest, d.relative()), (0.5, 100.0, 0.005));
        assert!((d.psnr - 20.0 * (100.0 / (0.25_f64 / 3.0).sqrt()).log10()).abs() < 1e-9);
        assert!(d.passed());
        assert!(!floats(&[1.0, -100.0, 3.0], &[1.0, -100.0, 4.5]).passed());
        let same = floats(&[1.0], &[1.0]);
        assert_eq!((same.psnr, same.relative(), same.passed()), (f64::INFINITY, 0.0, true));
    }

    #[test]
    fn what_is_not_finite_has_to_be_the_same() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let d = floats(&[nan, inf, -inf, 1.0], &[nan, inf, -inf, 1.0]);
        assert_eq!((d.non_finite, d.mismatched, d.compared, d.passed()), (3, 0, 1, true));
        for (a, b) in [(nan, 1.0), (1.0, nan), (inf, -inf), (inf, 1.0), (1.0, inf), (nan, inf)] {
            let d = floats(&[a, 1.0], &[b, 1.0]);
            assert_eq!((d.mismatched, d.passed()), (1, false), "{a} {b}");
        }
    }

    #[test]
    fn samples_add_up() {
        let t = |v: f64| Tensor::floats(DType::F32, &[1], vec![v]);
        let (a, b, c) = (t(1.0), t(10.0), t(11.0));
        let d = Difference::of("y".into(), [(&a, &a), (&b, &c)].into_iter(), 0.01);
        assert_eq!((d.compared, d.absolute, d.largest, d.passed()), (2, 1.0, 10.0, false));
    }

    #[test]
    fn a_difference_from_zero_is_never_small() {
        let d = floats(&[0.0, 0.0], &[0.0, 1e-30]);
        assert_eq!((d.relative(), d.passed()), (f64::INFINITY, false));
        assert!(floats(&[0.0], &[0.0]).passed());
    }

    #[test]
    fn extents_and_types_have_to_be_the_same() {
        let a = Tensor::floats(DType::F32, &[2, 1], vec![1.0, 2.0]);
        let b = Tensor::floats(DType::F32, &[1, 2], vec![1.0, 2.0]);
        assert!(!Difference::of("y".into(), [(&a, &b)].into_iter(), 1.0).passed());
        let c = Tensor::floats(DType::F64, &[2, 1], vec![1.0, 2.0]);
        assert!(!Difference::of("y".into(), [(&a, &c)].into_iter(), 1.0).passed());
    }

    #[test]
    fn integers_beyond_f64_are_told_apart() {
        let t = |v| Tensor::ints(DType::I64, &[1], vec![v]);
        let d = Difference::of("y".into(), [(&t(i64::MAX), &t(i64::MAX - 1))].into_iter(), 0.0);
        assert!(d.absolute >= 1.0 && !d.passed());
        assert!(
            Difference::of("y".into(), [(&t(i64::MAX), &t(i64::MAX))].into_iter(), 0.0).passed()
        );
    }
}
