//! Why a batch norm is kept. Each code is a heading of docs/legality.md and occurs in a golden case.

use normfold_ir::{CarriedNorm, DType, Graph, OpId, Reason};
use std::{fmt, sync::Arc};

/// The op that stands in the way.
#[derive(Clone, PartialEq, Debug)]
pub struct Blocker {
    /// What it does.
    pub op: Arc<str>,
    /// Its name in the source.
    pub location: Arc<str>,
}

impl Blocker {
    pub(crate) fn of(g: &Graph, op: OpId) -> Self {
        Self { op: g.kind(op).display_name().into(), location: g.location(op) }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.op, self.location)
    }
}

/// Which constant of a fold is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// γ.
    Scale,
    /// β.
    Shift,
    /// μ.
    Mean,
    /// σ².
    Variance,
    /// The weight of the linear op.
    Weight,
    /// The bias of the linear op.
    Bias,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Scale => "scale",
            Role::Shift => "shift",
            Role::Mean => "mean",
            Role::Variance => "variance",
            Role::Weight => "weight",
            Role::Bias => "bias",
        })
    }
}

/// Why a batch norm is kept.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each field is named for what it is, and docs/legality.md explains every reason"
)]
pub enum FoldReason {
    TrainingMode,
    PerElement {
        rank: Option<usize>,
    },
    NotConstant {
        what: Role,
        blocker: Blocker,
    },
    OverridableInput {
        what: Role,
        name: Arc<str>,
    },
    MutableState {
        what: Role,
        name: Arc<str>,
    },
    RegionBoundary {
        what: Arc<str>,
    },
    GraphInput {
        name: Arc<str>,
    },
    MultipleConsumers {
        blocker: Blocker,
        users: usize,
        returned: bool,
    },
    ActivationBetween {
        blocker: Blocker,
    },
    Quantized {
        blocker: Blocker,
    },
    CustomDomain {
        blocker: Blocker,
    },
    NoLinearProducer {
        blocker: Blocker,
    },
    AxisMismatch {
        blocker: Blocker,
        axis: usize,
        channels: Option<usize>,
    },
    SiblingDisagrees {
        blocker: Blocker,
    },
    PaddingBetween {
        blocker: Blocker,
    },
    PaddedShift {
        blocker: Blocker,
    },
    Extrapolation {
        blocker: Blocker,
    },
    Sign {
        blocker: Blocker,
    },
    PrecisionNarrowing {
        blocker: Blocker,
    },
    ChannelMismatch {
        blocker: Blocker,
        expected: u64,
        found: u64,
    },
    UnknownRank {
        blocker: Blocker,
    },
    UnknownType {
        blocker: Blocker,
    },
    UnsupportedType {
        blocker: Blocker,
        dtype: DType,
    },
    /// What else the linear op reads, `what`, has another type than its weight.
    TypesDiffer {
        blocker: Blocker,
        weight: DType,
        what: &'static str,
        other: DType,
    },
    NonFinite {
        what: &'static str,
        channel: usize,
    },
    Overflow {
        what: Role,
        channel: Option<usize>,
    },
    /// `placeable`: whether the document has a place for a copy.
    SharedWeight {
        what: Role,
        name: Arc<str>,
        bytes: u64,
        placeable: bool,
    },
    NotExpressible {
        what: &'static str,
    },
    Irremovable {
        blocker: Blocker,
    },
    WeightsAbsent {
        blocker: Option<Blocker>,
    },
    Uncertified {
        message: String,
    },
    PairMismatch {
        blocker: Option<Blocker>,
        named: Arc<str>,
    },
    NotSelected {
        blocker: Option<Blocker>,
    },
    Carried {
        norm: CarriedNorm,
    },
    RewriteLimit,
}

impl FoldReason {
    /// The op that stands in the way, where there is one.
    pub fn blocker(&self) -> Option<&Blocker> {
        use FoldReason::*;
        match self {
            NotConstant { blocker, .. }
            | MultipleConsumers { blocker, .. }
            | ActivationBetween { blocker }
            | Quantized { blocker }
            | CustomDomain { blocker }
            | NoLinearProducer { blocker }
            | AxisMismatch { blocker, .. }
            | SiblingDisagrees { blocker }
            | PaddingBetween { blocker }
            | PaddedShift { blocker }
            | Extrapolation { blocker }
            | Sign { blocker }
            | PrecisionNarrowing { blocker }
            | ChannelMismatch { blocker, .. }
            | UnknownRank { blocker }
            | UnknownType { blocker }
            | UnsupportedType { blocker, .. }
            | TypesDiffer { blocker, .. }
            | Irremovable { blocker } => Some(blocker),
            WeightsAbsent { blocker } | PairMismatch { blocker, .. } | NotSelected { blocker } => {
                blocker.as_ref()
            }
            _ => None,
        }
    }

    /// Whether there is nothing beyond the op in the way that could take the batch norm in.
    pub(super) fn is_dead_end(&self) -> bool {
        use FoldReason::*;
        matches!(
            self,
            GraphInput { .. }
                | ActivationBetween { .. }
                | NoLinearProducer { .. }
                | CustomDomain { .. }
                | RegionBoundary { .. }
                | PairMismatch { .. }
        )
    }

    /// Whether an op was found that would take the batch norm in, but for this.
    pub(super) fn is_near(&self) -> bool {
        use FoldReason::*;
        matches!(
            self,
            PaddedShift { .. }
                | PaddingBetween { .. }
                | Sign { .. }
                | SharedWeight { .. }
                | Overflow { .. }
                | NotExpressible { .. }
                | Irremovable { .. }
                | Quantized { .. }
                | WeightsAbsent { .. }
        )
    }

    /// What would let it fold.
    pub fn unlock(&self) -> &'static str {
        use FoldReason::*;
        match self {
            TrainingMode => "export the model in inference mode",
            PerElement { .. } => "nothing short of exporting with spatial statistics",
            NotConstant { .. } => "make the value a constant of the model",
            OverridableInput { .. } => {
                "remove the name from the model's inputs, so that no caller can replace it"
            }
            MutableState { .. } => "strip the training information",
            RegionBoundary { .. } => "define the value in the same graph as the batch norm",
            GraphInput { .. } => "nothing: no op comes before it",
            MultipleConsumers { .. } => "duplicate the producer for its other readers",
            ActivationBetween { .. } => "nothing: the activation is not linear",
            Quantized { .. } => "fold before quantizing",
            CustomDomain { .. } => "replace the custom op by standard ones",
            NoLinearProducer { .. } => "a linear op as the producer",
            AxisMismatch { .. } => "nothing: the batch norm's channels are not the op's",
            SiblingDisagrees { .. } => "scale the other parts alike",
            PaddingBetween { .. } => "no shift, or no padding with a value of its own",
            PaddedShift { .. } => "a convolution without padding, or residual-shift=add",
            Extrapolation { .. } => "resize without values from outside",
            Sign { .. } => "positive scales on every channel",
            PrecisionNarrowing { .. } => "one element type on both sides of the cast",
            ChannelMismatch { .. } => "repair the model: the channel counts contradict each other",
            UnknownRank { .. } => "declare the rank of the data",
            UnknownType { .. } => "give the data a certain element type, by a cast",
            UnsupportedType { .. } => "weights of type f64, f32, f16 or bf16",
            TypesDiffer { .. } => "repair the model: weight, bias and data of an op have one type",
            NonFinite { .. } => "repair the constant",
            Overflow { .. } => "a wider weight type",
            SharedWeight { placeable: true, .. } => {
                "allow a copy: shared=copy, or a larger copy-limit"
            }
            SharedWeight { placeable: false, .. } => {
                "a weight of its own for each op that reads it"
            }
            NotExpressible { .. } => "a document of a newer version",
            Irremovable { .. } => "a document that can be without this op",
            WeightsAbsent { .. } => "give the weights: everything else allows the fold",
            Uncertified { .. } => "an op whose result can be computed",
            PairMismatch { .. } => "name the ops that it folds into",
            NotSelected { .. } => "select it: see the options only, skip and pairs",
            Carried { norm } => match norm {
                CarriedNorm::MultiAxis => "statistics over one axis",
                CarriedNorm::TrainingArgument => {
                    "a call with training=False, or without the argument"
                }
                CarriedNorm::SharedLayer => "a layer of its own for each call",
                CarriedNorm::UnknownChannels => "state the shape of the data",
                CarriedNorm::CustomLayer => "an ordinary batch norm",
                CarriedNorm::BatchStatistics => "running statistics, and a model in eval mode",
                CarriedNorm::UpdatedInPlace => "an op that does not work in place",
                CarriedNorm::NestedGraph => "a batch norm outside of that graph",
            },
            RewriteLimit => "raise the limit of rewrites",
        }
    }
}

impl Reason for FoldReason {
    const CODES: &'static [&'static str] = &[
        "training-mode",
        "per-element",
        "not-constant",
        "overridable-input",
        "mutable-state",
        "region-boundary",
        "graph-input",
        "multiple-consumers",
        "activation-between",
        "quantized",
        "custom-domain",
        "no-linear-producer",
        "axis-mismatch",
        "sibling-disagrees",
        "padding-between",
        "padded-shift",
        "extrapolation",
        "sign",
        "precision-narrowing",
        "channel-mismatch",
        "unknown-rank",
        "unknown-type",
        "unsupported-type",
        "non-finite",
        "overflow",
        "shared-weight",
        "not-expressible",
        "weights-absent",
        "uncertified",
        "pair-mismatch",
        "not-selected",
        "multi-axis",
        "training-argument",
        "shared-layer",
        "unknown-channels",
        "custom-layer",
        "batch-statistics",
        "updated-in-place",
        "nested-graph",
        "rewrite-limit",
    ];

    fn code(&self) -> &'static str {
        use FoldReason::*;
        match self {
            TrainingMode => "training-mode",
            PerElement { .. } => "per-element",
            NotConstant { .. } => "not-constant",
            OverridableInput { .. } => "overridable-input",
            MutableState { .. } => "mutable-state",
            RegionBoundary { .. } => "region-boundary",
            GraphInput { .. } => "graph-input",
            MultipleConsumers { .. } => "multiple-consumers",
            ActivationBetween { .. } => "activation-between",
            Quantized { .. } => "quantized",
            CustomDomain { .. } => "custom-domain",
            NoLinearProducer { .. } => "no-linear-producer",
            AxisMismatch { .. } => "axis-mismatch",
            SiblingDisagrees { .. } => "sibling-disagrees",
            PaddingBetween { .. } => "padding-between",
            PaddedShift { .. } => "padded-shift",
            Extrapolation { .. } => "extrapolation",
            Sign { .. } => "sign",
            PrecisionNarrowing { .. } => "precision-narrowing",
            ChannelMismatch { .. } => "channel-mismatch",
            UnknownRank { .. } => "unknown-rank",
            UnknownType { .. } => "unknown-type",
            UnsupportedType { .. } | TypesDiffer { .. } => "unsupported-type",
            NonFinite { .. } => "non-finite",
            Overflow { .. } => "overflow",
            SharedWeight { .. } => "shared-weight",
            NotExpressible { .. } | Irremovable { .. } => "not-expressible",
            WeightsAbsent { .. } => "weights-absent",
            Uncertified { .. } => "uncertified",
            PairMismatch { .. } => "pair-mismatch",
            NotSelected { .. } => "not-selected",
            Carried { norm } => norm.name(),
            RewriteLimit => "rewrite-limit",
        }
    }
}

impl fmt::Display for FoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FoldReason::*;
        match self {
            TrainingMode => write!(f, "it normalises by the statistics of the batch"),
            PerElement { rank: Some(r) } => {
                write!(f, "its statistics are per element of rank-{r} data, not per channel")
            }
            PerElement { rank: None } => {
                write!(f, "its statistics are per element, not per channel")
            }
            NotConstant { what, blocker } if &*blocker.op == "parameter" => {
                write!(f, "the {what} \"{}\" is an input of the graph", blocker.location)
            }
            NotConstant { what, blocker } => {
                write!(f, "the {what} is computed at run time by {blocker}")
            }
            OverridableInput { what, name } => {
                write!(
                    f,
                    "the {what} \"{name}\" is also an input of the model: a caller may replace it"
                )
            }
            MutableState { what, name } => write!(f, "the {what} \"{name}\" is training state"),
            RegionBoundary { what } => write!(f, "{what}"),
            GraphInput { name } => write!(f, "it reads the graph's input \"{name}\""),
            MultipleConsumers { blocker, users, returned: true } => {
                write!(f, "the result of {blocker} is also a result of the graph ({users} readers)")
            }
            MultipleConsumers { blocker, users, .. } => {
                write!(f, "the result of {blocker} has {users} readers")
            }
            ActivationBetween { blocker } => {
                write!(f, "{blocker} stands between it and any linear op")
            }
            Quantized { blocker } => write!(f, "{blocker} is quantized"),
            CustomDomain { blocker } => write!(f, "its input comes from the custom op {blocker}"),
            NoLinearProducer { blocker } => {
                write!(f, "its input comes from {blocker}, which cannot absorb it")
            }
            AxisMismatch { blocker, axis, channels: Some(c) } => {
                write!(
                    f,
                    "it normalises along axis {axis}, but the channels of {blocker} are axis {c}"
                )
            }
            AxisMismatch { blocker, axis, .. } => {
                write!(
                    f,
                    "it normalises along axis {axis}, which is not the channel axis of {blocker}"
                )
            }
            SiblingDisagrees { blocker } => {
                write!(f, "other readers of {blocker} need it as it is")
            }
            PaddingBetween { blocker } => {
                write!(f, "{blocker} pads with a value that the shift would change")
            }
            PaddedShift { blocker } => {
                write!(f, "{blocker} pads with zeros, which its shift would have to reach")
            }
            Extrapolation { blocker } => write!(f, "{blocker} fills in a value from outside"),
            Sign { blocker } => {
                write!(f, "{blocker} takes the largest, and some channel has a scale of 0 or less")
            }
            PrecisionNarrowing { blocker } => {
                write!(f, "{blocker} stands between it and the op that would absorb it")
            }
            ChannelMismatch { blocker, expected, found } => {
                write!(f, "it has {found} channels where {blocker} has {expected}")
            }
            UnknownRank { blocker } => {
                write!(f, "the rank of the data of {blocker} is not known for certain")
            }
            UnknownType { blocker } => {
                write!(f, "the element type of the data of {blocker} is not known for certain")
            }
            UnsupportedType { blocker, dtype } => {
                write!(f, "the weight of {blocker} has type {dtype}")
            }
            TypesDiffer { blocker, weight, what, other } => {
                write!(f, "{blocker} has a weight of type {weight} and {what} of type {other}")
            }
            NonFinite { what, channel } => {
                write!(f, "{what} is not a finite number in channel {channel}")
            }
            Overflow { what, channel: Some(c) } => {
                write!(f, "the folded {what} would not be finite in its type (channel {c})")
            }
            Overflow { what, .. } => write!(f, "the folded {what} would not be finite in its type"),
            SharedWeight { what, name, bytes, placeable } => {
                let why = match placeable {
                    true => "a copy is not allowed",
                    false => "the document has no place for a copy",
                };
                write!(
                    f,
                    "the {what} \"{name}\" ({bytes} bytes) is read by other ops too, and {why}"
                )
            }
            NotExpressible { what } => write!(f, "the document cannot say {what}"),
            Irremovable { blocker: b } => write!(f, "the document cannot be without {b}"),
            WeightsAbsent { blocker: Some(b) } => {
                write!(f, "it would fold into {b}, but the values are not at hand")
            }
            WeightsAbsent { .. } => write!(f, "the values are not at hand"),
            Uncertified { message } => write!(
                f,
                "its path cannot be evaluated, so the fold could not be proven: {message}"
            ),
            PairMismatch { blocker: Some(b), named } => {
                write!(f, "it would fold into {b}, and its pair names \"{named}\"")
            }
            PairMismatch { named, .. } => write!(f, "its pair names \"{named}\""),
            NotSelected { blocker: None } => write!(f, "it is not selected"),
            NotSelected { blocker: Some(b) } => {
                write!(f, "{b} would have to change with it, and is not selected")
            }
            Carried { norm } => f.write_str(match norm {
                CarriedNorm::MultiAxis => "it normalises over several axes together",
                CarriedNorm::TrainingArgument => {
                    "whether it is in training mode is decided when the model runs"
                }
                CarriedNorm::SharedLayer => "its weights belong to other calls or models, too",
                CarriedNorm::UnknownChannels => {
                    "the rank of its data or the number of channels is not known"
                }
                CarriedNorm::CustomLayer => "it does more than a batch norm does",
                CarriedNorm::BatchStatistics => {
                    "it normalises by the statistics of the data at hand"
                }
                CarriedNorm::UpdatedInPlace => {
                    "its data is overwritten in place, where others see it"
                }
                CarriedNorm::NestedGraph => "it stands in a graph that an op carries",
            }),
            RewriteLimit => write!(f, "the limit of rewrites was reached"),
        }
    }
}
