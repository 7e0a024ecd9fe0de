//! Models and pipelines.

use crate::{
    error::raise,
    work::{interruptible, run_options},
};
use normfold_driver::{
    Driver, DriverError, ExternalData, Input, Opened, SaveOptions, external_data,
    ir::{
        CancelToken,
        text::{PrintOptions, Weights},
    },
    json::{self, About},
    reasons,
};
use normfold_frontends::FrontendError;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};
use std::{ops::ControlFlow, path::PathBuf};

/// What `explain` runs unless told otherwise.
const EXPLAINED: &str = "fold-bn";

/// The pipeline of that text.
fn parse(text: &str) -> Result<normfold_driver::passes::Pipeline, DriverError> {
    Driver::new().parse_pipeline(text)
}

/// A pipeline of passes, checked.
#[pyclass(frozen, eq, module = "normfold._native")]
#[derive(Clone, PartialEq)]
pub(crate) struct Pipeline {
    /// In its normal form.
    text: String,
}

#[pymethods]
impl Pipeline {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        let pipeline = parse(text).map_err(|e| raise(&e))?;
        Ok(Self { text: pipeline.to_string() })
    }

    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("Pipeline({:?})", self.text)
    }
}

/// A model, opened, and what was run on it.
#[pyclass(module = "normfold._native")]
pub(crate) struct Module {
    opened: Opened,
    /// What ran since it was opened.
    ran: Vec<String>,
    /// The report of the last run, as JSON.
    report: Option<String>,
}

impl Module {
    fn open(py: Python<'_>, input: Input) -> PyResult<Self> {
        let opened = interruptible(py, &CancelToken::new(), || Driver::new().open(input))?;
        Ok(Self { opened, ran: Vec::new(), report: None })
    }

    /// Writes with `write`; where a folded weight turns out not to be finite, everything is run again without that fold.
    fn write<T: Send>(
        &mut self,
        py: Python<'_>,
        cancel: &CancelToken,
        plain: impl FnOnce(&Driver, &Opened) -> Result<T, DriverError> + Send,
        again: impl FnOnce(&Driver, &mut Opened, &str) -> Result<(T, String), DriverError> + Send,
    ) -> PyResult<T> {
        let Self { opened, ran, report } = self;
        interruptible(py, cancel, || {
            let driver = Driver::new();
            match plain(&driver, opened) {
                Err(DriverError::Write { source: FrontendError::NonFinite { .. }, .. })
                    if !ran.is_empty() =>
                {
                    opened.restore()?;
                    let (written, told) = again(&driver, opened, &ran.join(","))?;
                    *report = Some(told);
                    Ok(written)
                }
                Err(DriverError::Write { source: FrontendError::Cancelled, .. }) => {
                    Err(DriverError::Cancelled)
                }
                other => other,
            }
        })
    }
}

#[pymethods]
impl Module {
    /// Opens a file.
    #[staticmethod]
    #[pyo3(signature = (path, weights=None))]
    fn from_path(py: Python<'_>, path: PathBuf, weights: Option<PathBuf>) -> PyResult<Self> {
        let input = match weights {
            Some(weights) => Input::WithWeights { path, weights },
            None => Input::Path(path),
        };
        Self::open(py, input)
    }

    /// Opens the bytes of a file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: Vec<u8>, name: String) -> PyResult<Self> {
        Self::open(py, Input::Bytes { name, bytes })
    }

    /// Opens IR text.
    #[staticmethod]
    fn from_text(py: Python<'_>, text: String, name: String) -> PyResult<Self> {
        Self::open(py, Input::Text { name, text })
    }

    /// What messages call it.
    #[getter]
    fn name(&self) -> &str {
        self.opened.name()
    }

    /// The report of the last run, as JSON.
    #[getter]
    fn report(&self) -> Option<&str> {
        self.report.as_deref()
    }

    /// Runs a pipeline. The model is as it was where it fails or is interrupted.
    fn run(&mut self, py: Python<'_>, pipeline: &str, ranges: bool) -> PyResult<String> {
        let pipeline = parse(pipeline).map_err(|e| raise(&e))?;
        let cancel = CancelToken::new();
        let mut options = run_options(&cancel);
        options.ranges = ranges;
        let Self { opened, ran, report } = self;
        let done = interruptible(py, &cancel, || {
            // A copy costs the graphs alone: constants are shared.
            let before = opened.module().clone();
            let done = Driver::new().run(opened, &pipeline, &options, &mut []);
            if done.is_err() {
                *opened.module_mut() = before;
            }
            done
        })?;
        ran.extend(Some(pipeline.to_string()).filter(|text| !text.is_empty()));
        let about = About { input: opened.name(), ..About::default() };
        let told = json::report(&done, &about, &|_| true).to_string();
        *report = Some(told.clone());
        Ok(told)
    }

    /// What a pipeline would do to every batch norm, as JSON. Nothing changes.
    #[pyo3(signature = (pipeline=EXPLAINED))]
    fn explain(&self, py: Python<'_>, pipeline: &str) -> PyResult<String> {
        let pipeline = parse(pipeline).map_err(|e| raise(&e))?;
        let cancel = CancelToken::new();
        let options = run_options(&cancel);
        let report = interruptible(py, &cancel, || {
            let mut scratch = Driver::new().open(self.opened.module().clone().into())?;
            Driver::new().run(&mut scratch, &pipeline, &options, &mut [])
        })?;
        Ok(json::explanation(&report, self.opened.name()).to_string())
    }

    /// The model as IR text.
    fn to_text(&self, weights: &str) -> PyResult<String> {
        let weights = match weights {
            "hash" => Weights::Hash,
            "stats" => Weights::Stats,
            "full" => Weights::Full,
            "none" => Weights::None,
            other => {
                let problem = format!("weights={other:?}: expected hash, stats, full or none");
                return Err(PyValueError::new_err(problem));
            }
        };
        self.opened.to_text(&PrintOptions { weights }).map_err(|e| raise(&e))
    }

    /// Writes the model in the format it came in, and gives the files, the model first, and notes.
    #[pyo3(signature = (path, weights, external, threads, sync))]
    fn save(
        &mut self,
        py: Python<'_>,
        path: PathBuf,
        weights: Option<PathBuf>,
        external: &str,
        threads: usize,
        sync: bool,
    ) -> PyResult<(Vec<PathBuf>, Vec<String>)> {
        let external = which_external(external)?;
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let cancel = CancelToken::new();
        let name = self.opened.name().to_owned();
        let watch = |_, _| match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let options = || SaveOptions {
            threads,
            external,
            sync,
            weights: weights.as_deref(),
            ..SaveOptions::default()
        };
        self.write(
            py,
            &cancel,
            |driver, opened| {
                let options = SaveOptions { progress: Some(&watch), ..options() };
                let saved = driver.save(opened, &path, &options)?;
                Ok((saved.files, saved.notes))
            },
            |driver, opened, ran| {
                let run = run_options(&cancel);
                let pipeline = parse(ran)?;
                let report =
                    driver.run_and_save(opened, &pipeline, &path, &run, &options(), &mut [])?;
                let output = path.display().to_string();
                let about = About { input: &name, output: Some(&output), time: None };
                let told = json::report(&report, &about, &|_| true).to_string();
                Ok(((report.written, report.notes), told))
            },
        )
    }

    /// The model in the format it came in.
    #[pyo3(name = "to_bytes")]
    fn encode<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let cancel = CancelToken::new();
        let name = self.opened.name().to_owned();
        let bytes = self.write(
            py,
            &cancel,
            |driver, opened| driver.encode(opened),
            |driver, opened, ran| {
                let run = run_options(&cancel);
                let (report, bytes) = driver.run_and_encode(opened, &parse(ran)?, &run, &mut [])?;
                let about = About { input: &name, ..About::default() };
                Ok((bytes, json::report(&report, &about, &|_| true).to_string()))
            },
        )?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// `keep`, `single`, `inline` or `above=SIZE`, as the program takes it.
fn which_external(text: &str) -> PyResult<ExternalData> {
    external_data(text).map_err(PyValueError::new_err)
}

/// Names and summaries of the passes there are.
#[pyfunction]
pub(crate) fn passes() -> Vec<(&'static str, &'static str)> {
    Driver::new().registry().passes().map(|p| (p.info.name, p.info.summary)).collect()
}

/// What docs/legality.md says of a reason, as Markdown; `None` where there is no such reason.
#[pyfunction]
pub(crate) fn reason(code: &str) -> Option<String> {
    reasons::find(code).map(|reason| reason.plain())
}
