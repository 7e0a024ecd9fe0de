//! What emitting one call of one layer sees and makes.

use super::{
    import::Names,
    json::Json,
    layers,
    model::{FORMAT, Layer},
    record::{Stored, Weights},
    shape::{self, LARGEST, Shape},
};
use crate::FrontendError;
use normfold_ir::{
    CarriedNorm, Cast, ConstData, ConstPool, Constant, DType, DataLayout, Dim, Graph, OpId, OpKind,
    OpSpec, Spatial, TensorType, Type, Value,
};
use std::collections::{HashMap, HashSet};

/// What became of a call.
pub(super) enum Emitted {
    /// Its result.
    Value(Value),
    /// Nothing was made: it stays opaque, for a reason worth telling or because there is no such op.
    Opaque(Option<String>),
    /// Nothing was made of a batch norm: it stays opaque, for a reason worth telling.
    Norm(CarriedNorm, String),
}

/// What emitting gives; an error is a file that contradicts itself.
pub(super) type Emit = Result<Emitted, FrontendError>;

/// The call stays opaque, and why.
pub(super) fn opaque(reason: impl Into<String>) -> Emit {
    Ok(Emitted::Opaque(Some(reason.into())))
}

/// The batch norm stays opaque, and why.
pub(super) fn carried(norm: CarriedNorm, reason: impl Into<String>) -> Emit {
    Ok(Emitted::Norm(norm, reason.into()))
}

/// An argument with its values.
pub(super) enum Operand<'a> {
    /// A tensor.
    Value(Value),
    /// A list with tensors in it.
    List(Vec<Operand<'a>>),
    /// A dictionary with tensors in it.
    Dict(Vec<(&'a str, Operand<'a>)>),
    /// A value without tensors.
    Literal(&'a Json),
}

impl Operand<'_> {
    fn has_value(&self) -> bool {
        match self {
            Operand::Value(_) => true,
            Operand::List(items) => items.iter().any(Operand::has_value),
            Operand::Dict(items) => items.iter().any(|(_, i)| i.has_value()),
            Operand::Literal(_) => false,
        }
    }
}

/// In which type a layer works.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a> {
    /// The policy's name.
    pub(super) name: Option<&'a str>,
    /// Element type of its weights, which stands for that of its arithmetic too: mixed policies round on the way, but
    /// what they store is what a fold changes. `None` for a name that is not known.
    pub(super) dtype: Option<DType>,
    /// Element type of its arithmetic and its result, where that is another than `dtype`.
    pub(super) mixed: Option<DType>,
    /// The class of a policy object.
    class: Option<&'a str>,
}

impl<'a> Policy<'a> {
    /// The policy of a layer: a name, or an object with a name, or none for float32.
    pub(super) fn of(layer: &Layer<'a>) -> Self {
        let json = layer.config.some("dtype");
        let class = json.and_then(|j| j.get("class_name")).and_then(Json::as_str);
        let config = json.and_then(|j| j.get("config"));
        let named = config.and_then(|c| c.get("name").or_else(|| c.get("source_name")));
        let name = json.and_then(|j| j.as_str().or_else(|| named.and_then(Json::as_str)));
        let (dtype, mixed) = match name {
            None => (Some(DType::F32), None),
            Some("mixed_float16") => (Some(DType::F32), Some(DType::F16)),
            Some("mixed_bfloat16") => (Some(DType::F32), Some(DType::BF16)),
            Some(other) => (shape::dtype(other), None),
        };
        Self { name, dtype, mixed, class }
    }
}

/// Why a layer's weights are of a quantized form, if they are.
pub(super) fn quantized(layer: &Layer<'_>) -> Option<String> {
    let config = layer.config;
    if config.some("quantization_config").is_some() {
        return Some("quantization_config".into());
    }
    if config.some("lora_rank").is_some()
        || config.get("lora_enabled").and_then(Json::as_bool) == Some(true)
    {
        return Some("LoRA".into());
    }
    let policy = Policy::of(layer);
    let name = policy.name.unwrap_or_default();
    let quantized_class = policy.class.is_some_and(|c| c.contains("Quantized"));
    let form = ["int8", "int4", "float8", "gptq", "awq", "_from_"].iter().any(|f| name.contains(f));
    let weighted = !matches!(layer.class, "InputLayer" | "TFOpLambda" | "SlicingOpLambda");
    (quantized_class || (form && weighted)).then(|| format!("dtype policy {name}"))
}

/// One call of one layer.
pub(super) struct LayerCx<'c, 'a> {
    /// The graph that is made.
    pub(super) graph: &'c mut Graph,
    /// The module's constants.
    pub(super) pool: &'c mut ConstPool,
    /// The document.
    pub(super) text: &'a [u8],
    /// The layer.
    pub(super) layer: &'c Layer<'a>,
    /// Its index in the model.
    pub(super) origin: u32,
    /// Arguments by position.
    pub(super) args: Vec<Operand<'a>>,
    /// Arguments by name.
    pub(super) kwargs: Vec<(&'a str, Operand<'a>)>,
    /// The layer's weights so far.
    pub(super) weights: &'c mut Weights,
    /// The layer's weights in a file; `None` without such a file.
    pub(super) stored: Option<&'c [Stored]>,
    /// The ops made for this call, constants left out.
    pub(super) made: Vec<OpId>,
    /// What goes into the activation inside the layer.
    pub(super) inner: Option<Value>,
    /// Ops that cannot be given a bias, because the layer has no place for it.
    pub(super) unbiased: &'c mut HashSet<OpId>,
    /// Constants that the architecture itself states.
    pub(super) literals: &'c mut HashSet<OpId>,
    /// Names of values.
    pub(super) names: &'c mut Names,
    /// Whether Keras 2 wrote the file.
    pub(super) keras2: bool,
    /// Whether the call is in training mode; `None` when that is decided by a tensor.
    pub(super) training: Option<bool>,
    /// Element types.
    pub(super) policy: Policy<'a>,
    /// The element type that a value has in Keras, where mixed policies make it another than in the graph.
    pub(super) mixed: &'c HashMap<Value, DType>,
}

impl<'a> LayerCx<'_, 'a> {
    /// The only tensor of the call, masks aside; `None` when there are others or none.
    pub(super) fn single(&self) -> Option<Value> {
        match self.many()?.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// The tensors of the first argument, when no other argument but a mask has any.
    pub(super) fn many(&self) -> Option<Vec<Value>> {
        let (first, others) = self.args.split_first()?;
        let named = self.kwargs.iter().filter(|(k, _)| *k != "mask").map(|(_, v)| v);
        if others.iter().chain(named).any(Operand::has_value) {
            return None;
        }
        match first {
            Operand::Value(v) => Some(vec![*v]),
            Operand::List(items) => items
                .iter()
                .map(|i| match i {
                    Operand::Value(v) => Some(*v),
                    _ => None,
                })
                .collect(),
            _ => None,
        }
    }

    /// The extents of a value, when its rank is known.
    pub(super) fn shape(&self, v: Value) -> Option<Shape> {
        Some(self.graph.ty(v).tensor()?.shape.as_ref()?.to_vec())
    }

    /// The element type of a layer's result on `v`. Layers with weights give their own; others turn floats into it and
    /// leave the rest; functions leave what they get.
    pub(super) fn dtype(&self, v: Value) -> DType {
        let own = self.policy.dtype.unwrap_or(DType::F32);
        match self.graph.ty(v).dtype() {
            Some(given) if layers::is_operation(self.layer) => given,
            Some(given) if self.weights.is_empty() && !given.is_float() => given,
            _ => own,
        }
    }

    /// The type of a layer's result on `v` with other extents.
    pub(super) fn ty(&self, v: Value, shape: Option<Shape>) -> Type {
        shape::tensor(self.dtype(v), shape)
    }

    /// Makes an op of one result. Operands of another element type than the result's are cast to it, as Keras does.
    pub(super) fn op(
        &mut self,
        kind: impl Into<OpKind>,
        operands: impl IntoIterator<Item = Option<Value>>,
        ty: Type,
    ) -> Value {
        let operands: Vec<_> = operands.into_iter().map(|v| v.map(|v| self.cast(v, &ty))).collect();
        self.op_as_is(kind, operands, ty)
    }

    pub(super) fn cast(&mut self, v: Value, like: &Type) -> Value {
        let v = self.rounded(v);
        let given = self.graph.ty(v).dtype();
        match (like.dtype(), given) {
            (Some(to), Some(from)) if to != from => {
                let ty = shape::tensor(to, self.shape(v));
                self.op_as_is(Cast { to }, vec![Some(v)], ty)
            }
            _ => v,
        }
    }

    /// The result of another layer as this one gets it: where one of both has a mixed policy and they work in different types, what
    /// is between them is rounded to that of the mixed one. Otherwise nothing shows that a wider layer stands beside it,
    /// whose factors the narrower one has no range for.
    fn rounded(&mut self, v: Value) -> Value {
        let own = self.made.contains(&v.op) || matches!(self.graph.kind(v.op), OpKind::Constant(_));
        let stands = self.graph.ty(v).dtype().filter(|d| d.is_float());
        let (false, Some(stands)) = (own || layers::is_operation(self.layer), stands) else {
            return v;
        };
        let given = self.mixed.get(&v).copied();
        let wanted = self.policy.mixed.or(self.policy.dtype);
        let mut v = v;
        if Some(given.unwrap_or(stands)) != wanted {
            for to in [given, self.policy.mixed].into_iter().flatten() {
                let ty = shape::tensor(to, self.shape(v));
                v = self.op_as_is(Cast { to }, vec![Some(v)], ty);
            }
        }
        v
    }

    /// The element type that the layer's result has in Keras, where that is another than in the graph.
    pub(super) fn mixed_result(&self, result: Value) -> Option<DType> {
        let stands = self.graph.ty(result).dtype().filter(|d| d.is_float())?;
        let mixed = match layers::is_operation(self.layer) {
            // Functions have no policy and go by what they get.
            true => self.args.iter().find_map(|a| match a {
                Operand::Value(v) => self.mixed.get(v).copied(),
                _ => None,
            }),
            false => self.policy.mixed,
        };
        mixed.filter(|m| *m != stands)
    }

    /// Makes an op of one result whose operands are as they are.
    pub(super) fn op_as_is(
        &mut self,
        kind: impl Into<OpKind>,
        operands: Vec<Option<Value>>,
        ty: Type,
    ) -> Value {
        let spec = OpSpec::new(kind)
            .name(self.layer.name)
            .origin(self.origin)
            .operands(operands)
            .result(ty);
        let op = self.graph.create(spec);
        self.made.push(op);
        self.graph.result(op, 0)
    }

    /// Makes an op of one operand whose result has the extents of the operand.
    pub(super) fn unary(&mut self, kind: impl Into<OpKind>, x: Value) -> Value {
        let ty = self.ty(x, self.shape(x));
        self.op(kind, [Some(x)], ty)
    }

    /// A weight of the layer: one constant, however often the layer is called.
    ///
    /// `Ok(None)` when an earlier call made it with other extents.
    pub(super) fn weight(
        &mut self,
        name: &'static str,
        dims: &[u64],
    ) -> Result<Option<Value>, FrontendError> {
        self.weight_of(name, dims, self.policy.dtype.unwrap_or(DType::F32))
    }

    /// The same, of another type than the layer's.
    pub(super) fn weight_of(
        &mut self,
        name: &'static str,
        dims: &[u64],
        dtype: DType,
    ) -> Result<Option<Value>, FrontendError> {
        let ty = TensorType::of(dtype, dims);
        if let Some((entry, value)) = self.weights.get(name) {
            return Ok((*self.pool.ty(*entry) == ty).then_some(*value));
        }
        let elements = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        if elements.is_none_or(|n| n > LARGEST) {
            return Err(FrontendError::Limit {
                place: format!("{FORMAT}: layer `{}`", self.layer.place),
                limit: format!(
                    "its {name} would have the extents {dims:?}, more than {LARGEST} elements"
                ),
            });
        }
        let data = match self.stored {
            None => ConstData::Absent { hash: None },
            Some(stored) => self.bind(stored, name, dims, dtype)?,
        };
        let entry = self.pool.add(ty.clone(), data);
        let path = format!("{}/{name}", self.layer.name);
        let spec =
            OpSpec::new(Constant::new(entry)).name(path.as_str()).origin(self.origin).result(ty);
        let op = self.graph.create(spec);
        let value = self.graph.result(op, 0);
        self.label(value, name);
        self.weights.insert(name, (entry, value));
        Ok(Some(value))
    }

    /// The data of the layer's next weight.
    fn bind(
        &self,
        stored: &[Stored],
        name: &str,
        dims: &[u64],
        dtype: DType,
    ) -> Result<ConstData, FrontendError> {
        let invalid = |problem: String| Err(self.layer.invalid(problem));
        let Some(weight) = stored.get(self.weights.len()) else {
            let found = stored.len();
            return invalid(format!(
                "its {name} is not in the file of weights, which has {found} of its weights"
            ));
        };
        let path = &weight.path;
        if weight.dims != dims {
            let found = &weight.dims;
            return invalid(format!(
                "its {name} should have the extents {dims:?}, but `{path}` has {found:?}"
            ));
        }
        if weight.dtype != Some(dtype) {
            let found = weight.dtype.map_or("another".to_owned(), |d| d.to_string());
            return invalid(format!(
                "its {name} should have the element type {dtype}, but that of `{path}` is {found}"
            ));
        }
        match &weight.data {
            Ok(data) => Ok(data.clone()),
            Err(problem) => {
                Err(FrontendError::unsupported(format!("{FORMAT}: `{path}`"), problem.clone()))
            }
        }
    }

    /// Names an inner value after a part of the layer. Inner values of later calls stay without a name.
    pub(super) fn label(&mut self, v: Value, part: &str) {
        let name = self.names.fresh(format!("{}/{part}", self.layer.name));
        self.graph.set_value_name(v, name);
    }

    /// A constant that the architecture itself states.
    pub(super) fn literal(&mut self, dtype: DType, dims: &[u64], values: &[f64]) -> Value {
        let entry = self.pool.add_f64(dtype, dims, values);
        let ty = TensorType::of(dtype, dims);
        let spec =
            OpSpec::new(Constant::new(entry)).name(self.layer.name).origin(self.origin).result(ty);
        let op = self.graph.create(spec);
        self.literals.insert(op);
        self.graph.result(op, 0)
    }

    fn ill_typed(&self, key: &str, expected: &str) -> FrontendError {
        self.layer.invalid(format!("`{key}` must be {expected}"))
    }

    /// A boolean of the configuration.
    pub(super) fn bool(&self, key: &str, default: bool) -> Result<bool, FrontendError> {
        match self.layer.config.some(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.ill_typed(key, "true or false")),
        }
    }

    /// A number of the configuration; `None` when it is null or not there.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, FrontendError> {
        let number = |v: &Json| match v.as_f64() {
            Some(n) => Ok(n),
            // Numpy scalars are written as arrays of rank 0.
            None => v.get("config").and_then(|c| c.get("value")).and_then(Json::as_f64).ok_or(()),
        };
        let value = self.layer.config.some(key).map(number).transpose();
        value.map_err(|()| self.ill_typed(key, "a number"))
    }

    /// A string of the configuration; `None` when it is null or not there.
    pub(super) fn str(&self, key: &str) -> Result<Option<&'a str>, FrontendError> {
        let value = self.layer.config.some(key).map(|v| v.as_str().ok_or(())).transpose();
        value.map_err(|()| self.ill_typed(key, "a string"))
    }

    /// A positive integer of the configuration.
    pub(super) fn positive(&self, key: &str, default: Option<u64>) -> Result<u64, FrontendError> {
        let expected = || self.ill_typed(key, &format!("an integer from 1 to {LARGEST}"));
        match self.layer.config.some(key) {
            None => default.ok_or_else(expected),
            Some(v) => positive(v).ok_or_else(expected),
        }
    }

    /// `n` positive integers of the configuration: a list of them, a list of one, or one for all axes.
    pub(super) fn positives(
        &self,
        key: &str,
        n: usize,
        default: Option<u64>,
    ) -> Result<Spatial<u64>, FrontendError> {
        let expected =
            || self.ill_typed(key, &format!("an integer or a list of {n} from 1 to {LARGEST}"));
        let json = match self.layer.config.some(key) {
            None => return default.map(|d| Spatial::from_elem(d, n)).ok_or_else(expected),
            Some(json) => json,
        };
        match json.items() {
            None => positive(json).map(|v| Spatial::from_elem(v, n)).ok_or_else(expected),
            Some([one]) => positive(one).map(|v| Spatial::from_elem(v, n)).ok_or_else(expected),
            Some(items) if items.len() == n => {
                items.iter().map(positive).collect::<Option<_>>().ok_or_else(expected)
            }
            Some(_) => Err(expected()),
        }
    }

    /// `data_format` for `spatial` axes; channels last where the file does not say.
    pub(super) fn layout(&self, spatial: usize) -> Result<DataLayout, FrontendError> {
        let spatial = u8::try_from(spatial).unwrap_or(u8::MAX);
        match self.str("data_format")? {
            None | Some("channels_last") => Ok(DataLayout::channels_last(spatial)),
            Some("channels_first") => Ok(DataLayout::channels_first(spatial)),
            Some(_) => Err(self.ill_typed("data_format", "channels_last or channels_first")),
        }
    }

    /// `padding` of a window, in lower case.
    pub(super) fn padding(&self) -> Result<String, FrontendError> {
        let padding = self.str("padding")?.unwrap_or("valid").to_ascii_lowercase();
        match padding.as_str() {
            "valid" | "same" | "causal" => Ok(padding),
            _ => Err(self.ill_typed("padding", "valid, same or causal")),
        }
    }

    /// The error of a window that is larger than what it moves over.
    pub(super) fn does_not_fit(&self, n: &Dim, window: u64) -> FrontendError {
        let n = n.known().unwrap_or(0);
        self.layer.invalid(format!("a window of {window} does not fit into an extent of {n}"))
    }
}

fn positive(json: &Json) -> Option<u64> {
    json.as_i64().and_then(|n| u64::try_from(n).ok()).filter(|n| (1..=LARGEST).contains(n))
}
