//! Given pairs: which linear op has to take which batch norm in.

use super::{
    reason::{Blocker, FoldReason},
    roots::Root,
    search::Found,
};
use crate::OptionValue;
use normfold_ir::{Graph, Module, OpId, Remark, RemarkKind};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

/// The code of the remark about a pair that no graph has.
const NOT_FOUND: &str = "pair-not-found";

/// Pairs of a linear op and a batch norm (or the last op of an affine chain), by name. The order within the model does not
/// matter: the linear op may stand before the batch norm or after it. A batch norm in several pairs has to go into exactly
/// those linear ops.
///
/// As text: `conv1:bn1|conv2:bn2`, where `\` makes the next character stand for itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pairs(Vec<(Arc<str>, Arc<str>)>);

/// An op that pairs cannot name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is the name of several ops")]
pub struct AmbiguousName(pub Arc<str>);

impl Pairs {
    /// Pairs of names, the linear op first.
    pub fn new<L, N>(pairs: impl IntoIterator<Item = (L, N)>) -> Self
    where
        L: Into<Arc<str>>,
        N: Into<Arc<str>>,
    {
        Self(pairs.into_iter().map(|(l, n)| (l.into(), n.into())).collect())
    }

    /// Pairs of ops of one graph, the linear op first.
    ///
    /// # Errors
    /// Another op of the graph has the name of one of them ([`Graph::location`]): give it one of its own first.
    ///
    /// # Panics
    /// An op is not of this graph.
    pub fn of_ops(
        g: &Graph,
        pairs: impl IntoIterator<Item = (OpId, OpId)>,
    ) -> Result<Self, AmbiguousName> {
        let mut count: HashMap<Arc<str>, u32> = HashMap::new();
        for op in g.ops() {
            *count.entry(g.location(op)).or_default() += 1;
        }
        let name = |op| {
            let name = g.location(op);
            match count.get(&name) {
                Some(1) => Ok(name),
                _ => Err(AmbiguousName(name)),
            }
        };
        let pairs = pairs.into_iter().map(|(l, n)| Ok((name(l)?, name(n)?)));
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no pair, which means every batch norm.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the linear op and the batch norm of each pair.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(l, n)| (&**l, &**n))
    }

    /// Whether a batch norm of that name is in a pair.
    pub(super) fn has(&self, norm: &str) -> bool {
        self.iter().any(|(_, n)| n == norm)
    }

    /// Whether a fold goes into exactly the ops that the pairs name.
    pub(super) fn check(&self, g: &Graph, norm: &str, found: &Found) -> Result<(), FoldReason> {
        let absorbed = &found.plan.absorbed;
        let into: BTreeSet<Arc<str>> = absorbed.iter().map(|a| g.location(a.op)).collect();
        let named: BTreeSet<&str> =
            self.iter().filter(|(_, n)| *n == norm).map(|(l, _)| l).collect();
        if into.iter().map(|l| &**l).eq(named.iter().copied()) {
            return Ok(());
        }
        let outside = absorbed.iter().find(|a| !named.contains(&*g.location(a.op)));
        Err(FoldReason::PairMismatch {
            blocker: outside.or(absorbed.first()).map(|a| Blocker::of(g, a.op)),
            named: named.into_iter().collect::<Vec<_>>().join("\", \"").into(),
        })
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |f: &mut fmt::Formatter<'_>, name: &str| {
            name.chars().try_for_each(|c| match c {
                ':' | '|' | '\\' => write!(f, "\\{c}"),
                c => write!(f, "{c}"),
            })
        };
        for (i, (linear, norm)) in self.iter().enumerate() {
            f.write_str(if i > 0 { "|" } else { "" })?;
            escaped(f, linear)?;
            f.write_str(":")?;
            escaped(f, norm)?;
        }
        Ok(())
    }
}

impl OptionValue for Pairs {
    fn expected() -> String {
        r"pairs of names such as `conv1:bn1|conv2:bn2`, `\` before a `:` or `|` in a name".into()
    }

    fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = text.ok_or_else(Self::expected)?;
        let mut pairs = Vec::new();
        if text.is_empty() {
            return Ok(Self(pairs));
        }
        let mut names = vec![String::new()];
        let mut chars = text.chars();
        loop {
            match chars.next() {
                Some('\\') => {
                    let c = chars.next().ok_or_else(Self::expected)?;
                    names.last_mut().ok_or_else(Self::expected)?.push(c);
                }
                Some(':') => names.push(String::new()),
                c @ (Some('|') | None) => {
                    match std::mem::replace(&mut names, vec![String::new()]).as_slice() {
                        [l, n] if !l.is_empty() && !n.is_empty() => {
                            pairs.push((l.as_str().into(), n.as_str().into()));
                        }
                        _ => return Err(Self::expected()),
                    }
                    if c.is_none() {
                        return Ok(Self(pairs));
                    }
                }
                Some(c) => names.last_mut().ok_or_else(Self::expected)?.push(c),
            }
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// What was found of the pairs in the graphs of a module, kept from one run of a pass to the next: what was folded in an
/// earlier one is gone.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Positions of pairs whose batch norm was seen, and of those whose linear op was seen beside it.
    norms: HashSet<usize>,
    both: HashSet<usize>,
}

impl Sightings {
    pub(super) fn look(&mut self, pairs: &Pairs, g: &Graph, roots: &[Root]) {
        if pairs.is_empty() {
            return;
        }
        let names: HashSet<Arc<str>> = g.ops().map(|op| g.location(op)).collect();
        let norms: HashSet<Arc<str>> = roots.iter().map(|r| g.location(r.op)).collect();
        for (i, (linear, norm)) in pairs.iter().enumerate() {
            if norms.contains(norm) {
                self.norms.insert(i);
                if names.contains(linear) {
                    self.both.insert(i);
                }
            }
        }
    }

    /// A remark about each pair that no graph has.
    pub(super) fn missing(
        &self,
        pairs: &Pairs,
        pass: &'static str,
        module: &Module,
    ) -> Vec<Remark> {
        let missing = pairs.iter().enumerate().filter(|(i, _)| !self.both.contains(i));
        let remark = |(i, (linear, norm)): (usize, (&str, &str))| Remark {
            kind: RemarkKind::Analysis,
            pass,
            graph: module.name().clone(),
            op: "module".into(),
            location: format!("{linear}:{norm}").into(),
            code: NOT_FOUND,
            message: match self.norms.contains(&i) {
                true => format!("no op in the graph of \"{norm}\" is named \"{linear}\""),
                false => format!("no batch norm or affine chain is named \"{norm}\""),
            },
            args: Vec::new(),
            ops: Vec::new(),
        };
        missing.map(remark).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["", "a:b", "conv1:bn1|conv2:bn2", r"m\:\:c:b\|n\\|x/y.0:z"] {
            assert_eq!(Pairs::parse(Some(text)).map(|p| p.print()), Ok(text.to_owned()));
        }
        assert_eq!(Pairs::parse(Some(r"m\:c:b")), Ok(Pairs::new([("m:c", "b")])));
        for bad in ["a", "a:", ":b", "a:b|", "a:b:c", "|", "a:b\\"] {
            assert!(Pairs::parse(Some(bad)).is_err(), "{bad}");
        }
        assert!(Pairs::parse(None).is_err());
    }
}
