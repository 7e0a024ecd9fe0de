//! Reproducers: a pipeline and the module before it, in one file of IR text.

use crate::DriverError;
use normfold_ir::{
    Module,
    text::{self, PrintError, PrintOptions, Weights},
};
use normfold_passes::Pipeline;
use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

/// How the first line begins.
const RUN: &str = "// RUN: --passes=";

/// Writes a reproducer: the pipeline on the first line, then the module with all its weights.
pub(crate) fn write(path: &Path, pipeline: &Pipeline, module: &Module) -> Result<(), DriverError> {
    let beside = |source| DriverError::Beside { path: path.to_path_buf(), source };
    let mut out = Utf8 { file: BufWriter::new(File::create(path).map_err(beside)?), error: None };
    let printed = writeln!(out, "{RUN}{pipeline}")
        .map_err(PrintError::from)
        .and_then(|()| text::write_to(module, &PrintOptions { weights: Weights::Full }, &mut out));
    if let Some(e) = out.error {
        return Err(beside(e));
    }
    printed.map_err(|e| beside(io::Error::other(e)))?;
    out.file.flush().map_err(beside)?;
    tracing::info!(path = %path.display(), "wrote a reproducer");
    Ok(())
}

/// A file that takes text, and keeps what went wrong: text sinks cannot say.
struct Utf8 {
    file: BufWriter<File>,
    error: Option<io::Error>,
}

impl fmt::Write for Utf8 {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.file.write_all(s.as_bytes()).map_err(|e| {
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
