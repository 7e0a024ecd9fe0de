//! Activations: layers, functions by name, and those inside other layers.

use crate::keras::{
    cx::{Emit, Emitted, LayerCx, opaque},
    json::{Json, Value as JsonValue},
    model,
};
use normfold_ir::{
    Activation, ActivationKind, AttrMap, Attribute, Clip, Dim, Identity, OpKind, Opaque, PRelu,
    Softmax, SoftmaxKind, UnaryKind, Value,
};

/// Scale and alpha of selu (Klambauer et al. 2017), as Keras has them.
const SELU: (f64, f64) = (1.0507009873554805, 1.6732632423543772);

/// What an activation does.
pub(super) enum Act {
    /// Nothing.
    Linear,
    /// A known op of one operand.
    Op(OpKind),
    /// Something else: its name, how it is written, and whether it is Keras's own.
    Other {
        /// The name.
        name: String,
        /// The JSON.
        text: String,
        /// Whether it surely has no effect but its result.
        pure: bool,
    },
}

impl Act {
    /// Whether nothing happens.
    pub(super) fn is_linear(&self) -> bool {
        matches!(self, Act::Linear)
    }
}

fn parametric(f: ActivationKind, alpha: f64, beta: f64) -> OpKind {
    Activation { f, alpha, beta }.into()
}

fn clip(min: f64, max: f64) -> OpKind {
    Clip { min: Some(min), max: Some(max) }.into()
}

fn softmax(f: SoftmaxKind, axis: i64) -> OpKind {
    Softmax { f, axis, flatten: false }.into()
}

/// An activation function by its name in Keras. `None` for a name that is not known.
pub(super) fn by_name(name: &str, keras2: bool) -> Option<Act> {
    use ActivationKind as A;
    use UnaryKind as U;
    let op = match name {
        "linear" => return Some(Act::Linear),
        "relu" => U::Relu.into(),
        "relu6" => clip(0.0, 6.0),
        "sigmoid" => U::Sigmoid.into(),
        "tanh" => U::Tanh.into(),
        "exponential" => U::Exp.into(),
        "softplus" => U::Softplus.into(),
        "softsign" => U::Softsign.into(),
        "silu" | "swish" => U::Silu.into(),
        "hard_silu" | "hard_swish" => U::HardSwish.into(),
        "mish" => U::Mish.into(),
        "elu" => parametric(A::Elu, 1.0, 0.0),
        "selu" => parametric(A::Selu, SELU.1, SELU.0),
        "celu" => parametric(A::Celu, 1.0, 0.0),
        "gelu" => parametric(A::Gelu, 0.0, 0.0),
        "leaky_relu" => parametric(A::LeakyRelu, 0.2, 0.0),
        "hard_tanh" => clip(-1.0, 1.0),
        // Keras 3 changed the slope.
        "hard_sigmoid" => parametric(A::HardSigmoid, if keras2 { 0.2 } else { 1.0 / 6.0 }, 0.5),
        "softmax" => softmax(SoftmaxKind::Softmax, -1),
        "log_softmax" => softmax(SoftmaxKind::LogSoftmax, -1),
        _ => return None,
    };
    Some(Act::Op(op))
}

/// Activations of Keras's own that have no op here.
const OTHERS: &[&str] = &[
    "glu",
    "hard_shrink",
    "log_sigmoid",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh_shrink",
    "threshold",
];

/// The activation that a configuration names under `key`: nothing, a name, or a serialized object.
pub(super) fn of_config(cx: &LayerCx<'_, '_>, key: &str) -> Act {
    let Some(json) = cx.layer.config.some(key) else { return Act::Linear };
    let other = |name: &str, pure| Act::Other {
        name: name.to_owned(),
        text: json.text(cx.text).to_owned(),
        pure,
    };
    if let Some(name) = json.as_str() {
        return by_name(name, cx.keras2).unwrap_or_else(|| other(name, OTHERS.contains(&name)));
    }
    let text = |key: &str| json.some(key).and_then(Json::as_str);
    let class = text("class_name").unwrap_or(json.kind());
    let config = json.get("config");
    match config.map(|c| &c.value) {
        // A function: `{"module": "builtins", "class_name": "function", "config": NAME}`.
        Some(JsonValue::String(name)) => {
            let ours = text("module").is_none_or(|m| m == "builtins" || m.starts_with("keras."));
            let own = text("registered_name").is_some_and(|r| r != "function" && r != &**name);
            by_name(name, cx.keras2).filter(|_| ours && !own).unwrap_or_else(|| other(name, false))
        }
        Some(JsonValue::Object(_))
            if model::is_builtin(class, text("module"), text("registered_name")) =>
        {
            config
                .and_then(|c| of_layer(class, c, cx.keras2))
                .unwrap_or_else(|| other(class, false))
        }
        _ => other(class, false),
    }
}

/// The activation that a layer of an activation class is; `None` where there is no op for it.
fn of_layer(class: &str, config: &Json, keras2: bool) -> Option<Act> {
    let number = |key: &str, default: f64| match config.some(key) {
        None => Some(default),
        Some(v) => v.as_f64().or_else(|| v.get("config")?.get("value")?.as_f64()),
    };
    let op = match class {
        "ReLU" => {
            let max = config.some("max_value").map(Json::as_f64);
            let (slope, threshold) = (number("negative_slope", 0.0)?, number("threshold", 0.0)?);
            match max {
                None if threshold == 0.0 && slope == 0.0 => UnaryKind::Relu.into(),
                Some(Some(max)) if threshold == 0.0 && slope == 0.0 => clip(0.0, max),
                None if threshold == 0.0 => parametric(ActivationKind::LeakyRelu, slope, 0.0),
                None if slope == 0.0 => parametric(ActivationKind::ThresholdedRelu, threshold, 0.0),
                _ => return None,
            }
        }
        "LeakyReLU" => {
            let key =
                if config.some("negative_slope").is_some() { "negative_slope" } else { "alpha" };
            parametric(ActivationKind::LeakyRelu, number(key, 0.3)?, 0.0)
        }
        "ELU" => parametric(ActivationKind::Elu, number("alpha", 1.0)?, 0.0),
        "ThresholdedReLU" => {
            parametric(ActivationKind::ThresholdedRelu, number("theta", 1.0)?, 0.0)
        }
        "Softmax" => {
            let axis = match config.some("axis") {
                None => -1,
                Some(json) => match json.items() {
                    Some([one]) => one.as_i64()?,
                    Some(_) => return None,
                    None => json.as_i64()?,
                },
            };
            softmax(SoftmaxKind::Softmax, axis)
        }
        "Activation" => return by_name(config.get("activation")?.as_str()?, keras2),
        _ => return None,
    };
    Some(Act::Op(op))
}

/// Puts an activation behind `x`.
pub(super) fn apply(cx: &mut LayerCx<'_, '_>, act: Act, x: Value) -> Value {
    match act {
        Act::Linear => cx.unary(Identity {}, x),
        Act::Op(kind) => cx.unary(kind, x),
        Act::Other { name, text, pure } => {
            let mut attrs = AttrMap::new();
            attrs.insert("config".into(), Attribute::Str(text.into()));
            let kind = Opaque {
                domain: "keras".into(),
                name: name.into(),
                attrs,
                pure,
                ..Opaque::default()
            };
            cx.unary(kind, x)
        }
    }
}

/// `Activation` and the layers that are one.
pub(super) fn layer(cx: &mut LayerCx<'_, '_>) -> Emit {
    let Some(x) = cx.single() else { return opaque("it reads something else than one tensor") };
    let act = match cx.layer.class {
        "Activation" => of_config(cx, "activation"),
        class => match of_layer(class, cx.layer.config, cx.keras2) {
            Some(act) => act,
            None => return opaque("no op has these parameters"),
        },
    };
    Ok(Emitted::Value(apply(cx, act, x)))
}

/// `PReLU`: a slope per element, or per extent of the axes that do not share it.
pub(super) fn prelu(cx: &mut LayerCx<'_, '_>) -> Emit {
    let Some(x) = cx.single() else { return opaque("it reads something else than one tensor") };
    let Some(shape) = cx.shape(x).filter(|s| !s.is_empty()) else {
        return opaque("the rank of its input is not known");
    };
    let shared: Vec<i64> = match cx.layer.config.some("shared_axes") {
        None => Vec::new(),
        Some(json) => match json.items().and_then(|i| i.iter().map(Json::as_i64).collect()) {
            Some(axes) => axes,
            None => return Err(cx.layer.invalid("`shared_axes` must be a list of integers")),
        },
    };
    let dims = shape.iter().enumerate().skip(1).map(|(i, d)| {
        if shared.iter().any(|&a| usize::try_from(a) == Ok(i)) { Some(1) } else { Dim::known(d) }
    });
    let Some(dims) = dims.collect::<Option<Vec<u64>>>() else {
        return opaque("an extent of its slope is not known");
    };
    let Some(slope) = cx.weight("alpha", &dims)? else {
        return opaque("an earlier call has weights of other extents");
    };
    let ty = cx.ty(x, Some(shape));
    Ok(Emitted::Value(cx.op(PRelu {}, [Some(x), Some(slope)], ty)))
}
