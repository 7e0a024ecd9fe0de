//! The form of Keras 3: `layers/conv2d_1/vars/0`.

use super::{FORMAT, WeightFile, Writer, is_layer, old_order, snake_case};
use crate::{
    FrontendError,
    hdf5::{File, ObjectId, Value},
    keras::{
        export::ModelChange,
        model::Model,
        record::{Record, Store},
        rewrite::new_order,
    },
};
use std::collections::HashMap;

/// What the list of a model's layers is called; the second by Keras 2.13.
pub(super) const LISTS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];

/// The group with the layers of a model, and its name.
fn list(file: &File, model: ObjectId) -> Option<(ObjectId, &'static str)> {
    LISTS.iter().find_map(|name| Some((file.find(model, name)?, *name)))
}

/// The layers of a model with the names of their groups: the class, and from the second of a class on its number.
fn groups(model: &Model<'_>, order: &[usize]) -> Vec<(usize, String)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let layers = order.iter().filter_map(|&l| Some((l, model.layers.get(l)?)));
    layers
        .filter(|(_, layer)| is_layer(model, layer))
        .map(|(l, layer)| {
            let class = snake_case(layer.class);
            let number = seen.entry(class.clone()).or_insert(0);
            let name = if *number == 0 { class } else { format!("{class}_{number}") };
            *number += 1;
            (l, name)
        })
        .collect()
}

/// The weights of a group, by number.
fn variables(file: &File, layer: ObjectId) -> Vec<ObjectId> {
    let Some(vars) = file.find(layer, "vars") else { return Vec::new() };
    (0u64..).map_while(|i| file.find(vars, &i.to_string())).collect()
}

pub(super) fn read(
    weights: &WeightFile,
    group: ObjectId,
    model: &Model<'_>,
    indices: &[u32],
    path: &str,
    store: &mut Store,
) -> Result<(), FrontendError> {
    let file = weights.file();
    let Some((list, name)) = list(file, group) else { return Ok(()) };
    for (index, group) in groups(model, &old_order(model)) {
        let (Some(layer), Some(id)) = (model.layers.get(index), file.find(list, &group)) else {
            continue;
        };
        let path = format!("{path}{name}/{group}");
        // The name is there since Keras 3.6; the place decides.
        if let Some(vars) = file.find(id, "vars")
            && let Some(Value::Text(stated)) = file.attribute(vars, "name")
            && stated != layer.name
        {
            let problem = format!(
                "by its place it belongs to layer `{}`, by its name to `{stated}`: these are the weights of another model",
                layer.place
            );
            return Err(FrontendError::invalid(FORMAT, format!("`{path}/vars`"), problem));
        }
        let mut inner = indices.to_vec();
        inner.push(index as u32);
        if let Some(nested) = &layer.nested {
            read(weights, id, nested, &inner, &format!("{path}/"), store)?;
        }
        let list = variables(file, id).into_iter().enumerate();
        let list = list.map(|(i, id)| weights.stored(format!("{path}/vars/{i}"), id));
        store.insert(inner, list.collect::<Result<_, _>>()?);
    }
    Ok(())
}

pub(super) fn write(
    w: &mut Writer<'_, '_, '_>,
    group: ObjectId,
    model: &Model<'_>,
    record: &Record,
    change: &ModelChange,
) -> Result<(), FrontendError> {
    let file = w.file;
    let Some((list, _)) = list(file, group) else { return Ok(()) };
    let before = groups(model, &old_order(model));
    let after: HashMap<usize, String> =
        groups(model, &new_order(model, change)).into_iter().collect();
    // Every name that goes is gone before one is given again.
    let mut moved = Vec::new();
    for (index, old) in &before {
        let Some(id) = file.find(list, old) else { continue };
        let now = after.get(index);
        if now != Some(old) {
            w.edit.unlink(list, old);
            moved.extend(now.map(|now| (now, id)));
        }
        let (Some(layer), Some(c), Some(r)) =
            (model.layers.get(*index), change.layers.get(*index), record.layers.get(*index))
        else {
            continue;
        };
        if c.gone {
            continue;
        }
        if let (Some(nested), Some(c), Some(r)) = (&layer.nested, &c.nested, &r.nested) {
            write(w, id, nested, r, c)?;
        }
        let variables = variables(file, id);
        for (number, entry) in &c.weights {
            if let Some(&dataset) = variables.get(*number) {
                let payload = w.payload(*entry, &layer.place);
                w.edit.replace(dataset, payload);
            }
        }
        if let (Some(bias), Some(&like), Some(vars)) =
            (c.bias, variables.first(), file.find(id, "vars"))
        {
            let (payload, dims) = (w.payload(bias, &layer.place), w.dims(bias));
            let number = variables.len().to_string();
            w.edit.create_dataset(vars, &number, like, &dims, payload);
        }
    }
    for (name, id) in moved {
        w.edit.link(list, name, id);
    }
    Ok(())
}
