//! Pooling, padding, resampling, reductions.

use crate::{DataLayout, Padding, Spatial, attr::op_attrs, op::named_enum};
use std::sync::Arc;

named_enum! {
    /// How a window becomes one value.
    PoolKind(name) {
        /// The largest element; padding is −∞.
        Max "max",
        /// The mean.
        Average "average",
        /// The p-norm.
        Lp "lp",
    }

    /// What stands outside.
    PadMode(name) {
        /// One value.
        Constant "constant",
        /// Mirrored without repeating the border.
        Reflect "reflect",
        /// The border repeated.
        Edge "edge",
        /// The other end.
        Wrap "wrap",
    }

    /// How elements become one.
    ReduceKind(name) {
        /// The mean.
        Mean "mean",
        /// The sum.
        Sum "sum",
        /// The largest.
        Max "max",
        /// The smallest.
        Min "min",
        /// The product.
        Prod "prod",
        /// Sum of magnitudes.
        L1 "l1",
        /// Root of the sum of squares.
        L2 "l2",
        /// Sum of squares.
        SumSquare "sum_square",
        /// Logarithm of the sum.
        LogSum "log_sum",
        /// Logarithm of the sum of exponentials.
        LogSumExp "log_sum_exp",
    }

    /// The order of elements in depth-to-space.
    DepthMode(name) {
        /// Depth, column, row.
        Dcr "dcr",
        /// Column, row, depth.
        Crd "crd",
    }
}

op_attrs! {
    /// `pool`: operand x; results y, indices? (max only).
    Pool {
        /// Which.
        f: PoolKind = PoolKind::Max,
        /// Layout of x and of the result.
        x: DataLayout = DataLayout::channels_first(2),
        /// Window extents.
        kernel: Spatial<u64> = Spatial::new(),
        /// Strides; empty is 1 everywhere.
        strides: Spatial<u64> = Spatial::new(),
        /// Dilations; empty is 1 everywhere.
        dilations: Spatial<u64> = Spatial::new(),
        /// Padding.
        pad: Padding = Padding::default(),
        /// Whether a partial window at the end counts.
        ceil_mode: bool = false,
        /// Whether the divisor of a mean counts padding.
        count_include_pad: bool = false,
        /// The p of the p-norm.
        p: i64 = 2,
    }

    /// `global_pool`: over all spatial axes, which stay with extent 1 unless `keepdims` is false.
    GlobalPool {
        /// Which.
        f: PoolKind = PoolKind::Average,
        /// Whether the channel axis is the last one.
        channel_last: bool = false,
        /// Whether the reduced axes stay.
        keepdims: bool = true,
        /// The p of the p-norm.
        p: i64 = 2,
    }

    /// `pad`: operands x, amounts?, value?, axes?; amounts `[before…, after…]`, negative ones cut.
    Pad {
        /// What stands outside.
        mode: PadMode = PadMode::Constant,
        /// The amounts, when they are not an operand.
        amounts: Option<Vec<i64>> = None,
        /// The value, when it is not an operand.
        value: Option<f64> = None,
    }

    /// `resize`: operands x, roi?, scales?, sizes?.
    Resize {
        /// nearest, linear or cubic.
        mode: Arc<str> = "nearest".into(),
        /// How result coordinates map to those of x.
        coordinates: Arc<str> = "half_pixel".into(),
        /// How the nearest element is chosen.
        nearest: Arc<str> = "round_prefer_floor".into(),
        /// Value outside x for `tf_crop_and_resize`.
        extrapolation: f64 = 0.0,
        /// Cubic coefficient.
        cubic_coeff: f64 = -0.75,
        /// Whether weights outside x are 0.
        exclude_outside: bool = false,
        /// Whether downsampling is smoothed.
        antialias: bool = false,
        /// The axes that scales and sizes speak of; all when left out.
        axes: Option<Vec<i64>> = None,
        /// How sizes keep the aspect ratio.
        aspect: Arc<str> = "stretch".into(),
        /// The scales, when they are no operand.
        scales: Option<Vec<f64>> = None,
    }

    /// `reduce`: operands x, axes?.
    Reduce {
        /// Which.
        f: ReduceKind = ReduceKind::Mean,
        /// The axes, when they are not an operand; all when neither is given.
        axes: Option<Vec<i64>> = None,
        /// Whether reduced axes stay with extent 1.
        keepdims: bool = true,
        /// Whether no axes means no reduction.
        noop_with_empty_axes: bool = false,
    }

    /// `depth_to_space`: channels to blocks, `NCHW`.
    DepthToSpace {
        /// Block extent.
        block: u64 = 1,
        /// The order of elements.
        mode: DepthMode = DepthMode::Dcr,
    }

    /// `space_to_depth`: blocks to channels, `NCHW`.
    SpaceToDepth {
        /// Block extent.
        block: u64 = 1,
    }
}
