//! Attributes and types.

use super::{AttrSpans, Parser, Span, nesting, unexpected};
use crate::{
    AttrMap, Attribute, DType, Dim, TensorType, Type,
    text::{
        MAX_LISTS, ParseError,
        error::{did_you_mean, nearest},
        lexer::{Lexer, Token},
    },
};
use std::sync::Arc;

impl<'a> Parser<'a> {
    /// `{name = value, …}`.
    pub(super) fn attr_map(&mut self) -> Result<(AttrMap, AttrSpans), ParseError> {
        let (mut map, mut spans) = (AttrMap::new(), AttrSpans::new());
        self.expect('{')?;
        while !self.eat('}')? {
            if !map.is_empty() {
                self.expect(',')?;
            }
            let (token, span) = self.next()?;
            let name: Arc<str> = match token {
                Token::Word(w) => w.into(),
                Token::Str(s) => s.into(),
                other => return Err(unexpected(&other, span, "an attribute's name")),
            };
            self.expect('=')?;
            let from = self.peek()?.1.start;
            let value = self.attribute(0)?;
            if map.insert(name.clone(), value).is_some() {
                return Err(ParseError::new(span, format!("attribute `{name}` is given twice")));
            }
            spans.push((span, from..self.end()));
        }
        Ok((map, spans))
    }

    fn attribute(&mut self, depth: u32) -> Result<Attribute, ParseError> {
        let (token, span) = self.peek()?;
        match token {
            Token::Number(n) => {
                self.next()?;
                number(n, span)
            }
            Token::Str(s) => {
                self.next()?;
                Ok(Attribute::Str(s.into()))
            }
            Token::Punct('[') => {
                nesting(depth, MAX_LISTS, &span)?;
                self.next()?;
                let mut items = Vec::new();
                while !self.eat(']')? {
                    if !items.is_empty() {
                        self.expect(',')?;
                    }
                    items.push(self.attribute(depth + 1)?);
                }
                Ok(Attribute::List(items))
            }
            Token::Word(w) => self.word_attribute(w),
            other => Err(unexpected(&other, span, "an attribute's value")
                .help("a value is true, false, a number, a word, quoted text, [a list], a constant, type<…>, bytes<\"hex\"> or ref<\"name\">")),
        }
    }

    fn word_attribute(&mut self, word: &'a str) -> Result<Attribute, ParseError> {
        match word {
            "dense" | "splat" | "blob" | "stats" | "absent" | "resource" | "derived" => {
                return Ok(Attribute::Tensor(self.entry(0)?));
            }
            _ => {
                self.next()?;
            }
        }
        match word {
            "true" => Ok(Attribute::Bool(true)),
            "false" => Ok(Attribute::Bool(false)),
            "type" => {
                self.expect('<')?;
                let ty = self.ty()?;
                self.expect('>')?;
                Ok(Attribute::Type(ty))
            }
            "bytes" | "ref" | "word" => {
                self.expect('<')?;
                let (text, span) = self.string()?;
                self.expect('>')?;
                Ok(match word {
                    "ref" => Attribute::Ref(text.into()),
                    "word" => Attribute::Word(text.into()),
                    _ => Attribute::Bytes(bytes(&text, span)?.into()),
                })
            }
            w => Ok(Attribute::Word(w.into())),
        }
    }

    /// `unknown`, `tensor<…>` or `other<"…">`.
    pub(super) fn ty(&mut self) -> Result<Type, ParseError> {
        let (token, span) = self.next()?;
        match token {
            Token::Word("unknown") => Ok(Type::Unknown),
            Token::Word("tensor") => {
                self.expect('<')?;
                Ok(Type::Tensor(self.raw(tensor_body)?))
            }
            Token::Word("other") => {
                self.expect('<')?;
                let (text, _) = self.string()?;
                self.expect('>')?;
                Ok(Type::Other(text.into()))
            }
            other => Err(unexpected(&other, span, "a type")
                .help("a type is tensor<2x3xf32>, tensor<*xf32>, unknown or other<\"…\">")),
        }
    }

    pub(super) fn integer(&mut self) -> Result<u64, ParseError> {
        match self.next()? {
            (Token::Number(n), span) => n
                .parse()
                .map_err(|_| ParseError::new(span, format!("`{n}` is no non-negative integer"))),
            (other, span) => Err(unexpected(&other, span, "an integer")),
        }
    }
}

/// `2x3xf32>`: what follows `tensor<`.
fn tensor_body(lexer: &mut Lexer<'_>) -> Result<TensorType, ParseError> {
    let mut dims = Vec::new();
    let mut ranked = true;
    loop {
        let start = lexer.pos();
        match lexer.peek_char() {
            Some('0'..='9') => {
                let digits = lexer.take_while(|b| b.is_ascii_digit());
                let Ok(extent) = digits.parse() else {
                    return Err(ParseError::new(start..lexer.pos(), "extent is too large"));
                };
                dims.push(Dim::Known(extent));
            }
            Some('?') => {
                lexer.eat_char('?');
                if lexer.eat_char('{') {
                    let name = if lexer.peek_char() == Some('"') {
                        lexer.quoted()?
                    } else {
                        let plain = |b: u8| {
                            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$' | b'-')
                        };
                        lexer.take_while(plain).into()
                    };
                    if !lexer.eat_char('}') {
                        let at = lexer.pos();
                        return Err(ParseError::new(start..at, "the extent's name has no end")
                            .help("write ?{name}, or ?{\"name\"} for one with other characters"));
                    }
                    dims.push(Dim::Named(name.into()));
                } else {
                    dims.push(Dim::Unknown);
                }
            }
            Some('*') if dims.is_empty() && ranked => {
                lexer.eat_char('*');
                ranked = false;
            }
            _ => break,
        }
        if !lexer.eat_char('x') {
            return Err(ParseError::new(lexer.here(), "expected `x` after an extent")
                .help("a tensor type is tensor<2x3xf32>, tensor<?{N}x3xf32> or tensor<*xf32>"));
        }
        if !ranked {
            break;
        }
    }
    let start = lexer.pos();
    let word = lexer.take_while(|b| b.is_ascii_alphanumeric());
    let span = lexer.since(start);
    let Ok(dtype) = word.parse::<DType>() else {
        let all = DType::ALL.iter().map(|d| d.name());
        let mut error = ParseError::new(span, format!("`{word}` is no element type"));
        error.help = did_you_mean(&nearest(word, all.clone()), "")
            .or_else(|| Some(format!("element types: {}", all.collect::<Vec<_>>().join(", "))));
        return Err(error);
    };
    if !lexer.eat_char('>') {
        return Err(ParseError::new(lexer.here(), "expected `>` after the element type"));
    }
    Ok(TensorType { dtype, shape: ranked.then(|| dims.into()) })
}

/// An integer, or a float: by a point, an exponent, a suffix `f` (the f32 of these digits) or as bits.
fn number(text: &str, span: Span) -> Result<Attribute, ParseError> {
    let invalid = |message: &str| ParseError::new(span.clone(), message);
    if let Some(hex) = text.strip_prefix("0x") {
        let value = match hex.len() {
            16 => u64::from_str_radix(hex, 16).ok().map(f64::from_bits),
            8 => u32::from_str_radix(hex, 16).ok().map(|b| f64::from(f32::from_bits(b))),
            _ => None,
        };
        return value.map(Attribute::Float).ok_or_else(|| {
            invalid("not the bits of a float").help("16 hex digits are an f64, 8 an f32")
        });
    }
    if !text.contains(['.', 'e', 'E', 'f']) {
        let value = text.parse().map_err(|_| {
            invalid(&format!("`{text}` is no 64-bit integer"))
                .help("write a float with a point: 1.0")
        })?;
        return Ok(Attribute::Int(value));
    }
    let value = match text.strip_suffix('f') {
        Some(short) => short.parse::<f32>().ok().map(f64::from),
        None => text.parse::<f64>().ok(),
    };
    match value.filter(|v| v.is_finite()) {
        Some(v) => Ok(Attribute::Float(v)),
        None => Err(invalid(&format!("`{text}` is no number"))),
    }
}

/// Bytes from hex digits.
pub(super) fn bytes(text: &str, span: Span) -> Result<Vec<u8>, ParseError> {
    let digits = text.as_bytes();
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let pairs: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|p| match *p {
            [a, b] => Some(digit(a)? << 4 | digit(b)?),
            _ => None,
        })
        .collect();
    pairs.ok_or_else(|| ParseError::new(span, "not bytes in hex digits"))
}
