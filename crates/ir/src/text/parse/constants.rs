//! Constants.

use super::{Parser, Span, attributes::bytes, nesting, unexpected};
use crate::{
    ConstData, ConstId, DType, ElementMap, MapTerm, Step, TensorType, Type,
    constant::{embeds, scatters},
    text::{
        MAX_BRACKETS, MAX_DERIVED, ParseError,
        elements::{self, Literal},
        lexer::{Lexer, Token},
    },
};

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
    Scatter(ConstId, ConstId),
    Embed(ConstId, Vec<u64>, bool),
    Broadcast(Vec<u64>),
}

impl<'a> Parser<'a> {
    /// `DATA : TYPE`, added to the pool.
    pub(super) fn entry(&mut self, depth: u32) -> Result<ConstId, ParseError> {
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
        nesting(depth, MAX_DERIVED, &span)?;
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
        nesting(depth as u32, MAX_BRACKETS, &span)?;
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
            Token::Word("scatter") => {
                self.expect('(')?;
                let positions = self.entry(depth)?;
                self.expect(',')?;
                let addends = self.entry(depth)?;
                self.expect(')')?;
                StepText::Scatter(positions, addends)
            }
            Token::Word("embed") => {
                self.expect('(')?;
                let negated = self.peek()?.0 == Token::Word("negated");
                if negated {
                    self.next()?;
                }
                let offset = self.integers()?;
                self.expect(',')?;
                let source = self.entry(depth)?;
                self.expect(')')?;
                StepText::Embed(source, offset, negated)
            }
            Token::Word("broadcast") => StepText::Broadcast(self.integers()?),
            other => {
                return Err(unexpected(&other, span, "a step").help(
                    "a step is scale(map[…], …), shift(map[…], …), scatter(…, …), embed([…], …) or broadcast[…]",
                ));
            }
        };
        Ok((step, span.start..self.end()))
    }

    fn integers(&mut self) -> Result<Vec<u64>, ParseError> {
        let mut list = Vec::new();
        self.expect('[')?;
        while !self.eat(']')? {
            if !list.is_empty() {
                self.expect(',')?;
            }
            list.push(self.integer()?);
        }
        Ok(list)
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
                StepText::Scatter(positions, addends) => {
                    if !scatters(pool, positions, addends, pool.count(id)) {
                        let message = "positions are an ascending i64 vector within the tensor";
                        let error = ParseError::new(span, message);
                        return Err(error.label("with as many addends as positions"));
                    }
                    Step::Scatter { positions, addends }
                }
                StepText::Embed(source, offset, negated) => {
                    if !embeds(pool, source, &offset, pool.dtype(id), &pool.dims(id)) {
                        let message = format!("a {} does not fit there", pool.ty(source));
                        let error = ParseError::new(span, message);
                        return Err(error.label(format!("into a {}", pool.ty(id))));
                    }
                    Step::Embed { source, offset, negated }
                }
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
            id = pool.derive_literally(id, step);
        }
        if pool.ty(id) != ty {
            return Err(ParseError::new(
                type_span,
                format!("the derived constant is a {}", pool.ty(id)),
            ));
        }
        Ok(id)
    }

    /// An entry whose bytes stand in the trailer.
    pub(super) fn resource(
        &mut self,
        index: u64,
        ty: TensorType,
        span: Span,
    ) -> Result<ConstId, ParseError> {
        if let Some((id, first)) = self.resources.get(&index) {
            if *self.module.constants.ty(*id) != ty {
                let message = format!("resource {index} has another type before");
                return Err(ParseError::new(span, message).related(first.clone(), "here"));
            }
            return Ok(*id);
        }
        let id = self.module.constants.add(ty, ConstData::Absent { hash: None });
        self.resources.insert(index, (id, span));
        Ok(id)
    }

    /// `{ index = "hex" … }`.
    pub(super) fn resource_bytes(&mut self) -> Result<(), ParseError> {
        self.expect('{')?;
        while !self.eat('}')? {
            let at = self.peek()?.1;
            let index = self.integer()?;
            self.expect('=')?;
            let (text, span) = self.string()?;
            let Some((id, _)) = self.resources.shift_remove(&index) else {
                return Err(ParseError::new(at, format!("no constant above is resource<{index}>")));
            };
            let bytes = bytes(&text, span.clone())?;
            let expected = self.module.constants.byte_len(id);
            if bytes.len() as u64 != expected {
                let message = format!(
                    "{} bytes for a {}, which has {expected}",
                    bytes.len(),
                    self.module.constants.ty(id)
                );
                return Err(ParseError::new(span, message));
            }
            self.module.constants.fill(id, bytes.into());
        }
        Ok(())
    }
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
    let at = lexer.since(start);
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
