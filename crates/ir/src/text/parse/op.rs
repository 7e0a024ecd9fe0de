//! Ops.

use super::{
    AttrSpans, Parser, ResultName, Scope, Signature, Span, check_signature, define, spelled,
    unexpected,
};
use crate::{
    AttrError, AttrMap, Binding, CarriedNorm, ConstId, Constant, Graph, GraphRole, OpAttrs, OpKind,
    OpSpec, Opaque, ResultSpec, Return, Type, Value,
    text::{
        ParseError,
        error::{did_you_mean, nearest},
        lexer::Token,
        print::split_opaque_name,
    },
};
use std::sync::Arc;

impl<'a> Parser<'a> {
    pub(super) fn op(
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
                let v = match self.eat_keyword("none")? {
                    true => None,
                    false => Some(self.value(scope)?),
                };
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

    /// `"domain::name" pure type_uses(…) shaped quantized norm("…")`.
    fn opaque(&mut self) -> Result<Opaque, ParseError> {
        let (first, _) = self.string()?;
        let (domain, name): (Arc<str>, Arc<str>) = if self.colons_follow()? {
            self.expect(':')?;
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
                Token::Word("shaped") => o.shaped = true,
                Token::Word("quantized") => o.quantized = true,
                Token::Word("norm") => {
                    self.next()?;
                    self.expect('(')?;
                    let (name, at) = self.string()?;
                    let known = CarriedNorm::ALL.into_iter().find(|n| n.name() == name);
                    o.norm = Some(known.ok_or_else(|| {
                        ParseError::new(at, "no reason why a batch norm is carried as it is")
                    })?);
                    self.expect(')')?;
                    continue;
                }
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

    /// Whether `::` comes next; a single `:` begins the type of the result.
    fn colons_follow(&mut self) -> Result<bool, ParseError> {
        Ok(self.is(':')? && self.lexer.peek_char() == Some(':'))
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
            let mut token = look.token()?.0;
            if token == Token::Word("as") {
                look.token()?;
                token = look.token()?.0;
            }
            match token {
                Token::Punct('=') => return Ok(true),
                Token::Punct(',') if matches!(look.token()?.0, Token::Value(_)) => {}
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
