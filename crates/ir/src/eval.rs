//! The evaluator: small, naive, and the definition of what every known op computes.
//!
//! Each op is defined once, as "element `i` of a result given elements of the operands", straight from the ONNX operator
//! specification and the definitions of the Keras layers. It knows nothing of [`crate::ChannelMap`]: it is the judge of
//! what is built on that. Two drivers use the definitions:
//!
//! - [`Evaluator::element`] computes one element and just what that needs, recursing into operands;
//! - [`Evaluator::tensor`] computes a whole value, every operand whole first and once, at any depth.
//!
//! # Numbers
//! - **Floats** of every type are computed in f64. Constants have their stored values; a `cast` (and `quantize`) rounds
//!   to its target, a `cast` to a type that holds every number of the operand's changes nothing; nothing else rounds to the
//!   element type. Transcendental functions are those of `libm`, so every machine gives the same bits. Sums run in index
//!   order.
//! - **Integers** are exact. A result wraps to the width of its element type (two's complement), as in the frameworks.
//!   u64 values are limited to 2^63 − 1: a larger one is an error. Division truncates; division by zero is an error.
//! - **Booleans** are 0 and 1.
//! - **Casts**: float to float rounds to nearest, ties to even, overflowing to infinity (f32, f16, bf16) or saturating to
//!   the largest finite value (8- and 4-bit floats); float to integer truncates towards zero and saturates, NaN gives 0
//!   (ONNX leaves both undefined); integer to integer wraps; anything but zero is true. Quantization rounds to nearest,
//!   ties to even, and saturates.
//! - Strings and complex numbers have shapes but no elements here.
//!
//! # Shapes
//! Extents are computed from bindings and constants, never taken from declared types. Declared *element types* are
//! believed where a value is read for its type only, and for a `quantize` without a zero point.
//!
//! Constants have the value of the pool even where a caller could replace them at run time; bind them to say otherwise.
//! Control flow, calls and opaque ops are [`EvalError::Unsupported`]; bind their results to go on behind them.
//!
//! ```
//! use normfold_ir::{BinaryKind, DType, Graph, GraphRole, Module, OpSpec, Parameter, Scalar, TensorType};
//! use normfold_ir::{Evaluator, Tensor, eval::Binding};
//!
//! let module = Module::new("example");
//! let mut g = Graph::new("main", GraphRole::Main);
//! let ty = TensorType::of(DType::F32, &[2]);
//! let x = g.create(OpSpec::new(Parameter::default()).named_result("x", ty.clone()));
//! let x = g.result(x, 0);
//! let y = g.create(OpSpec::new(BinaryKind::Mul).operand(x).operand(x).named_result("y", ty));
//! let y = g.result(y, 0);
//!
//! let mut ev = Evaluator::new(&g, &module.constants);
//! ev.bind(x, Binding::Tensor(Tensor::floats(DType::F32, &[2], vec![3.0, -2.0])));
//! assert_eq!(ev.element(y, &[1])?, Scalar::F(4.0));
//! assert_eq!(ev.tensor(y)?.to_f64s(), [9.0, 4.0]);
//! # Ok::<(), normfold_ir::EvalError>(())
//! ```

mod cast;
mod conv;
mod elementwise;
mod error;
mod index;
mod linear;
mod node;
mod ops;
mod pad;
mod pool;
mod quant;
mod reader;
mod reduce;
mod resize;
mod shape;
mod slice;
mod source;
mod table;
mod value;
mod window;

pub use error::EvalError;
pub use value::{Binding, Counted, ElementFn, Scalar, Tally, Tensor};

use crate::{ConstId, ConstPool, DType, Graph, OpId, OpKind, Value};
use index::Dims;
use node::{Node, NodeId, Planned, Site, Source};
use reader::{Reader, Request};
use smallvec::{SmallVec, smallvec};
use source::{Lazy, Stored};
use std::{collections::HashMap, fmt, rc::Rc, sync::Arc};
use table::Table;

/// How many ops deep [`Evaluator::element`] recurses.
pub const MAX_DEPTH: u32 = 256;

/// Constants up to this many elements are decoded once when a whole tensor is computed from them.
const DECODE_WHOLE: u64 = 1 << 20;

/// Values that most requests plan: room for them is made at once. For many more it would come from a slower part of the
/// allocator.
const FEW: usize = 9;

/// What planning a value counts for, in reads of elements.
const PLANNING: u64 = 8;

enum Known {
    /// Being planned: met again, it is a cycle.
    Open,
    Node(NodeId),
    /// Bound, with more elements than can be counted.
    TooLarge,
}

/// Computes values of one graph. See the [module](self) documentation.
///
/// What was computed is kept until the next [`Evaluator::bind`]. Creating one costs nothing, whatever the graph's size.
pub struct Evaluator<'a> {
    graph: &'a Graph,
    pool: &'a ConstPool,
    captured: Option<&'a HashMap<OpId, ConstId>>,
    known: Table<Known>,
    nodes: Vec<Node<'a>>,
    /// So many, the first of `known` and of `nodes`, are bound. The others are planned.
    bound: usize,
    held: u64,
    limit: u64,
    work_limit: u64,
    /// What is left of the module's budget when requests are refused; `None` where none is.
    reserve: Option<u64>,
    request: Request<'a>,
    rounded: bool,
}

impl fmt::Debug for Evaluator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("graph", self.graph.name())
            .field("bound", &self.bound)
            .field("planned", &(self.nodes.len() - self.bound))
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl<'a> Evaluator<'a> {
    /// An evaluator of `graph`, whose constants are in `constants`.
    pub fn new(graph: &'a Graph, constants: &'a ConstPool) -> Self {
        Self {
            graph,
            pool: constants,
            captured: None,
            known: Table::with_capacity(FEW),
            nodes: Vec::with_capacity(FEW),
            bound: 0,
            held: 0,
            limit: 1 << 26,
            work_limit: 1 << 26,
            reserve: Some(0),
            request: Request::new(),
            rounded: false,
        }
    }

    /// How many elements whole tensors may hold together (8 bytes each). Default 2^26.
    pub fn with_limit(mut self, elements: u64) -> Self {
        self.limit = elements;
        self
    }

    /// How many elements one request may read. Default 2^26. All evaluators of a module have a budget together besides, which
    /// the pool of its constants keeps ([`ConstPool::evaluation_left`]).
    pub fn with_work_limit(mut self, reads: u64) -> Self {
        self.work_limit = reads;
        self
    }

    /// Leaves so many reads of the module's budget to others.
    pub fn with_reserve(mut self, reads: u64) -> Self {
        self.reserve = Some(reads);
        self
    }

    /// Is not refused anything where the module's budget is used up: for what must be known once it is begun.
    pub fn beyond_budget(mut self) -> Self {
        self.reserve = None;
        self
    }

    /// An evaluator of the same graph, within the same limits, with nothing bound.
    pub fn unbound(&self) -> Self {
        Self {
            captured: self.captured,
            limit: self.limit,
            work_limit: self.work_limit,
            reserve: self.reserve,
            rounded: self.rounded,
            ..Self::new(self.graph, self.pool)
        }
    }

    /// Has that tally count the reads of what is bound to be counted. Call it before that is bound; what the function of a
    /// binding counts itself, it has to count here too.
    pub fn with_tally(mut self, tally: &'a Tally) -> Self {
        self.request.tally = Some(tally);
        self
    }

    /// Gives those parameters of a body that capture constants of the graphs around it their elements, where nothing else is
    /// bound to them.
    pub fn with_captured(mut self, constants: &'a HashMap<OpId, ConstId>) -> Self {
        self.captured = Some(constants);
        self
    }

    /// Rounds every result to its element type, as an engine that stores them does. Without this, floats are f64 until a
    /// cast.
    pub fn rounded(mut self) -> Self {
        self.rounded = true;
        self
    }

    /// Gives a value its elements. Evaluation stops there, so what defines the value need not be known. A second binding
    /// replaces the first. Everything computed so far is dropped.
    pub fn bind(&mut self, v: Value, b: Binding<'a>) {
        let (dtype, dims, source) = match b {
            Binding::Tensor(t) => {
                (t.dtype(), Dims::from_slice(t.dims()), Source::Tensor(Arc::new(t)))
            }
            Binding::Lazy { dtype, dims, f } => {
                let source = Source::Lazy(Rc::new(Lazy::new(f, &dims)));
                (dtype, Dims::from_vec(dims), source)
            }
            Binding::Sample { dtype, dims, seed } => {
                (dtype, Dims::from_vec(dims), Source::Sample(seed))
            }
            Binding::Stored { entry, counted } => {
                let stored = Stored::new(v, entry, self.request.tally.filter(|_| counted));
                (self.pool.dtype(entry), self.extents(entry), Source::Const(stored))
            }
        };
        self.known.truncate(self.bound);
        self.nodes.truncate(self.bound);
        self.request.forget();
        self.held = 0;
        let count = index::count(&dims);
        let node = Node { dtype, dims, count: count.unwrap_or(u64::MAX), source };
        let at = match self.known.position(v) {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.bound += 1;
                self.bound - 1
            }
        };
        self.known.insert(v, count.map_or(Known::TooLarge, |_| Known::Node(NodeId(at as u32))));
    }

    /// The extents of a value.
    ///
    /// # Errors
    /// They depend on a parameter that is not bound, on an op that is not evaluated, on absent elements, or contradict
    /// each other.
    pub fn dims(&mut self, v: Value) -> Result<Vec<u64>, EvalError> {
        let n = self.plan(v)?;
        Ok(self.node(n).dims.to_vec())
    }

    /// The element type of a value.
    ///
    /// # Errors
    /// As [`Evaluator::dims`].
    pub fn dtype(&mut self, v: Value) -> Result<DType, EvalError> {
        let n = self.plan(v)?;
        Ok(self.node(n).dtype)
    }

    /// The element at `index`, one position per axis.
    ///
    /// # Errors
    /// As [`Evaluator::dims`]; also when the index lies outside, when an integer operation has no result, and when the
    /// element depends on too long a chain of ops or on too many elements.
    pub fn element(&mut self, v: Value, index: &[u64]) -> Result<Scalar, EvalError> {
        let n = self.plan(v)?;
        let node = self.node(n);
        if index.len() != node.dims.len() {
            return Err(EvalError::Shape {
                op: self.op_label(v.op),
                message: format!("{} positions, rank {}", index.len(), node.dims.len()).into(),
            });
        }
        if let Some((&i, &extent)) = index.iter().zip(&node.dims).find(|(i, d)| i >= d) {
            let index = i64::try_from(i).unwrap_or(i64::MAX);
            return Err(EvalError::Index { op: self.op_label(v.op), index, extent });
        }
        let linear = index.iter().zip(&node.dims).fold(0, |at, (i, d)| at * d + i);
        self.numeric(n)?;
        self.begin(false)?;
        let element = self.reader().get(n, linear);
        self.pool.spend_evaluation(self.request.spent());
        element
    }

    /// The whole value. What it is computed from is computed whole first, and kept.
    ///
    /// # Errors
    /// As [`Evaluator::element`]; also when more elements would be held than [`Evaluator::with_limit`] says.
    pub fn tensor(&mut self, v: Value) -> Result<Arc<Tensor>, EvalError> {
        let n = self.plan(v)?;
        self.whole(n)
    }

    fn node(&self, n: NodeId) -> &Node<'a> {
        &self.nodes[n.0 as usize]
    }

    /// Begins a request.
    fn begin(&self, whole: bool) -> Result<(), EvalError> {
        let limit = match self.reserve {
            Some(reserve) => self.work_limit.min(self.left(reserve)?),
            None => self.work_limit,
        };
        self.request.begin(limit, whole);
        Ok(())
    }

    /// What is left of the module's budget beyond a reserve.
    fn left(&self, reserve: u64) -> Result<u64, EvalError> {
        match self.pool.evaluation_left().saturating_sub(reserve) {
            0 => Err(EvalError::Exhausted),
            left => Ok(left),
        }
    }

    fn reader(&self) -> Reader<'_, 'a> {
        Reader {
            nodes: &self.nodes,
            graph: self.graph,
            pool: self.pool,
            request: &self.request,
            depth: MAX_DEPTH,
            rounded: self.rounded,
        }
    }

    fn numeric(&self, n: NodeId) -> Result<(), EvalError> {
        match self.node(n).dtype {
            d @ (DType::Str | DType::C64 | DType::C128) => Err(EvalError::NotNumeric(d)),
            _ => Ok(()),
        }
    }

    /// What messages call an op.
    fn op_label(&self, op: OpId) -> Arc<str> {
        op_label(self.graph, op)
    }

    /// Resolves a value and all it depends on: extents, element type, attributes. No recursion.
    fn plan(&mut self, v: Value) -> Result<NodeId, EvalError> {
        if let Some(&Known::Node(n)) = self.known.get(v) {
            return Ok(n);
        }
        if let Some(reserve) = self.reserve {
            self.left(reserve)?;
        }
        let planned = self.nodes.len();
        let mut stack: SmallVec<[Value; FEW]> = smallvec![v];
        while let Some(&v) = stack.last() {
            if let Err(e) = self.step(v, &mut stack) {
                self.known.retain(|_, known| !matches!(known, Known::Open));
                self.pool.spend_evaluation((self.nodes.len() - planned) as u64 * PLANNING);
                return Err(e);
            }
        }
        self.pool.spend_evaluation((self.nodes.len() - planned) as u64 * PLANNING);
        match self.known.get(v) {
            Some(&Known::Node(n)) => Ok(n),
            _ => Err(EvalError::Cycle(self.op_label(v.op))),
        }
    }

    /// Resolves the last of the stack, or puts the operands there that must be resolved before.
    fn step(&mut self, v: Value, stack: &mut SmallVec<[Value; FEW]>) -> Result<(), EvalError> {
        match self.known.get(v) {
            Some(Known::Node(_)) => {
                stack.pop();
                return Ok(());
            }
            Some(Known::TooLarge) => return Err(self.too_large()),
            Some(Known::Open) | None => {}
        }
        if self.open(v)?.is_some() {
            stack.pop();
            return Ok(());
        }
        let graph = self.graph;
        let kind = graph.kind(v.op);
        let from = stack.len();
        let list = graph.operands(v.op);
        let mut operands = SmallVec::with_capacity(list.len());
        for (slot, o) in list.enumerate() {
            let Some(o) = o.filter(|&o| self.reads(kind, slot, o)) else {
                operands.push(None);
                continue;
            };
            match self.known.get(o) {
                Some(&Known::Node(n)) => operands.push(Some(n)),
                Some(Known::Open) => return Err(EvalError::Cycle(self.op_label(o.op))),
                Some(Known::TooLarge) => return Err(self.too_large()),
                // What cannot be known is said in its turn.
                None => match self.open(o) {
                    Ok(Some(n)) => operands.push(Some(n)),
                    _ => stack.push(o),
                },
            }
        }
        if stack.len() > from {
            self.known.insert(v, Known::Open);
            // The first is resolved first.
            stack[from..].reverse();
            return Ok(());
        }
        stack.pop();
        let mut site = Site { op: v.op, result: v.result as usize, operands, ev: self };
        let Planned { dtype, dims, source } = ops::plan(&mut site)?;
        let n = self.add(dtype, dims, source)?;
        self.known.insert(v, Known::Node(n));
        Ok(())
    }

    /// Resolves a value that depends on no other and is not known yet. `None` when its op must be planned.
    fn open(&mut self, v: Value) -> Result<Option<NodeId>, EvalError> {
        let entry = match self.graph.kind(v.op) {
            OpKind::Parameter(_) => match self.captured.and_then(|c| c.get(&v.op)) {
                Some(&entry) => entry,
                None => return Err(EvalError::Unbound(label(self.graph, v))),
            },
            OpKind::Constant(c) => c.entry,
            _ => return Ok(None),
        };
        let source = Source::Const(Stored::new(v, entry, None));
        let n = self.add(self.pool.dtype(entry), self.extents(entry), source)?;
        self.known.push(v, Known::Node(n));
        Ok(Some(n))
    }

    fn extents(&self, entry: ConstId) -> Dims {
        let shape = self.pool.ty(entry).shape.as_deref().unwrap_or_default();
        shape.iter().map(|d| d.known().unwrap_or(0)).collect()
    }

    /// Whether operand `slot` of an op of that kind, `v`, must be planned.
    fn reads(&self, kind: &OpKind, slot: usize, v: Value) -> bool {
        match kind {
            OpKind::Dropout(_) => slot == 0,
            OpKind::CastLike(_) => slot == 0 || self.graph.ty(v).dtype().is_none(),
            OpKind::Resize(r) => slot != 1 || &*r.coordinates == "tf_crop_and_resize",
            _ => true,
        }
    }

    /// Said of what has more elements than can be counted.
    fn too_large(&self) -> EvalError {
        EvalError::TooLarge { elements: u64::MAX, limit: self.limit }
    }

    fn add(&mut self, dtype: DType, dims: Dims, source: Source<'a>) -> Result<NodeId, EvalError> {
        let Some(count) = index::count(&dims) else {
            return Err(self.too_large());
        };
        let n = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { dtype, dims, count, source });
        Ok(n)
    }

    /// A planned value as a whole tensor, its operands first. No recursion.
    fn whole(&mut self, n: NodeId) -> Result<Arc<Tensor>, EvalError> {
        self.begin(true)?;
        let tensor = self.whole_within(n);
        self.pool.spend_evaluation(self.request.spent());
        tensor
    }

    fn whole_within(&mut self, n: NodeId) -> Result<Arc<Tensor>, EvalError> {
        let mut stack = vec![(n, false)];
        while let Some((m, operands_done)) = stack.pop() {
            let node = self.node(m);
            let children: SmallVec<[NodeId; 4]> = match &node.source {
                Source::Tensor(_) => continue,
                // Read in place unless it is the value asked for.
                Source::Const(_) if m != n && node.count > DECODE_WHOLE => continue,
                // Of a binding only the elements that are needed are asked for, and every read counts.
                Source::Lazy(_) | Source::Sample(_) if m != n => continue,
                Source::Const(c) if m != n && c.tally.is_some() => continue,
                Source::Const(_) | Source::Lazy(_) | Source::Sample(_) => SmallVec::new(),
                Source::Same(o) => SmallVec::from_slice(&[*o]),
                Source::Formula(f) => f.operands(),
            };
            if !operands_done && !children.is_empty() {
                stack.push((m, true));
                stack.extend(children.iter().rev().map(|&c| (c, false)));
                continue;
            }
            if matches!(node.source, Source::Same(_)) && m != n {
                continue;
            }
            let elements = self.held.saturating_add(node.count);
            if elements > self.limit {
                return Err(EvalError::TooLarge { elements, limit: self.limit });
            }
            self.numeric(m)?;
            let reader = self.reader();
            let tensor = Tensor::collect(node.dtype, &node.dims, node.count, |i| reader.get(m, i))?;
            self.held = elements;
            self.nodes[m.0 as usize].source = Source::Tensor(Arc::new(tensor));
        }
        match &self.node(n).source {
            Source::Tensor(t) => Ok(t.clone()),
            _ => Err(EvalError::NotNumeric(self.node(n).dtype)),
        }
    }
}

/// What messages call an op.
fn op_label(g: &Graph, op: OpId) -> Arc<str> {
    let (location, kind) = (g.location(op), g.kind(op).display_name());
    if *location == *kind { location } else { format!("{location} ({kind})").into() }
}

/// What messages call a value.
fn label(g: &Graph, v: Value) -> Arc<str> {
    g.value_name(v).cloned().unwrap_or_else(|| op_label(g, v.op))
}
