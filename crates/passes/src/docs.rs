//! What is said of passes to people, made from the registry: docs/passes.md and the text of `normfold passes`.

use crate::{PassEntry, PassRegistry};
use std::fmt::Write;

/// Columns of plain text.
const WIDTH: usize = 80;

/// docs/passes.md.
///
/// ```
/// let page = normfold_passes::docs::markdown(&normfold_passes::builtin());
/// assert!(page.contains("## `dce`"));
/// ```
pub fn markdown(registry: &PassRegistry) -> String {
    let mut out = String::from(HEAD);
    for (name, pipeline) in registry.pipelines() {
        let _ = writeln!(out, "| `{name}` | `{}` | {} |", pipeline.text, pipeline.summary);
    }
    for entry in registry.passes() {
        markdown_pass(&mut out, entry);
    }
    out
}

const HEAD: &str = "\
# Passes

<!-- Generated from the registry: `UPDATE_DOCS=1 cargo test -p normfold-passes --test docs` writes this page anew. -->

A pipeline is a list of passes, run in that order over every graph of a module, bodies before the graphs that own them:

```text
pipeline := [item (',' item)*]
item     := NAME [options] | 'fixpoint' [options] '(' pipeline ')'
options  := '{' [option ((',' | blank) option)*] '}'
option   := KEY ['=' value]
value    := text without blanks , { } \" '  |  text in \" or ', where \\ stands before \" ' \\
```

`fixpoint(…)` runs its passes until none changes anything, at most 16 times unless `fixpoint{max=N}(…)` says otherwise.
Empty text is the pipeline without passes.

A NAME is a pass below or one of these:

| name | stands for | |
|---|---|---|
";

fn markdown_pass(out: &mut String, entry: &PassEntry) {
    let info = &entry.info;
    let _ = write!(out, "\n## `{}`\n\n{}.\n\n{}\n", info.name, info.summary, info.description);
    if !entry.options.is_empty() {
        out.push_str("\n| option | takes | default | |\n|---|---|---|---|\n");
        for o in &entry.options {
            let default = match o.default.as_str() {
                "" => "empty".to_owned(),
                d => format!("`{d}`"),
            };
            let cells = [&o.values, &default, &o.doc].map(|c| c.replace('|', "\\|"));
            let _ = writeln!(out, "| `{}` | {} |", o.name, cells.join(" | "));
        }
    }
    if !info.statistics.is_empty() {
        out.push_str("\n| statistic | counts |\n|---|---|\n");
        for (name, counts) in info.statistics {
            let _ = writeln!(out, "| `{name}` | {counts} |");
        }
    }
    if !info.reasons.is_empty() {
        let links: Vec<String> =
            info.reasons.iter().map(|code| format!("[`{code}`](legality.md#{code})")).collect();
        let _ = write!(out, "\nReasons it gives: {}.\n", links.join(", "));
    }
}

/// Every pass and named pipeline, one line each.
pub fn overview(registry: &PassRegistry) -> String {
    let passes = registry.passes().map(|e| (e.info.name, e.info.summary.to_owned()));
    let pipelines = registry.pipelines().map(|(n, p)| (n, format!("{} ({})", p.summary, p.text)));
    let mut out = String::from("Passes:\n");
    out.push_str(&columns(passes));
    out.push_str("\nNamed pipelines:\n");
    out.push_str(&columns(pipelines));
    out.push_str(
        "\nfixpoint(…) runs the passes between its parentheses until none changes anything.\n",
    );
    out
}

fn columns<'a>(rows: impl Iterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(n, _)| n.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(name, text)| format!("  {name:width$}  {text}\n")).collect()
}

/// Everything about one pass or named pipeline, as plain text; `None` when there is none of that name.
pub fn help(registry: &PassRegistry, name: &str) -> Option<String> {
    let Some(entry) = registry.pass(name) else {
        let pipeline = registry.named(name)?;
        return Some(format!("{name}: {}\n\nStands for: {}\n", pipeline.summary, pipeline.text));
    };
    let info = &entry.info;
    let mut out = format!("{}: {}\n\n", info.name, info.summary);
    out.push_str(&wrapped(info.description, 0));
    if !entry.options.is_empty() {
        out.push_str("\nOptions:\n");
        for o in &entry.options {
            let default = if o.default.is_empty() { "empty" } else { &o.default };
            let _ = writeln!(out, "  {}", o.name);
            out.push_str(&wrapped(&o.doc, 6));
            out.push_str(&wrapped(&format!("Takes {}; default: {default}.", o.values), 6));
        }
    }
    if !info.statistics.is_empty() {
        out.push_str("\nStatistics:\n");
        out.push_str(&columns(info.statistics.iter().map(|&(n, c)| (n, c.to_owned()))));
    }
    if !info.reasons.is_empty() {
        out.push_str("\nReasons, each explained by `normfold reason NAME`:\n");
        out.push_str(&wrapped(&info.reasons.join(", "), 2));
    }
    Some(out)
}

/// Paragraphs broken into lines; lines of Markdown tables, lists and code stay as they are.
fn wrapped(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut out = String::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if is_code || line.starts_with(['`', '|', '-', ' ', '#']) && !starts_prose(line) {
            let _ = writeln!(out, "{margin}{line}");
            continue;
        }
        let mut column = 0;
        for word in line.split_whitespace() {
            let n = word.chars().count();
            if column > 0 && indent + column + 1 + n > WIDTH {
                out.push('\n');
                column = 0;
            }
            out.push_str(if column == 0 { &margin } else { " " });
            out.push_str(word);
            column += n + usize::from(column > 0);
        }
        out.push('\n');
    }
    out
}

/// Whether a line that begins with a backquote is prose that begins with code.
fn starts_prose(line: &str) -> bool {
    line.starts_with('`') && !line.starts_with("```")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn help_of_every_name() {
        let registry = builtin();
        for entry in registry.passes() {
            let text = help(&registry, entry.info.name).unwrap();
            assert!(text.contains(entry.info.summary));
            for o in &entry.options {
                assert!(text.contains(o.name), "{}: {}", entry.info.name, o.name);
            }
            assert!(overview(&registry).contains(entry.info.name));
        }
        assert!(help(&registry, "default").unwrap().contains("dce"));
        assert_eq!(help(&registry, "no-such-pass"), None);
    }

    #[test]
    fn every_pass_documents_itself() {
        for entry in builtin().passes() {
            let info = entry.info;
            assert!(!info.summary.is_empty() && !info.summary.ends_with('.'), "{}", info.name);
            assert!(info.description.len() > 40, "{}", info.name);
            assert!(entry.options.iter().all(|o| !o.doc.is_empty()), "{}", info.name);
        }
    }

    #[test]
    fn paragraphs_wrap() {
        let text = wrapped(&"word ".repeat(40), 2);
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|l| l.len() <= WIDTH && l.starts_with("  word")));
        assert_eq!(wrapped("a\n\n```text\n  x   y\n```\n", 0), "a\n\n```text\n  x   y\n```\n");
    }
}
