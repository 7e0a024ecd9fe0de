//! Quantization.

use super::{
    EvalError, Scalar,
    cast::{Rounding, int_range},
    index::{self, View},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::{DType, Dequantize, Quantize};
use smallvec::SmallVec;

/// Scale and zero point of each element of x.
struct Grid {
    scale: NodeId,
    zero: Option<NodeId>,
    at: At,
}

enum At {
    /// One for all, or one per position along an axis.
    View(View),
    /// One per block: the axis has `extent` elements in blocks of `block`, so `blocks` scales; neighbours along the axis
    /// are `stride` apart.
    Blocks { extent: u64, stride: u64, block: u64, blocks: u64 },
}

impl Grid {
    fn operands(&self, x: NodeId) -> SmallVec<[NodeId; 4]> {
        [x, self.scale].into_iter().chain(self.zero).collect()
    }

    fn at(&self, i: u64) -> u64 {
        match &self.at {
            At::View(v) => v.at(i),
            At::Blocks { extent, stride, block, blocks } => {
                let (outer, inner) = (i / stride / extent, i % stride);
                (outer * blocks + i / stride % extent / block) * stride + inner
            }
        }
    }

    fn zero(&self, cx: Reader<'_, '_>, at: u64) -> Result<Scalar, EvalError> {
        self.zero.map_or(Ok(Scalar::I(0)), |z| cx.get(z, at))
    }
}

fn grid(s: &Site<'_, '_>, x: NodeId, axis: i64, block: i64) -> Result<Grid, EvalError> {
    let (dims, scale, zero) = (s.dims(x), s.float(1)?, s.optional(2));
    let ds = s.dims(scale);
    if let Some(z) = zero
        && s.count(z) != s.count(scale)
    {
        return Err(s.shape_error("scale and zero point differ in extents"));
    }
    let misfit = || s.shape_error(format!("scales {:?} for elements {:?}", &ds[..], &dims[..]));
    let flat = || View::new(0, dims.iter().map(|&d| (d, 0)));
    if block == 0 && s.count(scale) == 1 && ds.len() <= 1 {
        return Ok(Grid { scale, zero, at: At::View(flat()) });
    }
    let axis = s.axis(axis, dims.len())?;
    let stride = index::strides(&dims)[axis];
    if block == 0 {
        if ds[..] != [dims[axis]] {
            return Err(misfit());
        }
        let steps = dims.iter().enumerate().map(|(a, &d)| (d, i64::from(a == axis)));
        return Ok(Grid { scale, zero, at: At::View(View::new(0, steps)) });
    }
    let block = s.extent(block)?;
    let blocks = dims[axis].div_ceil(block);
    let mut expected = dims.clone();
    expected[axis] = blocks;
    if ds != expected {
        return Err(misfit());
    }
    Ok(Grid { scale, zero, at: At::Blocks { extent: dims[axis], stride, block, blocks } })
}

enum To {
    Int(i64, i64),
    Float(Rounding),
}

struct Quantized {
    x: NodeId,
    grid: Grid,
    to: To,
}

impl Formula for Quantized {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        self.grid.operands(self.x)
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let at = self.grid.at(i);
        let v = cx.f(self.x, i)? / cx.f(self.grid.scale, at)?;
        let zero = self.grid.zero(cx, at)?;
        Ok(match &self.to {
            // Casts of floats saturate.
            To::Int(low, high) => {
                let steps = libm::rint(v) as i64;
                Scalar::I(steps.saturating_add(zero.to_i64()).clamp(*low, *high))
            }
            To::Float(r) => Scalar::F(r.round(v + zero.to_f64())),
        })
    }
}

pub(super) fn quantize<'a>(s: &mut Site<'_, 'a>, k: &Quantize) -> Plan<'a> {
    let x = s.operand(0)?;
    if !s.dtype(x).is_float() && s.dtype(x) != DType::I32 {
        return Err(s.unsupported(format!("an operand of type {}", s.dtype(x))));
    }
    let grid = grid(s, x, k.axis, k.block)?;
    let declared = || s.ev.graph.ty(s.ev.graph.result(s.op, 0)).dtype();
    let to = match grid.zero {
        Some(z) => s.dtype(z),
        None => declared().unwrap_or(DType::U8),
    };
    let rule = match int_range(to) {
        Some((low, high)) if to != DType::Bool => Some(To::Int(low, high)),
        _ => Rounding::to(to).map(To::Float),
    };
    let Some(rule) = rule else { return Err(s.unsupported(format!("a result of type {to}"))) };
    Ok(Planned::formula(to, s.dims(x), Quantized { x, grid, to: rule }))
}

struct Dequantized {
    x: NodeId,
    grid: Grid,
}

impl Formula for Dequantized {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        self.grid.operands(self.x)
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let at = self.grid.at(i);
        let (x, zero) = (cx.get(self.x, i)?, self.grid.zero(cx, at)?);
        let steps = match (x, zero) {
            (Scalar::I(x), Scalar::I(z)) => (i128::from(x) - i128::from(z)) as f64,
            (x, z) => x.to_f64() - z.to_f64(),
        };
        Ok(Scalar::F(steps * cx.f(self.grid.scale, at)?))
    }
}

pub(super) fn dequantize<'a>(s: &mut Site<'_, 'a>, k: &Dequantize) -> Plan<'a> {
    let x = s.operand(0)?;
    if let Some(z) = s.optional(2)
        && s.dtype(z) != s.dtype(x)
    {
        return Err(s.shape_error("elements and zero point differ in type"));
    }
    let grid = grid(s, x, k.axis, k.block)?;
    Ok(Planned::formula(s.dtype(grid.scale), s.dims(x), Dequantized { x, grid }))
}
