//! normfold as a Python extension module: what `normfold` in `python/` is written on.
//!
//! Everything is a thin layer over `normfold_driver`. Long calls run on a thread of their own without the interpreter's
//! lock, and end when a signal of Python's says so. Reports cross the border as JSON, the same that the program prints.

mod error;
mod live;
mod model;
mod work;

use normfold_driver::cli;
use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs the command line with these arguments, the program's name first, and gives its exit code.
///
/// It has the process for itself: it installs a panic hook and handlers of signals.
#[pyfunction]
fn run_program(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| cli::run(args))
}

/// The native half of normfold.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{
        error::{InputError, NormfoldError, OutputError, PassFailure, PipelineError},
        live::fold_live,
        model::{Module, Pipeline, passes, reason},
        run_program,
    };

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python modules have")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
