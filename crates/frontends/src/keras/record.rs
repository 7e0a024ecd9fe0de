//! What import made of a model, to know later what became of it.

use super::cx::LayerCx;
use indexmap::IndexMap;
use normfold_ir::{ConstData, ConstId, Graph, GraphId, OpId, Value};
use std::collections::HashMap;

/// The weights of a layer by their part (`kernel`, `bias`, …), in the order in which Keras makes them; all calls share them.
pub(super) type Weights = IndexMap<&'static str, (ConstId, Value)>;

/// A weight as a file of weights has it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Its path in the file.
    pub(super) path: String,
    /// Element type, where it is one of ours.
    pub(super) dtype: Option<normfold_ir::DType>,
    /// Extents.
    pub(super) dims: Vec<u64>,
    /// The elements; an error says why they cannot be read.
    pub(super) data: Result<ConstData, String>,
}

/// The weights of each layer, by the indices of the layers around it and its own.
pub(super) type Store = HashMap<Vec<u32>, Vec<Stored>>;

/// A model as a graph.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its graph.
    pub(super) graph: GraphId,
    /// The values of inputs without a layer.
    pub(super) inputs: Vec<Value>,
    /// Its layers.
    pub(super) layers: Vec<LayerRecord>,
}

/// What a layer became.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerRecord {
    /// Its calls; the only one of an input layer is the parameter.
    pub(super) calls: Vec<CallRecord>,
    /// Its weights.
    pub(super) weights: Weights,
    /// The model it is.
    pub(super) nested: Option<Box<Record>>,
}

/// What a call became.
#[derive(Clone, Debug, Default)]
pub(super) struct CallRecord {
    /// Its ops, constants left out, with their operands.
    pub(super) ops: Vec<(OpId, Vec<Option<Value>>)>,
    /// Its results.
    pub(super) results: Vec<Value>,
    /// What goes into the activation inside the layer.
    pub(super) inner: Option<Value>,
}

impl CallRecord {
    /// A call that is one op.
    pub(super) fn of_op(graph: &Graph, op: OpId) -> Self {
        Self {
            ops: vec![(op, graph.operands(op).collect())],
            results: graph.results(op).collect(),
            inner: None,
        }
    }

    /// What an emitter made.
    pub(super) fn of_emitted(cx: &LayerCx<'_, '_>, result: Value) -> Self {
        let operands = |&op: &OpId| (op, cx.graph.operands(op).collect());
        Self { ops: cx.made.iter().map(operands).collect(), results: vec![result], inner: cx.inner }
    }
}
