//! What a run did, as data: counts, verdicts, remarks, sizes. How it is shown is somebody else's affair.

use crate::{Layer, verify::Verification};
use indexmap::IndexMap;
use normfold_ir::{Module, OpId, OpKind, Remark, RemarkArg, RemarkKind};
use normfold_passes::PassReport;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// The pass whose remarks are verdicts about batch norms.
const FOLD: &str = "fold-bn";

/// What remarks call a batch norm.
const NORM: &str = "batch_norm";

/// What a run did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The pipeline that ran, in its normal form.
    pub pipeline: String,
    /// What became of the batch norms.
    pub batch_norms: BatchNorms,
    /// What became of the chains of arithmetic that scale per channel.
    pub affine_chains: BatchNorms,
    /// Every remark of every pass, in the order of the passes.
    pub remarks: Vec<Remark>,
    /// What each pass did, in pipeline order; a pass inside `fixpoint` once for all its rounds.
    pub passes: Vec<PassReport>,
    /// How long each of `passes` took, over all graphs and rounds.
    pub times: Vec<Duration>,
    /// Whether the limit of rewrites was reached.
    pub stopped: bool,
    /// Ops of all graphs before the first pass and after the last.
    pub ops: BeforeAfter,
    /// Bytes of the document itself, external data left out, as it was and as it was written.
    pub size: Option<BeforeAfter>,
    /// The largest relative error that any certificate of a fold measured; `None` without a fold.
    pub largest_error: Option<f64>,
    /// The largest relative error that any of them allows: what rounding to the stored types explains.
    pub largest_bound: Option<f64>,
    /// The largest rounding, from f64 to its type, of a weight that was computed while it was written, relative to the largest
    /// weight of its channel; `None` when none was.
    pub largest_rounding: Option<f64>,
    /// The linear ops that were folded into, with the ranges of their weights; `None` unless asked for.
    pub layers: Option<Vec<Layer>>,
    /// The files written, the model first.
    pub written: Vec<PathBuf>,
    /// Bytes of the files of external data among them.
    pub data_bytes: u64,
    /// What the output has not, or under another name.
    pub notes: Vec<String>,
    /// How often the run was repeated because folded weights turned out not to be finite while they were written.
    pub repeats: u32,
    /// How the output compares with the input; `None` unless asked for.
    pub verification: Option<Verification>,
}

/// A quantity before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BeforeAfter {
    /// Before the first pass.
    pub before: u64,
    /// After the last.
    pub after: u64,
}

/// What became of the batch norms of a module, or of its affine chains.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BatchNorms {
    /// How many there were before the first pass, in every graph that is reached from the entry or a function.
    pub total: u64,
    /// Those that were folded.
    pub folded: u64,
    /// Those that are left, by reason; most frequent first, then by name.
    pub kept: IndexMap<&'static str, u64>,
    /// Those that were gone before a fold was tried: nothing read them, or they computed what another one did.
    pub removed: u64,
}

impl BatchNorms {
    fn of(verdicts: &[&Remark], total: u64) -> Self {
        let mut kept: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut folded = 0;
        for remark in verdicts {
            match remark.kind {
                RemarkKind::Passed => folded += 1,
                _ => *kept.entry(remark.code).or_default() += 1,
            }
        }
        let mut kept: Vec<_> = kept.into_iter().collect();
        kept.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let removed = total.saturating_sub(verdicts.len() as u64);
        Self { total, folded, kept: kept.into_iter().collect(), removed }
    }

    /// Those that are left for a stated reason.
    pub fn kept_total(&self) -> u64 {
        self.kept.values().sum()
    }
}

impl Report {
    /// The verdicts about batch norms and affine chains among the remarks.
    pub fn verdicts(&self) -> impl Iterator<Item = &Remark> {
        self.remarks.iter().filter(|r| is_verdict(r))
    }

    /// Fills in what follows from the remarks.
    pub(crate) fn summarise(&mut self) {
        let (norms, chains): (Vec<_>, Vec<_>) = self.verdicts().partition(|r| &*r.op == NORM);
        let total = self.batch_norms.total;
        let chains = BatchNorms::of(&chains, chains.len() as u64);
        let norms = BatchNorms::of(&norms, total);
        (self.batch_norms, self.affine_chains) = (norms, chains);
        let largest = |name: &str| {
            let number = |r: &Remark| match r.arg(name) {
                Some(RemarkArg::Float(e)) => Some(*e),
                _ => None,
            };
            self.verdicts().filter_map(number).reduce(f64::max)
        };
        (self.largest_error, self.largest_bound) = (largest("error"), largest("bound"));
    }
}

pub(crate) fn is_verdict(remark: &Remark) -> bool {
    remark.pass == FOLD && matches!(remark.kind, RemarkKind::Passed | RemarkKind::Missed)
}

/// Batch norms and ops in every graph that passes run on.
pub(crate) fn census(module: &Module) -> (u64, u64) {
    let (mut norms, mut ops) = (0, 0);
    for id in module.innermost_first() {
        let g = module.graph(id);
        ops += g.len() as u64;
        let is_norm = |op: &OpId| match g.kind(*op) {
            OpKind::BatchNorm(_) => true,
            OpKind::Opaque(o) => o.norm.is_some(),
            _ => false,
        };
        norms += g.ops().filter(is_norm).count() as u64;
    }
    (norms, ops)
}
