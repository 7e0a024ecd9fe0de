//! Rewriting: patterns in two halves, the rewriter through which every change goes, and the worklist driver.

mod greedy;
mod pattern;
mod rewriter;

pub use greedy::{GreedyConfig, GreedyOutcome, apply_greedily};
pub use pattern::{DynPattern, MatchCx, Miss, NoReason, PatternSet, Reason, RewritePattern};
pub use rewriter::{Event, PatternRewriter};
