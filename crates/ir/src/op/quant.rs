//! Quantization.

use crate::attr::op_attrs;

op_attrs! {
    /// `quantize`: operands x, scale, zero point?.
    Quantize {
        /// The axis of per-axis scales, negative from the end.
        axis: i64 = 1,
        /// Elements per block along the axis; 0 is one scale for all of it.
        block: i64 = 0,
    }

    /// `dequantize`: operands x, scale, zero point?.
    Dequantize {
        /// The axis of per-axis scales, negative from the end.
        axis: i64 = 1,
        /// Elements per block along the axis; 0 is one scale for all of it.
        block: i64 = 0,
    }
}
