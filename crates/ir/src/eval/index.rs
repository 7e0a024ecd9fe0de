//! Extents, linear indices and the views that movement and broadcasting ops are made of.

use smallvec::SmallVec;

/// Extents, outermost first.
pub(super) type Dims = SmallVec<[u64; 4]>;

/// The number of elements. `None` when it, or a stride, does not fit an i64.
pub(super) fn count(dims: &[u64]) -> Option<u64> {
    let bound = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d.max(1)))?;
    i64::try_from(bound).ok()?;
    Some(dims.iter().product())
}

/// Elements between neighbours along each axis.
pub(super) fn strides(dims: &[u64]) -> Dims {
    let mut out = Dims::from_slice(dims);
    let mut between = 1u64;
    for stride in out.iter_mut().rev() {
        let extent = *stride;
        *stride = between;
        between = between.saturating_mul(extent.max(1));
    }
    out
}

/// One position per axis of the element with linear index `i`.
pub(super) fn unravel(dims: &[u64], mut i: u64) -> Dims {
    let mut out = Dims::from_elem(0, dims.len());
    for (p, &d) in out.iter_mut().zip(dims).rev() {
        *p = i % d;
        i /= d;
    }
    out
}

/// What both shapes broadcast to by numpy's rules.
pub(super) fn broadcast(a: &[u64], b: &[u64]) -> Option<Dims> {
    let rank = a.len().max(b.len());
    let at = |dims: &[u64], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(i) => dims[i],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// An axis that may count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank_i = i64::try_from(rank).ok()?;
    let a = if axis < 0 { axis.checked_add(rank_i)? } else { axis };
    usize::try_from(a).ok().filter(|&a| a < rank)
}

/// From the linear index of a result to that of an operand, where position `p` on each axis of the result moves
/// `p · stride` elements in the operand.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Extent of the result axis and stride in the operand; none where every element is where it is in the result, as in most.
    axes: Box<[(u64, i64)]>,
    offset: i64,
}

impl View {
    /// A view of `offset` and one (extent, stride) per result axis.
    pub(super) fn new(offset: i64, axes: impl IntoIterator<Item = (u64, i64)>) -> Self {
        let mut axes: SmallVec<[(u64, i64); 6]> = axes.into_iter().collect();
        let mut expected = 1i64;
        let mut identity = offset == 0;
        for &(extent, stride) in axes.iter().rev() {
            identity &= extent == 1 || stride == expected;
            expected = expected.saturating_mul(extent.max(1) as i64);
        }
        if identity {
            axes.clear();
        }
        Self { axes: axes.as_slice().into(), offset }
    }

    /// An operand of extents `from` read as if it had extents `to`, to which it broadcasts. `None` when it does not.
    pub(super) fn broadcast(from: &[u64], to: &[u64]) -> Option<Self> {
        let skip = to.len().checked_sub(from.len())?;
        let fits = from.iter().zip(&to[skip..]).all(|(&f, &t)| f == t || f == 1);
        let strides = strides(from);
        fits.then(|| {
            Self::new(
                0,
                to.iter().enumerate().map(|(axis, &t)| {
                    let moves = axis >= skip && from[axis - skip] != 1;
                    (t, if moves { strides[axis - skip] as i64 } else { 0 })
                }),
            )
        })
    }

    /// The operand's linear index.
    #[inline]
    pub(super) fn at(&self, mut i: u64) -> u64 {
        if self.axes.is_empty() && self.offset == 0 {
            return i;
        }
        let mut at = self.offset;
        for &(extent, stride) in self.axes.iter().rev() {
            if extent > 1 {
                at += (i % extent) as i64 * stride;
                i /= extent;
            }
        }
        at as u64
    }
}
