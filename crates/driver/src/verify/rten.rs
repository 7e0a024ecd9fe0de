//! The engine rten: pure Rust, part of this program.

use super::{Engine, Refusal, Request, Sample, is_named_onnx, model};
use crate::ModelSource;
use normfold_frontends::{
    FrontendError,
    onnx::{OnnxDocument, OpenOptions},
};
use normfold_ir::{DType, Module, Tensor};
use rten::{LoadError, Model, ModelOptions, RunError, Value};
use rten_tensor::{AsView, Layout};
use std::{fs, path::Path};

/// The inference engine rten, its graph optimizations off.
///
/// It computes every float in f32 and every integer but bytes in i32; weights of f16 and f64 become f32 when it loads them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RtenEngine;

impl Engine for RtenEngine {
    fn name(&self) -> &str {
        "rten"
    }

    fn arithmetic(&self, dtype: DType) -> DType {
        if dtype == DType::F64 { DType::F32 } else { dtype }
    }

    fn objection(&self, module: &Module) -> Option<String> {
        model::beyond_32_bits(module).map(|what| format!("{what}, in which rten computes"))
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<Vec<Tensor>>, Refusal> {
        match run(request, None) {
            // The engine names the node that stops it, unless that has no name or the one of a value.
            Err(refusal) if refusal.node.is_none() && refusal.ran => run(request, Some(NODE))
                .map_err(|refusal| Refusal {
                    node: refusal.node.map(|n| n.replace(NODE, "")),
                    why: refusal.why.replace(NODE, ""),
                    ..refusal
                }),
            result => result,
        }
    }
}

/// What names of nodes end with, so that they are not those of values.
const NODE: &str = "@node";

fn run(request: &Request<'_>, node_suffix: Option<&str>) -> Result<Vec<Vec<Tensor>>, Refusal> {
    let model = load(request.model, node_suffix)?;
    let node = |name: &str| {
        model.node_id(name).map_err(|_| Refusal::new(format!("there is no value `{name}`")))
    };
    let ids = request.outputs.iter().map(|(name, _)| node(name));
    let ids = ids.collect::<Result<Vec<_>, Refusal>>()?;
    let sample = |inputs: &Sample| {
        let inputs = inputs.iter().map(|(name, value)| {
            let value =
                to_value(value).map_err(|why| Refusal::new(format!("input `{name}` {why}")))?;
            Ok((node(name)?, value.into()))
        });
        let inputs = inputs.collect::<Result<Vec<_>, Refusal>>()?;
        let values = model.run(inputs, &ids, None).map_err(|e| stopped(&e))?;
        let outputs = values.into_iter().zip(request.outputs);
        let tensors = outputs.map(|(value, (name, declared))| {
            from_value(value, *declared)
                .map_err(|why| Refusal::new(format!("output `{name}` {why}")))
        });
        tensors.collect()
    };
    request.samples.iter().map(sample).collect()
}

fn load(source: &ModelSource, node_suffix: Option<&str>) -> Result<Model, Refusal> {
    let mut options = ModelOptions::with_all_ops();
    // What is to be judged must not be folded by the judge.
    options.enable_optimization(false);
    let loaded = match (spelled_out(source, &mut options, node_suffix)?, source) {
        (Some(bytes), _) => options.load(bytes),
        (None, ModelSource::File { path, .. }) if is_named_onnx(path) => options.load_file(path),
        // It goes by the name of a file.
        (None, ModelSource::File { path, .. }) => options.load(read(path)?),
        (None, ModelSource::Bytes(bytes)) => options.load(bytes.to_vec()),
    };
    loaded.map_err(|e: LoadError| Refusal {
        node: e.node().map(str::to_owned),
        ran: false,
        why: match e.node() {
            Some(node) => without_place(&e.to_string(), node),
            None => e.to_string(),
        },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    fs::read(path).map_err(|e| Refusal::new(format!("cannot read {}: {e}", path.display())))
}

/// The bytes of a model as the engine wants it, where that is not as it is: strides, dilations and pads it takes for empty
/// unless they are said, or a kernel's shape is; external data it reads of itself only from files of certain names, and so
/// it is given beside the model.
fn spelled_out(
    source: &ModelSource,
    options: &mut ModelOptions,
    node_suffix: Option<&str>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let cannot = |e: FrontendError| Refusal::new(e.to_string());
    let open = OpenOptions::default();
    let (opened, external) = match source {
        ModelSource::File { path, external } => (OnnxDocument::open(path, &open), &external[..]),
        ModelSource::Bytes(bytes) => (OnnxDocument::from_bytes(bytes.to_vec(), &open), &[][..]),
    };
    let (document, module) = opened.map_err(cannot)?;
    let number = |location: &str| external.iter().position(|(known, _)| &**known == location);
    let name = |location: &str| format!("{}.data", number(location).unwrap_or(external.len()));
    for (location, path) in external {
        options.external_data(&name(location), read(path)?);
    }
    document.spelled_out(&module, &name, node_suffix).map_err(cannot)
}

/// The message without the node that is named before it anyway.
fn without_place(message: &str, node: &str) -> String {
    let place = format!("in node \"{node}\": ");
    message.strip_prefix(&place).unwrap_or(message).to_owned()
}

fn stopped(e: &RunError) -> Refusal {
    let node = e.node_path().last().copied().flatten().filter(|n| !n.is_empty());
    Refusal { node: node.map(str::to_owned), ran: true, why: e.to_string() }
}

fn to_value(t: &Tensor) -> Result<Value, String> {
    let dims: Vec<usize> = t
        .dims()
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| "is too large".to_owned()))
        .collect::<Result<_, _>>()?;
    let ints = || {
        let values = t.to_i64s().into_iter().map(i32::try_from).collect::<Result<Vec<i32>, _>>();
        values.map_err(|_| "has elements beyond i32, in which rten computes".to_owned())
    };
    let floats = || t.to_f64s().into_iter();
    if t.dtype() == DType::F64 && t.to_f64s().into_iter().any(model::is_beyond_f32) {
        return Err("has elements beyond f32, in which rten computes".to_owned());
    }
    Ok(match t.dtype() {
        DType::F64 | DType::F32 | DType::F16 => {
            rten_tensor::Tensor::from_data(&dims, floats().map(|v| v as f32).collect::<Vec<_>>())
                .into()
        }
        DType::I64 | DType::I32 | DType::Bool => {
            rten_tensor::Tensor::from_data(&dims, ints()?).into()
        }
        DType::I8 => {
            let values = t.to_i64s().into_iter().map(|v| v as i8).collect::<Vec<_>>();
            rten_tensor::Tensor::from_data(&dims, values).into()
        }
        DType::U8 => {
            let values = t.to_i64s().into_iter().map(|v| v as u8).collect::<Vec<_>>();
            rten_tensor::Tensor::from_data(&dims, values).into()
        }
        other => return Err(format!("is of type {other}, which rten has not")),
    })
}

fn from_value(value: Value, declared: Option<DType>) -> Result<Tensor, String> {
    let dims = |shape: &[usize]| shape.iter().map(|&d| d as u64).collect::<Vec<u64>>();
    let wrong = |got: DType| match declared {
        Some(declared) => format!("is declared {declared}, and rten gave {got}"),
        None => format!("is {got}"),
    };
    let int = |shape: &[usize], got: DType, values: Vec<i64>| {
        let dtype = declared.unwrap_or(got);
        let same = dtype == got || got == DType::I32 && matches!(dtype, DType::I64 | DType::Bool);
        if !same {
            return Err(wrong(got));
        }
        Ok(Tensor::ints(dtype, &dims(shape), values))
    };
    match value {
        Value::FloatTensor(t) => {
            let dtype = declared.unwrap_or(DType::F32);
            if !matches!(dtype, DType::F64 | DType::F32 | DType::F16) {
                return Err(wrong(DType::F32));
            }
            let values = t.iter().map(|&v| f64::from(v)).collect();
            Ok(Tensor::floats(dtype, &dims(t.shape()), values))
        }
        Value::Int32Tensor(t) => {
            int(t.shape(), DType::I32, t.iter().map(|&v| i64::from(v)).collect())
        }
        Value::Int8Tensor(t) => {
            int(t.shape(), DType::I8, t.iter().map(|&v| i64::from(v)).collect())
        }
        Value::UInt8Tensor(t) => {
            int(t.shape(), DType::U8, t.iter().map(|&v| i64::from(v)).collect())
        }
        _ => Err("is no tensor".to_owned()),
    }
}
