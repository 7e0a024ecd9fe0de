//! The engine ONNX Runtime: a shared library that the user has.

use super::{Engine, Refusal, Request, Sample, VerifyError};
use crate::ModelSource;
use half::{bf16, f16};
use normfold_ir::{DType, Tensor};
use ort::{
    environment::Environment,
    session::{
        Session, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, PrimitiveTensorElementType, TensorElementType, Value, ValueType},
};
use std::{borrow::Cow, fmt, path::Path};

/// ONNX Runtime, loaded from a shared library, its graph optimizations off.
pub struct OrtEngine {
    environment: Environment,
    name: String,
}

impl fmt::Debug for OrtEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrtEngine").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OrtEngine {
    /// The engine in that shared library. One process can load one.
    ///
    /// # Errors
    /// The library cannot be loaded, or is no ONNX Runtime of a version that is understood.
    pub fn load(library: &Path) -> Result<Self, VerifyError> {
        let cannot = |why: String| VerifyError::Library { path: library.to_path_buf(), why };
        // A relative path would be looked for beside the program first.
        let path = std::path::absolute(library).map_err(|e| cannot(e.to_string()))?;
        if !path.is_file() {
            return Err(cannot("there is no such file".into()));
        }
        let builder = ort::init_from(&path).map_err(|e| cannot(e.to_string()))?;
        let environment = builder
            .with_name("normfold")
            .with_telemetry(false)
            .with_execution_providers([])
            .build()
            .map_err(|e| cannot(e.to_string()))?;
        // Warnings about models are not ours to print.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        Ok(Self { environment, name: "onnxruntime".to_owned() })
    }

    fn session(&self, model: &ModelSource) -> ort::Result<Session> {
        let builder = SessionBuilder::new(&self.environment)?;
        // What is to be judged must not be folded by the judge.
        let mut builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
        match model {
            ModelSource::File { path, .. } => builder.commit_from_file(path),
            ModelSource::Bytes(bytes) => builder.commit_from_memory(bytes),
        }
    }
}

impl Engine for OrtEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<Vec<Tensor>>, Refusal> {
        let mut session = self.session(request.model).map_err(|e| refused(&e.to_string()))?;
        let mut sample = |inputs: &Sample| {
            let inputs = inputs.iter().map(|(name, value)| {
                let value =
                    to_value(value).map_err(|why| Refusal::new(format!("input `{name}` {why}")))?;
                Ok((Cow::Borrowed(&**name), SessionInputValue::from(value)))
            });
            let inputs = inputs.collect::<Result<Vec<_>, Refusal>>()?;
            let results = session
                .run(inputs)
                .map_err(|e| Refusal { ran: true, ..refused(&e.to_string()) })?;
            let outputs = request.outputs.iter().map(|(name, _)| {
                let wrong = |why: String| Refusal::new(format!("output `{name}` {why}"));
                let value = results.get(&**name).ok_or_else(|| wrong("was not given".into()))?;
                from_value(value).map_err(wrong)
            });
            outputs.collect()
        };
        request.samples.iter().map(&mut sample).collect()
    }
}

/// A refusal with the node that the message names, in one of the ways it has.
fn refused(message: &str) -> Refusal {
    let after = |before: &str, end: char| {
        let (_, rest) = message.split_once(before)?;
        rest.split(end).next().filter(|n| !n.is_empty()).map(str::to_owned)
    };
    let node = after("Node (", ')')
        .or_else(|| after("Node, (\"", '"'))
        .or_else(|| after("Name:'", '\''))
        .or_else(|| after("node with name '", '\''));
    Refusal { node, ran: false, why: message.trim().to_owned() }
}

fn to_value(t: &Tensor) -> Result<DynValue, String> {
    fn of<T: PrimitiveTensorElementType + fmt::Debug + Clone + 'static>(
        t: &Tensor,
        values: Vec<T>,
    ) -> Result<DynValue, String> {
        let dims: Vec<i64> = t
            .dims()
            .iter()
            .map(|&d| i64::try_from(d).map_err(|_| "is too large".to_owned()))
            .collect::<Result<_, _>>()?;
        Value::from_array((dims, values)).map(Value::into_dyn).map_err(|e| e.to_string())
    }
    let (floats, ints) = (|| t.to_f64s().into_iter(), || t.to_i64s().into_iter());
    match t.dtype() {
        DType::F64 => of(t, t.to_f64s()),
        DType::F32 => of(t, floats().map(|v| v as f32).collect()),
        DType::F16 => of(t, floats().map(f16::from_f64).collect()),
        DType::BF16 => of(t, floats().map(bf16::from_f64).collect()),
        DType::I64 => of(t, t.to_i64s()),
        DType::I32 => of(t, ints().map(|v| v as i32).collect()),
        DType::I16 => of(t, ints().map(|v| v as i16).collect()),
        DType::I8 => of(t, ints().map(|v| v as i8).collect()),
        DType::U64 => of(t, ints().map(|v| v as u64).collect()),
        DType::U32 => of(t, ints().map(|v| v as u32).collect()),
        DType::U16 => of(t, ints().map(|v| v as u16).collect()),
        DType::U8 => of(t, ints().map(|v| v as u8).collect()),
        DType::Bool => of(t, ints().map(|v| v != 0).collect::<Vec<bool>>()),
        other => Err(format!("is of type {other}, which is not given to ONNX Runtime")),
    }
}

fn from_value(value: &DynValue) -> Result<Tensor, String> {
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err("is no tensor".to_owned());
    };
    macro_rules! read {
        ($t:ty, $make:ident, $dtype:expr, $convert:expr) => {{
            let (shape, values) = value.try_extract_tensor::<$t>().map_err(|e| e.to_string())?;
            let dims: Vec<u64> = shape.iter().map(|&d| d.unsigned_abs()).collect();
            Ok(Tensor::$make($dtype, &dims, values.iter().copied().map($convert).collect()))
        }};
    }
    match ty {
        TensorElementType::Float64 => read!(f64, floats, DType::F64, f64::from),
        TensorElementType::Float32 => read!(f32, floats, DType::F32, f64::from),
        TensorElementType::Float16 => read!(f16, floats, DType::F16, f64::from),
        TensorElementType::Bfloat16 => read!(bf16, floats, DType::BF16, f64::from),
        TensorElementType::Int64 => read!(i64, ints, DType::I64, i64::from),
        TensorElementType::Int32 => read!(i32, ints, DType::I32, i64::from),
        TensorElementType::Int16 => read!(i16, ints, DType::I16, i64::from),
        TensorElementType::Int8 => read!(i8, ints, DType::I8, i64::from),
        TensorElementType::Uint64 => read!(u64, ints, DType::U64, |v| v as i64),
        TensorElementType::Uint32 => read!(u32, ints, DType::U32, i64::from),
        TensorElementType::Uint16 => read!(u16, ints, DType::U16, i64::from),
        TensorElementType::Uint8 => read!(u8, ints, DType::U8, i64::from),
        TensorElementType::Bool => read!(bool, ints, DType::Bool, i64::from),
        other => Err(format!("is of type {other:?}")),
    }
}
