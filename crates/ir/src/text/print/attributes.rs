//! Printing of attributes.

use super::{PrintError, Printer};
use crate::{
    AttrMap, Attribute,
    text::{RESERVED, is_word, quote},
};
use std::fmt;

impl Printer<'_> {
    /// ` {name = value, …}`, or nothing when there is no attribute.
    pub(super) fn attr_map(&mut self, attrs: &AttrMap) -> Result<(), PrintError> {
        if attrs.is_empty() {
            return Ok(());
        }
        self.out.write_str(" {")?;
        for (i, (name, value)) in attrs.iter().enumerate() {
            if i > 0 {
                self.out.write_str(", ")?;
            }
            match is_word(name) {
                true => self.out.write_str(name)?,
                false => self.out.write_str(&quote(name))?,
            }
            self.out.write_str(" = ")?;
            self.attribute(value)?;
        }
        Ok(self.out.write_str("}")?)
    }

    fn attribute(&mut self, value: &Attribute) -> Result<(), PrintError> {
        match value {
            Attribute::Bool(b) => write!(self.out, "{b}")?,
            Attribute::Int(i) => write!(self.out, "{i}")?,
            Attribute::Float(v) => self.out.write_str(&float_text(*v))?,
            Attribute::Word(w) if is_word(w) && !RESERVED.contains(&&**w) => {
                self.out.write_str(w)?
            }
            Attribute::Word(w) => write!(self.out, "word<{}>", quote(w))?,
            Attribute::Str(s) => self.out.write_str(&quote(s))?,
            Attribute::Bytes(b) => write!(self.out, "bytes<\"{}\">", Hex(b))?,
            Attribute::List(items) => {
                self.out.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.out.write_str(", ")?;
                    }
                    self.attribute(item)?;
                }
                self.out.write_str("]")?;
            }
            Attribute::Tensor(id) => self.entry(*id)?,
            Attribute::Type(ty) => write!(self.out, "type<{ty}>")?,
            Attribute::Ref(name) => write!(self.out, "ref<{}>", quote(name))?,
        }
        Ok(())
    }
}

/// The shortest decimal: that of the f32 with suffix `f` where the value is one and that is shorter (`1e-5f`).
fn float_text(v: f64) -> String {
    if !v.is_finite() {
        return format!("0x{:016x}", v.to_bits());
    }
    let long = format!("{v:?}");
    if f64::from(v as f32) == v {
        let short = format!("{:?}f", v as f32);
        if short.len() < long.len() {
            return short;
        }
    }
    long
}

/// Bytes as hex digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
