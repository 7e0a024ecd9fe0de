//! What is asked of a value: to be `s·x + t` instead of `x`, with s and t along some of its axes.

/// The most elements that s and t may have.
const LARGEST: u64 = 1 << 22;

/// `x ↦ s·x + t`, where s and t vary along `axes` (row-major over `dims`) and are the same along every other axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ask {
    /// Ascending, from the front.
    axes: Vec<usize>,
    dims: Vec<u64>,
    pub(super) s: Vec<f64>,
    pub(super) t: Vec<f64>,
}

impl Ask {
    pub(super) fn uniform(s: f64, t: f64) -> Self {
        Self { axes: Vec::new(), dims: Vec::new(), s: vec![s], t: vec![t] }
    }

    pub(super) fn along(axis: usize, s: Vec<f64>, t: Vec<f64>) -> Self {
        Self { axes: vec![axis], dims: vec![s.len() as u64], s, t }
    }

    /// s and t over several axes, ascending; `None` when too large or contradictory.
    pub(super) fn over(axes: Vec<usize>, dims: Vec<u64>, s: Vec<f64>, t: Vec<f64>) -> Option<Self> {
        let fits = count(&dims)? == s.len() as u64 && s.len() == t.len();
        (fits && axes.is_sorted() && axes.len() == dims.len()).then_some(Self { axes, dims, s, t })
    }

    pub(super) fn axes(&self) -> &[usize] {
        &self.axes
    }

    pub(super) fn extent(&self, axis: usize) -> Option<u64> {
        self.axes.iter().position(|&a| a == axis).map(|i| self.dims[i])
    }

    pub(super) fn shifts(&self) -> bool {
        self.t.iter().any(|&t| t != 0.0)
    }

    /// The largest `|s|`.
    pub(super) fn factor(&self) -> f64 {
        self.s.iter().fold(0.0, |m, s| s.abs().max(m))
    }

    /// The same scale without the shift.
    pub(super) fn scale_only(&self) -> Self {
        Self { t: vec![0.0; self.t.len()], ..self.clone() }.normal()
    }

    /// The same with `f` applied to every t.
    pub(super) fn map_shift(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { t: self.t.iter().map(|&t| f(t)).collect(), ..self.clone() }
    }

    /// `self ∘ inner`: what is asked of u where `x = inner(u)`.
    pub(super) fn after(&self, inner: &Ask) -> Option<Self> {
        let mut axes: Vec<(usize, u64)> = Vec::new();
        for a in [self, inner] {
            axes.extend(a.axes.iter().copied().zip(a.dims.iter().copied()));
        }
        axes.sort_unstable();
        axes.dedup();
        let dims: Vec<u64> = axes.iter().map(|a| a.1).collect();
        let axes: Vec<usize> = axes.iter().map(|a| a.0).collect();
        // Two extents of one axis contradict each other.
        if axes.windows(2).any(|w| w[0] == w[1]) {
            return None;
        }
        let (o, i) = (self.expand(&axes, &dims)?, inner.expand(&axes, &dims)?);
        let s: Vec<f64> = o.s.iter().zip(&i.s).map(|(a, b)| a * b).collect();
        let t = o.s.iter().zip(&i.t).zip(&o.t).map(|((s, t), u)| s * t + u).collect();
        if s.iter().chain(&t as &Vec<f64>).any(|x: &f64| !x.is_finite()) {
            return None;
        }
        Some(Self { axes, dims, s, t }.normal())
    }

    /// Over more axes, which contain its own with the same extents.
    pub(super) fn expand(&self, axes: &[usize], dims: &[u64]) -> Option<Self> {
        let n = count(dims)?;
        let mut strides = vec![0u64; axes.len()];
        let mut stride = 1;
        for (k, &axis) in self.axes.iter().enumerate().rev() {
            let at = axes.iter().position(|&a| a == axis)?;
            if dims[at] != self.dims[k] {
                return None;
            }
            strides[at] = stride;
            stride *= self.dims[k];
        }
        let source = |mut i: u64| {
            let mut at = 0;
            for (d, stride) in dims.iter().zip(&strides).rev() {
                at += i % d * stride;
                i /= d;
            }
            at as usize
        };
        let (s, t) = (0..n).map(|i| (self.s[source(i)], self.t[source(i)])).unzip();
        Some(Self { axes: axes.to_vec(), dims: dims.to_vec(), s, t })
    }

    /// Without the axes along which nothing varies.
    pub(super) fn normal(mut self) -> Self {
        let mut k = 0;
        while k < self.axes.len() {
            let inner: u64 = self.dims[k + 1..].iter().product();
            let d = self.dims[k];
            // Element i of this axis against its first.
            let first = |i: u64| (i / (inner * d) * (inner * d) + i % inner) as usize;
            let same = |v: &[f64]| (0..v.len() as u64).all(|i| v[i as usize] == v[first(i)]);
            if d == 0 || !same(&self.s) || !same(&self.t) {
                k += 1;
                continue;
            }
            let keep = |v: &[f64]| -> Vec<f64> {
                (0..v.len() as u64)
                    .filter(|i| (i / inner).is_multiple_of(d))
                    .map(|i| v[i as usize])
                    .collect()
            };
            (self.s, self.t) = (keep(&self.s), keep(&self.t));
            self.axes.remove(k);
            self.dims.remove(k);
        }
        self
    }

    /// With axis `a` called `to(a)`; `None` where it has no other name. Order may change.
    pub(super) fn renamed(&self, to: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let names: Vec<usize> = self.axes.iter().map(|&a| to(a)).collect::<Option<_>>()?;
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by_key(|&k| names[k]);
        let strides: Vec<u64> =
            (0..self.dims.len()).map(|k| self.dims[k + 1..].iter().product()).collect();
        let dims: Vec<u64> = order.iter().map(|&k| self.dims[k]).collect();
        let source = |mut i: u64| {
            let mut at = 0;
            for (&k, d) in order.iter().zip(&dims).rev() {
                at += i % d * strides[k];
                i /= d;
            }
            at as usize
        };
        let n = self.s.len() as u64;
        let (s, t) = (0..n).map(|i| (self.s[source(i)], self.t[source(i)])).unzip();
        Some(Self { axes: order.iter().map(|&k| names[k]).collect(), dims, s, t })
    }

    /// Positions `at` of `axis`, where the axis is one of its own; itself otherwise.
    pub(super) fn taken(&self, axis: usize, at: impl Iterator<Item = u64>) -> Self {
        let Some(k) = self.axes.iter().position(|&a| a == axis) else { return self.clone() };
        let (inner, d) = (self.dims[k + 1..].iter().product::<u64>(), self.dims[k]);
        let at: Vec<u64> = at.collect();
        let outer = self.s.len() as u64 / (inner * d).max(1);
        let index = move |v: &[f64], at: &[u64]| -> Vec<f64> {
            (0..outer)
                .flat_map(|o| at.iter().map(move |&p| (o, p)))
                .flat_map(|(o, p)| (0..inner).map(move |i| (o * d + p) * inner + i))
                .map(|i| v[i as usize])
                .collect()
        };
        let mut dims = self.dims.clone();
        dims[k] = at.len() as u64;
        let (s, t) = (index(&self.s, &at), index(&self.t, &at));
        Self { axes: self.axes.clone(), dims, s, t }.normal()
    }

    /// Its positions along `axis` at `at` of n; everywhere else `(1, 0)`. `None` where their number differs.
    pub(super) fn placed(&self, axis: usize, n: u64, at: &[u64]) -> Option<Self> {
        let k = self.axes.iter().position(|&a| a == axis)?;
        let (inner, d) = (self.dims[k + 1..].iter().product::<u64>(), self.dims[k]);
        let mut dims = self.dims.clone();
        dims[k] = n;
        let total = count(&dims)? as usize;
        if d != at.len() as u64 || at.iter().any(|&p| p >= n) {
            return None;
        }
        let (mut s, mut t) = (vec![1.0; total], vec![0.0; total]);
        for i in 0..self.s.len() as u64 {
            let (outer, k, rest) = (i / (inner * d), i / inner % d, i % inner);
            let to = ((outer * n + at[k as usize]) * inner + rest) as usize;
            (s[to], t[to]) = (self.s[i as usize], self.t[i as usize]);
        }
        Some(Self { axes: self.axes.clone(), dims, s, t }.normal())
    }

    /// Several, one after the other along `axis`, each as long as `lengths` says.
    pub(super) fn joined(axis: usize, parts: &[(Ask, u64)]) -> Option<Self> {
        let mut axes: Vec<(usize, u64)> = Vec::new();
        for (a, _) in parts {
            let own = a.axes.iter().copied().zip(a.dims.iter().copied());
            axes.extend(own.filter(|&(a, _)| a != axis));
        }
        axes.sort_unstable();
        axes.dedup();
        let at = axes.partition_point(|a| a.0 < axis);
        let (mut names, mut dims): (Vec<usize>, Vec<u64>) = axes.into_iter().unzip();
        names.insert(at, axis);
        dims.insert(at, 0);
        if names.windows(2).any(|w| w[0] == w[1]) {
            return None;
        }
        let inner: u64 = dims[at + 1..].iter().product();
        let outer: u64 = dims[..at].iter().product();
        let mut expanded = Vec::new();
        for (a, length) in parts {
            dims[at] = *length;
            expanded.push((a.expand(&names, &dims)?, *length));
        }
        dims[at] = parts.iter().map(|p| p.1).sum();
        count(&dims)?;
        let (mut s, mut t) = (Vec::new(), Vec::new());
        for o in 0..outer {
            for (a, length) in &expanded {
                let range = (o * length * inner) as usize..((o + 1) * length * inner) as usize;
                s.extend_from_slice(&a.s[range.clone()]);
                t.extend_from_slice(&a.t[range]);
            }
        }
        Some(Self { axes: names, dims, s, t }.normal())
    }

    /// As two vectors of `n` along `axis`; `None` when it varies along another axis or has another extent.
    pub(super) fn vectors(&self, axis: usize, n: u64) -> Option<(Vec<f64>, Vec<f64>)> {
        let a = self.expand(&[axis], &[n])?;
        Some((a.s, a.t))
    }
}

fn count(dims: &[u64]) -> Option<u64> {
    dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).filter(|&n| n <= LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_and_normal_form() {
        let a = Ask::along(1, vec![2.0, 3.0], vec![1.0, 0.0]);
        let b = Ask::uniform(0.5, 4.0);
        let c = a.after(&b).expect("small");
        assert_eq!((c.s.clone(), c.t.clone()), (vec![1.0, 1.5], vec![9.0, 12.0]));
        assert_eq!(
            b.after(&Ask::along(1, vec![2.0, 2.0], vec![0.0, 0.0])),
            Some(Ask::uniform(1.0, 4.0))
        );
        assert_eq!(a.after(&Ask::along(1, vec![1.0; 3], vec![0.0, 1.0, 2.0])), None);
        let both = a.after(&Ask::along(2, vec![1.0, 10.0], vec![0.0, 0.0])).expect("small");
        assert_eq!((both.axes(), &both.s), (&[1, 2][..], &vec![2.0, 20.0, 3.0, 30.0]));
        assert_eq!(both.vectors(1, 2), None);
        assert_eq!(c.vectors(1, 2), Some((vec![1.0, 1.5], vec![9.0, 12.0])));
        assert_eq!(c.vectors(2, 2), None);
    }

    #[test]
    fn moves() {
        let a = Ask::over(vec![1, 2], vec![2, 3], (0..6).map(f64::from).collect(), vec![0.0; 6]);
        let a = a.expect("six");
        let swapped = a.renamed(|x| Some(3 - x)).expect("named");
        assert_eq!(swapped.s, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(a.taken(2, [2, 0].into_iter()).s, [2.0, 0.0, 5.0, 3.0]);
        let placed = Ask::along(1, vec![5.0, 6.0], vec![0.0; 2]).placed(1, 4, &[3, 1]);
        assert_eq!(placed.expect("two").s, [1.0, 6.0, 1.0, 5.0]);
        let b = Ask::uniform(7.0, 0.0);
        let j = Ask::joined(2, &[(a, 3), (b, 1)]).expect("small");
        assert_eq!(j.s, [0.0, 1.0, 2.0, 7.0, 3.0, 4.0, 5.0, 7.0]);
        let u = Ask::joined(1, &[(Ask::uniform(1.0, 0.0), 2), (Ask::uniform(1.0, 0.0), 5)]);
        assert_eq!(u, Some(Ask::uniform(1.0, 0.0)));
    }
}
