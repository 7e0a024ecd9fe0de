//! Random modules of known ops, with batch norms strewn in.

mod between;

use arbtest::arbitrary::{Result, Unstructured};
use normfold_ir::{
    Activation, ActivationKind, BatchNorm, BinaryKind, Cast, ConstId, Constant, Conv,
    ConvTranspose, DType, DataLayout, Dropout, Flatten, Graph, GraphRole, Identity, KernelLayout,
    KernelOrder, Linear, MatMul, Module, OpKind, OpSpec, Padding, Parameter, Return, Shape,
    TensorType, UnaryKind, Value,
};

/// A value, its extents and its element type.
#[derive(Clone, Debug)]
struct Known {
    value: Value,
    dims: Vec<u64>,
    dtype: DType,
}

struct Builder<'u, 'b> {
    u: &'u mut Unstructured<'b>,
    module: Module,
    graph: Graph,
    /// The element types that there are.
    types: Vec<DType>,
    /// That of what was picked last, and of what is made from it.
    dtype: DType,
    values: Vec<Known>,
    /// Constants, to be shared now and then.
    constants: Vec<Known>,
    shapes: Vec<Value>,
}

/// A random module: a graph of 1 to 10 ops and a batch norm behind about every second. Values are of the first of `types`;
/// where there are more, casts to them are strewn in.
///
/// # Errors
/// The randomness is used up.
pub fn module(u: &mut Unstructured<'_>, types: &[DType]) -> Result<Module> {
    let dtype = types[0];
    let graph = Graph::new("main", GraphRole::Main);
    let module = Module::new("random");
    let mut b = Builder {
        u,
        module,
        graph,
        types: types.to_vec(),
        dtype,
        values: Vec::new(),
        constants: Vec::new(),
        shapes: Vec::new(),
    };
    let dims = if b.u.ratio(1, 4)? {
        vec![b.u.int_in_range(1..=3)?, b.u.int_in_range(1..=4)?]
    } else {
        vec![b.u.int_in_range(1..=2)?, b.u.int_in_range(1..=4)?, b.u.int_in_range(3..=4)?, 3]
    };
    let ty = TensorType::of(dtype, &dims);
    let x = b.graph.create(OpSpec::new(Parameter::default()).named_result("x", ty));
    b.values.push(Known { value: b.graph.result(x, 0), dims, dtype });
    for _ in 0..b.u.int_in_range(1..=10)? {
        b.step()?;
        if b.u.ratio(1, 2)? {
            let x = b.pick()?;
            b.batch_norm(x)?;
        }
    }
    b.finish()
}

impl Builder<'_, '_> {
    /// The newest value, or now and then an older one.
    fn pick(&mut self) -> Result<Known> {
        let last = self.values.len() - 1;
        let i = if self.u.ratio(1, 5)? { self.u.int_in_range(0..=last)? } else { last };
        self.dtype = self.values[i].dtype;
        Ok(self.values[i].clone())
    }

    /// A number that is never far from 1, and exact in every type.
    fn number(&mut self) -> Result<f64> {
        Ok(f64::from(self.u.int_in_range(-8..=8)?) / 8.0)
    }

    fn constant(&mut self, dims: &[u64], positive: bool) -> Result<Value> {
        if !positive && self.u.ratio(1, 6)? {
            let fits = |k: &&Known| k.dims == dims && k.dtype == self.dtype;
            let known: Vec<Value> = self.constants.iter().filter(fits).map(|k| k.value).collect();
            if !known.is_empty() {
                return Ok(*self.u.choose(&known)?);
            }
        }
        let n = dims.iter().product::<u64>();
        let mut values = Vec::new();
        for _ in 0..n {
            let v = self.number()?;
            values.push(if positive { v.abs() + 0.25 } else { v });
        }
        let entry: ConstId = self.module.constants.add_f64(self.dtype, dims, &values);
        let ty = TensorType::of(self.dtype, dims);
        let name = format!("k{}", entry.index());
        let op = self.graph.create(OpSpec::new(Constant::new(entry)).named_result(name, ty));
        let value = self.graph.result(op, 0);
        self.constants.push(Known { value, dims: dims.to_vec(), dtype: self.dtype });
        Ok(value)
    }

    /// Creates an op of one result and lists it.
    fn op(&mut self, kind: impl Into<OpKind>, operands: Vec<Option<Value>>, dims: Vec<u64>) {
        let n = self.graph.len();
        let spec = OpSpec::new(kind)
            .operands(operands)
            .named_result(format!("v{n}"), TensorType::of(self.dtype, &dims))
            .name(format!("op{n}"));
        let op = self.graph.create(spec);
        self.values.push(Known { value: self.graph.result(op, 0), dims, dtype: self.dtype });
    }

    fn batch_norm_of_newest(&mut self) -> Result<()> {
        let newest = self.values.last().cloned();
        newest.map_or(Ok(()), |x| self.batch_norm(x))
    }

    fn batch_norm(&mut self, x: Known) -> Result<()> {
        self.dtype = x.dtype;
        // Mostly the channel axis.
        let axis = if self.u.ratio(1, 12)? { x.dims.len() - 1 } else { 1 };
        let c = [x.dims[axis]];
        let scale = if self.u.ratio(1, 8)? { None } else { Some(self.constant(&c, false)?) };
        let bias = if self.u.ratio(1, 8)? { None } else { Some(self.constant(&c, false)?) };
        let (mean, variance) = (self.constant(&c, false)?, self.constant(&c, true)?);
        let operands = vec![Some(x.value), scale, bias, Some(mean), Some(variance)];
        let kind = BatchNorm { axis: axis as u32, ..BatchNorm::default() };
        self.op(kind, operands, x.dims);
        Ok(())
    }

    fn bias(&mut self, n: u64) -> Result<Option<Value>> {
        Ok(if self.u.ratio(1, 2)? { Some(self.constant(&[n], false)?) } else { None })
    }

    fn step(&mut self) -> Result<()> {
        let x = self.pick()?;
        if self.types.len() > 1 && self.u.ratio(1, 4)? {
            return self.cast(x);
        }
        if self.u.ratio(2, 5)? {
            return self.between(x);
        }
        match (x.dims.len(), self.u.int_in_range(0..=11)?) {
            (4, 0..=4) => self.conv(x)?,
            (4, 5) => self.conv_transpose(x)?,
            (2, 0..=4) => self.linear(x)?,
            (2, 5) => {
                let n = self.u.int_in_range(1..=4)?;
                let w = self.constant(&[x.dims[1], n], false)?;
                self.op(MatMul {}, vec![Some(x.value), Some(w)], vec![x.dims[0], n]);
            }
            (4, 6) => {
                let rest = x.dims[1..].iter().product();
                self.op(Flatten { axis: 1 }, vec![Some(x.value)], vec![x.dims[0], rest]);
            }
            (_, 7) => {
                let kind =
                    *self.u.choose(&[UnaryKind::Relu, UnaryKind::Sigmoid, UnaryKind::Neg])?;
                self.op(kind, vec![Some(x.value)], x.dims);
            }
            (_, 8) => {
                let f = ActivationKind::LeakyRelu;
                self.op(
                    Activation { f, alpha: 0.25, ..Activation::default() },
                    vec![Some(x.value)],
                    x.dims,
                );
            }
            (_, 9) => {
                if self.u.ratio(1, 2)? {
                    self.op(Identity {}, vec![Some(x.value)], x.dims);
                } else {
                    self.op(Dropout::default(), vec![Some(x.value)], x.dims);
                }
            }
            (_, 10) => {
                // Something that only reads the shape.
                let rank = x.dims.len() as u64;
                let name = format!("s{}", self.graph.len());
                let spec = OpSpec::new(Shape::default())
                    .operand(x.value)
                    .named_result(name, TensorType::of(DType::I64, &[rank]));
                let op = self.graph.create(spec);
                self.shapes.push(self.graph.result(op, 0));
            }
            _ => {
                let fits = |k: &&Known| k.dims == x.dims && k.dtype == x.dtype;
                let same: Vec<Value> = self.values.iter().filter(fits).map(|k| k.value).collect();
                let y = *self.u.choose(&same)?;
                let kind = *self.u.choose(&[BinaryKind::Add, BinaryKind::Sub])?;
                self.op(kind, vec![Some(x.value), Some(y)], x.dims);
            }
        }
        Ok(())
    }

    /// A cast; perhaps of what a batch norm gives that others read as it is.
    fn cast(&mut self, x: Known) -> Result<()> {
        let to = *self.u.choose(&self.types)?;
        let apart = x.dims.len() == 4 && self.u.ratio(1, 2)?;
        let mut x = x;
        if apart {
            self.batch_norm(x.clone())?;
            x = self.values.last().cloned().unwrap_or(x);
            if self.u.ratio(1, 2)? {
                self.conv(x.clone())?;
            }
        }
        self.dtype = to;
        self.op(Cast { to }, vec![Some(x.value)], x.dims.clone());
        if apart {
            let cast = self.values.last().cloned().unwrap_or(x);
            self.conv(cast)?;
        }
        Ok(())
    }

    fn conv(&mut self, x: Known) -> Result<()> {
        let (c, k) = (x.dims[1], if self.u.ratio(1, 3)? { 3 } else { 1 });
        let groups = if self.u.ratio(1, 3)? { c } else { 1 };
        let out = groups * self.u.int_in_range(1..=2)?;
        let padded = k == 3 && (self.u.ratio(2, 3)? || x.dims[2] < 3 || x.dims[3] < 3);
        let w = self.constant(&[out, c / groups, k, k], false)?;
        let bias = self.bias(out)?;
        let pad = if padded {
            Padding::Explicit([(1, 1); 2].into_iter().collect())
        } else {
            Padding::default()
        };
        let cut = if padded || k == 1 { 0 } else { 2 };
        let kind = Conv {
            x: DataLayout::channels_first(2),
            w: KernelLayout::new(KernelOrder::Ois, 2),
            groups,
            pad,
            ..Conv::default()
        };
        let dims = vec![x.dims[0], out, x.dims[2] - cut, x.dims[3] - cut];
        self.op(kind, vec![Some(x.value), Some(w), bias], dims);
        Ok(())
    }

    fn conv_transpose(&mut self, x: Known) -> Result<()> {
        let c = x.dims[1];
        let groups = if self.u.ratio(1, 3)? { c } else { 1 };
        let per_group = self.u.int_in_range(1..=2)?;
        let k = self.u.int_in_range(1..=2)?;
        let w = self.constant(&[c, per_group, k, k], false)?;
        let bias = self.bias(groups * per_group)?;
        let kind = ConvTranspose { groups, ..ConvTranspose::default() };
        let dims = vec![x.dims[0], groups * per_group, x.dims[2] + k - 1, x.dims[3] + k - 1];
        self.op(kind, vec![Some(x.value), Some(w), bias], dims);
        Ok(())
    }

    fn linear(&mut self, x: Known) -> Result<()> {
        let (m, k, n) = (x.dims[0], x.dims[1], self.u.int_in_range(1..=4)?);
        let trans_w = self.u.ratio(1, 2)?;
        let shape = if trans_w { [n, k] } else { [k, n] };
        let w = self.constant(&shape, false)?;
        let shapes: [&[u64]; 5] = [&[n], &[1, n], &[m, n], &[m, 1], &[]];
        let c = match self.u.ratio(1, 3)? {
            true => None,
            false => {
                let dims = *self.u.choose(&shapes)?;
                Some(self.constant(dims, false)?)
            }
        };
        let kind = Linear {
            alpha: *self.u.choose(&[1.0, 0.5])?,
            beta: *self.u.choose(&[1.0, 0.0, 2.0])?,
            trans_w,
            matrix: true,
            ..Linear::default()
        };
        self.op(kind, vec![Some(x.value), Some(w), c], vec![m, n]);
        Ok(())
    }

    /// The newest value is a result, and some others.
    fn finish(mut self) -> Result<Module> {
        let mut results: Vec<Value> = self.values.last().map(|k| k.value).into_iter().collect();
        for i in 1..self.values.len().saturating_sub(1) {
            if self.u.ratio(1, 12)? {
                results.push(self.values[i].value);
            }
        }
        results.append(&mut self.shapes);
        self.graph.create(OpSpec::new(Return::default()).operands(results.into_iter().map(Some)));
        self.module.add_graph(self.graph);
        Ok(self.module)
    }
}
