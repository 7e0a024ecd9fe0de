//! Keras architectures: the JSON that `model.to_json()` gives and that `.keras` archives hold as `config.json`.
//!
//! Structure only: weights become constants that are absent, of the shapes that the layers imply, so that a pass can say
//! what would fold. Data is `NHWC` unless a layer says `channels_first`, kernels are `HWIO` (`HWCM` depthwise, `HWOI`
//! transposed). Keras 2 and Keras 3 are recognised property by property, never by a version number.
//!
//! - A layer that holds an activation becomes two ops of one origin, a separable convolution two convolutions.
//! - A layer called several times has one constant per weight, with as many users.
//! - A nested model is a function of its own; each of its calls is a `call`.
//! - Everything that is not understood, and everything made of somebody else's code, is an opaque op which carries its
//!   configuration verbatim; code in a file is never decoded.
//! - `origin` is the index of the entry in its model's `layers`.
//!
//! `docs/formats.md` lists the facts of the format.

mod cx;
mod import;
pub mod json;
mod layers;
mod model;
mod shape;

use crate::FrontendError;
use import::Importer;
use json::Json;
use normfold_ir::{Attribute, Capabilities, DType, Module, OpKind};
use std::sync::Arc;

/// Whether the content can be a Keras architecture: a JSON object with a class name and a configuration.
pub fn looks_like(bytes: &[u8]) -> bool {
    json::has_members(bytes, &["class_name", "config"])
}

/// A Keras architecture in memory.
#[derive(Clone, Debug)]
pub struct KerasDocument {
    bytes: Arc<[u8]>,
    json: Json,
}

impl KerasDocument {
    /// Reads the JSON; its meaning is looked at by [`KerasDocument::module`].
    ///
    /// # Errors
    /// The bytes are no JSON; the error names the byte, line and column.
    pub fn open(bytes: impl Into<Arc<[u8]>>) -> Result<Self, FrontendError> {
        let bytes = bytes.into();
        let json = Json::parse(&bytes)?;
        Ok(Self { bytes, json })
    }

    /// The document as a tree.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The document as it was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The module that the architecture describes. Weights are absent.
    ///
    /// # Errors
    /// The model is neither Sequential nor Functional, or contradicts itself; the error names the layer.
    pub fn module(&self) -> Result<Module, FrontendError> {
        let model = model::read(&self.json)?;
        let keras2 = self.is_keras2(&model);
        let mut importer = Importer::new(&self.bytes, keras2, model.name);
        importer.main(&model)?;
        let mut module = importer.module;
        let attrs = &mut module.attrs;
        attrs.insert("source".into(), Attribute::Str("keras".into()));
        attrs.insert("generation".into(), Attribute::Int(if keras2 { 2 } else { 3 }));
        if let Some(version) = self.json.get("keras_version").and_then(Json::as_str) {
            attrs.insert("keras_version".into(), Attribute::Str(version.into()));
        }
        if !importer.policies.is_empty() {
            // Mixed policies compute in another type than that of their weights: no cast stands for it.
            let policies = importer.policies.into_iter().map(Attribute::Str).collect();
            attrs.insert("dtype_policies".into(), Attribute::List(policies));
        }
        Ok(module)
    }

    /// Writing is not supported.
    ///
    /// # Errors
    /// Always.
    pub fn save(&self, _module: &Module) -> Result<Vec<u8>, FrontendError> {
        Err(FrontendError::unsupported(
            "a Keras architecture",
            "writing Keras models (they hold no weights here; use --emit=ir, or explain to see what would fold)",
        ))
    }

    /// Whether Keras 2 wrote the file: by how calls and input layers are written, else by the version it states.
    fn is_keras2(&self, model: &model::Model<'_>) -> bool {
        let by_layer = self.json.get("config").and_then(generation);
        let version = self.json.get("keras_version").and_then(Json::as_str);
        let implicit = model.inputs.iter().all(|i| i.layer.is_none())
            && version.is_none_or(|v| !v.starts_with('3'));
        by_layer.unwrap_or(implicit && self.json.get("module").is_none())
    }
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

/// What a Keras architecture can say.
///
/// Convolutions and dense layers can be given a bias (`use_bias`), which brings its weight. Nothing else is created or
/// turned into another op: weights belong to layers, so there is no place for a copy of a shared one; a new layer would
/// need a name and an entry; a recorded function means another thing in each generation.
#[derive(Clone, Copy, Debug, Default)]
pub struct KerasCapabilities;

impl Capabilities for KerasCapabilities {
    fn may_create(&self, _: &OpKind, _: DType) -> bool {
        false
    }

    fn may_add_constant(&self, _: DType) -> bool {
        false
    }

    fn may_add_bias(&self, kind: &OpKind) -> bool {
        matches!(kind, OpKind::Conv(_) | OpKind::ConvTranspose(_) | OpKind::Linear(_))
    }

    fn may_change(&self, _: &OpKind, _: &OpKind) -> bool {
        false
    }
}
