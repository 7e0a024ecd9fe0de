//! Text IR: what parses prints and parses to the same; what is valid goes through pipelines; errors point into the text.

use crate::run;
use normfold_ir::{
    text::{self, Weights},
    verify,
};
use std::ops::Range;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let module = match text::parse(text) {
        Ok(module) => module,
        Err(e) => {
            inside(text, &e.span);
            e.related.iter().for_each(|(span, _)| inside(text, span));
            assert!(!e.message.is_empty());
            return;
        }
    };
    for weights in [Weights::Hash, Weights::Full, Weights::None] {
        run::round_trip(&module, weights);
    }
    if let Err(e) = verify(&module) {
        assert!(!e.is_empty() && !e.to_string().is_empty());
        return;
    }
    for pipeline in run::PIPELINES {
        let after = run::passes(&module, pipeline);
        run::round_trip(&after, Weights::Hash);
    }
}

fn inside(text: &str, span: &Range<usize>) {
    let fits = span.start <= span.end
        && span.end <= text.len()
        && text.is_char_boundary(span.start)
        && text.is_char_boundary(span.end);
    assert!(fits, "{span:?} is no span of the text");
    text::line_column(text, span.start);
}
