//! Parsing: recursive descent over the tokens.

mod attributes;
mod constants;
mod op;

use super::{
    MAX_BODIES, ParseError,
    lexer::{Lexer, Token, ValueName},
};
use crate::{
    ConstId, Graph, GraphId, GraphRole, Module, OpSpec, Parameter, ResultSpec, Type, Value,
};
use indexmap::IndexMap;
use std::{borrow::Cow, collections::HashMap, ops::Range, sync::Arc};

/// Where each attribute of a map stands: name, value.
type AttrSpans = Vec<(Span, Span)>;

type Span = Range<usize>;

/// A module from its text.
///
/// Constants enter the pool in order of appearance. The text must be well-formed and name only what is defined;
/// whether the module is valid is [`crate::verify()`]'s to say.
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

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<(Token<'a>, Span)>,
    /// Where the last token taken ends.
    end: usize,
    module: Module,
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
    fn peek(&mut self) -> Result<(Token<'a>, Span), ParseError> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.token()?);
        }
        Ok(self.ahead.clone().unwrap_or((Token::End, self.end..self.end)))
    }

    fn next(&mut self) -> Result<(Token<'a>, Span), ParseError> {
        let (token, span) = match self.ahead.take() {
            Some(found) => found,
            None => self.lexer.token()?,
        };
        self.end = span.end;
        Ok((token, span))
    }

    /// Where the last token taken ends.
    fn end(&self) -> usize {
        self.end
    }

    /// Reads the characters after the last token taken, for what is no sequence of tokens.
    fn raw<T>(
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

    fn eat(&mut self, c: char) -> Result<bool, ParseError> {
        let found = self.is(c)?;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn expect(&mut self, c: char) -> Result<(), ParseError> {
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

    fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.eat_keyword(word)? {
            return Ok(());
        }
        let (token, span) = self.peek()?;
        Err(unexpected(&token, span, &format!("`{word}`")))
    }

    fn string(&mut self) -> Result<(Cow<'a, str>, Span), ParseError> {
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
}

fn nesting(depth: u32, limit: u32, span: &Span) -> Result<(), ParseError> {
    if depth < limit {
        return Ok(());
    }
    Err(ParseError::new(span.clone(), format!("nested deeper than {limit} levels")))
}

fn unexpected(token: &Token<'_>, span: Span, expected: &str) -> ParseError {
    ParseError::new(span, format!("expected {expected}, found {}", token.describe()))
        .label(format!("expected {expected}"))
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
