//! Elementwise ops.

use super::{
    EvalError, Scalar,
    cast::{beyond_i64, wrap},
    index::{self, Dims, View},
    node::{Formula, NodeId, Plan, Planned, Site},
    reader::Reader,
};
use crate::{Activation, ActivationKind, BinaryKind, Clip, CompareKind, DType, UnaryKind};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

type FloatMap = Box<dyn Fn(f64) -> f64>;

struct MapFloat {
    x: NodeId,
    f: FloatMap,
}

impl Formula for MapFloat {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        Ok(Scalar::F((self.f)(cx.f(self.x, i)?)))
    }
}

struct MapInt {
    x: NodeId,
    f: fn(i128) -> i128,
    dtype: DType,
    op: Arc<str>,
}

impl Formula for MapInt {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.x]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let v = (self.f)(i128::from(cx.i(self.x, i)?));
        wrap(self.dtype, v).map(Scalar::I).ok_or_else(|| beyond_i64(&self.op))
    }
}

fn map_float<'a>(s: &Site<'_, 'a>, f: impl Fn(f64) -> f64 + 'static) -> Plan<'a> {
    let x = s.float(0)?;
    Ok(Planned::formula(s.dtype(x), s.dims(x), MapFloat { x, f: Box::new(f) }))
}

pub(super) fn unary<'a>(s: &mut Site<'_, 'a>, k: UnaryKind) -> Plan<'a> {
    let x = s.operand(0)?;
    let dtype = s.dtype(x);
    if dtype.is_float() {
        return match float_unary(k) {
            Some(f) => map_float(s, f),
            None => Err(s.unsupported(format!("an operand of type {dtype}"))),
        };
    }
    let f: fn(i128) -> i128 = match k {
        UnaryKind::Not if dtype == DType::Bool => |v| i128::from(v == 0),
        UnaryKind::Relu if dtype.is_int() => |v| v.max(0),
        UnaryKind::Neg if dtype.is_int() => |v| -v,
        UnaryKind::Abs if dtype.is_int() => |v| v.abs(),
        UnaryKind::Sign if dtype.is_int() => |v| v.signum(),
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round if dtype.is_int() => |v| v,
        _ => return Err(s.unsupported(format!("an operand of type {dtype}"))),
    };
    Ok(Planned::formula(dtype, s.dims(x), MapInt { x, f, dtype, op: s.name() }))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

fn float_unary(k: UnaryKind) -> Option<fn(f64) -> f64> {
    Some(match k {
        UnaryKind::Relu => |x| if x < 0.0 { 0.0 } else { x },
        UnaryKind::Sigmoid => sigmoid,
        UnaryKind::Tanh => libm::tanh,
        UnaryKind::Neg => |x| -x,
        UnaryKind::Abs => |x| x.abs(),
        UnaryKind::Sqrt => libm::sqrt,
        UnaryKind::Reciprocal => |x| 1.0 / x,
        UnaryKind::Exp => libm::exp,
        UnaryKind::Log => libm::log,
        UnaryKind::Erf => libm::erf,
        UnaryKind::Floor => libm::floor,
        UnaryKind::Ceil => libm::ceil,
        UnaryKind::Round => libm::rint,
        UnaryKind::Sign => |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
        UnaryKind::Sin => libm::sin,
        UnaryKind::Cos => libm::cos,
        UnaryKind::Softplus => |x| if x.is_nan() { x } else { softplus(x) },
        UnaryKind::Softsign => |x| x / (1.0 + x.abs()),
        UnaryKind::HardSwish => |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        UnaryKind::Mish => |x| if x.is_nan() { x } else { x * libm::tanh(softplus(x)) },
        UnaryKind::Silu => |x| x * sigmoid(x),
        UnaryKind::Not => return None,
    })
}

pub(super) fn activation<'a>(s: &mut Site<'_, 'a>, k: &Activation) -> Plan<'a> {
    let (alpha, beta) = (k.alpha, k.beta);
    match k.f {
        ActivationKind::LeakyRelu => map_float(s, move |x| if x < 0.0 { alpha * x } else { x }),
        ActivationKind::Elu => {
            map_float(s, move |x| if x < 0.0 { alpha * libm::expm1(x) } else { x })
        }
        ActivationKind::Selu => {
            map_float(s, move |x| beta * if x < 0.0 { alpha * libm::expm1(x) } else { x })
        }
        ActivationKind::Celu => {
            map_float(s, move |x| if x < 0.0 { alpha * libm::expm1(x / alpha) } else { x })
        }
        ActivationKind::HardSigmoid => map_float(s, move |x| (alpha * x + beta).clamp(0.0, 1.0)),
        ActivationKind::ThresholdedRelu => map_float(s, move |x| if x > alpha { x } else { 0.0 }),
        ActivationKind::Gelu => {
            map_float(s, |x| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)))
        }
        ActivationKind::GeluTanh => map_float(s, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + libm::tanh(inner))
        }),
    }
}

struct Zip<F> {
    a: NodeId,
    b: NodeId,
    at_a: View,
    at_b: View,
    f: F,
}

impl Formula for Zip<fn(f64, f64) -> f64> {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.a, self.b]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let (a, b) = (cx.f(self.a, self.at_a.at(i))?, cx.f(self.b, self.at_b.at(i))?);
        Ok(Scalar::F((self.f)(a, b)))
    }
}

/// An integer operation; `None` is a division by zero.
struct IntOp {
    f: fn(i64, i64) -> Option<i128>,
    dtype: DType,
    op: Arc<str>,
}

impl Formula for Zip<IntOp> {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.a, self.b]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let (a, b) = (cx.i(self.a, self.at_a.at(i))?, cx.i(self.b, self.at_b.at(i))?);
        let v = (self.f.f)(a, b).ok_or_else(|| EvalError::Integer {
            op: self.f.op.clone(),
            message: "division by zero".into(),
        })?;
        wrap(self.f.dtype, v).map(Scalar::I).ok_or_else(|| beyond_i64(&self.f.op))
    }
}

/// Mixed types of `pow`: the power in f64, truncated where the base is an integer.
struct MixedPow;

impl Formula for Zip<(MixedPow, DType)> {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.a, self.b]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let (a, b) = (cx.f(self.a, self.at_a.at(i))?, cx.f(self.b, self.at_b.at(i))?);
        Ok(Scalar::F(libm::pow(a, b)).of(self.f.1))
    }
}

impl Formula for Zip<fn(Scalar, Scalar) -> bool> {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.a, self.b]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let (a, b) = (cx.get(self.a, self.at_a.at(i))?, cx.get(self.b, self.at_b.at(i))?);
        Ok((self.f)(a, b).into())
    }
}

/// Two operands, broadcast against each other.
fn zip<F>(s: &Site<'_, '_>, f: F) -> Result<(Dims, Zip<F>), EvalError> {
    let (a, b) = (s.operand(0)?, s.operand(1)?);
    let (da, db) = (s.dims(a), s.dims(b));
    let both = index::broadcast(&da, &db).and_then(|dims| {
        let views = (View::broadcast(&da, &dims)?, View::broadcast(&db, &dims)?);
        Some((dims, views))
    });
    let Some((dims, (at_a, at_b))) = both else {
        return Err(s.shape_error(format!(
            "extents {:?} and {:?} do not broadcast",
            &da[..],
            &db[..]
        )));
    };
    Ok((dims, Zip { a, b, at_a, at_b, f }))
}

fn same_types(s: &Site<'_, '_>) -> Result<DType, EvalError> {
    let (a, b) = (s.dtype(s.operand(0)?), s.dtype(s.operand(1)?));
    if a != b {
        return Err(s.shape_error(format!("operands of types {a} and {b}")));
    }
    Ok(a)
}

pub(super) fn binary<'a>(s: &mut Site<'_, 'a>, k: BinaryKind) -> Plan<'a> {
    let base = s.dtype(s.operand(0)?);
    if k == BinaryKind::Pow && s.dtype(s.operand(1)?) != base {
        let exponent = s.dtype(s.operand(1)?);
        let number = |d: DType| d.is_float() || d.is_int();
        if !number(base) || !number(exponent) {
            return Err(s.unsupported(format!("operands of types {base} and {exponent}")));
        }
        let (dims, zip) = zip(s, (MixedPow, base))?;
        return Ok(Planned::formula(base, dims, zip));
    }
    let dtype = same_types(s)?;
    if dtype.is_float()
        && let Some(f) = float_binary(k)
    {
        let (dims, zip) = zip(s, f)?;
        return Ok(Planned::formula(dtype, dims, zip));
    }
    match int_binary(k, dtype) {
        Some(f) => {
            let (dims, zip) = zip(s, IntOp { f, dtype, op: s.name() })?;
            Ok(Planned::formula(dtype, dims, zip))
        }
        None => Err(s.unsupported(format!("operands of type {dtype}"))),
    }
}

fn float_binary(k: BinaryKind) -> Option<fn(f64, f64) -> f64> {
    Some(match k {
        BinaryKind::Add => |a, b| a + b,
        BinaryKind::Sub => |a, b| a - b,
        BinaryKind::Mul => |a, b| a * b,
        BinaryKind::Div => |a, b| a / b,
        BinaryKind::Pow => libm::pow,
        // NaN wins, as in numpy.
        BinaryKind::Min => |a, b| if a.is_nan() || a < b { a } else { b },
        BinaryKind::Max => |a, b| if a.is_nan() || a > b { a } else { b },
        BinaryKind::Mod => |a, b| {
            let r = libm::fmod(a, b);
            if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
        },
        BinaryKind::And | BinaryKind::Or | BinaryKind::Xor => return None,
    })
}

fn int_binary(k: BinaryKind, dtype: DType) -> Option<fn(i64, i64) -> Option<i128>> {
    if dtype == DType::Bool {
        return Some(match k {
            BinaryKind::And => |a, b| Some(i128::from(a & b)),
            BinaryKind::Or => |a, b| Some(i128::from(a | b)),
            BinaryKind::Xor => |a, b| Some(i128::from(a ^ b)),
            _ => return None,
        });
    }
    if !dtype.is_int() {
        return None;
    }
    let wide = |f: fn(i64, i64) -> Option<i128>| f;
    Some(match k {
        BinaryKind::Add => wide(|a, b| Some(i128::from(a) + i128::from(b))),
        BinaryKind::Sub => |a, b| Some(i128::from(a) - i128::from(b)),
        BinaryKind::Mul => |a, b| Some(i128::from(a) * i128::from(b)),
        BinaryKind::Div => |a, b| i128::from(a).checked_div(i128::from(b)),
        BinaryKind::Min => |a, b| Some(i128::from(a.min(b))),
        BinaryKind::Max => |a, b| Some(i128::from(a.max(b))),
        BinaryKind::Mod => |a, b| {
            let (a, b) = (i128::from(a), i128::from(b));
            let r = a.checked_rem(b)?;
            Some(if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
        },
        BinaryKind::Pow => int_pow,
        BinaryKind::And | BinaryKind::Or | BinaryKind::Xor => return None,
    })
}

/// Modulo 2^64; a negative exponent is the truncated reciprocal.
fn int_pow(base: i64, exponent: i64) -> Option<i128> {
    if exponent < 0 {
        return match base {
            0 => None,
            1 => Some(1),
            -1 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
            _ => Some(0),
        };
    }
    let (mut power, mut square, mut e) = (1i64, base, exponent);
    while e > 0 {
        if e % 2 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        e /= 2;
    }
    Some(i128::from(power))
}

pub(super) fn compare<'a>(s: &mut Site<'_, 'a>, k: CompareKind) -> Plan<'a> {
    let dtype = same_types(s)?;
    if !dtype.is_float() && !dtype.is_int() && dtype != DType::Bool {
        return Err(s.unsupported(format!("operands of type {dtype}")));
    }
    // The variants agree, so the derived order of numbers within a variant is that of the type.
    fn order(a: Scalar, b: Scalar) -> Option<std::cmp::Ordering> {
        match (a, b) {
            (Scalar::I(a), Scalar::I(b)) => Some(a.cmp(&b)),
            _ => a.to_f64().partial_cmp(&b.to_f64()),
        }
    }
    let f: fn(Scalar, Scalar) -> bool = match k {
        CompareKind::Equal => |a, b| order(a, b).is_some_and(|o| o.is_eq()),
        CompareKind::Less => |a, b| order(a, b).is_some_and(|o| o.is_lt()),
        CompareKind::LessOrEqual => |a, b| order(a, b).is_some_and(|o| o.is_le()),
        CompareKind::Greater => |a, b| order(a, b).is_some_and(|o| o.is_gt()),
        CompareKind::GreaterOrEqual => |a, b| order(a, b).is_some_and(|o| o.is_ge()),
    };
    let (dims, zip) = zip(s, f)?;
    Ok(Planned::formula(DType::Bool, dims, zip))
}

/// A bound of `clip`.
enum Bound {
    None,
    Value(f64),
    Operand(NodeId),
}

struct Clamp {
    x: NodeId,
    min: Bound,
    max: Bound,
    dtype: DType,
}

impl Formula for Clamp {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        let bounds = [&self.min, &self.max].into_iter();
        std::iter::once(self.x)
            .chain(bounds.filter_map(|b| match b {
                Bound::Operand(n) => Some(*n),
                _ => None,
            }))
            .collect()
    }

    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let bound = |b: &Bound| {
            Ok(match b {
                Bound::None => None,
                Bound::Value(v) => Some(Scalar::F(*v).of(self.dtype)),
                Bound::Operand(n) => Some(cx.get(*n, 0)?),
            })
        };
        let mut v = cx.get(self.x, i)?;
        // max(min) first: where the bounds cross, the upper one holds.
        if let Some(low) = bound(&self.min)? {
            v = pick(v, low, |x, low| x < low, |x, low| x < low);
        }
        if let Some(high) = bound(&self.max)? {
            v = pick(v, high, |x, high| x > high, |x, high| x > high);
        }
        Ok(v)
    }
}

fn pick(x: Scalar, b: Scalar, f: fn(f64, f64) -> bool, i: fn(i64, i64) -> bool) -> Scalar {
    let outside = match (x, b) {
        (Scalar::I(x), Scalar::I(b)) => i(x, b),
        (x, b) => f(x.to_f64(), b.to_f64()),
    };
    if outside { b } else { x }
}

pub(super) fn clip<'a>(s: &mut Site<'_, 'a>, k: &Clip) -> Plan<'a> {
    let x = s.operand(0)?;
    let dtype = s.dtype(x);
    if !dtype.is_float() && !dtype.is_int() {
        return Err(s.unsupported(format!("an operand of type {dtype}")));
    }
    let bound = |attribute: Option<f64>, slot: usize| match (attribute, s.optional(slot)) {
        (Some(v), _) => Ok(Bound::Value(v)),
        (None, None) => Ok(Bound::None),
        (None, Some(n)) if s.count(n) == 1 && s.dtype(n) == dtype => Ok(Bound::Operand(n)),
        (None, Some(_)) => Err(s.shape_error(format!("bound {slot} is no scalar of type {dtype}"))),
    };
    let (min, max) = (bound(k.min, 1)?, bound(k.max, 2)?);
    Ok(Planned::formula(dtype, s.dims(x), Clamp { x, min, max, dtype }))
}

pub(super) fn prelu<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let dtype = same_types(s)?;
    let x = s.dims(s.operand(0)?);
    if View::broadcast(&s.dims(s.operand(1)?), &x).is_none() {
        return Err(s.shape_error("the slope does not broadcast to x"));
    }
    if dtype.is_float() {
        let f: fn(f64, f64) -> f64 = |x, slope| if x < 0.0 { slope * x } else { x };
        let (dims, zip) = zip(s, f)?;
        return Ok(Planned::formula(dtype, dims, zip));
    }
    if !dtype.is_int() {
        return Err(s.unsupported(format!("operands of type {dtype}")));
    }
    let f: fn(i64, i64) -> Option<i128> =
        |x, slope| Some(if x < 0 { i128::from(x) * i128::from(slope) } else { i128::from(x) });
    let (dims, zip) = zip(s, IntOp { f, dtype, op: s.name() })?;
    Ok(Planned::formula(dtype, dims, zip))
}

struct Select {
    condition: (NodeId, View),
    a: (NodeId, View),
    b: (NodeId, View),
}

impl Formula for Select {
    fn operands(&self) -> SmallVec<[NodeId; 4]> {
        smallvec![self.condition.0, self.a.0, self.b.0]
    }
    fn element(&self, cx: Reader<'_, '_>, i: u64) -> Result<Scalar, EvalError> {
        let yes = cx.i(self.condition.0, self.condition.1.at(i))? != 0;
        let (n, view) = if yes { &self.a } else { &self.b };
        cx.get(*n, view.at(i))
    }
}

pub(super) fn select<'a>(s: &mut Site<'_, 'a>) -> Plan<'a> {
    let (c, a, b) = (s.operand(0)?, s.operand(1)?, s.operand(2)?);
    let dtype = s.dtype(a);
    if s.dtype(c) != DType::Bool || s.dtype(b) != dtype {
        return Err(s.shape_error(format!(
            "operands of types {}, {dtype} and {}",
            s.dtype(c),
            s.dtype(b)
        )));
    }
    let dims = index::broadcast(&s.dims(c), &s.dims(a))
        .and_then(|d| index::broadcast(&d, &s.dims(b)))
        .ok_or_else(|| s.shape_error("operands do not broadcast"))?;
    let view = |n: NodeId| {
        View::broadcast(&s.dims(n), &dims)
            .map(|v| (n, v))
            .ok_or_else(|| s.shape_error("operands do not broadcast"))
    };
    let f = Select { condition: view(c)?, a: view(a)?, b: view(b)? };
    Ok(Planned::formula(dtype, dims, f))
}
