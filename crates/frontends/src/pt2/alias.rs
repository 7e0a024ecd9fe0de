//! Which values share memory, and where an update in place can be seen by more than its own result.
//!
//! An op may overwrite what it reads (`relu_`, `add_`), and a result may be a view of an operand. Values that may share
//! memory form a group; where what is known of an op does not rule sharing out, it is assumed. An update is *private* when
//! no value of its group from before it is read behind it, and none belongs to the caller or to the model: then it is the
//! functional op, where there is one. Else it is *seen*, and the names of its group mean different things at different places.

use super::program::aten;
use std::collections::{HashMap, HashSet};

/// A node as this analysis sees it.
pub(super) struct Call<'a> {
    pub(super) effect: Effect,
    pub(super) reads: Vec<&'a str>,
    pub(super) results: Vec<&'a str>,
    /// What it overwrites of that besides: statistics that a batch norm keeps.
    pub(super) state: Vec<&'a str>,
    /// Whether it has to stay an update in place, because no other op gives the same as a result of its own.
    pub(super) stays: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Effects<'a> {
    /// Nodes whose update is seen.
    pub(super) seen: Vec<usize>,
    /// Values of the groups of such updates.
    pub(super) pinned: HashSet<&'a str>,
}

/// What an op does to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Its results are new.
    Fresh,
    /// Its results may be views of its operands.
    View,
    /// It overwrites its first operand, which is its result.
    InPlace,
    /// It may overwrite any operand.
    Unknown,
}

/// ATen ops whose results are tensors of their own. Everything else may give views.
const FRESH: &[&str] = &[
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution",
    "linear",
    "addmm",
    "mm",
    "bmm",
    "matmul",
    "baddbmm",
    "batch_norm",
    "_native_batch_norm_legit_no_training",
    "layer_norm",
    "native_layer_norm",
    "group_norm",
    "rms_norm",
    "add",
    "sub",
    "mul",
    "div",
    "rsub",
    "neg",
    "abs",
    "pow",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "exp",
    "log",
    "erf",
    "floor",
    "ceil",
    "round",
    "sign",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "relu",
    "relu6",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "silu",
    "mish",
    "gelu",
    "elu",
    "selu",
    "celu",
    "leaky_relu",
    "softplus",
    "softmax",
    "_softmax",
    "log_softmax",
    "_log_softmax",
    "prelu",
    "clamp",
    "clamp_min",
    "clamp_max",
    "maximum",
    "minimum",
    "where",
    "cat",
    "stack",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool2d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "argmax",
    "var",
    "std",
    "norm",
    "linalg_vector_norm",
    "clone",
    "lift_fresh_copy",
    "constant_pad_nd",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "pixel_shuffle",
    "embedding",
    "scaled_dot_product_attention",
    "full",
    "zeros",
    "ones",
    "arange",
    "full_like",
    "zeros_like",
    "ones_like",
    "scalar_tensor",
    "sym_size",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "logical_not",
    "index_select",
    "gather",
    "roll",
    "repeat",
    "threshold",
    "log1p",
    "square",
    "glu",
    "rand",
    "randn",
];

/// What a target does to memory.
pub(super) fn effect(target: &str) -> Effect {
    match target {
        // Calls that a recorder ran, and saw what they do to memory, but has no name for.
        "torch.ops.normfold.value.default" => return Effect::Fresh,
        "torch.ops.normfold.view.default" => return Effect::View,
        "torch.ops.normfold.value_.default" => return Effect::InPlace,
        _ => {}
    }
    let Some((name, overload)) = aten(target) else { return Effect::Unknown };
    let overwrites = name.ends_with('_') && !name.ends_with("__") || name.starts_with("__i");
    // These overwrite several operands, or another than the first, or let an operand become a view of another.
    let several =
        ["_foreach", "_fused", "fused_moving_avg", "_amp", "rrelu_with_noise", "set_", "resize"];
    if overload.contains("out")
        || overload.contains("_copy")
        || several.iter().any(|s| name.starts_with(s))
    {
        Effect::Unknown
    } else if name == "detach_" {
        // It tells autograd something, and has the elements that it had.
        Effect::View
    } else if overwrites {
        Effect::InPlace
    } else if name.contains("batch_norm") && !FRESH.contains(&name) {
        // Forms for training update running statistics.
        Effect::Unknown
    } else if FRESH.contains(&name) {
        Effect::Fresh
    } else {
        Effect::View
    }
}

/// Groups as disjoint sets.
#[derive(Default)]
struct Groups(Vec<usize>);

impl Groups {
    fn find(&mut self, mut i: usize) -> usize {
        loop {
            let parent = self.0.get(i).copied().unwrap_or(i);
            if parent == i {
                return i;
            }
            let above = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.0.get_mut(i) {
                *slot = above;
            }
            i = above;
        }
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller index stays, for results that do not depend on order.
        if let Some(slot) = self.0.get_mut(a.max(b)) {
            *slot = a.min(b);
        }
    }
}

#[derive(Clone, Copy)]
struct Known {
    /// The node that gives it; `None` for inputs.
    made: Option<usize>,
    /// The last node that reads it; the number of nodes for results of the program.
    last: Option<usize>,
}

/// What is known of the values of a group, for the question whether an update is seen.
#[derive(Default)]
struct Spans {
    /// Whether the caller or the model owns one of them.
    owned: bool,
    /// Where one is made and where it is read last, by the former; the latter is the largest up to here.
    spans: Vec<(usize, usize)>,
}

impl Spans {
    fn new(members: impl Iterator<Item = Known>) -> Self {
        let mut all = Self::default();
        for Known { made, last } in members {
            all.owned |= made.is_none();
            all.spans.extend(made.zip(last));
        }
        all.spans.sort_unstable();
        let mut largest = 0;
        for (_, last) in &mut all.spans {
            largest = largest.max(*last);
            *last = largest;
        }
        all
    }

    /// Whether a value from before that node is read behind it.
    fn cross(&self, at: usize) -> bool {
        let before = self.spans.partition_point(|(made, _)| *made < at);
        before.checked_sub(1).and_then(|i| self.spans.get(i)).is_some_and(|(_, last)| *last > at)
    }
}

/// Finds the updates that are seen. `inputs` are names that belong to the caller or to the model, `outputs` what is given back.
pub(super) fn analyse<'a>(
    calls: &[Call<'a>],
    inputs: impl Iterator<Item = &'a str>,
    outputs: impl Iterator<Item = &'a str>,
) -> Effects<'a> {
    let mut index: HashMap<&'a str, usize> = HashMap::new();
    let mut values: Vec<Known> = Vec::new();
    let mut groups = Groups::default();
    let mut number = |name: &'a str, values: &mut Vec<Known>, groups: &mut Groups| {
        *index.entry(name).or_insert_with(|| {
            values.push(Known { made: None, last: None });
            groups.0.push(values.len() - 1);
            values.len() - 1
        })
    };
    for name in inputs {
        number(name, &mut values, &mut groups);
    }
    let mut updates: Vec<(usize, usize, bool)> = Vec::new();
    // State that is overwritten, and every read.
    let mut kept: Vec<(usize, usize)> = Vec::new();
    let mut reads_of: Vec<(usize, usize)> = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let reads: Vec<usize> =
            call.reads.iter().map(|n| number(n, &mut values, &mut groups)).collect();
        for &read in &reads {
            if let Some(v) = values.get_mut(read) {
                v.last = Some(at);
            }
            reads_of.push((at, read));
        }
        let results: Vec<usize> =
            call.results.iter().map(|n| number(n, &mut values, &mut groups)).collect();
        for &result in &results {
            if let Some(v) = values.get_mut(result) {
                v.made = Some(at);
            }
        }
        let shared = match call.effect {
            Effect::Fresh => 0,
            Effect::InPlace => 1,
            Effect::View | Effect::Unknown => reads.len(),
        };
        match call.effect {
            Effect::InPlace => updates.extend(reads.first().map(|&read| (at, read, call.stays))),
            Effect::Unknown => updates.extend(reads.iter().map(|&read| (at, read, false))),
            Effect::Fresh | Effect::View => {}
        }
        kept.extend(call.state.iter().map(|n| (at, number(n, &mut values, &mut groups))));
        let mut alike = reads.iter().take(shared).chain(&results);
        if let (Some(&first), false) = (alike.next(), shared == 0 || results.is_empty()) {
            alike.for_each(|&other| groups.join(first, other));
        }
    }
    for name in outputs {
        let v = number(name, &mut values, &mut groups);
        if let Some(v) = values.get_mut(v) {
            v.last = Some(calls.len());
        }
        reads_of.push((calls.len(), v));
    }
    let mut members: HashMap<usize, Vec<Known>> = HashMap::new();
    for (v, known) in values.iter().enumerate() {
        members.entry(groups.find(v)).or_default().push(*known);
    }
    let mut effects = Effects::default();
    let mut pinned: HashSet<usize> = HashSet::new();
    let mut spans: HashMap<usize, Spans> = HashMap::new();
    for (at, target, stays) in updates {
        let group = groups.find(target);
        let spans = spans
            .entry(group)
            .or_insert_with(|| Spans::new(members.get(&group).into_iter().flatten().copied()));
        if stays || spans.owned || spans.cross(at) {
            pinned.insert(group);
            effects.seen.push(at);
        }
    }
    // Of state that one node alone knows it cannot be told when it changes.
    let mut readers: HashMap<usize, (usize, bool)> = HashMap::new();
    for (at, read) in reads_of {
        let known = readers.entry(groups.find(read)).or_insert((at, false));
        known.1 |= known.0 != at;
    }
    for (at, state) in kept {
        let group = groups.find(state);
        if readers.get(&group).is_some_and(|(_, several)| *several) {
            pinned.insert(group);
            effects.seen.push(at);
        }
    }
    effects.seen.sort_unstable();
    effects.seen.dedup();
    let of_pinned = |v: usize, groups: &mut Groups| pinned.contains(&groups.find(v));
    effects.pinned =
        index.iter().filter(|(_, v)| of_pinned(**v, &mut groups)).map(|(name, _)| *name).collect();
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(calls: &[(&'a str, &'a str, &'a str)], outputs: &'a str) -> Effects<'a> {
        let words = |s: &'a str| s.split_whitespace().collect::<Vec<_>>();
        let calls: Vec<Call<'a>> = calls
            .iter()
            .map(|&(target, reads, results)| Call {
                effect: effect(target),
                reads: words(reads),
                results: words(results),
                state: Vec::new(),
                stays: false,
            })
            .collect();
        analyse(&calls, ["x", "w"].into_iter(), outputs.split_whitespace())
    }

    const CONV: &str = "torch.ops.aten.conv2d.default";
    const RELU: &str = "torch.ops.aten.relu_.default";
    const ADD: &str = "torch.ops.aten.add_.Tensor";
    const VIEW: &str = "torch.ops.aten.view.default";
    const CUSTOM: &str = "torch.ops.mine.thing.default";

    #[test]
    fn an_update_of_what_nobody_reads_again_is_private() {
        let effects = run(&[(CONV, "x w", "c"), (RELU, "c", "r"), (CONV, "r w", "y")], "y");
        assert!(effects.seen.is_empty() && effects.pinned.is_empty());
        // A residual block: the sum is taken in the place of the branch.
        let block = [(CONV, "x w", "a"), (CONV, "a w", "b"), (ADD, "b a", "s")];
        assert!(run(&block, "s").seen.is_empty());
    }

    #[test]
    fn an_update_is_seen_through_its_operand_and_through_views() {
        let effects = run(&[(CONV, "x w", "c"), (RELU, "c", "r"), (CONV, "c w", "y")], "y r");
        assert_eq!(effects.seen, [1]);
        assert!(effects.pinned.contains("c") && effects.pinned.contains("r"));
        assert!(!effects.pinned.contains("y"));
        let views = [(CONV, "x w", "c"), (VIEW, "c", "v"), (RELU, "v", "r"), (CONV, "c w", "y")];
        assert_eq!(run(&views, "y").seen, [2]);
        assert_eq!(run(&[(CONV, "x w", "c"), (RELU, "c", "r")], "c").seen, [1]);
    }

    #[test]
    fn what_the_caller_owns_is_seen() {
        assert_eq!(run(&[(RELU, "x", "r")], "r").seen, [0]);
        assert_eq!(run(&[(VIEW, "x", "v"), (RELU, "v", "r")], "r").seen, [1]);
    }

    #[test]
    fn what_is_not_known_may_overwrite_everything() {
        let seen = run(&[(CONV, "x w", "c"), (CUSTOM, "c", "r"), (CONV, "c w", "y")], "y r");
        assert_eq!(seen.seen, [1]);
        assert!(run(&[(CONV, "x w", "c"), (CUSTOM, "c", "r")], "r").seen.is_empty());
        assert_eq!(effect("torch.ops.aten.batch_norm.default"), Effect::Fresh);
        assert_eq!(effect("torch.ops.aten._native_batch_norm_legit.default"), Effect::Unknown);
        assert_eq!(effect("torch.ops.aten.__and__.Tensor"), Effect::View);
        assert_eq!(effect("torch.ops.aten.__iand__.Tensor"), Effect::InPlace);
        assert_eq!(effect("torch.ops.aten.add.out"), Effect::Unknown);
        assert_eq!(effect("_operator.mul"), Effect::Unknown);
        assert_eq!(effect("torch.ops.aten._foreach_add_.Scalar"), Effect::Unknown);
        assert_eq!(effect("torch.ops.aten.set_.source_Tensor"), Effect::Unknown);
        assert_eq!(effect("torch.ops.aten.einsum.default"), Effect::View);
    }

    #[test]
    fn state_is_seen_where_others_read_it() {
        let norm = |reads: Vec<&'static str>, result| Call {
            effect: Effect::Fresh,
            reads,
            results: vec![result],
            state: vec!["w"],
            stays: false,
        };
        let one = [norm(vec!["x", "w"], "y")];
        let both = [norm(vec!["x", "w"], "y"), norm(vec!["y", "w"], "z")];
        let run = |calls, out| analyse(calls, ["x", "w"].into_iter(), [out].into_iter());
        assert!(run(&one, "y").seen.is_empty());
        let seen = run(&both, "z");
        assert_eq!(seen.seen, [0, 1]);
        assert!(seen.pinned.contains("w") && !seen.pinned.contains("x"));
        assert_eq!(run(&one, "w").seen, [0]);
    }

    #[test]
    fn many_updates_of_one_group_take_no_square_of_them() {
        let names: Vec<String> = (0..60_000).map(|i| format!("v{i}")).collect();
        let mut calls: Vec<Call<'_>> = Vec::new();
        for pair in names.windows(2) {
            calls.push(Call {
                effect: if calls.is_empty() { Effect::Fresh } else { Effect::InPlace },
                reads: vec![&pair[0]],
                results: vec![&pair[1]],
                state: Vec::new(),
                stays: false,
            });
        }
        // One op for thousands of operands and results, all of which may be one memory.
        calls.push(Call {
            effect: Effect::View,
            reads: names.iter().map(String::as_str).take(20_000).collect(),
            results: names.iter().map(String::as_str).skip(40_000).collect(),
            state: Vec::new(),
            stays: false,
        });
        let effects = analyse(&calls, ["v0"].into_iter(), std::iter::empty());
        assert!(!effects.seen.is_empty());
    }
}
