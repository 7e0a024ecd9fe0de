//! Analyses: facts about a graph, computed when asked for and kept until a pass invalidates them.

mod certain;
pub(crate) mod constants;
mod ranges;

pub use certain::{CertainType, CertainTypes, Extents};
pub(crate) use certain::{attr_or_fixed, fixed_ints};
pub use constants::{Constants, Constness, NotConstant};
pub use ranges::{ChannelRanges, LayerRanges, RangeReader};

use indexmap::IndexMap;
use normfold_ir::{ConstPool, Graph};
use std::{
    any::{Any, TypeId},
    sync::Arc,
};

/// Facts about one graph, computed without changing it.
pub trait Analysis: Send + Sync + 'static {
    /// Computes the facts.
    fn compute(graph: &Graph, constants: &ConstPool) -> Self;
}

/// The analyses that hold after a pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Preserved {
    /// Every one.
    All,
    /// These.
    Only(Vec<TypeId>),
}

impl Preserved {
    /// None of them.
    pub fn none() -> Self {
        Preserved::Only(Vec::new())
    }

    /// `A` as well.
    pub fn add<A: Analysis>(&mut self) {
        if let Preserved::Only(list) = self {
            list.push(TypeId::of::<A>());
        }
    }

    fn holds(&self, analysis: &TypeId) -> bool {
        match self {
            Preserved::All => true,
            Preserved::Only(list) => list.contains(analysis),
        }
    }
}

/// The analyses of one graph.
#[derive(Default)]
pub(crate) struct AnalysisCache {
    known: IndexMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl AnalysisCache {
    pub(crate) fn get<A: Analysis>(&mut self, graph: &Graph, constants: &ConstPool) -> Arc<A> {
        if let Some(found) = self.known.get(&TypeId::of::<A>())
            && let Ok(a) = found.clone().downcast()
        {
            return a;
        }
        let computed = Arc::new(A::compute(graph, constants));
        self.known.insert(TypeId::of::<A>(), computed.clone());
        computed
    }

    pub(crate) fn keep(&mut self, preserved: &Preserved) {
        self.known.retain(|id, _| preserved.holds(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::GraphRole;
    use std::sync::atomic::{AtomicU32, Ordering};

    static COMPUTED: AtomicU32 = AtomicU32::new(0);

    struct Counted;
    impl Analysis for Counted {
        fn compute(_: &Graph, _: &ConstPool) -> Self {
            COMPUTED.fetch_add(1, Ordering::Relaxed);
            Counted
        }
    }

    #[test]
    fn kept_while_preserved() {
        let (g, pool) = (Graph::new("g", GraphRole::Main), ConstPool::default());
        let mut cache = AnalysisCache::default();
        cache.get::<Counted>(&g, &pool);
        cache.keep(&Preserved::All);
        cache.get::<Counted>(&g, &pool);
        let mut preserved = Preserved::none();
        preserved.add::<Counted>();
        cache.keep(&preserved);
        cache.get::<Counted>(&g, &pool);
        assert_eq!(COMPUTED.load(Ordering::Relaxed), 1);
        cache.keep(&Preserved::none());
        cache.get::<Counted>(&g, &pool);
        assert_eq!(COMPUTED.load(Ordering::Relaxed), 2);
    }
}
