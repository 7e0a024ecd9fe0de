//! Ops that give a graph its frame, and the op that carries what is not understood.

use crate::{AttrMap, ConstId, attr::op_attrs, op::named_enum};
use std::sync::Arc;

named_enum! {
    /// Whether a constant can be replaced behind the compiler's back.
    Binding(name) {
        /// The value is what the pool says.
        Fixed "fixed",
        /// The caller may feed another value (an ONNX initializer that is also a graph input, IR version 4 and later).
        Overridable "overridable",
        /// Training state: bound by an update or initialization binding.
        Mutable "mutable",
    }
}

op_attrs! {
    /// `parameter`: an argument of the graph. No operands, one result.
    Parameter {
        /// Which argument, or which capture.
        index: u32 = 0,
        /// Whether it stands for a capture operand of the op that owns this body.
        capture: bool = false,
    }

    /// `return`: ends a graph; its operands are the graph's results. No results.
    Return {
        /// The names the graph's results have in the source document; may be empty.
        names: Vec<Arc<str>> = Vec::new(),
    }
}

/// `constant`: names an entry of the module's constant pool. No operands, one result.
///
/// Printed as `constant ENTRY`; see the text form of constants.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Constant {
    /// The entry.
    pub entry: ConstId,
    /// Whether the entry is the value for good.
    pub binding: Binding,
}

impl Constant {
    /// A constant whose value is the entry for good.
    pub fn new(entry: ConstId) -> Self {
        Self { entry, binding: Binding::Fixed }
    }
}

impl crate::op::OpAttrs for Constant {
    const FIELDS: &'static [&'static str] = &["entry", "binding"];

    fn to_attrs(&self) -> AttrMap {
        let mut map = AttrMap::new();
        map.insert("entry".into(), crate::Attribute::Tensor(self.entry));
        if self.binding != Binding::Fixed {
            map.insert("binding".into(), crate::AttrField::to_attr(&self.binding));
        }
        map
    }

    fn from_attrs(attrs: &AttrMap) -> Result<Self, crate::op::AttrError> {
        let mut entry = None;
        let mut binding = Binding::Fixed;
        for (key, value) in attrs {
            let ill =
                |expected: String| crate::op::AttrError::IllTyped { name: key.clone(), expected };
            match (&**key, value) {
                ("entry", crate::Attribute::Tensor(id)) => entry = Some(*id),
                ("binding", v) => binding = crate::AttrField::from_attr(v).map_err(ill)?,
                ("entry", _) => return Err(ill("a tensor".into())),
                _ => {
                    return Err(crate::op::AttrError::Unknown {
                        name: key.clone(),
                        valid: Self::FIELDS,
                    });
                }
            }
        }
        match entry {
            Some(entry) => Ok(Self { entry, binding }),
            None => Err(crate::op::AttrError::IllTyped {
                name: "entry".into(),
                expected: "a tensor".into(),
            }),
        }
    }
}

/// `opaque`: anything the compiler does not understand, carried verbatim. Any operands, any results.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Opaque {
    /// The source's domain, empty for its standard one.
    pub domain: Arc<str>,
    /// The source's name of the op.
    pub name: Arc<str>,
    /// Attributes in source order.
    pub attrs: AttrMap,
    /// The frontend knows that the op has no effect but its results.
    pub pure: bool,
    /// Operand slots that are read for their shape or type only.
    pub type_uses: Vec<u32>,
    /// The frontend knows that result 0 has the extents and the element type of operand 0.
    pub shaped: bool,
    /// Element type that the op's document calls a quantized form: it neither absorbs nor passes a scale.
    pub quantized: bool,
    /// The op is a batch norm of a kind that there is no other op for, and why.
    pub norm: Option<CarriedNorm>,
}

/// Why a batch norm is carried as an opaque op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CarriedNorm {
    /// Its statistics are over several axes together.
    MultiAxis,
    /// A tensor decides whether it is in training mode, or nothing that is known.
    TrainingArgument,
    /// Other models have the same weights.
    SharedLayer,
    /// The rank of its data, or the number of channels, is not known.
    UnknownChannels,
    /// It does something of its own.
    CustomLayer,
    /// It normalises by the statistics of the data at hand.
    BatchStatistics,
    /// What it reads or gives is overwritten, where others see it.
    UpdatedInPlace,
    /// It stands in a graph that an op carries.
    NestedGraph,
}

impl CarriedNorm {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::MultiAxis,
        Self::TrainingArgument,
        Self::SharedLayer,
        Self::UnknownChannels,
        Self::CustomLayer,
        Self::BatchStatistics,
        Self::UpdatedInPlace,
        Self::NestedGraph,
    ];

    /// Its name in the text form, and the code of the reason why such a batch norm is kept.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MultiAxis => "multi-axis",
            Self::TrainingArgument => "training-argument",
            Self::SharedLayer => "shared-layer",
            Self::UnknownChannels => "unknown-channels",
            Self::CustomLayer => "custom-layer",
            Self::BatchStatistics => "batch-statistics",
            Self::UpdatedInPlace => "updated-in-place",
            Self::NestedGraph => "nested-graph",
        }
    }
}
