//! What each class of layer means. Known classes become known ops; everything else is carried as it is.

mod activation;
mod arithmetic;
mod linear;
mod norm;
mod reorder;
mod window;

use super::{
    cx::{Emit, Emitted, LayerCx},
    json::Json,
    model::Layer,
};

/// Emits one call of a layer.
///
/// # Errors
/// The configuration contradicts itself or the format.
pub(super) fn emit(cx: &mut LayerCx<'_, '_>) -> Emit {
    if !cx.layer.is_builtin() {
        return Ok(Emitted::Opaque(None));
    }
    if cx.policy.dtype.is_none() && !is_operation(cx.layer) {
        return super::cx::opaque("an unknown dtype policy");
    }
    if is_operation(cx.layer) {
        return arithmetic::operation(cx);
    }
    match cx.layer.class {
        "Conv1D" => linear::conv(cx, 1),
        "Conv2D" => linear::conv(cx, 2),
        "Conv3D" => linear::conv(cx, 3),
        "DepthwiseConv1D" => linear::depthwise(cx, 1),
        "DepthwiseConv2D" => linear::depthwise(cx, 2),
        "SeparableConv1D" => linear::separable(cx, 1),
        "SeparableConv2D" => linear::separable(cx, 2),
        "Conv1DTranspose" => linear::transposed(cx, 1),
        "Conv2DTranspose" => linear::transposed(cx, 2),
        "Conv3DTranspose" => linear::transposed(cx, 3),
        "Dense" => linear::dense(cx),

        "BatchNormalization"
        | "BatchNormalizationV1"
        | "BatchNormalizationV2"
        | "SyncBatchNormalization" => norm::batch_norm(cx),

        "Activation" | "ReLU" | "LeakyReLU" | "ELU" | "Softmax" | "ThresholdedReLU" => {
            activation::layer(cx)
        }
        "PReLU" => activation::prelu(cx),

        "Add" | "Subtract" | "Multiply" | "Maximum" | "Minimum" | "Average" => {
            arithmetic::merge(cx)
        }
        "Concatenate" => arithmetic::concatenate(cx),

        "MaxPooling1D" | "AveragePooling1D" => window::pool(cx, 1),
        "MaxPooling2D" | "AveragePooling2D" => window::pool(cx, 2),
        "MaxPooling3D" | "AveragePooling3D" => window::pool(cx, 3),
        "GlobalMaxPooling1D" | "GlobalAveragePooling1D" => window::global_pool(cx, 1),
        "GlobalMaxPooling2D" | "GlobalAveragePooling2D" => window::global_pool(cx, 2),
        "GlobalMaxPooling3D" | "GlobalAveragePooling3D" => window::global_pool(cx, 3),
        "ZeroPadding1D" | "Cropping1D" => window::pad(cx, 1),
        "ZeroPadding2D" | "Cropping2D" => window::pad(cx, 2),
        "ZeroPadding3D" | "Cropping3D" => window::pad(cx, 3),
        "UpSampling1D" => window::upsample(cx, 1),
        "UpSampling2D" => window::upsample(cx, 2),
        "UpSampling3D" => window::upsample(cx, 3),

        "Flatten" => reorder::flatten(cx),
        "Reshape" => reorder::reshape(cx),
        "Permute" => reorder::permute(cx),
        "Dropout"
        | "SpatialDropout1D"
        | "SpatialDropout2D"
        | "SpatialDropout3D"
        | "AlphaDropout"
        | "GaussianDropout"
        | "GaussianNoise"
        | "ActivityRegularization"
        | "Identity" => reorder::dropout(cx),
        _ => Ok(Emitted::Opaque(None)),
    }
}

/// Whether the entry is a function call recorded as a layer: it has no weights and no dtype policy.
pub(super) fn is_operation(layer: &Layer<'_>) -> bool {
    matches!(layer.class, "TFOpLambda" | "SlicingOpLambda")
        || layer.module.is_some_and(|m| m.starts_with("keras.src.ops") || m == "keras.ops")
}

/// Whether a layer is a batch norm.
pub(super) fn is_norm(layer: &Layer<'_>) -> bool {
    const NORMS: &[&str] = &[
        "BatchNormalization",
        "BatchNormalizationV1",
        "BatchNormalizationV2",
        "SyncBatchNormalization",
    ];
    layer.is_builtin() && NORMS.contains(&layer.class)
}

/// Whether the result of a layer that is carried has the shape and the type of what it reads first.
pub(super) fn is_shaped(layer: &Layer<'_>) -> bool {
    const SHAPED: &[&str] = &[
        "ActivityRegularization",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
        "GroupNormalization",
        "LayerNormalization",
        "Masking",
        "RMSNormalization",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "UnitNormalization",
    ];
    // Attention of several heads gives what its query is, unless it says otherwise.
    let attention =
        layer.class == "MultiHeadAttention" && layer.config.some("output_shape").is_none();
    layer.is_builtin() && (SHAPED.contains(&layer.class) || attention || is_norm(layer))
}

/// Whether a layer of a class that is known has no weights.
pub(super) fn is_weightless(layer: &Layer<'_>) -> bool {
    let class = layer.class;
    let prefixes = [
        "MaxPool",
        "AveragePool",
        "GlobalMax",
        "GlobalAverage",
        "ZeroPadding",
        "Cropping",
        "UpSampling",
    ];
    const OTHERS: &[&str] = &[
        "Activation",
        "ActivityRegularization",
        "Add",
        "AlphaDropout",
        "Average",
        "CenterCrop",
        "Concatenate",
        "Dot",
        "Dropout",
        "ELU",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "Lambda",
        "LeakyReLU",
        "Masking",
        "Maximum",
        "Minimum",
        "Multiply",
        "Permute",
        "ReLU",
        "RepeatVector",
        "Rescaling",
        "Reshape",
        "Resizing",
        "Softmax",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "Subtract",
        "ThresholdedReLU",
        "UnitNormalization",
    ];
    layer.is_builtin() && (prefixes.iter().any(|p| class.starts_with(p)) || OTHERS.contains(&class))
}

/// Whether a layer has no effect but its results: those of Keras that are not made of somebody else's code.
pub(super) fn is_pure(layer: &Layer<'_>) -> bool {
    if !layer.is_builtin() {
        return false;
    }
    if is_operation(layer) {
        return arithmetic::is_pure(layer);
    }
    // Lambda and Masking-like wrappers of functions stay out; so do layers that keep state between calls.
    const PURE: &[&str] = &[
        "AdditiveAttention",
        "AlphaDropout",
        "Attention",
        "Average",
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "BatchNormalization",
        "BatchNormalizationV1",
        "BatchNormalizationV2",
        "SyncBatchNormalization",
        "CategoryEncoding",
        "CenterCrop",
        "Concatenate",
        "Conv1D",
        "Conv1DTranspose",
        "Conv2D",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "Discretization",
        "Dot",
        "Dropout",
        "ELU",
        "EinsumDense",
        "Embedding",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "GroupNormalization",
        "GroupQueryAttention",
        "Hashing",
        "HashedCrossing",
        "IntegerLookup",
        "LayerNormalization",
        "LeakyReLU",
        "LocallyConnected1D",
        "LocallyConnected2D",
        "Masking",
        "MaxNumBoundingBoxes",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "Maximum",
        "MelSpectrogram",
        "Minimum",
        "MultiHeadAttention",
        "Multiply",
        "Normalization",
        "PReLU",
        "Permute",
        "RMSNormalization",
        "ReLU",
        "RepeatVector",
        "Rescaling",
        "Reshape",
        "Resizing",
        "STFTSpectrogram",
        "SeparableConv1D",
        "SeparableConv2D",
        "Softmax",
        "SpectralNormalization",
        "StringLookup",
        "Subtract",
        "TextVectorization",
        "ThresholdedReLU",
        "UnitNormalization",
        "UpSampling1D",
        "UpSampling2D",
        "UpSampling3D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
        "Add",
        "Activation",
    ];
    PURE.contains(&layer.class)
}

/// Whether the result of a layer may have a mask that none of its inputs has.
pub(super) fn makes_masks(layer: &Layer<'_>) -> bool {
    let embedding = layer.class == "Embedding"
        && layer.config.get("mask_zero").and_then(Json::as_bool) == Some(true);
    !layer.is_builtin() || matches!(layer.class, "Masking" | "Lambda") || embedding
}

/// Whether a layer that may do nothing to elements ends the mask of what it reads: without it, readers would see that mask.
pub(super) fn ends_masks(layer: &Layer<'_>) -> bool {
    let moves = ["Reshape", "Permute", "Flatten", "ZeroPadding", "Cropping", "UpSampling"];
    layer.is_builtin() && (is_operation(layer) || moves.iter().any(|m| layer.class.starts_with(m)))
}

/// The operands that a layer reads for their shape or element type only.
pub(super) fn type_uses(layer: &Layer<'_>) -> Vec<u32> {
    if layer.is_builtin() && is_operation(layer) && arithmetic::reads_shape(layer) {
        vec![0]
    } else {
        Vec::new()
    }
}
