//! Elementwise ops. Binary ones broadcast as numpy does.

use crate::{DType, attr::op_attrs, op::named_enum};

named_enum! {
    /// Elementwise ops of one operand without attributes.
    UnaryKind(mnemonic) {
        /// `max(x, 0)`.
        Relu "relu",
        /// `1/(1 + e^−x)`.
        Sigmoid "sigmoid",
        /// Hyperbolic tangent.
        Tanh "tanh",
        /// `−x`.
        Neg "neg",
        /// `|x|`.
        Abs "abs",
        /// Square root.
        Sqrt "sqrt",
        /// `1/x`.
        Reciprocal "reciprocal",
        /// `e^x`.
        Exp "exp",
        /// Natural logarithm.
        Log "log",
        /// Error function.
        Erf "erf",
        /// Round down.
        Floor "floor",
        /// Round up.
        Ceil "ceil",
        /// Round to nearest, ties to even.
        Round "round",
        /// −1, 0 or 1.
        Sign "sign",
        /// Sine.
        Sin "sin",
        /// Cosine.
        Cos "cos",
        /// `ln(1 + e^x)`.
        Softplus "softplus",
        /// `x/(1 + |x|)`.
        Softsign "softsign",
        /// `x · max(0, min(1, x/6 + 1/2))`.
        HardSwish "hard_swish",
        /// `x · tanh(softplus(x))`.
        Mish "mish",
        /// `x · sigmoid(x)`.
        Silu "silu",
        /// Boolean negation.
        Not "not",
    }

    /// Elementwise ops of two operands.
    BinaryKind(mnemonic) {
        /// `a + b`.
        Add "add",
        /// `a − b`.
        Sub "sub",
        /// `a · b`.
        Mul "mul",
        /// `a / b`; integers truncate.
        Div "div",
        /// `a ^ b`.
        Pow "pow",
        /// The smaller.
        Min "min",
        /// The larger.
        Max "max",
        /// Remainder with the sign of the divisor (numpy `mod`).
        Mod "mod",
        /// Boolean and.
        And "and",
        /// Boolean or.
        Or "or",
        /// Boolean exclusive or.
        Xor "xor",
    }

    /// Comparisons of two operands; the result is boolean.
    CompareKind(mnemonic) {
        /// `a = b`.
        Equal "equal",
        /// `a < b`.
        Less "less",
        /// `a ≤ b`.
        LessOrEqual "less_or_equal",
        /// `a > b`.
        Greater "greater",
        /// `a ≥ b`.
        GreaterOrEqual "greater_or_equal",
    }

    /// Parametric activations.
    ActivationKind(name) {
        /// `x` above 0, `alpha·x` below.
        LeakyRelu "leaky_relu",
        /// `x` above 0, `alpha·(e^x − 1)` below.
        Elu "elu",
        /// `beta·x` above 0, `beta·alpha·(e^x − 1)` below (ONNX calls beta gamma).
        Selu "selu",
        /// `x` above 0, `alpha·(e^(x/alpha) − 1)` below.
        Celu "celu",
        /// `max(0, min(1, alpha·x + beta))`.
        HardSigmoid "hard_sigmoid",
        /// `x` above alpha, 0 below.
        ThresholdedRelu "thresholded_relu",
        /// `x·Φ(x)`.
        Gelu "gelu",
        /// Gelu by its tanh approximation.
        GeluTanh "gelu_tanh",
    }

    /// What a softmax gives.
    SoftmaxKind(name) {
        /// Probabilities.
        Softmax "softmax",
        /// Their logarithms.
        LogSoftmax "log_softmax",
        /// One at the largest element, 0 elsewhere.
        Hardmax "hardmax",
    }
}

impl crate::AttrField for DType {
    fn to_attr(&self) -> crate::Attribute {
        crate::Attribute::Word(self.name().into())
    }
    fn from_attr(attr: &crate::Attribute) -> Result<Self, String> {
        match attr {
            crate::Attribute::Word(w) => {
                w.parse().map_err(|()| "an element type such as f32".into())
            }
            _ => Err("an element type such as f32".into()),
        }
    }
}

op_attrs! {
    /// `activation`: a parametric activation of one operand.
    Activation {
        /// Which.
        f: ActivationKind = ActivationKind::LeakyRelu,
        /// First parameter.
        alpha: f64 = 0.01,
        /// Second parameter.
        beta: f64 = 0.0,
    }

    /// `clip`: operands x, min?, max?; bounds may be attributes instead.
    Clip {
        /// Lower bound, when it is not an operand.
        min: Option<f64> = None,
        /// Upper bound, when it is not an operand.
        max: Option<f64> = None,
    }

    /// `prelu`: operands x, slope.
    PRelu {}

    /// `softmax`: over `axis`, or over all axes from `axis` on when `flatten` (opset below 13).
    Softmax {
        /// Which.
        f: SoftmaxKind = SoftmaxKind::Softmax,
        /// The axis, negative from the end.
        axis: i64 = -1,
        /// Whether the axes from `axis` on count as one.
        flatten: bool = false,
    }

    /// `cast`: to another element type.
    Cast {
        /// The element type.
        to: DType = DType::F32,
    }

    /// `cast_like`: operands x, like; to the element type of like.
    CastLike {}

    /// `where`: operands condition, a, b.
    Where {}

    /// `identity`: the operand itself.
    Identity {}

    /// `dropout`: operands x, and forms that carry ratio and mode as further operands; results y, mask?.
    Dropout {
        /// Whether elements are dropped. False: y is x.
        training: bool = false,
    }
}
