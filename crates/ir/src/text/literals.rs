//! Parsing of attributes, types and constants.

use super::{
    MAX_LISTS, ParseError,
    elements::{self, Literal},
    error::{did_you_mean, nearest},
    lexer::{Lexer, Token},
    parse::{Parser, Span},
};
use crate::{
    AttrMap, Attribute, ConstData, ConstId, DType, Dim, ElementMap, MapTerm, Step, TensorType, Type,
};
use std::sync::Arc;

/// Where each attribute of a map stands: name, value.
pub(super) type AttrSpans = Vec<(Span, Span)>;

/// Elements as written: flat, with the extents that brackets say.
pub(super) struct Written<'a> {
    elements: Vec<(Literal<'a>, Span)>,
    extents: Vec<u64>,
}

/// The data of a constant, before its type is known.
pub(super) enum Data<'a> {
    Dense(Box<Written<'a>>),
    Splat(Literal<'a>, Span),
    Absent(Option<u64>),
    Resource(u64),
    Derived(ConstId, Vec<(StepText, Span)>),
}

/// A step whose operands are parsed but not checked.
pub(super) enum StepText {
    Scale(ElementMap, ConstId),
    Shift(ElementMap, ConstId),
    Broadcast(Vec<u64>),
}

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
                self.nesting(depth, &span)?;
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

    fn nesting(&self, depth: u32, span: &Span) -> Result<(), ParseError> {
        if depth < MAX_LISTS {
            return Ok(());
        }
        Err(ParseError::new(span.clone(), format!("nested deeper than {MAX_LISTS} levels")))
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

    /// `DATA : TYPE`, added to the pool.
    fn entry(&mut self, depth: u32) -> Result<ConstId, ParseError> {
        let from = self.peek()?.1.start;
        let data = self.data(depth)?;
        self.add_entry(data, from)
    }

    /// `: TYPE` of data that began at `from`, both added to the pool.
    pub(super) fn add_entry(&mut self, data: Data<'a>, from: usize) -> Result<ConstId, ParseError> {
        let span = from..self.end();
        self.expect(':')?;
        let start = self.peek()?.1.start;
        let ty = self.ty()?;
        let type_span = start..self.end();
        let wrong = |message: &str| Err(ParseError::new(type_span.clone(), message));
        let Type::Tensor(ty) = ty else { return wrong("a constant is a tensor") };
        let Some(dims) = ty.static_dims() else {
            return wrong("the extents of a constant are known");
        };
        let count = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let bytes = count.and_then(|n| n.checked_mul(128));
        let (Some(count), Some(_)) = (count, bytes) else {
            return wrong("the constant is too large");
        };
        let data = match data {
            Data::Absent(hash) => ConstData::Absent { hash },
            Data::Resource(index) => return self.resource(index, ty, span),
            Data::Derived(base, steps) => return self.derive(base, steps, &ty, type_span),
            Data::Splat(_, at) if ty.dtype == DType::Str => {
                return Err(ParseError::new(at, "strings have no splat").help("write dense<[…]>"));
            }
            Data::Splat(literal, at) => {
                ConstData::Splat(elements::pack(ty.dtype, &[bits(ty.dtype, &literal, at)?]).into())
            }
            Data::Dense(written) => written.encode(&ty, &dims, count, span)?,
        };
        Ok(self.module.constants.add(ty, data))
    }

    /// The data of a constant.
    pub(super) fn data(&mut self, depth: u32) -> Result<Data<'a>, ParseError> {
        let (token, span) = self.next()?;
        self.nesting(depth, &span)?;
        match token {
            Token::Word("absent") => Ok(Data::Absent(None)),
            Token::Word("dense") => {
                self.expect('<')?;
                let mut written = Box::new(Written { elements: Vec::new(), extents: Vec::new() });
                self.elements(&mut written, 0)?;
                self.expect('>')?;
                Ok(Data::Dense(written))
            }
            Token::Word("splat") => {
                self.expect('<')?;
                let (literal, at) = self.literal()?;
                self.expect('>')?;
                Ok(Data::Splat(literal, at))
            }
            Token::Word("blob") => {
                self.expect('<')?;
                self.keyword("sha")?;
                let hash = self.raw(content_hash)?;
                self.expect('>')?;
                Ok(Data::Absent(Some(hash)))
            }
            Token::Word("stats") => {
                self.expect('<')?;
                loop {
                    match self.next()? {
                        (Token::Punct('>'), _) => return Ok(Data::Absent(None)),
                        (Token::Word(_) | Token::Number(_) | Token::Punct(','), _) => {}
                        (other, span) => return Err(unexpected(&other, span, "a figure or `>`")),
                    }
                }
            }
            Token::Word("resource") => {
                self.expect('<')?;
                let index = self.integer()?;
                self.expect('>')?;
                Ok(Data::Resource(index))
            }
            Token::Word("derived") => {
                self.expect('(')?;
                let base = self.entry(depth + 1)?;
                let mut steps = Vec::new();
                while !self.eat(')')? {
                    self.expect(',')?;
                    steps.push(self.step(depth + 1)?);
                }
                Ok(Data::Derived(base, steps))
            }
            other => Err(unexpected(&other, span, "the data of a constant").help(
                "a constant is dense<…>, splat<…>, blob<sha …>, absent, stats<…>, resource<…> or derived(…)",
            )),
        }
    }

    fn elements(&mut self, written: &mut Written<'a>, depth: usize) -> Result<u64, ParseError> {
        let (token, span) = self.peek()?;
        if token != Token::Punct('[') {
            let element = self.literal()?;
            if depth != written.extents.len() {
                return Err(ParseError::new(span, "elements are nested unevenly"));
            }
            written.elements.push(element);
            return Ok(1);
        }
        self.nesting(depth as u32, &span)?;
        self.next()?;
        let known = written.extents.get(depth).copied();
        if known.is_none() {
            if !written.elements.is_empty() {
                return Err(ParseError::new(span, "elements are nested unevenly"));
            }
            // Its extent is that of its first list, known when that ends.
            written.extents.push(u64::MAX);
        }
        let mut n = 0;
        while !self.eat(']')? {
            if n > 0 {
                self.expect(',')?;
            }
            self.elements(written, depth + 1)?;
            n += 1;
        }
        match written.extents.get_mut(depth) {
            Some(e) if *e == u64::MAX || *e == n => *e = n,
            _ => {
                return Err(ParseError::new(
                    span.start..self.end(),
                    "elements are nested unevenly",
                )
                .label(format!("{n} here, {} before", known.unwrap_or(0))));
            }
        }
        Ok(n)
    }

    fn literal(&mut self) -> Result<(Literal<'a>, Span), ParseError> {
        let (token, span) = self.next()?;
        let literal = match token {
            Token::Number(n) => Literal::Number(n),
            Token::Word("true") => Literal::Bool(true),
            Token::Word("false") => Literal::Bool(false),
            Token::Str(s) => Literal::Str(s.as_bytes().into()),
            Token::Word("bytes") => {
                self.expect('<')?;
                let (text, at) = self.string()?;
                self.expect('>')?;
                Literal::Str(bytes(&text, at)?.into())
            }
            Token::Punct('(') => {
                let re = self.part()?;
                self.expect(',')?;
                let im = self.part()?;
                self.expect(')')?;
                Literal::Pair(re, im)
            }
            other => return Err(unexpected(&other, span, "an element")),
        };
        Ok((literal, span.start..self.end()))
    }

    fn part(&mut self) -> Result<&'a str, ParseError> {
        match self.next()? {
            (Token::Number(n), _) => Ok(n),
            (other, span) => Err(unexpected(&other, span, "a number")),
        }
    }

    fn step(&mut self, depth: u32) -> Result<(StepText, Span), ParseError> {
        let (token, span) = self.next()?;
        let step = match token {
            Token::Word(w @ ("scale" | "shift")) => {
                self.expect('(')?;
                let map = self.element_map()?;
                self.expect(',')?;
                let vector = self.entry(depth)?;
                self.expect(')')?;
                if w == "scale" {
                    StepText::Scale(map, vector)
                } else {
                    StepText::Shift(map, vector)
                }
            }
            Token::Word("broadcast") => {
                let mut dims = Vec::new();
                self.expect('[')?;
                while !self.eat(']')? {
                    if !dims.is_empty() {
                        self.expect(',')?;
                    }
                    dims.push(self.integer()?);
                }
                StepText::Broadcast(dims)
            }
            other => {
                return Err(unexpected(&other, span, "a step")
                    .help("a step is scale(map[…], …), shift(map[…], …) or broadcast[…]"));
            }
        };
        Ok((step, span.start..self.end()))
    }

    /// `map[stride:size/div*mul, …]`.
    fn element_map(&mut self) -> Result<ElementMap, ParseError> {
        self.keyword("map")?;
        self.expect('[')?;
        let mut terms = Vec::new();
        while !self.eat(']')? {
            if !terms.is_empty() {
                self.expect(',')?;
            }
            let start = self.peek()?.1.start;
            let stride = self.integer()?;
            self.expect(':')?;
            let size = self.integer()?;
            let div = if self.eat('/')? { self.integer()? } else { 1 };
            let mul = if self.eat('*')? { self.integer()? } else { 1 };
            if stride == 0 || size == 0 || div == 0 {
                return Err(ParseError::new(
                    start..self.end(),
                    "stride, size and divisor are at least 1",
                ));
            }
            terms.push(MapTerm { stride, size, div, mul });
        }
        Ok(ElementMap::from_terms(terms))
    }

    /// Checks what reading a derived entry relies on, and derives it.
    fn derive(
        &mut self,
        base: ConstId,
        steps: Vec<(StepText, Span)>,
        ty: &TensorType,
        type_span: Span,
    ) -> Result<ConstId, ParseError> {
        let pool = &mut self.module.constants;
        let mut id = base;
        for (step, span) in steps {
            let step = match step {
                StepText::Scale(map, factors) | StepText::Shift(map, factors)
                    if largest_channel(&map).is_none_or(|c| c >= pool.count(factors)) =>
                {
                    return Err(ParseError::new(span, "the map reaches beyond the vector")
                        .label(format!("the vector has {} elements", pool.count(factors))));
                }
                StepText::Scale(map, factors) => Step::Scale { map, factors },
                StepText::Shift(map, addends) => Step::Shift { map, addends },
                StepText::Broadcast(dims) => {
                    let from = pool.dims(id);
                    let lead = dims.len().checked_sub(from.len());
                    let fits =
                        |lead| from.iter().zip(&dims[lead..]).all(|(&f, &d)| f == 1 || f == d);
                    let small = dims.iter().try_fold(128u64, |n, &d| n.checked_mul(d)).is_some();
                    if !lead.is_some_and(fits) || !small {
                        let message =
                            format!("{} does not broadcast to these extents", pool.ty(id));
                        return Err(ParseError::new(span, message));
                    }
                    Step::Broadcast { dims }
                }
            };
            id = pool.derive(id, step);
        }
        if pool.ty(id) != ty {
            return Err(ParseError::new(
                type_span,
                format!("the derived constant is a {}", pool.ty(id)),
            ));
        }
        Ok(id)
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
            let at = lexer.pos();
            return Err(ParseError::new(at..at + 1, "expected `x` after an extent")
                .help("a tensor type is tensor<2x3xf32>, tensor<?{N}x3xf32> or tensor<*xf32>"));
        }
        if !ranked {
            break;
        }
    }
    let start = lexer.pos();
    let word = lexer.take_while(|b| b.is_ascii_alphanumeric());
    let span = start..lexer.pos().max(start + 1);
    let Ok(dtype) = word.parse::<DType>() else {
        let all = DType::ALL.iter().map(|d| d.name());
        let mut error = ParseError::new(span, format!("`{word}` is no element type"));
        error.help = did_you_mean(&nearest(word, all.clone()), "")
            .or_else(|| Some(format!("element types: {}", all.collect::<Vec<_>>().join(", "))));
        return Err(error);
    };
    if !lexer.eat_char('>') {
        return Err(ParseError::new(
            lexer.pos()..lexer.pos() + 1,
            "expected `>` after the element type",
        ));
    }
    Ok(TensorType { dtype, shape: ranked.then(|| dims.into()) })
}

impl Written<'_> {
    fn encode(
        self,
        ty: &TensorType,
        dims: &[u64],
        count: u64,
        span: Span,
    ) -> Result<ConstData, ParseError> {
        let n = self.elements.len() as u64;
        if n != count {
            return Err(ParseError::new(
                span,
                format!("{n} elements for a {ty}, which has {count}"),
            ));
        }
        // One flat list serves any shape; deeper brackets must be those of the shape.
        if self.extents.len() > 1 && self.extents != dims {
            return Err(ParseError::new(span, format!("the brackets are not those of a {ty}")));
        }
        if ty.dtype == DType::Str {
            let strings: Result<Vec<_>, _> = self
                .elements
                .into_iter()
                .map(|(literal, at)| match literal {
                    Literal::Str(s) => Ok(s),
                    _ => Err(ill_typed(DType::Str, at)),
                })
                .collect();
            return Ok(ConstData::Strings(strings?.into()));
        }
        let elements: Result<Vec<u128>, _> =
            self.elements.into_iter().map(|(literal, at)| bits(ty.dtype, &literal, at)).collect();
        Ok(ConstData::Owned(elements::pack(ty.dtype, &elements?).into()))
    }
}

fn content_hash(lexer: &mut Lexer<'_>) -> Result<u64, ParseError> {
    lexer.skip_space();
    let start = lexer.pos();
    let digits = lexer.take_while(|b| b.is_ascii_hexdigit());
    let hash = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16);
    let at = start..lexer.pos().max(start + 1);
    hash.ok_or_else(|| ParseError::new(at, "a content hash is 16 hex digits"))
}

/// The largest channel that a map gives, over all elements there could be.
fn largest_channel(map: &ElementMap) -> Option<u64> {
    map.terms()
        .iter()
        .try_fold(0u64, |sum, t| sum.checked_add(((t.size - 1) / t.div).checked_mul(t.mul)?))
}

fn bits(dtype: DType, literal: &Literal<'_>, at: Span) -> Result<u128, ParseError> {
    elements::to_bits(dtype, literal).map_err(|_| ill_typed(dtype, at))
}

fn ill_typed(dtype: DType, at: Span) -> ParseError {
    ParseError::new(at, format!("not an element of type {dtype}"))
        .label(format!("expected {}", elements::expected(dtype)))
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

pub(super) fn unexpected(token: &Token<'_>, span: Span, expected: &str) -> ParseError {
    ParseError::new(span, format!("expected {expected}, found {}", token.describe()))
        .label(format!("expected {expected}"))
}
