//! Reshapes: which axes of the operand an axis of the result is made of.

use super::{ask::Ask, cx::Cx};
use normfold_ir::{OpId, OpKind, Value};

/// An extent: known, or some number that has a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    Known(u64),
    /// That of axis i of the operand.
    Like(usize),
    Unknown,
}

/// Axes of the operand and of the result that hold the same elements in the same order.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Group {
    from: std::ops::Range<usize>,
    to: std::ops::Range<usize>,
}

/// What is asked of the operand where `ask` is asked of the result.
pub(super) fn backward(cx: Cx<'_>, op: OpId, ask: &Ask) -> Option<Ask> {
    if ask.axes().is_empty() {
        return Some(ask.clone());
    }
    let (from, to, groups) = groups_of(cx, op)?;
    carry(ask, &groups, |g| (g.to.clone(), g.from.clone()), &to, &from)
}

/// What is asked of the result where `ask` is what the operand stands for.
pub(super) fn forward(cx: Cx<'_>, op: OpId, ask: &Ask) -> Option<Ask> {
    if ask.axes().is_empty() {
        return Some(ask.clone());
    }
    let (from, to, groups) = groups_of(cx, op)?;
    carry(ask, &groups, |g| (g.from.clone(), g.to.clone()), &from, &to)
}

type Side = std::ops::Range<usize>;

fn carry(
    ask: &Ask,
    groups: &[Group],
    sides: impl Fn(&Group) -> (Side, Side),
    here: &[Extent],
    there: &[Extent],
) -> Option<Ask> {
    let (mut axes, mut dims) = (Vec::new(), Vec::new());
    let (mut new_axes, mut new_dims) = (Vec::new(), Vec::new());
    let extent = |list: &[Extent], a: usize| match list[a] {
        Extent::Known(n) => Some(n),
        _ => None,
    };
    for g in groups {
        let (mine, other) = sides(g);
        if !mine.clone().any(|a| ask.axes().contains(&a)) {
            continue;
        }
        for a in mine {
            axes.push(a);
            dims.push(extent(here, a).or(ask.extent(a))?);
        }
        for a in other {
            new_axes.push(a);
            new_dims.push(extent(there, a)?);
        }
    }
    let wide = ask.expand(&axes, &dims)?;
    Some(Ask::over(new_axes, new_dims, wide.s, wide.t)?.normal())
}

fn groups_of(cx: Cx<'_>, op: OpId) -> Option<(Vec<Extent>, Vec<Extent>, Vec<Group>)> {
    let g = cx.g;
    let x = g.operand(op, 0)?;
    let dims = cx.types.dims(x)?;
    let from: Vec<Extent> =
        dims.iter().enumerate().map(|(i, d)| d.map_or(Extent::Like(i), Extent::Known)).collect();
    let after = cx.types.dims(Value::new(op, 0))?;
    let mut to: Vec<Extent> =
        after.iter().map(|d| d.map_or(Extent::Unknown, Extent::Known)).collect();
    match g.kind(op) {
        OpKind::Reshape(r) => {
            let target = match &r.shape {
                Some(list) => Some(list.iter().copied().map(Some).collect()),
                None => cx.constants().ints(g.operand(op, 1)?),
            };
            for (i, t) in target.into_iter().flatten().enumerate() {
                if to.get(i) != Some(&Extent::Unknown) {
                    continue;
                }
                if t == Some(0) && !r.allow_zero {
                    to[i] = *from.get(i)?;
                }
                // An extent of x itself, looked up.
                if t.is_none()
                    && let Some(v) = g.operand(op, 1)
                    && let Some((of, axis)) = cx.constants().extent_behind(v, i as u64)
                    && of == x
                {
                    to[i] = *from.get(axis)?;
                }
            }
        }
        OpKind::Squeeze(_) | OpKind::Unsqueeze(_) => {
            // Axes that are not 1 keep their order.
            let named = from.iter().filter(|e| **e != Extent::Known(1));
            let open = to.iter_mut().filter(|e| **e != Extent::Known(1));
            let (named, open): (Vec<_>, Vec<_>) = (named.collect(), open.collect());
            if named.len() == open.len() {
                for (o, n) in open.into_iter().zip(named) {
                    *o = *n;
                }
            }
        }
        _ => {}
    }
    solve(&from, &mut to);
    let groups = group(&from, &to);
    Some((from, to, groups))
}

/// One open extent follows: both sides have the same number of elements.
fn solve(from: &[Extent], to: &mut [Extent]) {
    let product = |list: &[Extent]| {
        let known = list.iter().filter_map(|e| match e {
            Extent::Known(n) => Some(*n),
            _ => None,
        });
        known.fold(1u64, u64::saturating_mul)
    };
    let open: Vec<usize> = (0..to.len()).filter(|&i| to[i] == Extent::Unknown).collect();
    let &[open] = open.as_slice() else { return };
    let mut names: Vec<Extent> =
        from.iter().copied().filter(|e| matches!(e, Extent::Like(_))).collect();
    for e in to.iter().filter(|e| matches!(e, Extent::Like(_))) {
        match names.iter().position(|n| n == e) {
            Some(i) => _ = names.remove(i),
            None => return,
        }
    }
    let (a, b) = (product(from), product(to));
    if a == 0 || b == 0 {
        return;
    }
    match names.as_slice() {
        [] if a % b == 0 => to[open] = Extent::Known(a / b),
        [one] if a == b => to[open] = *one,
        _ => {}
    }
}

/// The finest groups, from the left and then from the right.
fn group(from: &[Extent], to: &[Extent]) -> Vec<Group> {
    let (mut i, mut j) = (0, 0);
    let mut left = Vec::new();
    while i < from.len() && j < to.len() {
        match (from[i], to[j]) {
            (a, b) if a == b && a != Extent::Unknown => {
                left.push(Group { from: i..i + 1, to: j..j + 1 });
                (i, j) = (i + 1, j + 1);
            }
            (Extent::Known(1), _) => {
                left.push(Group { from: i..i + 1, to: j..j });
                i += 1;
            }
            (_, Extent::Known(1)) => {
                left.push(Group { from: i..i, to: j..j + 1 });
                j += 1;
            }
            (Extent::Known(a), Extent::Known(b)) => match matching(&from[i..], &to[j..], a, b) {
                Some((m, n)) => {
                    left.push(Group { from: i..i + m, to: j..j + n });
                    (i, j) = (i + m, j + n);
                }
                None => break,
            },
            _ => break,
        }
    }
    let (mut k, mut l) = (from.len(), to.len());
    let mut right = Vec::new();
    while k > i && l > j {
        match (from[k - 1], to[l - 1]) {
            (a, b) if a == b && a != Extent::Unknown => {
                (k, l) = (k - 1, l - 1);
                right.push(Group { from: k..k + 1, to: l..l + 1 });
            }
            _ => break,
        }
    }
    if i < k || j < l {
        left.push(Group { from: i..k, to: j..l });
    }
    right.reverse();
    left.extend(right);
    left
}

/// The shortest stretches of equal product, all extents known.
fn matching(from: &[Extent], to: &[Extent], a: u64, b: u64) -> Option<(usize, usize)> {
    let (mut m, mut n, mut a, mut b) = (1, 1, a, b);
    while a != b {
        let (list, at, product) = if a < b { (from, &mut m, &mut a) } else { (to, &mut n, &mut b) };
        let Some(Extent::Known(d)) = list.get(*at) else { return None };
        *product = product.checked_mul(*d)?;
        *at += 1;
    }
    (a != 0).then_some((m, n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Extent::*;

    fn known(d: &[u64]) -> Vec<Extent> {
        d.iter().map(|&d| Known(d)).collect()
    }

    fn sides(from: &[Extent], to: &[Extent]) -> Vec<(Side, Side)> {
        group(from, to).into_iter().map(|g| (g.from, g.to)).collect()
    }

    #[test]
    fn groups() {
        assert_eq!(sides(&known(&[2, 3, 4]), &known(&[2, 12])), [(0..1, 0..1), (1..3, 1..2)]);
        assert_eq!(
            sides(&known(&[2, 12, 5]), &known(&[2, 3, 4, 5])),
            [(0..1, 0..1), (1..2, 1..3), (2..3, 3..4)]
        );
        let mut to = vec![Unknown, Known(12)];
        let from = [Like(0), Known(3), Known(4)];
        solve(&from, &mut to);
        assert_eq!(to, [Like(0), Known(12)]);
        assert_eq!(sides(&from, &to), [(0..1, 0..1), (1..3, 1..2)]);
        // The batch is merged with an axis: the last axis is still itself.
        let from = [Like(0), Known(3), Known(4)];
        assert_eq!(sides(&from, &[Unknown, Known(4)]), [(0..2, 0..1), (2..3, 1..2)]);
        assert_eq!(sides(&known(&[4, 1]), &known(&[4])), [(0..1, 0..1), (1..2, 1..1)]);
    }

    #[test]
    fn channels_repeat_and_tile() {
        let ask = Ask::along(1, vec![1.0, 2.0], vec![0.0; 2]);
        let (from, to) = (known(&[1, 2, 3]), known(&[1, 6]));
        let g = group(&from, &to);
        let f = carry(&ask, &g, |g| (g.from.clone(), g.to.clone()), &from, &to).expect("small");
        assert_eq!(f.s, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        let back = carry(&f, &g, |g| (g.to.clone(), g.from.clone()), &to, &from);
        assert_eq!(back, Some(ask));
        let tiled = Ask::along(1, [1.0, 2.0, 3.0].repeat(2), vec![0.0; 6]);
        let back = carry(&tiled, &g, |g| (g.to.clone(), g.from.clone()), &to, &from);
        assert_eq!(back, Some(Ask::along(2, vec![1.0, 2.0, 3.0], vec![0.0; 3])));
    }
}
