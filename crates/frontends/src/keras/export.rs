//! What became of each layer, and of what each call reads: the module compared with what was imported.
//!
//! The architecture has no place for new layers. What a pass did must amount to layers that are gone, calls that read
//! another tensor, weights with other elements, and biases; everything else is an error that names the layer.

use super::{
    layers,
    model::{Layer, Model, Tensor},
    record::{CallRecord, LayerRecord, Record},
};
use crate::FrontendError;
use normfold_ir::{ConstId, ConstPool, Graph, Module, OpId, OpKind, Value};
use std::collections::{BTreeMap, HashMap};

/// What became of a model.
#[derive(Debug, Default)]
pub(super) struct ModelChange {
    /// Its layers.
    pub(super) layers: Vec<LayerChange>,
    /// Its outputs.
    pub(super) outputs: Vec<Tensor>,
}

/// What became of a layer.
#[derive(Debug, Default)]
pub(super) struct LayerChange {
    /// Whether it goes.
    pub(super) gone: bool,
    /// Its calls; `None` for those that go.
    pub(super) calls: Vec<Option<CallChange>>,
    /// Whether the activation inside it goes.
    pub(super) linear: bool,
    /// Weights with other elements, by number.
    pub(super) weights: Vec<(usize, ConstId)>,
    /// The bias that it gets, as its last weight.
    pub(super) bias: Option<ConstId>,
    /// What became of the model it is.
    pub(super) nested: Option<Box<ModelChange>>,
}

/// What a call reads now in place of what it read, where that is another tensor.
pub(super) type CallChange = BTreeMap<Tensor, Tensor>;

impl ModelChange {
    /// Whether nothing changed.
    pub(super) fn is_empty(&self, model: &Model<'_>) -> bool {
        let outputs = model.outputs.iter().map(|(_, t)| t).eq(&self.outputs);
        outputs && self.layers.iter().zip(&model.layers).all(|(c, l)| c.is_empty(l))
    }

    /// Number of a call in the changed model, as references give it.
    pub(super) fn call(&self, model: &Model<'_>, layer: usize, call: usize) -> usize {
        let first = model.layers.get(layer).map_or(0, |l| l.first_call);
        let before = call.saturating_sub(first);
        let calls = self.layers.get(layer).map(|l| l.calls.as_slice()).unwrap_or_default();
        first + calls.iter().take(before).filter(|c| c.is_some()).count()
    }
}

impl LayerChange {
    fn is_empty(&self, layer: &Layer<'_>) -> bool {
        let Self { gone, calls, linear, weights, bias, nested } = self;
        let nested = match (nested, &layer.nested) {
            (Some(change), Some(model)) => change.is_empty(model),
            _ => true,
        };
        let calls = calls.iter().all(|c| c.as_ref().is_some_and(BTreeMap::is_empty));
        !gone && calls && !linear && weights.is_empty() && bias.is_none() && nested
    }
}

/// Compares a model with its graph.
///
/// # Errors
/// The graph has become what the architecture cannot say.
pub(super) fn export(
    module: &Module,
    model: &Model<'_>,
    record: &Record,
) -> Result<ModelChange, FrontendError> {
    let graph = module.graph(record.graph);
    let mut change = Export::new(&module.constants, graph, model, record).run()?;
    for ((change, layer), record) in change.layers.iter_mut().zip(&model.layers).zip(&record.layers)
    {
        if let (false, Some(nested), Some(record)) = (change.gone, &layer.nested, &record.nested) {
            change.nested = Some(Box::new(export(module, nested, record)?));
        }
    }
    Ok(change)
}

fn inexpressible(layer: &Layer<'_>, why: impl Into<String>) -> FrontendError {
    FrontendError::NotExpressible { op: layer.place.clone(), why: why.into() }
}

/// The operand of a linear op that is its bias.
const BIAS: usize = 2;
/// Casts of what a layer reads: two that round, and that to its own type.
const MOST_CASTS: usize = 3;

struct Export<'e, 'a> {
    pool: &'e ConstPool,
    graph: &'e Graph,
    model: &'e Model<'a>,
    record: &'e Record,
    /// The tensor that each value is, or was.
    tensors: HashMap<Value, Tensor>,
    /// Values that go into the activation inside a layer.
    inner: HashMap<Value, Tensor>,
    /// What is read in place of tensors, wherever that was seen.
    replaced: HashMap<Tensor, Tensor>,
    /// Layers whose activation is passed by.
    linear: Vec<bool>,
}

impl<'e, 'a> Export<'e, 'a> {
    fn new(
        pool: &'e ConstPool,
        graph: &'e Graph,
        model: &'e Model<'a>,
        record: &'e Record,
    ) -> Self {
        let mut tensors = HashMap::new();
        let mut inner = HashMap::new();
        for (i, &v) in record.inputs.iter().enumerate() {
            tensors.entry(v).or_insert(Tensor::Input(i));
        }
        for (layer, (r, l)) in record.layers.iter().zip(&model.layers).enumerate() {
            for (call, c) in r.calls.iter().enumerate() {
                let tensor = |result| Tensor::Result { layer, call: call + l.first_call, result };
                for (result, &v) in c.results.iter().enumerate() {
                    tensors.entry(v).or_insert(tensor(result));
                }
                inner.extend(c.inner.map(|v| (v, tensor(0))));
            }
        }
        let linear = vec![false; model.layers.len()];
        Self { pool, graph, model, record, tensors, inner, replaced: HashMap::new(), linear }
    }

    fn run(mut self) -> Result<ModelChange, FrontendError> {
        let (model, record) = (self.model, self.record);
        let mut layers = Vec::with_capacity(model.layers.len());
        for (layer, record) in model.layers.iter().zip(&record.layers) {
            layers.push(self.layer(layer, record)?);
        }
        let mut outputs = Vec::with_capacity(model.outputs.len());
        let returned = self.graph.return_op();
        for (i, (_, old)) in model.outputs.iter().enumerate() {
            let v = returned.and_then(|r| self.graph.operand(r, i));
            let now = match v {
                Some(v) if self.tensors.get(&v) == Some(old) || self.value(*old) == Some(v) => *old,
                Some(v) => self.tensor(v).ok_or_else(|| self.no_layer(v))?,
                None => *old,
            };
            if now != *old {
                self.replaced.entry(*old).or_insert(now);
            }
            outputs.push(now);
        }
        for (change, linear) in layers.iter_mut().zip(&self.linear) {
            change.linear = *linear;
        }
        self.mentions(&mut layers, &outputs)?;
        Ok(ModelChange { layers, outputs })
    }

    /// Every tensor that a call mentions has to be there, those that only stand in its arguments included: a mask, which no op
    /// reads. What made it stays then, though nothing that is understood depends on it.
    fn mentions(
        &self,
        layers: &mut [LayerChange],
        outputs: &[Tensor],
    ) -> Result<(), FrontendError> {
        let first = |layer: usize| self.model.layers.get(layer).map_or(0, |l| l.first_call);
        let is_there = |layers: &[LayerChange], t: Tensor| match t {
            Tensor::Input(_) => true,
            Tensor::Result { layer, call, .. } => {
                let call = call.checked_sub(first(layer));
                let calls = layers.get(layer).map(|l| l.calls.as_slice()).unwrap_or_default();
                call.and_then(|c| calls.get(c)).is_some_and(Option::is_some)
            }
        };
        let mut pending: Vec<(usize, usize)> = Vec::new();
        for (layer, change) in layers.iter().enumerate() {
            let calls = change.calls.iter().enumerate().filter(|(_, c)| c.is_some());
            pending.extend(calls.map(|(call, _)| (layer, call)));
        }
        while let Some((at, number)) = pending.pop() {
            let Some(layer) = self.model.layers.get(at) else { continue };
            let Some(call) = layer.calls.get(number) else { continue };
            for (tensor, _) in call.tensors() {
                let Some(Some(change)) = layers.get(at).and_then(|l| l.calls.get(number)) else {
                    continue;
                };
                let mut end = *change.get(&tensor).unwrap_or(&tensor);
                let mut steps = 0;
                while let (false, Some(&next), true) = (
                    is_there(layers, end),
                    self.replaced.get(&end),
                    steps < self.model.layers.len(),
                ) {
                    (end, steps) = (next, steps + 1);
                }
                if !is_there(layers, end) {
                    pending.extend(self.restored(layers, layer, end)?);
                }
                if let (true, Some(Some(change))) =
                    (end != tensor, layers.get_mut(at).and_then(|l| l.calls.get_mut(number)))
                {
                    change.insert(tensor, end);
                }
            }
        }
        if outputs.iter().all(|t| is_there(layers, *t)) {
            return Ok(());
        }
        let (op, why) = (self.model.name.to_owned(), "an output is gone".to_owned());
        Err(FrontendError::NotExpressible { op, why })
    }

    /// Takes back that a call is gone, unless its result was put elsewhere.
    fn restored(
        &self,
        layers: &mut [LayerChange],
        reader: &Layer<'a>,
        tensor: Tensor,
    ) -> Result<Option<(usize, usize)>, FrontendError> {
        let Tensor::Result { layer, call, .. } = tensor else { return Ok(None) };
        let made = self.model.layers.get(layer);
        if made.is_none_or(|l| layers::is_norm(l) || l.nested.is_some()) {
            return Err(inexpressible(reader, "it mentions a layer that is gone"));
        }
        let number = call - made.map_or(0, |l| l.first_call).min(call);
        let Some(change) = layers.get_mut(layer) else { return Ok(None) };
        change.gone = false;
        if let Some(call) = change.calls.get_mut(number) {
            *call = Some(CallChange::new());
        }
        Ok(Some((layer, number)))
    }

    fn value(&self, tensor: Tensor) -> Option<Value> {
        match tensor {
            Tensor::Input(i) => self.record.inputs.get(i).copied(),
            Tensor::Result { layer, call, result } => {
                let first = self.model.layers.get(layer)?.first_call;
                let call = self.record.layers.get(layer)?.calls.get(call.checked_sub(first)?)?;
                call.results.get(result).copied()
            }
        }
    }

    /// The tensor that a value is. What goes into an activation is one when that activation goes.
    fn tensor(&mut self, v: Value) -> Option<Tensor> {
        let mut v = v;
        loop {
            if let Some(&t) = self.tensors.get(&v) {
                return Some(t);
            }
            if let Some(&t) = self.inner.get(&v) {
                // Its own activation must be gone.
                if self.value(t).is_some_and(|out| self.graph.contains(out.op)) {
                    return None;
                }
                if let Tensor::Result { layer, .. } = t
                    && let Some(linear) = self.linear.get_mut(layer)
                {
                    *linear = true;
                }
                return Some(t);
            }
            // Layers cast what they read without saying so.
            match self.graph.kind(v.op) {
                OpKind::Cast(_) => v = self.graph.operand(v.op, 0)?,
                _ => return None,
            }
        }
    }

    fn no_layer(&self, v: Value) -> FrontendError {
        let op = self.graph.location(v.op).to_string();
        let why = format!("no layer stands for this {}", self.graph.kind(v.op).mnemonic());
        FrontendError::NotExpressible { op, why }
    }

    fn layer(
        &mut self,
        layer: &Layer<'a>,
        record: &LayerRecord,
    ) -> Result<LayerChange, FrontendError> {
        let mut change = LayerChange::default();
        let mut weights: HashMap<usize, ConstId> = HashMap::new();
        let mut biases: Option<Option<ConstId>> = None;
        for call in &record.calls {
            // Its last op decides: what made the result, or goes into an activation that is gone.
            let made = |v: Value| call.ops.iter().any(|(op, _)| *op == v.op);
            let there = |v: Value| !made(v) || self.graph.contains(v.op);
            let stays = call.results.iter().copied().all(there)
                || call.inner.is_some_and(|v| self.graph.contains(v.op));
            if !stays {
                change.calls.push(None);
                continue;
            }
            let mut reads = CallChange::new();
            for (op, operands) in &call.ops {
                if self.graph.contains(*op) {
                    self.op(layer, record, call, (*op, operands), &mut reads, &mut weights)?;
                }
            }
            reads.retain(|old, now| old != now);
            for (old, now) in &reads {
                self.replaced.entry(*old).or_insert(*now);
            }
            let bias = self.bias(layer, record, call)?;
            match biases {
                Some(other) if !self.same_bias(other, bias) => {
                    return Err(inexpressible(layer, "its calls would need different biases"));
                }
                _ => biases = Some(bias),
            }
            change.calls.push(Some(reads));
        }
        // A layer without a call is an input that is there, or was never read.
        change.gone = !change.calls.is_empty() && change.calls.iter().all(Option::is_none);
        if change.gone {
            return Ok(change);
        }
        for (number, (_, (entry, _))) in record.weights.iter().enumerate() {
            match weights.remove(&number) {
                Some(now) if now != *entry => {
                    if self.pool.ty(now) != self.pool.ty(*entry) {
                        return Err(inexpressible(layer, "a weight of another type"));
                    }
                    change.weights.push((number, now));
                }
                _ => {}
            }
        }
        change.bias = biases.flatten();
        if let (Some(bias), Some((_, (kernel, _)))) = (change.bias, record.weights.first())
            && (self.pool.dtype(bias) != self.pool.dtype(*kernel)
                || self.pool.dims(bias).len() != 1)
        {
            return Err(inexpressible(layer, "a bias of another type than its kernel"));
        }
        Ok(change)
    }

    /// One op of a call that stays: what its operands are now.
    fn op(
        &mut self,
        layer: &Layer<'a>,
        record: &LayerRecord,
        call: &CallRecord,
        (op, before): (OpId, &[Option<Value>]),
        reads: &mut CallChange,
        weights: &mut HashMap<usize, ConstId>,
    ) -> Result<(), FrontendError> {
        let graph = self.graph;
        if graph.is_modified(op) {
            return Err(inexpressible(layer, "the layer would do something else"));
        }
        for slot in 0..before.len().max(graph.num_operands(op)) {
            let old = before.get(slot).copied().flatten();
            let now = graph.operand(op, slot);
            let weight = old.and_then(|v| record.weights.values().position(|(_, w)| *w == v));
            match (old, now, weight) {
                (Some(_), Some(now), Some(number)) => {
                    self.weight(layer, number, now, weights)?;
                }
                (None, None, _) => {}
                (Some(old), Some(now), None) if old == now => self.same(layer, call, old, reads)?,
                (Some(old), Some(now), None) => {
                    let old = self.before(call, old);
                    let old = old.ok_or_else(|| inexpressible(layer, "another constant"))?;
                    let now = self.tensor(now).ok_or_else(|| self.no_layer(now))?;
                    self.note(layer, old, now, reads)?;
                }
                (None, Some(_), _) if slot == BIAS && self.last(call) == Some(op) => {}
                _ => return Err(inexpressible(layer, "another number of operands")),
            }
        }
        Ok(())
    }

    /// An operand that is what it was. A cast before it may read something else, which its own op tells.
    fn same(
        &mut self,
        layer: &Layer<'a>,
        call: &CallRecord,
        old: Value,
        reads: &mut CallChange,
    ) -> Result<(), FrontendError> {
        match self.tensors.get(&old).copied() {
            Some(tensor) if !call.results.contains(&old) => self.note(layer, tensor, tensor, reads),
            _ => Ok(()),
        }
    }

    /// The tensor that an operand was, casts of the call itself aside.
    fn before(&self, call: &CallRecord, v: Value) -> Option<Tensor> {
        let mut v = v;
        // What a layer reads may be rounded before it is cast.
        for _ in 0..=MOST_CASTS {
            if let Some(&t) = self.tensors.get(&v) {
                return Some(t);
            }
            let (_, operands) = call.ops.iter().find(|(op, _)| *op == v.op)?;
            let [Some(x)] = operands.as_slice() else { return None };
            v = *x;
        }
        None
    }

    /// A call says once what it reads in place of a tensor.
    fn note(
        &self,
        layer: &Layer<'a>,
        old: Tensor,
        now: Tensor,
        reads: &mut CallChange,
    ) -> Result<(), FrontendError> {
        let known = reads.get(&old).copied();
        if known.is_some_and(|k| k != now) {
            return Err(inexpressible(layer, "it would read two tensors in place of one"));
        }
        reads.insert(old, now);
        Ok(())
    }

    fn weight(
        &self,
        layer: &Layer<'a>,
        number: usize,
        now: Value,
        weights: &mut HashMap<usize, ConstId>,
    ) -> Result<(), FrontendError> {
        let OpKind::Constant(c) = self.graph.kind(now.op) else {
            return Err(inexpressible(layer, "a weight that is not a constant"));
        };
        match weights.insert(number, c.entry) {
            Some(other) if other != c.entry && !self.equal(other, c.entry) => {
                Err(inexpressible(layer, "its calls would need different weights"))
            }
            _ => Ok(()),
        }
    }

    /// The op of a call that can have a bias: the last linear one.
    fn last(&self, call: &CallRecord) -> Option<OpId> {
        let linear = |op: &OpId| {
            let kind = self.graph.contains(*op).then(|| self.graph.kind(*op));
            matches!(kind, Some(OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_)))
        };
        call.ops.iter().map(|(op, _)| *op).rev().find(linear)
    }

    /// The bias that a call has got.
    fn bias(
        &self,
        layer: &Layer<'a>,
        record: &LayerRecord,
        call: &CallRecord,
    ) -> Result<Option<ConstId>, FrontendError> {
        let operand = self.last(call).and_then(|op| self.graph.operand(op, BIAS));
        let Some(v) = operand else { return Ok(None) };
        if record.weights.values().any(|(_, w)| *w == v) {
            return Ok(None);
        }
        let had = call.ops.iter().find(|(op, _)| Some(*op) == self.last(call));
        if had.is_some_and(|(_, before)| before.get(BIAS).is_some_and(Option::is_some)) {
            // The old bias under another constant: a weight with other elements.
            return Ok(None);
        }
        match self.graph.kind(v.op) {
            OpKind::Constant(c) => Ok(Some(c.entry)),
            _ => Err(inexpressible(layer, "a bias that is not a constant")),
        }
    }

    fn same_bias(&self, a: Option<ConstId>, b: Option<ConstId>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => a == b || self.equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    fn equal(&self, a: ConstId, b: ConstId) -> bool {
        match (self.pool.to_f64(a), self.pool.to_f64(b)) {
            (Ok(x), Ok(y)) => x == y && self.pool.ty(a) == self.pool.ty(b),
            _ => false,
        }
    }
}
