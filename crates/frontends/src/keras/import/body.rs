//! One graph in the making: values of calls, names, types that others state.

use super::Node;
use crate::{
    FrontendError,
    keras::{
        cx::{Operand, Policy},
        json::Json,
        layers,
        model::{Arg, FORMAT, Layer, Model, Tensor},
        record::{CallRecord, Weights},
        shape,
    },
};
use normfold_ir::{
    AttrMap, Attribute, Call, CarriedNorm, DType, Graph, OpSpec, Opaque, Parameter, ResultSpec,
    Return, Type, Value,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// What is known of an opaque layer.
pub(super) struct Carried {
    /// Whether its weights are of a quantized form.
    pub(super) quantized: bool,
    /// Why it is one, if it is a batch norm.
    pub(super) norm: Option<CarriedNorm>,
}

/// Names that values of a graph have: those of the layers, and what was made from them.
pub(in crate::keras) struct Names(HashSet<Arc<str>>);

impl Names {
    /// The name, unless something else has it.
    pub(in crate::keras) fn fresh(&mut self, name: impl Into<Arc<str>>) -> Option<Arc<str>> {
        let name = name.into();
        self.0.insert(name.clone()).then_some(name)
    }
}

/// A graph in the making.
pub(super) struct Body<'g> {
    pub(super) graph: &'g mut Graph,
    /// Results per layer and call.
    values: Vec<Vec<Vec<Value>>>,
    /// Values of inputs without a layer.
    pub(super) inputs: Vec<Value>,
    /// What others say of the type of a tensor.
    hints: HashMap<Tensor, Type>,
    /// How many results of a call are read.
    arity: HashMap<(usize, usize), usize>,
    /// Weights per layer.
    pub(super) weights: BTreeMap<usize, Weights>,
    /// First call number per layer.
    first_call: Vec<usize>,
    /// Layers as messages call them.
    places: Vec<String>,
    /// Names of values.
    pub(super) names: Names,
    /// The element type that a value has in Keras, where mixed policies make it another than in the graph.
    pub(super) mixed: HashMap<Value, DType>,
    /// Values that may have a mask, which layers hand on beside them.
    pub(super) masked: HashSet<Value>,
}

impl<'g> Body<'g> {
    pub(super) fn new(model: &Model<'_>, graph: &'g mut Graph) -> Self {
        let mut body = Self {
            graph,
            values: model.layers.iter().map(|l| vec![Vec::new(); l.calls.len().max(1)]).collect(),
            inputs: Vec::new(),
            hints: HashMap::new(),
            arity: HashMap::new(),
            weights: BTreeMap::new(),
            first_call: model.layers.iter().map(|l| l.first_call).collect(),
            places: model.layers.iter().map(|l| l.place.clone()).collect(),
            names: Names(model.layers.iter().map(|l| l.name.into()).collect()),
            mixed: HashMap::new(),
            masked: HashSet::new(),
        };
        let uses: usize = model.layers.iter().flat_map(|l| &l.calls).map(|c| c.args.len()).sum();
        body.graph.reserve(model.layers.len() * 3, uses * 3);
        for layer in &model.layers {
            for call in &layer.calls {
                for (tensor, about) in call.tensors() {
                    body.note(tensor, about);
                }
            }
            if let ([call], Some(built)) = (layer.calls.as_slice(), layer.build_shape) {
                body.note_built(call.args.first(), built);
            }
        }
        for (_, tensor) in &model.outputs {
            body.note(*tensor, None);
        }
        body
    }

    /// What a reader says of a tensor: that it is there, and in Keras 3 its type.
    fn note(&mut self, tensor: Tensor, about: Option<&Json>) {
        if let Tensor::Result { layer, call, result } = tensor {
            let arity = self.arity.entry((layer, call)).or_default();
            *arity = result.saturating_add(1).max(*arity);
        }
        let Some(about) = about else { return };
        let dtype = about.get("dtype").and_then(Json::as_str).and_then(shape::dtype);
        if let (Some(dtype), Some(stated)) = (dtype, about.get("shape").and_then(shape::stated)) {
            self.hints.entry(tensor).or_insert_with(|| shape::tensor(dtype, Some(stated)));
        }
    }

    /// What the shape that a layer was built with says of its arguments, when it is called once.
    fn note_built(&mut self, arg: Option<&Arg<'_>>, built: &Json) {
        match arg {
            Some(Arg::Tensor(tensor, _)) => {
                if let Some(stated) = shape::stated(built) {
                    let hint = || shape::tensor(DType::F32, Some(stated));
                    self.hints.entry(*tensor).or_insert_with(hint);
                }
            }
            Some(Arg::List(list)) => {
                let shapes = built.items().unwrap_or_default();
                if list.len() == shapes.len() {
                    list.iter().zip(shapes).for_each(|(a, s)| self.note_built(Some(a), s));
                }
            }
            _ => {}
        }
    }

    pub(super) fn parameters(&mut self, model: &Model<'_>, args: &[Type]) {
        for (index, input) in model.inputs.iter().enumerate() {
            let layer = input.layer.and_then(|l| model.layers.get(l));
            let mut ty = layer.map_or_else(|| implicit_input(model, input.shape), input_type);
            let tensor = match input.layer {
                Some(layer) => Tensor::Result { layer, call: 0, result: 0 },
                None => Tensor::Input(index),
            };
            if let Some(hint) = self.hints.get(&tensor) {
                ty = shape::refined(&ty, hint);
            }
            if let Some(arg) = args.get(index) {
                ty = shape::refined(&ty, arg);
            }
            let kind = Parameter { index: index as u32, capture: false };
            let mut spec = OpSpec::new(kind).name(input.name).named_result(input.name, ty);
            if let Some(layer) = input.layer {
                spec = spec.origin(layer as u32);
            }
            let op = self.graph.create(spec);
            let value = self.graph.result(op, 0);
            match input.layer {
                Some(layer) => self.define(Node { layer, call: 0 }, vec![value]),
                None => self.inputs.push(value),
            }
        }
    }

    pub(super) fn define(&mut self, node: Node, results: Vec<Value>) {
        if let Some(slot) =
            self.values.get_mut(node.layer).and_then(|calls| calls.get_mut(node.call))
        {
            *slot = results;
        }
    }

    /// The value of a tensor, or what is wrong with the reference.
    pub(super) fn value(&self, tensor: Tensor) -> Result<Value, String> {
        let (layer, call, result) = match tensor {
            Tensor::Input(i) => {
                return self
                    .inputs
                    .get(i)
                    .copied()
                    .ok_or_else(|| "it reads an input that is not there".into());
            }
            Tensor::Result { layer, call, result } => (layer, call, result),
        };
        let first = self.first_call.get(layer).copied().unwrap_or(0);
        let calls = self.values.get(layer).map(Vec::as_slice).unwrap_or_default();
        let results = call.checked_sub(first).and_then(|c| calls.get(c));
        let name = || self.places.get(layer).map(String::as_str).unwrap_or_default();
        match results {
            None => Err(format!("it reads call {call} of layer `{}`, which is not there", name())),
            Some(r) if r.is_empty() => Err(format!(
                "it reads layer `{}`, which the model neither calls nor lists among its inputs",
                name()
            )),
            Some(r) => r.get(result).copied().ok_or_else(|| {
                format!("it reads result {result} of layer `{}`, which gives {}", name(), r.len())
            }),
        }
    }

    pub(super) fn operand<'a>(
        &self,
        layer: &Layer<'_>,
        arg: &Arg<'a>,
    ) -> Result<Operand<'a>, FrontendError> {
        Ok(match arg {
            Arg::Tensor(tensor, _) => {
                Operand::Value(self.value(*tensor).map_err(|p| layer.invalid(p))?)
            }
            Arg::List(items) => Operand::List(
                items.iter().map(|i| self.operand(layer, i)).collect::<Result<_, _>>()?,
            ),
            Arg::Dict(items) => {
                let items = items.iter().map(|(k, i)| Ok((*k, self.operand(layer, i)?)));
                Operand::Dict(items.collect::<Result<_, FrontendError>>()?)
            }
            Arg::Literal(json) => Operand::Literal(json),
        })
    }

    fn tensors(&self, layer: &Layer<'_>, call: usize) -> Result<Vec<Value>, FrontendError> {
        let call = layer.calls.get(call).map(|c| c.tensors()).unwrap_or_default();
        call.iter().map(|(t, _)| self.value(*t).map_err(|p| layer.invalid(p))).collect()
    }

    /// Whether something that a call reads may have a mask.
    pub(super) fn reads_mask(&self, layer: &Layer<'_>, node: Node) -> bool {
        let read = self.tensors(layer, node.call).unwrap_or_default();
        !self.masked.is_empty() && read.iter().any(|v| self.masked.contains(v))
    }

    /// The name of a result of a call: the layer's, `:call` from the second call on, `.result` from the second result on.
    /// None where that is the name of something else.
    fn result_name(&mut self, layer: &Layer<'_>, node: Node, result: usize) -> Option<Arc<str>> {
        let mut name = layer.name.to_owned();
        if node.call == 0 && result == 0 {
            return Some(name.into());
        }
        if node.call > 0 {
            name.push_str(&format!(":{}", node.call));
        }
        if result > 0 {
            name.push_str(&format!(".{result}"));
        }
        self.names.fresh(name)
    }

    fn hint(&self, layer: &Layer<'_>, node: Node, result: usize) -> Option<&Type> {
        let call = node.call + layer.first_call;
        self.hints.get(&Tensor::Result { layer: node.layer, call, result })
    }

    /// Names the results of a call and refines their types.
    pub(super) fn name_results(&mut self, layer: &Layer<'_>, node: Node, results: &[Value]) {
        for (i, &v) in results.iter().enumerate() {
            let name = self.result_name(layer, node, i);
            self.graph.set_value_name(v, name);
            if let Some(hint) = self.hint(layer, node, i) {
                let ty = shape::refined(self.graph.ty(v), hint);
                self.graph.set_ty(v, ty);
            }
        }
    }

    /// What a call hands to a nested model, in the order of its inputs.
    pub(super) fn call_operands(
        &self,
        layer: &Layer<'_>,
        node: Node,
        nested: &Model<'_>,
    ) -> Result<Vec<Value>, FrontendError> {
        let inputs = &nested.inputs;
        let mut tensors = Vec::with_capacity(inputs.len());
        match layer.calls.get(node.call).and_then(|c| c.args.first()) {
            Some(Arg::Dict(items)) => {
                let items: HashMap<&str, &Arg<'_>> = items.iter().map(|(k, a)| (*k, a)).collect();
                for input in inputs {
                    let key = input.key.unwrap_or(input.name);
                    let arg = items.get(key).ok_or_else(|| {
                        layer.invalid(format!("a call without the input `{key}`"))
                    })?;
                    arg_tensors(arg, &mut tensors);
                }
            }
            Some(arg) => arg_tensors(arg, &mut tensors),
            None => {}
        }
        if tensors.len() != inputs.len() {
            let (given, wanted) = (tensors.len(), inputs.len());
            return Err(layer.invalid(format!("a model of {wanted} inputs is called with {given}")));
        }
        tensors.into_iter().map(|t| self.value(t).map_err(|p| layer.invalid(p))).collect()
    }

    pub(super) fn nested_call(
        &mut self,
        layer: &Layer<'_>,
        node: Node,
        callee: &Arc<str>,
        operands: Vec<Value>,
        results: Vec<Type>,
    ) -> CallRecord {
        let spec = OpSpec::new(Call { callee: callee.clone() })
            .name(layer.name)
            .origin(node.layer as u32)
            .operands(operands.into_iter().map(Some))
            .results(results.into_iter().map(|ty| ResultSpec { name: None, ty }));
        let op = self.graph.create(spec);
        let record = CallRecord::of_op(self.graph, op);
        self.name_results(layer, node, &record.results);
        record
    }

    /// A layer that is carried and not understood.
    pub(super) fn opaque(
        &mut self,
        text: &[u8],
        layer: &Layer<'_>,
        node: Node,
        reason: Option<String>,
        carried: Carried,
    ) -> CallRecord {
        // Every reference was resolved before.
        let operands = self.tensors(layer, node.call).unwrap_or_default();
        let read =
            self.arity.get(&(node.layer, node.call + layer.first_call)).copied().unwrap_or(1);
        // Nothing gives more results than a file of this size could read, so an absurd number is left unresolved.
        let count = read.clamp(1, 4096);
        let mut attrs = AttrMap::new();
        let mut text_attr =
            |key: &str, value: &str| attrs.insert(key.into(), Attribute::Str(value.into()));
        if let Some(registered) = layer.registered.filter(|_| !layer.is_builtin()) {
            text_attr("registered_name", registered);
        }
        if let Some(reason) = reason {
            text_attr("why", &reason);
        }
        text_attr("config", layer.config.text(text));
        let domain = if layer.is_builtin() { "keras" } else { layer.module.unwrap_or("") };
        let kind = Opaque {
            domain: domain.into(),
            name: layer.class.into(),
            attrs,
            pure: layers::is_pure(layer),
            type_uses: layers::type_uses(layer),
            shaped: layers::is_shaped(layer),
            quantized: carried.quantized,
            norm: carried.norm,
        };
        let shaped = kind.shaped.then(|| operands.first().map(|&v| self.graph.ty(v).clone()));
        let shaped = shaped.flatten().unwrap_or_default();
        let results = (0..count).map(|i| ResultSpec {
            name: None,
            ty: if i == 0 { shaped.clone() } else { Type::default() },
        });
        let results: Vec<ResultSpec> = results.collect();
        let spec = OpSpec::new(kind)
            .name(layer.name)
            .origin(node.layer as u32)
            .operands(operands.into_iter().map(Some))
            .results(results);
        let op = self.graph.create(spec);
        let record = CallRecord::of_op(self.graph, op);
        self.name_results(layer, node, &record.results);
        record
    }

    pub(super) fn finish(&mut self, model: &Model<'_>) -> Result<Vec<Type>, FrontendError> {
        let mut operands = Vec::with_capacity(model.outputs.len());
        for (name, tensor) in &model.outputs {
            let value = self.value(*tensor).map_err(|problem| {
                FrontendError::invalid(
                    FORMAT,
                    format!("model `{}`, output `{name}`", model.name),
                    problem,
                )
            })?;
            operands.push(value);
        }
        let names = model.outputs.iter().map(|(name, _)| (*name).into()).collect();
        let results = operands.iter().map(|&v| self.graph.ty(v).clone()).collect();
        self.graph.create(OpSpec::new(Return { names }).operands(operands.into_iter().map(Some)));
        Ok(results)
    }
}

fn arg_tensors(arg: &Arg<'_>, out: &mut Vec<Tensor>) {
    match arg {
        Arg::Tensor(t, _) => out.push(*t),
        Arg::List(items) => items.iter().for_each(|i| arg_tensors(i, out)),
        Arg::Dict(items) => items.iter().for_each(|(_, i)| arg_tensors(i, out)),
        Arg::Literal(_) => {}
    }
}

/// The type of an input layer.
fn input_type(layer: &Layer<'_>) -> Type {
    let config = layer.config;
    if ["sparse", "ragged"].iter().any(|k| config.get(k).and_then(Json::as_bool) == Some(true)) {
        return Type::Unknown;
    }
    let Some(dtype) = Policy::of(layer).dtype else { return Type::Unknown };
    let shape = config.some("batch_input_shape").or(config.some("batch_shape"));
    shape::tensor(dtype, shape.and_then(shape::stated))
}

/// The type of the input of a Sequential model without an input layer: that of the model it begins with, or by the shape
/// it was built with.
fn implicit_input(model: &Model<'_>, shape: Option<&Json>) -> Type {
    let mut model = model;
    while let Some(first) = model.layers.first() {
        match &first.nested {
            Some(nested) => model = nested,
            None => {
                if first.is_input() {
                    return input_type(first);
                }
                break;
            }
        }
    }
    shape::tensor(DType::F32, shape.and_then(shape::stated))
}
