//! Ops with one data operand that neither absorb nor stop: what `s·x + t` on one side of them is on the other.
//!
//! Backward the result is asked for something, and the operand has to be asked for what gives it. Forward the operand will
//! lack something, and the result then lacks what follows. Both need that the op commutes with the scale and the shift
//! (rules.md, "Backward walk" and "Forward walk").

use super::{
    ask::Ask,
    cx::Cx,
    geometry::{axis_of, pad_value, padded, permutation, reduced, slices},
    reason::{Blocker, FoldReason},
    regroup,
    search::no_producer,
};
use normfold_ir::{
    Cast, DType, DepthMode, GlobalPool, OpId, OpKind, Pad, PadMode, Padding, Pool, PoolKind,
    Reduce, ReduceKind, Resize, Value,
};

/// From which side of an op to which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From the result to the operand.
    Back,
    /// From the operand to the result.
    Ahead,
}

/// What arrives on the other side, and what that costs.
#[derive(Clone, Debug)]
pub(super) struct Across {
    pub(super) ask: Ask,
    /// By how much the op may multiply what its operand is off by.
    pub(super) amplification: f64,
    /// The value that a pad has to be given.
    pub(super) pad: Option<(f64, DType)>,
}

impl From<Ask> for Across {
    fn from(ask: Ask) -> Self {
        Self { ask, amplification: 1.0, pad: None }
    }
}

type Outcome = Result<Across, FoldReason>;

/// Carries `ask` over `op`. `Ok(None)` where the op is none of these.
pub(super) fn across(
    cx: Cx<'_>,
    op: OpId,
    ask: &Ask,
    way: Way,
) -> Result<Option<Across>, FoldReason> {
    let at = At { cx, op, ask, way };
    Ok(Some(match cx.g.kind(op) {
        OpKind::Identity(_) => ask.clone().into(),
        OpKind::Dropout(d) if !d.training => ask.clone().into(),
        OpKind::Cast(c) => at.cast(c)?,
        OpKind::Reshape(_) | OpKind::Flatten(_) | OpKind::Squeeze(_) | OpKind::Unsqueeze(_) => {
            let other = match way {
                Way::Back => regroup::backward(cx, op, ask),
                Way::Ahead => regroup::forward(cx, op, ask),
            };
            other.ok_or_else(|| at.axes())?.into()
        }
        OpKind::Transpose(t) => {
            let perm = permutation(cx, op, &t.perm).ok_or_else(|| at.unknown_rank())?;
            at.renamed(|a| match way {
                Way::Back => perm.get(a).copied(),
                Way::Ahead => perm.iter().position(|&p| p == a),
            })?
        }
        OpKind::Expand(_) => at.expand()?,
        OpKind::Slice(_) => at.slice()?,
        OpKind::DepthToSpace(d) => at.blocks(d.block, d.mode, true)?,
        OpKind::SpaceToDepth(d) => at.blocks(d.block, DepthMode::Dcr, false)?,
        OpKind::Resize(r) => at.resize(r)?,
        OpKind::Pool(p) => at.pool(p)?,
        OpKind::GlobalPool(p) => at.global_pool(p)?,
        OpKind::Reduce(r) => at.reduce(r)?,
        OpKind::Pad(p) => at.pad(p)?,
        _ => return Ok(None),
    }))
}

struct At<'a> {
    cx: Cx<'a>,
    op: OpId,
    ask: &'a Ask,
    way: Way,
}

impl At<'_> {
    fn blocker(&self) -> Blocker {
        Blocker::of(self.cx.g, self.op)
    }

    fn axes(&self) -> FoldReason {
        let axis = self.ask.axes().first().copied().unwrap_or(0);
        FoldReason::AxisMismatch { blocker: self.blocker(), axis, channels: None }
    }

    fn unknown_rank(&self) -> FoldReason {
        FoldReason::UnknownRank { blocker: self.blocker() }
    }

    fn data(&self) -> Result<Value, FoldReason> {
        self.cx.g.operand(self.op, 0).ok_or_else(|| no_producer(self.cx.g, self.op))
    }

    fn rank(&self) -> Result<usize, FoldReason> {
        self.cx.rank(self.data()?).ok_or_else(|| self.unknown_rank())
    }

    fn renamed(&self, to: impl Fn(usize) -> Option<usize>) -> Outcome {
        Ok(self.ask.renamed(to).ok_or_else(|| self.axes())?.into())
    }

    /// Larger stays larger only where s is positive.
    fn positive(&self, across: Across) -> Outcome {
        if across.ask.s.iter().all(|&s| s > 0.0) {
            return Ok(across);
        }
        Err(FoldReason::Sign { blocker: self.blocker() })
    }

    /// Backward the absorber's type has to be as wide as the result's, and the cast must lose nothing: one type. Forward
    /// the absorber is the wider one.
    fn cast(&self, c: &Cast) -> Outcome {
        let from = self.cx.types.dtype(self.data()?);
        let widens = from.is_some_and(|from| c.to.holds(from));
        if from == Some(c.to) || self.way == Way::Ahead && widens {
            return Ok(self.ask.clone().into());
        }
        Err(FoldReason::PrecisionNarrowing { blocker: self.blocker() })
    }

    /// Only axes that keep their extent.
    fn expand(&self) -> Outcome {
        let (x, y) = (self.data()?, Value::new(self.op, 0));
        let (Some(from), Some(to)) = (self.cx.rank(x), self.cx.rank(y)) else {
            return Err(self.unknown_rank());
        };
        let lead = to.saturating_sub(from);
        self.renamed(|a| {
            let (other, b) = match self.way {
                Way::Back => (x, a.checked_sub(lead)?),
                Way::Ahead => (y, a + lead),
            };
            (self.cx.extent(other, b) == self.ask.extent(a)).then_some(b)
        })
    }

    /// What is not taken may be anything.
    fn slice(&self) -> Outcome {
        if self.ask.axes().is_empty() {
            return Ok(self.ask.clone().into());
        }
        let list = slices(self.cx, self.op, self.ask.axes()).ok_or_else(|| self.axes())?;
        let mut other = self.ask.clone();
        for (axis, n, at) in list {
            if other.extent(axis).is_none() {
                continue;
            }
            other = match self.way {
                Way::Back => other.placed(axis, n, &at).ok_or_else(|| self.axes())?,
                Way::Ahead if other.extent(axis) == Some(n) => other.taken(axis, at.into_iter()),
                Way::Ahead => return Err(self.axes()),
            };
        }
        Ok(other.into())
    }

    /// Of the `b²·n` channels on the deep side, channel `k·n + c` (DCR) or `c·b² + k` (CRD) is channel c on the other.
    fn blocks(&self, b: u64, mode: DepthMode, deep_operand: bool) -> Outcome {
        let blocks = b.saturating_mul(b);
        if self.ask.axes().is_empty() {
            return Ok(self.ask.clone().into());
        }
        let (&[1], Some(n)) = (self.ask.axes(), self.ask.extent(1)) else {
            return Err(self.axes());
        };
        if deep_operand == (self.way == Way::Back) {
            if blocks.saturating_mul(n) > 1 << 20 {
                return Err(self.axes());
            }
            let source = |i: u64| match mode {
                DepthMode::Dcr => i % n,
                DepthMode::Crd => i / blocks.max(1),
            };
            return Ok(self.ask.taken(1, (0..blocks * n).map(source)).into());
        }
        if blocks == 0 || n % blocks != 0 {
            return Err(self.axes());
        }
        let channels = n / blocks;
        let one = |k: u64| {
            let at = (0..channels).map(move |c| match mode {
                DepthMode::Dcr => k * channels + c,
                DepthMode::Crd => c * blocks + k,
            });
            self.ask.taken(1, at)
        };
        let first = one(0);
        if (1..blocks).any(|k| one(k) != first) {
            return Err(self.axes());
        }
        Ok(first.into())
    }

    /// Interpolation weights sum to 1.
    fn resize(&self, r: &Resize) -> Outcome {
        let g = self.cx.g;
        if &*r.coordinates == "tf_crop_and_resize" {
            return Err(FoldReason::Extrapolation { blocker: self.blocker() });
        }
        let x = self.data()?;
        let rank = self.rank()?;
        for &a in self.ask.axes() {
            let at = match &r.axes {
                None => Some(a),
                Some(list) => list.iter().position(|&l| axis_of(l, rank) == Some(a)),
            };
            let Some(at) = at else { continue };
            let kept = match (g.operand(self.op, 3), &r.scales, g.operand(self.op, 2)) {
                (Some(v), ..) => {
                    let n = self.cx.constants().ints(v).and_then(|v| *v.get(at)?);
                    let same = n.is_some() && n == self.cx.extent(x, a).map(|n| n as i64);
                    &*r.aspect == "stretch" && same
                }
                (None, Some(list), _) => list.get(at) == Some(&1.0),
                (None, None, Some(v)) => {
                    let t = self.cx.constants().tensor(v).ok();
                    t.is_some_and(|t| t.to_f64s().get(at) == Some(&1.0))
                }
                _ => false,
            };
            if !kept {
                return Err(self.axes());
            }
        }
        // The weights of cubic interpolation sum to 1, their magnitudes to less than 2 per axis.
        let amplification = if &*r.mode == "cubic" { 2f64.powi(rank as i32) } else { 1.0 };
        Ok(Across { amplification, ..self.ask.clone().into() })
    }

    fn pool(&self, p: &Pool) -> Outcome {
        let g = self.cx.g;
        let channel = p.x.channel_axis();
        if let Some(&axis) = self.ask.axes().iter().find(|&&a| a != 0 && a != channel) {
            let blocker = self.blocker();
            return Err(FoldReason::AxisMismatch { blocker, axis, channels: Some(channel) });
        }
        let unpadded = (0..usize::from(p.x.spatial)).all(|i| p.pad.explicit(i) == Some((0, 0)));
        match p.f {
            // Padding with −∞ is harmless; the positions of the largest are not asked for.
            PoolKind::Max if g.results(self.op).skip(1).all(|v| g.is_unused(v)) => {
                let largest = self.ask.clone().into();
                // The largest of one cell that is inside is that cell. SAME adds none to such windows.
                let inside = !p.ceil_mode
                    && (unpadded || matches!(p.pad, Padding::SameUpper | Padding::SameLower));
                let one = inside && p.kernel.iter().all(|&k| k == 1);
                if one { Ok(largest) } else { self.positive(largest) }
            }
            PoolKind::Average => {
                // Where the divisor counts what stands outside, t would be averaged with zeros.
                let whole = !p.count_include_pad || unpadded && !p.ceil_mode;
                if self.ask.shifts() && !whole {
                    return Err(FoldReason::PaddingBetween { blocker: self.blocker() });
                }
                Ok(self.ask.clone().into())
            }
            _ => Err(no_producer(g, self.op)),
        }
    }

    fn global_pool(&self, p: &GlobalPool) -> Outcome {
        let rank = self.cx.rank(self.data()?);
        let channel = match (p.channel_last, rank) {
            (false, _) => Some(1),
            (true, rank) => rank.map(|r| r - 1),
        };
        let (Some(channel), false) = (channel, self.ask.axes().is_empty() && rank.is_none()) else {
            return Err(self.unknown_rank());
        };
        let small = if p.keepdims { channel } else { 1 };
        let (here, there) = match self.way {
            Way::Back => (small, channel),
            Way::Ahead => (channel, small),
        };
        let other = self.renamed(|a| match a {
            0 => Some(0),
            a if a == here => Some(there),
            _ => None,
        })?;
        match p.f {
            PoolKind::Average => Ok(other),
            PoolKind::Max => self.positive(other),
            PoolKind::Lp => Err(no_producer(self.cx.g, self.op)),
        }
    }

    fn reduce(&self, r: &Reduce) -> Outcome {
        let rank = self.rank()?;
        let gone = reduced(self.cx, self.op, r, rank).ok_or_else(|| self.axes())?;
        let kept: Vec<usize> = (0..rank).filter(|&a| !gone[a]).collect();
        let other = self.renamed(|a| match (r.keepdims, self.way) {
            (true, _) => kept.contains(&a).then_some(a),
            (false, Way::Back) => kept.get(a).copied(),
            (false, Way::Ahead) => kept.iter().position(|&k| k == a),
        })?;
        match r.f {
            ReduceKind::Mean => Ok(other),
            ReduceKind::Max | ReduceKind::Min => self.positive(other),
            _ => Err(no_producer(self.cx.g, self.op)),
        }
    }

    /// What stands outside has to stay what it is: with a constant v the pad gets another one, the same for all channels.
    fn pad(&self, p: &Pad) -> Outcome {
        let (cx, g) = (self.cx, self.cx.g);
        let refuse = || match self.way {
            Way::Back => FoldReason::PaddingBetween { blocker: self.blocker() },
            Way::Ahead => FoldReason::PaddedShift { blocker: self.blocker() },
        };
        let list = padded(cx, self.op, p).ok_or_else(refuse)?;
        let moved = |a: usize| list.iter().any(|&(b, x, y)| a == b && (x != 0 || y != 0));
        if self.ask.axes().iter().any(|&a| moved(a)) {
            return Err(self.axes());
        }
        let grows = list.iter().any(|&(_, x, y)| x > 0 || y > 0);
        if p.mode != PadMode::Constant || !grows {
            return Ok(self.ask.clone().into());
        }
        let v = pad_value(cx, self.op, p).ok_or_else(refuse)?;
        let (s, t) = (&self.ask.s, &self.ask.t);
        // Backward the pad comes first afterwards: s·v + t stood there. Forward what stood there was v itself.
        let outside = s.iter().zip(t).map(|(s, t)| match self.way {
            Way::Back => s * v + t,
            Way::Ahead if v == *t => 0.0,
            Way::Ahead => (v - t) / s,
        });
        let outside: Vec<f64> = outside.collect();
        let one = outside.first().copied().filter(|u| outside.iter().all(|o| o == u));
        let dtype = cx.types.dtype(self.data()?);
        let (Some(u), Some(dtype)) = (one, dtype) else { return Err(refuse()) };
        let limit = dtype.max_finite().unwrap_or(0.0);
        if u.is_nan() || u.abs() > limit {
            return Err(refuse());
        }
        if u == v {
            return Ok(self.ask.clone().into());
        }
        let by_attribute = p.value.is_some() || p.amounts.is_some();
        let may = match by_attribute {
            true => {
                let new = OpKind::from(Pad { value: Some(u), ..p.clone() });
                g.capabilities().may_change(g.kind(self.op), &new)
            }
            false => g.capabilities().may_add_constant(dtype),
        };
        if !may {
            return Err(FoldReason::NotExpressible { what: "another value of this pad" });
        }
        Ok(Across { pad: Some((u, dtype)), ..self.ask.clone().into() })
    }
}
