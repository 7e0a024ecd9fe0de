//! Whether two models compute the same: both run on the same inputs in an engine that is not ours, and their outputs are
//! compared.
//!
//! A [`Reference`] holds the inputs and what the first model made of them; any number of models can be compared with it.
//! Engines stand behind [`Engine`]: `RtenEngine` (feature `verify`) and `OrtEngine` (feature `ort`), both with their
//! optimizations off, so that neither folds what is to be judged. What an engine cannot run is
//! [`VerifyError::CannotVerify`], never a pass.

mod compare;
mod inputs;
mod interface;
mod model;
mod npz;
#[cfg(feature = "ort")]
mod ort;
#[cfg(feature = "verify")]
mod rten;

#[cfg(feature = "ort")]
pub use self::ort::OrtEngine;
#[cfg(feature = "verify")]
pub use self::rten::RtenEngine;
pub use compare::{Difference, default_tolerance};
pub use inputs::FREE_EXTENT;

use crate::{ModelSource, Opened};
use interface::Interface;
use normfold_ir::{DType, Dim, Module, Tensor, Type};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

/// Something that runs models and was not written here.
pub trait Engine {
    /// Its name, as reports show it.
    fn name(&self) -> &str;

    /// The float type that it computes in where a model says `dtype`, which decides what difference passes.
    fn arithmetic(&self, dtype: DType) -> DType {
        dtype
    }

    /// Why running a model would not tell what it computes, where the engine computes something else than it says.
    fn objection(&self, module: &Module) -> Option<String> {
        let _ = module;
        None
    }

    /// Runs a model on every sample, unoptimized, and gives the outputs of each in the order of `request.outputs`.
    ///
    /// # Errors
    /// The engine cannot load or run the model.
    fn run(&self, request: &Request<'_>) -> Result<Vec<Vec<Tensor>>, Refusal>;
}

/// A value for every input that has none of its own, by name.
pub type Sample = Vec<(Arc<str>, Tensor)>;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The model.
    pub model: &'a ModelSource,
    /// The inputs, sample by sample.
    pub samples: &'a [Sample],
    /// The outputs, by name, with the element type that is declared, where one is.
    pub outputs: &'a [(Arc<str>, Option<DType>)],
}

/// Why an engine does not run a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The name of the node it stops at, where it says so.
    pub node: Option<String>,
    /// Whether the model was loaded, and the inputs may be to blame.
    pub ran: bool,
    /// What it says.
    pub why: String,
}

impl Refusal {
    /// A refusal that speaks of the model as a whole.
    pub fn new(why: impl Into<String>) -> Self {
        Self { node: None, ran: false, why: why.into() }
    }
}

/// What to compare, and how.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Extents of free dimensions: by their name, or as `INPUT[AXIS]`. [`FREE_EXTENT`] for all others.
    pub dims: Vec<(String, u64)>,
    /// An `.npz` file with an array for every input, instead of made-up values.
    pub inputs: Option<PathBuf>,
    /// The largest difference of an output, relative to its largest magnitude; by default it depends on the types, see
    /// [`default_tolerance`].
    pub tolerance: Option<f64>,
}

/// What may lead to a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Remedy {
    /// Other inputs.
    pub inputs: bool,
    /// ONNX Runtime.
    pub ort: bool,
}

impl Remedy {
    /// Whatever one does.
    pub const NONE: Self = Self { inputs: false, ort: false };
    /// Other inputs.
    pub const INPUTS: Self = Self { inputs: true, ort: false };

    /// The same in another engine, where `engine` is not the one that runs nearly everything.
    fn or_other_than(self, engine: &dyn Engine) -> Self {
        Self { ort: engine.name() != "onnxruntime", ..self }
    }
}

/// Why there is no verdict, or why it is clear without running anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The engine cannot run one of the models, or what comes out proves nothing.
    #[error("cannot verify `{model}`: {why}")]
    CannotVerify {
        /// The model.
        model: String,
        /// What is missing.
        why: String,
        /// What may help.
        remedy: Remedy,
    },
    /// The models take or give different things.
    #[error("`{first}` and `{second}` have different interfaces: {difference}")]
    Interface {
        /// The first model.
        first: String,
        /// The second model.
        second: String,
        /// What differs.
        difference: String,
    },
    /// An extent was given for a dimension that there is not, or no valid one.
    #[error("{0}")]
    Dimension(String),
    /// The shared library of an engine cannot be used.
    #[error("cannot verify: `{}`: {why}", path.display())]
    Library {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file of inputs cannot be read, or does not fit the model.
    #[error("inputs `{}`: {why}", path.display())]
    Inputs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What was compared, and how it came out.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Verification {
    /// The engine.
    pub engine: String,
    /// How many samples were run.
    pub samples: usize,
    /// The inputs: name, element type, extents.
    pub inputs: Vec<(Arc<str>, DType, Vec<u64>)>,
    /// Every output, in the order of the model.
    pub outputs: Vec<Difference>,
}

impl Verification {
    /// Whether every output is within its tolerance.
    pub fn passed(&self) -> bool {
        self.outputs.iter().all(Difference::passed)
    }

    /// The outputs that are not within their tolerance.
    pub fn failures(&self) -> impl Iterator<Item = &Difference> {
        self.outputs.iter().filter(|o| !o.passed())
    }
}

/// Inputs, and what a model makes of them.
#[derive(Clone, Debug)]
pub struct Reference {
    name: String,
    interface: Interface,
    /// Sample by sample.
    inputs: Vec<Sample>,
    outputs: Vec<Vec<Tensor>>,
    /// Whether the engine computes in a narrower type than the model.
    narrowed: bool,
    /// The largest difference of each output, relative to its largest magnitude.
    tolerances: Vec<f64>,
}

impl Reference {
    /// Runs a model. Call it before passes change the module.
    ///
    /// # Errors
    /// The engine cannot run the model, or the options do not fit it.
    pub fn new(
        engine: &dyn Engine,
        opened: &Opened,
        options: &VerifyOptions,
    ) -> Result<Self, VerifyError> {
        let cannot = |why: String| cannot_verify(opened.name(), why, Remedy::NONE);
        let interface = Interface::of(opened.module()).map_err(cannot)?;
        let inputs = inputs::for_interface(opened.name(), &interface, options)?;
        let outputs = run(engine, opened, &interface, &inputs)?;
        let narrowed = engine.arithmetic(DType::F64) != DType::F64
            && model::has_type(opened.module(), DType::F64);
        let narrowest = narrowest_float(opened.module());
        let tolerances = outputs.iter().take(1).flatten().map(|t| {
            let of = [Some(t.dtype()), narrowest.filter(|_| t.dtype().is_float())];
            let types = of.into_iter().flatten().map(|t| engine.arithmetic_of(t));
            options.tolerance.unwrap_or_else(|| types.map(default_tolerance).fold(0.0, f64::max))
        });
        let tolerances = tolerances.collect();
        Ok(Self {
            name: opened.name().to_owned(),
            interface,
            inputs,
            outputs,
            narrowed,
            tolerances,
        })
    }

    /// Runs another model on the same inputs and compares what comes out.
    ///
    /// # Errors
    /// Its interface is another one, the engine cannot run it, or an output that does not differ proves nothing.
    pub fn compare(
        &self,
        engine: &dyn Engine,
        opened: &Opened,
    ) -> Result<Verification, VerifyError> {
        let cannot = |why: String, remedy| cannot_verify(opened.name(), why, remedy);
        let interface = Interface::of(opened.module()).map_err(|why| cannot(why, Remedy::NONE))?;
        if let Some(difference) = self.interface.difference(&interface) {
            let (first, second) = (self.name.clone(), opened.name().to_owned());
            return Err(VerifyError::Interface { first, second, difference });
        }
        let outputs = run(engine, opened, &self.interface, &self.inputs)?;
        let difference = |(i, ((name, _), &tolerance)): (usize, (&(Arc<str>, Type), &f64))| {
            let pairs = self.outputs.iter().zip(&outputs);
            let pairs = pairs.filter_map(|(a, b)| Some((a.get(i)?, b.get(i)?)));
            Difference::of(name.clone(), pairs, tolerance)
        };
        let named = self.interface.outputs.iter().zip(&self.tolerances);
        let differences: Vec<Difference> = named.enumerate().map(difference).collect();
        // One that differs is a verdict, whatever the others are.
        if differences.iter().all(Difference::passed) {
            let outputs = differences.iter().zip(&self.interface.outputs);
            for (d, (_, ty)) in outputs {
                if let Some(why) = nothing_proven(d, ty) {
                    return Err(cannot(why, Remedy::INPUTS));
                }
                if self.narrowed && d.non_finite > 0 {
                    let why = format!(
                        "output `{}` has elements that are NaN or infinite, which may be so because {} computes f64 in f32",
                        d.name,
                        engine.name()
                    );
                    return Err(cannot(why, Remedy::INPUTS.or_other_than(engine)));
                }
            }
        }
        let inputs = self.inputs.first().into_iter().flatten();
        Ok(Verification {
            engine: engine.name().to_owned(),
            samples: self.inputs.len(),
            inputs: inputs.map(|(name, t)| (name.clone(), t.dtype(), t.dims().to_vec())).collect(),
            outputs: differences,
        })
    }
}

/// Why an output that is equal in both models says nothing about them: a damaged model may well give the same.
fn nothing_proven(d: &Difference, ty: &Type) -> Option<String> {
    let always_empty = ty
        .tensor()
        .and_then(|t| t.shape.as_ref())
        .is_some_and(|shape| shape.contains(&Dim::Known(0)));
    if d.compared == 0 && d.non_finite == 0 {
        let why = format!("output `{}` is empty with these inputs, which proves nothing", d.name);
        return (!always_empty).then_some(why);
    }
    if d.compared == 0 {
        return Some(format!(
            "no element of output `{}` is finite with these inputs, which proves nothing",
            d.name
        ));
    }
    (d.dtype.is_float() && d.largest == 0.0).then(|| {
        format!("output `{}` is 0 everywhere with these inputs, which proves nothing", d.name)
    })
}

impl dyn Engine + '_ {
    /// [`Engine::arithmetic`] of a float type; any other type is itself.
    fn arithmetic_of(&self, dtype: DType) -> DType {
        if dtype.is_float() { self.arithmetic(dtype) } else { dtype }
    }
}

/// Runs a model and checks that what comes out is what was asked for.
fn run(
    engine: &dyn Engine,
    opened: &Opened,
    interface: &Interface,
    samples: &[Sample],
) -> Result<Vec<Vec<Tensor>>, VerifyError> {
    let cannot = |why: String, remedy| cannot_verify(opened.name(), why, remedy);
    let Some(model) = opened.model_source() else {
        let why = "engines read ONNX, and this is no ONNX model";
        return Err(cannot(why.into(), Remedy::NONE));
    };
    if let Some(place) = model::random(opened.module()) {
        let why = format!("what {place} gives is random, another time at every run");
        return Err(cannot(why, Remedy::NONE));
    }
    if let Some(why) = engine.objection(opened.module()) {
        return Err(cannot(why, Remedy::NONE.or_other_than(engine)));
    }
    let outputs: Vec<(Arc<str>, Option<DType>)> =
        interface.outputs.iter().map(|(name, ty)| (name.clone(), ty.dtype())).collect();
    let _entered = tracing::info_span!("engine", engine = engine.name()).entered();
    let request = Request { model: &model, samples, outputs: &outputs };
    // What an engine did not expect is no fault of the models'.
    let run = AssertUnwindSafe(|| engine.run(&request));
    let given = catch_unwind(run).unwrap_or_else(|panic| Err(Refusal::new(panicked(&*panic))));
    let given = given.map_err(|refusal| {
        let at = refusal.node.as_deref().map(|node| model::node(opened.module(), node));
        let at = at.map_or_else(String::new, |at| format!("{at}: "));
        let free = interface.free_dims(samples.first().map_or(&[], Vec::as_slice));
        let free = match refusal.ran && !free.is_empty() {
            true => format!("; free dimensions were {free}"),
            false => String::new(),
        };
        let remedy = Remedy { inputs: refusal.ran, ..Remedy::NONE }.or_other_than(engine);
        cannot(format!("{at}{} says: {}{free}", engine.name(), refusal.why), remedy)
    })?;
    let complete = |sample: &Vec<Tensor>| sample.len() == outputs.len();
    if given.len() != samples.len() || !given.iter().all(complete) {
        let why = format!("{} did not give every output", engine.name());
        return Err(cannot(why, Remedy::NONE.or_other_than(engine)));
    }
    Ok(given)
}

fn panicked(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("no message"))
}

fn cannot_verify(model: &str, why: String, remedy: Remedy) -> VerifyError {
    VerifyError::CannotVerify { model: model.to_owned(), why, remedy }
}

/// The narrowest float type that a model computes in: of its constants, and of what it declares.
fn narrowest_float(module: &Module) -> Option<DType> {
    let constants = module.constants.ids().map(|id| module.constants.dtype(id));
    let values = module.graph_ids().flat_map(|id| {
        let g = module.graph(id);
        g.ops().flat_map(|op| g.results(op)).filter_map(|v| g.ty(v).dtype())
    });
    constants.chain(values).filter(|t| t.is_arithmetic_float()).min_by_key(|t| t.significand_bits())
}

/// The tensor type of an input or output, or what is wrong with it.
fn tensor_type<'a>(
    what: &str,
    name: &str,
    ty: &'a Type,
) -> Result<&'a normfold_ir::TensorType, String> {
    match ty {
        Type::Tensor(t) => Ok(t),
        Type::Other(other) => Err(format!("{what} `{name}` is no tensor but {other}")),
        Type::Unknown => Err(format!("{what} `{name}` has no declared type")),
    }
}

/// Whether a path looks like what engines take for ONNX.
#[cfg(feature = "verify")]
fn is_named_onnx(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}
