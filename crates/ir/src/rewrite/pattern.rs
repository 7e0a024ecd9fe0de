//! Patterns: a `check` that sees the graph read-only and returns a typed match or a typed reason, and a `rewrite` that
//! cannot fail, since the match is the proof.

use super::PatternRewriter;
use crate::{ConstPool, Graph, OpId, Remark, RemarkKind};
use std::fmt;

/// Why something is not legal: a stable code and a sentence.
pub trait Reason: fmt::Display {
    /// Every code of this type.
    const CODES: &'static [&'static str];
    /// The stable code, a heading of docs/legality.md.
    fn code(&self) -> &'static str;
}

/// The reason of patterns that have none to give.
#[derive(Clone, Copy, Debug)]
pub enum NoReason {}

impl fmt::Display for NoReason {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Reason for NoReason {
    const CODES: &'static [&'static str] = &[];
    fn code(&self) -> &'static str {
        match *self {}
    }
}

/// Why a pattern does not apply.
#[derive(Clone, Debug)]
pub enum Miss<R> {
    /// The op is not what the pattern is about.
    NoMatch,
    /// It is, but nothing would change.
    NoEffect,
    /// It is, and the rewrite would not be legal.
    Illegal(R),
}

/// What a check sees beside the graph.
#[derive(Clone, Copy)]
pub struct MatchCx<'a> {
    /// The constant pool.
    pub constants: &'a ConstPool,
}

/// A rewrite in two halves.
pub trait RewritePattern {
    /// What `check` proves and `rewrite` needs.
    type Match;
    /// Why it may be refused.
    type Reason: Reason;

    /// The pattern's name.
    const NAME: &'static str;

    /// Looks at `root` without changing anything.
    ///
    /// # Errors
    /// The pattern does not apply, and why.
    fn check(
        &self,
        g: &Graph,
        root: OpId,
        cx: MatchCx<'_>,
    ) -> Result<Self::Match, Miss<Self::Reason>>;

    /// Carries a match out. Must be called on the graph that was checked, unchanged.
    fn rewrite(&self, m: Self::Match, rw: &mut PatternRewriter<'_>);
}

/// A pattern with its types erased.
pub trait DynPattern {
    /// The pattern's name.
    fn name(&self) -> &'static str;
    /// Checks and, on a match, rewrites. `Err` carries a remark about an illegal match.
    ///
    /// # Errors
    /// The match is not legal.
    fn apply(
        &self,
        graph: &mut Graph,
        constants: &mut ConstPool,
        root: OpId,
        listener: &mut dyn FnMut(&Graph, super::Event),
    ) -> Result<bool, Box<Remark>>;
}

impl<P: RewritePattern> DynPattern for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn apply(
        &self,
        graph: &mut Graph,
        constants: &mut ConstPool,
        root: OpId,
        listener: &mut dyn FnMut(&Graph, super::Event),
    ) -> Result<bool, Box<Remark>> {
        match self.check(graph, root, MatchCx { constants }) {
            Ok(m) => {
                self.rewrite(m, &mut PatternRewriter::new(graph, constants, listener));
                Ok(true)
            }
            Err(Miss::NoMatch | Miss::NoEffect) => Ok(false),
            Err(Miss::Illegal(reason)) => Err(Box::new(Remark {
                kind: RemarkKind::Missed,
                pass: P::NAME,
                graph: graph.name().clone(),
                op: graph.kind(root).mnemonic().into(),
                location: graph.location(root),
                code: reason.code(),
                message: reason.to_string(),
                args: Vec::new(),
                ops: Vec::new(),
            })),
        }
    }
}

/// Patterns in the order they are tried.
#[derive(Default)]
pub struct PatternSet<'p> {
    patterns: Vec<Box<dyn DynPattern + 'p>>,
}

impl<'p> PatternSet<'p> {
    /// Adds a pattern.
    pub fn with(mut self, p: impl DynPattern + 'p) -> Self {
        self.patterns.push(Box::new(p));
        self
    }

    /// The patterns.
    pub fn iter(&self) -> impl Iterator<Item = &dyn DynPattern> {
        self.patterns.iter().map(|p| &**p)
    }
}
