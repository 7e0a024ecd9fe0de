//! Resampling, by ONNX Resize: separable, each axis by its own coordinates.

use super::{
    EvalError, Scalar,
    index::{self, Dims},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::Resize;
use smallvec::{SmallVec, smallvec};

#[derive(Clone, Copy, PartialEq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

#[derive(Clone, Copy, PartialEq)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest(Nearest),
    Linear,
    Cubic { a: f64, exclude_outside: bool },
}

#[derive(Clone, Copy)]
struct Axis {
    input: u64,
    output: u64,
    /// Elements between neighbours in x.
    stride: u64,
    scale: f64,
    /// What part of x is shown (`tf_crop_and_resize`), normalised.
    start: f64,
    end: f64,
}

struct Resized {
    x: NodeId,
    axes: SmallVec<[Axis; 6]>,
    coordinates: Coordinates,
    mode: Mode,
    extrapolation: f64,
}

type Taps = SmallVec<[(u64, f64); 4]>;

impl Formula for Resized {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }

    fn element(&self, cx: Reader<'_, '_>, mut i: u64) -> Result<Scalar, EvalError> {
        let mut terms: SmallVec<[(u64, f64); 16]> = smallvec![(0, 1.0)];
        for a in self.axes.iter().rev() {
            let p = i % a.output;
            i /= a.output;
            let Some(taps) = self.taps(a, p) else { return Ok(Scalar::F(self.extrapolation)) };
            let all = terms.iter().flat_map(|&(at, w)| {
                taps.iter().map(move |&(q, weight)| (at + q * a.stride, w * weight))
            });
            terms = all.collect();
        }
        if let [(at, 1.0)] = terms[..] {
            return cx.get(self.x, at);
        }
        let mut sum = 0.0;
        for (at, w) in terms {
            sum += w * cx.f(self.x, at)?;
        }
        Ok(Scalar::F(sum))
    }
}

impl Resized {
    /// The coordinate in x of position `p` of the result.
    fn coordinate(&self, a: &Axis, p: u64) -> f64 {
        let (p, input, output) = (p as f64, a.input as f64, a.output as f64);
        match self.coordinates {
            Coordinates::HalfPixel => (p + 0.5) / a.scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let offset = input / 2.0 * (1.0 - output / (a.scale * input));
                offset + (p + 0.5) / a.scale - 0.5
            }
            Coordinates::PytorchHalfPixel if a.output == 1 => 0.0,
            Coordinates::PytorchHalfPixel => (p + 0.5) / a.scale - 0.5,
            Coordinates::AlignCorners if a.output == 1 => 0.0,
            Coordinates::AlignCorners => p * (input - 1.0) / (output - 1.0),
            Coordinates::Asymmetric => p / a.scale,
            Coordinates::TfHalfPixelForNn => (p + 0.5) / a.scale,
            Coordinates::TfCropAndResize if a.output == 1 => {
                0.5 * (a.start + a.end) * (input - 1.0)
            }
            Coordinates::TfCropAndResize => {
                a.start * (input - 1.0) + p * (a.end - a.start) * (input - 1.0) / (output - 1.0)
            }
        }
    }

    /// Positions in x and weights for position `p` of the result; `None` outside x where that is shown as a value.
    fn taps(&self, a: &Axis, p: u64) -> Option<Taps> {
        let at = self.coordinate(a, p);
        let last = a.input - 1;
        if self.coordinates == Coordinates::TfCropAndResize && (at < 0.0 || at > last as f64) {
            return None;
        }
        // Floats saturate, so what lies before the first element becomes the first.
        let inside = |q: f64| (q.max(0.0) as u64).min(last);
        let floor = libm::floor(at);
        let ratio = at - floor;
        let weights: SmallVec<[(f64, f64); 4]> = match self.mode {
            Mode::Nearest(how) => {
                let q = match how {
                    Nearest::RoundPreferFloor => libm::ceil(at - 0.5),
                    Nearest::RoundPreferCeil => libm::floor(at + 0.5),
                    Nearest::Floor => floor,
                    Nearest::Ceil => libm::ceil(at),
                };
                return Some(smallvec![(inside(q), 1.0)]);
            }
            Mode::Linear => smallvec![(floor, 1.0 - ratio), (floor + 1.0, ratio)],
            Mode::Cubic { a: c, exclude_outside } => {
                // The kernel of Keys: near for distances up to 1, far up to 2.
                let near = |d: f64| ((c + 2.0) * d - (c + 3.0)) * d * d + 1.0;
                let far = |d: f64| ((c * d - 5.0 * c) * d + 8.0 * c) * d - 4.0 * c;
                let mut w: SmallVec<[(f64, f64); 4]> = smallvec![
                    (floor - 1.0, far(ratio + 1.0)),
                    (floor, near(ratio)),
                    (floor + 1.0, near(1.0 - ratio)),
                    (floor + 2.0, far(2.0 - ratio)),
                ];
                if exclude_outside {
                    w.retain(|&mut (q, _)| q >= 0.0 && q <= last as f64);
                    let total: f64 = w.iter().map(|x| x.1).sum();
                    w.iter_mut().for_each(|x| x.1 /= total);
                }
                w
            }
        };
        // An element without weight is not read: it may be anything.
        Some(weights.into_iter().filter(|w| w.1 != 0.0).map(|(q, w)| (inside(q), w)).collect())
    }
}

fn coordinates(s: &Site<'_, '_>, word: &str) -> Result<Coordinates, EvalError> {
    Ok(match word {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize,
        other => return Err(s.unsupported(format!("coordinates `{other}`"))),
    })
}

fn mode(s: &Site<'_, '_>, k: &Resize) -> Result<Mode, EvalError> {
    Ok(match &*k.mode {
        "nearest" => Mode::Nearest(match &*k.nearest {
            "round_prefer_floor" => Nearest::RoundPreferFloor,
            "round_prefer_ceil" => Nearest::RoundPreferCeil,
            // ONNX Upsample says it by its example only: each element is repeated.
            "floor" | "unspecified" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            other => return Err(s.unsupported(format!("nearest mode `{other}`"))),
        }),
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic { a: k.cubic_coeff, exclude_outside: k.exclude_outside },
        other => return Err(s.unsupported(format!("mode `{other}`"))),
    })
}

/// The operand in `slot`, unless it is the empty list that stands for an absent one.
fn given(s: &Site<'_, '_>, slot: usize) -> Option<NodeId> {
    s.optional(slot).filter(|&n| s.count(n) > 0)
}

pub(super) fn resize<'a>(s: &mut Site<'_, 'a>, k: &Resize) -> Plan<'a> {
    let x = s.operand(0)?;
    let (dtype, dims) = (s.dtype(x), s.dims(x));
    let (coordinates, mode) = (coordinates(s, &k.coordinates)?, mode(s, k)?);
    if !dtype.is_float() && !matches!(mode, Mode::Nearest(_)) {
        return Err(s.unsupported(format!("interpolation of type {dtype}")));
    }
    if coordinates == Coordinates::TfCropAndResize && !dtype.is_float() {
        return Err(s.unsupported(format!("extrapolation of type {dtype}")));
    }
    let named = match &k.axes {
        Some(list) => s.axes(list, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    let roi = match given(s, 1) {
        Some(n) if coordinates == Coordinates::TfCropAndResize => s.floats(n)?,
        _ => [vec![0.0; named.len()], vec![1.0; named.len()]].concat(),
    };
    if roi.len() != 2 * named.len() {
        return Err(s.shape_error(format!("a region of {} numbers", roi.len())));
    }
    let strides = index::strides(&dims);
    let mut axes: SmallVec<[Axis; 6]> = dims
        .iter()
        .zip(&strides)
        .map(|(&d, &stride)| Axis { input: d, output: d, stride, scale: 1.0, start: 0.0, end: 1.0 })
        .collect();
    for (i, &axis) in named.iter().enumerate() {
        (axes[axis].start, axes[axis].end) = (roi[i], roi[i + named.len()]);
    }
    let scales = match (&k.scales, given(s, 2)) {
        (Some(list), _) => Some(list.clone()),
        (None, Some(n)) => Some(s.floats(n)?),
        (None, None) => None,
    };
    match (scales, given(s, 3)) {
        (Some(scales), None) => by_scales(s, &mut axes, &named, &scales, coordinates)?,
        (None, Some(n)) => {
            let sizes = s.ints(n)?;
            by_sizes(s, &mut axes, &named, &sizes, &k.aspect)?;
        }
        _ => return Err(s.shape_error("either scales or sizes are given")),
    }
    if k.antialias && !matches!(mode, Mode::Nearest(_)) && axes.iter().any(|a| a.scale < 1.0) {
        return Err(s.unsupported("smoothing (antialias)"));
    }
    if axes.iter().any(|a| a.input == 0 && a.output > 0) {
        return Err(s.shape_error("x is empty"));
    }
    let out: Dims = axes.iter().map(|a| a.output).collect();
    let f = Resized { x, axes, coordinates, mode, extrapolation: k.extrapolation };
    Ok(Planned::formula(dtype, out, f))
}

/// `floor(extent · scale)`, computed in f32 as ONNX's own shape inference does: 10 · 0.7 is 7 there.
fn by_scales(
    s: &Site<'_, '_>,
    axes: &mut [Axis],
    named: &[usize],
    scales: &[f64],
    coordinates: Coordinates,
) -> Result<(), EvalError> {
    if scales.len() != named.len() || scales.iter().any(|&v| v.is_nan() || v <= 0.0) {
        return Err(s.shape_error(format!("scales {scales:?} of {} axes", named.len())));
    }
    for (&axis, &scale) in named.iter().zip(scales) {
        let a = &mut axes[axis];
        a.scale = scale;
        let shown = match coordinates {
            Coordinates::TfCropAndResize => (a.end - a.start) as f32,
            _ => 1.0,
        };
        // Saturates; too large a result is refused by its number of elements.
        a.output = (a.input as f32 * shown * scale as f32).max(0.0) as u64;
    }
    Ok(())
}

fn by_sizes(
    s: &Site<'_, '_>,
    axes: &mut [Axis],
    named: &[usize],
    sizes: &[i64],
    aspect: &str,
) -> Result<(), EvalError> {
    if sizes.len() != named.len() {
        return Err(s.shape_error(format!("sizes {sizes:?} of {} axes", named.len())));
    }
    let ratios =
        || named.iter().zip(sizes).map(|(&axis, &size)| size as f64 / axes[axis].input as f64);
    let one = match aspect {
        "stretch" => None,
        "not_larger" => Some(ratios().fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios().fold(0.0, f64::max)),
        other => return Err(s.unsupported(format!("aspect policy `{other}`"))),
    };
    for (&axis, &size) in named.iter().zip(sizes) {
        let output = s.extent(size)?;
        let a = &mut axes[axis];
        (a.output, a.scale) = match one {
            None => (output, output as f64 / a.input as f64),
            Some(scale) => (libm::floor(scale * a.input as f64 + 0.5) as u64, scale),
        };
    }
    Ok(())
}
