//! Random modules go through the text and come back.

use crate::same::round_trip;
use arbtest::arbitrary::{Result, Unstructured};
use normfold_ir::*;
use normfold_property::holds;
use std::sync::Arc;

const NAMES: &[&str] = &["x", "a/b:0", "12", "", "é\n\"\\", "true", "none", "w.1", "-", "->", "as"];

fn name(u: &mut Unstructured<'_>) -> Result<Arc<str>> {
    Ok((*u.choose(NAMES)?).into())
}

fn dim(u: &mut Unstructured<'_>) -> Result<Dim> {
    Ok(match u.int_in_range(0..=3)? {
        0 => Dim::Unknown,
        1 => Dim::Named(name(u)?),
        2 => Dim::Known(u.arbitrary()?),
        _ => Dim::Known(u.int_in_range(0..=4)?),
    })
}

fn ty(u: &mut Unstructured<'_>) -> Result<Type> {
    let dtype = *u.choose(DType::ALL)?;
    Ok(match u.int_in_range(0..=4)? {
        0 => Type::Unknown,
        1 => Type::Other(name(u)?),
        2 => TensorType::unranked(dtype).into(),
        _ => {
            let n = u.int_in_range(0..=3)?;
            let dims: Result<Vec<Dim>> = (0..n).map(|_| dim(u)).collect();
            TensorType { dtype, shape: Some(dims?.into()) }.into()
        }
    })
}

fn bytes(u: &mut Unstructured<'_>, n: usize) -> Result<Vec<u8>> {
    // Few values, so that some tensors are uniform.
    let few: [u8; 3] = u.arbitrary()?;
    (0..n).map(|_| Ok(few[u.choose_index(3)?])).collect()
}

fn constant(u: &mut Unstructured<'_>, pool: &mut ConstPool) -> Result<ConstId> {
    let n = u.int_in_range(0..=2)?;
    let dims: Vec<u64> = (0..n).map(|_| u.int_in_range(0..=6)).collect::<Result<_>>()?;
    let count: u64 = dims.iter().product();
    let dtype = *u.choose(DType::ALL)?;
    let ty = TensorType::of(dtype, &dims);
    if u.ratio(1, 4)? {
        let hash = u.arbitrary()?;
        return Ok(pool.add(ty, ConstData::Absent { hash }));
    }
    if dtype == DType::Str {
        let strings: Result<Vec<Arc<[u8]>>> = (0..count)
            .map(|_| Ok(if u.ratio(1, 3)? { [0xff, 0].into() } else { name(u)?.as_bytes().into() }))
            .collect();
        return Ok(pool.add(ty, ConstData::Strings(strings?.into())));
    }
    let width = dtype.bits() as usize;
    let (data, last_bits) = if u.ratio(1, 4)? {
        (bytes(u, width.div_ceil(8))?, width % 8)
    } else {
        (bytes(u, dtype.bytes_for(count).unwrap() as usize)?, count as usize * width % 8)
    };
    let splat = data.len() == width.div_ceil(8) && u.arbitrary()?;
    let mut data = data;
    let last_bits = if splat { width % 8 } else { last_bits };
    if let (Some(last), 1..) = (data.last_mut(), last_bits) {
        *last &= (1 << last_bits) - 1;
    }
    if splat {
        return Ok(pool.add(ty, ConstData::Splat(data.into())));
    }
    data.resize(dtype.bytes_for(count).unwrap() as usize, 0);
    let id = pool.add(ty, ConstData::Owned(data.into()));
    if !dtype.is_arithmetic_float() || count == 0 || u.arbitrary()? {
        return Ok(id);
    }
    derived(u, pool, id, dims)
}

fn derived(
    u: &mut Unstructured<'_>,
    pool: &mut ConstPool,
    mut id: ConstId,
    mut dims: Vec<u64>,
) -> Result<ConstId> {
    for _ in 0..u.int_in_range(1..=3)? {
        let (map, n) = match dims.len() {
            0 => (ElementMap::single(), 1),
            rank => {
                let axis = u.choose_index(rank)?;
                (ElementMap::axis(&dims, axis), dims[axis])
            }
        };
        let values: Vec<f64> =
            (0..n).map(|_| Ok(f64::from(u.arbitrary::<f32>()?))).collect::<Result<_>>()?;
        let vector = pool.add_f64(DType::F64, &[n], &values);
        let step = match u.int_in_range(0..=4)? {
            0 => Step::Scale { map, factors: vector },
            1 => Step::Shift { map, addends: vector },
            2 => {
                let count = dims.iter().product::<u64>() as i64;
                let positions: Vec<i64> = (0..count).step_by(u.int_in_range(1..=3)?).collect();
                let n = positions.len() as u64;
                let positions = pool.add_i64(&[n], &positions);
                let addends = pool.add_f64(DType::F64, &[n], &vec![0.5; n as usize]);
                Step::Scatter { positions, addends }
            }
            3 => {
                let parts =
                    dims.iter().map(|&d| u.int_in_range(0..=d)).collect::<Result<Vec<_>>>()?;
                let offset = dims.iter().zip(&parts).map(|(d, p)| u.int_in_range(0..=d - p));
                let offset = offset.collect::<Result<_>>()?;
                let values = vec![0.25; parts.iter().product::<u64>() as usize];
                let source = pool.add_f64(pool.dtype(id), &parts, &values);
                let source = match u.arbitrary()? {
                    true => source,
                    false => pool.derive(source, Step::Broadcast { dims: parts }),
                };
                Step::Embed { source, offset, negated: u.arbitrary()? }
            }
            _ => {
                dims.insert(0, u.int_in_range(1..=3)?);
                Step::Broadcast { dims: dims.clone() }
            }
        };
        id = pool.derive(id, step);
    }
    Ok(id)
}

fn attribute(u: &mut Unstructured<'_>, pool: &mut ConstPool, depth: u32) -> Result<Attribute> {
    Ok(match u.int_in_range(0..=if depth < 3 { 10 } else { 8 })? {
        0 => Attribute::Bool(u.arbitrary()?),
        1 => Attribute::Int(u.arbitrary()?),
        2 => Attribute::Float(u.arbitrary()?),
        3 => Attribute::Float(f64::from(u.arbitrary::<f32>()?)),
        4 => Attribute::Word(name(u)?),
        5 => Attribute::Str(name(u)?),
        6 => Attribute::Bytes(u.arbitrary::<Vec<u8>>()?.into()),
        7 => Attribute::Type(ty(u)?),
        8 => Attribute::Ref(name(u)?),
        9 => Attribute::Tensor(constant(u, pool)?),
        _ => {
            let n = u.int_in_range(0..=3)?;
            Attribute::List((0..n).map(|_| attribute(u, pool, depth + 1)).collect::<Result<_>>()?)
        }
    })
}

fn attrs(u: &mut Unstructured<'_>, pool: &mut ConstPool) -> Result<AttrMap> {
    let n = u.int_in_range(0..=3)?;
    (0..n).map(|_| Ok((name(u)?, attribute(u, pool, 0)?))).collect()
}

fn kind(u: &mut Unstructured<'_>, pool: &mut ConstPool) -> Result<OpKind> {
    Ok(match u.int_in_range(0..=7)? {
        0 => (*u.choose(UnaryKind::ALL)?).into(),
        1 => (*u.choose(BinaryKind::ALL)?).into(),
        2 => BatchNorm { axis: u.arbitrary()?, eps: u.arbitrary()?, ..BatchNorm::default() }.into(),
        3 => Conv {
            x: DataLayout { spatial: u.int_in_range(1..=3)?, channel_last: u.arbitrary()? },
            w: KernelLayout::new(*u.choose(KernelOrder::ALL)?, u.int_in_range(1..=3)?),
            groups: u.int_in_range(0..=i64::MAX as u64)?,
            pad: Padding::Explicit(
                std::iter::repeat_n((u.arbitrary()?, 0), u.int_in_range(0..=3)?).collect(),
            ),
            ..Conv::default()
        }
        .into(),
        4 => {
            let binding = *u.choose(Binding::ALL)?;
            Constant { entry: constant(u, pool)?, binding }.into()
        }
        5 => Clip { min: u.arbitrary()?, max: u.arbitrary()? }.into(),
        6 => Resize { mode: name(u)?, scales: u.arbitrary()?, ..Resize::default() }.into(),
        _ => Opaque {
            domain: name(u)?,
            name: if u.arbitrary()? { "a::b".into() } else { name(u)? },
            attrs: attrs(u, pool)?,
            pure: u.arbitrary()?,
            type_uses: u.arbitrary()?,
            shaped: u.arbitrary()?,
            quantized: u.arbitrary()?,
            norm: CarriedNorm::ALL.get(u.choose_index(10)?).copied(),
        }
        .into(),
    })
}

fn results(u: &mut Unstructured<'_>, spec: OpSpec, n: usize) -> Result<OpSpec> {
    let list: Result<Vec<ResultSpec>> = (0..n)
        .map(|_| {
            Ok(ResultSpec { name: if u.arbitrary()? { Some(name(u)?) } else { None }, ty: ty(u)? })
        })
        .collect();
    Ok(spec.results(list?))
}

fn graph(
    u: &mut Unstructured<'_>,
    m: &mut Module,
    role: GraphRole,
    captures: u32,
    depth: u32,
) -> Result<GraphId> {
    let mut g = Graph::new(name(u)?, role);
    let mut values: Vec<Value> = Vec::new();
    let create = |g: &mut Graph, values: &mut Vec<Value>, spec: OpSpec| {
        let op = g.create(spec);
        values.extend(g.results(op));
        op
    };
    for index in 0..u.int_in_range(0..=2)? {
        let spec = results(u, OpSpec::new(Parameter { index, capture: false }), 1)?;
        create(&mut g, &mut values, spec);
    }
    for index in 0..captures {
        if u.arbitrary()? {
            let spec = results(u, OpSpec::new(Parameter { index, capture: true }), 1)?;
            create(&mut g, &mut values, spec.name("p"));
        }
    }
    for _ in 0..u.int_in_range(0..=6)? {
        let kind = kind(u, &mut m.constants)?;
        let (fixed, opaque) =
            (matches!(kind, OpKind::Constant(_)), matches!(kind, OpKind::Opaque(_)));
        let mut spec = OpSpec::new(kind);
        if !fixed {
            for _ in 0..u.int_in_range(0..=3)? {
                let v = if values.is_empty() || u.ratio(1, 5)? {
                    None
                } else {
                    Some(*u.choose(&values)?)
                };
                spec = spec.operands([v]);
            }
        }
        if opaque && depth < 2 {
            for _ in 0..u.int_in_range(0..=2)? {
                let captured = if values.is_empty() {
                    vec![]
                } else {
                    vec![*u.choose(&values)?, *u.choose(&values)?]
                };
                let body = graph(u, m, GraphRole::Body, captured.len() as u32, depth + 1)?;
                spec = spec.region(body);
                if u.arbitrary()? {
                    spec = spec.captures(captured);
                }
            }
        }
        if u.arbitrary()? {
            spec = spec.name(name(u)?);
        }
        let n = if fixed { 1 } else { u.int_in_range(0..=3)? };
        let spec = results(u, spec, n)?;
        create(&mut g, &mut values, spec);
    }
    if u.ratio(7, 8)? {
        let n = if values.is_empty() { 0 } else { u.int_in_range(0..=2)? };
        let operands: Result<Vec<Option<Value>>> =
            (0..n).map(|_| Ok(Some(*u.choose(&values)?))).collect();
        let names =
            if u.arbitrary()? { (0..n).map(|_| name(u)).collect::<Result<_>>()? } else { vec![] };
        g.create(OpSpec::new(Return { names }).operands(operands?));
    }
    Ok(m.add_graph(g))
}

#[test]
fn modules() {
    holds(300, |u| {
        let mut m = Module::new(name(u)?);
        m.attrs = attrs(u, &mut m.constants)?;
        graph(u, &mut m, GraphRole::Main, 0, 0)?;
        for _ in 0..u.int_in_range(0..=2)? {
            graph(u, &mut m, GraphRole::Function, 0, 0)?;
        }
        round_trip(&m);
        // The verifier answers on anything.
        if let Err(e) = verify(&m) {
            assert!(!e.is_empty() && !e.to_string().is_empty());
        }
        Ok(())
    });
}
