//! Tokens of the text form.

use super::ParseError;
use std::{borrow::Cow, ops::Range};

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token<'a> {
    /// A bare word: a keyword, a mnemonic, an attribute's name.
    Word(&'a str),
    /// `%name`, `%"name"` or, without a source name, `%12`.
    Value(ValueName<'a>),
    /// `@name` or `@"name"`.
    Symbol(Cow<'a, str>),
    /// Quoted text.
    Str(Cow<'a, str>),
    /// A number as it is written.
    Number(&'a str),
    /// A single character.
    Punct(char),
    /// `->`.
    Arrow,
    /// The end of the text.
    End,
}

/// How a value is referred to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum ValueName<'a> {
    /// By its name in the source.
    Named(Cow<'a, str>),
    /// By a number that is no name.
    Numbered(&'a str),
}

impl Token<'_> {
    /// What a message calls the token.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Value(ValueName::Named(n)) => format!("`%{n}`"),
            Token::Value(ValueName::Numbered(n)) => format!("`%{n}`"),
            Token::Symbol(s) => format!("`@{s}`"),
            Token::Str(_) => "quoted text".into(),
            Token::Number(n) => format!("`{n}`"),
            Token::Punct(c) => format!("`{c}`"),
            Token::Arrow => "`->`".into(),
            Token::End => "the end of the text".into(),
        }
    }
}

/// A place in the text. Copying it is a checkpoint.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, pos: 0 }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The next character, without skipping anything; nothing at the end.
    pub(super) fn here(&self) -> Range<usize> {
        self.since(self.pos)
    }

    /// What was taken since `start`; where that is nothing, the next character.
    pub(super) fn since(&self, start: usize) -> Range<usize> {
        let next = || self.peek_char().map_or(0, char::len_utf8);
        start..if self.pos > start { self.pos } else { self.pos + next() }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.pos + ahead).copied().unwrap_or(0)
    }

    /// The next character, without skipping anything.
    pub(super) fn peek_char(&self) -> Option<char> {
        self.text[self.pos..].chars().next()
    }

    /// Takes the next character if it is `c`, without skipping anything.
    pub(super) fn eat_char(&mut self, c: char) -> bool {
        let found = self.peek_char() == Some(c);
        if found {
            self.pos += c.len_utf8();
        }
        found
    }

    /// Takes ASCII characters while they satisfy `f`.
    pub(super) fn take_while(&mut self, f: impl Fn(u8) -> bool) -> &'a str {
        let start = self.pos;
        let bytes = &self.text.as_bytes()[start..];
        self.pos += bytes.iter().position(|&b| !b.is_ascii() || !f(b)).unwrap_or(bytes.len());
        &self.text[start..self.pos]
    }

    /// Skips white space and comments.
    pub(super) fn skip_space(&mut self) {
        loop {
            self.take_while(|b| b.is_ascii_whitespace());
            if self.byte(0) != b'/' || self.byte(1) != b'/' {
                return;
            }
            let rest = &self.text[self.pos..];
            self.pos += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// The next token and where it stands.
    pub(super) fn token(&mut self) -> Result<(Token<'a>, Range<usize>), ParseError> {
        self.skip_space();
        let start = self.pos;
        let Some(c) = self.peek_char() else { return Ok((Token::End, start..start)) };
        let token = match c {
            'a'..='z' | 'A'..='Z' | '_' => Token::Word(self.name()),
            '0'..='9' => Token::Number(self.number()),
            '-' if self.byte(1).is_ascii_digit() => Token::Number(self.number()),
            '-' if self.byte(1) == b'>' => {
                self.pos += 2;
                Token::Arrow
            }
            '"' => Token::Str(self.quoted()?),
            '%' | '@' => {
                self.pos += 1;
                let bare = self.byte(0) != b'"';
                let name = if bare { Cow::Borrowed(self.name()) } else { self.quoted()? };
                if bare && name.is_empty() {
                    let message = format!("`{c}` without a name");
                    return Err(ParseError::new(start..self.pos, message).help(format!(
                        "write {c}name, or {c}\"name\" for one with other characters"
                    )));
                }
                match (c, name) {
                    ('@', name) => Token::Symbol(name),
                    (_, Cow::Borrowed(n)) if bare && n.bytes().all(|b| b.is_ascii_digit()) => {
                        Token::Value(ValueName::Numbered(n))
                    }
                    (_, name) => Token::Value(ValueName::Named(name)),
                }
            }
            '{' | '}' | '(' | ')' | '[' | ']' | '<' | '>' | ',' | ':' | '=' | '/' | '*' => {
                self.pos += 1;
                Token::Punct(c)
            }
            _ => {
                return Err(ParseError::new(
                    start..start + c.len_utf8(),
                    format!("unexpected character {c:?}"),
                ));
            }
        };
        Ok((token, start..self.pos))
    }

    /// Letters, digits, `_`, `.`, `$` and `-` (not that of an arrow).
    fn name(&mut self) -> &'a str {
        let start = self.pos;
        loop {
            self.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$'));
            if self.byte(0) != b'-' || self.byte(1) == b'>' {
                return &self.text[start..self.pos];
            }
            self.pos += 1;
        }
    }

    fn number(&mut self) -> &'a str {
        let start = self.pos;
        self.eat_char('-');
        let hex = self.byte(0) == b'0' && self.byte(1) == b'x';
        loop {
            self.take_while(|b| b.is_ascii_alphanumeric() || b == b'.');
            let exponent = !hex && self.text[start..self.pos].ends_with(['e', 'E']);
            if !exponent || !matches!(self.byte(0), b'+' | b'-') {
                return &self.text[start..self.pos];
            }
            self.pos += 1;
        }
    }

    /// Text in quotes, escapes resolved.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let open = self.pos;
        self.pos += 1;
        let start = self.pos;
        let mut owned: Option<String> = None;
        loop {
            let at = self.pos;
            let Some(c) = self.peek_char() else {
                return Err(ParseError::new(open..at, "quoted text has no end")
                    .label("begins here")
                    .help("close it with `\"`"));
            };
            self.pos += c.len_utf8();
            match c {
                '"' => {
                    let plain = &self.text[start..at];
                    return Ok(owned.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                '\n' => {
                    return Err(ParseError::new(open..at, "quoted text does not end on its line")
                        .help("write a line break as `\\n`"));
                }
                '\\' => {
                    let c = self.escape(at)?;
                    owned.get_or_insert_with(|| self.text[start..at].to_owned()).push(c);
                }
                c => {
                    if let Some(o) = &mut owned {
                        o.push(c);
                    }
                }
            }
        }
    }

    fn escape(&mut self, at: usize) -> Result<char, ParseError> {
        let c = self.peek_char();
        self.pos += c.map_or(0, char::len_utf8);
        let found = match c {
            Some('"') => Some('"'),
            Some('\\') => Some('\\'),
            Some('n') => Some('\n'),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('u') => {
                let open = self.eat_char('{');
                let digits = self.take_while(|b| b.is_ascii_hexdigit());
                let closed = self.eat_char('}');
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                code.filter(|_| open && closed)
            }
            _ => None,
        };
        found.ok_or_else(|| {
            ParseError::new(at..self.pos, "unknown escape")
                .help("the escapes are \\\" \\\\ \\n \\t \\r and \\u{hex}")
        })
    }
}
