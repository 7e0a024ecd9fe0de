//! Elements of constants as text and back, bit for bit.
//!
//! An element is handled as its bits in a `u128`. Numbers print in the fewest decimal digits that give the same bits
//! back; what has no decimal form (NaN, infinities, booleans other than 0 and 1) prints as its bits, `0x` and as many hex
//! digits as the type has.

use crate::{DType, decode_f64, encode_f64};
use std::sync::Arc;

/// An element as it is written, before its type is known.
#[derive(Clone, Debug)]
pub(super) enum Literal<'a> {
    Number(&'a str),
    Bool(bool),
    Str(Arc<[u8]>),
    /// Real and imaginary part.
    Pair(&'a str, &'a str),
}

fn mask(bits: u32) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// The bits of element `i`; `None` beyond the end.
pub(super) fn bits_at(dtype: DType, bytes: &[u8], i: usize) -> Option<u128> {
    let bits = dtype.bits() as usize;
    if bits < 8 {
        let bit = i.checked_mul(bits)?;
        return Some(u128::from(*bytes.get(bit / 8)?) >> (bit % 8) & mask(bits as u32));
    }
    let width = bits / 8;
    let start = i.checked_mul(width)?;
    let mut raw = [0; 16];
    raw[..width].copy_from_slice(bytes.get(start..start.checked_add(width)?)?);
    Some(u128::from_le_bytes(raw))
}

/// Elements packed as the pool wants them.
pub(super) fn pack(dtype: DType, elements: &[u128]) -> Vec<u8> {
    let bits = dtype.bits() as usize;
    if bits >= 8 {
        return elements.iter().flat_map(|e| e.to_le_bytes().into_iter().take(bits / 8)).collect();
    }
    let mut out = vec![0u8; (elements.len() * bits).div_ceil(8)];
    for (i, &e) in elements.iter().enumerate() {
        out[i * bits / 8] |= (e as u8) << (i * bits % 8);
    }
    out
}

/// The text of an element.
pub(super) fn to_text(dtype: DType, bits: u128) -> String {
    match dtype {
        DType::C64 => {
            let part = |b: u128| to_text(DType::F32, b & mask(32));
            format!("({}, {})", part(bits), part(bits >> 32))
        }
        DType::C128 => {
            let part = |b: u128| to_text(DType::F64, b & mask(64));
            format!("({}, {})", part(bits), part(bits >> 64))
        }
        DType::Bool if bits < 2 => (bits == 1).to_string(),
        d if d.is_int() => {
            let width = d.bits();
            let negative = is_signed(d) && bits >> (width - 1) & 1 == 1;
            let value = bits as i128 - if negative { 1 << width } else { 0 };
            value.to_string()
        }
        d => float_text(d, bits).unwrap_or_else(|| {
            format!("0x{bits:0digits$x}", digits = d.bits().div_ceil(4) as usize)
        }),
    }
}

fn is_signed(dtype: DType) -> bool {
    use DType::*;
    matches!(dtype, I64 | I32 | I16 | I8 | I4 | I2)
}

fn float_text(dtype: DType, bits: u128) -> Option<String> {
    match dtype {
        DType::F64 => Some(f64::from_bits(bits as u64)).filter(|v| v.is_finite()).map(debug),
        DType::F32 => Some(f32::from_bits(bits as u32)).filter(|v| v.is_finite()).map(debug),
        DType::Bool | DType::Str => None,
        _ => {
            let value = decode(dtype, bits)?;
            // The decimal with the fewest digits that reads back as these bits.
            (0..17)
                .map(|p| format!("{value:.p$e}"))
                .find(|s| s.parse().ok().and_then(|v| encode(dtype, v)) == Some(bits))
                .and_then(|s| s.parse::<f64>().ok())
                .map(debug)
        }
    }
}

fn debug(v: impl std::fmt::Debug) -> String {
    format!("{v:?}")
}

/// The finite number that bits stand for.
fn decode(dtype: DType, bits: u128) -> Option<f64> {
    let mut one = [0.0];
    decode_f64(dtype, &pack(dtype, &[bits]), 0, &mut one);
    one[0].is_finite().then_some(one[0])
}

/// The bits nearest to a number; for floats of 8 bits and fewer only where they are exact.
fn encode(dtype: DType, value: f64) -> Option<u128> {
    if dtype.bits() <= 8 {
        return (0..1 << dtype.bits())
            .find(|&b| decode(dtype, b).is_some_and(|v| v.to_bits() == value.to_bits()));
    }
    let mut bytes = vec![0; dtype.bits() as usize / 8];
    encode_f64(dtype, &[value], &mut bytes).then(|| bits_at(dtype, &bytes, 0)).flatten()
}

/// The bits that a literal says, or what was expected. Strings have none.
pub(super) fn to_bits(dtype: DType, literal: &Literal<'_>) -> Result<u128, String> {
    match (dtype, literal) {
        (DType::Bool, Literal::Bool(b)) => Ok(u128::from(*b)),
        (DType::C64, Literal::Pair(re, im)) => {
            Ok(number(DType::F32, re)? | number(DType::F32, im)? << 32)
        }
        (DType::C128, Literal::Pair(re, im)) => {
            Ok(number(DType::F64, re)? | number(DType::F64, im)? << 64)
        }
        (DType::Str | DType::C64 | DType::C128, _) => Err(expected(dtype)),
        (_, Literal::Number(text)) => number(dtype, text),
        _ => Err(expected(dtype)),
    }
}

pub(super) fn expected(dtype: DType) -> String {
    match dtype {
        DType::Bool => "`true` or `false`".into(),
        DType::Str => "quoted text".into(),
        DType::C64 | DType::C128 => "(real, imaginary)".into(),
        d if d.is_int() => format!("an integer that {d} holds"),
        d => format!(
            "a number that {d} holds, or its bits as 0x… with {} digits",
            d.bits().div_ceil(4)
        ),
    }
}

fn number(dtype: DType, text: &str) -> Result<u128, String> {
    let found = if let Some(hex) = text.strip_prefix("0x") {
        let digits = dtype.bits().div_ceil(4) as usize;
        u128::from_str_radix(hex, 16)
            .ok()
            .filter(|&b| hex.len() == digits && b <= mask(dtype.bits()))
    } else if dtype.is_int() {
        text.parse::<i128>().ok().and_then(|v| {
            let width = dtype.bits();
            let signed = is_signed(dtype);
            let (low, high) = if signed {
                (-(1 << (width - 1)), (1 << (width - 1)) - 1)
            } else {
                (0, mask(width) as i128)
            };
            (low..=high).contains(&v).then_some(v as u128 & mask(width))
        })
    } else {
        match dtype {
            DType::F64 => {
                text.parse::<f64>().ok().filter(|v| v.is_finite()).map(|v| u128::from(v.to_bits()))
            }
            // Not by way of f64: that would round twice.
            DType::F32 => {
                text.parse::<f32>().ok().filter(|v| v.is_finite()).map(|v| u128::from(v.to_bits()))
            }
            DType::Bool | DType::Str => None,
            _ => text
                .parse::<f64>()
                .ok()
                .and_then(|v| encode(dtype, v))
                .filter(|&b| decode(dtype, b).is_some()),
        }
    };
    found.ok_or_else(|| expected(dtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_small_element_reads_back() {
        for &dtype in DType::ALL {
            if dtype == DType::Str || dtype.bits() > 16 {
                continue;
            }
            for bits in 0..1u128 << dtype.bits() {
                let text = to_text(dtype, bits);
                let literal = match text.as_str() {
                    "true" => Literal::Bool(true),
                    "false" => Literal::Bool(false),
                    t => Literal::Number(t),
                };
                assert_eq!(to_bits(dtype, &literal), Ok(bits), "{dtype} {text}");
            }
        }
    }

    #[test]
    fn shortest_decimals() {
        let f32_text = |v: f32| to_text(DType::F32, u128::from(v.to_bits()));
        assert_eq!(f32_text(0.1), "0.1");
        assert_eq!(f32_text(f32::NAN), "0x7fc00000");
        assert_eq!(to_text(DType::F16, u128::from(half::f16::from_f32(0.1).to_bits())), "0.1");
        assert_eq!(to_text(DType::I4, 0xf), "-1");
        assert_eq!(to_text(DType::U64, u128::from(u64::MAX)), "18446744073709551615");
        assert_eq!(to_text(DType::C64, u128::from(1f32.to_bits())), "(1.0, 0.0)");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(to_bits(DType::I8, &Literal::Number("128")).is_err());
        assert!(to_bits(DType::U8, &Literal::Number("-1")).is_err());
        assert!(to_bits(DType::F32, &Literal::Number("1e39")).is_err());
        assert!(to_bits(DType::F16, &Literal::Number("1e9")).is_err());
        assert!(to_bits(DType::F32, &Literal::Number("0x7fc0")).is_err());
        assert!(to_bits(DType::F8E4M3FN, &Literal::Number("0.3")).is_err());
    }
}
