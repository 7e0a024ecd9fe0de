//! The rewriter: every change a pass makes goes through it, so that the worklist, the step counter and the remarks see it.

use crate::{
    ConstId, ConstPool, Constant, Graph, OpId, OpKind, OpSpec, TensorType, Type, Use, Value,
};
use std::sync::Arc;

/// A change, as a listener sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An op was created.
    Created(OpId),
    /// An op's kind, operands or name changed.
    Modified(OpId),
    /// An op is gone.
    Erased(OpId),
}

/// Changes one graph and tells a listener.
pub struct PatternRewriter<'a> {
    graph: &'a mut Graph,
    constants: &'a mut ConstPool,
    listener: &'a mut dyn FnMut(&Graph, Event),
}

impl<'a> PatternRewriter<'a> {
    /// A rewriter on `graph`; `listener` hears of every change after it was made.
    pub fn new(
        graph: &'a mut Graph,
        constants: &'a mut ConstPool,
        listener: &'a mut dyn FnMut(&Graph, Event),
    ) -> Self {
        Self { graph, constants, listener }
    }

    /// The graph as it is now.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The constant pool.
    pub fn constants(&self) -> &ConstPool {
        self.constants
    }

    /// The constant pool, to add entries to.
    pub fn constants_mut(&mut self) -> &mut ConstPool {
        self.constants
    }

    fn tell(&mut self, e: Event) {
        (self.listener)(self.graph, e);
    }

    /// Creates an op beside `anchor`.
    #[track_caller]
    pub fn create(&mut self, spec: OpSpec, anchor: OpId) -> OpId {
        let op = self.graph.create(spec.at(anchor));
        self.tell(Event::Created(op));
        op
    }

    /// Creates a `constant` op that names a pool entry.
    #[track_caller]
    pub fn create_constant(
        &mut self,
        entry: ConstId,
        name: Option<Arc<str>>,
        anchor: OpId,
    ) -> Value {
        let ty = self.constants.ty(entry).clone();
        let mut spec = OpSpec::new(Constant::new(entry));
        spec = match name {
            Some(n) => spec.named_result(n, ty),
            None => spec.result(ty),
        };
        let op = self.create(spec, anchor);
        self.graph.result(op, 0)
    }

    /// Changes what an op does.
    #[track_caller]
    pub fn set_kind(&mut self, op: OpId, kind: impl Into<OpKind>) {
        self.graph.set_kind(op, kind);
        self.tell(Event::Modified(op));
    }

    /// Lets a `constant` op name another entry of the same type, so that its name and place stay.
    ///
    /// # Panics
    /// The op is no constant.
    #[track_caller]
    pub fn set_constant(&mut self, op: OpId, entry: ConstId) {
        let OpKind::Constant(c) = self.graph.kind(op) else { panic!("{op:?} is no constant") };
        let c = Constant { entry, ..*c };
        let ty: TensorType = self.constants.ty(entry).clone();
        let v = self.graph.result(op, 0);
        self.graph.set_ty(v, ty);
        self.set_kind(op, c);
    }

    /// Points one use at another value, or at none.
    #[track_caller]
    pub fn set_operand(&mut self, u: Use, v: Option<Value>) {
        let old = match u.capture() {
            Some(c) => self.graph.captures(u.user).nth(c as usize).flatten(),
            None => self.graph.operand(u.user, u.operand as usize),
        };
        self.graph.set_operand(u, v);
        self.tell(Event::Modified(u.user));
        // The old definition may have become dead.
        if let Some(d) = old {
            self.tell(Event::Modified(d.op));
        }
    }

    /// States the type of a value.
    pub fn set_ty(&mut self, v: Value, ty: impl Into<Type>) {
        self.graph.set_ty(v, ty);
        self.tell(Event::Modified(v.op));
    }

    /// States the type of a value that the document shall declare, too.
    pub fn declare_ty(&mut self, v: Value, ty: impl Into<Type>) {
        self.graph.declare_ty(v, ty);
        self.tell(Event::Modified(v.op));
    }

    /// Names a value.
    pub fn set_value_name(&mut self, v: Value, name: Option<Arc<str>>) {
        self.graph.set_value_name(v, name);
        self.tell(Event::Modified(v.op));
    }

    /// Points every use of `from` at `to` and hands `from`'s name on to `to`, so that readers, graph results and bodies
    /// need no edit.
    ///
    /// The name is kept back where `to` must keep its own: a parameter's, or that of a value which already is a graph
    /// result; and where `to` has further users of its own. With a name that is known outside goes the type that callers
    /// were told.
    ///
    /// # Panics
    /// The types do not agree.
    #[track_caller]
    pub fn replace_all_uses(&mut self, from: Value, to: Value) {
        let (a, b) = (self.graph.ty(from), self.graph.ty(to));
        assert!(a.compatible(b), "{from:?}: {a} replaced by {to:?}: {b}");
        let takes_name = self.takes_name_of(from, to);
        let uses: Vec<Use> = self.graph.uses(from).collect();
        if takes_name && let Some(n) = self.graph.value_name(from).cloned() {
            self.graph.set_value_name(to, Some(n));
            self.graph.set_value_name(from, None);
            self.tell(Event::Modified(to.op));
        }
        let told = takes_name && self.graph.is_known_outside(from);
        if *self.graph.ty(to) == Type::Unknown || told && *self.graph.ty(from) != Type::Unknown {
            let ty = self.graph.ty(from).clone();
            self.graph.set_ty(to, ty);
        }
        self.graph.replace_all_uses(from, to);
        for u in uses {
            self.tell(Event::Modified(u.user));
        }
        self.tell(Event::Modified(from.op));
    }

    fn takes_name_of(&self, from: Value, to: Value) -> bool {
        let g = &*self.graph;
        if matches!(g.kind(to.op), OpKind::Parameter(_) | OpKind::Constant(_)) {
            return false;
        }
        // `to` may have many users, and many values that it stands for: all its uses are looked at last.
        let has_others = g.value_uses(to).any(|u| u.user != from.op);
        (!has_others || g.is_known_outside(from)) && !g.is_known_outside(to)
    }

    /// Erases an op that nothing uses.
    #[track_caller]
    pub fn erase(&mut self, op: OpId) {
        let defs: Vec<OpId> = self
            .graph
            .operands(op)
            .chain(self.graph.captures(op))
            .flatten()
            .map(|v| v.op)
            .collect();
        self.graph.erase(op);
        self.tell(Event::Erased(op));
        for d in defs {
            if self.graph.contains(d) {
                self.tell(Event::Modified(d));
            }
        }
    }

    /// Erases an op that nothing uses, and then what only it used. Captures may leave ops that nothing uses behind.
    #[track_caller]
    pub fn erase_with_orphans(&mut self, op: OpId) {
        let mut dead = vec![op];
        while let Some(op) = dead.pop() {
            let operands: Vec<OpId> = self.graph.operands(op).flatten().map(|v| v.op).collect();
            self.erase(op);
            for d in operands {
                if self.graph.contains(d) && self.graph.is_trivially_dead(d) && !dead.contains(&d) {
                    dead.push(d);
                }
            }
        }
    }

    /// Erases the constant behind a value, and the identities over it, as far as nothing reads them any more and no caller
    /// knows it.
    pub fn erase_dead_constant(&mut self, v: Value) {
        let mut next = Some(v.op);
        while let Some(op) = next.take() {
            if !self.graph.contains(op) || !self.graph.is_trivially_dead(op) {
                return;
            }
            match self.graph.kind(op) {
                OpKind::Identity(_) => next = self.graph.operand(op, 0).map(|v| v.op),
                OpKind::Constant(_) => {}
                _ => return,
            }
            self.erase(op);
        }
    }

    /// Replaces an op's results by values of agreeing type and erases it.
    #[track_caller]
    pub fn replace_op(&mut self, op: OpId, with: &[Value]) {
        assert_eq!(
            self.graph.num_results(op),
            with.len(),
            "{op:?} replaced by another number of results"
        );
        for (r, &v) in self.graph.results(op).zip(with) {
            self.replace_all_uses(r, v);
        }
        self.erase(op);
    }
}
