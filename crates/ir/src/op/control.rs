//! Ops with bodies. A body is a graph of its own, isolated from above: what it captures is a capture operand of the op
//! and a capture parameter of the body.

use crate::attr::op_attrs;
use std::sync::Arc;

op_attrs! {
    /// `if`: operand condition; two bodies, then and else, without arguments.
    If {}

    /// `loop`: operands trip count?, condition?, carried values; one body with iteration number, condition, carried values.
    Loop {}

    /// `scan`: operands initial states and scanned inputs; one body.
    Scan {
        /// How many operands are scanned.
        scan_inputs: u64 = 0,
        /// Axes of the scanned inputs.
        input_axes: Vec<i64> = Vec::new(),
        /// Axes of the scanned results.
        output_axes: Vec<i64> = Vec::new(),
        /// 1 where an input is scanned backwards.
        input_directions: Vec<i64> = Vec::new(),
        /// 1 where a result is written backwards.
        output_directions: Vec<i64> = Vec::new(),
    }

    /// `call`: of the module's function of that name.
    Call {
        /// The callee's name.
        callee: Arc<str> = "".into(),
    }
}
