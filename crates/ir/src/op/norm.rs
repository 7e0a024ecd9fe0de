//! Batch normalisation.

use crate::attr::op_attrs;

op_attrs! {
    /// `batch_norm`: operands x, scale?, bias?, mean, variance; first result `(x − mean)/√(variance + eps) · scale + bias`.
    ///
    /// An absent scale is 1, an absent bias 0. Further results (running or saved statistics) exist in training forms only.
    BatchNorm {
        /// The channel axis of x.
        axis: u32 = 1,
        /// Added to the variance; an f32 of the source is widened.
        eps: f64 = 1e-5,
        /// Whether the statistics are those of the batch.
        training: bool = false,
        /// Whether the statistics are per channel (false: per element beyond the batch axis, opset 1–8).
        spatial: bool = true,
    }
}
