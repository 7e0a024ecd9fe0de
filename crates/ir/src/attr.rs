//! Attributes: what an op carries beside its operands, as the text form spells it.

use crate::{ConstId, Type};
use indexmap::IndexMap;
use std::sync::Arc;

/// The value of an attribute.
///
/// Known ops keep their attributes in typed fields and pass through this form only to be printed and parsed; opaque ops
/// hold it as it is.
#[derive(Clone, PartialEq, Debug)]
pub enum Attribute {
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, f32 attributes widened.
    Float(f64),
    /// A bare word such as `NHWC` or `same_upper`.
    Word(Arc<str>),
    /// Quoted text.
    Str(Arc<str>),
    /// Bytes that are no text.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Vec<Attribute>),
    /// A tensor, in the constant pool.
    Tensor(ConstId),
    /// A type.
    Type(Type),
    /// A reference to an attribute of the enclosing function.
    Ref(Arc<str>),
}

/// Attributes by name, in source order.
pub type AttrMap = IndexMap<Arc<str>, Attribute>;

/// A field type of an op: how it goes to an [`Attribute`] and back.
pub trait AttrField: Sized {
    /// The attribute that says this value.
    fn to_attr(&self) -> Attribute;
    /// The value an attribute says, or what was expected.
    fn from_attr(attr: &Attribute) -> Result<Self, String>;
}

impl AttrField for bool {
    fn to_attr(&self) -> Attribute {
        Attribute::Bool(*self)
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        match attr {
            Attribute::Bool(b) => Ok(*b),
            _ => Err("`true` or `false`".into()),
        }
    }
}

macro_rules! int_field {
    ($($t:ty)*) => {$(
        impl AttrField for $t {
            fn to_attr(&self) -> Attribute {
                Attribute::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn from_attr(attr: &Attribute) -> Result<Self, String> {
                match attr {
                    Attribute::Int(i) => <$t>::try_from(*i).map_err(|_| concat!("a ", stringify!($t)).into()),
                    _ => Err("an integer".into()),
                }
            }
        }
    )*};
}
int_field!(i64 u64 u32);

impl AttrField for f64 {
    fn to_attr(&self) -> Attribute {
        Attribute::Float(*self)
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        match attr {
            Attribute::Float(v) => Ok(*v),
            Attribute::Int(i) => Ok(*i as f64),
            _ => Err("a number".into()),
        }
    }
}

impl AttrField for Arc<str> {
    fn to_attr(&self) -> Attribute {
        Attribute::Str(self.clone())
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        match attr {
            Attribute::Str(s) => Ok(s.clone()),
            _ => Err("quoted text".into()),
        }
    }
}

impl AttrField for AttrMap {
    fn to_attr(&self) -> Attribute {
        Attribute::List(
            self.iter()
                .map(|(k, v)| Attribute::List(vec![Attribute::Str(k.clone()), v.clone()]))
                .collect(),
        )
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        let Attribute::List(items) = attr else { return Err("a list of [name, value]".into()) };
        items
            .iter()
            .map(|i| match i {
                Attribute::List(kv) => match kv.as_slice() {
                    [Attribute::Str(k), v] => Ok((k.clone(), v.clone())),
                    _ => Err("[name, value]".to_owned()),
                },
                _ => Err("[name, value]".to_owned()),
            })
            .collect()
    }
}

impl<T: AttrField> AttrField for Vec<T> {
    fn to_attr(&self) -> Attribute {
        Attribute::List(self.iter().map(AttrField::to_attr).collect())
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        match attr {
            Attribute::List(items) => items.iter().map(T::from_attr).collect(),
            _ => Err("a list".into()),
        }
    }
}

/// Written when present, left out when `None`.
impl<T: AttrField> AttrField for Option<T> {
    fn to_attr(&self) -> Attribute {
        match self {
            Some(v) => v.to_attr(),
            None => Attribute::Word("none".into()),
        }
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        match attr {
            Attribute::Word(w) if &**w == "none" => Ok(None),
            other => T::from_attr(other).map(Some),
        }
    }
}

/// Declares a struct whose fields are the attributes of an op.
///
/// Fields equal to their default are not printed; an unknown or ill-typed attribute is an error that lists what would
/// have been valid.
macro_rules! op_attrs {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty = $default:expr,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::op::OpAttrs for $name {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            #[allow(unused_variables, unused_mut, reason = "an op may have no attribute")]
            fn to_attrs(&self) -> $crate::AttrMap {
                let default = Self::default();
                let mut map = $crate::AttrMap::new();
                $(if self.$field != default.$field {
                    map.insert(stringify!($field).into(), $crate::AttrField::to_attr(&self.$field));
                })*
                map
            }

            #[allow(unused_variables, unused_mut, reason = "an op may have no attribute")]
            fn from_attrs(attrs: &$crate::AttrMap) -> Result<Self, $crate::op::AttrError> {
                let mut this = Self::default();
                for (key, value) in attrs {
                    match &**key {
                        $(stringify!($field) => {
                            this.$field = $crate::AttrField::from_attr(value).map_err(|expected| {
                                $crate::op::AttrError::IllTyped { name: key.clone(), expected }
                            })?;
                        })*
                        _ => return Err($crate::op::AttrError::Unknown { name: key.clone(), valid: Self::FIELDS }),
                    }
                }
                Ok(this)
            }
        }
    )*};
}
pub(crate) use op_attrs;
