//! Batch normalisation.

use crate::keras::{
    cx::{Emit, Emitted, LayerCx, carried},
    json::Json,
    shape,
};
use normfold_ir::{BatchNorm, CarriedNorm, DType, Dim};

/// `BatchNormalization`. `axis` is an integer or a list; without `scale` or `center` there is no such variable.
///
/// Renormalisation only adds variables: inference reads the moving statistics.
pub(super) fn batch_norm(cx: &mut LayerCx<'_, '_>) -> Emit {
    let config = cx.layer.config;
    for key in ["virtual_batch_size", "adjustment"] {
        if config.some(key).is_some() {
            let why = format!("`{key}` makes it depend on the batch");
            return carried(CarriedNorm::CustomLayer, why);
        }
    }
    let Some(training) = cx.training else {
        return carried(CarriedNorm::TrainingArgument, "`training` is not a literal");
    };
    let axes = match config.some("axis") {
        None => vec![-1],
        Some(json) => {
            let axes = match json.items() {
                Some(items) => items.iter().map(Json::as_i64).collect(),
                None => json.as_i64().map(|a| vec![a]),
            };
            axes.ok_or_else(|| cx.layer.invalid("`axis` must be an integer or a list of integers"))?
        }
    };
    let [axis] = axes.as_slice() else {
        return carried(CarriedNorm::MultiAxis, "it normalises over several axes together");
    };
    let epsilon = cx.number("epsilon")?.unwrap_or(1e-3);
    let (center, scale) = (cx.bool("center", true)?, cx.bool("scale", true)?);
    // Of the arguments only the first matters: a mask changes training alone.
    let Some(x) = cx.args.first().and_then(|a| match a {
        crate::keras::cx::Operand::Value(v) => Some(*v),
        _ => None,
    }) else {
        return carried(CarriedNorm::CustomLayer, "it reads something else than one tensor");
    };
    let Some(dims) = cx.shape(x) else {
        return carried(CarriedNorm::UnknownChannels, "the rank of its input is not known");
    };
    let rank = dims.len();
    let axis = shape::axis(*axis, rank).ok_or_else(|| {
        cx.layer.invalid(format!("`axis` {axis} is none of an input of rank {rank}"))
    })?;
    let Some(channels) = dims.get(axis).and_then(Dim::known) else {
        return carried(
            CarriedNorm::UnknownChannels,
            "the channel count of its input is not known",
        );
    };
    // Statistics and parameters of Keras 2 have at least 32 bits.
    let dtype = match cx.policy.dtype {
        Some(DType::F16 | DType::BF16) if cx.keras2 => DType::F32,
        other => other.unwrap_or(DType::F32),
    };
    let ty = cx.ty(x, Some(dims));
    let x = cx.cast(x, &ty);
    let mut operands = vec![Some(x)];
    let parts =
        [("gamma", scale), ("beta", center), ("moving_mean", true), ("moving_variance", true)];
    for (part, there) in parts {
        operands.push(match there {
            false => None,
            true => match cx.weight_of(part, &[channels], dtype)? {
                None => {
                    let why = "an earlier call has weights of other extents";
                    return carried(CarriedNorm::CustomLayer, why);
                }
                weight => weight,
            },
        });
    }
    let kind = BatchNorm { axis: axis as u32, eps: epsilon, training, spatial: true };
    Ok(Emitted::Value(cx.op_as_is(kind, operands, ty)))
}
