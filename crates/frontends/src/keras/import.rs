//! From models to graphs: order of calls, values, nested models as functions.

mod body;

pub(super) use body::Names;

use super::{
    KerasCapabilities,
    cx::{Emitted, LayerCx, Policy, quantized},
    layers,
    model::{FORMAT, Layer, Model, Tensor},
    record::{CallRecord, LayerRecord, Record, Store},
};
use crate::FrontendError;
use body::{Body, Carried};
use indexmap::IndexSet;
use normfold_ir::{CarriedNorm, Graph, GraphRole, Module, OpId, OpKind, Type};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

/// Imports a model and those nested in it.
pub(super) struct Importer<'a> {
    /// The document, for what is carried verbatim.
    pub(super) text: &'a [u8],
    /// Whether Keras 2 wrote it.
    pub(super) keras2: bool,
    /// What is made.
    pub(super) module: Module,
    /// Names of graphs that are taken.
    names: HashSet<Arc<str>>,
    /// How many entries have each of the ids that Keras gives to layers.
    entries: HashMap<i64, usize>,
    /// The weights, where there is a file of them.
    store: Option<&'a Store>,
    /// Dtype policies other than float32.
    pub(super) policies: IndexSet<Arc<str>>,
    /// Whether a layer of any model makes masks.
    masks: bool,
    /// How many layers may yet be looked at again for the shapes that a call of a nested model gives.
    again: usize,
}

/// Models are looked at once more per call only where that is cheap: nested calls multiply.
const AGAIN: usize = 20_000;

/// A nested model as a function.
struct Function<'m, 'a> {
    model: &'m Model<'a>,
    name: Arc<str>,
    results: Vec<Type>,
}

/// Where a model stands.
#[derive(Clone, Debug, Default)]
struct Place<'n> {
    /// Its name.
    name: &'n str,
    /// With what is around it.
    path: &'n str,
    /// The indices of the layers that it is in, its own last.
    indices: Vec<u32>,
}

impl Place<'_> {
    fn of_layer(&self, index: usize) -> Vec<u32> {
        let mut indices = self.indices.clone();
        indices.push(index as u32);
        indices
    }
}

/// A model that was imported.
struct Imported {
    name: Arc<str>,
    results: Vec<Type>,
    record: Record,
}

/// What a call stands in.
struct Scope<'s> {
    indices: &'s [u32],
    training: bool,
    unbiased: &'s mut HashSet<OpId>,
    literals: &'s mut HashSet<OpId>,
}

/// A call in the order of work.
#[derive(Clone, Copy)]
struct Node {
    layer: usize,
    call: usize,
}

impl<'a> Importer<'a> {
    pub(super) fn new(text: &'a [u8], keras2: bool, name: &str, store: Option<&'a Store>) -> Self {
        Self {
            text,
            keras2,
            module: Module::new(name),
            names: HashSet::new(),
            entries: HashMap::new(),
            store,
            policies: IndexSet::new(),
            masks: false,
            again: AGAIN,
        }
    }

    /// A name for a graph: the layer's, or with what is around it where that is taken.
    fn graph_name(&mut self, name: &str, place: &str) -> Arc<str> {
        let numbered = (1..).map(|i| format!("{place}:{i}"));
        let mut candidates = [name.to_owned(), place.to_owned()].into_iter().chain(numbered);
        let fresh = candidates.find(|c| !self.names.contains(c.as_str())).unwrap_or_default();
        let fresh: Arc<str> = fresh.into();
        self.names.insert(fresh.clone());
        fresh
    }

    /// Imports the outermost model.
    pub(super) fn main(&mut self, model: &Model<'a>) -> Result<Record, FrontendError> {
        self.count(model);
        let place = Place { name: "main", path: "main", indices: Vec::new() };
        self.graph(model, GraphRole::Main, place, false, &[]).map(|g| g.record)
    }

    fn count(&mut self, model: &Model<'a>) {
        for layer in &model.layers {
            self.masks |= layers::makes_masks(layer);
            if let Some(id) = layer.shared_id {
                *self.entries.entry(id).or_default() += 1;
            }
            layer.nested.iter().for_each(|nested| self.count(nested));
        }
    }

    /// The types that a nested model gives for arguments of these types, where those say more than its inputs do.
    fn results_for(
        &mut self,
        model: &Model<'a>,
        declared: &[Type],
        args: &[Type],
    ) -> Option<Vec<Type>> {
        let open = |ty: &Type| match ty.tensor().and_then(|t| t.shape.as_ref()) {
            Some(dims) => dims.iter().skip(1).any(|d| d.known().is_none()),
            None => true,
        };
        if !declared.iter().any(open) || args.iter().any(open) {
            return None;
        }
        self.again = self.again.checked_sub(model.layers.len())?;
        let mut scratch = Importer::new(self.text, self.keras2, "", None);
        scratch.again = self.again;
        scratch.masks = self.masks;
        std::mem::swap(&mut scratch.entries, &mut self.entries);
        let results = scratch.graph(model, GraphRole::Function, Place::default(), false, args);
        self.again = scratch.again;
        std::mem::swap(&mut scratch.entries, &mut self.entries);
        // Contradictions come to light where the model itself is imported.
        results.ok().map(|g| g.results)
    }

    /// Imports a model as a graph. `training` says that its caller asks for training mode; `args` are what is known of
    /// its arguments beyond what it says itself.
    fn graph(
        &mut self,
        model: &Model<'a>,
        role: GraphRole,
        place: Place<'_>,
        training: bool,
        args: &[Type],
    ) -> Result<Imported, FrontendError> {
        let name = self.graph_name(place.name, place.path);
        let mut functions: Vec<Option<Function<'_, 'a>>> = Vec::with_capacity(model.layers.len());
        let mut records = vec![LayerRecord::default(); model.layers.len()];
        for (index, layer) in model.layers.iter().enumerate() {
            functions.push(match &layer.nested {
                Some(nested) if !layer.calls.is_empty() => {
                    // One function for all calls: if one asks for training mode, no norm in it may fold.
                    let trains = training
                        || layer
                            .calls
                            .iter()
                            .any(|c| c.training() != Ok(None) && c.training() != Ok(Some(false)));
                    let place = Place {
                        name: layer.name,
                        path: &layer.place,
                        indices: place.of_layer(index),
                    };
                    let Imported { name, results, record } =
                        self.graph(nested, GraphRole::Function, place, trains, &[])?;
                    if let Some(r) = records.get_mut(index) {
                        r.nested = Some(Box::new(record));
                    }
                    Some(Function { model: nested, name, results })
                }
                _ => None,
            });
        }

        let mut graph = Graph::new(name.clone(), role);
        let mut body = Body::new(model, &mut graph);
        body.parameters(model, args);
        // What a nested model is called with may have a mask.
        let given = self.masks && role == GraphRole::Function;
        for (index, layer) in model.layers.iter().enumerate().filter(|(_, l)| l.is_input()) {
            let tensor = Tensor::Result { layer: index, call: layer.first_call, result: 0 };
            if let (Some(r), Ok(value)) = (records.get_mut(index), body.value(tensor)) {
                body.masked.extend(given.then_some(value));
                r.calls = vec![CallRecord { results: vec![value], ..CallRecord::default() }];
            }
        }
        body.masked.extend(body.inputs.iter().filter(|_| given));
        let (mut unbiased, mut literals) = (HashSet::new(), HashSet::new());
        let mut parts = HashSet::new();
        for node in order(model)? {
            let Some(layer) = model.layers.get(node.layer) else { continue };
            let call = match functions.get(node.layer).and_then(Option::as_ref) {
                Some(function) => {
                    let operands = body.call_operands(layer, node, function.model)?;
                    let args: Vec<Type> =
                        operands.iter().map(|&v| body.graph.ty(v).clone()).collect();
                    let results = self.results_for(function.model, &function.results, &args);
                    let results = results.unwrap_or_else(|| function.results.clone());
                    body.nested_call(layer, node, &function.name, operands, results)
                }
                None => {
                    let scope = Scope {
                        indices: &place.indices,
                        training,
                        unbiased: &mut unbiased,
                        literals: &mut literals,
                    };
                    self.layer_call(&mut body, layer, node, scope)?
                }
            };
            let may = match functions.get(node.layer).and_then(Option::as_ref) {
                Some(_) => self.masks,
                None => {
                    layers::makes_masks(layer)
                        || !layers::ends_masks(layer) && body.reads_mask(layer, node)
                }
            };
            body.masked.extend(call.results.iter().filter(|_| may));
            let binary = |op: OpId| matches!(body.graph.kind(op), OpKind::Binary(_));
            if call.ops.len() > 1 && call.ops.iter().all(|(op, _)| binary(*op)) {
                parts.extend(call.ops.iter().map(|(op, _)| *op));
            }
            body.define(node, call.results.clone());
            // Calls of a layer come in any order.
            if let Some(r) = records.get_mut(node.layer) {
                if r.calls.len() <= node.call {
                    r.calls.resize_with(node.call + 1, CallRecord::default);
                }
                if let Some(slot) = r.calls.get_mut(node.call) {
                    *slot = call;
                }
            }
        }
        for (index, weights) in std::mem::take(&mut body.weights) {
            if let Some(r) = records.get_mut(index) {
                r.weights = weights;
            }
        }
        let inputs = std::mem::take(&mut body.inputs);
        let results = body.finish(model)?;
        graph.set_capabilities(Arc::new(KerasCapabilities { unbiased, literals, parts }));
        let record = Record { graph: self.module.add_graph(graph), inputs, layers: records };
        Ok(Imported { name, results, record })
    }

    fn layer_call(
        &mut self,
        body: &mut Body<'_>,
        layer: &Layer<'a>,
        node: Node,
        scope: Scope<'_>,
    ) -> Result<CallRecord, FrontendError> {
        let Some(call) = layer.calls.get(node.call) else { return Ok(CallRecord::default()) };
        let args =
            call.args.iter().map(|a| body.operand(layer, a)).collect::<Result<Vec<_>, _>>()?;
        let kwargs = call.kwargs.iter().map(|(k, a)| Ok((*k, body.operand(layer, a)?)));
        let kwargs = kwargs.collect::<Result<Vec<_>, FrontendError>>()?;
        let policy = Policy::of(layer);
        if let Some(name) = policy.name.filter(|n| *n != "float32") {
            self.policies.insert(name.into());
        }
        if layers::ends_masks(layer) && body.reads_mask(layer, node) {
            let what = Carried { quantized: false, norm: None };
            return Ok(body.opaque(self.text, layer, node, Some("it ends a mask".into()), what));
        }
        // A weight that another model reads too is no constant of this graph alone.
        if layer.shared_id.is_some_and(|id| self.entries.get(&id).is_some_and(|&n| n > 1)) {
            let reason = Some("several models share it".to_owned());
            let norm = layers::is_norm(layer).then_some(CarriedNorm::SharedLayer);
            let what = Carried { quantized: false, norm };
            return Ok(body.opaque(self.text, layer, node, reason, what));
        }
        let mut cx = LayerCx {
            graph: &mut *body.graph,
            pool: &mut self.module.constants,
            text: self.text,
            layer,
            origin: node.layer as u32,
            args,
            kwargs,
            weights: body.weights.entry(node.layer).or_default(),
            stored: self.store.map(|s| {
                let mut path = scope.indices.to_vec();
                path.push(node.layer as u32);
                s.get(&path).map(Vec::as_slice).unwrap_or_default()
            }),
            made: Vec::new(),
            inner: None,
            unbiased: scope.unbiased,
            literals: scope.literals,
            names: &mut body.names,
            keras2: self.keras2,
            training: match call.training() {
                Ok(explicit) => Some(explicit.unwrap_or(scope.training)),
                Err(()) => None,
            },
            policy,
            mixed: &body.mixed,
        };
        let (reason, norm) = match quantized(layer) {
            Some(form) => {
                let norm = layers::is_norm(layer).then_some(CarriedNorm::CustomLayer);
                let what = Carried { quantized: true, norm };
                return Ok(body.opaque(self.text, layer, node, Some(form), what));
            }
            None => match layers::emit(&mut cx)? {
                Emitted::Value(value) => {
                    let record = CallRecord::of_emitted(&cx, value);
                    let mixed = cx.mixed_result(value);
                    body.mixed.extend(mixed.map(|dtype| (value, dtype)));
                    body.name_results(layer, node, &[value]);
                    return Ok(record);
                }
                Emitted::Opaque(reason) => (reason, None),
                Emitted::Norm(norm, reason) => (Some(reason), Some(norm)),
            },
        };
        let what = Carried { quantized: false, norm };
        Ok(body.opaque(self.text, layer, node, reason, what))
    }
}

/// Every call after those it reads; of several that could come next the first of the file.
fn order(model: &Model<'_>) -> Result<Vec<Node>, FrontendError> {
    let first: Vec<usize> = model
        .layers
        .iter()
        .scan(0, |next, l| {
            let at = *next;
            *next += l.calls.len();
            Some(at)
        })
        .collect();
    let nodes: Vec<Node> = (0..model.layers.len())
        .flat_map(|layer| {
            let calls = model.layers.get(layer).map_or(0, |l| l.calls.len());
            (0..calls).map(move |call| Node { layer, call })
        })
        .collect();
    let mut waiting = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let call = model.layers.get(node.layer).and_then(|l| l.calls.get(node.call));
        for (tensor, _) in call.map(|c| c.tensors()).unwrap_or_default() {
            let Tensor::Result { layer, call, .. } = tensor else { continue };
            let Some(producer) = model.layers.get(layer) else { continue };
            // A reference to what is not there waits for nothing; resolving it gives the error.
            let call = call.checked_sub(producer.first_call).filter(|&c| c < producer.calls.len());
            let from = call.zip(first.get(layer)).map(|(c, f)| c + f);
            if let (Some(list), Some(count)) =
                (from.and_then(|f| readers.get_mut(f)), waiting.get_mut(at))
            {
                list.push(at);
                *count += 1;
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waiting.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.extend(nodes.get(at));
        for &reader in readers.get(at).map(Vec::as_slice).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(reader) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    let stuck = waiting
        .iter()
        .zip(&nodes)
        .find(|(n, _)| **n > 0)
        .and_then(|(_, n)| model.layers.get(n.layer));
    Err(match stuck {
        Some(layer) => layer.invalid("its inputs depend on its own result: a cycle"),
        None => FrontendError::invalid(
            FORMAT,
            format!("model `{}`", model.name),
            "its layers form a cycle",
        ),
    })
}
