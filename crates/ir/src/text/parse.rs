//! Parsing: recursive descent over the tokens.

use super::{
    MAX_BODIES, ParseError,
    error::{did_you_mean, nearest},
    lexer::{Lexer, Token, ValueName},
    literals::{AttrSpans, bytes, unexpected},
    print::split_opaque_name,
};
use crate::{
    AttrError, AttrMap, Binding, ConstData, ConstId, Constant, Graph, GraphId, GraphRole, Module,
    OpAttrs, OpKind, OpSpec, Opaque, Parameter, ResultSpec, Return, TensorType, Type, Value,
};
use indexmap::IndexMap;
use std::{borrow::Cow, collections::HashMap, ops::Range, sync::Arc};

pub(super) type Span = Range<usize>;

/// A module from its text.
///
/// Constants enter the pool in order of appearance. The text must be well-formed and name only what is defined;
/// whether the module is valid is [`crate::verify`]'s to say.
///
/// # Errors
/// The text is no module; the error says where.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut p = Parser {
        lexer: Lexer::new(text),
        ahead: None,
        end: 0,
        module: Module::new(""),
        resources: IndexMap::new(),
    };
    p.module()?;
    p.module.honour_limits();
    Ok(p.module)
}

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<(Token<'a>, Span)>,
    /// Where the last token taken ends.
    end: usize,
    pub(super) module: Module,
    /// Entries whose bytes come at the end, and where they are first named.
    resources: IndexMap<u64, (ConstId, Span)>,
}

/// A value that is defined, and where.
type Definition = (Value, Span);
type Scope<'a> = HashMap<ValueName<'a>, Definition>;

/// `%name as "exact name"`, the latter where two values have one name.
struct ResultName<'a> {
    ssa: ValueName<'a>,
    name: Option<Arc<str>>,
    span: Span,
}

/// `-> (…)`.
struct Signature {
    names: Vec<Arc<str>>,
    types: Vec<(Option<Type>, Span)>,
    span: Span,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&mut self) -> Result<(Token<'a>, Span), ParseError> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.token()?);
        }
        Ok(self.ahead.clone().unwrap_or((Token::End, self.end..self.end)))
    }

    pub(super) fn next(&mut self) -> Result<(Token<'a>, Span), ParseError> {
        let (token, span) = match self.ahead.take() {
            Some(found) => found,
            None => self.lexer.token()?,
        };
        self.end = span.end;
        Ok((token, span))
    }

    /// Where the last token taken ends.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Reads the characters after the last token taken, for what is no sequence of tokens.
    pub(super) fn raw<T>(
        &mut self,
        read: impl FnOnce(&mut Lexer<'a>) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        debug_assert!(self.ahead.is_none(), "a token was looked at already");
        let found = read(&mut self.lexer)?;
        self.end = self.lexer.pos();
        Ok(found)
    }

    fn is(&mut self, c: char) -> Result<bool, ParseError> {
        Ok(self.peek()?.0 == Token::Punct(c))
    }

    pub(super) fn eat(&mut self, c: char) -> Result<bool, ParseError> {
        let found = self.is(c)?;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(super) fn expect(&mut self, c: char) -> Result<(), ParseError> {
        match self.next()? {
            (Token::Punct(found), _) if found == c => Ok(()),
            (other, span) => Err(unexpected(&other, span, &format!("`{c}`"))),
        }
    }

    fn eat_keyword(&mut self, word: &str) -> Result<bool, ParseError> {
        let found = matches!(self.peek()?.0, Token::Word(w) if w == word);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(super) fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.eat_keyword(word)? {
            return Ok(());
        }
        let (token, span) = self.peek()?;
        Err(unexpected(&token, span, &format!("`{word}`")))
    }

    pub(super) fn string(&mut self) -> Result<(Cow<'a, str>, Span), ParseError> {
        match self.next()? {
            (Token::Str(s), span) => Ok((s, span)),
            (other, span) => Err(unexpected(&other, span, "quoted text")),
        }
    }

    fn eat_string(&mut self) -> Result<Option<Arc<str>>, ParseError> {
        match self.peek()?.0 {
            Token::Str(s) => {
                self.next()?;
                Ok(Some(s.into()))
            }
            _ => Ok(None),
        }
    }

    fn symbol(&mut self) -> Result<Arc<str>, ParseError> {
        match self.next()? {
            (Token::Symbol(s), _) => Ok(s.into()),
            (other, span) => Err(unexpected(&other, span, "a name such as `@main`")),
        }
    }

    fn module(&mut self) -> Result<(), ParseError> {
        self.keyword("module")?;
        self.module = Module::new(self.symbol()?);
        if self.attributes_follow()? {
            self.module.attrs = self.attr_map()?.0;
        }
        self.expect('{')?;
        loop {
            let (token, span) = self.next()?;
            let role = match token {
                Token::Word("graph") => GraphRole::Main,
                Token::Word("function") => GraphRole::Function,
                Token::Word("resources") => {
                    self.resource_bytes()?;
                    continue;
                }
                Token::Punct('}') => break,
                other => {
                    return Err(unexpected(
                        &other,
                        span,
                        "`graph`, `function`, `resources` or `}`",
                    ));
                }
            };
            self.graph(role, 0)?;
        }
        if let Some((index, (_, span))) = self.resources.pop() {
            return Err(ParseError::new(span, format!("resource {index} has no bytes"))
                .help("add them to `resources { … }`"));
        }
        match self.next()? {
            (Token::End, _) => Ok(()),
            (other, span) => Err(unexpected(&other, span, "the end of the text")),
        }
    }

    /// Whether `{` begins attributes (`{name = …`) or the module itself.
    fn attributes_follow(&mut self) -> Result<bool, ParseError> {
        if !self.is('{')? {
            return Ok(false);
        }
        let mut look = self.lexer;
        let name = look.token()?.0;
        Ok(matches!(name, Token::Word(_) | Token::Str(_)) && look.token()?.0 == Token::Punct('='))
    }

    /// A graph after its keyword.
    fn graph(&mut self, role: GraphRole, depth: u32) -> Result<GraphId, ParseError> {
        let at = self.peek()?.1;
        if depth > MAX_BODIES {
            let message = format!("bodies are nested deeper than {MAX_BODIES} levels");
            return Err(ParseError::new(at, message));
        }
        let name = self.symbol()?;
        // Its place among the graphs is that in the text, before its bodies.
        let id = self.module.add_graph(Graph::new(name.clone(), role));
        let mut g = Graph::new(name, role);
        let mut scope = Scope::new();
        self.parameters(&mut g, &mut scope, false)?;
        if self.eat_keyword("captures")? {
            self.parameters(&mut g, &mut scope, true)?;
        }
        let signature = self.signature_results()?;
        self.expect('{')?;
        while !self.eat('}')? {
            if g.return_op().is_some() {
                let (_, span) = self.peek()?;
                return Err(ParseError::new(span, "an op after `return`"));
            }
            self.op(&mut g, &mut scope, signature.as_ref(), depth)?;
        }
        if let (None, Some(s)) = (g.return_op(), signature) {
            return Err(ParseError::new(s.span, "the graph has results but no `return`"));
        }
        *self.module.graph_mut(id) = g;
        Ok(id)
    }

    fn parameters(
        &mut self,
        g: &mut Graph,
        scope: &mut Scope<'a>,
        capture: bool,
    ) -> Result<(), ParseError> {
        self.expect('(')?;
        let mut position = 0;
        while !self.eat(')')? {
            if position > 0 {
                self.expect(',')?;
            }
            let result = self.result_name()?;
            let mut index = position;
            if capture && self.eat_keyword("from")? {
                let at = self.peek()?.1;
                index = u32::try_from(self.integer()?)
                    .map_err(|_| ParseError::new(at, "no capture of the owner"))?;
            }
            let op_name = self.eat_string()?;
            let ty = if self.eat(':')? { self.ty()? } else { Type::Unknown };
            let mut spec = OpSpec::new(Parameter { index, capture })
                .results([ResultSpec { name: result.name.clone(), ty }]);
            spec.name = op_name;
            let op = g.create(spec);
            define(scope, result, g.result(op, 0))?;
            position += 1;
        }
        Ok(())
    }

    fn signature_results(&mut self) -> Result<Option<Signature>, ParseError> {
        let (token, from) = self.peek()?;
        if token != Token::Arrow {
            return Ok(None);
        }
        self.next()?;
        self.expect('(')?;
        let mut s = Signature { names: Vec::new(), types: Vec::new(), span: from.clone() };
        while !self.eat(')')? {
            if !s.types.is_empty() {
                self.expect(',')?;
            }
            let (token, span) = self.peek()?;
            if let Token::Value(name) = token {
                self.next()?;
                if s.names.len() != s.types.len() {
                    return Err(ParseError::new(span, "either every result has a name or none"));
                }
                s.names.push(match name {
                    ValueName::Named(n) => n.into(),
                    ValueName::Numbered(n) => n.into(),
                });
                let ty = if self.eat(':')? { Some(self.ty()?) } else { None };
                s.types.push((ty, span.start..self.end()));
            } else if s.names.is_empty() {
                let ty = self.ty()?;
                s.types.push((Some(ty), span.start..self.end()));
            } else {
                return Err(ParseError::new(span, "either every result has a name or none"));
            }
        }
        s.span = from.start..self.end();
        Ok(Some(s))
    }

    fn result_name(&mut self) -> Result<ResultName<'a>, ParseError> {
        let (ssa, span) = match self.next()? {
            (Token::Value(v), span) => (v, span),
            (other, span) => return Err(unexpected(&other, span, "a value such as `%x`")),
        };
        let mut name = match &ssa {
            ValueName::Named(n) => Some(Arc::from(&**n)),
            ValueName::Numbered(_) => None,
        };
        if self.eat_keyword("as")? {
            name = Some(self.string()?.0.into());
        }
        Ok(ResultName { ssa, name, span })
    }

    fn op(
        &mut self,
        g: &mut Graph,
        scope: &mut Scope<'a>,
        signature: Option<&Signature>,
        depth: u32,
    ) -> Result<(), ParseError> {
        let mut results = Vec::new();
        if matches!(self.peek()?.0, Token::Value(_)) {
            results.push(self.result_name()?);
            while self.eat(',')? {
                results.push(self.result_name()?);
            }
            self.expect('=')?;
        }
        let (mnemonic, at) = match self.next()? {
            (Token::Word(w), span) => (w, span),
            (other, span) => return Err(unexpected(&other, span, "an op")),
        };
        let mut spec = OpSpec::new(Return::default());
        let mut known_type = None;
        match mnemonic {
            "return" => {
                if let Some(s) = signature {
                    spec.kind = Return { names: s.names.clone() }.into();
                }
            }
            "parameter" => {
                return Err(ParseError::new(at, "parameters stand in the head of the graph")
                    .help("write graph @name(%x: type)"));
            }
            "constant" => {
                let (constant, ty) = self.constant()?;
                spec.kind = constant.into();
                known_type = Some(ty);
            }
            "opaque" => spec.kind = self.opaque()?.into(),
            _ => {}
        }
        spec.operands = self.operands(g, scope)?;
        if self.eat_keyword("captures")? {
            self.expect('(')?;
            while !self.eat(')')? {
                if !spec.captures.is_empty() {
                    self.expect(',')?;
                }
                let v = self.value(scope)?;
                spec.captures.push(v);
            }
        }
        let (attrs, spans) =
            if self.is('{')? { self.attr_map()? } else { (AttrMap::new(), AttrSpans::new()) };
        match &mut spec.kind {
            OpKind::Opaque(o) => o.attrs = attrs,
            kind => {
                let extra = match mnemonic {
                    "return" | "constant" => attrs
                        .keys()
                        .next()
                        .map(|name| Err(AttrError::Unknown { name: name.clone(), valid: &[] })),
                    _ => Some(match OpKind::from_attrs(mnemonic, &attrs) {
                        Some(found) => found,
                        None => return Err(unknown_op(mnemonic, at)),
                    }),
                };
                if let Some(found) = extra {
                    *kind =
                        found.map_err(|e| attr_error(&e, mnemonic, &attrs, &spans, at.clone()))?;
                }
            }
        }
        spec.name = self.eat_string()?;
        let types = self.result_types(&results, known_type)?;
        while self.eat_keyword("body")? {
            let body = self.graph(GraphRole::Body, depth + 1)?;
            spec.regions.push(body);
        }
        for (r, ty) in results.iter().zip(types) {
            spec.results.push(ResultSpec { name: r.name.clone(), ty });
        }
        let op = g.create(spec);
        if let (Some(s), "return") = (signature, mnemonic) {
            check_signature(g, s, at)?;
        }
        for (i, r) in results.into_iter().enumerate() {
            define(scope, r, g.result(op, i))?;
        }
        Ok(())
    }

    /// `DATA {binding = …} : TYPE`.
    fn constant(&mut self) -> Result<(Constant, Type), ParseError> {
        let from = self.peek()?.1.start;
        let data = self.data(0)?;
        let mut binding = Binding::Fixed;
        if self.is('{')? {
            let at = self.peek()?.1;
            let (mut attrs, spans) = self.attr_map()?;
            // The entry is what stands before; with it the attributes are those of a constant.
            attrs.shift_insert(0, "entry".into(), crate::Attribute::Tensor(ConstId(0)));
            let mut all = vec![(at.clone(), at.clone())];
            all.extend(spans);
            binding = Constant::from_attrs(&attrs)
                .map_err(|e| attr_error(&e, "constant", &attrs, &all, at))?
                .binding;
        }
        let entry = self.add_entry(data, from)?;
        let ty = self.module.constants.ty(entry).clone().into();
        Ok((Constant { entry, binding }, ty))
    }

    /// `"domain::name" pure type_uses(…) quantized`.
    fn opaque(&mut self) -> Result<Opaque, ParseError> {
        let (first, _) = self.string()?;
        let (domain, name): (Arc<str>, Arc<str>) = if self.eat(':')? {
            self.expect(':')?;
            (first.into(), self.string()?.0.into())
        } else {
            let (domain, name) = split_opaque_name(&first);
            (domain.into(), name.into())
        };
        let mut o = Opaque { domain, name, ..Opaque::default() };
        loop {
            let (token, _) = self.peek()?;
            match token {
                Token::Word("pure") => o.pure = true,
                Token::Word("quantized") => o.quantized = true,
                Token::Word("type_uses") => {
                    self.next()?;
                    self.expect('(')?;
                    while !self.eat(')')? {
                        if !o.type_uses.is_empty() {
                            self.expect(',')?;
                        }
                        let at = self.peek()?.1;
                        let slot = u32::try_from(self.integer()?)
                            .map_err(|_| ParseError::new(at, "no operand slot"))?;
                        o.type_uses.push(slot);
                    }
                    continue;
                }
                _ => return Ok(o),
            }
            self.next()?;
        }
    }

    fn operands(&mut self, g: &Graph, scope: &Scope<'a>) -> Result<Vec<Option<Value>>, ParseError> {
        let mut list = Vec::new();
        if self.results_follow()? {
            return Ok(list);
        }
        loop {
            let (token, span) = self.peek()?;
            match token {
                Token::Value(_) => {
                    let v = self.value(scope)?;
                    debug_assert!(g.contains(v.op), "scopes are those of their graph");
                    list.push(Some(v));
                }
                Token::Word("none") => {
                    self.next()?;
                    list.push(None);
                }
                other if !list.is_empty() => {
                    return Err(unexpected(&other, span, "an operand or `none`"));
                }
                _ => return Ok(list),
            }
            if !self.eat(',')? {
                return Ok(list);
            }
        }
    }

    /// Whether the values that come next are the results of the next op: `%a, %b =`.
    fn results_follow(&mut self) -> Result<bool, ParseError> {
        if !matches!(self.peek()?.0, Token::Value(_)) {
            return Ok(false);
        }
        let mut look = self.lexer;
        loop {
            match look.token()?.0 {
                Token::Punct('=') => return Ok(true),
                Token::Punct(',') | Token::Value(_) => {}
                Token::Word("as") => {
                    look.token()?;
                }
                _ => return Ok(false),
            }
        }
    }

    fn value(&mut self, scope: &Scope<'a>) -> Result<Value, ParseError> {
        let (token, span) = self.next()?;
        let Token::Value(name) = token else {
            return Err(unexpected(&token, span, "a value such as `%x`"));
        };
        if let Some((v, _)) = scope.get(&name) {
            return Ok(*v);
        }
        let text = spelled(&name);
        let mut defined: Vec<&str> = scope.keys().map(spelled).collect();
        defined.sort_unstable();
        let mut error = ParseError::new(span, format!("`%{text}` is not defined"))
            .label("no op above it in this graph defines it");
        error.help = did_you_mean(&nearest(text, defined.into_iter()), "%");
        Err(error)
    }

    /// `: type` or `: (type, …)`, the brackets at will; left out, what is known or nothing.
    fn result_types(
        &mut self,
        results: &[ResultName<'_>],
        known: Option<Type>,
    ) -> Result<Vec<Type>, ParseError> {
        let (token, from) = self.peek()?;
        if token != Token::Punct(':') {
            let ty = known.unwrap_or_default();
            return Ok(vec![ty; results.len()]);
        }
        self.next()?;
        let mut types = Vec::new();
        let parens = self.eat('(')?;
        if !parens || !self.is(')')? {
            types.push(self.ty()?);
            while self.eat(',')? {
                types.push(self.ty()?);
            }
        }
        if parens {
            self.expect(')')?;
        }
        if types.len() != results.len() {
            let span = from.start..self.end();
            let message = format!("{} types for {} results", types.len(), results.len());
            return Err(ParseError::new(span, message));
        }
        Ok(types)
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
    fn resource_bytes(&mut self) -> Result<(), ParseError> {
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

fn spelled<'s>(name: &'s ValueName<'_>) -> &'s str {
    match name {
        ValueName::Named(n) => n,
        ValueName::Numbered(n) => n,
    }
}

fn define<'a>(scope: &mut Scope<'a>, name: ResultName<'a>, v: Value) -> Result<(), ParseError> {
    if let Some((_, first)) = scope.get(&name.ssa) {
        let message = format!("`%{}` is defined twice", spelled(&name.ssa));
        return Err(ParseError::new(name.span, message)
            .label("defined again")
            .related(first.clone(), "first defined here"));
    }
    scope.insert(name.ssa, (v, name.span));
    Ok(())
}

/// The result types in the head of a graph say again what the operands of `return` are.
fn check_signature(g: &Graph, s: &Signature, at: Span) -> Result<(), ParseError> {
    let Some(ret) = g.return_op() else { return Ok(()) };
    if g.num_operands(ret) != s.types.len() {
        let message = format!(
            "`return` gives {} values, the graph has {} results",
            g.num_operands(ret),
            s.types.len()
        );
        return Err(ParseError::new(at, message).related(s.span.clone(), "results"));
    }
    for (v, (ty, span)) in g.operands(ret).zip(&s.types) {
        if let (Some(v), Some(ty)) = (v, ty)
            && g.ty(v) != ty
        {
            let message = format!("`return` gives a {}", g.ty(v));
            return Err(ParseError::new(span.clone(), message)
                .related(at, "returned here")
                .help("the type may be left out"));
        }
    }
    Ok(())
}

fn unknown_op(mnemonic: &str, at: Span) -> ParseError {
    let all = OpKind::mnemonics();
    let mut error = ParseError::new(at, format!("no op is called `{mnemonic}`"));
    error.help = did_you_mean(&nearest(mnemonic, all.into_iter()), "")
        .or_else(|| Some("an op of another kind is written opaque \"domain::name\"".into()));
    error
}

/// Points at the attribute that is wrong.
fn attr_error(
    error: &AttrError,
    mnemonic: &str,
    attrs: &AttrMap,
    spans: &[(Span, Span)],
    at: Span,
) -> ParseError {
    let (AttrError::Unknown { name, .. } | AttrError::IllTyped { name, .. }) = error;
    let place = attrs.get_index_of(name).and_then(|i| spans.get(i)).cloned();
    let (key, value) = place.unwrap_or((at.clone(), at));
    match error {
        AttrError::Unknown { valid, .. } => {
            let mut out = ParseError::new(key, format!("`{mnemonic}` has no attribute `{name}`"));
            out.help = Some(if valid.is_empty() {
                "it has no attributes".to_owned()
            } else {
                format!("its attributes: {}", valid.join(", "))
            });
            out
        }
        AttrError::IllTyped { expected, .. } => {
            ParseError::new(value, format!("attribute `{name}` must be {expected}"))
                .label(format!("expected {expected}"))
        }
    }
}
