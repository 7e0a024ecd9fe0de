//! Edits of a JSON text: values replaced, items of lists dropped or put in another order. The rest stays as it was written.

use super::Json;
use std::{collections::BTreeMap, fmt::Write as _, ops::Range};

/// Edits of one text. An edit around others takes their place; what it holds is rendered with them before.
#[derive(Debug)]
pub(crate) struct Edits<'t> {
    text: &'t [u8],
    /// By start: where the edit ends, and what stands there then. They do not overlap.
    edits: BTreeMap<usize, (usize, Vec<u8>)>,
}

impl<'t> Edits<'t> {
    /// No edits of a text.
    pub(crate) fn new(text: &'t [u8]) -> Self {
        Self { text, edits: BTreeMap::new() }
    }

    /// Whether nothing is edited.
    pub(crate) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Writes other text in place of a value.
    pub(crate) fn replace(&mut self, value: &Json, text: impl Into<Vec<u8>>) {
        let Range { start, end } = value.span;
        let inside: Vec<usize> = self.edits.range(start..end).map(|(&at, _)| at).collect();
        for at in inside {
            self.edits.remove(&at);
        }
        self.edits.insert(start, (end, text.into()));
    }

    /// Gives a list these of its items, in this order.
    pub(crate) fn items(&mut self, list: &Json, order: &[usize]) {
        let items = list.items().unwrap_or_default();
        if order.iter().copied().eq(0..items.len()) {
            return;
        }
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return };
        let part = |range: Range<usize>| self.text.get(range).unwrap_or_default();
        let before = part(list.span.start..first.span.start);
        let behind = part(last.span.end..list.span.end);
        let between = match items {
            [a, b, ..] => part(a.span.end..b.span.start),
            _ => b", ".as_slice(),
        };
        let kept: Vec<Vec<u8>> = order
            .iter()
            .filter_map(|&i| items.get(i))
            .map(|i| self.render(i.span.clone()))
            .collect();
        let text = match kept.is_empty() {
            true => b"[]".to_vec(),
            false => [before, &kept.join(between), behind].concat(),
        };
        self.replace(list, text);
    }

    /// Gives an object those of its members for which `keep` holds, and these behind them, each a key and the text of its value.
    pub(crate) fn members(
        &mut self,
        object: &Json,
        keep: impl Fn(&str) -> bool,
        added: &[(String, Vec<u8>)],
    ) {
        let members = object.members();
        if added.is_empty() && members.iter().all(|(key, _)| keep(key)) {
            return;
        }
        let kept = members.iter().filter(|(key, _)| keep(key));
        let kept = kept.map(|(key, value)| (&**key, self.render(value.span.clone())));
        let added = added.iter().map(|(key, text)| (key.as_str(), text.clone()));
        let text: Vec<Vec<u8>> = kept
            .chain(added)
            .map(|(key, value)| [quoted(key).as_bytes(), b": ", &value].concat())
            .collect();
        self.replace(object, [b"{", &*text.join(b", ".as_slice()), b"}"].concat());
    }

    /// Gives a list those of its items for which `keep` holds, and after the item of an index the texts that `after` has for it.
    pub(crate) fn insert(
        &mut self,
        list: &Json,
        keep: impl Fn(usize) -> bool,
        after: &BTreeMap<usize, Vec<Vec<u8>>>,
    ) {
        let items = list.items().unwrap_or_default();
        if after.is_empty() && (0..items.len()).all(&keep) {
            return;
        }
        let mut text = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if keep(index) {
                text.push(self.render(item.span.clone()));
            }
            text.extend(after.get(&index).into_iter().flatten().cloned());
        }
        self.replace(list, [b"[", &*text.join(b", ".as_slice()), b"]"].concat());
    }

    /// A part of the text with the edits in it.
    pub(crate) fn render(&self, range: Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(range.len());
        let mut at = range.start;
        for (&start, (end, text)) in self.edits.range(range.clone()) {
            out.extend_from_slice(self.text.get(at..start).unwrap_or_default());
            out.extend_from_slice(text);
            at = *end;
        }
        out.extend_from_slice(self.text.get(at..range.end).unwrap_or_default());
        out
    }

    /// The whole text with the edits.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.render(0..self.text.len())
    }
}

/// A JSON string as Python writes it: everything but printable ASCII escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{Edits, quoted};
    use crate::json::Json;

    #[test]
    fn the_rest_stays_as_it_was() {
        let text = br#"{ "a":[1.50,  2, 3 ], "b" : NaN}"#;
        let json = Json::parse(text).unwrap();
        let mut edits = Edits::new(text);
        let list = json.get("a").unwrap();
        edits.replace(&list.items().unwrap()[2], "33");
        edits.items(list, &[2, 0]);
        assert_eq!(edits.finish(), br#"{ "a":[33,  1.50 ], "b" : NaN}"#);
    }

    #[test]
    fn an_edit_takes_the_place_of_those_in_it() {
        let text = br#"[[1, 2], 3]"#;
        let json = Json::parse(text).unwrap();
        let mut edits = Edits::new(text);
        let inner = &json.items().unwrap()[0];
        edits.replace(&inner.items().unwrap()[0], "9");
        edits.items(inner, &[0]);
        edits.items(&json, &[0]);
        assert_eq!(edits.finish(), b"[[9]]");
        let mut none = Edits::new(text);
        none.items(&json, &[]);
        assert_eq!(none.finish(), b"[]");
        let mut same = Edits::new(text);
        same.items(&json, &[0, 1]);
        assert!(same.is_empty());
    }

    #[test]
    fn strings_are_written_as_python_does() {
        assert_eq!(quoted("a\"\\\n\u{7f}é😀"), r#""a\"\\\n\u007f\u00e9\ud83d\ude00""#);
    }
}
