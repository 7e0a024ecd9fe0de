//! Builds ONNX documents byte by byte, for tests.

use super::wire::push_varint;

/// A message under construction: fields in the order they are added.
#[derive(Clone, Default, Debug)]
pub(crate) struct Msg(pub(crate) Vec<u8>);

impl Msg {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn tag(&mut self, number: u32, wire: u32) {
        push_varint(&mut self.0, u64::from(number << 3 | wire));
    }

    pub(crate) fn int(mut self, number: u32, value: i64) -> Self {
        self.tag(number, 0);
        push_varint(&mut self.0, value as u64);
        self
    }

    pub(crate) fn float(mut self, number: u32, value: f32) -> Self {
        self.tag(number, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        self.tag(number, 2);
        push_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn str(self, number: u32, value: &str) -> Self {
        self.bytes(number, value.as_bytes())
    }

    pub(crate) fn msg(self, number: u32, value: Msg) -> Self {
        self.bytes(number, &value.0)
    }

    pub(crate) fn all(self, number: u32, values: impl IntoIterator<Item = Msg>) -> Self {
        values.into_iter().fold(self, |m, v| m.msg(number, v))
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// `NodeProto` without attributes; add them as field 5.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Msg {
    let m = inputs.iter().fold(Msg::new(), |m, i| m.str(1, i));
    outputs
        .iter()
        .fold(m, |m, o| m.str(2, o))
        .str(3, &format!("{}_{op}", outputs.first().unwrap_or(&"")))
        .str(4, op)
}

pub(crate) fn attr_int(name: &str, v: i64) -> Msg {
    Msg::new().str(1, name).int(3, v).int(20, 2)
}

pub(crate) fn attr_float(name: &str, v: f32) -> Msg {
    Msg::new().str(1, name).float(2, v).int(20, 1)
}

pub(crate) fn attr_ints(name: &str, v: &[i64]) -> Msg {
    v.iter().fold(Msg::new().str(1, name), |m, &i| m.int(8, i)).int(20, 7)
}

pub(crate) fn attr_floats(name: &str, v: &[f32]) -> Msg {
    v.iter().fold(Msg::new().str(1, name), |m, &i| m.float(7, i)).int(20, 6)
}

pub(crate) fn attr_tensor(name: &str, t: Msg) -> Msg {
    Msg::new().str(1, name).msg(5, t).int(20, 4)
}

pub(crate) fn attr_graph(name: &str, g: Msg) -> Msg {
    Msg::new().str(1, name).msg(6, g).int(20, 5)
}

fn dims(dims: &[i64]) -> Msg {
    dims.iter().fold(Msg::new(), |m, &d| m.int(1, d))
}

/// A tensor with `raw_data`.
pub(crate) fn tensor_f32(name: &str, shape: &[i64], values: &[f32]) -> Msg {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    dims(shape).int(2, 1).str(8, name).bytes(9, &raw)
}

/// A tensor with packed `float_data`.
pub(crate) fn tensor_float_data(name: &str, shape: &[i64], values: &[f32]) -> Msg {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    dims(shape).int(2, 1).bytes(4, &raw).str(8, name)
}

pub(crate) fn tensor_i64(name: &str, shape: &[i64], values: &[i64]) -> Msg {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    dims(shape).int(2, 7).str(8, name).bytes(9, &raw)
}

/// An f32 tensor with external data.
pub(crate) fn tensor_external(name: &str, shape: &[i64], entries: &[(&str, &str)]) -> Msg {
    let m = dims(shape).int(2, 1).str(8, name);
    entries.iter().fold(m, |m, (k, v)| m.msg(13, Msg::new().str(1, k).str(2, v))).int(14, 1)
}

/// `ValueInfoProto` of an f32 tensor; −1 is an unknown dimension.
pub(crate) fn value(name: &str, shape: &[i64]) -> Msg {
    let shape = shape
        .iter()
        .fold(Msg::new(), |m, &d| m.msg(1, if d < 0 { Msg::new() } else { Msg::new().int(1, d) }));
    Msg::new().str(1, name).msg(2, Msg::new().msg(1, Msg::new().int(1, 1).msg(2, shape)))
}

/// `GraphProto` in the usual order of fields.
pub(crate) fn graph(
    nodes: Vec<Msg>,
    initializers: Vec<Msg>,
    inputs: Vec<Msg>,
    outputs: Vec<Msg>,
) -> Msg {
    Msg::new().all(1, nodes).str(2, "g").all(5, initializers).all(11, inputs).all(12, outputs)
}

/// `ModelProto`.
pub(crate) fn model(ir_version: i64, opset: i64, graph: Msg) -> Msg {
    Msg::new()
        .int(1, ir_version)
        .str(2, "test")
        .msg(7, graph)
        .msg(8, Msg::new().str(1, "").int(2, opset))
}
