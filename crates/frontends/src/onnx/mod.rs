//! ONNX models.

mod external;
mod model;
#[cfg(test)]
mod proto;
mod wire;
