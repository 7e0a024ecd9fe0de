//! Errors as exceptions.

use normfold_driver::DriverError;
use normfold_frontends::{Elsewhere, FrontendError};
use pyo3::{
    create_exception,
    exceptions::{PyException, PyKeyboardInterrupt, PyOSError},
    prelude::*,
};
use std::{error::Error as _, io};

create_exception!(normfold, NormfoldError, PyException, "What normfold can fail with.");
create_exception!(normfold, PipelineError, NormfoldError, "The text of a pipeline is wrong.");
create_exception!(normfold, InputError, NormfoldError, "The model is invalid or not supported.");
create_exception!(
    normfold,
    OutputError,
    NormfoldError,
    "The model cannot be written; what stood in its place is as it was."
);
create_exception!(
    normfold,
    PassFailure,
    NormfoldError,
    "A pass failed: normfold or the pass is at fault. Nothing was written."
);

/// What the system says, with the whole message: `FileNotFoundError` and its kin.
fn system(source: &io::Error, message: String) -> PyErr {
    // With its number Python chooses the kind itself.
    match source.raw_os_error() {
        Some(number) => PyOSError::new_err((number, message)),
        None => io::Error::new(source.kind(), message).into(),
    }
}

/// The exception that an error is.
pub(crate) fn raise(error: &DriverError) -> PyErr {
    let message = error.to_string();
    match error {
        DriverError::Cancelled => PyKeyboardInterrupt::new_err(()),
        DriverError::Pipeline(_) | DriverError::NoReproducer { .. } => {
            PipelineError::new_err(message)
        }
        DriverError::Read { source, .. }
        | DriverError::Input { source: FrontendError::Io { source, .. }, .. }
        | DriverError::Write { source: FrontendError::Io { source, .. }, .. } => {
            system(source, message)
        }
        DriverError::UnknownFormat { .. }
        | DriverError::Input { .. }
        | DriverError::Text { .. }
        | DriverError::Invalid { .. } => InputError::new_err(message),
        DriverError::Write { source: FrontendError::Data { elsewhere: Some(way), .. }, .. } => {
            let argument = match way {
                Elsewhere::File => "external=\"single\" puts large tensors into a file beside it",
                Elsewhere::Document => "external=\"inline\" needs no file",
                Elsewhere::Either => "external=\"single\" or \"inline\" takes the data along",
            };
            OutputError::new_err(format!("{message}; {argument}"))
        }
        DriverError::Write { .. } | DriverError::NotWritable { .. } => {
            OutputError::new_err(message)
        }
        DriverError::Pass { .. } => PassFailure::new_err(message),
        _ => {
            let mut message = message;
            let mut cause = error.source();
            while let Some(e) = cause {
                let text = e.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                cause = e.source();
            }
            NormfoldError::new_err(message)
        }
    }
}
