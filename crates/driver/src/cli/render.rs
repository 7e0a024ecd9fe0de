//! Errors for people: what, where, what to do.

use super::{Failure, output::Output, verify};
use crate::DriverError;
use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle,
};
use normfold_frontends::{Elsewhere, FrontendError};
use std::ops::Range;

/// Source lines longer than this are cut around the mistake.
const WIDTH: usize = 120;
/// Messages longer than twice this lose their middle.
const HALF: usize = 200;

/// Tells a failure on standard error.
pub(super) fn failure(out: &mut Output, failure: &Failure) {
    let renderer = if out.colours_errors() { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let report = match failure {
        Failure::Driver(e) => driver(e),
        Failure::Usage(message) => vec![title(message)],
        Failure::NotBuilt(feature) => {
            let help = format!("cargo build --release --features {feature}");
            vec![with_help(
                title(&format!("cannot verify: this normfold was built without `{feature}`")),
                Some(&help),
            )]
        }
        Failure::Write(name, e) => vec![title(&format!("cannot write `{name}`: {e}"))],
        Failure::Stdout(e) => vec![title(&format!("cannot write to standard output: {e}"))],
    };
    out.say(format_args!("{}\n", renderer.render(&report)));
}

fn title(message: &str) -> Group<'static> {
    Group::with_title(Level::ERROR.primary_title(shortened(message)))
}

/// A message whose middle is left out when it is long: a path through deeply nested messages says most at its ends.
fn shortened(message: &str) -> String {
    let chars: Vec<char> = message.chars().collect();
    if chars.len() <= 2 * HALF {
        return message.to_owned();
    }
    let (head, tail) = (&chars[..HALF], &chars[chars.len() - HALF..]);
    format!("{} … {}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

fn driver(error: &DriverError) -> Vec<Group<'static>> {
    match error {
        DriverError::Pipeline(e) => {
            let snippet = Snippet::source(e.text.clone())
                .path("--passes")
                .annotation(AnnotationKind::Primary.span(e.offset..e.offset + e.len));
            let group = Level::ERROR.primary_title(e.message.clone()).element(snippet);
            vec![with_help(group, e.help.as_deref())]
        }
        DriverError::Text { name, text, error } => {
            let mut annotation = AnnotationKind::Primary.span(within(&error.span, text));
            if let Some(label) = &error.label {
                annotation = annotation.label(label.clone());
            }
            let related = error.related.iter().map(|(span, label)| {
                AnnotationKind::Context.span(within(span, text)).label(label.clone())
            });
            let snippet = Snippet::source(text.to_string())
                .path(name.clone())
                .annotation(annotation)
                .annotations(related);
            let group = Level::ERROR.primary_title(error.message.clone()).element(snippet);
            vec![with_help(group, error.help.as_deref())]
        }
        DriverError::Invalid { name, findings } => {
            let count = match findings.len() {
                1 => "1 invariant".to_owned(),
                n => format!("{n} invariants"),
            };
            let mut group = Level::ERROR
                .primary_title(format!("the module breaks {count}"))
                .element(Origin::path(name.clone()));
            for finding in findings {
                group = group.element(Level::NOTE.message(finding.clone()));
            }
            vec![group]
        }
        DriverError::Pass { reproducer, .. } => {
            let help = match reproducer {
                Some(path) => format!(
                    "please report it with the reproducer; `normfold opt {} --run-reproducer` shows it again",
                    path.display()
                ),
                None => "`--reproducer=FILE` writes what is needed to see it again".to_owned(),
            };
            vec![with_help(title(&error.to_string()), Some(&help))]
        }
        DriverError::Verify(e) => vec![with_help(title(&e.to_string()), verify::help(e))],
        _ => vec![with_help(title(&error.to_string()), help(error))],
    }
}

/// What to do about an error that says only what and where.
fn help(error: &DriverError) -> Option<&'static str> {
    match error {
        DriverError::NoReproducer { .. } => Some("give the pipeline with --passes=…"),
        DriverError::Write { source: FrontendError::Data { elsewhere, .. }, .. } => {
            elsewhere.map(|elsewhere| match elsewhere {
                Elsewhere::File => "--external=single puts large tensors into a file beside it",
                Elsewhere::Document => "--external=inline needs no file",
                Elsewhere::Either => "--external=single or inline takes the data along",
            })
        }
        _ => None,
    }
}

fn with_help<'a>(group: Group<'a>, help: Option<&str>) -> Group<'a> {
    match help {
        Some(help) => group.element(Level::HELP.message(help.to_owned())),
        None => group,
    }
}

/// A span that lies within the text.
fn within(span: &Range<usize>, text: &str) -> Range<usize> {
    let end = span.end.min(text.len());
    span.start.min(end)..end
}
