//! The structure of an architecture: models, layers, calls and the tensors between them, whatever generation wrote it.
//!
//! Nothing here goes by a version number: each property is recognised where it stands. A call is a list (Keras 2) or an
//! object with `args` and `kwargs` (Keras 3); inputs and outputs of a model are one reference, a list or a dictionary of
//! them; a reference is `[layer, call, result]`.

use super::json::{Json, Value};
use crate::FrontendError;
use std::collections::{HashMap, HashSet};

/// What error messages call the format.
pub(super) const FORMAT: &str = "Keras model";

/// A Sequential or Functional model.
pub(super) struct Model<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its layers, in the order of the file.
    pub(super) layers: Vec<Layer<'a>>,
    /// Its inputs, in argument order.
    pub(super) inputs: Vec<Input<'a>>,
    /// Its outputs: a name and a tensor.
    pub(super) outputs: Vec<(&'a str, Tensor)>,
    /// Whether each layer reads the one before, without the file saying so.
    pub(super) sequential: bool,
}

/// An input of a model.
pub(super) struct Input<'a> {
    /// The input layer's name; that of the model where there is no such layer.
    pub(super) name: &'a str,
    /// The name of the argument where inputs are a dictionary.
    pub(super) key: Option<&'a str>,
    /// The input layer; a Sequential model may have none.
    pub(super) layer: Option<usize>,
    /// The shape that a Sequential model without an input layer was built with.
    pub(super) shape: Option<&'a Json>,
}

/// An entry of `layers`.
pub(super) struct Layer<'a> {
    /// Its name, unique in the model.
    pub(super) name: &'a str,
    /// `class_name`.
    pub(super) class: &'a str,
    /// `module`, where the file has it.
    pub(super) module: Option<&'a str>,
    /// `registered_name`, where the file has it.
    pub(super) registered: Option<&'a str>,
    /// `config`.
    pub(super) config: &'a Json,
    /// `build_config.input_shape`, where the file has it.
    pub(super) build_shape: Option<&'a Json>,
    /// The id that Keras gives layers which several models share.
    pub(super) shared_id: Option<i64>,
    /// The names of the models around it and its own, for messages.
    pub(super) place: String,
    /// Its calls. An input layer has none.
    pub(super) calls: Vec<Call<'a>>,
    /// The number that references give the first call: nested models of Keras 2 begin at 1.
    pub(super) first_call: usize,
    /// What `output_layers` adds to that number: Keras 3 counts the node that a nested model has from the beginning there,
    /// and not where layers read its results.
    pub(super) output_offset: usize,
    /// The model it is.
    pub(super) nested: Option<Model<'a>>,
}

/// One call of a layer.
#[derive(Default)]
pub(super) struct Call<'a> {
    /// Arguments by position.
    pub(super) args: Vec<Arg<'a>>,
    /// Arguments by name.
    pub(super) kwargs: Vec<(&'a str, Arg<'a>)>,
}

/// An argument of a call.
pub(super) enum Arg<'a> {
    /// A tensor, and what the call says of its type (Keras 3).
    Tensor(Tensor, Option<&'a Json>),
    /// A list with tensors in it.
    List(Vec<Arg<'a>>),
    /// A dictionary with tensors in it.
    Dict(Vec<(&'a str, Arg<'a>)>),
    /// A value without tensors.
    Literal(&'a Json),
}

/// A tensor of a model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Tensor {
    /// An input of a Sequential model without an input layer.
    Input(usize),
    /// Result `result` of call `call` of a layer, calls counted as the file does.
    Result {
        /// The layer.
        layer: usize,
        /// The call.
        call: usize,
        /// The result.
        result: usize,
    },
}

impl<'a> Model<'a> {
    /// The name of the layer that a tensor is the result of.
    pub(super) fn producer(&self, tensor: Tensor) -> Option<&'a str> {
        match tensor {
            Tensor::Input(_) => None,
            Tensor::Result { layer, .. } => self.layers.get(layer).map(|l| l.name),
        }
    }
}

impl Layer<'_> {
    /// Whether the class is Keras's own, so that its name says what it does.
    pub(super) fn is_builtin(&self) -> bool {
        is_builtin(self.class, self.module, self.registered)
    }

    /// Whether it is an input layer.
    pub(super) fn is_input(&self) -> bool {
        self.class == "InputLayer"
    }

    /// What the layer says contradicts the format.
    pub(super) fn invalid(&self, problem: impl Into<String>) -> FrontendError {
        FrontendError::invalid(FORMAT, format!("layer `{}`", self.place), problem)
    }
}

impl Call<'_> {
    /// The value of `training`, by name or as the argument after the first: `None` when it is left to the caller, an
    /// error value when it is a tensor or nothing that is known.
    pub(super) fn training(&self) -> Result<Option<bool>, ()> {
        let by_name = self.kwargs.iter().find(|(k, _)| *k == "training").map(|(_, v)| v);
        match by_name.or(self.args.get(1)) {
            None => Ok(None),
            Some(Arg::Literal(v)) => match v.value {
                Value::Null => Ok(None),
                Value::Bool(b) => Ok(Some(b)),
                Value::Number(_) => Ok(v.as_f64().map(|n| n != 0.0)),
                _ => Err(()),
            },
            Some(_) => Err(()),
        }
    }

    /// Every tensor the call reads, in order.
    pub(super) fn tensors(&self) -> Vec<(Tensor, Option<&Json>)> {
        let mut found = Vec::new();
        self.args.iter().for_each(|a| a.tensors(&mut found));
        self.kwargs.iter().for_each(|(_, a)| a.tensors(&mut found));
        found
    }
}

impl<'a> Arg<'a> {
    fn tensors(&self, found: &mut Vec<(Tensor, Option<&'a Json>)>) {
        match self {
            Arg::Tensor(t, about) => found.push((*t, *about)),
            Arg::List(items) => items.iter().for_each(|i| i.tensors(found)),
            Arg::Dict(items) => items.iter().for_each(|(_, i)| i.tensors(found)),
            Arg::Literal(_) => {}
        }
    }
}

/// Whether a class is Keras's own: its module is, and it is not registered under a package of somebody else.
pub(super) fn is_builtin(class: &str, module: Option<&str>, registered: Option<&str>) -> bool {
    let ours = |m: &str| {
        ["keras", "tf_keras", "tensorflow"].iter().any(|root| {
            m.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    match (module, registered) {
        (None, None) => true,
        (Some(module), registered) => ours(module) && registered.is_none_or(|r| r == class),
        // A class of somebody's own that Keras was not told of has its name and no module, whatever it is called.
        (None, Some(_)) => false,
    }
}

fn is_model_class(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

/// Reads a model from its serialized object.
///
/// # Errors
/// The object is no Sequential or Functional model, lacks what such a model has, or refers to what is not there.
pub(super) fn read(json: &Json) -> Result<Model<'_>, FrontendError> {
    let invalid = |problem: &str| FrontendError::invalid(FORMAT, "the file", problem);
    let class = json.get("class_name").and_then(Json::as_str).ok_or_else(|| {
        invalid("it has no `class_name`: a Keras architecture is what `model.to_json()` gives")
    })?;
    let config = json.get("config").ok_or_else(|| invalid("it has no `config`"))?;
    let builtin = is_builtin(
        class,
        json.some("module").and_then(Json::as_str),
        json.some("registered_name").and_then(Json::as_str),
    );
    if !is_model_class(class) || !builtin {
        return Err(FrontendError::unsupported(
            format!("the class `{class}`"),
            "a model that is not Sequential or Functional (its layers are in Python code, not in the file)",
        ));
    }
    let built = json.get("build_config").and_then(|b| b.some("input_shape"));
    model(class, config, built, "")
}

fn model<'a>(
    class: &str,
    config: &'a Json,
    built: Option<&'a Json>,
    around: &str,
) -> Result<Model<'a>, FrontendError> {
    let name = config.get("name").and_then(Json::as_str).unwrap_or(class_default(class));
    let place =
        if around.is_empty() { format!("model `{name}`") } else { format!("model `{around}`") };
    let invalid = |problem: String| FrontendError::invalid(FORMAT, place.as_str(), problem);
    // Sequential models of the first Keras 2 versions are the bare list.
    let entries = config.items().or_else(|| config.get("layers").and_then(Json::items));
    let entries = entries.ok_or_else(|| invalid("it has no list of `layers`".into()))?;
    let mut layers = Vec::with_capacity(entries.len());
    let mut by_name = HashMap::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let layer = self::layer(entry, index, around, &place)?;
        if by_name.insert(layer.name, index).is_some() {
            return Err(layer.invalid("a second layer of that name"));
        }
        layers.push(layer);
    }
    if class == "Sequential" {
        return Ok(sequential(name, config, built, layers));
    }

    let mut refs = References { layers: &by_name, lowest: vec![usize::MAX; layers.len()] };
    let mut calls = Vec::with_capacity(layers.len());
    for (layer, entry) in layers.iter().zip(entries) {
        calls.push(refs.calls(layer, entry)?);
    }
    let (mut inputs, mut listed) = (Vec::new(), HashSet::new());
    for (key, reference) in leaves(config, "input_layers", &place)? {
        let Tensor::Result { layer, .. } = refs.reference(reference).map_err(invalid)? else {
            continue;
        };
        let target = layers.get(layer).filter(|l| l.is_input());
        let target = target
            .ok_or_else(|| invalid("`input_layers` names a layer that is no InputLayer".into()))?;
        if !listed.insert(layer) {
            return Err(target.invalid("it stands twice in `input_layers`"));
        }
        inputs.push(Input { name: target.name, key, layer: Some(layer), shape: None });
    }
    for (layer, entry) in layers.iter_mut().zip(entries) {
        let functional = layer.nested.as_ref().is_some_and(|m| !m.sequential);
        layer.output_offset = usize::from(functional && is_keras3(entry));
    }
    let mut outputs = Vec::new();
    for (key, reference) in leaves(config, "output_layers", &place)? {
        let tensor = refs.output(reference, &layers).map_err(invalid)?;
        let name = reference.items().and_then(|r| r.first()).and_then(Json::as_str);
        outputs.push((key.or(name).unwrap_or_default(), tensor));
    }
    let lowest = refs.lowest;
    for ((layer, calls), lowest) in layers.iter_mut().zip(calls).zip(lowest) {
        layer.calls = calls;
        // A call is only in the file because something reads it, so the lowest number read is that of the first.
        layer.first_call = usize::from(layer.nested.is_some() && lowest == 1);
    }
    Ok(Model { name, layers, inputs, outputs, sequential: false })
}

fn class_default(class: &str) -> &'static str {
    if class == "Sequential" { "sequential" } else { "model" }
}

fn layer<'a>(
    entry: &'a Json,
    index: usize,
    around: &str,
    place: &str,
) -> Result<Layer<'a>, FrontendError> {
    let invalid = |problem: String| {
        FrontendError::invalid(FORMAT, format!("{place}, layer {index}"), problem)
    };
    if !entry.is_object() {
        return Err(invalid(format!("it is {}, not an object", entry.kind())));
    }
    let text = |key: &str| entry.some(key).and_then(Json::as_str);
    let class = text("class_name").ok_or_else(|| invalid("it has no `class_name`".into()))?;
    let config = entry.get("config").ok_or_else(|| invalid("it has no `config`".into()))?;
    let name = text("name").or_else(|| config.get("name").and_then(Json::as_str));
    let (module, registered) = (text("module"), text("registered_name"));
    let is_model = is_model_class(class) && is_builtin(class, module, registered);
    let list_of_layers = is_model && config.items().is_some();
    if !config.is_object() && !list_of_layers {
        return Err(invalid(format!("its `config` is {}, not an object", config.kind())));
    }
    let name = match name {
        Some(name) => name,
        None if is_model => class_default(class),
        None => return Err(invalid("it has no `name`".into())),
    };
    let place = if around.is_empty() { name.to_owned() } else { format!("{around}/{name}") };
    let build_shape = entry.some("build_config").and_then(|b| b.some("input_shape"));
    let nested = if is_model { Some(model(class, config, build_shape, &place)?) } else { None };
    Ok(Layer {
        name,
        class,
        module,
        registered,
        config,
        build_shape,
        shared_id: entry.some("shared_object_id").and_then(Json::as_i64),
        place,
        calls: Vec::new(),
        first_call: 0,
        output_offset: 0,
        nested,
    })
}

/// Each layer of a Sequential model is called once, on the result of the one before.
fn sequential<'a>(
    name: &'a str,
    config: &'a Json,
    built: Option<&'a Json>,
    mut layers: Vec<Layer<'a>>,
) -> Model<'a> {
    let first = layers.first();
    let input = match first {
        Some(first) if first.is_input() => {
            Input { name: first.name, key: None, layer: Some(0), shape: None }
        }
        _ => {
            let declared =
                |l: &Layer<'a>| l.config.some("batch_input_shape").or(l.config.some("batch_shape"));
            let shape = first.and_then(declared).or(config.some("build_input_shape")).or(built);
            Input { name: "input", key: None, layer: None, shape }
        }
    };
    let mut tensor = match input.layer {
        Some(layer) => Tensor::Result { layer, call: 0, result: 0 },
        None => Tensor::Input(0),
    };
    for (index, layer) in layers.iter_mut().enumerate().skip(usize::from(input.layer.is_some())) {
        layer.calls = vec![Call { args: vec![Arg::Tensor(tensor, None)], kwargs: Vec::new() }];
        tensor = Tensor::Result { layer: index, call: 0, result: 0 };
    }
    let last = layers.last().map_or(name, |l| l.name);
    Model { name, outputs: vec![(last, tensor)], layers, inputs: vec![input], sequential: true }
}

/// The references in `input_layers` or `output_layers`: one, or a list or dictionary of them, nested at will. The members
/// of a dictionary are in the order of their names, as Keras flattens them.
fn leaves<'a>(
    config: &'a Json,
    key: &str,
    place: &str,
) -> Result<Vec<(Option<&'a str>, &'a Json)>, FrontendError> {
    let invalid =
        |problem: &str| FrontendError::invalid(FORMAT, place, format!("`{key}` {problem}"));
    let json = config.get(key).ok_or_else(|| invalid("is missing"))?;
    let mut out = Vec::new();
    match walk(json, None, &mut out) {
        true => Ok(out),
        false => Err(invalid("has something else than references `[layer, call, result]`")),
    }
}

/// The references of a list that was read before, with the names of members they stand in.
pub(super) fn references(json: &Json) -> impl Iterator<Item = (Option<&str>, &Json)> {
    let mut out = Vec::new();
    walk(json, None, &mut out);
    out.into_iter()
}

/// Collects references; `false` when something else is among them.
fn walk<'a>(
    json: &'a Json,
    key: Option<&'a str>,
    out: &mut Vec<(Option<&'a str>, &'a Json)>,
) -> bool {
    match &json.value {
        Value::Array(items) if is_reference(items) => {
            out.push((key, json));
            true
        }
        Value::Array(items) => items.iter().all(|i| walk(i, key, out)),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            members.iter().all(|(name, value)| walk(value, Some(name), out))
        }
        _ => false,
    }
}

/// Whether the calls of a layer are as Keras 3 writes them.
fn is_keras3(entry: &Json) -> bool {
    let calls = entry.get("inbound_nodes").and_then(Json::items).unwrap_or_default();
    calls.iter().any(|call| call.get("args").is_some())
}

/// Whether a list can be a reference: a name, two numbers, and in Keras 2 perhaps the arguments by name.
pub(super) fn is_reference(items: &[Json]) -> bool {
    matches!(items, [name, call, _, ..] if name.as_str().is_some() && call.as_i64().is_some() && items.len() <= 4)
}

/// Resolves references to layers of one model.
struct References<'m, 'a> {
    layers: &'m HashMap<&'a str, usize>,
    /// The lowest number of a call that is referred to, per layer.
    lowest: Vec<usize>,
}

impl<'a> References<'_, 'a> {
    /// What an output is.
    fn output(&mut self, json: &'a Json, layers: &[Layer<'_>]) -> Result<Tensor, String> {
        let tensor = self.resolve(json)?;
        let Tensor::Result { layer, call, result } = tensor else { return Ok(tensor) };
        let offset = layers.get(layer).map_or(0, |l| l.output_offset);
        let call = call
            .checked_sub(offset)
            .ok_or_else(|| "an output reads the node that a nested model begins with".to_owned())?;
        self.reads(layer, call);
        Ok(Tensor::Result { layer, call, result })
    }

    fn reference(&mut self, json: &'a Json) -> Result<Tensor, String> {
        let tensor = self.resolve(json)?;
        if let Tensor::Result { layer, call, .. } = tensor {
            self.reads(layer, call);
        }
        Ok(tensor)
    }

    fn reads(&mut self, layer: usize, call: usize) {
        if let Some(lowest) = self.lowest.get_mut(layer) {
            *lowest = call.min(*lowest);
        }
    }

    fn resolve(&self, json: &'a Json) -> Result<Tensor, String> {
        let problem =
            || "a reference `[layer, call, result]` with something else in its place".to_owned();
        let [name, call, result, ..] = json.items().unwrap_or_default() else {
            return Err(problem());
        };
        let name = name.as_str().ok_or_else(problem)?;
        let number =
            |json: &Json| json.as_i64().and_then(|n| usize::try_from(n).ok()).ok_or_else(problem);
        let (call, result) = (number(call)?, number(result)?);
        let layer = *self
            .layers
            .get(name)
            .ok_or_else(|| format!("it refers to layer `{name}`, which is not there"))?;
        Ok(Tensor::Result { layer, call, result })
    }

    fn calls(
        &mut self,
        layer: &Layer<'a>,
        entry: &'a Json,
    ) -> Result<Vec<Call<'a>>, FrontendError> {
        let Some(nodes) = entry.some("inbound_nodes") else { return Ok(Vec::new()) };
        let nodes = nodes.items().ok_or_else(|| {
            layer.invalid(format!("`inbound_nodes` is {}, not a list", nodes.kind()))
        })?;
        let calls = nodes.iter().enumerate().map(|(i, node)| {
            let call = match &node.value {
                Value::Object(_) if node.get("args").is_some() => self.keras3(node),
                Value::Array(_) | Value::Object(_) => self.keras2(node),
                _ => Err(format!("it is {}", node.kind())),
            };
            call.map_err(|problem| layer.invalid(format!("call {i} in `inbound_nodes`: {problem}")))
        });
        calls.collect()
    }

    fn keras3(&mut self, node: &'a Json) -> Result<Call<'a>, String> {
        let args = node.get("args").and_then(Json::items).ok_or("`args` is not a list")?;
        let args = args.iter().map(|a| self.keras3_arg(a)).collect::<Result<_, _>>()?;
        let kwargs = node.get("kwargs").map(Json::members).unwrap_or_default();
        let kwargs = kwargs.iter().map(|(k, v)| Ok((&**k, self.keras3_arg(v)?)));
        Ok(Call { args, kwargs: kwargs.collect::<Result<_, String>>()? })
    }

    fn keras3_arg(&mut self, json: &'a Json) -> Result<Arg<'a>, String> {
        if json.get("class_name").and_then(Json::as_str) == Some("__keras_tensor__") {
            let about = json.get("config").ok_or("a tensor without `config`")?;
            let history = about.get("keras_history").ok_or("a tensor without `keras_history`")?;
            return Ok(Arg::Tensor(self.reference(history)?, Some(about)));
        }
        self.structure(json, Self::keras3_arg)
    }

    /// A call of Keras 2: a list of `[layer, call, result, kwargs]`, one of them alone, or a dictionary of them.
    fn keras2(&mut self, node: &'a Json) -> Result<Call<'a>, String> {
        let mut named: &[(Box<str>, Json)] = &[];
        let args = match &node.value {
            Value::Array(items) if is_reference(items) => {
                vec![self.keras2_tensor(node, &mut named)?]
            }
            Value::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(self.keras2_tensor(item, &mut named)?);
                }
                if list.len() == 1 { list } else { vec![Arg::List(list)] }
            }
            _ => {
                let mut dict = Vec::new();
                for (key, item) in node.members() {
                    dict.push((&**key, self.keras2_tensor(item, &mut named)?));
                }
                vec![Arg::Dict(dict)]
            }
        };
        let kwargs = named.iter().map(|(k, v)| Ok((&**k, self.keras2_kwarg(v)?)));
        Ok(Call { args, kwargs: kwargs.collect::<Result<_, String>>()? })
    }

    fn keras2_tensor(
        &mut self,
        json: &'a Json,
        named: &mut &'a [(Box<str>, Json)],
    ) -> Result<Arg<'a>, String> {
        let items = json.items().unwrap_or_default();
        if !is_reference(items) {
            // Structures of tensors nest.
            return match &json.value {
                Value::Array(items) if !items.is_empty() => {
                    let list = items.iter().map(|i| self.keras2_tensor(i, named));
                    Ok(Arg::List(list.collect::<Result<_, _>>()?))
                }
                _ => Err(format!(
                    "{} in place of a reference `[layer, call, result, kwargs]`",
                    json.kind()
                )),
            };
        }
        if let Some(kwargs) = items.get(3) {
            if !kwargs.is_object() {
                return Err(format!("arguments by name are {}, not an object", kwargs.kind()));
            }
            if !kwargs.members().is_empty() {
                *named = kwargs.members();
            }
        }
        match items {
            [name, _, value, ..] if name.as_str() == Some("_CONSTANT_VALUE") => {
                Ok(Arg::Literal(value))
            }
            _ => Ok(Arg::Tensor(self.reference(json)?, None)),
        }
    }

    /// An argument by name: a bare `[layer, call, result]` in it is a tensor if there is such a layer.
    fn keras2_kwarg(&mut self, json: &'a Json) -> Result<Arg<'a>, String> {
        if let [name, call, result] = json.items().unwrap_or_default() {
            let known = name.as_str().is_some_and(|n| self.layers.contains_key(n));
            if known && call.as_i64().is_some() && result.as_i64().is_some() {
                return Ok(Arg::Tensor(self.reference(json)?, None));
            }
        }
        self.structure(json, Self::keras2_kwarg)
    }

    /// A list or dictionary of arguments; a literal when no tensor is in it.
    fn structure(
        &mut self,
        json: &'a Json,
        mut arg: impl FnMut(&mut Self, &'a Json) -> Result<Arg<'a>, String>,
    ) -> Result<Arg<'a>, String> {
        let literal = |a: &Arg<'_>| matches!(a, Arg::Literal(_));
        match &json.value {
            Value::Array(items) => {
                let list: Vec<_> = items.iter().map(|i| arg(self, i)).collect::<Result<_, _>>()?;
                Ok(if list.iter().all(literal) { Arg::Literal(json) } else { Arg::List(list) })
            }
            Value::Object(members) => {
                let mut dict = Vec::with_capacity(members.len());
                for (key, value) in members {
                    dict.push((&**key, arg(self, value)?));
                }
                Ok(if dict.iter().all(|(_, a)| literal(a)) {
                    Arg::Literal(json)
                } else {
                    Arg::Dict(dict)
                })
            }
            _ => Ok(Arg::Literal(json)),
        }
    }
}
