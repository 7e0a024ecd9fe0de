//! What can go wrong between a file and a module.

use std::{io, path::PathBuf};

/// Why a document could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontendError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write`, `rename`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are not those of a document of this format.
    #[error("malformed {format}: {}byte {offset}: {problem}", if place.is_empty() { String::new() } else { format!("{place}, ") })]
    Malformed {
        /// The format.
        format: &'static str,
        /// The messages around the place, outermost first: `graph.node[3].attribute[0]`; empty at the top.
        place: String,
        /// The byte of the document.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The bytes are well formed, but what they say contradicts the format.
    #[error("invalid {format}: {place}: {problem}")]
    Invalid {
        /// The format.
        format: &'static str,
        /// Where: the name of a node, a tensor, a layer, or a path in the document.
        place: String,
        /// What is wrong, and where it helps what to do.
        problem: String,
    },
    /// The document is legal, but uses something that is not read or written.
    #[error("{place}: {what} is not supported")]
    Unsupported {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// A tensor's external data breaks a rule.
    #[error("tensor `{tensor}`: external data `{location}`: {rule}")]
    External {
        /// The tensor.
        tensor: String,
        /// The location as the document writes it.
        location: String,
        /// The rule that is broken.
        rule: String,
    },
    /// Data cannot go where it was to go. Nothing was written.
    #[error("cannot write `{}`: {problem}", path.display())]
    Data {
        /// The data file, or the document that was to have one.
        path: PathBuf,
        /// Why not.
        problem: String,
        /// Where it can go, if anywhere.
        elsewhere: Option<Elsewhere>,
    },
    /// Something nests too deeply, or there is too much of it.
    #[error("{place}: {limit}")]
    Limit {
        /// Where.
        place: String,
        /// The limit that is passed.
        limit: String,
    },
    /// A change that the document's format or version has no words for.
    #[error("`{op}`: the document cannot say this: {why}")]
    NotExpressible {
        /// The op.
        op: String,
        /// Why not.
        why: String,
    },
    /// What was asked to look at the finished file did not let it pass. Nothing was written.
    #[error("`{}` did not pass the check before it would have been written", path.display())]
    Rejected {
        /// The output.
        path: PathBuf,
    },
    /// Whoever watched the progress asked to stop. Nothing was written.
    #[error("cancelled")]
    Cancelled,
    /// Weights that became non-finite while they were written. Nothing was written.
    #[error(
        "constant `{constant}` has a value that is not finite once rounded to its element type"
    )]
    NonFinite {
        /// The name of the constant.
        constant: String,
        /// Its entry in the module's pool.
        entry: usize,
    },
}

/// Where data can go that cannot go where it was to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elsewhere {
    /// Into one new file beside the document.
    File,
    /// Into the document.
    Document,
    /// Into either.
    Either,
}

impl FrontendError {
    /// The operating system refused.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// What the document says contradicts its format.
    pub fn invalid(
        format: &'static str,
        place: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self::Invalid { format, place: place.into(), problem: problem.into() }
    }

    /// Something is legal but not supported.
    pub fn unsupported(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Unsupported { place: place.into(), what: what.into() }
    }
}
