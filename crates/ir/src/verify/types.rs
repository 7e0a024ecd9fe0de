//! Invariants 15 and 16: types of results.

use super::Verifier;
use crate::{BatchNorm, DType, Dim, Graph, KernelOrder, OpId, OpKind, TensorType, Type, Value};

/// The type of a value, where it is more than a document's hint.
fn certain(g: &Graph, v: Option<Value>) -> Option<&TensorType> {
    let v = v?;
    let said = matches!(g.kind(v.op), OpKind::Parameter(_) | OpKind::Constant(_));
    (said || g.origin(v.op).is_none()).then(|| g.ty(v).tensor()).flatten()
}

/// What is known of the types around an op.
struct Around<'g> {
    operands: Vec<Option<&'g TensorType>>,
    result: Option<&'g TensorType>,
    wrong: Vec<String>,
}

impl Verifier<'_> {
    pub(super) fn types(&mut self, g: &Graph, op: OpId) {
        let first = g.results(op).next();
        if let (OpKind::Constant(c), Some(v)) = (g.kind(op), first) {
            let pool = &self.module.constants;
            if c.entry.index() < pool.len() && *g.ty(v) != Type::Tensor(pool.ty(c.entry).clone()) {
                let message = format!("is a {}, its entry a {}", g.ty(v), pool.ty(c.entry));
                self.op_error(15, g, op, message);
            }
            return;
        }
        if g.origin(op).is_some() || matches!(g.kind(op), OpKind::Parameter(_) | OpKind::Return(_))
        {
            return;
        }
        let operands = g.operands(op).map(|v| certain(g, v)).collect();
        let result = first.and_then(|v| g.ty(v).tensor());
        let mut around = Around { operands, result, wrong: Vec::new() };
        around.check(g.kind(op));
        for message in around.wrong {
            self.op_error(16, g, op, message);
        }
    }
}

fn shapes_differ(a: &TensorType, b: &TensorType) -> bool {
    let as_u8 =
        |t: &TensorType| Type::Tensor(TensorType { dtype: DType::U8, shape: t.shape.clone() });
    !as_u8(a).compatible(&as_u8(b))
}

impl Around<'_> {
    fn operand(&self, i: usize) -> Option<&TensorType> {
        self.operands.get(i).copied().flatten()
    }

    fn check(&mut self, kind: &OpKind) {
        match kind {
            OpKind::Unary(_)
            | OpKind::Activation(_)
            | OpKind::Clip(_)
            | OpKind::PRelu(_)
            | OpKind::Softmax(_)
            | OpKind::Identity(_)
            | OpKind::Dropout(_) => {
                self.same_shape(0);
                self.same_dtype(0);
            }
            OpKind::BatchNorm(k) => {
                self.same_shape(0);
                self.same_dtype(0);
                self.batch_norm(k);
            }
            OpKind::Cast(k) => {
                self.same_shape(0);
                self.dtype(k.to);
            }
            OpKind::CastLike(_) => {
                self.same_shape(0);
                self.same_dtype(1);
            }
            OpKind::Quantize(_) | OpKind::Dequantize(_) => self.same_shape(0),
            OpKind::Binary(k) => {
                self.broadcast(0, 1);
                self.same_dtype(0);
                // The exponent may have a type of its own.
                if k.mnemonic() != "pow" {
                    self.same_dtype(1);
                }
            }
            OpKind::Compare(_) => {
                self.broadcast(0, 1);
                self.dtype(DType::Bool);
                if let (Some(a), Some(b)) = (self.operand(0), self.operand(1))
                    && a.dtype != b.dtype
                {
                    self.wrong.push(format!("compares {} and {}", a.dtype, b.dtype));
                }
            }
            OpKind::Where(_) => {
                self.same_dtype(1);
                self.same_dtype(2);
            }
            OpKind::Conv(k) => {
                self.linear(k.x.rank(), k.w.rank());
                let groups = if k.w.order == KernelOrder::Ios { k.groups } else { 1 };
                self.channels(k.x.channel_axis(), k.w.out_axis(), groups, k.w.order);
            }
            OpKind::ConvTranspose(k) => {
                self.linear(k.x.rank(), k.w.rank());
                let groups = if k.w.order == KernelOrder::Ios { k.groups } else { 1 };
                self.channels(k.x.channel_axis(), k.w.out_axis(), groups, k.w.order);
            }
            OpKind::Linear(k) => {
                self.same_dtype(0);
                self.same_dtype(1);
                self.rank_of(1, 2);
                if k.matrix {
                    self.rank_of(0, 2);
                    self.rank(2);
                }
            }
            OpKind::MatMul(_) => {
                self.same_dtype(0);
                self.same_dtype(1);
            }
            OpKind::Pool(k) => {
                self.same_dtype(0);
                self.rank_of(0, k.x.rank());
                self.rank(k.x.rank());
            }
            OpKind::Pad(_)
            | OpKind::Slice(_)
            | OpKind::Split(_)
            | OpKind::Concat(_)
            | OpKind::Resize(_)
            | OpKind::DepthToSpace(_)
            | OpKind::SpaceToDepth(_) => {
                let all = if matches!(kind, OpKind::Concat(_)) { self.operands.len() } else { 1 };
                for i in 0..all {
                    self.same_dtype(i);
                    self.same_rank(i);
                }
            }
            OpKind::Transpose(k) => {
                self.same_dtype(0);
                self.same_rank(0);
                self.transpose(&k.perm);
            }
            OpKind::Flatten(_) => {
                self.same_dtype(0);
                self.rank(2);
                self.same_count();
            }
            OpKind::Reshape(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) => {
                self.same_dtype(0);
                self.same_count();
            }
            OpKind::Expand(_) | OpKind::Gather(_) | OpKind::GlobalPool(_) => self.same_dtype(0),
            OpKind::Reduce(k) => {
                self.same_dtype(0);
                if k.keepdims {
                    self.same_rank(0);
                }
            }
            OpKind::Shape(_) => {
                self.dtype(DType::I64);
                self.rank(1);
            }
            OpKind::Size(_) => {
                self.dtype(DType::I64);
                self.rank(0);
            }
            _ => {}
        }
    }

    fn dtype(&mut self, expected: DType) {
        if let Some(r) = self.result
            && r.dtype != expected
        {
            self.wrong.push(format!("gives elements of type {}, not {expected}", r.dtype));
        }
    }

    fn same_dtype(&mut self, i: usize) {
        if let (Some(x), Some(r)) = (self.operand(i), self.result)
            && x.dtype != r.dtype
        {
            self.wrong.push(format!("gives a {r}, operand {i} is a {x}"));
        }
    }

    fn same_shape(&mut self, i: usize) {
        if let (Some(x), Some(r)) = (self.operand(i), self.result)
            && shapes_differ(x, r)
        {
            self.wrong.push(format!("gives a {r}, operand {i} is a {x}"));
        }
    }

    fn same_rank(&mut self, i: usize) {
        if let Some(rank) = self.operand(i).and_then(TensorType::rank) {
            self.rank(rank);
        }
    }

    fn rank(&mut self, expected: usize) {
        if let Some(r) = self.result
            && r.rank().is_some_and(|n| n != expected)
        {
            self.wrong.push(format!("gives a {r}, not of rank {expected}"));
        }
    }

    fn rank_of(&mut self, i: usize, expected: usize) {
        if let Some(x) = self.operand(i)
            && x.rank().is_some_and(|n| n != expected)
        {
            self.wrong.push(format!("operand {i} is a {x}, not of rank {expected}"));
        }
    }

    /// Numpy broadcasting of two operands, wherever extents are known.
    fn broadcast(&mut self, a: usize, b: usize) {
        let (Some(x), Some(y)) = (self.operand(a), self.operand(b)) else { return };
        let (Some(p), Some(q)) = (&x.shape, &y.shape) else { return };
        let rank = p.len().max(q.len());
        let from_end = |s: &[Dim], i: usize| match s.len().checked_sub(1 + i) {
            Some(at) => s[at].known(),
            None => Some(1),
        };
        let mut expected: Vec<Dim> = Vec::with_capacity(rank);
        for i in 0..rank {
            let dim = match (from_end(p, i), from_end(q, i)) {
                (Some(m), Some(n)) if m == n || n == 1 => Dim::Known(m),
                (Some(1), Some(n)) => Dim::Known(n),
                (Some(_), Some(_)) => {
                    self.wrong.push(format!("{x} and {y} do not broadcast"));
                    return;
                }
                // A known extent above 1 wins.
                (Some(n), None) | (None, Some(n)) if n > 1 => Dim::Known(n),
                _ => Dim::Unknown,
            };
            expected.push(dim);
        }
        expected.reverse();
        let expected = TensorType { dtype: x.dtype, shape: Some(expected.into()) };
        if let Some(r) = self.result
            && shapes_differ(&expected, r)
        {
            self.wrong.push(format!("gives a {r}, the operands broadcast to a {expected}"));
        }
    }

    fn linear(&mut self, rank: usize, kernel: usize) {
        self.same_dtype(0);
        self.same_dtype(1);
        self.rank_of(0, rank);
        self.rank_of(1, kernel);
        self.rank_of(2, 1);
        self.rank(rank);
    }

    /// Output channels of result, kernel and bias.
    fn channels(&mut self, axis: usize, kernel_axis: usize, groups: u64, order: KernelOrder) {
        let Some(mut n) = self.operand(1).and_then(|w| w.dim(kernel_axis)) else { return };
        if order == KernelOrder::Scm {
            let Some(c) = self.operand(1).and_then(|w| w.dim(kernel_axis.checked_sub(1)?)) else {
                return;
            };
            n = n.saturating_mul(c);
        }
        let n = n.saturating_mul(groups);
        for (what, extent) in [
            ("the result", self.result.and_then(|r| r.dim(axis))),
            ("the bias", self.operand(2).and_then(|b| b.dim(0))),
        ] {
            if extent.is_some_and(|e| e != n) {
                let e = extent.unwrap_or_default();
                self.wrong.push(format!("{what} has {e} channels, the kernel gives {n}"));
            }
        }
    }

    fn batch_norm(&mut self, k: &BatchNorm) {
        if !k.spatial {
            return;
        }
        let mut channels = self.operand(0).and_then(|x| x.dim(k.axis as usize));
        for i in 1..5 {
            self.rank_of(i, 1);
            let Some(n) = self.operand(i).filter(|p| p.rank() == Some(1)).and_then(|p| p.dim(0))
            else {
                continue;
            };
            if *channels.get_or_insert(n) != n {
                let expected = channels.unwrap_or_default();
                self.wrong.push(format!("operand {i} has {n} channels, not {expected}"));
            }
        }
    }

    fn transpose(&mut self, perm: &[i64]) {
        let Some(x) = self.operand(0) else { return };
        let Some(from) = x.shape.clone() else { return };
        if !perm.is_empty() && perm.len() != from.len() {
            self.wrong.push(format!("`perm` has {} axes, operand 0 is a {x}", perm.len()));
            return;
        }
        let axis = |&p: &i64| from.get(usize::try_from(p).ok()?).cloned();
        let dims: Option<Vec<Dim>> = match perm {
            [] => Some(from.iter().rev().cloned().collect()),
            _ => perm.iter().map(axis).collect(),
        };
        if let (Some(dims), Some(r)) = (dims, self.result) {
            let expected = TensorType { dtype: x.dtype, shape: Some(dims.into()) };
            if r.rank() == expected.rank() && shapes_differ(&expected, r) {
                self.wrong.push(format!("gives a {r}, not a {expected}"));
            }
        }
    }

    /// The number of elements, where all extents are known.
    fn same_count(&mut self) {
        let count =
            |t: &TensorType| t.static_dims()?.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        if let (Some(x), Some(r)) = (self.operand(0), self.result)
            && let (Some(m), Some(n)) = (count(x), count(r))
            && m != n
        {
            self.wrong.push(format!("gives a {r}, operand 0 is a {x}"));
        }
    }
}
