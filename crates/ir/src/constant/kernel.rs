//! Loops over the elements of weights, compiled for the widest vectors that the processor has.

#![allow(clippy::needless_range_loop, reason = "loops over lanes become vectors in this form")]

/// A loop. What is inlined into `run`, which is to be `#[inline(always)]`, is compiled twice.
pub(super) trait Kernel {
    type Output;
    fn run(self) -> Self::Output;
}

/// Runs a kernel, compiled for AVX2 where the processor has that: four f64 at a time instead of two. Results are the
/// same: each operation rounds as IEEE 754 says, and none is fused with another.
pub(super) fn vectorised<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide<K: Kernel>(kernel: K) -> K::Output {
            kernel.run()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            #[allow(
                unsafe_code,
                reason = "a function may use AVX2 only where the processor has it"
            )]
            // SAFETY: it has.
            return unsafe { wide(kernel) };
        }
    }
    kernel.run()
}

/// Elements that are looked at side by side: float maxima are not reordered by compilers.
const LANES: usize = 8;

/// The largest magnitude, the largest error, and a sum that is NaN when an element is not finite.
pub(super) type Extremes = (f64, f64, f64);

/// [`Extremes`] lane by lane.
#[derive(Default)]
struct Lanes {
    largest: [f64; LANES],
    error: [f64; LANES],
    sum: [f64; LANES],
}

impl Lanes {
    #[inline(always)]
    fn note(&mut self, exact: &[f64; LANES], stored: &[f64; LANES]) {
        for k in 0..LANES {
            self.largest[k] = larger(exact[k].abs(), self.largest[k]);
        }
        for k in 0..LANES {
            self.error[k] = larger((stored[k] - exact[k]).abs(), self.error[k]);
        }
        for k in 0..LANES {
            self.sum[k] += stored[k] * 0.0;
        }
    }

    #[inline(always)]
    fn all(self) -> Extremes {
        // Else compilers fit the lanes of the loop to the order of these sums.
        let this = std::hint::black_box(self);
        let largest = this.largest.into_iter().fold(0.0, larger);
        (largest, this.error.into_iter().fold(0.0, larger), this.sum.iter().sum())
    }
}

/// One more element.
#[inline(always)]
fn with((largest, error, sum): Extremes, exact: f64, stored: f64) -> Extremes {
    let off = (stored - exact).abs();
    (larger(exact.abs(), largest), larger(off, error), sum + stored * 0.0)
}

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// Runs below this are not worth lanes.
const SHORT: usize = 4 * LANES;

/// Multiplies little-endian f32 elements by `s` in f64, rounds each once, and gives what [`extremes`] gives.
#[inline(always)]
pub(super) fn scale_run(elements: &mut [[u8; 4]], s: f64) -> Extremes {
    if elements.len() < SHORT {
        let mut found = (0.0, 0.0, 0.0);
        for e in elements {
            let exact = f64::from(f32::from_le_bytes(*e)) * s;
            let stored = exact as f32;
            *e = stored.to_le_bytes();
            found = with(found, exact, stored.into());
        }
        return found;
    }
    let mut lanes = Lanes::default();
    let mut chunks = elements.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        scale(chunk, s, &mut lanes);
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        // What is repeated changes no maximum, and whether a sum is NaN.
        let mut padded = [tail[0]; LANES];
        padded[..tail.len()].copy_from_slice(tail);
        scale(&mut padded, s, &mut lanes);
        tail.copy_from_slice(&padded[..tail.len()]);
    }
    lanes.all()
}

#[inline(always)]
fn scale(elements: &mut [[u8; 4]], s: f64, lanes: &mut Lanes) {
    let (mut exact, mut stored) = ([0.0; LANES], [0.0; LANES]);
    let mut wide = [0.0; LANES];
    for k in 0..LANES {
        exact[k] = f64::from(f32::from_le_bytes(elements[k])) * s;
    }
    for k in 0..LANES {
        stored[k] = exact[k] as f32;
    }
    for k in 0..LANES {
        wide[k] = f64::from(stored[k]);
    }
    for k in 0..LANES {
        elements[k] = stored[k].to_le_bytes();
    }
    lanes.note(&exact, &wide);
}

/// The largest `|exact|`, the largest `|stored − exact|`, and `Σ 0·stored`, which is NaN when an element is not finite
/// (0·∞ and 0·NaN) and 0 otherwise.
#[inline(always)]
pub(super) fn extremes(exact: &[f64], stored: &[f64]) -> Extremes {
    if exact.len() < SHORT {
        let both = exact.iter().zip(stored);
        return both.fold((0.0, 0.0, 0.0), |found, (&e, &s)| with(found, e, s));
    }
    let mut lanes = Lanes::default();
    let (es, tail) = exact.as_chunks::<LANES>();
    let (ss, rest) = stored.as_chunks::<LANES>();
    for (e, s) in es.iter().zip(ss) {
        lanes.note(e, s);
    }
    if let (Some(&e), Some(&s)) = (tail.first(), rest.first()) {
        let (mut padded_e, mut padded_s) = ([e; LANES], [s; LANES]);
        padded_e[..tail.len()].copy_from_slice(tail);
        padded_s[..rest.len()].copy_from_slice(rest);
        lanes.note(&padded_e, &padded_s);
    }
    lanes.all()
}
