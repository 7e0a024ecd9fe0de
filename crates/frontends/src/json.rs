//! A JSON tree that keeps what Python wrote: the order of members, the text of numbers, and where each value stands.
//!
//! RFC 8259, and what Python's `json` module writes beyond it: bare `NaN`, `Infinity` and `-Infinity`. Spans let a
//! subtree be carried verbatim, and let a document be edited by splicing.

pub(crate) mod splice;

use crate::FrontendError;
use std::ops::Range;

/// How deep values may nest. Python's own reader stops near 1000.
pub const MAX_DEPTH: usize = 400;

/// A value and where it stands in the text.
#[derive(Clone, Debug)]
pub struct Json {
    /// The bytes of the value, without the white space around it.
    pub span: Range<usize>,
    /// The value.
    pub value: Value,
}

/// What a JSON value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(Box<str>),
    /// A string, unescaped. A lone surrogate becomes U+FFFD.
    String(Box<str>),
    /// An array.
    Array(Vec<Json>),
    /// Members in the order of the text, repeated ones included.
    Object(Vec<(Box<str>, Json)>),
}

/// Equal values; where they stand does not matter.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Json {
    /// Reads a text that is one JSON value.
    ///
    /// # Errors
    /// The text is not UTF-8, not JSON, or nests deeper than [`MAX_DEPTH`]; the error names the byte, line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrontendError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => return Err(malformed(bytes, e.valid_up_to(), "not UTF-8")),
        };
        let mut reader = Reader { text, at: 0 };
        reader.skip_space();
        let document = reader.value(0).and_then(|value| {
            reader.skip_space();
            match reader.peek() {
                None => Ok(value),
                Some(_) => Err(reader.fault("something follows the value")),
            }
        });
        document.map_err(|Fault { at, problem }| malformed(bytes, at, &problem))
    }

    /// A member of an object; of repeated ones the last, as Python reads it.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.members().iter().rev().find(|(k, _)| &**k == key).map(|(_, v)| v)
    }

    /// A member that is there and not `null`.
    pub fn some(&self, key: &str) -> Option<&Json> {
        self.get(key).filter(|v| !v.is_null())
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> &[(Box<str>, Json)] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of an array.
    pub fn items(&self) -> Option<&[Json]> {
        match &self.value {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// A number; `NaN` and the infinities included.
    pub fn as_f64(&self) -> Option<f64> {
        match &self.value {
            Value::Number(text) => match &**text {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => text.parse().ok(),
            },
            _ => None,
        }
    }

    /// A number that is written as an integer.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// What a message calls a value of this kind.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The value as it is written in the document it was read from.
    pub fn text<'a>(&self, document: &'a [u8]) -> &'a str {
        document
            .get(self.span.clone())
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or_default()
    }
}

/// Whether the text begins with an object that has all of these members, as far as it can be read. Linear, and builds
/// nothing.
pub(crate) fn has_members(bytes: &[u8], names: &[&str]) -> bool {
    let mut missing = names.to_vec();
    let mut rest = bytes.trim_ascii_start().iter().enumerate();
    let text = bytes.trim_ascii_start();
    if text.first() != Some(&b'{') {
        return false;
    }
    let (mut depth, mut string) = (0usize, None);
    while let Some((at, byte)) = rest.next() {
        match (string, byte) {
            (Some(_), b'\\') => {
                rest.next();
            }
            (Some(start), b'"') => {
                let is_key = || {
                    text.get(at + 1..).unwrap_or_default().trim_ascii_start().first() == Some(&b':')
                };
                if depth == 1 && is_key() {
                    missing.retain(|name| Some(name.as_bytes()) != text.get(start..at));
                }
                string = None;
            }
            (None, b'"') => string = Some(at + 1),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if missing.is_empty() || depth == 0 {
            break;
        }
    }
    missing.is_empty()
}

fn malformed(bytes: &[u8], at: usize, problem: &str) -> FrontendError {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
    FrontendError::Malformed {
        format: "JSON",
        place: format!("line {line}, column {column}"),
        offset: at as u64,
        problem: problem.to_owned(),
    }
}

struct Fault {
    at: usize,
    problem: String,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn fault(&self, problem: impl Into<String>) -> Fault {
        Fault { at: self.at, problem: problem.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(match self.peek() {
            None => self.fault(format!("the text ends where `{}` is expected", char::from(byte))),
            Some(_) => self.fault(format!("expected `{}`", char::from(byte))),
        })
    }

    fn value(&mut self, depth: usize) -> Result<Json, Fault> {
        if depth > MAX_DEPTH {
            return Err(self.fault(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let start = self.at;
        let value = match self.peek() {
            None => return Err(self.fault("the text ends where a value is expected")),
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
        };
        Ok(Json { span: start..self.at, value })
    }

    fn word(&mut self) -> Result<Value, Fault> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Number("NaN".into())),
            ("Infinity", Value::Number("Infinity".into())),
        ];
        for (word, value) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.fault("expected a value"))
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        if self.rest().starts_with("-Infinity") {
            self.at += "-Infinity".len();
            return Ok(Value::Number("-Infinity".into()));
        }
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(self.text.get(start..self.at).unwrap_or_default().into()))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Box<str>, Fault> {
        let opening = self.at;
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let plain = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            out.push_str(self.text.get(plain..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fault("a control character in a string")),
                None => {
                    return Err(Fault {
                        at: opening,
                        problem: "a string that does not end".into(),
                    });
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.fault("an unknown escape in a string")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let after_first = self.at;
        if self.rest().starts_with("\\u") {
            self.at += 1;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let c = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after_first;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// `u` and four hexadecimal digits.
    fn hex4(&mut self) -> Result<u32, Fault> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
        let code = digits
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit))
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u32::from_str_radix(d, 16).ok())
            .ok_or_else(|| self.fault("expected four hexadecimal digits after `\\u`"))?;
        self.at += 5;
        Ok(code)
    }

    fn array(&mut self, depth: usize) -> Result<Value, Fault> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.peek() != Some(b',') {
                self.expect(b']')?;
                return Ok(Value::Array(items));
            }
            self.at += 1;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        self.expect(b'{')?;
        let mut members = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            members.push((key, self.value(depth + 1)?));
            self.skip_space();
            if self.peek() != Some(b',') {
                self.expect(b'}')?;
                return Ok(Value::Object(members));
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &[u8]) -> String {
        Json::parse(text).expect_err("malformed").to_string()
    }

    #[test]
    fn order_number_text_and_spans_are_kept() {
        let text = r#" {"b": 1.50, "a": [1e-3, -0, NaN, Infinity, -Infinity], "b": null} "#;
        let json = parse(text);
        let keys: Vec<_> = json.members().iter().map(|(k, _)| &**k).collect();
        assert_eq!(keys, ["b", "a", "b"]);
        assert_eq!(json.members()[0].1.text(text.as_bytes()), "1.50");
        assert!(json.get("b").is_some_and(Json::is_null), "the last of repeated members counts");
        let items = json.get("a").and_then(Json::items).unwrap();
        let numbers: Vec<_> = items.iter().map(|i| i.as_f64().unwrap()).collect();
        assert_eq!(numbers[..2], [1e-3, -0.0]);
        assert!(numbers[2].is_nan());
        assert_eq!(numbers[3..], [f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(items[0].as_i64(), None);
        assert_eq!(items[1].as_i64(), Some(0));
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(parse(r#""\u00e9\n\"\ud83d\ude00\/é""#).as_str(), Some("é\n\"😀/é"));
        assert_eq!(parse(r#""\ud800x\ud800A""#).as_str(), Some("\u{fffd}x\u{fffd}A"));
    }

    #[test]
    fn errors_name_the_place() {
        for (text, expected) in [
            (&b"{\"a\":\n [1, }"[..], "line 2, column 6, byte 11: expected a value"),
            (b"{\"a\": 1", "byte 7: the text ends where `}` is expected"),
            (b"[1 2]", "byte 3: expected `]`"),
            (b"[01]", "byte 2: expected `]`"),
            (b"[1.]", "byte 3: expected a digit"),
            (b"\"abc", "byte 0: a string that does not end"),
            (b"\"\\u12\"", "four hexadecimal digits"),
            (b"\"\\q\"", "unknown escape"),
            (b"\"a\nb\"", "control character"),
            (b"\"\xff\"", "byte 1: not UTF-8"),
            (b"", "byte 0: the text ends where a value is expected"),
            (b"{} {}", "byte 3: something follows the value"),
            (b"-", "byte 1: expected a digit"),
            (b"nul", "expected a value"),
        ] {
            let message = error(text);
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        parse(&nested(MAX_DEPTH));
        assert!(error(nested(10_000).as_bytes()).contains("nested deeper"));
        assert!(error("{\"a\":".repeat(10_000).as_bytes()).contains("nested deeper"));
    }

    #[test]
    fn members_are_found_without_parsing() {
        let has = |text: &str| has_members(text.as_bytes(), &["class_name", "config"]);
        assert!(has(r#" {"module": "x", "class_name": "Model", "config": {"a": [}"#));
        assert!(has(r#"{"a": {"config": 1}, "config" : 2, "class_name" : "\"}"}"#));
        assert!(!has(r#"{"a": {"class_name": 1, "config": 2}}"#));
        assert!(!has(r#"{"a": "class_name", "b": "config"}"#));
        assert!(!has(r#"["class_name", "config"]"#));
        assert!(!has(""));
    }
}
