//! Tiny ONNX models, written field by field, so that they can be wrong in any way.

/// A protobuf message being written.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    pub(crate) fn int(mut self, field: u64, v: u64) -> Self {
        self.varint(field << 3);
        self.varint(v);
        self
    }

    pub(crate) fn bytes(mut self, field: u64, v: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(v.len() as u64);
        self.0.extend(v);
        self
    }

    pub(crate) fn text(self, field: u64, v: &str) -> Self {
        self.bytes(field, v.as_bytes())
    }

    pub(crate) fn message(self, field: u64, v: Message) -> Self {
        self.bytes(field, &v.0)
    }
}

/// A node of the standard domain.
pub(crate) fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let m = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
    outputs.iter().fold(m, |m, o| m.text(2, o)).text(3, name).text(4, op)
}

/// A list of integers as an attribute of a node.
#[cfg(feature = "verify")]
pub(crate) fn ints(name: &str, values: &[u64]) -> Message {
    let m = Message::default().text(1, name);
    values.iter().fold(m, |m, &v| m.int(8, v)).int(20, 7)
}

/// An integer as an attribute of a node.
#[cfg(feature = "verify")]
pub(crate) fn int(name: &str, value: u64) -> Message {
    Message::default().text(1, name).int(3, value).int(20, 2)
}

/// An f32 tensor's declaration.
pub(crate) fn value(name: &str, dims: &[u64]) -> Message {
    let shape =
        dims.iter().fold(Message::default(), |m, &d| m.message(1, Message::default().int(1, d)));
    let tensor = Message::default().int(1, 1).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

/// An f32 initializer.
pub(crate) fn tensor(name: &str, dims: &[u64], values: &[f32]) -> Message {
    let m = dims.iter().fold(Message::default(), |m, &d| m.int(1, d));
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    m.int(2, 1).text(8, name).bytes(9, &raw)
}

/// An f32 initializer whose data is elsewhere.
pub(crate) fn external(name: &str, dims: &[u64], location: &str) -> Message {
    let entry = |k: &str, v: &str| Message::default().text(1, k).text(2, v);
    let m = dims.iter().fold(Message::default(), |m, &d| m.int(1, d));
    m.int(2, 1).text(8, name).message(13, entry("location", location)).int(14, 1)
}

/// A graph `x → y` of `1×2×4×4`.
pub(crate) fn graph(nodes: &[Message], initializers: &[Message]) -> Message {
    let m = nodes.iter().fold(Message::default(), |m, n| m.message(1, n.clone())).text(2, "g");
    let m = initializers.iter().fold(m, |m, t| m.message(5, t.clone()));
    m.message(11, value("x", &[1, 2, 4, 4])).message(12, value("y", &[1, 2, 4, 4]))
}

/// A model of IR version 8, opset 13.
pub(crate) fn model(graph: Message) -> Vec<u8> {
    let opset = Message::default().int(2, 13);
    Message::default().int(1, 8).message(7, graph).message(8, opset).0
}

/// Convolution and batch norm, with that initializer as the weight `w`.
pub(crate) fn conv_bn(weight: Message) -> Vec<u8> {
    let nodes = [
        node("Conv", "conv", &["x", "w"], &["c"]),
        node("BatchNormalization", "bn", &["c", "scale", "bias", "mean", "var"], &["y"]),
    ];
    let two = |name: &str, a: f32, b: f32| tensor(name, &[2], &[a, b]);
    let initializers = [
        weight,
        two("scale", 1.5, 0.5),
        two("bias", 0.125, -0.25),
        two("mean", 0.1, -0.2),
        two("var", 0.9, 1.1),
    ];
    model(graph(&nodes, &initializers))
}

/// The weight of [`conv_bn`].
pub(crate) fn weight() -> Message {
    tensor("w", &[2, 2, 1, 1], &[0.5, -1.0, 0.25, 2.0])
}
