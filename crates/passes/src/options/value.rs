//! The values that options take.

use std::fmt;

/// A type of option.
pub trait OptionValue: Sized + Clone + PartialEq {
    /// What values there are, in words that continue "takes".
    fn expected() -> String;
    /// The value that the text says; no text is the option's name alone.
    ///
    /// # Errors
    /// The text says no value; what would have been valid.
    fn parse(text: Option<&str>) -> Result<Self, String>;
    /// Text that [`OptionValue::parse`] reads as this value.
    fn print(&self) -> String;
}

impl OptionValue for bool {
    fn expected() -> String {
        "true or false".into()
    }
    fn parse(text: Option<&str>) -> Result<Self, String> {
        match text {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(Self::expected()),
        }
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

/// Units of sizes that are printed, largest first.
const BINARY: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// Those that are read as well; none ends another one of the two lists.
const DECIMAL: [(&str, u64); 8] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];

/// A number, or a size in KiB, MiB, GiB, TiB, or in the powers of 1000 kB, MB, GB, TB, k, M, G, T.
impl OptionValue for u64 {
    fn expected() -> String {
        "a number, or a size such as 64MiB or 9kB".into()
    }
    fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = text.ok_or_else(Self::expected)?;
        let mut units = BINARY.iter().chain(&DECIMAL);
        let size = units.find_map(|&(unit, n)| Some((text.strip_suffix(unit)?, n)));
        let (digits, factor) = size.unwrap_or((text, 1));
        // `parse` would take a sign.
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let n: u64 = digits.parse().ok().filter(|_| plain).ok_or_else(Self::expected)?;
        n.checked_mul(factor).ok_or_else(|| format!("a number up to {}", u64::MAX))
    }
    fn print(&self) -> String {
        match BINARY.iter().find(|(_, n)| *self > 0 && self.is_multiple_of(*n)) {
            Some((unit, n)) => format!("{}{unit}", self / n),
            None => self.to_string(),
        }
    }
}

impl OptionValue for f64 {
    fn expected() -> String {
        "a finite number".into()
    }
    fn parse(text: Option<&str>) -> Result<Self, String> {
        let v: Option<f64> = text.and_then(|t| t.parse().ok());
        v.filter(|v| v.is_finite()).ok_or_else(Self::expected)
    }
    fn print(&self) -> String {
        // The shortest text that reads as the same bits.
        format!("{self:?}")
    }
}

impl OptionValue for String {
    fn expected() -> String {
        "text".into()
    }
    fn parse(text: Option<&str>) -> Result<Self, String> {
        text.map(str::to_owned).ok_or_else(Self::expected)
    }
    fn print(&self) -> String {
        self.clone()
    }
}

/// `none` is `None`.
impl<T: OptionValue> OptionValue for Option<T> {
    fn expected() -> String {
        format!("{}, or none", T::expected())
    }
    fn parse(text: Option<&str>) -> Result<Self, String> {
        match text {
            Some("none") => Ok(None),
            other => T::parse(other).map(Some).map_err(|_| Self::expected()),
        }
    }
    fn print(&self) -> String {
        self.as_ref().map_or("none".into(), T::print)
    }
}

/// Patterns that names are matched against: `*` stands for any text, `?` for one character, `\` makes the next character
/// stand for itself, `|` separates patterns. A name matches when any pattern matches all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Globs(Vec<Vec<Token>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Any,
    One,
    Char(char),
}

impl Globs {
    /// The patterns that the text says; empty text is no pattern.
    ///
    /// # Errors
    /// The text ends in a lone `\`.
    pub fn new(text: &str) -> Result<Self, String> {
        let (mut list, mut current) = (Vec::new(), Vec::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '|' => list.push(std::mem::take(&mut current)),
                '*' => current.push(Token::Any),
                '?' => current.push(Token::One),
                '\\' => current.push(Token::Char(chars.next().ok_or_else(|| {
                    "patterns such as `features.*|head`; a `\\` stands before a character"
                        .to_owned()
                })?)),
                c => current.push(Token::Char(c)),
            }
        }
        list.push(current);
        list.retain(|p: &Vec<Token>| !p.is_empty());
        Ok(Self(list))
    }

    /// Whether there is no pattern, which matches nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any pattern matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        self.0.iter().any(|p| matches(p, &name))
    }
}

/// Greedy with one point to come back to: at worst the product of both lengths.
fn matches(pattern: &[Token], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                back = Some((p, n));
                p += 1;
                continue;
            }
            Some(Token::One) => {}
            Some(Token::Char(c)) if *c == name[n] => {}
            _ => match &mut back {
                Some((star, at)) => {
                    *at += 1;
                    (p, n) = (*star + 1, *at);
                    continue;
                }
                None => return false,
            },
        }
        p += 1;
        n += 1;
    }
    pattern[p..].iter().all(|t| *t == Token::Any)
}

impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pattern) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("|")?;
            }
            for token in pattern {
                match token {
                    Token::Any => f.write_str("*")?,
                    Token::One => f.write_str("?")?,
                    Token::Char(c @ ('*' | '?' | '|' | '\\')) => write!(f, "\\{c}")?,
                    Token::Char(c) => write!(f, "{c}")?,
                }
            }
        }
        Ok(())
    }
}

impl OptionValue for Globs {
    fn expected() -> String {
        "patterns such as `features.*|head`".into()
    }
    fn parse(text: Option<&str>) -> Result<Self, String> {
        Globs::new(text.ok_or_else(Self::expected)?)
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

/// Whether a character can stand in a value without quotes.
pub(crate) fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '{' | '}' | '"' | '\'')
}

/// The value as pipeline text.
pub(crate) fn quoted_if_needed(value: &str) -> String {
    if !value.is_empty() && value.chars().all(is_bare) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(u64::parse(Some("64MiB")), Ok(64 << 20));
        assert_eq!(u64::parse(Some("12")), Ok(12));
        for bad in ["", "MiB", "+1", "-1", "1kb", "99999999999TiB"] {
            assert!(u64::parse(Some(bad)).is_err(), "{bad}");
        }
        for v in [0, 1, 1023, 1024, 3 << 20, 5 << 40, u64::MAX] {
            assert_eq!(u64::parse(Some(&v.print())), Ok(v));
        }
    }

    #[test]
    fn globs() {
        let g = |t: &str| Globs::new(t).unwrap();
        assert!(g("features.*").matches("features.0.conv"));
        assert!(!g("features.*").matches("my.features.0"));
        assert!(g("*conv?|head").matches("a/conv1") && g("*conv?|head").matches("head"));
        assert!(g("*a*b*c").matches("xxaxxbxbxc") && !g("*a*b*c").matches("xxaxxbxbxcd"));
        assert!(g(r"a\*").matches("a*") && !g(r"a\*").matches("ab"));
        assert!(!g("").matches("") && g("").is_empty());
        for text in ["features.*|head", r"a\*b\|c\\?", ""] {
            assert_eq!(g(text).print(), text);
        }
        assert!(Globs::new("a\\").is_err());
    }
}
