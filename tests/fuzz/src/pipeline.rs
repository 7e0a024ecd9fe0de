//! Pipeline text: what parses prints and parses to the same; errors point into the text.

use crate::run::registry;
use normfold_passes::Pipeline;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Pipeline::parse(text, registry()) {
        Ok(pipeline) => {
            let printed = pipeline.to_string();
            let again = Pipeline::parse(&printed, registry())
                .unwrap_or_else(|e| panic!("{printed:?}: {e}"));
            assert_eq!(again, pipeline, "{printed:?}");
            assert_eq!(again.to_string(), printed);
            for call in pipeline.calls() {
                call.instance();
            }
        }
        Err(e) => {
            assert_eq!(e.text, text, "the error is about another text");
            let end = e.offset + e.len;
            let fits =
                end <= text.len() && text.is_char_boundary(e.offset) && text.is_char_boundary(end);
            assert!(fits, "{}..{end} is no span of the text", e.offset);
            assert!(!e.message.is_empty());
        }
    }
}
