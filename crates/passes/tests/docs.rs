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
