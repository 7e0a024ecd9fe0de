//! Op kinds: a closed enum of typed structs for what passes understand, and [`Opaque`] for everything else.
//!
//! The families live in `op/`: [`structure`], [`linear`], [`norm`], [`elementwise`], [`shape`], [`spatial`],
//! [`quant`], [`control`]. Each struct documents its operands, results and attributes; `docs/ir.md` lists them.

pub mod control;
pub mod elementwise;
pub mod linear;
pub mod norm;
pub mod quant;
pub mod shape;
pub mod spatial;
pub mod structure;

pub use control::*;
pub use elementwise::*;
pub use linear::*;
pub use norm::*;
pub use quant::*;
pub use shape::*;
pub use spatial::*;
pub use structure::*;

use crate::AttrMap;
use std::sync::Arc;

/// Why an attribute map is not that of an op.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttrError {
    /// The op has no such attribute.
    #[error("unknown attribute `{name}`; valid: {}", if valid.is_empty() { "none".to_owned() } else { valid.join(", ") })]
    Unknown {
        /// The attribute.
        name: Arc<str>,
        /// What the op has.
        valid: &'static [&'static str],
    },
    /// The attribute has another type.
    #[error("attribute `{name}` must be {expected}")]
    IllTyped {
        /// The attribute.
        name: Arc<str>,
        /// What was expected.
        expected: String,
    },
}

/// Ops as attribute maps: what the text form prints and parses.
pub trait OpAttrs: Sized {
    /// The attribute names.
    const FIELDS: &'static [&'static str];
    /// The attributes that differ from their default, in declaration order.
    fn to_attrs(&self) -> AttrMap;
    /// The op that the attributes say.
    ///
    /// # Errors
    /// An attribute is unknown or has another type.
    fn from_attrs(attrs: &AttrMap) -> Result<Self, AttrError>;
}

macro_rules! op_kinds {
    (
        plain { $($variant:ident $mnemonic:literal,)* }
        boxed { $($bvariant:ident $bmnemonic:literal,)* }
        families { $($fvariant:ident($fkind:ty),)* }
    ) => {
        /// What an op does.
        #[derive(Clone, PartialEq, Debug)]
        pub enum OpKind {
            $(#[doc = concat!("`", $mnemonic, "`, see [`struct@", stringify!($variant), "`].")] $variant($variant),)*
            $(#[doc = concat!("`", $bmnemonic, "`, see [`struct@", stringify!($bvariant), "`].")] $bvariant(Box<$bvariant>),)*
            $(#[doc = concat!("One of the ops of [`", stringify!($fkind), "`].")] $fvariant($fkind),)*
            /// `opaque`, see [`struct@Opaque`].
            Opaque(Box<Opaque>),
        }

        impl OpKind {
            /// The name in the text form and in remarks.
            pub fn mnemonic(&self) -> &'static str {
                match self {
                    $(OpKind::$variant(_) => $mnemonic,)*
                    $(OpKind::$bvariant(_) => $bmnemonic,)*
                    $(OpKind::$fvariant(k) => k.mnemonic(),)*
                    OpKind::Opaque(_) => "opaque",
                }
            }

            /// Every mnemonic.
            pub fn mnemonics() -> Vec<&'static str> {
                let mut all = vec![$($mnemonic,)* $($bmnemonic,)*];
                $(all.extend(<$fkind>::ALL.iter().map(|k| k.mnemonic()));)*
                all.push("opaque");
                all
            }

            /// The attributes, defaults left out. Those of an opaque op are its own.
            pub fn to_attrs(&self) -> AttrMap {
                match self {
                    $(OpKind::$variant(k) => k.to_attrs(),)*
                    $(OpKind::$bvariant(k) => k.to_attrs(),)*
                    $(OpKind::$fvariant(_) => AttrMap::new(),)*
                    OpKind::Opaque(k) => k.attrs.clone(),
                }
            }

            /// The kind that a mnemonic and attributes say; `None` for an unknown mnemonic and for `opaque`, whose
            /// domain and name are no attributes.
            pub fn from_attrs(mnemonic: &str, attrs: &AttrMap) -> Option<Result<Self, AttrError>> {
                match mnemonic {
                    $($mnemonic => return Some($variant::from_attrs(attrs).map(OpKind::$variant)),)*
                    $($bmnemonic => return Some($bvariant::from_attrs(attrs).map(|k| OpKind::$bvariant(Box::new(k)))),)*
                    _ => {}
                }
                $(if let Some(k) = <$fkind>::ALL.iter().find(|k| k.mnemonic() == mnemonic) {
                    return Some(match attrs.keys().next() {
                        Some(name) => Err(AttrError::Unknown { name: name.clone(), valid: &[] }),
                        None => Ok(OpKind::$fvariant(*k)),
                    });
                })*
                None
            }
        }

        $(impl From<$variant> for OpKind {
            fn from(k: $variant) -> Self {
                OpKind::$variant(k)
            }
        })*
        $(impl From<$bvariant> for OpKind {
            fn from(k: $bvariant) -> Self {
                OpKind::$bvariant(Box::new(k))
            }
        })*
        $(impl From<$fkind> for OpKind {
            fn from(k: $fkind) -> Self {
                OpKind::$fvariant(k)
            }
        })*
        impl From<Opaque> for OpKind {
            fn from(k: Opaque) -> Self {
                OpKind::Opaque(Box::new(k))
            }
        }
    };
}

op_kinds! {
    plain {
        Constant "constant", Parameter "parameter",
        MatMul "matmul", BatchNorm "batch_norm",
        Activation "activation", Clip "clip", PRelu "prelu", Softmax "softmax", Cast "cast", CastLike "cast_like",
        Where "where", Identity "identity", Dropout "dropout",
        Reshape "reshape", Flatten "flatten", Squeeze "squeeze", Unsqueeze "unsqueeze", Expand "expand",
        Concat "concat", Split "split", Gather "gather", Shape "shape", Size "size", ConstantOfShape "constant_of_shape",
        Range "range",
        GlobalPool "global_pool", DepthToSpace "depth_to_space", SpaceToDepth "space_to_depth",
        Quantize "quantize", Dequantize "dequantize",
        If "if", Loop "loop",
    }
    boxed {
        Return "return", Conv "conv", ConvTranspose "conv_transpose", Linear "linear",
        Transpose "transpose", Slice "slice", Pad "pad", Pool "pool", Resize "resize", Reduce "reduce",
        Scan "scan", Call "call",
    }
    families { Unary(UnaryKind), Binary(BinaryKind), Compare(CompareKind), }
}

impl OpKind {
    /// Whether operand slot `operand` is read for its shape or element type only. Such a *type use* does not count as a
    /// consumer of the value (rules.md, "Uses").
    pub fn reads_type_only(&self, operand: u32) -> bool {
        match self {
            OpKind::Shape(_) | OpKind::Size(_) => operand == 0,
            OpKind::CastLike(_) => operand == 1,
            OpKind::Opaque(o) => o.type_uses.contains(&operand),
            _ => false,
        }
    }

    /// Whether the op can be erased when nothing reads its results.
    pub fn is_pure(&self) -> bool {
        match self {
            OpKind::Return(_) | OpKind::Parameter(_) => false,
            OpKind::Opaque(o) => o.pure,
            // What a body or a callee does is not known from here.
            OpKind::Call(_) | OpKind::If(_) | OpKind::Loop(_) | OpKind::Scan(_) => false,
            _ => true,
        }
    }

    /// `name` of an opaque op qualified by its domain, the mnemonic of any other: what a message calls it.
    pub fn display_name(&self) -> String {
        match self {
            OpKind::Opaque(o) if o.domain.is_empty() => o.name.to_string(),
            OpKind::Opaque(o) => format!("{}::{}", o.domain, o.name),
            OpKind::Activation(a) => a.f.name().to_owned(),
            _ => self.mnemonic().to_owned(),
        }
    }
}

/// Declares a `Copy` enum of ops or choices with a name each.
macro_rules! named_enum {
    ($($(#[$meta:meta])* $name:ident ($method:ident) { $($(#[$vmeta:meta])* $variant:ident $text:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every member.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The name in the text form.
            pub fn $method(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl $crate::AttrField for $name {
            fn to_attr(&self) -> $crate::Attribute {
                $crate::Attribute::Word(self.$method().into())
            }
            fn from_attr(attr: &$crate::Attribute) -> Result<Self, String> {
                let expected = || {
                    let names: Vec<_> = Self::ALL.iter().map(|v| v.$method()).collect();
                    format!("one of {}", names.join(", "))
                };
                let $crate::Attribute::Word(w) = attr else { return Err(expected()) };
                Self::ALL.iter().copied().find(|v| v.$method() == &**w).ok_or_else(expected)
            }
        }
    )*};
}
pub(crate) use named_enum;
