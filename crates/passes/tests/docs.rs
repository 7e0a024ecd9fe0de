//! docs/passes.md is what the registry says.

use normfold_passes::{builtin, docs};

#[test]
fn passes_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/passes.md");
    let page = docs::markdown(&builtin());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/passes.md is not what the registry says; to write it anew:\n    \
         UPDATE_DOCS=1 cargo test -p normfold-passes --test docs"
    );
}

#[test]
fn every_reason_has_a_heading() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/legality.md");
    let page = std::fs::read_to_string(path).unwrap();
    let headings: Vec<&str> =
        page.lines().filter_map(|l| l.strip_prefix("## ")).map(|h| h.trim_matches('`')).collect();
    let mut reasons = 0;
    for entry in builtin().passes() {
        for code in entry.info.reasons {
            assert!(headings.contains(code), "docs/legality.md has no heading for `{code}`");
            reasons += 1;
        }
    }
    assert!(reasons > 0);
}
