//! Which Keras wrote a file.

use super::model::Model;
use crate::json::Json;

/// Whether Keras 2 wrote the file: by how calls and input layers are written, else by the version it states.
pub(super) fn is_keras2(json: &Json, model: &Model<'_>) -> bool {
    let by_layer = json.get("config").and_then(generation);
    let version = json.get("keras_version").and_then(Json::as_str);
    let implicit = model.inputs.iter().all(|i| i.layer.is_none())
        && version.is_none_or(|v| !v.starts_with('3'));
    by_layer.unwrap_or(implicit && json.get("module").is_none())
}

/// The generation that the first telling property of a model shows: `true` for Keras 2.
fn generation(config: &Json) -> Option<bool> {
    let layers = config.items().or_else(|| config.get("layers").and_then(Json::items))?;
    layers.iter().find_map(|layer| {
        if let Some([node, ..]) = layer.get("inbound_nodes").and_then(Json::items) {
            return Some(!node.is_object() || node.get("args").is_none());
        }
        let config = layer.get("config")?;
        if config.get("batch_input_shape").is_some() {
            return Some(true);
        }
        if config.get("batch_shape").is_some() {
            return Some(false);
        }
        generation(config)
    })
}
