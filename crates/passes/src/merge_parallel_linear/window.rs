//! Where one kernel stands within another: the window geometry of two convolutions of the same data.
//!
//! Tap k of a convolution reads position `p·stride + k·dilation − begin` for output p. With equal strides the taps of one
//! are taps of the other, `offset` later, where `offset·dilation = begin − begin'`, and the outputs are as many where
//! `begin + end − dilation·(kernel − 1)` agrees.

use super::reason::MergeReason;
use normfold_ir::{Conv, Padding};

/// One spatial axis of a window.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Axis {
    kernel: i64,
    dilation: i64,
    begin: i64,
    end: i64,
}

impl Axis {
    fn reach(self) -> i64 {
        self.dilation * (self.kernel - 1)
    }

    /// What the padding adds to the extent beyond what the window needs.
    fn slack(self) -> i64 {
        self.begin + self.end - self.reach()
    }
}

/// All numbers are small enough that products of two and sums fit an i64.
const LARGEST: i64 = 1 << 30;

fn small(n: impl TryInto<i64>) -> Option<i64> {
    n.try_into().ok().filter(|n| (-LARGEST..=LARGEST).contains(n))
}

/// Spatial axis `i` of a window over data of that extent; `None` where its padding depends on an extent that is unknown,
/// or where numbers are absurd.
fn axis(c: &Conv, kernel: u64, i: usize, extent: Option<u64>) -> Option<Axis> {
    let (kernel, dilation) = (small(kernel)?, small(c.dilations.get(i).copied().unwrap_or(1))?);
    let stride = stride(c, i)?;
    if kernel < 1 || dilation < 1 || stride < 1 {
        return None;
    }
    let reach = dilation * (kernel - 1);
    let (begin, end) = match &c.pad {
        Padding::Causal => (reach, 0),
        same @ (Padding::SameUpper | Padding::SameLower) => {
            let total = match stride {
                1 => reach,
                _ => {
                    let n = small(extent?)?;
                    let outputs = n.div_euclid(stride) + i64::from(n.rem_euclid(stride) > 0);
                    ((outputs - 1) * stride + reach + 1 - n).max(0)
                }
            };
            // The odd cell is at the end for upper, at the beginning for lower.
            let half = total / 2;
            match same {
                Padding::SameUpper => (half, total - half),
                _ => (total - half, half),
            }
        }
        other => {
            let (begin, end) = other.explicit(i)?;
            (small(begin)?, small(end)?)
        }
    };
    Some(Axis { kernel, dilation, begin, end })
}

fn stride(c: &Conv, i: usize) -> Option<i64> {
    small(c.strides.get(i).copied().unwrap_or(1))
}

/// Where the kernel of `small`, of spatial extents `taps.1`, stands within that of `large`, per spatial axis, so that both
/// read the same elements of any data, or of data of those spatial extents, and give as many.
///
/// Strides agree.
pub(super) fn offset(
    (large, small): (&Conv, &Conv),
    taps: (&[u64], &[u64]),
    extents: &[Option<u64>],
) -> Result<Vec<u64>, MergeReason> {
    let differ = |why| Err(MergeReason::WindowsDiffer { why });
    let one = |i: usize| {
        let (Some(&kl), Some(&ks)) = (taps.0.get(i), taps.1.get(i)) else {
            return differ("ranks differ");
        };
        let extent = extents.get(i).copied().flatten();
        let dilation = |c: &Conv| c.dilations.get(i).copied().unwrap_or(1);
        // The same window, whatever its padding comes to.
        if kl == ks && large.pad == small.pad && (kl == 1 || dilation(large) == dilation(small)) {
            return Ok(0);
        }
        let (Some(l), Some(s)) = (axis(large, kl, i, extent), axis(small, ks, i, extent)) else {
            return differ("their padding depends on extents that are not certain");
        };
        if l.slack() != s.slack() {
            let outputs = |a: Axis, n: u64, stride: i64| {
                let room = i64::try_from(n).ok()?.checked_add(a.slack())?.checked_sub(1)?;
                Some((room >= 0).then(|| room / stride))
            };
            let same = extent.zip(stride(large, i)).and_then(|(n, stride)| {
                Some(
                    outputs(l, n, stride)? == outputs(s, n, stride)?
                        && outputs(l, n, stride)?.is_some(),
                )
            });
            if same != Some(true) {
                return differ("their results may have different extents");
            }
        }
        let shift = l.begin - s.begin;
        if s.kernel > 1 && l.kernel > 1 && s.dilation != l.dilation {
            return differ("their dilations differ");
        }
        if shift % l.dilation != 0 {
            return differ("one reads between the positions that the other reads");
        }
        let at = shift / l.dilation;
        let within = at >= 0 && at + s.kernel <= l.kernel;
        match u64::try_from(at) {
            Ok(at) if within => Ok(at),
            _ => differ("one reads beyond the window of the other"),
        }
    };
    (0..usize::from(large.x.spatial)).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::{DataLayout, KernelLayout, KernelOrder, Spatial};

    fn conv(pad: Padding, stride: u64, dilation: u64) -> Conv {
        Conv {
            x: DataLayout::channels_first(1),
            w: KernelLayout::new(KernelOrder::Ois, 1),
            strides: Spatial::from_slice(&[stride]),
            dilations: Spatial::from_slice(&[dilation]),
            pad,
            ..Conv::default()
        }
    }

    fn pad(begin: i64, end: i64) -> Padding {
        Padding::Explicit(Spatial::from_slice(&[(begin, end)]))
    }

    type Window = (Padding, u64, u64);

    fn at(stride: u64, l: Window, s: Window, extent: Option<u64>) -> Option<u64> {
        let (a, b) = (conv(l.0, stride, l.2), conv(s.0, stride, s.2));
        offset((&a, &b), (&[l.1], &[s.1]), &[extent]).ok().map(|o| o[0])
    }

    /// The positions that each tap reads, for every output: the definition.
    fn reads(c: &Conv, kernel: u64, n: u64) -> Option<Vec<Vec<i64>>> {
        let a = axis(c, kernel, 0, Some(n))?;
        let stride = stride(c, 0)?;
        let room = n as i64 + a.slack() - 1;
        let outputs = if room < 0 { 0 } else { room / stride + 1 };
        let tap =
            |p: i64| (0..a.kernel).map(move |k| p * stride + k * a.dilation - a.begin).collect();
        Some((0..outputs).map(tap).collect())
    }

    /// Whatever is found legal reads the same positions and gives as many outputs; whatever does so is found, but where
    /// extents decide.
    #[test]
    fn agrees_with_the_positions_read() {
        let n = 9;
        let pads = || (0..3).flat_map(|a| (0..3).map(move |b| pad(a, b)));
        let all = || {
            pads().chain([Padding::SameUpper, Padding::SameLower, Padding::Valid, Padding::Causal])
        };
        let mut legal = 0;
        for stride in [1, 2, 3] {
            for (kl, ks) in [(3, 1), (3, 2), (5, 3), (3, 3), (1, 1), (4, 2)] {
                for (dl, ds) in [(1, 1), (2, 2), (2, 1), (1, 2)] {
                    for (l, s) in all().flat_map(|l| all().map(move |s| (l.clone(), s))) {
                        let (a, b) = (conv(l.clone(), stride, dl), conv(s.clone(), stride, ds));
                        let (ra, rb) = (reads(&a, kl, n).unwrap(), reads(&b, ks, n).unwrap());
                        let shifted = |o: usize| {
                            ra.len() == rb.len()
                                && ra.iter().zip(&rb).all(|(a, b)| a.get(o..o + b.len()) == Some(b))
                        };
                        let found = at(stride, (l.clone(), kl, dl), (s.clone(), ks, ds), Some(n));
                        let expected =
                            (0..kl as usize).find(|&o| shifted(o)).filter(|_| !ra.is_empty());
                        assert_eq!(
                            found,
                            expected.map(|o| o as u64),
                            "{stride} {kl} {ks} {dl} {ds} {l:?} {s:?}"
                        );
                        // What holds of any extent holds of this one.
                        if let Some(o) = at(stride, (l, kl, dl), (s, ks, ds), None) {
                            assert!(shifted(o as usize));
                            legal += 1;
                        }
                    }
                }
            }
        }
        assert!(legal > 300, "{legal}");
    }

    #[test]
    fn absurd_numbers() {
        let huge = pad(i64::MAX, i64::MIN);
        assert_eq!(at(1, (pad(1, 1), 3, 1), (huge, 1, 1), None), None);
        assert_eq!(at(1, (pad(1, 1), u64::MAX, 1), (pad(0, 0), 1, u64::MAX), None), None);
        assert_eq!(at(0, (pad(1, 1), 3, 1), (pad(0, 0), 1, 1), None), None);
    }
}
