//! What is wrong with a text, and where.

use std::ops::Range;

/// Text that is no module. Spans are byte ranges of the parsed text; how they are shown is the caller's affair.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Where.
    pub span: Range<usize>,
    /// What.
    pub message: String,
    /// What to say at the span itself, e.g. what was expected there.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Other places that matter, each with what to say there.
    pub related: Vec<(Range<usize>, String)>,
}

impl ParseError {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: None, help: None, related: Vec::new() }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// Up to three of `candidates` that `word` may have been meant to be, nearest first.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = 1 + word.len() / 4;
    let squeeze = |s: &str| s.replace(['_', '-', '.'], "").to_lowercase();
    let squeezed = squeeze(word);
    let mut scored: Vec<(usize, &str)> = candidates
        .filter(|c| c.len().abs_diff(word.len()) <= limit + 1)
        .filter_map(|c| {
            let distance = if squeeze(c) == squeezed { 0 } else { edit_distance(word, c) };
            (distance <= limit && distance < word.len()).then_some((distance, c))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, c)| c).collect()
}

fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// ``; did you mean `a` or `b`?`` — as a help line, when there is something to offer.
pub(super) fn did_you_mean(names: &[&str], sigil: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let list: Vec<String> = names.iter().map(|n| format!("`{sigil}{n}`")).collect();
    Some(format!("did you mean {}?", list.join(" or ")))
}
