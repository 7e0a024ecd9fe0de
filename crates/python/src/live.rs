//! Folding in live PyTorch modules.

use crate::{
    error::raise,
    work::{interruptible, run_options},
};
use normfold_driver::{
    Driver, Input, LiveParameter,
    ir::CancelToken,
    json::{self, About},
};
use pyo3::{prelude::*, types::PyBytes};

/// Name, element type, extents, and elements in memory order.
type Parameter<'py> = (String, &'static str, Vec<u64>, Bound<'py, PyBytes>);

fn parameters(py: Python<'_>, list: Vec<LiveParameter>) -> Vec<Parameter<'_>> {
    let convert = |p: LiveParameter| {
        let bytes = PyBytes::new(py, &p.bytes);
        (p.name, p.dtype.name(), p.dims, bytes)
    };
    list.into_iter().map(convert).collect()
}

/// Runs a pipeline over the program of a live module, of whose modules only `layers` may change. Gives the report as JSON,
/// parameters with other elements, parameters that are new, and the modules whose calls are gone.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "a tuple is what Python takes apart")]
pub(crate) fn fold_live<'py>(
    py: Python<'py>,
    program: Vec<u8>,
    layers: Vec<String>,
    pipeline: &str,
    name: String,
) -> PyResult<(String, Vec<Parameter<'py>>, Vec<Parameter<'py>>, Vec<String>)> {
    let driver = Driver::new();
    let pipeline = driver.parse_pipeline(pipeline).map_err(|e| raise(&e))?;
    let cancel = CancelToken::new();
    let options = run_options(&cancel);
    let (report, changes) = interruptible(py, &cancel, || {
        let input = Input::Live { name: name.clone(), bytes: program, layers };
        let mut opened = driver.open(input)?;
        driver.run_live(&mut opened, &pipeline, &options, &mut [])
    })?;
    let about = About { input: &name, ..About::default() };
    let told = json::report(&report, &about, &|_| true).to_string();
    Ok((told, parameters(py, changes.changed), parameters(py, changes.added), changes.gone))
}
