//! Values for the inputs of a model: made up from the input's name, or read from a file.

use super::{
    Remedy, Sample, VerifyError, VerifyOptions, cannot_verify,
    interface::{Interface, has_values},
    npz,
};
use normfold_ir::{DType, Dim, Tensor, TensorType};
use std::{path::Path, sync::Arc};

/// The extent of dimensions that neither the model nor the options fix: a batch of two shows what one sample alone cannot.
pub const FREE_EXTENT: u64 = 2;

/// So many elements inputs may have together: made up they take 16 bytes each, and the engine what follows from them.
const LARGEST: u64 = 1 << 26;

/// Samples of made-up values. In the second every boolean is what it was not in the first: both branches of an If run.
const SAMPLES: u64 = 2;

/// Values for every input, sample by sample, the same on every machine.
pub(super) fn for_interface(
    model: &str,
    interface: &Interface,
    options: &VerifyOptions,
) -> Result<Vec<Sample>, VerifyError> {
    check_dims(interface, options)?;
    if let Some(path) = &options.inputs {
        return Ok(vec![from_file(path, interface, options)?]);
    }
    let mut left = LARGEST * SAMPLES;
    let mut value = |sample: u64, (name, ty): &(Arc<str>, TensorType)| {
        let cannot = |why: String| cannot_verify(model, why, Remedy::INPUTS);
        let dims = extents(name, ty, options).ok_or_else(|| {
            cannot(format!("input `{name}` has no declared rank; give a value with --inputs"))
        })?;
        let n = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).unwrap_or(u64::MAX);
        left = left.checked_sub(n).ok_or_else(|| {
            let needed = ty.dtype.bytes_for(n).unwrap_or(u64::MAX) as f64 / 1e9;
            let extents: Vec<String> = dims.iter().map(u64::to_string).collect();
            let extents = extents.join("x");
            let more = format!("{LARGEST} elements are made up at most");
            cannot(format!("input `{name}` of {extents} would need {needed:.1} GB; {more}"))
        })?;
        if !has_values(ty.dtype) {
            let why = format!(
                "input `{name}` is of type {}, of which no values can be made up",
                ty.dtype
            );
            return Err(cannot_verify(model, why, Remedy::NONE));
        }
        Ok((name.clone(), made_up(name, sample, ty.dtype, &dims, n)))
    };
    let samples = if interface.inputs.is_empty() { 1 } else { SAMPLES };
    (0..samples).map(|i| interface.inputs.iter().map(|input| value(i, input)).collect()).collect()
}

/// Values between −1 and 1 that f16 holds exactly; zeros and ones for integers and booleans.
fn made_up(name: &str, sample: u64, dtype: DType, dims: &[u64], n: u64) -> Tensor {
    let seed = seed(name);
    if dtype.is_float() {
        let seed = seed.wrapping_add(sample);
        Tensor::floats(dtype, dims, (0..n).map(|i| unit(seed, i, dtype)).collect())
    } else {
        let bit = |i| (mix(seed ^ i) ^ sample) & 1;
        Tensor::ints(dtype, dims, (0..n).map(|i| bit(i) as i64).collect())
    }
}

/// 64 bits of a name (FNV-1a).
fn seed(name: &str) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// 64 well-mixed bits (SplitMix64).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Steps of 1/512, which f16 and wider types hold exactly; of 1/64 for bf16.
fn unit(seed: u64, i: u64, dtype: DType) -> f64 {
    let bits = if dtype == DType::BF16 { 7 } else { 10 };
    (mix(seed ^ mix(i)) >> (64 - bits)) as f64 / f64::from(1 << (bits - 1)) - 1.0
}

/// The extents of an input; `None` without a declared rank.
fn extents(name: &str, ty: &TensorType, options: &VerifyOptions) -> Option<Vec<u64>> {
    let given = |key: &str| options.dims.iter().rev().find(|(k, _)| k == key).map(|&(_, n)| n);
    let extent = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Known(n) => *n,
        Dim::Named(symbol) => {
            given(&place(name, axis)).or_else(|| given(symbol)).unwrap_or(FREE_EXTENT)
        }
        Dim::Unknown => given(&place(name, axis)).unwrap_or(FREE_EXTENT),
    };
    Some(ty.shape.as_ref()?.iter().enumerate().map(extent).collect())
}

fn place(input: &str, axis: usize) -> String {
    format!("{input}[{axis}]")
}

/// Refuses extents for dimensions that are not free: they would silently do nothing.
fn check_dims(interface: &Interface, options: &VerifyOptions) -> Result<(), VerifyError> {
    let mut free: Vec<String> = Vec::new();
    let mut places: Vec<String> = Vec::new();
    for (name, ty) in &interface.inputs {
        for (axis, dim) in ty.shape.iter().flat_map(|s| s.iter()).enumerate() {
            match dim {
                Dim::Known(_) => {}
                Dim::Named(symbol) => {
                    if !free.iter().any(|f| **f == **symbol) {
                        free.push(symbol.to_string());
                    }
                    places.push(place(name, axis));
                }
                Dim::Unknown => free.push(place(name, axis)),
            }
        }
    }
    for (key, _) in &options.dims {
        if !free.contains(key) && !places.contains(key) {
            let there = if free.is_empty() {
                "every extent is declared".to_owned()
            } else {
                format!("free are {}", free.join(", "))
            };
            return Err(VerifyError::Dimension(format!("no free dimension `{key}`: {there}")));
        }
    }
    Ok(())
}

fn from_file(
    path: &Path,
    interface: &Interface,
    options: &VerifyOptions,
) -> Result<Sample, VerifyError> {
    let wrong = |why: String| VerifyError::Inputs { path: path.to_path_buf(), why };
    if !options.dims.is_empty() {
        return Err(VerifyError::Dimension("extents come from the arrays of --inputs".into()));
    }
    let mut arrays = npz::read(path).map_err(wrong)?;
    let there: Vec<String> = arrays.iter().map(|(n, _)| format!("`{n}`")).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    let mut values = Vec::new();
    for (name, ty) in &interface.inputs {
        let at = arrays
            .iter()
            .position(|(n, _)| **n == **name)
            .ok_or_else(|| wrong(format!("no array `{name}`; there are: {there}")))?;
        let (_, value) = arrays.swap_remove(at);
        let given = TensorType::of(value.dtype(), value.dims());
        if !normfold_ir::Type::from(given.clone()).compatible(&ty.clone().into()) {
            return Err(wrong(format!("array `{name}` is {given}, the input is {ty}")));
        }
        values.push((name.clone(), value));
    }
    if let Some((name, _)) = arrays.first() {
        return Err(wrong(format!("there is no input `{name}`")));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::{FREE_EXTENT, check_dims, for_interface, made_up};
    use crate::verify::{VerifyOptions, interface::Interface};
    use normfold_ir::{DType, Dim, TensorType};

    fn interface() -> Interface {
        let dims = [Dim::Named("N".into()), Dim::Known(3), Dim::Unknown, Dim::Named("N".into())];
        let ty = TensorType { dtype: DType::F32, shape: Some(dims.into()) };
        Interface { inputs: vec![("x".into(), ty)], outputs: Vec::new() }
    }

    #[test]
    fn free_extents_are_given_by_name_or_place() -> Result<(), Box<dyn std::error::Error>> {
        let dims = |list: &[(&str, u64)]| -> Result<Vec<u64>, crate::verify::VerifyError> {
            let dims = list.iter().map(|&(k, n)| (k.to_owned(), n)).collect();
            let options = VerifyOptions { dims, ..VerifyOptions::default() };
            Ok(for_interface("m", &interface(), &options)?[0][0].1.dims().to_vec())
        };
        assert_eq!(dims(&[])?, [FREE_EXTENT, 3, FREE_EXTENT, FREE_EXTENT]);
        assert_eq!(dims(&[("N", 1), ("x[2]", 5)])?, [1, 3, 5, 1]);
        assert_eq!(dims(&[("N", 1), ("x[3]", 5)])?, [1, 3, FREE_EXTENT, 5]);
        for wrong in ["M", "x[1]", "y[0]"] {
            assert!(dims(&[(wrong, 1)]).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn without_free_dimensions_none_is_taken() {
        let ty = TensorType::of(DType::F32, &[1]);
        let fixed = Interface { inputs: vec![("x".into(), ty)], outputs: Vec::new() };
        let dims = vec![("N".to_owned(), 1)];
        let e = check_dims(&fixed, &VerifyOptions { dims, ..VerifyOptions::default() });
        assert_eq!(
            e.err().map(|e| e.to_string()).as_deref(),
            Some("no free dimension `N`: every extent is declared")
        );
    }

    #[test]
    fn values_depend_on_the_name_alone_and_are_exact() {
        let a = made_up("x", 0, DType::F16, &[1000], 1000);
        assert_eq!(a, made_up("x", 0, DType::F16, &[1000], 1000));
        assert_ne!(a, made_up("y", 0, DType::F16, &[1000], 1000));
        assert!(a.to_f64s().iter().all(|v| (-1.0..1.0).contains(v) && (v * 512.0).fract() == 0.0));
        let b = made_up("x", 0, DType::BF16, &[1000], 1000);
        assert!(b.to_f64s().iter().all(|v| (v * 64.0).fract() == 0.0));
        let c = made_up("x", 0, DType::I64, &[100], 100).to_i64s();
        let other = made_up("x", 1, DType::I64, &[100], 100).to_i64s();
        assert!(c.iter().zip(&other).all(|(a, b)| a + b == 1));
        assert_ne!(a, made_up("x", 1, DType::F16, &[1000], 1000));
        assert!(c.contains(&0) && c.contains(&1) && c.iter().all(|v| (0..2).contains(v)));
    }
}
