//! The order in which Keras has the layers of a model.
//!
//! Weights are found by position in that order, which is not that of the file: Keras sorts layers anew whenever it makes a
//! functional model, by their distance from the outputs and then by when a walk from the outputs comes upon them
//! (`map_graph` of Keras 3, `_map_graph_network` of Keras 2). A layer that goes thus may change places of others.

use super::model::{Arg, Call, Model, Tensor};
use std::cmp::Reverse;

/// A call of a layer, counted from 0 whatever the file counts from.
type Node = (usize, usize);

/// What one model looks like to the walk.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Per layer and call, the nodes it reads, in the order in which Keras flattens arguments. An input layer has one call.
    pub(super) reads: Vec<Vec<Vec<Node>>>,
    /// Input layers, in the order of the model's inputs.
    pub(super) inputs: Vec<usize>,
    /// What the outputs are results of, in their order.
    pub(super) outputs: Vec<Node>,
    /// Layers are in the order of the file, whatever they read.
    pub(super) sequential: bool,
}

impl Calls {
    /// The calls of a model as the file has them.
    pub(super) fn of(model: &Model<'_>) -> Self {
        let node = |tensor: Tensor| match tensor {
            Tensor::Input(_) => None,
            Tensor::Result { layer, call, .. } => {
                let first = model.layers.get(layer).map_or(0, |l| l.first_call);
                Some((layer, call.saturating_sub(first)))
            }
        };
        let reads = model.layers.iter().map(|layer| {
            if layer.is_input() {
                return vec![Vec::new()];
            }
            layer.calls.iter().map(|c| flat(c).into_iter().filter_map(node).collect()).collect()
        });
        Self {
            reads: reads.collect(),
            inputs: model.inputs.iter().filter_map(|i| i.layer).collect(),
            outputs: model.outputs.iter().filter_map(|(_, t)| node(*t)).collect(),
            sequential: model.sequential,
        }
    }

    /// The layers that outputs depend on, and input layers without use, in Keras's order.
    pub(super) fn order(&self) -> Vec<usize> {
        if self.sequential {
            return (0..self.reads.len()).collect();
        }
        let (finished, first_seen) = self.walk();
        let count = self.reads.len();
        let mut node_depth: Vec<Vec<usize>> =
            self.reads.iter().map(|calls| vec![0; calls.len()]).collect();
        let mut layer_depth: Vec<Option<usize>> = vec![None; count];
        // In which order layers got their depth, which sorting keeps where nothing else decides.
        let mut listed = Vec::with_capacity(count);
        for &(layer, call) in finished.iter().rev() {
            let own = node_depth.get(layer).and_then(|l| l.get(call)).copied().unwrap_or(0);
            let Some(slot) = layer_depth.get_mut(layer) else { continue };
            let depth = own.max(slot.unwrap_or(0));
            if slot.replace(depth).is_none() {
                listed.push(layer);
            }
            for &(l, c) in self.reads.get(layer).and_then(|l| l.get(call)).into_iter().flatten() {
                if let Some(d) = node_depth.get_mut(l).and_then(|calls| calls.get_mut(c)) {
                    *d = (*d).max(depth + 1);
                }
            }
        }
        // An input that nothing reads stands before all others of depth 0.
        let mut seen: Vec<Option<usize>> = first_seen.iter().map(|s| s.map(|s| s + 1)).collect();
        for &input in &self.inputs {
            if let Some(slot @ None) = layer_depth.get_mut(input) {
                *slot = Some(0);
                listed.push(input);
                if let Some(s) = seen.get_mut(input) {
                    *s = Some(0);
                }
            }
        }
        let key = |&l: &usize| {
            let depth = layer_depth.get(l).copied().flatten().unwrap_or(0);
            (Reverse(depth), seen.get(l).copied().flatten().unwrap_or(usize::MAX))
        };
        listed.sort_by_key(key);
        listed
    }

    /// Depth first from the outputs: nodes after all they read, and when each layer was first met.
    fn walk(&self) -> (Vec<Node>, Vec<Option<usize>>) {
        let mut done: Vec<Vec<bool>> =
            self.reads.iter().map(|calls| vec![false; calls.len()]).collect();
        let mut first_seen: Vec<Option<usize>> = vec![None; self.reads.len()];
        let (mut finished, mut met) = (Vec::new(), 0);
        let mut stack: Vec<(Node, usize)> = Vec::new();
        for &output in &self.outputs {
            stack.push((output, 0));
            while let Some(((layer, call), at)) = stack.pop() {
                let Some(reads) = self.reads.get(layer).and_then(|l| l.get(call)) else { continue };
                if at == 0 {
                    // Calls form no cycle, so that what was entered is finished before it is met again.
                    match done.get_mut(layer).and_then(|l| l.get_mut(call)) {
                        Some(entered) if !*entered => *entered = true,
                        _ => continue,
                    }
                    if let Some(seen @ None) = first_seen.get_mut(layer) {
                        *seen = Some(met);
                        met += 1;
                    }
                }
                match reads.get(at) {
                    Some(&next) => stack.extend([((layer, call), at + 1), (next, 0)]),
                    None => finished.push((layer, call)),
                }
            }
        }
        (finished, first_seen)
    }
}

/// The tensors of a call as Keras flattens them: arguments by position, then by name in the order of names; dictionaries
/// by their keys.
pub(super) fn flat(call: &Call<'_>) -> Vec<Tensor> {
    fn add(arg: &Arg<'_>, out: &mut Vec<Tensor>) {
        match arg {
            Arg::Tensor(t, _) => out.push(*t),
            Arg::List(items) => items.iter().for_each(|i| add(i, out)),
            Arg::Dict(items) => sorted(items).into_iter().for_each(|i| add(i, out)),
            Arg::Literal(_) => {}
        }
    }
    fn sorted<'c, 'a>(items: &'c [(&'a str, Arg<'a>)]) -> Vec<&'c Arg<'a>> {
        let mut items: Vec<_> = items.iter().collect();
        items.sort_by_key(|(k, _)| *k);
        items.into_iter().map(|(_, a)| a).collect()
    }
    let mut out = Vec::new();
    call.args.iter().for_each(|a| add(a, &mut out));
    sorted(&call.kwargs).into_iter().for_each(|a| add(a, &mut out));
    out
}

#[cfg(test)]
mod tests {
    use super::Calls;

    fn order(
        reads: &[&[&[(usize, usize)]]],
        inputs: &[usize],
        outputs: &[(usize, usize)],
    ) -> Vec<usize> {
        let reads = reads.iter().map(|l| l.iter().map(|c| c.to_vec()).collect()).collect();
        Calls { reads, inputs: inputs.to_vec(), outputs: outputs.to_vec(), sequential: false }
            .order()
    }

    #[test]
    fn deeper_layers_come_first() {
        // 0 input, 1 conv a, 2 bn, 3 conv b, 4 relu, 5 add(2, 4)
        let with = order(
            &[&[&[]], &[&[(0, 0)]], &[&[(1, 0)]], &[&[(0, 0)]], &[&[(3, 0)]], &[&[(2, 0), (4, 0)]]],
            &[0],
            &[(5, 0)],
        );
        assert_eq!(with, [0, 1, 3, 2, 4, 5]);
        // Without the norm, conv a is nearer to the output than conv b: they change places.
        let without = order(
            &[&[&[]], &[&[(0, 0)]], &[], &[&[(0, 0)]], &[&[(3, 0)]], &[&[(1, 0), (4, 0)]]],
            &[0],
            &[(5, 0)],
        );
        assert_eq!(without, [0, 3, 1, 4, 5]);
    }

    #[test]
    fn a_layer_has_the_depth_of_its_deepest_call() {
        // 0 input, 1 shared (called twice in a row), 2 other, 3 add(shared:1, other)
        let order = order(
            &[&[&[]], &[&[(0, 0)], &[(1, 0)]], &[&[(0, 0)]], &[&[(1, 1), (2, 0)]]],
            &[0],
            &[(3, 0)],
        );
        assert_eq!(order, [0, 1, 2, 3]);
    }

    #[test]
    fn an_input_without_use_is_there() {
        let order = order(&[&[&[]], &[&[]], &[&[(1, 0)]]], &[0, 1], &[(2, 0)]);
        assert_eq!(order, [1, 0, 2]);
    }
}
