//! What can go wrong, and the exit code a program should end with.

use crate::verify::{Verification, VerifyError};
use normfold_frontends::FrontendError;
use normfold_ir::text::ParseError;
use normfold_passes::{PassError, PipelineError};
use std::{io, path::PathBuf, sync::Arc};

/// Why a run stopped. No output was written, and what stood in its place is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The pipeline text is wrong.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The input cannot be read.
    #[error("cannot read `{name}`: {source}")]
    Read {
        /// The input.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The input is no document that is known.
    #[error(
        "`{name}` is {found}; expected an ONNX model, a Keras model, a PyTorch program, or IR text"
    )]
    UnknownFormat {
        /// The input.
        name: String,
        /// What it looks like.
        found: &'static str,
    },
    /// The input is not what its format says it must be.
    #[error("`{name}`: {source}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong, and where.
        source: FrontendError,
    },
    /// The input is no IR text.
    #[error("`{name}`, line {}: {}", normfold_ir::text::line_column(text, error.span.start).0, error)]
    Text {
        /// The input.
        name: String,
        /// All of it.
        text: Arc<str>,
        /// What is wrong, and where.
        error: Box<ParseError>,
    },
    /// The input breaks invariants of the IR.
    #[error("`{name}` is no valid module:\n{}", findings.join("\n"))]
    Invalid {
        /// The input.
        name: String,
        /// Every finding of the verifier.
        findings: Vec<String>,
    },
    /// A pass failed: a bug of normfold or of the pass.
    #[error("{error}")]
    Pass {
        /// What happened.
        error: PassError,
        /// Where the reproducer is, if one could be written.
        reproducer: Option<PathBuf>,
    },
    /// Somebody asked the run to stop.
    #[error("cancelled")]
    Cancelled,
    /// The output cannot be written.
    #[error("{source}")]
    Write {
        /// The output.
        path: PathBuf,
        /// What is wrong.
        source: FrontendError,
    },
    /// The input's format cannot be written.
    #[error("cannot write `{}`: {why}", path.display())]
    NotWritable {
        /// The output.
        path: PathBuf,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// There is no verdict whether two models compute the same, or it is clear without running them.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A model does not compute what another one computes.
    #[error(
        "`{second}` does not compute what `{first}` computes: {} of {} outputs differ by more than the tolerance",
        verification.failures().count(), verification.outputs.len()
    )]
    Different {
        /// The first model.
        first: String,
        /// The second model.
        second: String,
        /// What was compared.
        verification: Box<Verification>,
    },
    /// A reproducer was asked to be run, but the input is none.
    #[error("`{name}` is no reproducer: its first line is not `// RUN: --passes=…`")]
    NoReproducer {
        /// The input.
        name: String,
    },
}

impl DriverError {
    /// The exit code of a program that stops for this reason; docs/cli.md lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            DriverError::Pass { .. } | DriverError::Cancelled => 1,
            DriverError::Pipeline(_) | DriverError::NoReproducer { .. } => 2,
            DriverError::Verify(VerifyError::Dimension(_)) => 2,
            DriverError::Read { .. } | DriverError::Verify(VerifyError::Inputs { .. }) => 3,
            DriverError::Input { source: FrontendError::Io { .. }, .. } => 3,
            DriverError::UnknownFormat { .. }
            | DriverError::Input { .. }
            | DriverError::Text { .. }
            | DriverError::Invalid { .. } => 4,
            DriverError::Write { .. } | DriverError::NotWritable { .. } => 5,
            DriverError::Different { .. } | DriverError::Verify(VerifyError::Interface { .. }) => 6,
            DriverError::Verify(_) => 7,
        }
    }
}
