//! Reproducers: a pipeline and the module before it, in one file of IR text.

use crate::{DriverError, sink};
use normfold_frontends::save::write_stream;
use normfold_ir::{
    Module,
    text::{PrintOptions, Weights},
};
use normfold_passes::Pipeline;
use std::{io, path::Path};

/// How the first line begins.
const RUN: &str = "// RUN: --passes=";

/// Writes a reproducer: the pipeline on the first line, then the module with all its weights. It appears complete or not at
/// all.
pub(crate) fn write(path: &Path, pipeline: &Pipeline, module: &Module) -> Result<(), DriverError> {
    let options = PrintOptions { weights: Weights::Full };
    let print = |out: &mut dyn io::Write| {
        writeln!(out, "{RUN}{pipeline}")?;
        sink::write(module, &options, out).map(drop).map_err(|e| match e {
            sink::Failed::Write(e) => e,
            sink::Failed::Print(e) => io::Error::other(e),
        })
    };
    write_stream(path, false, print)
        .map_err(|source| DriverError::Write { path: path.to_path_buf(), source })?;
    tracing::info!(path = %path.display(), "wrote a reproducer");
    Ok(())
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
