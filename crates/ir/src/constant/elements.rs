//! Elements of every numeric type as f64 and back, rounded once to nearest, ties to even.

use crate::DType;
use half::{bf16, f16, slice::HalfFloatSliceExt};

/// Decodes `out.len()` elements from element `start` of `bytes` on. False when the type holds no single number, or the
/// bytes are too few.
#[inline]
pub fn decode_f64(dtype: DType, bytes: &[u8], start: u64, out: &mut [f64]) -> bool {
    let n = out.len();
    let bits = dtype.bits() as usize;
    let first = start as usize;
    if bits >= 8 {
        let w = bits / 8;
        let Some(bytes) =
            first.checked_mul(w).and_then(|a| bytes.get(a..)?.get(..n.checked_mul(w)?))
        else {
            return false;
        };
        return decode_bytes(dtype, bytes, out);
    }
    if bits == 0 || (first + n) * bits > bytes.len() * 8 {
        return false;
    }
    let mask = (1u8 << bits) - 1;
    for (i, o) in out.iter_mut().enumerate() {
        let bit = (first + i) * bits;
        let raw = bytes[bit / 8] >> (bit % 8) & mask;
        *o = match dtype {
            DType::U4 | DType::U2 => f64::from(raw),
            DType::I4 => f64::from(((raw << 4) as i8) >> 4),
            DType::I2 => f64::from(((raw << 6) as i8) >> 6),
            DType::F4E2M1 => minifloat(raw << 4, 2, 1, 1, Specials::None),
            _ => return false,
        };
    }
    true
}

#[inline(always)]
fn decode_bytes(dtype: DType, bytes: &[u8], out: &mut [f64]) -> bool {
    macro_rules! each {
        ($t:ty) => {
            for (o, c) in out.iter_mut().zip(bytes.chunks_exact(size_of::<$t>())) {
                *o = <$t>::from_le_bytes(c.try_into().unwrap_or_default()) as f64;
            }
        };
    }
    match dtype {
        DType::F64 => each!(f64),
        DType::F32 => each!(f32),
        DType::F16 => halves(bytes, out, |src, dst| {
            let mut h = [f16::ZERO; BLOCK];
            for (h, c) in h.iter_mut().zip(src.chunks_exact(2)) {
                *h = f16::from_le_bytes([c[0], c[1]]);
            }
            h[..dst.len()].convert_to_f64_slice(dst);
        }),
        DType::BF16 => halves(bytes, out, |src, dst| {
            for (o, c) in dst.iter_mut().zip(src.chunks_exact(2)) {
                *o = f64::from(f32::from_bits(u32::from(u16::from_le_bytes([c[0], c[1]])) << 16));
            }
        }),
        DType::I64 => each!(i64),
        DType::I32 => each!(i32),
        DType::I16 => each!(i16),
        DType::I8 => each!(i8),
        DType::U64 => each!(u64),
        DType::U32 => each!(u32),
        DType::U16 => each!(u16),
        DType::U8 => each!(u8),
        DType::Bool => {
            out.iter_mut().zip(bytes).for_each(|(o, &b)| *o = f64::from(u8::from(b != 0)))
        }
        DType::F8E4M3FN => out
            .iter_mut()
            .zip(bytes)
            .for_each(|(o, &b)| *o = minifloat(b, 4, 3, 7, Specials::NanOnly)),
        DType::F8E4M3FNUZ => {
            out.iter_mut()
                .zip(bytes)
                .for_each(|(o, &b)| *o = minifloat(b, 4, 3, 8, Specials::NegativeZeroNan));
        }
        DType::F8E5M2 => out
            .iter_mut()
            .zip(bytes)
            .for_each(|(o, &b)| *o = minifloat(b, 5, 2, 15, Specials::Ieee)),
        DType::F8E5M2FNUZ => {
            out.iter_mut()
                .zip(bytes)
                .for_each(|(o, &b)| *o = minifloat(b, 5, 2, 16, Specials::NegativeZeroNan));
        }
        DType::F8E8M0 => out.iter_mut().zip(bytes).for_each(|(o, &b)| {
            *o = if b == 255 { f64::NAN } else { libm::ldexp(1.0, i32::from(b) - 127) };
        }),
        _ => return false,
    }
    true
}

/// Halves converted at once.
const BLOCK: usize = 256;

fn halves(bytes: &[u8], out: &mut [f64], f: impl Fn(&[u8], &mut [f64])) {
    for (src, dst) in bytes.chunks(2 * BLOCK).zip(out.chunks_mut(BLOCK)) {
        f(src, dst);
    }
}

/// How the largest exponent or the negative zero of a small float is read.
#[derive(Clone, Copy, PartialEq)]
enum Specials {
    None,
    Ieee,
    /// All ones is NaN, everything else a number.
    NanOnly,
    NegativeZeroNan,
}

/// A float of sign, `e` exponent and `m` mantissa bits in the high bits of `raw`.
fn minifloat(raw: u8, e: u32, m: u32, bias: i32, specials: Specials) -> f64 {
    let raw = raw >> (7 - e - m);
    let sign = if raw >> (e + m) & 1 == 1 { -1.0 } else { 1.0 };
    let exp = i32::from(raw >> m & ((1 << e) - 1));
    let man = i32::from(raw & ((1 << m) - 1));
    let all = (1 << e) - 1;
    match specials {
        Specials::Ieee if exp == all => {
            return if man == 0 { sign * f64::INFINITY } else { f64::NAN };
        }
        Specials::NanOnly if exp == all && man == (1 << m) - 1 => return f64::NAN,
        Specials::NegativeZeroNan if sign < 0.0 && exp == 0 && man == 0 => return f64::NAN,
        _ => {}
    }
    let (significand, exponent) = if exp == 0 { (man, 1) } else { (man + (1 << m), exp) };
    sign * libm::ldexp(f64::from(significand), exponent - bias - m as i32)
}

/// Rounds each value to `dtype`, nearest, ties to even (integers: nearest, saturating), and writes it little-endian.
/// False when there is no encoding (strings, complex, floats of 8 bits and fewer) or `out` has another length.
#[inline(always)]
pub fn encode_f64(dtype: DType, values: &[f64], out: &mut [u8]) -> bool {
    if dtype.bytes_for(values.len() as u64) != Some(out.len() as u64) {
        return false;
    }
    macro_rules! each {
        ($t:ty, $f:expr) => {
            for (c, &v) in out.chunks_exact_mut(size_of::<$t>()).zip(values) {
                let f: fn(f64) -> $t = $f;
                c.copy_from_slice(&f(v).to_le_bytes());
            }
        };
    }
    match dtype {
        DType::F64 => each!(f64, |v| v),
        DType::F32 => each!(f32, |v| v as f32),
        DType::F16 => {
            for (dst, src) in out.chunks_mut(2 * BLOCK).zip(values.chunks(BLOCK)) {
                let (mut odd, mut h) = ([0.0; BLOCK], [f16::ZERO; BLOCK]);
                odd.iter_mut().zip(src).for_each(|(o, &v)| *o = to_odd_f32(v));
                h[..src.len()].convert_from_f32_slice(&odd[..src.len()]);
                for (c, h) in dst.chunks_exact_mut(2).zip(&h) {
                    c.copy_from_slice(&h.to_le_bytes());
                }
            }
        }
        DType::BF16 => each!(bf16, to_bf16),
        DType::I64 => each!(i64, |v| libm::rint(v) as i64),
        DType::I32 => each!(i32, |v| libm::rint(v) as i32),
        DType::I16 => each!(i16, |v| libm::rint(v) as i16),
        DType::I8 => each!(i8, |v| libm::rint(v) as i8),
        DType::U64 => each!(u64, |v| libm::rint(v) as u64),
        DType::U32 => each!(u32, |v| libm::rint(v) as u32),
        DType::U16 => each!(u16, |v| libm::rint(v) as u16),
        DType::U8 => each!(u8, |v| libm::rint(v) as u8),
        DType::Bool => each!(u8, |v| u8::from(v != 0.0)),
        _ => return false,
    }
    true
}

/// `v` as an f32 whose last bit is 1 where it is not exact ("round to odd"): rounding that to a type of two bits less and
/// more gives what rounding `v` once gives (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008), where conversions through the nearest f32 would round twice.
#[inline(always)]
fn to_odd_f32(v: f64) -> f32 {
    let nearest = v as f32;
    let back = f64::from(nearest);
    // Bits of one sign are ordered as magnitudes are.
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > v.abs());
    f32::from_bits(towards_zero | u32::from(back != v))
}

fn to_f16(v: f64) -> f16 {
    f16::from_f32(to_odd_f32(v))
}

#[inline(always)]
fn to_bf16(v: f64) -> bf16 {
    let bits = to_odd_f32(v).to_bits();
    let even = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let quiet = bits | 0x40_0000;
    bf16::from_bits((if v.is_nan() { quiet } else { even } >> 16) as u16)
}

/// Rounds each value to what `dtype` stores. Types without an encoding of numbers leave it as it is.
pub(super) fn round_in_place(dtype: DType, values: &mut [f64]) {
    match dtype {
        DType::F32 => values.iter_mut().for_each(|v| *v = f64::from(*v as f32)),
        DType::F16 => values.iter_mut().for_each(|v| *v = to_f16(*v).to_f64()),
        DType::BF16 => values.iter_mut().for_each(|v| *v = to_bf16(*v).to_f64()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(dtype: DType, raw: &[u8]) -> f64 {
        let mut out = [0.0];
        assert!(decode_f64(dtype, raw, 0, &mut out));
        out[0]
    }

    #[test]
    fn small_floats_match_their_tables() {
        assert_eq!(one(DType::F8E4M3FN, &[0x7e]), 448.0);
        assert!(one(DType::F8E4M3FN, &[0x7f]).is_nan());
        assert_eq!(one(DType::F8E4M3FNUZ, &[0x7f]), 240.0);
        assert!(one(DType::F8E4M3FNUZ, &[0x80]).is_nan());
        assert_eq!(one(DType::F8E5M2, &[0x7b]), 57344.0);
        assert_eq!(one(DType::F8E5M2, &[0xfc]), f64::NEG_INFINITY);
        assert_eq!(one(DType::F8E5M2FNUZ, &[0x7f]), 57344.0);
        assert_eq!(one(DType::F8E4M3FN, &[0x01]), 2f64.powi(-9));
        assert_eq!(one(DType::F8E8M0, &[127]), 1.0);
        assert_eq!(one(DType::F4E2M1, &[0x07]), 6.0);
        assert_eq!(one(DType::F4E2M1, &[0x09]), -0.5);
        assert_eq!(one(DType::I4, &[0x0f]), -1.0);
        assert_eq!(one(DType::I2, &[0x02]), -2.0);
    }

    #[test]
    fn f16_rounds_once() {
        // Halfway between 1 and the next f16 plus a little that f32 would lose: one rounding goes up.
        let v = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(to_f16(v).to_f64(), 1.0 + 2f64.powi(-10));
        for bits in 0..=u16::MAX {
            let h = f16::from_bits(bits);
            if h.is_finite() {
                assert_eq!(to_f16(h.to_f64()).to_bits(), bits);
            }
        }
        assert!(to_f16(65520.0).is_infinite());
        assert_eq!(to_f16(65519.0).to_f64(), 65504.0);
        assert!(to_f16(1e300).is_infinite() && to_f16(f64::NAN).is_nan());
    }

    #[test]
    fn bf16_rounds_once() {
        let v = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(to_bf16(v).to_f64(), 1.0 + 2f64.powi(-7));
        assert_eq!(to_bf16(1.0 + 2f64.powi(-8)).to_f64(), 1.0);
        for bits in 0..=u16::MAX {
            let h = bf16::from_bits(bits);
            if h.is_finite() {
                assert_eq!(to_bf16(h.to_f64()).to_bits(), bits);
            }
        }
        assert!(to_bf16(3.4e38).is_infinite() && to_bf16(-1e300).is_infinite());
        assert_eq!(to_bf16(3.39e38).to_f64(), f64::from(bf16::MAX));
        assert!(to_bf16(f64::NAN).is_nan() && to_bf16(1e-300).to_f64() == 0.0);
    }

    /// Every neighbour of every halfway point of both types, and the points themselves.
    #[test]
    fn halfway_points_go_to_even() {
        let near = |x: f64| [f64::from_bits(x.to_bits() - 1), x, f64::from_bits(x.to_bits() + 1)];
        let check = |low: f64, high: f64, even: f64, to: &dyn Fn(f64) -> f64| {
            let [below, at, above] = near((low + high) / 2.0).map(to);
            assert_eq!((below, at, above), (low, even, high), "between {low:e} and {high:e}");
        };
        for bits in 0..0x7bffu16 {
            let [low, high] = [bits, bits + 1].map(|b| f16::from_bits(b).to_f64());
            let even = if bits & 1 == 0 { low } else { high };
            check(low, high, even, &|v| to_f16(v).to_f64());
        }
        for bits in 0..0x7f7fu16 {
            let [low, high] = [bits, bits + 1].map(|b| bf16::from_bits(b).to_f64());
            let even = if bits & 1 == 0 { low } else { high };
            check(low, high, even, &|v| to_bf16(v).to_f64());
        }
    }
}
