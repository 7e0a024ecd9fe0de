//! What may stand between batch norms and linear ops: ops that move, cut, join, pool and repeat; blocks of several ops.

use super::{Builder, Known};
use arbtest::arbitrary::Result;
use normfold_ir::{
    BinaryKind, Concat, Constant, Conv, DataLayout, DepthMode, DepthToSpace, Dequantize,
    GlobalPool, KernelLayout, KernelOrder, OpSpec, Pad, PadMode, Padding, Pool, PoolKind, Reduce,
    ReduceKind, Reshape, Resize, Slice, SpaceToDepth, Split, TensorType, Transpose, Value,
};

impl Builder<'_, '_> {
    /// One of them behind `x`.
    pub(super) fn between(&mut self, x: Known) -> Result<()> {
        let d = x.dims.clone();
        match (d.len(), self.u.int_in_range(0..=17)?) {
            (4, 0) => {
                let perm = *self.u.choose(&[[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]])?;
                self.transpose(x, &perm)?;
            }
            (2, 0) => self.transpose(x, &[1, 0])?,
            (_, 1) => self.concat(x)?,
            (_, 2) => self.split(x)?,
            (_, 3) => self.slice(x)?,
            (4, 4) => self.pad(x)?,
            (4, 5 | 6) => self.pool(x)?,
            (4, 7) => {
                let keepdims = self.u.arbitrary()?;
                let f = *self.u.choose(&[PoolKind::Average, PoolKind::Max])?;
                let dims = if keepdims { vec![d[0], d[1], 1, 1] } else { vec![d[0], d[1]] };
                self.op(
                    GlobalPool { f, keepdims, ..GlobalPool::default() },
                    vec![Some(x.value)],
                    dims,
                );
            }
            (4, 8) => self.reduce(x)?,
            (4, 9) => {
                let scales = vec![1.0, 1.0, 2.0, 1.5];
                let mode = *self.u.choose(&["nearest", "linear", "cubic"])?;
                let dims = vec![d[0], d[1], d[2] * 2, d[3] * 3 / 2];
                let kind = Resize { mode: mode.into(), scales: Some(scales), ..Resize::default() };
                self.op(kind, vec![Some(x.value)], dims);
            }
            (4, 10) if d[1].is_multiple_of(4) => {
                let mode = *self.u.choose(&[DepthMode::Dcr, DepthMode::Crd])?;
                let dims = vec![d[0], d[1] / 4, d[2] * 2, d[3] * 2];
                self.op(DepthToSpace { block: 2, mode }, vec![Some(x.value)], dims);
            }
            (4, 10) if d[2].is_multiple_of(2) && d[3].is_multiple_of(2) && d[1] <= 4 => {
                let dims = vec![d[0], d[1] * 4, d[2] / 2, d[3] / 2];
                self.op(SpaceToDepth { block: 2 }, vec![Some(x.value)], dims);
            }
            (4, 11) => {
                let shape = *self.u.choose(&[[0, -1, 1, 1], [0, 0, -1, 1], [-1, 0, 0, 0]])?;
                let dims = match shape {
                    [0, -1, 1, 1] => vec![d[0], d[1] * d[2] * d[3], 1, 1],
                    [0, 0, -1, 1] => vec![d[0], d[1], d[2] * d[3], 1],
                    _ => d,
                };
                let kind = Reshape { shape: Some(shape.to_vec()), ..Reshape::default() };
                self.op(kind, vec![Some(x.value)], dims);
            }
            (4, 12) => self.beside(x)?,
            (4, 13) => self.dequantized(x)?,
            (_, 14) if d[1] <= 8 => {
                // Twice the same value, each way.
                let kind = *self.u.choose(&[BinaryKind::Add, BinaryKind::Sub])?;
                self.op(kind, vec![Some(x.value), Some(x.value)], d);
            }
            _ => self.arithmetic(x)?,
        }
        Ok(())
    }

    fn transpose(&mut self, x: Known, perm: &[i64]) -> Result<()> {
        let dims = perm.iter().map(|&p| x.dims[p as usize]).collect();
        self.op(Transpose { perm: perm.to_vec() }, vec![Some(x.value)], dims);
        Ok(())
    }

    fn concat(&mut self, x: Known) -> Result<()> {
        let axis = self.u.int_in_range(1..=x.dims.len() - 1)?;
        let mut others: Vec<Known> = self
            .values
            .iter()
            .filter(|k| {
                k.dtype == x.dtype
                    && k.dims.len() == x.dims.len()
                    && k.dims.iter().zip(&x.dims).enumerate().all(|(i, (a, b))| i == axis || a == b)
            })
            .cloned()
            .collect();
        if self.u.ratio(1, 5)? {
            let value = self.constant(&x.dims, false)?;
            others = vec![Known { value, ..x.clone() }];
        }
        let y = self.u.choose(&others)?.clone();
        let mut dims = x.dims;
        dims[axis] += y.dims[axis];
        if dims[axis] <= 12 {
            self.op(Concat { axis: axis as i64 }, vec![Some(x.value), Some(y.value)], dims);
        }
        Ok(())
    }

    fn split(&mut self, x: Known) -> Result<()> {
        let axis = self.u.int_in_range(1..=x.dims.len() - 1)?;
        if x.dims[axis] < 2 {
            return Ok(());
        }
        let first = self.u.int_in_range(1..=x.dims[axis] - 1)?;
        let sizes = [first, x.dims[axis] - first];
        let n = self.graph.len();
        let kind = Split { axis: axis as i64, sizes: Some(sizes.map(|s| s as i64).to_vec()) };
        let mut spec = OpSpec::new(kind).operand(x.value).name(format!("op{n}"));
        let mut parts = Vec::new();
        for (i, size) in sizes.into_iter().enumerate() {
            let mut dims = x.dims.clone();
            dims[axis] = size;
            spec = spec.named_result(format!("v{n}_{i}"), TensorType::of(self.dtype, &dims));
            parts.push(dims);
        }
        let op = self.graph.create(spec);
        let values: Vec<Value> = self.graph.results(op).collect();
        let dtype = self.dtype;
        let known = |(value, dims)| Known { value, dims, dtype };
        self.values.extend(values.into_iter().zip(parts).map(known));
        Ok(())
    }

    fn slice(&mut self, x: Known) -> Result<()> {
        let axis = self.u.int_in_range(1..=x.dims.len() - 1)?;
        let n = x.dims[axis];
        let from = self.u.int_in_range(0..=n - 1)?;
        let (kind, taken) = (
            Slice {
                starts: Some(vec![from as i64]),
                ends: Some(vec![i64::MAX]),
                axes: Some(vec![axis as i64]),
            },
            n - from,
        );
        let mut dims = x.dims;
        dims[axis] = taken;
        self.op(kind, vec![Some(x.value)], dims);
        Ok(())
    }

    fn pad(&mut self, x: Known) -> Result<()> {
        let mode = *self.u.choose(&[PadMode::Constant, PadMode::Reflect, PadMode::Edge])?;
        let value = if mode == PadMode::Constant { Some(self.number()?) } else { None };
        let channels = i64::from(mode == PadMode::Constant && self.u.ratio(1, 8)?);
        let (a, b) = (self.u.int_in_range(0..=1)?, self.u.int_in_range(0..=1)?);
        let amounts = Some(vec![0, 0, a, b, 0, channels, b, 0]);
        let d = &x.dims;
        if mode == PadMode::Reflect && (d[2] < 2 || d[3] < 2) {
            return Ok(());
        }
        let dims = vec![d[0], d[1] + channels as u64, d[2] + (a + b) as u64, d[3] + b as u64];
        self.op(Pad { mode, amounts, value }, vec![Some(x.value)], dims);
        Ok(())
    }

    fn pool(&mut self, x: Known) -> Result<()> {
        let f = *self.u.choose(&[PoolKind::Average, PoolKind::Max])?;
        let padded: bool = self.u.arbitrary()?;
        if !padded && (x.dims[2] < 2 || x.dims[3] < 2) {
            return Ok(());
        }
        let (pad, more) = match padded {
            true => (Padding::Explicit([(1, 0); 2].into_iter().collect()), 1),
            false => (Padding::default(), 0),
        };
        let kind = Pool {
            f,
            kernel: [2, 2].into_iter().collect(),
            pad,
            count_include_pad: self.u.arbitrary()?,
            ..Pool::default()
        };
        let d = &x.dims;
        let dims = vec![d[0], d[1], d[2] - 1 + more, d[3] - 1 + more];
        self.op(kind, vec![Some(x.value)], dims);
        Ok(())
    }

    fn reduce(&mut self, x: Known) -> Result<()> {
        let f = *self.u.choose(&[ReduceKind::Mean, ReduceKind::Max, ReduceKind::Sum])?;
        let axes = self.u.choose(&[&[2i64, 3][..], &[3], &[1]])?.to_vec();
        let keepdims: bool = self.u.arbitrary()?;
        let gone = |i: usize| axes.contains(&(i as i64));
        let dims: Vec<u64> = x
            .dims
            .iter()
            .enumerate()
            .filter(|&(i, _)| keepdims || !gone(i))
            .map(|(i, &d)| if gone(i) { 1 } else { d })
            .collect();
        // Only ranks that the other ops take.
        if matches!(dims.len(), 2 | 4) {
            let kind = Reduce { f, axes: Some(axes), keepdims, ..Reduce::default() };
            self.op(kind, vec![Some(x.value)], dims);
        }
        Ok(())
    }

    /// Arithmetic by a constant: of one channel each, of one element, or of all.
    fn arithmetic(&mut self, x: Known) -> Result<()> {
        let rank = x.dims.len();
        let mut dims = vec![1; rank - 1];
        dims[0] = x.dims[1];
        let dims = match self.u.int_in_range(0..=5)? {
            0 => Vec::new(),
            1 => x.dims.clone(),
            2 => vec![x.dims[rank - 1]],
            _ => dims,
        };
        let kinds = [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div];
        let kind = *self.u.choose(&kinds)?;
        let k = self.constant(&dims, kind == BinaryKind::Div)?;
        let swapped = kind != BinaryKind::Div && self.u.ratio(1, 3)?;
        let operands = if swapped { [k, x.value] } else { [x.value, k] };
        self.op(kind, operands.map(Some).to_vec(), x.dims);
        Ok(())
    }

    /// Two or three branches of one value, summed up: a padded convolution, perhaps a point-wise one, perhaps the value
    /// itself, each perhaps with a batch norm.
    fn beside(&mut self, x: Known) -> Result<()> {
        let c = x.dims[1];
        let groups = if self.u.ratio(1, 3)? { c } else { 1 };
        let mut terms = Vec::new();
        for k in [3, 1, 0] {
            if k < 3 && self.u.ratio(1, 3)? {
                continue;
            }
            if k > 0 {
                let w = self.constant(&[c, c / groups, k, k], false)?;
                let bias = self.bias(c)?;
                let p = (k / 2) as i64;
                let kind = Conv {
                    x: DataLayout::channels_first(2),
                    w: KernelLayout::new(KernelOrder::Ois, 2),
                    groups,
                    pad: Padding::Explicit([(p, p); 2].into_iter().collect()),
                    ..Conv::default()
                };
                self.op(kind, vec![Some(x.value), Some(w), bias], x.dims.clone());
            } else {
                self.values.push(x.clone());
            }
            if self.u.ratio(2, 3)? {
                self.batch_norm_of_newest()?;
            }
            terms.extend(self.values.last().cloned());
        }
        let mut sum = terms[0].value;
        for t in &terms[1..] {
            let kind = *self.u.choose(&[BinaryKind::Add, BinaryKind::Add, BinaryKind::Sub])?;
            self.op(kind, vec![Some(sum), Some(t.value)], x.dims.clone());
            sum = self.values.last().map_or(sum, |k| k.value);
        }
        Ok(())
    }

    /// A convolution whose weight is stored in 8 bits.
    fn dequantized(&mut self, x: Known) -> Result<()> {
        let (c, out) = (x.dims[1], self.u.int_in_range(1..=3)?);
        let mut q = Vec::new();
        for _ in 0..out * c {
            q.push(f64::from(self.u.int_in_range(-128i32..=127)?));
        }
        let entry = self.module.constants.add_f64(normfold_ir::DType::I8, &[out, c, 1, 1], &q);
        let ty = TensorType::of(normfold_ir::DType::I8, &[out, c, 1, 1]);
        let name = format!("q{}", entry.index());
        let q = self.graph.create(OpSpec::new(Constant::new(entry)).named_result(name, ty));
        let q = self.graph.result(q, 0);
        let axis = self.u.int_in_range(0..=1)?;
        let scales = match self.u.ratio(1, 2)? {
            true => Vec::new(),
            false => vec![[out, c][axis]],
        };
        let s = self.constant(&scales, true)?;
        let dims = vec![out, c, 1, 1];
        self.op(Dequantize { axis: axis as i64, block: 0 }, vec![Some(q), Some(s)], dims);
        let Some(w) = self.values.pop() else { return Ok(()) };
        let bias = self.bias(out)?;
        let kind = Conv {
            x: DataLayout::channels_first(2),
            w: KernelLayout::new(KernelOrder::Ois, 2),
            ..Conv::default()
        };
        let dims = vec![x.dims[0], out, x.dims[2], x.dims[3]];
        self.op(kind, vec![Some(x.value), Some(w.value), bias], dims);
        Ok(())
    }
}
