//! Text on its way into a file or a stream.

use crate::ir::{
    Module,
    text::{self, PrintError, PrintOptions},
};
use std::{fmt, io};

/// Takes text, and keeps what went wrong: sinks of text cannot say.
struct Sink<'a> {
    out: &'a mut dyn io::Write,
    len: u64,
    error: Option<io::Error>,
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.len += s.len() as u64;
        self.out.write_all(s.as_bytes()).map_err(|e| {
            self.error = Some(e);
            fmt::Error
        })
    }
}

/// Why a module was not written as text.
pub(crate) enum Failed {
    /// Something of it cannot be printed.
    Print(PrintError),
    /// The text cannot be written.
    Write(io::Error),
}

/// Writes the text of a module piece by piece, in memory that does not depend on its weights; gives the bytes.
pub(crate) fn write(
    module: &Module,
    options: &PrintOptions,
    out: &mut dyn io::Write,
) -> Result<u64, Failed> {
    let mut sink = Sink { out, len: 0, error: None };
    let printed = text::write_to(module, options, &mut sink);
    match (sink.error, printed) {
        (Some(e), _) => Err(Failed::Write(e)),
        (None, Err(e)) => Err(Failed::Print(e)),
        (None, Ok(())) => Ok(sink.len),
    }
}
