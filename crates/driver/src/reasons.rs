//! Why batch norms are kept: the text of docs/legality.md, one section per code, as it was when this was compiled.

const LEGALITY: &str = include_str!("../../../docs/legality.md");

/// One reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReasonText {
    /// The stable code, as remarks carry it.
    pub code: &'static str,
    /// What it means, what would unlock the fold, and examples: Markdown, with comments that mark the examples.
    pub text: &'static str,
}

impl ReasonText {
    /// The text without comments.
    pub fn plain(&self) -> String {
        let shown = self.text.lines().filter(|l| !l.starts_with("<!--"));
        shown.collect::<Vec<_>>().join("\n")
    }

    /// The first sentence, on one line, without its full stop.
    pub fn summary(&self) -> String {
        let paragraph = self.text.split("\n\n").next().unwrap_or_default();
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        line.split_once(". ").map_or(&*line, |(first, _)| first).trim_end_matches('.').to_owned()
    }
}

/// Every reason, in the order of the document.
pub fn all() -> impl Iterator<Item = ReasonText> {
    sections(LEGALITY)
}

/// The reason of that code.
pub fn find(code: &str) -> Option<ReasonText> {
    all().find(|r| r.code == code)
}

/// Sections whose heading is a code: lower-case words joined by hyphens, bare or in backquotes.
fn sections(document: &'static str) -> impl Iterator<Item = ReasonText> {
    document.split("\n## ").skip(1).filter_map(|section| {
        let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
        let code = heading.trim().trim_matches('`');
        let is_code = !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        is_code.then(|| ReasonText { code, text: text.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::{ReasonText, sections};

    #[test]
    fn only_headings_that_are_codes_count() {
        let found: Vec<_> = sections(
            "# Title\n\n## The maths\n\nx\n\n## `a-b`\n\nIt is\nso. Really.\n\n<!-- case -->\nMore.\n## c\ny",
        )
        .collect();
        let expected = [
            ReasonText { code: "a-b", text: "It is\nso. Really.\n\n<!-- case -->\nMore." },
            ReasonText { code: "c", text: "y" },
        ];
        assert_eq!(found, expected);
        assert_eq!(found[0].summary(), "It is so");
        assert_eq!(found[0].plain(), "It is\nso. Really.\n\nMore.");
    }
}
