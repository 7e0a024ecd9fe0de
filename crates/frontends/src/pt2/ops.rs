//! ATen ops as ops of the graph. An emitter gives the results of a node, or `None` when the node stays opaque; it makes
//! nothing then.

mod elementwise;
mod linear;
mod norm;
mod shape;
mod window;

use super::{
    alias::{Effect, effect},
    program::{Arg, Node, Program, union},
};
use crate::json::Json;
use normfold_ir::{
    ConstId, ConstPool, Constant, DType, Graph, OpId, OpKind, OpSpec, ResultSpec, Spatial,
    TensorType, Type, Value,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub(super) use norm::{carried, is_norm, updated_state};

/// Where an operand stands in its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// The mention of that number in the argument of that index.
    Read { arg: u32, mention: u32 },
    /// Nowhere, but a bias can be put there.
    Bias,
    /// It is part of what the node says otherwise.
    Fixed,
    /// It is a number that the node states, or several.
    Stated(ConstId),
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) value: Option<Value>,
    pub(super) slot: Slot,
}

impl Operand {
    fn fixed(value: Value) -> Self {
        Self { value: Some(value), slot: Slot::Fixed }
    }

    const ABSENT: Self = Self { value: None, slot: Slot::Fixed };
}

/// What a node became.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeRecord {
    /// Its ops with their operands; the last one gives the results.
    pub(super) ops: Vec<(OpId, Vec<Operand>)>,
    pub(super) results: Vec<Value>,
}

/// One node and what it is made into.
pub(super) struct NodeCx<'c, 'a> {
    pub(super) graph: &'c mut Graph,
    pub(super) pool: &'c mut ConstPool,
    pub(super) program: &'c Program<'a>,
    pub(super) node: &'c Node<'a>,
    pub(super) index: u32,
    pub(super) values: &'c HashMap<&'a str, Value>,
    pub(super) location: Arc<str>,
    /// Names that something reads.
    pub(super) read: &'c HashSet<&'a str>,
    /// Constants that the graph itself states.
    pub(super) literals: &'c mut HashSet<OpId>,
    pub(super) record: NodeRecord,
}

/// The op that a node calls, a form that overwrites its operand taken for the one that does not.
pub(super) fn functional<'a>(node: &Node<'a>) -> Option<(&'a str, &'a str)> {
    let (name, overload) = node.aten()?;
    match effect(node.target) {
        _ if name == "detach_" => Some(("detach", overload)),
        Effect::InPlace => Some((name.strip_suffix('_')?, overload)),
        _ => Some((name, overload)),
    }
}

/// The target of the op that gives as a result of its own what this one does in place, where there is one.
pub(super) fn functional_target(node: &Node<'_>, program: &Program<'_>) -> Option<String> {
    let (name, overload) = node.aten()?;
    let name = name.strip_suffix('_')?;
    let known = elementwise::has_functional_form(name);
    // The result is of the first operand's type in place, and of a promoted one otherwise.
    let mut types = node.reads().map(|name| program.ty(name).dtype());
    let first = types.next()??;
    (known && first.is_arithmetic_float() && types.all(|ty| ty == Some(first)))
        .then(|| format!("torch.ops.aten.{name}.{overload}"))
}

/// Whether a node is a dropout in place that does nothing.
pub(super) fn is_no_dropout(node: &Node<'_>) -> bool {
    let train = node.arg("train").and_then(|a| union(a.value)?.1.as_bool());
    matches!(node.aten(), Some(("dropout_" | "feature_dropout_", _))) && train == Some(false)
}

/// Makes the ops of a node.
pub(super) fn emit(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    let (name, overload) = functional(cx.node)?;
    linear::emit(cx, name, overload)
        .or_else(|| norm::emit(cx, name))
        .or_else(|| elementwise::emit(cx, name, overload))
        .or_else(|| shape::emit(cx, name, overload))
        .or_else(|| window::emit(cx, name, overload))
}

impl<'a> NodeCx<'_, 'a> {
    /// Whether the node has no other arguments than these, those that say none aside.
    fn only(&self, names: &[&str]) -> Option<()> {
        let none = |arg: &Arg<'_>| matches!(union(arg.value), Some(("as_none", _)));
        self.node.args.iter().all(|a| names.contains(&a.name) || none(a)).then_some(())
    }

    /// An argument that is there and not none.
    fn some(&self, name: &str) -> Option<(&'a str, &'a Json)> {
        union(self.node.arg(name)?.value).filter(|(kind, _)| *kind != "as_none")
    }

    /// The operand that an argument of one tensor is.
    pub(super) fn tensor(&self, name: &str) -> Option<Operand> {
        let arg = self.node.args.iter().position(|a| a.name == name)?;
        let found = self.node.args.get(arg)?;
        let (kind, _) = union(found.value)?;
        let read = found.reads.first()?.as_str()?;
        let value = *self.values.get(read)?;
        let slot = Slot::Read { arg: arg as u32, mention: 0 };
        (kind == "as_tensor" || kind == "as_optional_tensor")
            .then_some(Operand { value: Some(value), slot })
    }

    /// The operand that an argument is which may be none, in which case it stays so.
    fn optional(&self, name: &str) -> Option<Operand> {
        match self.some(name) {
            None => Some(Operand::ABSENT),
            Some(_) => self.tensor(name),
        }
    }

    /// The operand that a bias is, there or not.
    fn bias(&self) -> Option<Operand> {
        match self.some("bias") {
            None => Some(Operand { value: None, slot: Slot::Bias }),
            Some(_) => self.tensor("bias"),
        }
    }

    /// The operands that an argument is which is a list of tensors.
    fn tensors(&self, name: &str) -> Option<Vec<Operand>> {
        let arg = self.node.args.iter().position(|a| a.name == name)?;
        let found = self.node.args.get(arg)?;
        let (kind, value) = union(found.value)?;
        let reads = found.reads.iter().enumerate().map(|(i, read)| {
            let value = *self.values.get(read.as_str()?)?;
            let slot = Slot::Read { arg: arg as u32, mention: i as u32 };
            Some(Operand { value: Some(value), slot })
        });
        let all: Vec<Operand> = reads.collect::<Option<_>>()?;
        (kind == "as_tensors" && value.items()?.len() == all.len()).then_some(all)
    }

    fn int(&self, name: &str, default: Option<i64>) -> Option<i64> {
        match self.some(name) {
            None => default,
            Some(("as_int", n)) => n.as_i64(),
            Some(("as_sym_int", n)) => n.get("as_int")?.as_i64(),
            _ => None,
        }
    }

    /// A list of integers; one that stands alone is a list of one.
    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        match self.some(name)? {
            ("as_int", n) => Some(vec![n.as_i64()?]),
            ("as_ints", list) => list.items()?.iter().map(Json::as_i64).collect(),
            ("as_sym_ints", list) => {
                list.items()?.iter().map(|n| n.get("as_int")?.as_i64()).collect()
            }
            _ => None,
        }
    }

    /// `n` integers; one stands for all of them.
    fn spatial(&self, name: &str, n: usize, default: Option<i64>) -> Option<Spatial<i64>> {
        let list = match (self.some(name), default) {
            (None, Some(default)) => vec![default],
            _ => self.ints(name)?,
        };
        match list.as_slice() {
            [one] => Some(Spatial::from_elem(*one, n)),
            all if all.len() == n => Some(all.iter().copied().collect()),
            _ => None,
        }
    }

    fn positive(&self, name: &str, n: usize, default: Option<i64>) -> Option<Spatial<u64>> {
        let all = self.spatial(name, n, default)?;
        all.iter().map(|&n| u64::try_from(n).ok().filter(|&n| n > 0)).collect()
    }

    fn number(&self, name: &str, default: Option<f64>) -> Option<f64> {
        match self.some(name) {
            None => default,
            Some(("as_float" | "as_int", n)) => n.as_f64(),
            _ => None,
        }
    }

    fn flag(&self, name: &str, default: Option<bool>) -> Option<bool> {
        match self.some(name) {
            None => default,
            Some(("as_bool", b)) => b.as_bool(),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        match self.some(name)? {
            ("as_string", text) => text.as_str(),
            _ => None,
        }
    }

    /// The type that the program gives a result.
    fn ty(&self, result: usize) -> Type {
        self.node.results.get(result).map_or(Type::Unknown, |name| self.program.ty(name))
    }

    fn ty_of(&self, operand: Operand) -> Option<TensorType> {
        self.graph.ty(operand.value?).tensor().cloned()
    }

    fn rank(&self, operand: Operand) -> Option<usize> {
        self.graph.ty(operand.value?).rank()
    }

    fn dtype(&self, operand: Operand) -> Option<DType> {
        self.graph.ty(operand.value?).dtype()
    }

    /// The extents of a result, when all of them are known.
    fn extents(&self, operand: Operand) -> Option<Vec<u64>> {
        self.ty_of(operand)?.static_dims().map(|d| d.to_vec())
    }

    /// Makes an op; its results are those of the node when it is the last one.
    fn make(
        &mut self,
        kind: impl Into<OpKind>,
        operands: Vec<Operand>,
        results: Vec<ResultSpec>,
    ) -> Vec<Value> {
        let spec = OpSpec::new(kind)
            .name(self.location.clone())
            .origin(self.index)
            .operands(operands.iter().map(|o| o.value))
            .results(results);
        let op = self.graph.create(spec);
        self.record.ops.push((op, operands));
        self.graph.results(op).collect()
    }

    /// Makes the last op of the node.
    fn last(&mut self, kind: impl Into<OpKind>, operands: Vec<Operand>) -> Option<Vec<Value>> {
        let results = self
            .node
            .results
            .iter()
            .map(|name| ResultSpec { name: Some((*name).into()), ty: self.program.ty(name) });
        let results = results.collect();
        Some(self.make(kind, operands, results))
    }

    /// Makes the last op of a node of which only the first result is read.
    fn first(&mut self, kind: impl Into<OpKind>, operands: Vec<Operand>) -> Option<Vec<Value>> {
        let (first, rest) = self.node.results.split_first()?;
        rest.iter().all(|name| !self.read.contains(name)).then_some(())?;
        let result = ResultSpec { name: Some((*first).into()), ty: self.program.ty(first) };
        Some(self.make(kind, operands, vec![result]))
    }

    /// Makes the only op of a node of one result.
    fn one(&mut self, kind: impl Into<OpKind>, operands: Vec<Operand>) -> Option<Vec<Value>> {
        (self.node.results.len() == 1).then_some(())?;
        self.last(kind, operands)
    }

    /// A number of the graph as a constant.
    fn literal(&mut self, dtype: DType, value: f64) -> Operand {
        let entry = self.pool.add_f64(dtype, &[], &[value]);
        self.stated(entry)
    }

    /// Integers of the graph as a constant.
    fn literals(&mut self, values: &[i64]) -> Operand {
        let entry = self.pool.add_i64(&[values.len() as u64], values);
        self.stated(entry)
    }

    fn stated(&mut self, entry: ConstId) -> Operand {
        let ty = self.pool.ty(entry).clone();
        let spec = OpSpec::new(Constant::new(entry))
            .name(self.location.clone())
            .origin(self.index)
            .result(ty);
        let op = self.graph.create(spec);
        self.literals.insert(op);
        Operand { value: Some(self.graph.result(op, 0)), slot: Slot::Stated(entry) }
    }
}
