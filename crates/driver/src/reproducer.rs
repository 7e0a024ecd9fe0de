//! Reproducers: a pipeline and the module before it, in one file of IR text.

use crate::DriverError;
use normfold_frontends::save::write_stream;
use normfold_ir::{
    Module,
    text::{self, PrintError, PrintOptions, Weights},
};
use normfold_passes::Pipeline;
use std::{
    fmt::{self, Write as _},
    io,
    path::Path,
};

/// How the first line begins.
const RUN: &str = "// RUN: --passes=";

/// Writes a reproducer: the pipeline on the first line, then the module with all its weights. It appears complete or not at
/// all.
pub(crate) fn write(path: &Path, pipeline: &Pipeline, module: &Module) -> Result<(), DriverError> {
    let print = |out: &mut dyn io::Write| {
        let mut out = Utf8 { out, error: None };
        let printed = writeln!(out, "{RUN}{pipeline}").map_err(PrintError::from).and_then(|()| {
            text::write_to(module, &PrintOptions { weights: Weights::Full }, &mut out)
        });
        match out.error {
            Some(e) => Err(e),
            None => printed.map_err(io::Error::other),
        }
    };
    write_stream(path, false, print)
        .map_err(|source| DriverError::Write { path: path.to_path_buf(), source })?;
    tracing::info!(path = %path.display(), "wrote a reproducer");
    Ok(())
}

/// Bytes that take text, and keep what went wrong: text sinks cannot say.
struct Utf8<'a> {
    out: &'a mut dyn io::Write,
    error: Option<io::Error>,
}

impl fmt::Write for Utf8<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.out.write_all(s.as_bytes()).map_err(|e| {
            self.error = Some(e);
            fmt::Error
        })
    }
}

/// The pipeline on the first line of a reproducer.
pub(crate) fn pipeline(text: &str) -> Option<&str> {
    let line = text.lines().next()?.trim_end();
    line.strip_prefix(RUN)
}

#[cfg(test)]
mod tests {
    use super::pipeline;

    #[test]
    fn the_first_line_alone_counts() {
        assert_eq!(pipeline("// RUN: --passes=fold-bn,dce\nmodule @a {}"), Some("fold-bn,dce"));
        assert_eq!(pipeline("module @a {}\n// RUN: --passes=dce"), None);
    }
}
