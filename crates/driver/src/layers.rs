//! The linear ops that folds changed, with the ranges of their constants before and after.

use indexmap::IndexMap;
use normfold_ir::{GraphId, Module, OpId, Remark};
use normfold_passes::{LayerRanges, RangeReader};
use std::{collections::HashMap, sync::Arc};

/// A linear op that batch norms or affine chains were folded into.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Layer {
    /// The graph.
    pub graph: Arc<str>,
    /// The op's mnemonic, as it was before.
    pub op: Arc<str>,
    /// The op's name in the source, as it was before.
    pub location: Arc<str>,
    /// The batch norms and chains that went into it, by name, in the order of their remarks.
    pub folds: Vec<Arc<str>>,
    /// Its weight and bias before the first pass.
    pub before: LayerRanges,
    /// The same after the last; `None` where the op is gone since.
    pub after: Option<LayerRanges>,
}

/// Readers of the graphs of one module, each made when it is first asked for.
struct Readers<'a> {
    module: &'a Module,
    made: HashMap<GraphId, RangeReader<'a>>,
}

impl<'a> Readers<'a> {
    fn new(module: &'a Module) -> Self {
        Self { module, made: HashMap::new() }
    }

    fn layer(&mut self, id: GraphId, op: OpId) -> Option<LayerRanges> {
        let module = self.module;
        if !module.graph(id).contains(op) {
            return None;
        }
        self.made.entry(id).or_insert_with(|| RangeReader::new(module, id)).layer(op)
    }
}

/// Every linear op that a fold among `folds` changed, in the order of the remarks.
pub(crate) fn layers<'r>(
    before: &Module,
    after: &Module,
    folds: impl Iterator<Item = &'r Remark>,
) -> Vec<Layer> {
    let mut graphs: HashMap<&str, GraphId> = HashMap::new();
    for id in before.graph_ids() {
        graphs.entry(before.graph(id).name()).or_insert(id);
    }
    let mut into: IndexMap<(GraphId, OpId), Vec<Arc<str>>> = IndexMap::new();
    for remark in folds {
        let Some(&id) = graphs.get(&*remark.graph) else { continue };
        for &op in &remark.ops {
            into.entry((id, op)).or_default().push(remark.location.clone());
        }
    }
    let (mut old, mut new) = (Readers::new(before), Readers::new(after));
    let layer = |((id, op), folds): ((GraphId, OpId), Vec<Arc<str>>)| {
        let ranges = old.layer(id, op)?;
        let g = before.graph(id);
        Some(Layer {
            graph: g.name().clone(),
            op: g.kind(op).mnemonic().into(),
            location: g.location(op),
            folds,
            before: ranges,
            after: new.layer(id, op),
        })
    };
    into.into_iter().filter_map(layer).collect()
}
