//! Inputs that are the same on every machine: a value depends on a name and a position alone.

use normfold_ir::{DType, Dim, Tensor, TensorType, Type};

/// The extent of dimensions that a type does not fix.
pub const FREE: u64 = 2;

/// 64 well-mixed bits (SplitMix64).
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 bits of a name (FNV-1a).
pub fn seed(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Numbers between −1 and 1, dense enough and exact in f16.
pub fn unit(seed: u64, i: u64) -> f64 {
    (mix(seed ^ mix(i)) >> 54) as f64 / 512.0 - 1.0
}

/// Extents of a type; [`FREE`] where it fixes none. `None` without a rank.
pub fn extents(ty: &TensorType) -> Option<Vec<u64>> {
    Some(ty.shape.as_ref()?.iter().map(|d| Dim::known(d).unwrap_or(FREE)).collect())
}

/// A tensor of that type for that name; `None` where the type does not say enough.
pub fn tensor(name: &str, ty: &Type) -> Option<Tensor> {
    let ty = ty.tensor()?;
    let dims = extents(ty)?;
    let n: u64 = dims.iter().product();
    let seed = seed(name);
    match ty.dtype {
        t if t.is_arithmetic_float() => {
            Some(Tensor::floats(t, &dims, (0..n).map(|i| unit(seed, i)).collect()))
        }
        DType::Bool => Some(Tensor::ints(
            DType::Bool,
            &dims,
            (0..n).map(|i| (mix(seed ^ i) & 1) as i64).collect(),
        )),
        t if t.is_int() => {
            Some(Tensor::ints(t, &dims, (0..n).map(|i| (mix(seed ^ i) % 2) as i64).collect()))
        }
        _ => None,
    }
}
