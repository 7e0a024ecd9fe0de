//! Linear ops: convolutions, fully connected layers, matrix products; their layouts and padding.

use crate::{AttrField, Attribute, attr::op_attrs, op::named_enum};
use smallvec::SmallVec;

/// Extents along the spatial axes, outermost first.
pub type Spatial<T> = SmallVec<[T; 3]>;

/// Where batch, channel and spatial axes of data stand: `NCHW`, `NHWC`, `NCW`, …
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DataLayout {
    /// The number of spatial axes.
    pub spatial: u8,
    /// Whether the channel axis is the last one (else it is axis 1).
    pub channel_last: bool,
}

impl DataLayout {
    /// `NC` and `spatial` axes.
    pub fn channels_first(spatial: u8) -> Self {
        Self { spatial, channel_last: false }
    }

    /// `N`, `spatial` axes and `C`.
    pub fn channels_last(spatial: u8) -> Self {
        Self { spatial, channel_last: true }
    }

    /// The rank of the data.
    pub fn rank(self) -> usize {
        usize::from(self.spatial) + 2
    }

    /// The channel axis.
    pub fn channel_axis(self) -> usize {
        if self.channel_last { self.rank() - 1 } else { 1 }
    }

    /// The first spatial axis.
    pub fn first_spatial_axis(self) -> usize {
        if self.channel_last { 1 } else { 2 }
    }
}

fn spatial_letters(n: u8) -> &'static str {
    match n {
        0 => "",
        1 => "W",
        2 => "HW",
        _ => "DHW",
    }
}

impl AttrField for DataLayout {
    fn to_attr(&self) -> Attribute {
        let s = spatial_letters(self.spatial);
        Attribute::Word(if self.channel_last { format!("N{s}C") } else { format!("NC{s}") }.into())
    }

    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        for spatial in 0..=3 {
            for l in [Self::channels_first(spatial), Self::channels_last(spatial)] {
                if l.to_attr() == *attr {
                    return Ok(l);
                }
            }
        }
        Err("a data layout such as NCHW or NHWC".into())
    }
}

named_enum! {
    /// The order of a kernel's axes. `S` stands for the spatial ones.
    KernelOrder(name) {
        /// Output, input per group, spatial: ONNX and PyTorch convolutions.
        Ois "ois",
        /// Spatial, input per group, output: Keras convolutions.
        Sio "sio",
        /// Input, output per group, spatial: ONNX and PyTorch transposed convolutions.
        Ios "ios",
        /// Spatial, output, input: Keras transposed convolutions.
        Soi "soi",
        /// Spatial, channel, multiplier: Keras depthwise convolutions; output channel `c·M + m`.
        Scm "scm",
    }
}

/// Where output, input and spatial axes of a kernel stand: `OIHW`, `HWIO`, `IOHW`, `HWOI`, `HWCM`, …
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KernelLayout {
    /// The order of the axes.
    pub order: KernelOrder,
    /// The number of spatial axes.
    pub spatial: u8,
}

impl KernelLayout {
    /// A layout.
    pub fn new(order: KernelOrder, spatial: u8) -> Self {
        Self { order, spatial }
    }

    /// The rank of the kernel.
    pub fn rank(self) -> usize {
        usize::from(self.spatial) + 2
    }

    /// The first spatial axis.
    pub fn first_spatial_axis(self) -> usize {
        match self.order {
            KernelOrder::Ois | KernelOrder::Ios => 2,
            _ => 0,
        }
    }

    /// The axis of output channels (multipliers of `Scm`).
    pub fn out_axis(self) -> usize {
        let s = usize::from(self.spatial);
        match self.order {
            KernelOrder::Ois => 0,
            KernelOrder::Ios => 1,
            KernelOrder::Sio | KernelOrder::Scm => s + 1,
            KernelOrder::Soi => s,
        }
    }

    /// The axis of input channels (channels of `Scm`).
    pub fn in_axis(self) -> usize {
        let s = usize::from(self.spatial);
        match self.order {
            KernelOrder::Ois => 1,
            KernelOrder::Ios => 0,
            KernelOrder::Sio | KernelOrder::Scm => s,
            KernelOrder::Soi => s + 1,
        }
    }
}

impl AttrField for KernelLayout {
    fn to_attr(&self) -> Attribute {
        let s = spatial_letters(self.spatial);
        let text = match self.order {
            KernelOrder::Ois => format!("OI{s}"),
            KernelOrder::Sio => format!("{s}IO"),
            KernelOrder::Ios => format!("IO{s}"),
            KernelOrder::Soi => format!("{s}OI"),
            KernelOrder::Scm => format!("{s}CM"),
        };
        Attribute::Word(text.into())
    }

    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        for spatial in 1..=3 {
            for &order in KernelOrder::ALL {
                let l = Self::new(order, spatial);
                if l.to_attr() == *attr {
                    return Ok(l);
                }
            }
        }
        Err("a kernel layout such as OIHW, HWIO, IOHW, HWOI or HWCM".into())
    }
}

/// Padding of a sliding window. Written `[[lo, hi], …]` or a word.
#[derive(Clone, PartialEq, Debug)]
pub enum Padding {
    /// Amounts before and after, per spatial axis; empty is none anywhere.
    Explicit(Spatial<(i64, i64)>),
    /// Output extent `ceil(in / stride)`, the odd cell at the end.
    SameUpper,
    /// Output extent `ceil(in / stride)`, the odd cell at the beginning.
    SameLower,
    /// No padding.
    Valid,
    /// `dilation · (kernel − 1)` before, none after (Keras).
    Causal,
}

impl Default for Padding {
    fn default() -> Self {
        Padding::Explicit(Spatial::new())
    }
}

impl Padding {
    /// The explicit amount before and after spatial axis `i`; `None` where it depends on extents.
    pub fn explicit(&self, i: usize) -> Option<(i64, i64)> {
        match self {
            Padding::Explicit(p) => Some(p.get(i).copied().unwrap_or((0, 0))),
            Padding::Valid => Some((0, 0)),
            _ => None,
        }
    }
}

impl AttrField for Padding {
    fn to_attr(&self) -> Attribute {
        match self {
            Padding::Explicit(p) => Attribute::List(
                p.iter()
                    .map(|&(a, b)| Attribute::List(vec![Attribute::Int(a), Attribute::Int(b)]))
                    .collect(),
            ),
            Padding::SameUpper => Attribute::Word("same_upper".into()),
            Padding::SameLower => Attribute::Word("same_lower".into()),
            Padding::Valid => Attribute::Word("valid".into()),
            Padding::Causal => Attribute::Word("causal".into()),
        }
    }

    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        let expected =
            || "[[lo, hi], …] or one of same_upper, same_lower, valid, causal".to_owned();
        match attr {
            Attribute::List(items) => items
                .iter()
                .map(|i| match i {
                    Attribute::List(p) => match p.as_slice() {
                        [Attribute::Int(a), Attribute::Int(b)] => Ok((*a, *b)),
                        _ => Err(expected()),
                    },
                    _ => Err(expected()),
                })
                .collect::<Result<_, _>>()
                .map(Padding::Explicit),
            Attribute::Word(w) => match &**w {
                "same_upper" => Ok(Padding::SameUpper),
                "same_lower" => Ok(Padding::SameLower),
                "valid" => Ok(Padding::Valid),
                "causal" => Ok(Padding::Causal),
                _ => Err(expected()),
            },
            _ => Err(expected()),
        }
    }
}

impl<T: AttrField> AttrField for Spatial<T> {
    fn to_attr(&self) -> Attribute {
        Attribute::List(self.iter().map(AttrField::to_attr).collect())
    }
    fn from_attr(attr: &Attribute) -> Result<Self, String> {
        match attr {
            Attribute::List(items) => items.iter().map(T::from_attr).collect(),
            _ => Err("a list".into()),
        }
    }
}

op_attrs! {
    /// `conv`: operands x, kernel, bias?; one result in the layout of x. No activation.
    Conv {
        /// Layout of x and of the result.
        x: DataLayout = DataLayout::channels_first(2),
        /// Layout of the kernel.
        w: KernelLayout = KernelLayout::new(KernelOrder::Ois, 2),
        /// Groups; `HWCM` kernels say theirs by their shape and leave this at 1.
        groups: u64 = 1,
        /// Strides; empty is 1 everywhere.
        strides: Spatial<u64> = Spatial::new(),
        /// Dilations; empty is 1 everywhere.
        dilations: Spatial<u64> = Spatial::new(),
        /// Implicit zeros around x.
        pad: Padding = Padding::default(),
    }

    /// `conv_transpose`: operands x, kernel, bias?; one result in the layout of x.
    ConvTranspose {
        /// Layout of x and of the result.
        x: DataLayout = DataLayout::channels_first(2),
        /// Layout of the kernel.
        w: KernelLayout = KernelLayout::new(KernelOrder::Ios, 2),
        /// Groups.
        groups: u64 = 1,
        /// Strides; empty is 1 everywhere.
        strides: Spatial<u64> = Spatial::new(),
        /// Dilations; empty is 1 everywhere.
        dilations: Spatial<u64> = Spatial::new(),
        /// Amounts cut from the result.
        pad: Padding = Padding::default(),
        /// Extra extent at the end of the result; empty is none.
        output_padding: Spatial<i64> = Spatial::new(),
        /// The result's spatial extents when given instead of derived.
        output_shape: Spatial<i64> = Spatial::new(),
    }

    /// `linear`: `alpha · x·w + beta · c`; operands x, w, c?; one result.
    ///
    /// x is `[…, K]`, or `[K, M]` with `trans_x`; w is `[K, N]`, or `[N, K]` with `trans_w`; c broadcasts to the result
    /// `[…, N]` in one direction (ONNX Gemm; Keras Dense; aten.linear).
    Linear {
        /// Factor of the product.
        alpha: f64 = 1.0,
        /// Factor of c.
        beta: f64 = 1.0,
        /// Whether x is transposed (rank 2 only).
        trans_x: bool = false,
        /// Whether w is `[N, K]`.
        trans_w: bool = false,
        /// Whether x is a matrix by the source's definition (ONNX Gemm), whatever is known of its type.
        matrix: bool = false,
    }

    /// `matmul`: operands a, b; one result; numpy rules at any rank.
    MatMul {}
}
