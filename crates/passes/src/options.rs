//! Options of passes: a struct whose fields are the options. See [`pass_options!`](crate::pass_options).

mod value;

pub(crate) use value::is_bare;
pub use value::{Globs, OptionValue};

use std::fmt;

/// One option of a pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OptionInfo {
    /// Its name in pipelines.
    pub name: &'static str,
    /// What values it takes, in words.
    pub values: String,
    /// Its default, as a pipeline would say it.
    pub default: String,
    /// What it does: the doc comment of its field.
    pub doc: String,
}

/// Why an option cannot be set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The pass has no such option.
    #[error(
        "unknown option `{name}`; {}",
        if valid.is_empty() { "there are none".to_owned() } else { format!("valid: {}", valid.join(", ")) }
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        valid: Vec<&'static str>,
    },
    /// The option takes other values.
    #[error("option `{name}` takes {expected}, not {}", value.as_ref().map_or("nothing".to_owned(), |v| format!("`{v}`")))]
    Value {
        /// The option.
        name: String,
        /// What was given.
        value: Option<String>,
        /// What it takes.
        expected: String,
    },
}

/// A set of options. Implemented by [`pass_options!`](crate::pass_options); `Default` is what an option left out means,
/// `Display` gives what differs from the default, separated by commas, so that setting it again gives an equal set.
pub trait PassOptions: Default + Clone + PartialEq + fmt::Display + Send + Sync + 'static {
    /// Every option, in declaration order.
    fn options() -> Vec<OptionInfo>;
    /// Sets one option; no value is `name` alone, as for a flag.
    ///
    /// # Errors
    /// There is no such option, or it takes other values.
    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError>;
    /// The options that differ from their default, in declaration order.
    fn settings(&self) -> Vec<(&'static str, String)>;
}

/// The options of a pass that has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoOptions;

impl fmt::Display for NoOptions {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl PassOptions for NoOptions {
    fn options() -> Vec<OptionInfo> {
        Vec::new()
    }
    fn set(&mut self, name: &str, _: Option<&str>) -> Result<(), OptionError> {
        Err(OptionError::Unknown { name: name.to_owned(), valid: Vec::new() })
    }
    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Declares the options of a pass.
///
/// Each field is an option of that name, `_` written `-`; its doc comment is its documentation. Types: `bool` (a flag),
/// `u64` (also as a size, `64MiB`), `f64`, `String`, [`Globs`], an enum of [`option_enum!`](crate::option_enum), and
/// `Option` of these.
///
/// ```
/// use normfold_passes::{PassOptions, option_enum, pass_options};
///
/// option_enum! {
///     /// Which way.
///     pub enum Direction {
///         /// Into the producer.
///         Backward "backward",
///         /// Either.
///         Both "both",
///     }
/// }
/// pass_options! {
///     /// Options of `fold`.
///     pub struct FoldOptions {
///         /// Which way to fold.
///         direction: Direction = Direction::Both,
///         /// Largest weight that is copied.
///         max_bytes: u64 = 0,
///     }
/// }
///
/// let mut options = FoldOptions::default();
/// options.set("max-bytes", Some("64MiB")).unwrap();
/// assert_eq!(options.to_string(), "max-bytes=64MiB");
/// let error = options.set("direction", Some("up")).unwrap_err();
/// assert_eq!(error.to_string(), "option `direction` takes one of backward, both, not `up`");
/// ```
#[macro_export]
macro_rules! pass_options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:expr])* $field:ident: $ty:ty = $default:expr,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        $vis struct $name {
            $($(#[doc = $doc])* $vis $field: $ty,)*
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $crate::write_settings(f, &$crate::PassOptions::settings(self))
            }
        }

        impl $crate::PassOptions for $name {
            fn options() -> ::std::vec::Vec<$crate::OptionInfo> {
                let default = Self::default();
                ::std::vec![$($crate::OptionInfo {
                    name: $crate::option_name!($field),
                    values: <$ty as $crate::OptionValue>::expected(),
                    default: $crate::OptionValue::print(&default.$field),
                    doc: [$($doc),*].iter().map(|line: &&str| line.trim()).collect::<::std::vec::Vec<_>>().join(" "),
                },)*]
            }

            fn set(
                &mut self,
                name: &str,
                value: ::std::option::Option<&str>,
            ) -> ::std::result::Result<(), $crate::OptionError> {
                $(if name == $crate::option_name!($field) {
                    self.$field = $crate::OptionValue::parse(value).map_err(|expected| $crate::OptionError::Value {
                        name: name.to_owned(),
                        value: value.map(str::to_owned),
                        expected,
                    })?;
                    return Ok(());
                })*
                Err($crate::OptionError::Unknown {
                    name: name.to_owned(),
                    valid: ::std::vec![$($crate::option_name!($field)),*],
                })
            }

            fn settings(&self) -> ::std::vec::Vec<(&'static str, ::std::string::String)> {
                let default = Self::default();
                let mut list = ::std::vec::Vec::new();
                $(if self.$field != default.$field {
                    list.push(($crate::option_name!($field), $crate::OptionValue::print(&self.$field)));
                })*
                list
            }
        }
    };
}

/// Declares an enum that an option can take, with the name of each member in pipelines.
#[macro_export]
macro_rules! option_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        $vis enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// The name in pipelines.
            $vis fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl $crate::OptionValue for $name {
            fn expected() -> ::std::string::String {
                ::std::format!("one of {}", [$($text),*].join(", "))
            }
            fn parse(text: ::std::option::Option<&str>) -> ::std::result::Result<Self, ::std::string::String> {
                match text {
                    $(Some($text) => Ok($name::$variant),)*
                    _ => Err(<Self as $crate::OptionValue>::expected()),
                }
            }
            fn print(&self) -> ::std::string::String {
                self.name().to_owned()
            }
        }
    };
}

/// A field's name with `-` for `_`, at compile time.
#[doc(hidden)]
#[macro_export]
macro_rules! option_name {
    ($field:ident) => {{
        const BYTES: [u8; stringify!($field).len()] = $crate::dashed(stringify!($field));
        const NAME: &str = match ::std::str::from_utf8(&BYTES) {
            Ok(name) => name,
            Err(_) => stringify!($field),
        };
        NAME
    }};
}

/// The bytes of `name` with `-` for `_`.
#[doc(hidden)]
pub const fn dashed<const N: usize>(name: &str) -> [u8; N] {
    let from = name.as_bytes();
    let mut to = [0; N];
    let mut i = 0;
    while i < N {
        to[i] = if from[i] == b'_' { b'-' } else { from[i] };
        i += 1;
    }
    to
}

/// Settings as the text between the braces.
#[doc(hidden)]
pub fn write_settings<K: AsRef<str>>(
    f: &mut fmt::Formatter<'_>,
    settings: &[(K, String)],
) -> fmt::Result {
    for (i, (name, value)) in settings.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        write!(f, "{comma}{}={}", name.as_ref(), value::quoted_if_needed(value))?;
    }
    Ok(())
}
