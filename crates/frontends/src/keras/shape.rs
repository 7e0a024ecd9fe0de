//! Extents: those that a file states, and those that layers give.

use super::json::Json;
use normfold_ir::{DType, Dim, Padding, TensorType, Type};

/// Extents of a tensor of known rank.
pub(super) type Shape = Vec<Dim>;

/// The largest extent that is taken seriously, and the largest number of elements of one weight.
pub(super) const LARGEST: u64 = 1 << 40;

/// A shape as Keras writes it: integers, and `null` for what is not known.
pub(super) fn stated(json: &Json) -> Option<Shape> {
    let dim = |d: &Json| match d.as_i64() {
        Some(n) => u64::try_from(n).ok().filter(|&n| n <= LARGEST).map(Dim::Known),
        None => d.is_null().then_some(Dim::Unknown),
    };
    json.items()?.iter().map(dim).collect()
}

/// A tensor type of these extents, or of unknown rank.
pub(super) fn tensor(dtype: DType, shape: Option<Shape>) -> Type {
    TensorType { dtype, shape: shape.map(Into::into) }.into()
}

/// An element type by its name in Keras.
pub(super) fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float64" | "double" => DType::F64,
        "float32" | "float" => DType::F32,
        "float16" | "half" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" => DType::I64,
        "int32" | "int" => DType::I32,
        "int16" => DType::I16,
        "int8" => DType::I8,
        "uint64" => DType::U64,
        "uint32" => DType::U32,
        "uint16" => DType::U16,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        "string" => DType::Str,
        "complex64" => DType::C64,
        "complex128" => DType::C128,
        _ => return None,
    })
}

/// `inferred`, with what only `hint` knows.
pub(super) fn refined(inferred: &Type, hint: &Type) -> Type {
    let (Type::Tensor(a), Type::Tensor(b)) = (inferred, hint) else {
        return if *inferred == Type::Unknown { hint.clone() } else { inferred.clone() };
    };
    let shape = match (&a.shape, &b.shape) {
        (Some(x), Some(y)) if x.len() == y.len() => {
            let one =
                |(p, q): (&Dim, &Dim)| if p.known().is_some() { p.clone() } else { q.clone() };
            Some(x.iter().zip(y.iter()).map(one).collect())
        }
        (None, shape) => shape.clone(),
        (shape, _) => shape.clone(),
    };
    TensorType { dtype: a.dtype, shape }.into()
}

/// The extent that a window of `kernel` cells gives, `dilation` apart and moved by `stride`.
///
/// `None` where the window does not fit; explicit amounts are not used by Keras.
pub(super) fn window(
    n: &Dim,
    kernel: u64,
    stride: u64,
    dilation: u64,
    pad: &Padding,
) -> Option<Dim> {
    let Some(n) = n.known() else { return Some(Dim::Unknown) };
    match pad {
        Padding::Valid | Padding::Explicit(_) => {
            let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
            Some(Dim::Known(n.checked_sub(reach)? / stride + 1))
        }
        _ => Some(Dim::Known(n.div_ceil(stride))),
    }
}

/// Sum of an extent and an amount, which may be negative. `None` where nothing is left.
pub(super) fn plus(n: &Dim, amount: i64) -> Option<Dim> {
    match n.known() {
        None => Some(Dim::Unknown),
        Some(n) => n.checked_add_signed(amount).map(Dim::Known),
    }
}

/// Product of extents; unknown when one is or when it is too large.
pub(super) fn product(dims: &[Dim]) -> Dim {
    let known = dims.iter().try_fold(1u64, |p, d| d.known().and_then(|n| p.checked_mul(n)));
    known.map_or(Dim::Unknown, Dim::Known)
}

/// The shape of an elementwise op of two operands. `None` when two known extents disagree.
pub(super) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let dim = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).and_then(|j| s.get(j).cloned());
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (Some(d), None) | (None, Some(d)) => Some(d),
            (Some(p), Some(q)) => match (p.known(), q.known()) {
                (Some(1), _) => Some(q),
                (_, Some(1)) => Some(p),
                (Some(m), Some(n)) => (m == n).then_some(p),
                (Some(_), None) => Some(p),
                (None, _) => Some(q),
            },
            (None, None) => None,
        })
        .collect()
}

/// An axis that counts from the end when negative.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dim::{Known, Unknown};

    #[test]
    fn windows() {
        assert_eq!(window(&Known(8), 3, 1, 1, &Padding::Valid), Some(Known(6)));
        assert_eq!(window(&Known(8), 3, 2, 2, &Padding::Valid), Some(Known(2)));
        assert_eq!(window(&Known(7), 3, 2, 1, &Padding::SameUpper), Some(Known(4)));
        assert_eq!(window(&Known(7), 3, 2, 1, &Padding::Causal), Some(Known(4)));
        assert_eq!(window(&Unknown, 3, 2, 1, &Padding::Valid), Some(Unknown));
        assert_eq!(window(&Known(2), 3, 1, 1, &Padding::Valid), None);
        assert_eq!(window(&Known(2), LARGEST, 1, u64::MAX, &Padding::Valid), None);
    }

    #[test]
    fn broadcasting() {
        let shape = |dims: &[u64]| dims.iter().map(|&d| Known(d)).collect::<Vec<_>>();
        assert_eq!(broadcast(&shape(&[2, 1, 4]), &shape(&[3, 1])), Some(shape(&[2, 3, 4])));
        assert_eq!(broadcast(&shape(&[2]), &shape(&[3])), None);
        assert_eq!(
            broadcast(&[Unknown, Known(3)], &[Known(5), Unknown]),
            Some(vec![Known(5), Known(3)])
        );
        assert_eq!(broadcast(&[], &shape(&[3])), Some(shape(&[3])));
    }

    #[test]
    fn axes_and_products() {
        assert_eq!(
            (axis(-1, 4), axis(3, 4), axis(4, 4), axis(-5, 4)),
            (Some(3), Some(3), None, None)
        );
        assert_eq!(axis(i64::MIN, 4), None);
        assert_eq!(product(&[Known(3), Known(4)]), Known(12));
        assert_eq!(product(&[Known(u64::MAX), Known(4)]), Unknown);
        assert_eq!(product(&[]), Known(1));
    }
}
