//! Types of values: element types, dimensions, tensors.

use std::{fmt, str::FromStr, sync::Arc};

macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal $doc:literal;)*) => {
        /// Element type of a tensor.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum DType {
            $(#[doc = $doc] $variant,)*
        }

        impl DType {
            /// Every element type.
            pub const ALL: &'static [DType] = &[$(DType::$variant),*];

            /// The name in the text form.
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name),* }
            }

            /// Bits of one element; 0 for strings, which have no fixed width.
            pub fn bits(self) -> u32 {
                match self { $(DType::$variant => $bits),* }
            }
        }

        impl FromStr for DType {
            type Err = ();
            fn from_str(s: &str) -> Result<Self, ()> {
                match s { $($name => Ok(DType::$variant),)* _ => Err(()) }
            }
        }
    };
}

dtypes! {
    F64 "f64" 64 "IEEE 754 binary64.";
    F32 "f32" 32 "IEEE 754 binary32.";
    F16 "f16" 16 "IEEE 754 binary16.";
    BF16 "bf16" 16 "bfloat16.";
    F8E4M3FN "f8e4m3fn" 8 "8-bit float, finite and NaN, no infinities.";
    F8E4M3FNUZ "f8e4m3fnuz" 8 "8-bit float, no negative zero.";
    F8E5M2 "f8e5m2" 8 "8-bit float with infinities.";
    F8E5M2FNUZ "f8e5m2fnuz" 8 "8-bit float, no infinities, no negative zero.";
    F8E8M0 "f8e8m0" 8 "8-bit power-of-two scale.";
    F4E2M1 "f4e2m1" 4 "4-bit float.";
    I64 "i64" 64 "Signed 64-bit integer.";
    I32 "i32" 32 "Signed 32-bit integer.";
    I16 "i16" 16 "Signed 16-bit integer.";
    I8 "i8" 8 "Signed 8-bit integer.";
    I4 "i4" 4 "Signed 4-bit integer.";
    I2 "i2" 2 "Signed 2-bit integer.";
    U64 "u64" 64 "Unsigned 64-bit integer.";
    U32 "u32" 32 "Unsigned 32-bit integer.";
    U16 "u16" 16 "Unsigned 16-bit integer.";
    U8 "u8" 8 "Unsigned 8-bit integer.";
    U4 "u4" 4 "Unsigned 4-bit integer.";
    U2 "u2" 2 "Unsigned 2-bit integer.";
    Bool "bool" 8 "Boolean, one byte.";
    Str "str" 0 "Variable-length string.";
    C64 "c64" 64 "Complex of two f32.";
    C128 "c128" 128 "Complex of two f64.";
}

impl DType {
    /// Bytes that `n` elements take, sub-byte elements packed; `None` on overflow and for strings.
    pub fn bytes_for(self, n: u64) -> Option<u64> {
        if self == DType::Str {
            return None;
        }
        Some(n.checked_mul(u64::from(self.bits()))?.div_ceil(8))
    }

    /// Any floating type, 8-bit and narrower included.
    pub fn is_float(self) -> bool {
        use DType::*;
        matches!(
            self,
            F64 | F32 | F16 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1
        )
    }

    /// The floating types that weights of a foldable op may have: f64, f32, f16, bf16.
    pub fn is_arithmetic_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// Whether every number of the other arithmetic float is one of this.
    pub fn holds(self, other: Self) -> bool {
        use DType::*;
        let wider = matches!((other, self), (F16 | BF16, F32 | F64) | (F32, F64));
        wider || other == self && self.is_arithmetic_float()
    }

    /// Any integer type.
    pub fn is_int(self) -> bool {
        use DType::*;
        matches!(self, I64 | I32 | I16 | I8 | I4 | I2 | U64 | U32 | U16 | U8 | U4 | U2)
    }

    /// Bits of precision of the significand (the hidden one included) of an arithmetic float.
    pub fn significand_bits(self) -> Option<u32> {
        match self {
            DType::F64 => Some(53),
            DType::F32 => Some(24),
            DType::F16 => Some(11),
            DType::BF16 => Some(8),
            _ => None,
        }
    }

    /// The largest finite magnitude of an arithmetic float.
    pub fn max_finite(self) -> Option<f64> {
        match self {
            DType::F64 => Some(f64::MAX),
            DType::F32 => Some(f64::from(f32::MAX)),
            DType::F16 => Some(65504.0),
            DType::BF16 => Some(f64::from(half::bf16::MAX)),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// A known extent.
    Known(u64),
    /// An unknown extent with a name: equal names are equal extents.
    Named(Arc<str>),
    /// An unknown extent.
    Unknown,
}

impl Dim {
    /// The extent, when known.
    pub fn known(&self) -> Option<u64> {
        match self {
            Dim::Known(n) => Some(*n),
            _ => None,
        }
    }
}

/// A tensor type. `shape: None` is a tensor of unknown rank.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first.
    pub shape: Option<Arc<[Dim]>>,
}

impl TensorType {
    /// A tensor of known dimensions.
    pub fn of(dtype: DType, dims: &[u64]) -> Self {
        Self { dtype, shape: Some(dims.iter().map(|&d| Dim::Known(d)).collect()) }
    }

    /// A tensor of unknown rank.
    pub fn unranked(dtype: DType) -> Self {
        Self { dtype, shape: None }
    }

    /// The number of dimensions, when known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(|s| s.len())
    }

    /// The extent of dimension `axis`, when known.
    pub fn dim(&self, axis: usize) -> Option<u64> {
        self.shape.as_ref()?.get(axis)?.known()
    }

    /// All extents, when every one is known.
    pub fn static_dims(&self) -> Option<Vec<u64>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }
}

/// The type of a value.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Type {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A tensor.
    Tensor(TensorType),
    /// Something else (a sequence, a map, an optional), as its source writes it.
    Other(Arc<str>),
}

impl Type {
    /// The tensor type, if it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// The element type, if it is a tensor.
    pub fn dtype(&self) -> Option<DType> {
        self.tensor().map(|t| t.dtype)
    }

    /// The rank, if it is a tensor of known rank.
    pub fn rank(&self) -> Option<usize> {
        self.tensor()?.rank()
    }

    /// Whether a value of this type may stand where `other` is declared: equal wherever both say something.
    pub fn compatible(&self, other: &Type) -> bool {
        let (Type::Tensor(a), Type::Tensor(b)) = (self, other) else {
            return matches!(self, Type::Unknown)
                || matches!(other, Type::Unknown)
                || self == other;
        };
        if a.dtype != b.dtype {
            return false;
        }
        let (Some(x), Some(y)) = (&a.shape, &b.shape) else { return true };
        x.len() == y.len()
            && x.iter().zip(y.iter()).all(|(p, q)| match (p.known(), q.known()) {
                (Some(m), Some(n)) => m == n,
                _ => true,
            })
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Self {
        Type::Tensor(t)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Named(n) if is_plain_name(n) => write!(f, "?{{{n}}}"),
            Dim::Named(n) => write!(f, "?{{{}}}", crate::text::quote(n)),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// Whether a name can stand bare: letters, digits, `_`, `.`, `$`, `-`, not empty.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$' | b'-'))
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensor<")?;
        match &self.shape {
            None => f.write_str("*x")?,
            Some(dims) => {
                for d in dims.iter() {
                    write!(f, "{d}x")?;
                }
            }
        }
        write!(f, "{}>", self.dtype)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Unknown => f.write_str("unknown"),
            Type::Tensor(t) => write!(f, "{t}"),
            Type::Other(s) => write!(f, "other<{}>", crate::text::quote(s)),
        }
    }
}
