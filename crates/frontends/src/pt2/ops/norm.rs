//! Batch norms, as modules call them and as they are decomposed.

use super::{NodeCx, functional};
use crate::pt2::program::{Node, union};
use normfold_ir::{BatchNorm, CarriedNorm, Value};

/// What a batch norm needs, where the node is one.
pub(in crate::pt2) struct Norm<'a> {
    /// The name of its running mean.
    pub(in crate::pt2) mean: Option<&'a str>,
}

/// Whether a node is a batch norm of any form.
pub(in crate::pt2) fn is_norm<'a>(node: &Node<'a>) -> Option<Norm<'a>> {
    let (name, _) = functional(node)?;
    let forward = name.contains("batch_norm")
        && !name.contains("backward")
        && !name.contains("elemt")
        && !name.contains("stats");
    let mean = node.arg("running_mean").and_then(|a| a.reads.first()?.as_str());
    forward.then_some(Norm { mean })
}

/// Whether a batch norm takes its statistics from its data. Forms of which that is not known do.
fn training(cx: &NodeCx<'_, '_>, name: &str) -> bool {
    name != "_native_batch_norm_legit_no_training" && cx.flag("training", None) != Some(false)
}

/// The running statistics that a node updates: those of a norm that takes its statistics from its data.
pub(in crate::pt2) fn updated_state<'a>(node: &Node<'a>) -> Vec<&'a str> {
    let Some((name, _)) = node.aten() else { return Vec::new() };
    let flag = ["training", "use_input_stats"].into_iter().find_map(|key| node.arg(key));
    let off = flag.and_then(|a| union(a.value)).and_then(|(_, on)| on.as_bool()) == Some(false);
    let never = ["_native_batch_norm_legit_no_training", "_batch_norm_no_update"];
    if off || never.contains(&name) {
        return Vec::new();
    }
    let arguments = ["running_mean", "running_var"].into_iter().filter_map(|key| node.arg(key));
    arguments.filter_map(|a| a.reads.first()?.as_str()).collect()
}

pub(super) fn emit(cx: &mut NodeCx<'_, '_>, name: &str) -> Option<Vec<Value>> {
    is_norm(cx.node)?;
    let x = cx.tensor("input")?;
    let training = training(cx, name);
    let (mean, variance) = (cx.tensor("running_mean")?, cx.tensor("running_var")?);
    let eps = cx.number("eps", None).or_else(|| cx.number("epsilon", None))?;
    let rank = cx.rank(x)?;
    (2..=5).contains(&rank).then_some(())?;
    // Statistics are kept in f32 where data may be narrower; everything else would be another arithmetic.
    let dtype = cx.dtype(x)?;
    let operands = vec![x, cx.optional("weight")?, cx.optional("bias")?, mean, variance];
    let same = |o: &super::Operand| o.value.is_none() || cx.dtype(*o) == Some(dtype);
    operands.iter().all(same).then_some(())?;
    cx.first(BatchNorm { axis: 1, eps, training, spatial: true }, operands)
}

/// Why a batch norm is carried that [`emit`] makes nothing of.
pub(in crate::pt2) fn carried(cx: &NodeCx<'_, '_>) -> Option<CarriedNorm> {
    is_norm(cx.node)?;
    let (name, _) = functional(cx.node)?;
    let rank = cx.tensor("input").and_then(|x| cx.rank(x));
    Some(match rank {
        _ if training(cx, name) => CarriedNorm::BatchStatistics,
        None => CarriedNorm::UnknownChannels,
        Some(_) => CarriedNorm::CustomLayer,
    })
}
