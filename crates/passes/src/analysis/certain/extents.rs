//! What ops make of extents.

use normfold_ir::{DataLayout, Padding, Spatial};
use std::sync::Arc;

/// What is certain of the extent of one axis at every run of the graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extent {
    /// That many elements.
    Known(u64),
    /// Open, and the same wherever the number is the same.
    Open(u32),
    /// Open, and the same as nothing; called as another one is, from which only a run on nothing tells it.
    Like(u32),
    /// Open, and the same as nothing.
    Unknown,
}

impl Extent {
    pub(super) fn known(self) -> Option<u64> {
        match self {
            Extent::Known(n) => Some(n),
            _ => None,
        }
    }

    fn is(self, other: Extent) -> bool {
        self == other && !matches!(self, Extent::Like(_) | Extent::Unknown)
    }
}

impl From<Option<u64>> for Extent {
    fn from(n: Option<u64>) -> Self {
        n.map_or(Extent::Unknown, Extent::Known)
    }
}

/// Extents, outermost first.
pub(super) type Extents = Arc<[Extent]>;

/// An axis counted from the end when negative.
pub(super) fn axis(a: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    usize::try_from(if a < 0 { a.checked_add(rank)? } else { a })
        .ok()
        .filter(|&a| (a as i64) < rank)
}

/// Numpy `matmul`: leading axes broadcast; a vector takes part without its axis in the result.
pub(super) fn product_dims(a: Option<&[Extent]>, b: Option<&[Extent]>) -> Option<Extents> {
    let (a, b) = (a?, b?);
    let (rows, a_lead) = match a {
        [lead @ .., m, _] => (Some(*m), lead),
        [_] => (None, &[][..]),
        [] => return None,
    };
    let (columns, b_lead) = match b {
        [lead @ .., _, n] => (Some(*n), lead),
        [_] => (None, &[][..]),
        [] => return None,
    };
    let lead = broadcast(&[Some(a_lead.into()), Some(b_lead.into())])?;
    Some(lead.iter().copied().chain(rows).chain(columns).collect())
}

/// Numpy broadcasting.
pub(super) fn broadcast(all: &[Option<Extents>]) -> Option<Extents> {
    let all: Vec<&Extents> = all.iter().map(Option::as_ref).collect::<Option<_>>()?;
    let rank = all.iter().map(|d| d.len()).max()?;
    let one = |i: usize| {
        let mut found = Extent::Known(1);
        for d in all.iter().filter_map(|d| (i + d.len()).checked_sub(rank).map(|i| d[i])) {
            found = match (found, d) {
                // An extent other than 1 decides: the others are it or 1.
                (Extent::Known(n), _) if n != 1 => found,
                (_, Extent::Known(n)) if n != 1 => d,
                (Extent::Known(_), d) => d,
                (found, Extent::Known(_)) => found,
                (found, d) if found.is(d) => found,
                _ => Extent::Unknown,
            };
        }
        found
    };
    Some((0..rank).map(one).collect())
}

/// Batch, channels and the spatial extents that `spatial(i, extent of x)` gives.
pub(super) fn windowed(
    x: Option<&[Extent]>,
    layout: &DataLayout,
    channels: Extent,
    spatial: impl Fn(usize, Extent) -> Option<Extent>,
) -> Option<Extents> {
    let extent = |i: usize| x.and_then(|d| d.get(i).copied()).unwrap_or(Extent::Unknown);
    let channel = layout.channel_axis();
    let first = if channel == 1 { 2 } else { 1 };
    let one = |i: usize| match i {
        0 => extent(0),
        i if i == channel => channels,
        i => spatial(i - first, extent(i)).unwrap_or(Extent::Unknown),
    };
    Some((0..layout.rank()).map(one).collect())
}

pub(super) fn at(list: &Spatial<u64>, i: usize) -> u64 {
    list.get(i).copied().unwrap_or(1)
}

/// How many windows fit on `n` elements. Frameworks differ in which partial windows count: with `ceil` only a whole
/// number is certain.
pub(super) fn window(
    n: Extent,
    kernel: u64,
    stride: u64,
    dilation: u64,
    pad: &Padding,
    i: usize,
    ceil: bool,
) -> Option<Extent> {
    if stride == 0 {
        return None;
    }
    if matches!(pad, Padding::SameUpper | Padding::SameLower) {
        return match stride {
            1 => Some(n),
            _ => Some(Extent::Known(n.known()?.div_ceil(stride))),
        };
    }
    let (before, after) = pad.explicit(i)?;
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let Some(n) = n.known() else {
        let grown = before.checked_add(after).and_then(|p| u64::try_from(p).ok());
        return (stride == 1 && grown == Some(reach - 1)).then_some(n);
    };
    let room = n.checked_add_signed(before)?.checked_add_signed(after)?.checked_sub(reach)?;
    (!ceil || room.is_multiple_of(stride)).then_some(Extent::Known(room / stride + 1))
}

/// What a factor makes of an extent, where every engine agrees whatever it computes with.
pub(super) fn scaled(n: Extent, factor: f64) -> Extent {
    const LARGEST: f64 = 4096.0;
    let inverse = 1.0 / factor;
    let known = |factor: f64| {
        (factor.fract() == 0.0 && (1.0..LARGEST).contains(&factor)).then_some(factor as u64)
    };
    match (known(factor), known(inverse)) {
        (Some(1), _) => n,
        (Some(times), _) => n.known().and_then(|n| n.checked_mul(times)).into(),
        (None, Some(part)) if part.is_power_of_two() => n.known().map(|n| n / part).into(),
        _ => Extent::Unknown,
    }
}

pub(super) fn permuted(d: &[Extent], perm: &[i64]) -> Option<Extents> {
    if perm.is_empty() {
        return Some(d.iter().rev().copied().collect());
    }
    if perm.len() != d.len() {
        return None;
    }
    perm.iter().map(|&p| axis(p, d.len()).map(|p| d[p])).collect()
}

/// A product of known extents, and the open ones; `None` where it cannot be said.
fn factors(d: &[Extent]) -> Option<(u64, Vec<Extent>)> {
    let (mut known, mut open) = (1u64, Vec::new());
    for &e in d {
        match e {
            Extent::Known(n) => known = known.checked_mul(n)?,
            Extent::Open(_) => open.push(e),
            Extent::Like(_) | Extent::Unknown => return None,
        }
    }
    Some((known, open))
}

fn product(d: &[Extent]) -> Extent {
    match factors(d) {
        Some((n, open)) => match open.as_slice() {
            [] => Extent::Known(n),
            &[one] if n == 1 => one,
            _ => Extent::Unknown,
        },
        None => Extent::Unknown,
    }
}

/// `x` elements over `others`: what is left for one axis. An open extent that both have may be 0, and then anything is left;
/// they cancel where that cannot be.
fn quotient(x: &[Extent], others: &[Extent], cancel: bool) -> Extent {
    let (Some((all, mut open)), Some((rest, cancelled))) = (factors(x), factors(others)) else {
        return Extent::Unknown;
    };
    if !cancel && !cancelled.is_empty() {
        return Extent::Unknown;
    }
    for c in cancelled {
        let Some(i) = open.iter().position(|&o| o == c) else { return Extent::Unknown };
        open.swap_remove(i);
    }
    match open.as_slice() {
        [] if rest > 0 && all % rest == 0 => Extent::Known(all / rest),
        &[one] if rest > 0 && all == rest => one,
        _ => Extent::Unknown,
    }
}

pub(super) fn flattened(d: &[Extent], at: i64) -> Option<Extents> {
    // The axis may be the rank itself.
    let at = if at == d.len() as i64 { d.len() } else { axis(at, d.len())? };
    Some(Arc::from([product(&d[..at]), product(&d[at..])]))
}

/// What `reshape` makes of `x`. Of an element of the target that is not known `behind` says which extent it is.
pub(super) fn reshaped(
    x: Option<&[Extent]>,
    target: &[Option<i64>],
    allow_zero: bool,
    behind: impl Fn(usize) -> Option<Extent>,
) -> Extents {
    let of_x = |i: usize| x.and_then(|x| x.get(i).copied()).unwrap_or(Extent::Unknown);
    // An extent that turns out to be 0 would stand for that of x.
    let same = |i: usize| match behind(i)? {
        e if allow_zero || e.is(of_x(i)) => Some(e),
        Extent::Open(n) => Some(Extent::Like(n)),
        e => Some(e),
    };
    let mut out: Vec<Option<Extent>> = target
        .iter()
        .enumerate()
        .map(|(i, t)| match *t {
            None => same(i),
            Some(0) if !allow_zero => Some(of_x(i)),
            Some(t) => u64::try_from(t).ok().map(Extent::Known),
        })
        .collect();
    // One open extent follows from the others; which of an unknown target's is the open one may be unknown too.
    let mut open = out.iter().enumerate().filter(|(_, e)| e.is_none()).map(|(i, _)| i);
    if let (Some(at), None) = (open.next(), open.next()) {
        let others: Vec<Extent> = out.iter().flatten().copied().collect();
        // -1 beside an extent of 0 is an error.
        let literal = target.get(at).is_some_and(Option::is_some);
        out[at] = x.map(|x| quotient(x, &others, literal));
    }
    out.into_iter().map(|e| e.unwrap_or(Extent::Unknown)).collect()
}

pub(super) fn squeezed(d: &[Extent], axes: Option<&[i64]>, all: bool) -> Option<Extents> {
    if all {
        // Which axes go is known only with every extent.
        d.iter().all(|n| n.known().is_some()).then_some(())?;
        return Some(d.iter().copied().filter(|&n| n != Extent::Known(1)).collect());
    }
    let axes: Vec<usize> = axes?.iter().map(|&a| axis(a, d.len())).collect::<Option<_>>()?;
    Some(d.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, n)| *n).collect())
}

pub(super) fn unsqueezed(d: &[Extent], axes: &[i64]) -> Option<Extents> {
    let rank = d.len() + axes.len();
    let axes: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Option<_>>()?;
    let mut rest = d.iter();
    let one = |i| match axes.contains(&i) {
        true => Some(Extent::Known(1)),
        false => rest.next().copied(),
    };
    (0..rank).map(one).collect()
}

pub(super) fn padded(d: &[Extent], amounts: Option<&[i64]>) -> Extents {
    let amounts = amounts.filter(|a| a.len() == 2 * d.len());
    let one = |(i, n): (usize, &Extent)| {
        let a = amounts?;
        match (a[i], a[i + d.len()]) {
            (0, 0) => Some(*n),
            (before, after) => {
                let n = n.known()?.checked_add_signed(before)?.checked_add_signed(after)?;
                Some(Extent::Known(n))
            }
        }
    };
    d.iter().enumerate().map(|e| one(e).unwrap_or(Extent::Unknown)).collect()
}

pub(super) fn concatenated(parts: &[Extents], along: i64) -> Option<Extents> {
    let rank = parts.first()?.len();
    let along = axis(along, rank)?;
    if parts.iter().any(|p| p.len() != rank) {
        return None;
    }
    let sum = |i: usize| {
        let known = parts.iter().try_fold(0u64, |a, p| a.checked_add(p[i].known()?));
        Extent::from(known)
    };
    // All are the same; what is known of one is known of all.
    let shared = |i: usize| {
        let known = parts.iter().map(|p| p[i]).find(|e| e.known().is_some());
        known.or(parts.first().map(|p| p[i])).unwrap_or(Extent::Unknown)
    };
    Some((0..rank).map(|i| if i == along { sum(i) } else { shared(i) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Extents, the negative ones open.
    fn e(d: &[i64]) -> Extents {
        let one = |&n: &i64| {
            u64::try_from(n).map_or(Extent::Open(n.unsigned_abs() as u32), Extent::Known)
        };
        d.iter().map(one).collect()
    }

    fn t(d: &[i64]) -> Vec<Option<i64>> {
        d.iter().copied().map(Some).collect()
    }

    const U: Extent = Extent::Unknown;

    #[test]
    fn windows() {
        let pad = |a, b| Padding::Explicit(Spatial::from_slice(&[(a, b)]));
        let k = Extent::Known;
        assert_eq!(window(k(7), 3, 2, 1, &pad(1, 1), 0, false), Some(k(4)));
        assert_eq!(window(k(7), 3, 1, 2, &pad(0, 0), 0, false), Some(k(3)));
        assert_eq!(window(k(8), 3, 2, 1, &pad(0, 0), 0, false), Some(k(3)));
        assert_eq!(window(k(8), 3, 2, 1, &pad(0, 0), 0, true), None);
        assert_eq!(window(k(7), 3, 2, 1, &Padding::SameUpper, 0, false), Some(k(4)));
        assert_eq!(window(k(2), 3, 1, 1, &pad(0, 0), 0, false), None);
        let open = Extent::Open(5);
        assert_eq!(window(open, 3, 1, 1, &pad(1, 1), 0, false), Some(open));
        assert_eq!(window(open, 3, 1, 2, &pad(1, 3), 0, true), Some(open));
        assert_eq!(window(open, 3, 1, 1, &Padding::SameLower, 0, false), Some(open));
        assert_eq!(window(open, 3, 2, 1, &pad(1, 1), 0, false), None);
        assert_eq!(window(open, 3, 1, 1, &pad(1, 0), 0, false), None);
    }

    #[test]
    fn broadcasts() {
        let b = |a: &[i64], b: &[i64]| broadcast(&[Some(e(a)), Some(e(b))]);
        assert_eq!(b(&[2, 1, 4], &[3, 1]), Some(e(&[2, 3, 4])));
        assert_eq!(b(&[-1, 4], &[1, 1]), Some(e(&[-1, 4])));
        assert_eq!(b(&[-1, 4], &[7, 4]), Some(e(&[7, 4])));
        assert_eq!(b(&[-1, 4], &[-1, 4]), Some(e(&[-1, 4])));
        assert_eq!(b(&[-1, 4], &[-2, 4]), Some([U, Extent::Known(4)].into()));
        assert_eq!(broadcast(&[Some(e(&[1])), None]), None);
        assert_eq!(broadcast(&[Some([U].into()), Some([U].into())]), Some([U].into()));
        assert_eq!(product_dims(Some(&e(&[-1, 2, 3])), Some(&e(&[3, 4]))), Some(e(&[-1, 2, 4])));
    }

    #[test]
    fn factors_of_a_resize() {
        let k = Extent::Known;
        let open = Extent::Open(5);
        assert_eq!([scaled(open, 1.0), scaled(k(7), 2.0), scaled(k(7), 0.5)], [open, k(14), k(3)]);
        assert_eq!([scaled(open, 2.0), scaled(k(7), 1.5), scaled(k(9), 1.0 / 3.0)], [U; 3]);
        assert_eq!([scaled(k(7), 0.0), scaled(k(7), -1.0), scaled(k(7), f64::NAN)], [U; 3]);
    }

    #[test]
    fn moves() {
        assert_eq!(permuted(&e(&[1, -2, 3]), &[2, 0, 1]), Some(e(&[3, 1, -2])));
        assert_eq!(permuted(&e(&[1, 2, 3]), &[]), Some(e(&[3, 2, 1])));
        assert_eq!(permuted(&e(&[1, 2]), &[0, 2]), None);
        assert_eq!(squeezed(&e(&[1, -1, 1]), Some(&[-1]), false), Some(e(&[1, -1])));
        assert_eq!(squeezed(&e(&[1, -1]), None, true), None);
        assert_eq!(squeezed(&e(&[1, 5, 1]), None, true), Some(e(&[5])));
        assert_eq!(unsqueezed(&e(&[5]), &[0, -1]), Some(e(&[1, 5, 1])));
        assert_eq!(padded(&e(&[1, -1, 3]), Some(&[0, 0, 1, 0, 0, -1])), e(&[1, -1, 3]));
        assert_eq!(padded(&e(&[-1]), Some(&[0, 1])), [U].into());
        assert_eq!(concatenated(&[e(&[1, 2]), e(&[-1, 3])], 1), Some(e(&[1, 5])));
        assert_eq!(concatenated(&[e(&[-1, 2]), e(&[-1, 3])], 1), Some(e(&[-1, 5])));
        assert_eq!(axis(-3, 2), None);
        assert_eq!(axis(i64::MIN, 2), None);
    }

    #[test]
    fn reshapes() {
        let plain = |x: &[i64], target: &[i64]| reshaped(Some(&e(x)), &t(target), false, |_| None);
        assert_eq!(flattened(&e(&[2, -1, 4]), 2).as_deref(), Some(&[U, Extent::Known(4)][..]));
        assert_eq!(flattened(&e(&[-1, 2, 4]), 1), Some(e(&[-1, 8])));
        assert_eq!(flattened(&e(&[2, 3]), 2), Some(e(&[6, 1])));
        assert_eq!(plain(&[2, 3, 4], &[0, -1]), e(&[2, 12]));
        assert_eq!(plain(&[-1, 3, 4], &[0, -1]), e(&[-1, 12]));
        assert_eq!(plain(&[-1, 3, 4], &[-1, 12]), e(&[-1, 12]));
        assert_eq!(plain(&[-1, 3, 4], &[-1, 6]), [U, Extent::Known(6)].into());
        assert_eq!(plain(&[-1, -2, 4], &[0, -1]), [Extent::Open(1), U].into());
        assert_eq!(plain(&[-1, -2, 4], &[0, 4, -1]), e(&[-1, 4, -2]));
        assert_eq!(plain(&[0, 3], &[0, -1]), [Extent::Known(0), U].into());
        assert_eq!(reshaped(None, &t(&[5, -1]), false, |_| None), [Extent::Known(5), U].into());
        let unknown =
            |x: &[i64], target: &[Option<i64>]| reshaped(Some(&e(x)), target, false, |_| None);
        assert_eq!(unknown(&[-1, 3], &[None, Some(3)]), e(&[-1, 3]));
        assert_eq!(unknown(&[-1, 3], &[Some(0), None]), [Extent::Open(1), U].into());
        assert_eq!(unknown(&[2, 3], &[Some(0), None]), e(&[2, 3]));
        let behind = |i: usize| (i == 0).then_some(Extent::Open(1));
        let target = [None, Some(-1)];
        assert_eq!(reshaped(Some(&e(&[-1, 3, 4])), &target, false, behind), e(&[-1, 12]));
        // 0 would mean 3.
        assert_eq!(
            reshaped(Some(&e(&[3, -1, 4])), &target, false, behind),
            [Extent::Like(1), U].into()
        );
        assert_eq!(reshaped(Some(&e(&[3, -1, 4])), &target, true, behind), e(&[-1, 12]));
    }
}
