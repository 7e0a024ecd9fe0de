//! Files of weights: which data set is which weight of which layer, and what becomes of them.
//!
//! There are two forms. Keras 3 (and Keras 2 in `.keras` archives) has a group per layer, named after its class and how many
//! of that class come before it ([`paths`]). The older form has a group per layer of the outermost model, named after the
//! layer, with a list of the weights in it ([`named`]). Both are read by position, in the order of [`super::order`].

mod named;
mod paths;

use super::{
    cx::quantized,
    export::ModelChange,
    json::Json,
    layers,
    model::{Layer, Model},
    order::Calls,
    record::{Record, Store, Stored},
};
use crate::{
    FrontendError,
    bytes::Source,
    hdf5::{Edit, Element, File, ObjectId, Payload, Storage},
    payload::Weights,
    save::Content,
};
use normfold_ir::{ByteSource, ConstData, ConstId, DType};
use std::{ops::Range, sync::Arc};

/// What error messages call the format.
pub(super) const FORMAT: &str = "file of Keras weights";

/// An open file of weights.
#[derive(Clone, Debug)]
pub(super) struct WeightFile {
    source: Source,
    file: File,
    form: Form,
}

/// How weights are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// By classes and numbers.
    Paths,
    /// By names of layers, in this group.
    Named(ObjectId),
}

impl WeightFile {
    /// Opens the HDF5 file at these bytes of a source. `None` for one that has neither form.
    ///
    /// # Errors
    /// As [`File::open`].
    pub(super) fn open(source: &Source, range: Range<u64>) -> Result<Self, FrontendError> {
        let file = File::open(source, range)?;
        let root = file.root();
        let form = match file.find(root, "model_weights") {
            Some(group) => Form::Named(group),
            None if named::names(&file, root, "layer_names").is_some() => Form::Named(root),
            None if paths::LISTS.iter().any(|l| file.find(root, l).is_some()) => Form::Paths,
            None => {
                return Err(FrontendError::invalid(
                    FORMAT,
                    "root",
                    "it has neither a group `layers` nor an attribute `layer_names`: no weights of a Keras model",
                ));
            }
        };
        Ok(Self { source: source.clone(), file, form })
    }

    /// The HDF5 file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The source that it is in.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Finds the weights of every layer.
    ///
    /// # Errors
    /// The file has the weights of another model.
    pub(super) fn store(&self, model: &Model<'_>) -> Result<Store, FrontendError> {
        let mut store = Store::new();
        match self.form {
            Form::Paths => paths::read(self, self.file.root(), model, &[], "", &mut store)?,
            Form::Named(root) => named::read(self, root, model, &mut store)?,
        }
        Ok(store)
    }

    /// The file with what became of a model; what is left out goes to `notes`. `config` is the architecture that the file
    /// gets, where it holds it. `source` is its number among the sources.
    ///
    /// # Errors
    /// A change has no place in the file.
    #[allow(clippy::too_many_arguments, reason = "all that a change consists of")]
    pub(super) fn rewrite<'a>(
        &'a self,
        source: u32,
        model: &Model<'_>,
        record: &Record,
        change: &ModelChange,
        weights: Weights<'a>,
        config: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Content<'a>, FrontendError> {
        let mut edit = Edit::new(&self.file, source);
        let root = self.file.root();
        let mut writer = Writer { file: &self.file, edit: &mut edit, weights };
        match self.form {
            Form::Paths => paths::write(&mut writer, root, model, record, change)?,
            Form::Named(group) => named::write(&mut writer, group, model, record, change)?,
        }
        for state in ["optimizer", "optimizer_weights"] {
            if self.file.find(root, state).is_some() {
                edit.unlink(root, state);
                notes.push(
                    "the state of the optimizer is left out: it belongs to weights that changed"
                        .into(),
                );
            }
        }
        if let Some(config) = config {
            edit.set_attribute(root, "model_config", crate::hdf5::Value::Text(config.to_owned()));
        }
        edit.finish()
    }

    /// A data set as a weight.
    fn stored(&self, path: String, id: ObjectId) -> Result<Stored, FrontendError> {
        let Some(dataset) = self.file.dataset(id) else {
            return Err(FrontendError::invalid(FORMAT, format!("`{path}`"), "it is no data set"));
        };
        let dtype = match &dataset.element {
            Element::Known(dtype) => Some(*dtype),
            // h5py has no such type: bytes that an attribute names.
            Element::Opaque(2) => match self.file.attribute(id, "dtype") {
                Some(crate::hdf5::Value::Text(name)) if name == "bfloat16" => Some(DType::BF16),
                // The older form leaves it at the bytes; a model of that type knows what they are.
                None => Some(DType::BF16),
                _ => None,
            },
            _ => None,
        };
        let data = match &dataset.storage {
            Storage::Bytes(range) => {
                let source: Arc<dyn ByteSource> = Arc::new(self.source.clone());
                Ok(ConstData::Mapped { source, offset: range.start })
            }
            _ if dataset.shape.contains(&0) => Ok(ConstData::Owned(Arc::new([]))),
            Storage::Unallocated => Err("data that was never written".to_owned()),
            Storage::Other => {
                Err("chunked or compressed data (`h5repack -l CONTI IN OUT` makes it contiguous)"
                    .to_owned())
            }
        };
        Ok(Stored { path, dtype, dims: dataset.shape.clone(), data })
    }
}

/// What rewriting needs.
struct Writer<'w, 'f, 'a> {
    file: &'f File,
    edit: &'w mut Edit<'f, 'a>,
    weights: Weights<'a>,
}

impl<'a> Writer<'_, '_, 'a> {
    fn payload(&self, entry: ConstId, name: &str) -> Payload<'a> {
        Payload::Produced(self.weights.chunks(entry, name))
    }

    fn dims(&self, entry: ConstId) -> Vec<u64> {
        self.weights.pool.dims(entry)
    }
}

/// The order in which Keras has the layers of a model that it reads from the file as it is.
fn old_order(model: &Model<'_>) -> Vec<usize> {
    let mut order = Calls::of(model).order();
    let mut listed = vec![false; model.layers.len()];
    for &l in &order {
        if let Some(slot) = listed.get_mut(l) {
            *slot = true;
        }
    }
    order.extend(listed.iter().enumerate().filter(|(_, l)| !**l).map(|(i, _)| i));
    order
}

/// Whether Keras counts an entry among a model's layers: recorded functions of Keras 3 are none, and a Sequential model
/// hides its input.
fn is_layer(model: &Model<'_>, layer: &Layer<'_>) -> bool {
    let function = layers::is_operation(layer) && layer.module.is_some_and(|m| m.contains(".ops"));
    let hidden = model.sequential && layer.is_input();
    !function && !hidden
}

/// How many weights a layer has: those that are trained, and all. `None` for classes that are not known, and for layers of
/// a quantized form, which has weights of its own.
fn variables(layer: &Layer<'_>) -> Option<(usize, usize)> {
    if !layer.is_builtin() || quantized(layer).is_some() {
        return None;
    }
    let flag = |key: &str| layer.config.some(key).and_then(Json::as_bool).unwrap_or(true);
    let bias = usize::from(flag("use_bias"));
    let same = |n| Some((n, n));
    match layer.class {
        "Conv1D" | "Conv2D" | "Conv3D" | "Conv1DTranspose" | "Conv2DTranspose"
        | "Conv3DTranspose" | "DepthwiseConv1D" | "DepthwiseConv2D" | "Dense" => same(1 + bias),
        "SeparableConv1D" | "SeparableConv2D" => same(2 + bias),
        "PReLU" => same(1),
        "BatchNormalization"
        | "BatchNormalizationV1"
        | "BatchNormalizationV2"
        | "SyncBatchNormalization" => {
            let trained = usize::from(flag("scale")) + usize::from(flag("center"));
            let renorm = layer.config.get("renorm").and_then(Json::as_bool) == Some(true);
            Some((trained, trained + if renorm { 5 } else { 2 }))
        }
        _ if layer.is_input() || layers::is_operation(layer) || layers::is_weightless(layer) => {
            same(0)
        }
        _ => None,
    }
}

/// The name that Keras makes of a class: words in lower case with underscores between.
fn snake_case(class: &str) -> String {
    let word: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    // A capital followed by small letters begins a word, unless it is the first.
    let mut split = Vec::with_capacity(word.len() + 4);
    let mut at = 0;
    while let Some(&c) = word.get(at) {
        let capital = word.get(at + 1).is_some_and(char::is_ascii_uppercase);
        let small = word.get(at + 2).is_some_and(char::is_ascii_lowercase);
        split.push(c);
        if capital && small {
            split.push('_');
            at += 1;
            while let Some(&next) = word.get(at) {
                split.push(next);
                at += 1;
                if !word.get(at).is_some_and(char::is_ascii_lowercase) {
                    break;
                }
            }
        } else {
            at += 1;
        }
    }
    let mut out = String::new();
    for (i, &c) in split.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| split.get(i));
        if c.is_ascii_uppercase() && before.is_some_and(char::is_ascii_lowercase) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn classes_as_keras_names_them() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("ReLU", "re_lu"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("BatchNormalization", "batch_normalization"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("TFOpLambda", "tf_op_lambda"),
            ("InputLayer", "input_layer"),
            ("MyLayer2Block", "my_layer2_block"),
            ("ABlock", "a_block"),
            ("RMSNormalization", "rms_normalization"),
            ("STFTSpectrogram", "stft_spectrogram"),
            ("GRU", "gru"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
