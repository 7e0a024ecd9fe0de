//! Elements while they are asked for: how much may be read, what is remembered, what is counted.

use super::{
    Counted, EvalError, Scalar, Tally,
    cast::Rounding,
    node::{Formula, Node, NodeId, Source},
    source::Stored,
    value,
};
use crate::{ConstError, ConstId, ConstPool, DType, Graph, IdMap};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// Elements read at once.
const BLOCK: usize = 64;

/// Where there are no more, room is made for so many: clearing it takes time too.
const SHORT: usize = 8;

/// After so many reads elements are remembered. Most requests end before, and to remember costs more than an op of few
/// operands.
const REMEMBER_AFTER: u64 = 1 << 16;

/// So many are remembered at most: 48 bytes each.
const MOST_REMEMBERED: usize = 1 << 18;

/// So few are read one by one in less time.
const FEW: u64 = 3;

fn rounded(x: Scalar, dtype: DType) -> Scalar {
    match (x, Rounding::to(dtype)) {
        (Scalar::F(v), Some(r)) => Scalar::F(r.round(v)),
        _ => x,
    }
}

/// An element that was computed, and what was counted for it: one term wherever it is read again.
#[derive(Clone, Copy)]
struct Remembered {
    value: Scalar,
    magnitude: f64,
    reads: f64,
}

/// What requests for elements have in common.
pub(super) struct Request<'a> {
    /// Reads that are left of the request that runs.
    left: Cell<u64>,
    limit: Cell<u64>,
    /// With fewer reads left, what is computed is remembered: an element that others share costs as much again for each of
    /// them, and so on, which is exponential in the depth.
    long: Cell<u64>,
    memory: RefCell<IdMap<(u32, u64), Remembered>>,
    /// Who counts the reads of what is bound so.
    pub(super) tally: Option<&'a Tally>,
}

impl Request<'_> {
    pub(super) fn new() -> Self {
        let [left, limit, long] = [const { Cell::new(0) }; 3];
        Self { left, limit, long, memory: RefCell::default(), tally: None }
    }

    /// Begins one that may read so much; `whole` where no element is read of what is not held.
    pub(super) fn begin(&self, limit: u64, whole: bool) {
        // What another request added up would not be counted in this one.
        if self.tally.is_some() {
            self.memory.borrow_mut().clear();
        }
        self.left.set(limit);
        self.limit.set(limit);
        self.long.set(if whole { 0 } else { limit.saturating_sub(REMEMBER_AFTER) });
    }

    /// How much the last one read.
    pub(super) fn spent(&self) -> u64 {
        self.limit.get() - self.left.get()
    }

    /// Forgets what was computed.
    pub(super) fn forget(&mut self) {
        self.memory.get_mut().clear();
    }

    #[inline]
    fn is_long(&self) -> bool {
        self.left.get() < self.long.get()
    }
}

/// Reads elements of planned values; what a formula sees of the evaluator.
#[derive(Clone, Copy)]
pub(super) struct Reader<'r, 'a> {
    pub(super) nodes: &'r [Node<'a>],
    pub(super) graph: &'a Graph,
    pub(super) pool: &'a ConstPool,
    pub(super) request: &'r Request<'a>,
    pub(super) depth: u32,
    /// Whether results of formulas are rounded to their element type.
    pub(super) rounded: bool,
}

impl<'r, 'a> Reader<'r, 'a> {
    /// Counts `steps` against the work limit: every read, and loops that may read nothing.
    #[inline]
    pub(super) fn spend(self, steps: u64) -> Result<(), EvalError> {
        match self.request.left.get().checked_sub(steps) {
            Some(left) => {
                self.request.left.set(left);
                Ok(())
            }
            None => Err(EvalError::TooMuchWork { limit: self.request.limit.get() }),
        }
    }

    /// Element `i` of node `n`.
    #[inline]
    pub(super) fn get(self, n: NodeId, i: u64) -> Result<Scalar, EvalError> {
        self.spend(1)?;
        let (mut n, mut node) = (n, &self.nodes[n.0 as usize]);
        // A node that is the same as another is never the same as one that is itself only the same as a third.
        if let Source::Same(m) = node.source {
            (n, node) = (m, &self.nodes[m.0 as usize]);
        }
        debug_assert!(i < node.count, "element {i} of {:?}", node.dims);
        match &node.source {
            Source::Tensor(t) => Ok(t.get(i as usize).unwrap_or(Scalar::I(0))),
            Source::Const(c) => self.constant(c, (node.dtype, node.count), i),
            Source::Lazy(f) => Ok(f.get(&node.dims, i).of(node.dtype)),
            Source::Sample(seed) => Ok(Scalar::F(value::sample(*seed, i)).of(node.dtype)),
            Source::Same(m) => self.deeper()?.get(*m, i),
            Source::Formula(f) => match self.request.is_long() {
                false => self.computed(&**f, node.dtype, i),
                true => self.remembered(n, i),
            },
        }
    }

    #[inline]
    fn computed(self, f: &dyn Formula, dtype: DType, i: u64) -> Result<Scalar, EvalError> {
        let x = f.element(self.deeper()?, i)?;
        Ok(if self.rounded { rounded(x, dtype) } else { x })
    }

    /// The same, computed once. What is counted counts as often as it is read.
    #[cold]
    #[inline(never)]
    fn remembered(self, n: NodeId, i: u64) -> Result<Scalar, EvalError> {
        let node = &self.nodes[n.0 as usize];
        let Source::Formula(f) = &node.source else { return self.get(n, i) };
        let Request { memory, tally, .. } = self.request;
        let known = memory.borrow().get(&(n.0, i)).copied();
        if let Some(known) = known {
            if let Some(tally) = tally {
                let Remembered { magnitude, reads, .. } = known;
                tally.add(Counted { magnitude, reads, terms: 1 });
            }
            return Ok(known.value);
        }
        let before = tally.map_or(Counted::default(), Tally::take);
        let value = self.computed(&**f, node.dtype, i)?;
        let own = tally.map_or(Counted::default(), Tally::take);
        if let Some(tally) = tally {
            tally.add(before);
            tally.add(own);
        }
        let Counted { magnitude, reads, .. } = own;
        let mut memory = memory.borrow_mut();
        if memory.len() < MOST_REMEMBERED {
            memory.insert((n.0, i), Remembered { value, magnitude, reads });
        }
        Ok(value)
    }

    /// Element `i` of node `n` as a float.
    #[inline]
    pub(super) fn f(self, n: NodeId, i: u64) -> Result<f64, EvalError> {
        let node = &self.nodes[n.0 as usize];
        // Most that are read one by one: parameters of a norm, biases.
        if let Source::Const(c) = &node.source
            && node.dtype.is_float()
            && let Some(x) = c.read(self.pool, (node.dtype, node.count), |reader| reader.get(i))
        {
            self.spend(1)?;
            let x = x.map_err(|e| constant_error(self.name(c), e))?;
            if let Some(tally) = c.tally {
                tally.note(x);
            }
            return Ok(x);
        }
        self.get(n, i).map(Scalar::to_f64)
    }

    /// Elements `first`, `first + stride`, … of node `n` as floats: what that many calls of [`Reader::f`] give.
    pub(super) fn strided(
        self,
        n: NodeId,
        first: u64,
        stride: u64,
        out: &mut [f64],
    ) -> Result<(), EvalError> {
        let mut node = &self.nodes[n.0 as usize];
        if let Source::Same(m) = node.source {
            node = &self.nodes[m.0 as usize];
        }
        let is_float = node.dtype.is_float();
        match &node.source {
            Source::Const(c) if is_float => {
                let of = (node.dtype, node.count);
                let read = c.read(self.pool, of, |reader| reader.get_strided(first, stride, out));
                if let Some(read) = read {
                    self.spend(out.len() as u64)?;
                    read.map_err(|e| constant_error(self.name(c), e))?;
                    if let Some(tally) = c.tally {
                        tally.note_all(out);
                    }
                    return Ok(());
                }
            }
            Source::Sample(seed) if is_float => {
                self.spend(out.len() as u64)?;
                value::samples(*seed, first, stride, out);
                return Ok(());
            }
            Source::Lazy(f) if is_float => {
                self.spend(out.len() as u64)?;
                f.get_strided(&node.dims, first, stride, out);
                return Ok(());
            }
            _ => {}
        }
        let mut i = first;
        for x in out {
            *x = self.f(n, i)?;
            i = i.wrapping_add(stride);
        }
        Ok(())
    }

    /// `sum` and the products of `n` elements of two nodes, each from an element on with a distance between neighbours,
    /// added in that order.
    pub(super) fn add_products(
        self,
        mut sum: f64,
        mut a: (NodeId, u64, u64),
        mut b: (NodeId, u64, u64),
        n: u64,
    ) -> Result<f64, EvalError> {
        if n < FEW {
            for _ in 0..n {
                sum += self.f(a.0, a.1)? * self.f(b.0, b.1)?;
                a.1 = a.1.wrapping_add(a.2);
                b.1 = b.1.wrapping_add(b.2);
            }
            return Ok(sum);
        }
        match n <= SHORT as u64 {
            true => self.blocks::<SHORT>(sum, a, b, n),
            false => self.blocks::<BLOCK>(sum, a, b, n),
        }
    }

    /// [`Reader::add_products`], of `N` at once.
    fn blocks<const N: usize>(
        self,
        mut sum: f64,
        mut a: (NodeId, u64, u64),
        mut b: (NodeId, u64, u64),
        mut n: u64,
    ) -> Result<f64, EvalError> {
        let (mut xs, mut ys) = ([0.0; N], [0.0; N]);
        while n > 0 {
            let len = n.min(N as u64);
            let (xs, ys) = (&mut xs[..len as usize], &mut ys[..len as usize]);
            self.strided(a.0, a.1, a.2, xs)?;
            self.strided(b.0, b.1, b.2, ys)?;
            for (x, y) in xs.iter().zip(ys) {
                sum += x * *y;
            }
            a.1 = a.1.wrapping_add(len.wrapping_mul(a.2));
            b.1 = b.1.wrapping_add(len.wrapping_mul(b.2));
            n -= len;
        }
        Ok(sum)
    }

    /// Element `i` of node `n` as an integer.
    #[inline]
    pub(super) fn i(self, n: NodeId, i: u64) -> Result<i64, EvalError> {
        self.get(n, i).map(Scalar::to_i64)
    }

    fn deeper(self) -> Result<Self, EvalError> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(EvalError::TooDeep),
        }
    }

    #[inline]
    fn constant(
        self,
        c: &'r Stored<'a>,
        (dtype, count): (DType, u64),
        i: u64,
    ) -> Result<Scalar, EvalError> {
        let value = if matches!(dtype, DType::I64 | DType::U64) {
            self.word(c.entry, dtype, i).map(Scalar::I)
        } else {
            let read = c.read(self.pool, (dtype, count), |reader| reader.get(i));
            let v = read.unwrap_or_else(|| self.pool.element_f64(c.entry, i));
            if let (Ok(v), Some(tally)) = (&v, c.tally) {
                tally.note(*v);
            }
            v.map(|v| Scalar::F(v).of(dtype))
        };
        value.map_err(|e| constant_error(self.name(c), e))
    }

    #[cold]
    fn name(self, c: &Stored<'_>) -> Arc<str> {
        super::label(self.graph, c.value)
    }

    /// A 64-bit integer, which f64 would round.
    fn word(self, entry: ConstId, dtype: DType, i: u64) -> Result<i64, ConstError> {
        let mut bytes = [0; 8];
        self.pool.read_bytes(entry, i.saturating_mul(8), &mut bytes)?;
        match i64::from_le_bytes(bytes) {
            v if v < 0 && dtype == DType::U64 => Err(ConstError::NotNumeric(dtype)),
            v => Ok(v),
        }
    }
}

#[cold]
pub(super) fn constant_error(name: Arc<str>, source: ConstError) -> EvalError {
    match source {
        ConstError::Absent => EvalError::Absent(name),
        source => EvalError::Constant { name, source },
    }
}
