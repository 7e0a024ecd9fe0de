//! `passes` and `reason`: documentation from the registry, and from docs/legality.md as it was when this was compiled.

use super::{
    Failure,
    output::{FAINT, Output, STRONG, Styled},
};
use crate::{
    passes::{builtin, docs},
    reasons,
};

/// Lists the passes, or documents one.
pub(super) fn passes(name: Option<&str>, out: &mut Output) -> Result<(), Failure> {
    let registry = builtin();
    let Some(name) = name else {
        out.raw(docs::overview(&registry).as_bytes())?;
        let hint = "`normfold passes NAME` documents one. Options stand in braces: \
                    --passes='fold-bn{skip=head*},dce'";
        out.print(format_args!("\n{}\n", Styled(FAINT, hint)))?;
        return Ok(());
    };
    match docs::help(&registry, name) {
        Some(text) => Ok(out.raw(text.as_bytes())?),
        None => {
            let passes = registry.passes().map(|e| e.info.name);
            let known: Vec<&str> = passes.chain(registry.pipelines().map(|(n, _)| n)).collect();
            Err(Failure::Usage(format!(
                "there is no pass `{name}`; there are {}",
                known.join(", ")
            )))
        }
    }
}

/// Lists the reasons, or explains one.
pub(super) fn reason(code: Option<&str>, out: &mut Output) -> Result<(), Failure> {
    let Some(code) = code else {
        out.print(format_args!("Reasons why a batch norm is kept:\n"))?;
        let width = reasons::all().map(|r| r.code.len()).max().unwrap_or(0);
        for r in reasons::all() {
            let gap = width - r.code.len();
            out.print(format_args!("  {}{:gap$}  {}\n", Styled(STRONG, r.code), "", r.summary()))?;
        }
        out.print(format_args!("\n{}\n", Styled(FAINT, "`normfold reason CODE` explains one")))?;
        return Ok(());
    };
    match reasons::find(code) {
        Some(r) => Ok(out.print(format_args!("{}\n\n{}\n", Styled(STRONG, r.code), r.plain()))?),
        None => {
            let known: Vec<&str> = reasons::all().map(|r| r.code).collect();
            Err(Failure::Usage(format!(
                "there is no reason `{code}`; there are {}",
                known.join(", ")
            )))
        }
    }
}
