//! Pooling over windows.

use super::{
    EvalError, Scalar,
    cast::int_range,
    index::View,
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
    window::{self, Axes, Window},
};
use crate::{DType, Pool, PoolKind};
use smallvec::{SmallVec, smallvec};

/// What a window gives.
#[derive(Clone, Copy)]
enum What {
    Max,
    /// The linear index in x of the largest element, the first of equals.
    MaxIndex,
    Average {
        count_include_pad: bool,
    },
    Lp(f64),
}

struct Pooling {
    x: NodeId,
    /// From the result to batch and channel in x.
    base: View,
    axes: Axes,
    taps: u64,
    what: What,
    /// What a window without data has as its largest element.
    lowest: Scalar,
}

impl Formula for Pooling {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let base = self.base.at(i);
        let positions: SmallVec<[i64; 3]> = self.axes.iter().map(|a| a.position(i)).collect();
        let mut largest: Option<(Scalar, u64)> = None;
        let (mut sum, mut cells) = (0.0, 0u64);
        cx.spend(self.taps)?;
        for tap in 0..self.taps {
            let at = match self.tap(&positions, tap) {
                Tap::Data(off) => base + off,
                Tap::Padding => {
                    if matches!(self.what, What::Average { count_include_pad: true }) {
                        cells += 1;
                    }
                    continue;
                }
                Tap::Beyond => continue,
            };
            let v = cx.get(self.x, at)?;
            match self.what {
                What::Max | What::MaxIndex => {
                    let larger = |(m, _): (Scalar, u64)| v.to_f64() > m.to_f64();
                    if largest.is_none_or(larger) {
                        largest = Some((v, at));
                    }
                }
                What::Average { .. } => {
                    sum += v.to_f64();
                    cells += 1;
                }
                What::Lp(p) => sum += libm::pow(v.to_f64().abs(), p),
            }
        }
        Ok(match self.what {
            What::Max => largest.map_or(self.lowest, |(v, _)| v),
            What::MaxIndex => Scalar::I(largest.map_or(0, |(_, at)| at as i64)),
            What::Average { .. } => Scalar::F(sum / cells as f64),
            What::Lp(p) => Scalar::F(libm::pow(sum, 1.0 / p)),
        })
    }
}

enum Tap {
    Data(u64),
    /// Within the padded extent.
    Padding,
    /// Beyond it, where a partial window of `ceil_mode` reaches.
    Beyond,
}

impl Pooling {
    fn tap(&self, positions: &[i64], mut tap: u64) -> Tap {
        let mut off = 0;
        let mut padding = false;
        for (a, &p) in self.axes.iter().zip(positions).rev() {
            let k = (tap % a.kernel as u64) as i64;
            tap /= a.kernel as u64;
            let q = p * a.stride + k * a.dilation - a.begin;
            if q >= a.input + a.end {
                return Tap::Beyond;
            }
            padding |= q < 0 || q >= a.input;
            off += q.max(0) as u64 * a.x_stride;
        }
        if padding { Tap::Padding } else { Tap::Data(off) }
    }
}

pub(super) fn pool<'a>(s: &mut Site<'_, 'a>, k: &Pool) -> Plan<'a> {
    let x = s.operand(0)?;
    let dtype = s.dtype(x);
    if !(dtype.is_float() || (k.f == PoolKind::Max && dtype.is_int())) {
        return Err(s.unsupported(format!("an operand of type {dtype}")));
    }
    let what = match (k.f, s.result) {
        (PoolKind::Max, 0) => What::Max,
        (PoolKind::Max, 1) if !k.x.channel_last => What::MaxIndex,
        (PoolKind::Average, 0) => What::Average { count_include_pad: k.count_include_pad },
        (PoolKind::Lp, 0) => What::Lp(k.p as f64),
        _ => return Err(s.unsupported(format!("result {}", s.result))),
    };
    let dims = s.dims(x);
    let window = Window {
        layout: k.x,
        kernel: &k.kernel,
        strides: &k.strides,
        dilations: &k.dilations,
        pad: &k.pad,
    };
    let mut axes = window.forward(s, &dims, k.ceil_mode)?;
    let (out, [strides, _]) = window::place(k.x, &mut axes, &dims, dims[k.x.channel_axis()]);
    let kept = [0, k.x.channel_axis()];
    let base = View::new(
        0,
        out.iter().enumerate().map(|(axis, &extent)| {
            (extent, if kept.contains(&axis) { strides[axis] as i64 } else { 0 })
        }),
    );
    let lowest = match int_range(dtype) {
        Some((low, _)) => Scalar::I(low),
        None => Scalar::F(f64::NEG_INFINITY),
    };
    let taps = k.kernel.iter().try_fold(1u64, |n, &e| n.checked_mul(e));
    let taps = taps.ok_or_else(|| s.shape_error("the window is too large"))?;
    let result = if matches!(what, What::MaxIndex) { DType::I64 } else { dtype };
    Ok(Planned::formula(result, out, Pooling { x, base, axes, taps, what, lowest }))
}
