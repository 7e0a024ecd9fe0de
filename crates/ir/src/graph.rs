//! The dataflow graph: ops, operands, results, uses.

mod dfg;
mod known;
mod spec;
mod topo;

pub use spec::{OpSpec, ResultSpec};
pub use topo::Cycle;

use crate::{Capabilities, Everything, GraphId, IdSet, OpId, OpKind, Type, Use, Value};
use dfg::{ABSENT, Dfg, Fans};
use smallvec::SmallVec;
use std::{collections::BTreeSet, sync::Arc};

/// What a graph is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GraphRole {
    /// The module's entry.
    Main,
    /// Called by name.
    Function,
    /// The body of an If, Loop, Scan or an opaque op with graphs.
    Body,
}

#[derive(Clone, Debug)]
pub(crate) struct ResultData {
    name: Option<Arc<str>>,
    ty: Type,
}

#[derive(Clone, Debug, Default)]
struct Extra {
    captures: Vec<u32>,
    regions: Vec<GraphId>,
    fans: Fans,
}

#[derive(Clone, Debug)]
struct OpData {
    seq: u32,
    /// Sort key of deterministic orders; ops created in a rewrite inherit that of the op they stand in for.
    order: u32,
    /// Uses linked to the op's own node (the rest are on fan-out nodes).
    degree: u32,
    origin: Option<u32>,
    modified: bool,
    kind: OpKind,
    operands: SmallVec<[u32; 6]>,
    results: SmallVec<[ResultData; 1]>,
    name: Option<Arc<str>>,
    extra: Option<Box<Extra>>,
}

/// A dataflow graph.
///
/// `parameter` ops begin it and one `return` op ends it, so a graph result is an ordinary use. Bodies are graphs of
/// their own ([`crate::Module`] owns them all).
#[derive(Clone, Debug)]
pub struct Graph {
    name: Arc<str>,
    role: GraphRole,
    dfg: Dfg,
    next_seq: u32,
    next_order: u32,
    parameters: Vec<OpId>,
    return_op: Option<OpId>,
    capabilities: Arc<dyn Capabilities>,
    quantized: IdSet<Value>,
    stated: BTreeSet<Value>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<Arc<str>>, role: GraphRole) -> Self {
        Self {
            name: name.into(),
            role,
            dfg: Dfg::default(),
            next_seq: 0,
            next_order: 0,
            parameters: Vec::new(),
            return_op: None,
            capabilities: Arc::new(Everything),
            quantized: IdSet::default(),
            stated: BTreeSet::new(),
        }
    }

    /// The graph's name, unique among functions.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the graph is for.
    pub fn role(&self) -> GraphRole {
        self.role
    }

    /// What the graph's document can say.
    pub fn capabilities(&self) -> &Arc<dyn Capabilities> {
        &self.capabilities
    }

    /// States what the graph's document can say. A new graph can say everything.
    pub fn set_capabilities(&mut self, capabilities: Arc<dyn Capabilities>) {
        self.capabilities = capabilities;
    }

    /// The number of ops.
    pub fn len(&self) -> usize {
        self.dfg.len()
    }

    /// Whether there is no op.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One past the largest storage slot of any op: the length of a side table indexed by [`OpId::slot`].
    pub fn slot_bound(&self) -> usize {
        self.dfg.slot_bound()
    }

    /// Makes room for that many ops and uses at once.
    pub fn reserve(&mut self, ops: usize, uses: usize) {
        self.dfg.reserve(ops, uses);
    }

    /// Every op, in no particular but a deterministic order. See [`Graph::topo_order`].
    pub fn ops(&self) -> impl Iterator<Item = OpId> + '_ {
        self.dfg.ids()
    }

    /// Whether the op is still there.
    pub fn contains(&self, op: OpId) -> bool {
        self.dfg.contains(op)
    }

    /// What the op does.
    #[track_caller]
    pub fn kind(&self, op: OpId) -> &OpKind {
        &self.dfg.data(op).kind
    }

    /// Changes what the op does; it counts as modified from then on.
    #[track_caller]
    pub fn set_kind(&mut self, op: OpId, kind: impl Into<OpKind>) {
        let d = self.dfg.data_mut(op);
        d.kind = kind.into();
        d.modified = true;
    }

    /// Whether the op's kind was changed after its creation.
    pub fn is_modified(&self, op: OpId) -> bool {
        self.dfg.data(op).modified
    }

    /// The op's name in its source.
    pub fn op_name(&self, op: OpId) -> Option<&Arc<str>> {
        self.dfg.data(op).name.as_ref()
    }

    /// Names the op.
    pub fn set_op_name(&mut self, op: OpId, name: Option<Arc<str>>) {
        self.dfg.data_mut(op).name = name;
    }

    /// What a message calls the op: its own name, else that of its first named result, else its mnemonic.
    pub fn location(&self, op: OpId) -> Arc<str> {
        let d = self.dfg.data(op);
        d.name
            .clone()
            .filter(|n| !n.is_empty())
            .or_else(|| d.results.iter().find_map(|r| r.name.clone()))
            .unwrap_or_else(|| d.kind.mnemonic().into())
    }

    /// Which record of its graph's document the op came from; `None` for what a pass created.
    pub fn origin(&self, op: OpId) -> Option<u32> {
        self.dfg.data(op).origin
    }

    /// The sort key of deterministic orders: import order, inherited by replacements.
    pub fn order_key(&self, op: OpId) -> u32 {
        self.dfg.data(op).order
    }

    /// The number of the op's own operand slots, absent ones included.
    pub fn num_operands(&self, op: OpId) -> usize {
        self.dfg.data(op).operands.len()
    }

    /// The op's own operands; `None` is an absent optional one.
    pub fn operands(&self, op: OpId) -> impl ExactSizeIterator<Item = Option<Value>> + '_ {
        self.dfg.data(op).operands.iter().map(|&e| self.dfg.source(e))
    }

    /// Operand `i`; `None` when absent or beyond the last.
    pub fn operand(&self, op: OpId, i: usize) -> Option<Value> {
        self.dfg.source(*self.dfg.data(op).operands.get(i)?)
    }

    /// The values that the op's bodies capture. Capture parameters of the bodies name them by position.
    pub fn captures(&self, op: OpId) -> impl ExactSizeIterator<Item = Option<Value>> + '_ {
        let list = self.dfg.data(op).extra.as_ref().map_or(&[][..], |x| &x.captures);
        list.iter().map(|&e| self.dfg.source(e))
    }

    /// The op's bodies.
    pub fn regions(&self, op: OpId) -> &[GraphId] {
        self.dfg.data(op).extra.as_ref().map_or(&[], |x| &x.regions)
    }

    /// The number of results.
    pub fn num_results(&self, op: OpId) -> usize {
        self.dfg.data(op).results.len()
    }

    /// The results, in order.
    pub fn results(&self, op: OpId) -> impl ExactSizeIterator<Item = Value> + use<> {
        (0..self.num_results(op) as u32).map(move |result| Value { op, result })
    }

    /// Result `i` as a value.
    #[track_caller]
    pub fn result(&self, op: OpId, i: usize) -> Value {
        assert!(i < self.num_results(op), "{op:?} has no result {i}");
        Value { op, result: i as u32 }
    }

    #[track_caller]
    fn result_data(&self, v: Value) -> &ResultData {
        &self.dfg.data(v.op).results[v.result as usize]
    }

    /// The type of a value.
    pub fn ty(&self, v: Value) -> &Type {
        &self.result_data(v).ty
    }

    /// States the type of a value.
    pub fn set_ty(&mut self, v: Value, ty: impl Into<Type>) {
        self.dfg.data_mut(v.op).results[v.result as usize].ty = ty.into();
    }

    /// States the type of a value that the document shall declare, too.
    pub fn declare_ty(&mut self, v: Value, ty: impl Into<Type>) {
        self.set_ty(v, ty);
        self.stated.insert(v);
    }

    /// The values whose types the document shall declare.
    pub fn declared_types(&self) -> impl Iterator<Item = Value> + '_ {
        self.stated.iter().copied().filter(|v| self.contains(v.op))
    }

    /// The name of a value in its source.
    pub fn value_name(&self, v: Value) -> Option<&Arc<str>> {
        self.result_data(v).name.as_ref()
    }

    /// Names a value.
    pub fn set_value_name(&mut self, v: Value, name: Option<Arc<str>>) {
        self.dfg.data_mut(v.op).results[v.result as usize].name = name;
    }

    /// Whether the document annotates the value as quantized: its elements stand for others, so no scale may move into it.
    pub fn is_quantized(&self, v: Value) -> bool {
        self.quantized.contains(&v)
    }

    /// States that the document annotates the value as quantized.
    pub fn set_quantized(&mut self, v: Value) {
        self.quantized.insert(v);
    }

    /// Whether nothing reads the value.
    pub fn is_unused(&self, v: Value) -> bool {
        self.uses(v).next().is_none()
    }

    /// Every use of a value, captures by bodies and the graph's `return` included, in no particular but a deterministic
    /// order.
    pub fn uses(&self, v: Value) -> impl Iterator<Item = Use> + '_ {
        self.dfg.uses(v.op).filter(move |(r, _)| *r == v.result).map(|(_, u)| u)
    }

    /// The uses that read the value itself, not just its shape or element type.
    pub fn value_uses(&self, v: Value) -> impl Iterator<Item = Use> + '_ {
        self.uses(v).filter(|&u| !self.is_type_use(u))
    }

    /// Whether a use reads only shape or element type (rules.md, "Uses").
    pub fn is_type_use(&self, u: Use) -> bool {
        u.capture().is_none() && self.kind(u.user).reads_type_only(u.operand)
    }

    /// The one use that reads the value itself; `None` when there is none or more than one.
    pub fn single_value_use(&self, v: Value) -> Option<Use> {
        let mut uses = self.value_uses(v);
        let first = uses.next()?;
        uses.next().is_none().then_some(first)
    }

    /// Whether any result of the op is used.
    pub fn has_uses(&self, op: OpId) -> bool {
        self.dfg.uses(op).next().is_some()
    }

    /// Whether the op can go: nothing uses it, it does nothing else, and neither a caller nor the training state knows it.
    pub fn is_trivially_dead(&self, op: OpId) -> bool {
        let removable = match self.kind(op) {
            OpKind::Constant(c) => c.binding == crate::Binding::Fixed,
            kind => kind.is_pure(),
        };
        removable && !self.has_uses(op)
    }

    /// The parameters, in argument order; capture parameters after the arguments.
    pub fn parameters(&self) -> &[OpId] {
        &self.parameters
    }

    /// The `return` op, once there is one.
    pub fn return_op(&self) -> Option<OpId> {
        self.return_op
    }

    /// Creates an op.
    ///
    /// # Panics
    /// An operand was erased, or a second `return` is created.
    #[track_caller]
    pub fn create(&mut self, spec: OpSpec) -> OpId {
        let order = match spec.at {
            Some(anchor) => self.order_key(anchor),
            None => {
                self.next_order += 1;
                self.next_order - 1
            }
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        let is_return = matches!(spec.kind, OpKind::Return(_));
        let is_parameter = matches!(spec.kind, OpKind::Parameter(_));
        let extra = (!spec.regions.is_empty())
            .then(|| Box::new(Extra { regions: spec.regions, ..Extra::default() }));
        let op = self.dfg.add(OpData {
            seq,
            order,
            degree: 0,
            origin: spec.origin,
            modified: false,
            kind: spec.kind,
            operands: SmallVec::from_elem(ABSENT, spec.operands.len()),
            results: spec
                .results
                .into_iter()
                .map(|r| ResultData { name: r.name, ty: r.ty })
                .collect(),
            name: spec.name,
            extra,
        });
        for (i, v) in spec.operands.into_iter().enumerate() {
            if let Some(v) = v {
                self.link(v, op, i as u32);
            }
        }
        for v in spec.captures {
            match v {
                Some(v) => _ = self.add_capture(op, v),
                None => self.dfg.data_mut(op).extra.get_or_insert_default().captures.push(ABSENT),
            }
        }
        if is_parameter {
            self.parameters.push(op);
        }
        if is_return {
            assert!(self.return_op.is_none(), "a graph has one return op");
            self.return_op = Some(op);
        }
        op
    }

    #[track_caller]
    fn link(&mut self, v: Value, user: OpId, operand: u32) {
        assert!((v.result as usize) < self.num_results(v.op), "{v:?} is no result");
        let edge = self.dfg.link(v, user, operand);
        let d = self.dfg.data_mut(user);
        match operand & Use::CAPTURE {
            0 => d.operands[operand as usize] = edge,
            _ => {
                d.extra.get_or_insert_default().captures[(operand & !Use::CAPTURE) as usize] = edge
            }
        }
    }

    /// Adds a capture operand and returns its position.
    #[track_caller]
    pub fn add_capture(&mut self, op: OpId, v: Value) -> u32 {
        let captures = &mut self.dfg.data_mut(op).extra.get_or_insert_default().captures;
        let index = captures.len() as u32;
        captures.push(ABSENT);
        self.link(v, op, index | Use::CAPTURE);
        index
    }

    /// Points one use at another value, or at none.
    ///
    /// An own operand slot beyond the last is created, absent ones in between. Type agreement is the caller's affair.
    #[track_caller]
    pub fn set_operand(&mut self, u: Use, v: Option<Value>) {
        let slot = {
            let d = self.dfg.data_mut(u.user);
            match u.capture() {
                Some(c) => &mut d.extra.get_or_insert_default().captures[c as usize],
                None => {
                    let i = u.operand as usize;
                    if i >= d.operands.len() {
                        d.operands.resize(i + 1, ABSENT);
                    }
                    &mut d.operands[i]
                }
            }
        };
        let old = std::mem::replace(slot, ABSENT);
        self.dfg.unlink(old);
        if let Some(v) = v {
            self.link(v, u.user, u.operand);
        }
    }

    /// Drops own operand slots from `len` on.
    pub fn truncate_operands(&mut self, op: OpId, len: usize) {
        for i in len..self.num_operands(op) {
            self.set_operand(Use { user: op, operand: i as u32 }, None);
        }
        self.dfg.data_mut(op).operands.truncate(len);
    }

    /// Points every use of `from` at `to`, in time linear in the uses. Returns how many there were.
    #[track_caller]
    pub fn replace_all_uses(&mut self, from: Value, to: Value) -> usize {
        if from == to {
            return 0;
        }
        let uses: SmallVec<[Use; 4]> = self.uses(from).collect();
        for &u in &uses {
            self.set_operand(u, Some(to));
        }
        uses.len()
    }

    /// Erases an op that nothing uses.
    ///
    /// # Panics
    /// A result is still used.
    #[track_caller]
    pub fn erase(&mut self, op: OpId) {
        assert!(!self.has_uses(op), "{op:?} ({}) is still used", self.kind(op).mnemonic());
        for i in 0..self.num_operands(op) {
            let edge = self.dfg.data(op).operands[i];
            self.dfg.unlink(edge);
        }
        let captures = self.captures(op).len();
        for i in 0..captures {
            let edge = self.dfg.data(op).extra.as_ref().map_or(ABSENT, |x| x.captures[i]);
            self.dfg.unlink(edge);
        }
        let data = self.dfg.remove(op);
        match data.kind {
            OpKind::Parameter(_) => self.parameters.retain(|&p| p != op),
            OpKind::Return(_) => self.return_op = None,
            _ => {}
        }
    }
}
