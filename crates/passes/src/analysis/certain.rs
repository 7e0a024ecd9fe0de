//! What is certain of the types of values, whatever their declarations say.

mod extents;
mod op;

use super::{Analysis, Constants, Constness};
use extents::Extent;
use normfold_ir::{Binding, ConstPool, DType, Dim, Graph, IdMap, OpId, OpKind, TensorType, Value};
use op::OpCx;
use smallvec::SmallVec;
use std::sync::Arc;

/// Extents; `None` is unknown.
pub type Extents = Arc<[Option<u64>]>;

/// What is certain of the type of a value: each part holds at every run of the graph, or is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CertainType {
    /// The element type.
    pub dtype: Option<DType>,
    /// The extents; a list is a certain rank.
    pub dims: Option<Extents>,
}

impl CertainType {
    /// The number of axes.
    pub fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(|d| d.len())
    }
}

/// The same, with open extents told apart.
#[derive(Clone, Debug, Default)]
struct Certain {
    dtype: Option<DType>,
    dims: Option<extents::Extents>,
}

impl Certain {
    fn of(ty: &TensorType) -> Self {
        let dims = ty.shape.as_ref().map(|s| s.iter().map(|d| d.known().into()).collect());
        Self { dtype: Some(ty.dtype), dims }
    }
}

/// Types that follow from the parameters of the main graph, from constants and from what ops do.
///
/// The declared type of any other value may be stale: documents carry along shapes that some exporter noted before it
/// changed the graph, and no runtime minds. So no rewrite may be legal by a declaration alone.
///
/// Shapes are computed forward, once, in time linear in the ops; where an op's rule is not known here, nothing is said.
/// Open extents are told apart: what is certainly the extent of another value has its name, and cancels in a reshape.
/// Statements are about values, so they stay true while ops are rewritten; of ops created later nothing is known.
#[derive(Debug, Default)]
pub struct CertainTypes {
    /// By slot. The id tells whether the slot still holds the op that was looked at.
    ops: Vec<Option<(OpId, SmallVec<[Certain; 1]>)>>,
    /// By number of an open extent, its name. Different ones may have the same: that they are equal is a declaration.
    names: Vec<Option<Arc<str>>>,
}

impl CertainTypes {
    fn get(&self, v: Value) -> Option<&Certain> {
        match self.ops.get(v.op.slot())? {
            Some((op, results)) if *op == v.op => results.get(v.result as usize),
            _ => None,
        }
    }

    /// What is certain of the value's type.
    pub fn of(&self, v: Value) -> CertainType {
        CertainType { dtype: self.dtype(v), dims: self.dims(v) }
    }

    /// The rank of the value.
    pub fn rank(&self, v: Value) -> Option<usize> {
        self.get(v)?.dims.as_ref().map(|d| d.len())
    }

    /// The extents of the value.
    pub fn dims(&self, v: Value) -> Option<Extents> {
        let dims = self.get(v)?.dims.as_ref()?;
        Some(dims.iter().map(|e| e.known()).collect())
    }

    /// The extents of the value, with the names that parameters declare for open ones.
    pub fn shape(&self, v: Value) -> Option<Arc<[Dim]>> {
        let dims = self.get(v)?.dims.as_ref()?;
        Some(dims.iter().map(|&e| self.dim(e)).collect())
    }

    /// Whether two axes of values certainly have the same extent.
    pub fn same_extent(&self, a: (Value, usize), b: (Value, usize)) -> bool {
        let extent = |(v, axis): (Value, usize)| self.get(v)?.dims.as_ref()?.get(axis).copied();
        extent(a).is_some_and(|e| extent(b) == Some(e))
    }

    fn dim(&self, e: Extent) -> Dim {
        match e {
            Extent::Known(n) => Dim::Known(n),
            _ => self.name(e).map_or(Dim::Unknown, |n| Dim::Named(n.clone())),
        }
    }

    /// The element type of the value.
    pub fn dtype(&self, v: Value) -> Option<DType> {
        self.get(v)?.dtype
    }

    fn name(&self, e: Extent) -> Option<&Arc<str>> {
        match e {
            Extent::Open(i) => self.names.get(i as usize)?.as_ref(),
            _ => None,
        }
    }

    /// An open extent of its own.
    fn open(&mut self, name: Option<Arc<str>>) -> Extent {
        self.names.push(name);
        Extent::Open((self.names.len() - 1) as u32)
    }

    /// Gives every extent that equals nothing a number. One that comes from extents with the same name has it too.
    fn number(&mut self, g: &Graph, op: OpId, ty: &mut Certain) {
        let numbered = |e: &Extent| matches!(e, Extent::Known(_) | Extent::Open(_));
        let Some(dims) = ty.dims.as_ref().filter(|d| !d.iter().all(numbered)) else { return };
        let mut dims = dims.to_vec();
        let parameter = match g.kind(op) {
            OpKind::Parameter(_) => g.ty(Value::new(op, 0)).tensor().and_then(|t| t.shape.clone()),
            _ => None,
        };
        for i in 0..dims.len() {
            let name = match (dims[i], &parameter) {
                (Extent::Known(_) | Extent::Open(_), _) => continue,
                (Extent::Like(n), _) => self.name(Extent::Open(n)).cloned(),
                (Extent::Unknown, Some(declared)) => match declared.get(i) {
                    Some(Dim::Named(n)) => Some(n.clone()),
                    _ => None,
                },
                (Extent::Unknown, None) => self.common_name(g, op, dims.len() - i),
            };
            dims[i] = self.open(name);
        }
        ty.dims = Some(dims.into());
    }

    /// The name of the extent that every operand of a broadcast has there, counted from the last axis.
    fn common_name(&self, g: &Graph, op: OpId, from_end: usize) -> Option<Arc<str>> {
        if !matches!(g.kind(op), OpKind::Binary(_) | OpKind::Compare(_) | OpKind::Where(_)) {
            return None;
        }
        let mut common: Option<&Arc<str>> = None;
        for v in g.operands(op) {
            let dims = self.get(v?)?.dims.as_ref()?;
            let Some(i) = dims.len().checked_sub(from_end) else { continue };
            if dims[i] == Extent::Known(1) {
                continue;
            }
            let name = self.name(dims[i])?;
            if common.is_some_and(|c| c != name) {
                return None;
            }
            common = Some(name);
        }
        common.cloned()
    }
}

impl Analysis for CertainTypes {
    fn compute(graph: &Graph, constants: &ConstPool) -> Self {
        let mut this = Self { ops: vec![None; graph.slot_bound()], names: Vec::new() };
        let known = &Constness::compute(graph, constants);
        let ranks = implied_ranks(graph);
        // Nothing is said of a graph with a cycle.
        for op in graph.topo_order().unwrap_or_default() {
            let cx = OpCx { graph, constants, types: &this, known, op };
            let mut results = cx.results();
            results.resize(graph.num_results(op), Certain::default());
            for (v, ty) in graph.results(op).zip(&mut results) {
                if let (None, Some(&rank)) = (&ty.dims, ranks.get(&v)) {
                    ty.dims = Some(vec![Extent::Unknown; rank].into());
                }
                this.number(graph, op, ty);
            }
            this.ops[op.slot()] = Some((op, results));
        }
        this
    }
}

/// The ranks that readers take for granted: a model in which they differ cannot run.
fn implied_ranks(g: &Graph) -> IdMap<Value, usize> {
    let rank = |op: OpId| {
        let rank = match g.kind(op) {
            OpKind::Conv(c) => usize::from(c.x.spatial) + 2,
            OpKind::ConvTranspose(c) => usize::from(c.x.spatial) + 2,
            OpKind::Pool(p) => usize::from(p.x.spatial) + 2,
            OpKind::Linear(l) if l.matrix => 2,
            _ => return None,
        };
        Some((g.operand(op, 0)?, rank))
    };
    g.ops().filter_map(rank).collect()
}

/// The elements of a short integer tensor that is constant for good.
pub(crate) fn fixed_ints(g: &Graph, constants: &ConstPool, v: Value) -> Option<Vec<i64>> {
    const LONGEST: u64 = 64;
    match g.kind(v.op) {
        OpKind::Constant(c)
            if c.binding == Binding::Fixed && constants.count(c.entry) <= LONGEST =>
        {
            constants.to_i64(c.entry).ok()
        }
        _ => None,
    }
}

/// Integers that an op has as an attribute or as operand `i`.
pub(crate) fn attr_or_fixed(
    g: &Graph,
    constants: &ConstPool,
    op: OpId,
    attr: Option<&Vec<i64>>,
    i: usize,
) -> Option<Vec<i64>> {
    match attr {
        Some(list) => Some(list.clone()),
        None => fixed_ints(g, constants, g.operand(op, i)?),
    }
}
