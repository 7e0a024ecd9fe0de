//! Reading pipeline text.

use super::{DEFAULT_ROUNDS, Item, MAX_DEPTH, Pipeline};
use crate::{
    options::{OptionError, OptionValue, is_bare},
    registry::{PassRegistry, Setting},
};

/// What is wrong with a pipeline text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PipelineErrorKind {
    /// The text does not follow the grammar.
    Syntax,
    /// There is no pass of that name.
    UnknownPass,
    /// The pass has no option of that name.
    UnknownOption,
    /// The option takes other values.
    BadValue,
    /// An option is set twice.
    DuplicateOption,
    /// Nested too deep, or a named pipeline that names itself.
    TooDeep,
}

/// What is wrong with a pipeline text, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("pipeline, byte {offset}: {message}{}", help.as_ref().map_or(String::new(), |h| format!("; {h}")))]
#[non_exhaustive]
pub struct PipelineError {
    /// What kind of mistake it is.
    pub kind: PipelineErrorKind,
    /// The whole text.
    pub text: String,
    /// The byte where the mistake begins; the length of the text when something is missing at its end.
    pub offset: usize,
    /// How many bytes are wrong; 0 when something is missing.
    pub len: usize,
    /// What is wrong.
    pub message: String,
    /// What would have been valid.
    pub help: Option<String>,
}

const FIXPOINT: &str = "fixpoint";

pub(super) fn parse(text: &str, registry: &PassRegistry) -> Result<Pipeline, PipelineError> {
    parse_nested(text, registry, 0)
}

/// `depth` counts the fixpoints and named pipelines around the text.
fn parse_nested(
    text: &str,
    registry: &PassRegistry,
    depth: usize,
) -> Result<Pipeline, PipelineError> {
    let mut p = Parser { text, at: 0, registry, depth };
    p.skip_blanks();
    if p.at == text.len() {
        return Ok(Pipeline::default());
    }
    let pipeline = p.pipeline()?;
    if p.at < text.len() {
        return Err(p.unexpected("`,` or the end"));
    }
    Ok(pipeline)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    registry: &'a PassRegistry,
    depth: usize,
}

/// An option with where it stands.
struct Placed {
    setting: Setting,
    key: (usize, usize),
    value: (usize, usize),
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn error(
        &self,
        kind: PipelineErrorKind,
        (offset, len): (usize, usize),
        message: impl Into<String>,
        help: Option<String>,
    ) -> PipelineError {
        let (text, message) = (self.text.to_owned(), message.into());
        PipelineError { kind, text, offset, len, message, help }
    }

    fn unexpected(&self, expected: &str) -> PipelineError {
        let (found, len) = match self.peek() {
            Some(c) => (format!("found `{}`", c.escape_debug()), c.len_utf8()),
            None => ("the text ends here".to_owned(), 0),
        };
        let message = format!("expected {expected}, {found}");
        self.error(PipelineErrorKind::Syntax, (self.at, len), message, None)
    }

    fn word(&mut self) -> &str {
        let start = self.at;
        while let Some(c) =
            self.peek().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            self.at += c.len_utf8();
        }
        &self.text[start..self.at]
    }

    fn pipeline(&mut self) -> Result<Pipeline, PipelineError> {
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            self.item(&mut items)?;
            self.skip_blanks();
            if !self.eat(',') {
                return Ok(Pipeline { items });
            }
        }
    }

    fn item(&mut self, items: &mut Vec<Item>) -> Result<(), PipelineError> {
        let start = self.at;
        let name = self.word().to_owned();
        if name.is_empty() {
            return Err(self.unexpected("the name of a pass"));
        }
        let span = (start, name.len());
        self.skip_blanks();
        let options = if self.eat('{') { self.options()? } else { Vec::new() };
        if name == FIXPOINT {
            items.push(self.fixpoint(span, &options)?);
            return Ok(());
        }
        if let Some(entry) = self.registry.pass(&name) {
            let settings: Vec<Setting> = options.iter().map(|o| o.setting.clone()).collect();
            let call =
                entry.call(&settings).map_err(|(i, e)| self.option_error(&name, &options[i], e))?;
            items.push(Item::Pass(call));
            return Ok(());
        }
        let Some(named) = self.registry.named(&name) else {
            return Err(self.unknown_pass(&name, span));
        };
        if let Some(first) = options.first() {
            let message = format!("`{name}` is a named pipeline and takes no options");
            let help = Some(format!("it stands for `{}`", named.text));
            return Err(self.error(PipelineErrorKind::UnknownOption, first.key, message, help));
        }
        self.check_depth(span)?;
        let inner = parse_nested(&named.text, self.registry, self.depth + 1).map_err(|e| {
            let message = format!("in `{name}`, which stands for `{}`: {}", named.text, e.message);
            self.error(e.kind, span, message, e.help)
        })?;
        items.extend(inner.items);
        Ok(())
    }

    fn check_depth(&self, span: (usize, usize)) -> Result<(), PipelineError> {
        if self.depth < MAX_DEPTH {
            return Ok(());
        }
        let message = format!("pipelines nest at most {MAX_DEPTH} deep");
        Err(self.error(PipelineErrorKind::TooDeep, span, message, None))
    }

    fn fixpoint(
        &mut self,
        span: (usize, usize),
        options: &[Placed],
    ) -> Result<Item, PipelineError> {
        let mut max = DEFAULT_ROUNDS;
        for o in options {
            let (key, value) = &o.setting;
            let value_error = |expected: String| OptionError::Value {
                name: key.clone(),
                value: value.clone(),
                expected,
            };
            let result = match key.as_str() {
                "max" => match u64::parse(value.as_deref()) {
                    Ok(0) => Err(value_error("a number from 1 on".into())),
                    Ok(n) => {
                        max = n;
                        Ok(())
                    }
                    Err(expected) => Err(value_error(expected)),
                },
                _ => Err(OptionError::Unknown { name: key.clone(), valid: vec!["max"] }),
            };
            result.map_err(|e| self.option_error(FIXPOINT, o, e))?;
        }
        self.skip_blanks();
        if !self.eat('(') {
            return Err(self.unexpected("`(` and the passes to repeat"));
        }
        self.check_depth(span)?;
        self.depth += 1;
        let body = self.pipeline()?;
        self.depth -= 1;
        if !self.eat(')') {
            return Err(self.unexpected("`,` or `)`"));
        }
        Ok(Item::Fixpoint { max, body })
    }

    /// The options after `{` up to `}`.
    fn options(&mut self) -> Result<Vec<Placed>, PipelineError> {
        let mut list: Vec<Placed> = Vec::new();
        loop {
            self.skip_blanks();
            if self.eat('}') {
                return Ok(list);
            }
            let start = self.at;
            let key = self.word().to_owned();
            if key.is_empty() {
                return Err(self.unexpected("an option or `}`"));
            }
            let span = (start, key.len());
            if list.iter().any(|o| o.setting.0 == key) {
                let message = format!("option `{key}` is set twice");
                return Err(self.error(PipelineErrorKind::DuplicateOption, span, message, None));
            }
            let value_start = self.at + 1;
            let value = if self.eat('=') { Some(self.value()?) } else { None };
            let value_span = match &value {
                Some(_) => (value_start, self.at - value_start),
                None => span,
            };
            list.push(Placed { setting: (key, value), key: span, value: value_span });
            let before = self.at;
            self.skip_blanks();
            let separated = self.eat(',') || self.at > before;
            if !separated && self.peek() != Some('}') {
                return Err(self.unexpected("`,`, a blank or `}`"));
            }
        }
    }

    fn value(&mut self) -> Result<String, PipelineError> {
        let quote = self.peek().filter(|c| matches!(c, '"' | '\''));
        let Some(quote) = quote else {
            let start = self.at;
            while let Some(c) = self.peek().filter(|c| is_bare(*c)) {
                self.at += c.len_utf8();
            }
            return match &self.text[start..self.at] {
                "" => Err(self.unexpected("a value")),
                value => Ok(value.to_owned()),
            };
        };
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(out),
                '\\' => match self.peek() {
                    Some(e @ ('"' | '\'' | '\\')) => {
                        self.at += 1;
                        out.push(e);
                    }
                    _ => out.push('\\'),
                },
                c => out.push(c),
            }
        }
        let message = format!("the quote is not closed: expected `{quote}`");
        let span = (start, self.text.len() - start);
        Err(self.error(PipelineErrorKind::Syntax, span, message, None))
    }

    fn option_error(&self, pass: &str, option: &Placed, e: OptionError) -> PipelineError {
        match e {
            OptionError::Unknown { name, valid } => {
                let message = format!("`{pass}` has no option `{name}`");
                let help = match (nearest(&name, valid.iter().copied()), valid.is_empty()) {
                    (_, true) => "it takes no options".to_owned(),
                    (Some(near), _) => {
                        format!("did you mean `{near}`? valid: {}", valid.join(", "))
                    }
                    (None, _) => format!("valid: {}", valid.join(", ")),
                };
                self.error(PipelineErrorKind::UnknownOption, option.key, message, Some(help))
            }
            OptionError::Value { name, value, expected } => {
                let found = value.map_or("nothing".to_owned(), |v| format!("`{v}`"));
                let message = format!("option `{name}` of `{pass}` cannot be {found}");
                let help = Some(format!("it takes {expected}"));
                self.error(PipelineErrorKind::BadValue, option.value, message, help)
            }
        }
    }

    fn unknown_pass(&self, name: &str, span: (usize, usize)) -> PipelineError {
        let passes = self.registry.passes().map(|e| e.info.name);
        let all: Vec<&str> =
            passes.chain(self.registry.pipelines().map(|(n, _)| n)).chain([FIXPOINT]).collect();
        let help = match nearest(name, all.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", all.join(", ")),
        };
        let message = format!("there is no pass `{name}`");
        self.error(PipelineErrorKind::UnknownPass, span, message, Some(help))
    }
}

/// The candidate that takes the fewest edits, if they are few for its length; of equals the first.
fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let (edits, best) =
        candidates.map(|c| (edit_distance(name, c), c)).min_by_key(|(edits, _)| *edits)?;
    (edits <= best.chars().count().div_ceil(3).max(1)).then_some(best)
}

/// Insertions, deletions, substitutions and exchanges of neighbours that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let swap = usize::from(a[i - 1] != b[j - 1]);
            let mut d = (rows[i - 1][j - 1] + swap).min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            row.push(d);
        }
        rows.push(row);
    }
    rows.last().and_then(|r| r.last().copied()).unwrap_or_default()
}
