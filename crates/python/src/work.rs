//! Work that takes long.

use crate::error::raise;
use normfold_driver::{DriverError, RunOptions, ir::CancelToken};
use pyo3::prelude::*;
use std::{
    panic::resume_unwind,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// How often Python is asked whether a signal came.
const SIGNALS: Duration = Duration::from_millis(50);

/// Runs `work` without the interpreter's lock. When Python has a signal to handle (Ctrl-C) whose handler raises, the work is
/// asked to stop, and what the handler raised is raised once it has.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    cancel: &CancelToken,
    work: impl FnOnce() -> Result<T, DriverError> + Send,
) -> PyResult<T> {
    py.detach(|| {
        thread::scope(|scope| {
            let (done, finished) = channel::<()>();
            let worker = scope.spawn(move || {
                let _done = done;
                work()
            });
            let mut raised = None;
            while finished.recv_timeout(SIGNALS) == Err(RecvTimeoutError::Timeout) {
                if raised.is_none()
                    && let Err(e) = Python::attach(|py| py.check_signals())
                {
                    cancel.cancel();
                    raised = Some(e);
                }
            }
            let result = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            match (raised, result) {
                (Some(e), _) => Err(e),
                (None, result) => result.map_err(|e| raise(&e)),
            }
        })
    })
}

/// Options of a run that somebody may ask to stop.
pub(crate) fn run_options(cancel: &CancelToken) -> RunOptions {
    let mut options = RunOptions::default();
    options.cancel = cancel.clone();
    options
}
