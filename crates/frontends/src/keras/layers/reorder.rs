//! Layers that move elements, and those that do nothing at inference.

use crate::keras::{
    cx::{Emit, Emitted, LayerCx, opaque},
    json::Json,
    shape,
};
use normfold_ir::{Dim, Dropout, Flatten, Identity, Reshape, Transpose};

const ONE: &str = "it reads something else than one tensor";

/// `Flatten`: to `[batch, rest]`. With channels first they are moved to the end before.
pub(super) fn flatten(cx: &mut LayerCx<'_, '_>) -> Emit {
    let channel_last = cx.layout(0)?.channel_last;
    let Some(mut x) = cx.single() else { return opaque(ONE) };
    let shape = cx.shape(x);
    if !channel_last {
        let Some(shape) = &shape else { return opaque("the rank of its input is not known") };
        let rank = shape.len();
        if rank > 2 {
            let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
            let moved =
                perm.iter().map(|&i| shape.get(i).cloned().unwrap_or(Dim::Unknown)).collect();
            let ty = cx.ty(x, Some(moved));
            x = cx.op(Transpose { perm: perm.iter().map(|&i| i as i64).collect() }, [Some(x)], ty);
        }
    }
    let flat = match shape.as_deref() {
        Some([batch, rest @ ..]) => vec![batch.clone(), shape::product(rest)],
        _ => vec![Dim::Unknown, Dim::Unknown],
    };
    let ty = cx.ty(x, Some(flat));
    Ok(Emitted::Value(cx.op(Flatten { axis: 1 }, [Some(x)], ty)))
}

/// `Reshape`: `target_shape` without the batch, one −1 inferred.
pub(super) fn reshape(cx: &mut LayerCx<'_, '_>) -> Emit {
    // Keras 3 writes a call of `ops.reshape` into HDF5 files as if it were this layer.
    if cx.layer.config.get("newshape").is_some() {
        return opaque("a recorded function");
    }
    let target = cx.layer.config.get("target_shape").and_then(Json::items);
    let target: Option<Vec<i64>> =
        target.and_then(|t| t.iter().map(|d| d.as_i64().or(d.is_null().then_some(-1))).collect());
    let target = target
        .filter(|t| t.iter().all(|&d| d >= -1) && t.iter().filter(|&&d| d == -1).count() <= 1);
    let target = target.ok_or_else(|| {
        cx.layer.invalid("`target_shape` must be a list of integers with at most one −1")
    })?;
    if target.contains(&0) {
        return opaque("an extent of 0");
    }
    let Some(x) = cx.single() else { return opaque(ONE) };
    let from = cx.shape(x);
    let batch = from.as_ref().and_then(|s| s.first().cloned()).unwrap_or(Dim::Unknown);
    let total = from.as_deref().and_then(|s| s.get(1..)).map_or(Dim::Unknown, shape::product);
    let given = target.iter().filter(|&&d| d > 0).try_fold(1u64, |p, &d| p.checked_mul(d as u64));
    let inferred =
        total.known().zip(given).filter(|(n, g)| n.is_multiple_of(*g)).map(|(n, g)| n / g);
    if let (Some(n), Some(g), false) = (total.known(), given, target.contains(&-1))
        && n != g
    {
        let problem = format!("`target_shape` has {g} elements, its input {n}");
        return Err(cx.layer.invalid(problem));
    }
    let dims = target.iter().map(|&d| match u64::try_from(d) {
        Ok(d) => Dim::Known(d),
        Err(_) => inferred.map_or(Dim::Unknown, Dim::Known),
    });
    let shape = [batch].into_iter().chain(dims).collect();
    let ty = cx.ty(x, Some(shape));
    // 0 keeps the extent of the batch.
    let op = Reshape { allow_zero: false, shape: Some([0].into_iter().chain(target).collect()) };
    Ok(Emitted::Value(cx.op(op, [Some(x)], ty)))
}

/// `Permute`: `dims` count from 1 and leave the batch where it is.
pub(super) fn permute(cx: &mut LayerCx<'_, '_>) -> Emit {
    let dims = cx.layer.config.get("dims").and_then(Json::items);
    let dims: Option<Vec<i64>> = dims.and_then(|d| d.iter().map(Json::as_i64).collect());
    let dims = dims.filter(|dims| {
        let mut sorted = dims.clone();
        sorted.sort_unstable();
        sorted.iter().zip(1..).all(|(a, b)| *a == b)
    });
    let dims = dims.ok_or_else(|| cx.layer.invalid("`dims` must be a permutation of 1, 2, …"))?;
    let Some(x) = cx.single() else { return opaque(ONE) };
    let perm: Vec<i64> = [0].into_iter().chain(dims).collect();
    let shape = cx.shape(x);
    if shape.as_ref().is_some_and(|s| s.len() != perm.len()) {
        return Err(cx.layer.invalid(format!("`dims` permutes another rank than {}", perm.len())));
    }
    let moved = shape.map(|s| {
        let at = |&p: &i64| {
            usize::try_from(p).ok().and_then(|p| s.get(p).cloned()).unwrap_or(Dim::Unknown)
        };
        perm.iter().map(at).collect()
    });
    let ty = cx.ty(x, moved);
    Ok(Emitted::Value(cx.op(Transpose { perm }, [Some(x)], ty)))
}

/// Layers that act while training only.
pub(super) fn dropout(cx: &mut LayerCx<'_, '_>) -> Emit {
    let Some(x) = cx.single() else { return opaque(ONE) };
    if matches!(cx.layer.class, "ActivityRegularization" | "Identity") {
        return Ok(Emitted::Value(cx.unary(Identity {}, x)));
    }
    match cx.training {
        None => opaque("`training` is not a literal"),
        Some(training) if training && cx.layer.class != "Dropout" => opaque("in training mode"),
        Some(training) => Ok(Emitted::Value(cx.unary(Dropout { training }, x))),
    }
}
