//! Planned values: extents, element type, and where elements come from.

use super::{
    Counted, ElementFn, EvalError, Evaluator, Scalar, Tally, Tensor, cast::Rounding, index::Dims,
    value,
};
use crate::{ConstError, ConstId, ConstPool, DType, ElementReader, Graph, IdMap, OpId, Value};
use smallvec::SmallVec;
use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
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

/// A planned value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeId(pub(super) u32);

/// How one element of a result follows from elements of operands: the definition of an op, with its attributes resolved
/// against concrete extents. Indices are linear (row-major).
pub(super) trait Formula {
    /// The operands that elements are read of.
    fn operands(&self) -> SmallVec<[NodeId; 4]>;
    /// Element `i`, which is below the number of elements.
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError>;
}

/// Where the elements of a node come from.
pub(super) enum Source<'a> {
    Tensor(Arc<Tensor>),
    Const(Stored<'a>),
    Lazy(Rc<Lazy<'a>>),
    /// Those of [`value::sample`] with that seed.
    Sample(u64),
    /// Those of another node in the same order.
    Same(NodeId),
    Formula(Rc<dyn Formula>),
}

fn rounded(x: Scalar, dtype: DType) -> Scalar {
    match (x, Rounding::to(dtype)) {
        (Scalar::F(v), Some(r)) => Scalar::F(r.round(v)),
        _ => x,
    }
}

/// How elements of a constant are read.
enum Elements<'a> {
    /// From its bytes: most are read once or twice, and nothing is made for that.
    Bytes(&'a [u8]),
    Reader(Box<ElementReader<'a>>),
    /// One by one.
    Pool,
}

/// A constant.
pub(super) struct Stored<'a> {
    pub(super) entry: ConstId,
    /// The value that has its elements.
    pub(super) value: Value,
    /// Found when an element is read: of a wide concatenation, most constants never are.
    elements: OnceCell<Elements<'a>>,
    /// Who counts the reads.
    pub(super) tally: Option<&'a Tally>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(value: Value, entry: ConstId, tally: Option<&'a Tally>) -> Self {
        Self { entry, value, elements: OnceCell::new(), tally }
    }

    /// What `read` gives of a reader of its `count` elements; `None` where only the pool reads it.
    #[inline]
    fn read<T>(
        &self,
        pool: &'a ConstPool,
        (dtype, count): (DType, u64),
        read: impl FnOnce(&ElementReader<'a>) -> T,
    ) -> Option<T> {
        let find = || match pool.plain_bytes(self.entry) {
            Some(bytes) => Elements::Bytes(bytes),
            None => {
                let reader = pool.element_reader(self.entry);
                reader.map_or(Elements::Pool, |reader| Elements::Reader(Box::new(reader)))
            }
        };
        match self.elements.get_or_init(find) {
            Elements::Bytes(bytes) => Some(read(&ElementReader::plain(dtype, count, bytes))),
            Elements::Reader(reader) => Some(read(reader)),
            Elements::Pool => None,
        }
    }
}

pub(super) struct Node<'a> {
    pub(super) dtype: DType,
    pub(super) dims: Dims,
    pub(super) count: u64,
    pub(super) source: Source<'a>,
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
        match &node.source {
            Source::Const(c)
                if node.dtype.is_float()
                    && let Some(read) = c.read(self.pool, (node.dtype, node.count), |reader| {
                        reader.get_strided(first, stride, out)
                    }) =>
            {
                self.spend(out.len() as u64)?;
                read.map_err(|e| constant_error(self.name(c), e))?;
                if let Some(tally) = c.tally {
                    tally.note_all(out);
                }
            }
            Source::Sample(seed) if node.dtype.is_float() => {
                self.spend(out.len() as u64)?;
                value::samples(*seed, first, stride, out);
            }
            Source::Lazy(f) if node.dtype.is_float() => {
                self.spend(out.len() as u64)?;
                f.get_strided(&node.dims, first, stride, out);
            }
            _ => {
                let mut i = first;
                for x in out {
                    *x = self.f(n, i)?;
                    i = i.wrapping_add(stride);
                }
            }
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

/// The largest rank that positions are kept in place for.
const RANK: usize = 8;

/// A binding's function, and how a linear index becomes positions for it.
pub(super) struct Lazy<'a> {
    f: Box<ElementFn<'a>>,
    /// ⌈2^64 / extent⌉ per axis: `(i · r) >> 64` is `i / extent` for `i` and extents below 2^32 (Lemire, Kaser, Kurz,
    /// "Faster remainder by direct computation", 2019), several times faster than a division. Empty where that does not
    /// hold.
    reciprocals: SmallVec<[u64; 4]>,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(f: Box<ElementFn<'a>>, dims: &[u64]) -> Self {
        let small = dims.len() <= RANK
            && super::index::count(dims).is_some_and(|n| u32::try_from(n).is_ok())
            && dims.iter().all(|&d| u32::try_from(d).is_ok());
        // With an extent of 1 there is nothing to divide, and 2^64 does not fit.
        let reciprocal = |&d: &u64| if d > 1 { u64::MAX / d + 1 } else { 0 };
        let reciprocals =
            if small { dims.iter().map(reciprocal).collect() } else { SmallVec::new() };
        Self { f, reciprocals }
    }

    fn get(&self, dims: &[u64], i: u64) -> Scalar {
        (self.f)(&self.unravel(dims, i))
    }

    /// [`super::index::unravel`], faster where that can be.
    fn unravel(&self, dims: &[u64], mut i: u64) -> SmallVec<[u64; RANK]> {
        if self.reciprocals.len() != dims.len() {
            return SmallVec::from_slice(&super::index::unravel(dims, i));
        }
        let mut at = SmallVec::from_elem(0, dims.len());
        for ((p, &d), &r) in at.iter_mut().zip(dims).zip(&self.reciprocals).rev() {
            if d > 1 {
                let q = ((u128::from(i) * u128::from(r)) >> 64) as u64;
                *p = i - q * d;
                i = q;
            }
        }
        at
    }

    /// Floats at `first`, `first + stride`, …: usually neighbours along one axis.
    fn get_strided(&self, dims: &[u64], first: u64, stride: u64, out: &mut [f64]) {
        let mut at = self.unravel(dims, first);
        let mut between = 1;
        let n = out.len() as u64;
        let axis = dims.iter().zip(&at).enumerate().rev().find_map(|(axis, (&d, &p))| {
            let is_along = between == stride && n <= d - p;
            between = between.saturating_mul(d);
            is_along.then_some(axis)
        });
        let mut i = first;
        for x in out {
            match axis {
                Some(axis) => {
                    *x = (self.f)(&at).to_f64();
                    at[axis] += 1;
                }
                None => *x = self.get(dims, i).to_f64(),
            }
            i = i.wrapping_add(stride);
        }
    }
}

/// What an op was planned to be.
pub(super) struct Planned<'a> {
    pub(super) dtype: DType,
    pub(super) dims: Dims,
    pub(super) source: Source<'a>,
}

impl Planned<'_> {
    pub(super) fn formula(dtype: DType, dims: Dims, f: impl Formula + 'static) -> Self {
        Self { dtype, dims, source: Source::Formula(Rc::new(f)) }
    }
}

pub(super) type Plan<'a> = Result<Planned<'a>, EvalError>;

/// One result of one op while it is planned; its operands are planned already.
pub(super) struct Site<'s, 'a> {
    pub(super) ev: &'s mut Evaluator<'a>,
    pub(super) op: OpId,
    pub(super) result: usize,
    pub(super) operands: SmallVec<[Option<NodeId>; 6]>,
}

impl<'a> Site<'_, 'a> {
    /// Location and mnemonic, for messages.
    pub(super) fn name(&self) -> Arc<str> {
        self.ev.op_label(self.op)
    }

    pub(super) fn shape_error(&self, message: impl Into<Box<str>>) -> EvalError {
        EvalError::Shape { op: self.name(), message: message.into() }
    }

    pub(super) fn unsupported(&self, what: impl Into<Box<str>>) -> EvalError {
        EvalError::Unsupported { op: self.name(), what: what.into() }
    }

    /// An operand that may be absent.
    pub(super) fn optional(&self, i: usize) -> Option<NodeId> {
        self.operands.get(i).copied().flatten()
    }

    /// An operand that the op needs.
    pub(super) fn operand(&self, i: usize) -> Result<NodeId, EvalError> {
        self.optional(i).ok_or_else(|| self.shape_error(format!("operand {i} is missing")))
    }

    /// An operand of a float type.
    pub(super) fn float(&self, i: usize) -> Result<NodeId, EvalError> {
        let n = self.operand(i)?;
        match self.dtype(n) {
            d if d.is_float() => Ok(n),
            d => Err(self.unsupported(format!("operand {i} of type {d}"))),
        }
    }

    pub(super) fn dims(&self, n: NodeId) -> Dims {
        Dims::from_slice(&self.ev.node(n).dims)
    }

    pub(super) fn dtype(&self, n: NodeId) -> DType {
        self.ev.node(n).dtype
    }

    pub(super) fn count(&self, n: NodeId) -> u64 {
        self.ev.node(n).count
    }

    /// The elements of an operand that says a shape, positions or axes.
    pub(super) fn ints(&mut self, n: NodeId) -> Result<Vec<i64>, EvalError> {
        Ok(self.ev.whole(n)?.to_i64s())
    }

    /// The elements of an operand that says scales.
    pub(super) fn floats(&mut self, n: NodeId) -> Result<Vec<f64>, EvalError> {
        Ok(self.ev.whole(n)?.to_f64s())
    }

    /// The list an attribute gives, or else operand `i`; `None` when neither is there.
    pub(super) fn list(
        &mut self,
        attribute: Option<&Vec<i64>>,
        i: usize,
    ) -> Result<Option<Vec<i64>>, EvalError> {
        match (attribute, self.optional(i)) {
            (Some(list), _) => Ok(Some(list.clone())),
            (None, Some(n)) => self.ints(n).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// An axis of a tensor of that rank.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, EvalError> {
        super::index::axis(axis, rank)
            .ok_or_else(|| self.shape_error(format!("axis {axis} of a tensor of rank {rank}")))
    }

    /// A list of different axes of a tensor of that rank.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, EvalError> {
        let mut out: Vec<usize> = Vec::with_capacity(axes.len());
        for &a in axes {
            let a = self.axis(a, rank)?;
            if out.contains(&a) {
                return Err(self.shape_error(format!("axis {a} is named twice")));
            }
            out.push(a);
        }
        Ok(out)
    }

    /// An extent that an attribute or operand says.
    pub(super) fn extent(&self, v: i64) -> Result<u64, EvalError> {
        u64::try_from(v).map_err(|_| self.shape_error(format!("extent {v}")))
    }

    /// The same elements under other extents.
    pub(super) fn same(&self, x: NodeId, dims: Dims) -> Plan<'a> {
        let node = self.ev.node(x);
        let target = match node.source {
            Source::Same(m) => m,
            _ => x,
        };
        if super::index::count(&dims) != Some(node.count) {
            return Err(self.shape_error(format!(
                "{} elements do not fill {:?}",
                node.count,
                &dims[..]
            )));
        }
        Ok(Planned { dtype: node.dtype, dims, source: Source::Same(target) })
    }
}
