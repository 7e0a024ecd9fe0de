//! What `tracing` tells: to standard error as a log, and to a file as a Chrome trace.

use super::{
    Failure,
    args::Global,
    trace::{ChromeLayer, TraceGuard},
};
use std::{
    io,
    path::{Path, PathBuf},
};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// The subscriber's life.
pub(crate) struct Session {
    trace: Option<(PathBuf, TraceGuard)>,
}

/// Installs the subscribers that the options ask for. `NORMFOLD_LOG` overrides `-v` (`debug`,
/// `normfold_passes=trace`, …).
pub(crate) fn start(global: &Global, trace: Option<&Path>) -> Result<Session, Failure> {
    let by_option = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "debug",
        _ => "trace",
    };
    let filter = match std::env::var("NORMFOLD_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|e| Failure::Usage(format!("NORMFOLD_LOG=`{text}`: {e}")))?,
        Err(_) => EnvFilter::new(by_option),
    };
    let log =
        fmt::layer().with_writer(io::stderr).with_ansi(false).without_time().with_filter(filter);
    let mut chrome = None;
    let mut guard = None;
    if let Some(path) = trace {
        let (layer, g) = ChromeLayer::new();
        chrome = Some(layer.with_filter(EnvFilter::new("debug")));
        guard = Some((path.to_path_buf(), g));
    }
    // Only a second call could fail, and there is one per process.
    let _ = tracing_subscriber::registry().with(log).with(chrome).try_init();
    Ok(Session { trace: guard })
}

impl Session {
    /// Begins the trace, once it is certain that it takes no other file's place.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        match &self.trace {
            Some((path, guard)) => {
                guard.begin(path).map_err(|e| Failure::Write(path.display().to_string(), e))
            }
            None => Ok(()),
        }
    }

    /// Completes the trace.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.trace {
            Some((path, guard)) => {
                guard.finish().map_err(|e| Failure::Write(path.display().to_string(), e))
            }
            None => Ok(()),
        }
    }
}
