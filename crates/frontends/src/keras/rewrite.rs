//! The architecture with its changes: entries dropped and put in Keras's order, references retargeted, `use_bias` on.

use super::{
    export::{LayerChange, ModelChange},
    json::{Json, Value},
    model::{self, Layer, Model, Tensor},
    order::{self, Calls},
    splice::{Edits, quoted},
};
use crate::FrontendError;
use std::collections::HashMap;

/// Writes what became of a model into its configuration, and of those nested in it.
///
/// # Errors
/// A change has no place in the text.
pub(super) fn rewrite(
    edits: &mut Edits<'_>,
    config: &Json,
    model: &Model<'_>,
    change: &ModelChange,
) -> Result<(), FrontendError> {
    let list = config.items().map(|_| config).or_else(|| config.get("layers"));
    let entries = list.and_then(Json::items).unwrap_or_default();
    let names: HashMap<&str, usize> =
        model.layers.iter().enumerate().map(|(i, l)| (l.name, i)).collect();
    let writer = Writer { model, change, names };
    for ((entry, layer), c) in entries.iter().zip(&model.layers).zip(&change.layers) {
        if !c.gone {
            writer.layer(edits, entry, layer, c)?;
        }
    }
    if model.sequential {
        writer.chain()?;
        writer.input_shape(edits)?;
    } else if let Some(outputs) = config.get("output_layers") {
        writer.outputs(edits, outputs);
    }
    if let Some(list) = list
        && change.layers.iter().any(|l| l.gone)
    {
        edits.items(list, &new_order(model, change));
    }
    Ok(())
}

/// The layers that stay, by their old index, in the order in which Keras will have them.
pub(super) fn new_order(model: &Model<'_>, change: &ModelChange) -> Vec<usize> {
    let node = |tensor: Tensor| match tensor {
        Tensor::Input(_) => None,
        Tensor::Result { layer, call, .. } => {
            let first = model.layers.get(layer).map_or(0, |l| l.first_call);
            Some((layer, change.call(model, layer, call) - first))
        }
    };
    let reads = model.layers.iter().zip(&change.layers).map(|(layer, c)| {
        if layer.is_input() {
            return vec![Vec::new()];
        }
        let calls = layer.calls.iter().zip(&c.calls);
        let kept = calls.filter_map(|(call, c)| Some((call, c.as_ref()?)));
        kept.map(|(call, c)| {
            let now = |t: Tensor| *c.get(&t).unwrap_or(&t);
            order::flat(call).into_iter().map(now).filter_map(node).collect()
        })
        .collect()
    });
    let calls = Calls {
        reads: reads.collect(),
        inputs: model.inputs.iter().filter_map(|i| i.layer).collect(),
        outputs: change.outputs.iter().filter_map(|t| node(*t)).collect(),
        sequential: model.sequential,
    };
    let mut order = calls.order();
    let stays = |&l: &usize| change.layers.get(l).is_some_and(|c| !c.gone);
    order.retain(stays);
    // What outputs do not depend on stays where nothing else does.
    let rest: Vec<usize> = (0..model.layers.len()).filter(|l| !order.contains(l)).collect();
    order.extend(rest.into_iter().filter(stays));
    order
}

struct Writer<'w, 'a> {
    model: &'w Model<'a>,
    change: &'w ModelChange,
    names: HashMap<&'a str, usize>,
}

impl Writer<'_, '_> {
    fn layer(
        &self,
        edits: &mut Edits<'_>,
        entry: &Json,
        layer: &Layer<'_>,
        change: &LayerChange,
    ) -> Result<(), FrontendError> {
        if let (Some(nested), Some(c)) = (&layer.nested, &change.nested) {
            rewrite(edits, layer.config, nested, c)?;
        }
        let mut set = |key: &str, text: &str| match layer.config.get(key) {
            Some(value) => {
                edits.replace(value, text);
                Ok(())
            }
            None => Err(FrontendError::NotExpressible {
                op: layer.place.clone(),
                why: format!("its configuration has no `{key}`"),
            }),
        };
        if change.bias.is_some() {
            set("use_bias", "true")?;
        }
        if change.linear {
            set("activation", "\"linear\"")?;
        }
        let Some(nodes) = entry.some("inbound_nodes") else { return Ok(()) };
        let mut kept = Vec::new();
        for (i, (node, call)) in nodes.items().into_iter().flatten().zip(&change.calls).enumerate()
        {
            let Some(call) = call else { continue };
            kept.push(i);
            self.references(node, Keyword::No, &mut |json, tensor| {
                self.retarget(edits, json, tensor, *call.get(&tensor).unwrap_or(&tensor), |_| 0);
            });
        }
        if kept.len() < change.calls.len() {
            edits.items(nodes, &kept);
        }
        Ok(())
    }

    /// Writes a reference that stood for one tensor so that it stands for another. `offset` is what the place adds to the
    /// numbers of a layer's calls.
    fn retarget(
        &self,
        edits: &mut Edits<'_>,
        json: &Json,
        old: Tensor,
        now: Tensor,
        offset: impl FnOnce(&Layer<'_>) -> usize,
    ) {
        let Tensor::Result { layer, call, result } = now else { return };
        let number = self.change.call(self.model, layer, call);
        let same = matches!(old, Tensor::Result { layer: l, call: c, result: r }
            if l == layer && c == number && r == result);
        let (Some([name, at, index, ..]), Some(layer), false) =
            (json.items(), self.model.layers.get(layer), same)
        else {
            return;
        };
        edits.replace(name, quoted(layer.name));
        edits.replace(at, (number + offset(layer)).to_string());
        edits.replace(index, result.to_string());
    }

    fn reference(&self, json: &Json) -> Option<Tensor> {
        let [name, call, result, ..] = json.items()? else { return None };
        let number = |json: &Json| usize::try_from(json.as_i64()?).ok();
        let layer = *self.names.get(name.as_str()?)?;
        Some(Tensor::Result { layer, call: number(call)?, result: number(result)? })
    }

    /// Every reference in a call.
    fn references(&self, json: &Json, keyword: Keyword, found: &mut dyn FnMut(&Json, Tensor)) {
        match &json.value {
            Value::Object(members) => {
                if json.get("class_name").and_then(Json::as_str) == Some("__keras_tensor__") {
                    let history = json.get("config").and_then(|c| c.get("keras_history"));
                    if let Some((history, tensor)) =
                        history.and_then(|h| Some((h, self.reference(h)?)))
                    {
                        found(history, tensor);
                    }
                    return;
                }
                members.iter().for_each(|(_, value)| self.references(value, keyword, found));
            }
            Value::Array(items) => {
                // Among the arguments by name of Keras 2 a bare `[layer, call, result]` is a tensor.
                let bare = match keyword {
                    Keyword::No => model::is_reference(items),
                    Keyword::Yes => items.len() == 3,
                };
                if bare && let Some(tensor) = self.reference(json) {
                    found(json, tensor);
                }
                if bare && keyword == Keyword::No {
                    items.iter().skip(3).for_each(|i| self.references(i, Keyword::Yes, found));
                } else {
                    items.iter().for_each(|i| self.references(i, keyword, found));
                }
            }
            _ => {}
        }
    }

    fn outputs(&self, edits: &mut Edits<'_>, json: &Json) {
        for ((_, reference), (now, (_, old))) in
            model::references(json).zip(self.change.outputs.iter().zip(&self.model.outputs))
        {
            self.retarget(edits, reference, *old, *now, |layer| layer.output_offset);
        }
    }

    /// In a Sequential model each layer that stays reads the one that stays before it.
    fn chain(&self) -> Result<(), FrontendError> {
        let Some(input) = self.model.inputs.first() else { return Ok(()) };
        let mut tensor = match input.layer {
            Some(layer) => Tensor::Result { layer, call: 0, result: 0 },
            None => Tensor::Input(0),
        };
        for (index, (layer, change)) in
            self.model.layers.iter().zip(&self.change.layers).enumerate()
        {
            if Some(index) == input.layer {
                continue;
            }
            let (Some(call), Some(Some(c))) = (layer.calls.first(), change.calls.first()) else {
                continue;
            };
            let reads = |(t, _): (Tensor, _)| *c.get(&t).unwrap_or(&t) == tensor;
            if !call.tensors().into_iter().all(reads) {
                return refuse(layer, "it would not read the layer before it");
            }
            tensor = Tensor::Result { layer: index, call: 0, result: 0 };
        }
        match (self.change.outputs.as_slice(), self.model.layers.last()) {
            ([output], Some(last)) if *output != tensor => {
                refuse(last, "the model would not end with its last layer")
            }
            _ => Ok(()),
        }
    }

    /// Without an input layer the first layer states what the model reads: where it goes, the next one says it.
    fn input_shape(&self, edits: &mut Edits<'_>) -> Result<(), FrontendError> {
        let layers = || self.model.layers.iter().zip(&self.change.layers);
        let Some((first, LayerChange { gone: true, .. })) = layers().next() else { return Ok(()) };
        let explicit = self.model.inputs.iter().any(|i| i.layer.is_some());
        let member = |key: &&str| {
            let value = first.config.some(key)?;
            Some(((*key).to_owned(), edits.render(value.span.clone())))
        };
        let stated: Vec<_> = STATED.iter().filter_map(member).collect();
        if explicit || stated.is_empty() {
            return Ok(());
        }
        match layers().find(|(_, change)| !change.gone) {
            Some((next, _)) if next.nested.is_none() => {
                edits.members(next.config, |key| !STATED.contains(&key), &stated);
                Ok(())
            }
            _ => refuse(first, "it states the shape of the model's input"),
        }
    }
}

/// How the first layer of a Sequential model states the shape of what the model reads.
const STATED: [&str; 3] = ["batch_input_shape", "batch_shape", "input_shape"];

fn refuse(layer: &Layer<'_>, why: &str) -> Result<(), FrontendError> {
    Err(FrontendError::NotExpressible { op: layer.place.clone(), why: why.into() })
}

/// Whether a list stands among arguments by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyword {
    No,
    Yes,
}
