//! What follows from constants alone: evaluated lazily, without changing the graph.

use super::{Analysis, CertainTypes};
use normfold_ir::{
    Binding, ConstId, ConstPool, Constant, DType, Graph, OpId, OpKind, Shape, Value,
    eval::{Binding as Bound, EvalError, Evaluator, Scalar, Tensor},
};
use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
};

/// The most elements of a computed constant.
const LARGEST: u64 = 1 << 20;

/// The most ops that one is computed from.
const MOST_OPS: usize = 4096;

/// Why a value is not the same at every run, or not known to be.
#[derive(Clone, PartialEq, Debug)]
pub enum NotConstant {
    /// It depends on a parameter, or on an op that may give something else at every run.
    Depends {
        /// That op.
        on: OpId,
    },
    /// A caller may replace a constant that it follows from.
    Overridable {
        /// The constant.
        op: OpId,
    },
    /// It follows from training state.
    Mutable {
        /// The constant.
        op: OpId,
    },
    /// It comes from the enclosing graph.
    Captured {
        /// The capture parameter.
        op: OpId,
    },
    /// It follows from constants whose elements are not at hand.
    Absent,
    /// It is larger than is computed ahead of time.
    TooLarge {
        /// Elements.
        elements: u64,
    },
    /// It cannot be computed.
    Unsupported {
        /// Why.
        message: String,
    },
}

/// Which ops give the same at every run; computed in time linear in the ops.
#[derive(Debug, Default)]
pub struct Constness {
    /// By slot: the op, and the op that makes it depend on the run.
    ops: Vec<Option<(OpId, Option<OpId>)>>,
    captured: HashMap<OpId, ConstId>,
}

impl Analysis for Constness {
    fn compute(graph: &Graph, _: &ConstPool) -> Self {
        Self::with_captured(graph, &HashMap::new())
    }
}

impl Constness {
    /// The same of a body, `captured` of whose capture parameters stand for constants of the graphs around it.
    pub fn with_captured(graph: &Graph, captured: &HashMap<OpId, ConstId>) -> Self {
        Self::new(graph, captured.clone(), |c| c.binding == Binding::Fixed)
    }

    /// The same where no caller replaces a constant that it could replace.
    pub fn frozen(graph: &Graph) -> Self {
        Self::new(graph, HashMap::new(), |c| c.binding != Binding::Mutable)
    }

    fn new(
        graph: &Graph,
        captured: HashMap<OpId, ConstId>,
        is_fixed: impl Fn(&Constant) -> bool,
    ) -> Self {
        let mut this = Self { ops: vec![None; graph.slot_bound()], captured };
        for op in graph.topo_order().unwrap_or_default() {
            let culprit = match graph.kind(op) {
                OpKind::Constant(c) => (!is_fixed(c)).then_some(op),
                // Extents may be certain where elements are not.
                OpKind::Shape(_) | OpKind::Size(_) => None,
                OpKind::Parameter(_) if this.captured.contains_key(&op) => None,
                k if !k.is_pure() || matches!(k, OpKind::Opaque(_)) => Some(op),
                k => {
                    let read = |i: usize| !k.reads_type_only(i as u32);
                    let operands = graph.operands(op).enumerate().filter(|(i, _)| read(*i));
                    operands.filter_map(|(_, v)| this.culprit(graph, v?)).next()
                }
            };
            this.ops[op.slot()] = Some((op, culprit));
        }
        this
    }

    /// The constant around this body that a capture parameter stands for.
    pub fn captured(&self, op: OpId) -> Option<ConstId> {
        self.captured.get(&op).copied()
    }

    /// Every such parameter, and its constant.
    pub fn all_captured(&self) -> &HashMap<OpId, ConstId> {
        &self.captured
    }

    /// The op that makes a value depend on the run; `None` for what follows from constants (and perhaps extents).
    pub fn culprit(&self, g: &Graph, v: Value) -> Option<OpId> {
        match self.ops.get(v.op.slot()) {
            Some(Some((op, culprit))) if *op == v.op => *culprit,
            // Created since.
            _ => match g.kind(v.op) {
                OpKind::Constant(c) if c.binding == Binding::Fixed => None,
                _ => Some(v.op),
            },
        }
    }

    /// Why a value depends on the run.
    pub fn reason(&self, g: &Graph, v: Value) -> Option<NotConstant> {
        let op = self.culprit(g, v)?;
        Some(match g.kind(op) {
            OpKind::Constant(c) if c.binding == Binding::Mutable => NotConstant::Mutable { op },
            OpKind::Constant(_) => NotConstant::Overridable { op },
            OpKind::Parameter(p) if p.capture => NotConstant::Captured { op },
            _ => NotConstant::Depends { on: op },
        })
    }
}

/// Evaluates constant values of one graph as it is. Costs nothing to create.
#[derive(Clone, Copy)]
pub struct Constants<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its constants.
    pub pool: &'a ConstPool,
    /// What is certain of extents; `shape` of anything else is unknown without it.
    pub types: Option<&'a CertainTypes>,
    /// What depends on the run.
    pub known: &'a Constness,
}

impl<'a> Constants<'a> {
    /// The whole tensor, every element of which follows from constants and certain extents. Floats are not rounded to
    /// their element type on the way, unless by a cast.
    ///
    /// # Errors
    /// It is not constant, or too large.
    pub fn tensor(&self, v: Value) -> Result<Tensor, NotConstant> {
        let absent = |e| !self.pool.is_present(e);
        if self.known.reason(self.graph, v).is_none()
            && self.bound(v)?.into_iter().filter_map(|op| self.known.captured(op)).any(absent)
        {
            return Err(NotConstant::Absent);
        }
        self.with(v, false, |e, unknown| whole(e, unknown, v))
    }

    /// The same as an engine would store it: every result on the way is rounded to its element type.
    ///
    /// # Errors
    /// As [`Constants::tensor`].
    pub fn stored(&self, v: Value) -> Result<Tensor, NotConstant> {
        self.with(v, true, |e, unknown| whole(e, unknown, v))
    }

    /// Element type and extents, without computing elements.
    ///
    /// # Errors
    /// It is not constant.
    pub fn ty(&self, v: Value) -> Result<(DType, Vec<u64>), NotConstant> {
        // Nothing to evaluate: most are constants as they are.
        if let OpKind::Constant(c) = self.graph.kind(v.op)
            && self.known.culprit(self.graph, v).is_none()
        {
            let dims = self.pool.dims(c.entry);
            if dims
                .iter()
                .try_fold(1i64, |n, &d| n.checked_mul(d.max(1).try_into().ok()?))
                .is_some()
            {
                return Ok((self.pool.dtype(c.entry), dims));
            }
        }
        self.with(v, true, |e, unknown| ty(e, unknown, v))
    }

    /// The same of values that `v` is computed from, at once: each of them alone would be as much work as `v`.
    ///
    /// # Errors
    /// `v` is not constant.
    pub fn types_behind(
        &self,
        v: Value,
        values: &[Value],
    ) -> Result<Vec<(DType, Vec<u64>)>, NotConstant> {
        self.with(v, true, |e, unknown| values.iter().map(|&v| ty(e, unknown, v)).collect())
    }

    /// A short list of integers, each known or not.
    pub fn ints(&self, v: Value) -> Option<Vec<Option<i64>>> {
        const LONGEST: u64 = 64;
        let (_, dims) = self.ty(v).ok()?;
        let n = dims.iter().product::<u64>();
        if dims.len() > 1 || n > LONGEST {
            return None;
        }
        // Each by an evaluator of its own: what one element made it compute may hold stand-ins.
        let element = |i: u64| {
            self.with(v, true, |e, unknown| {
                let at = if dims.is_empty() { &[][..] } else { &[i] };
                let x = e.element(v, at).map_err(unsupported)?.to_i64();
                Ok((!unknown.get()).then_some(x))
            })
        };
        (0..n).map(|i| element(i).ok()).collect()
    }

    /// The extent that element `i` of a short list of integers is: a value and one of its axes. Only what hands elements
    /// on as they are is looked through.
    pub fn extent_behind(&self, mut v: Value, mut i: u64) -> Option<(Value, usize)> {
        for _ in 0..MOST_OPS {
            let g = self.graph;
            let x = g.operand(v.op, 0)?;
            match g.kind(v.op) {
                OpKind::Shape(s) => {
                    let rank = self.types?.rank(x)? as i64;
                    let start = if s.start < 0 { s.start + rank } else { s.start }.clamp(0, rank);
                    let axis = usize::try_from(start).ok()? + usize::try_from(i).ok()?;
                    return (axis < rank as usize).then_some((x, axis));
                }
                OpKind::Identity(_)
                | OpKind::Squeeze(_)
                | OpKind::Unsqueeze(_)
                | OpKind::Reshape(_)
                | OpKind::Flatten(_) => v = x,
                // An axis of 2^31 elements is none of a model that holds its extent in 32 bits.
                OpKind::Cast(c) if matches!(c.to, DType::I64 | DType::I32) => v = x,
                OpKind::Concat(_) => {
                    let parts = g.operands(v.op);
                    let mut found = None;
                    for part in parts {
                        let (_, dims) = self.ty(part?).ok()?;
                        let &[n] = dims.as_slice() else { return None };
                        if i < n {
                            found = part;
                            break;
                        }
                        i -= n;
                    }
                    v = found?;
                }
                OpKind::Gather(k) if k.axis == 0 => {
                    let list = self.ints(g.operand(v.op, 1)?)?;
                    let at = (*list.get(usize::try_from(i).ok()?)?)?;
                    let (_, dims) = self.ty(x).ok()?;
                    let &[n] = dims.as_slice() else { return None };
                    let at = if at < 0 { at.checked_add_unsigned(n)? } else { at };
                    (v, i) = (x, u64::try_from(at).ok().filter(|&at| at < n)?);
                }
                OpKind::Slice(k) if g.operand(v.op, 4).is_none() => {
                    let start = match &k.starts {
                        Some(list) => *list.first()?,
                        None => (*self.ints(g.operand(v.op, 1)?)?.first()?)?,
                    };
                    let (_, dims) = self.ty(x).ok()?;
                    let &[n] = dims.as_slice() else { return None };
                    let start = if start < 0 { start.saturating_add_unsigned(n) } else { start };
                    (v, i) = (x, u64::try_from(start.clamp(0, n as i64)).ok()? + i);
                }
                _ => return None,
            }
        }
        None
    }

    fn with<R>(
        &self,
        v: Value,
        rounded: bool,
        f: impl FnOnce(&mut Evaluator<'_>, &Cell<bool>) -> Result<R, NotConstant>,
    ) -> Result<R, NotConstant> {
        if let Some(reason) = self.known.reason(self.graph, v) {
            return Err(reason);
        }
        let unknown = Cell::new(false);
        let mut e = Evaluator::new(self.graph, self.pool).with_limit(LARGEST);
        if rounded {
            e = e.rounded();
        }
        for op in self.bound(v)? {
            match self.known.captured(op) {
                Some(entry) => e.bind(Value::new(op, 0), Bound::Stored { entry, counted: false }),
                None => self.bind_shape(&mut e, op, &unknown)?,
            }
        }
        f(&mut e, &unknown)
    }

    /// The `shape` and `size` ops and the captured constants that a value follows from.
    fn bound(&self, v: Value) -> Result<Vec<OpId>, NotConstant> {
        let mut found = Vec::new();
        let (mut seen, mut stack) = (HashSet::from([v.op]), vec![v.op]);
        while let Some(op) = stack.pop() {
            if seen.len() > MOST_OPS {
                return Err(NotConstant::Unsupported {
                    message: "computed by too many ops".into(),
                });
            }
            let shape = matches!(self.graph.kind(op), OpKind::Shape(_) | OpKind::Size(_));
            if shape || self.known.captured(op).is_some() {
                found.push(op);
                continue;
            }
            let operands = self.graph.operands(op).flatten().map(|o| o.op);
            stack.extend(operands.filter(|&o| seen.insert(o)));
        }
        Ok(found)
    }

    fn bind_shape<'e>(
        &self,
        e: &mut Evaluator<'e>,
        op: OpId,
        unknown: &'e Cell<bool>,
    ) -> Result<(), NotConstant>
    where
        'a: 'e,
    {
        let depends = NotConstant::Depends { on: op };
        let Some(x) = self.graph.operand(op, 0) else { return Err(depends) };
        if self.known.culprit(self.graph, x).is_none() {
            return Ok(());
        }
        let Some(dims) = self.types.and_then(|t| t.dims(x)) else { return Err(depends) };
        let (elements, out): (Vec<Option<u64>>, Vec<u64>) = match self.graph.kind(op) {
            OpKind::Shape(Shape { start, end }) => {
                let rank = dims.len() as i64;
                let clamp = |i: i64| (if i < 0 { i + rank } else { i }).clamp(0, rank) as usize;
                let (from, to) = (clamp(*start), clamp(end.unwrap_or(rank)));
                let list: Vec<_> = dims.get(from..to.max(from)).unwrap_or_default().to_vec();
                let n = list.len() as u64;
                (list, vec![n])
            }
            _ => {
                let all = dims.iter().try_fold(1u64, |a, d| a.checked_mul((*d)?));
                (vec![all], Vec::new())
            }
        };
        let f = Box::new(move |index: &[u64]| {
            let i = index.first().map_or(0, |&i| i as usize);
            let extent = elements.get(i).copied().flatten().and_then(|d| i64::try_from(d).ok());
            if extent.is_none() {
                unknown.set(true);
            }
            Scalar::I(extent.unwrap_or(1))
        });
        e.bind(Value::new(op, 0), Bound::Lazy { dtype: DType::I64, dims: out, f });
        Ok(())
    }
}

fn ty(
    e: &mut Evaluator<'_>,
    unknown: &Cell<bool>,
    v: Value,
) -> Result<(DType, Vec<u64>), NotConstant> {
    let ty = (e.dtype(v).map_err(unsupported)?, e.dims(v).map_err(unsupported)?);
    if unknown.get() { Err(NotConstant::Depends { on: v.op }) } else { Ok(ty) }
}

fn whole(e: &mut Evaluator<'_>, unknown: &Cell<bool>, v: Value) -> Result<Tensor, NotConstant> {
    let t = e.tensor(v).map_err(unsupported)?;
    if unknown.get() {
        return Err(NotConstant::Depends { on: v.op });
    }
    Ok((*t).clone())
}

fn unsupported(e: EvalError) -> NotConstant {
    match e {
        EvalError::Absent(_) => NotConstant::Absent,
        EvalError::TooLarge { elements, .. } => NotConstant::TooLarge { elements },
        e => NotConstant::Unsupported { message: e.to_string() },
    }
}
