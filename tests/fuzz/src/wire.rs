//! ONNX documents as trees of protobuf fields: parsed leniently, changed anywhere, encoded with lengths that are right.

/// What a message is, as far as its fields hold messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `ModelProto`.
    Model,
    /// `GraphProto`.
    Graph,
    /// `NodeProto`.
    Node,
    /// `AttributeProto`.
    Attribute,
    /// `TensorProto`.
    Tensor,
    /// `SparseTensorProto`.
    Sparse,
    /// `ValueInfoProto`.
    Value,
    /// `TypeProto`.
    Type,
    /// `TypeProto.Tensor`.
    TensorType,
    /// `TypeProto.Sequence`, `.Optional`: one type in field 1.
    Of,
    /// `TypeProto.Map`.
    Map,
    /// `TensorShapeProto`.
    Shape,
    /// `TensorShapeProto.Dimension`.
    Dim,
    /// `StringStringEntryProto`.
    Entry,
    /// `TensorAnnotation`.
    Annotation,
    /// `FunctionProto`.
    Function,
    /// `OperatorSetIdProto`.
    Opset,
    /// `TrainingInfoProto`.
    Training,
}

impl Kind {
    /// What field `number` holds, if that is a message.
    fn child(self, number: u32) -> Option<Kind> {
        use Kind::*;
        Some(match (self, number) {
            (Model, 7) => Graph,
            (Model, 8) => Opset,
            (Model, 14) => Entry,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 11..=13) => Value,
            (Graph, 14) => Annotation,
            (Graph, 15) => Sparse,
            (Graph, 16) => Entry,
            (Node, 5) => Attribute,
            (Node, 9) => Entry,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 14 | 15) => Type,
            (Attribute, 22 | 23) => Sparse,
            (Tensor, 13 | 16) => Entry,
            (Sparse, 1 | 2) => Tensor,
            (Value, 2) => Type,
            (Value, 4) => Entry,
            (Type, 1 | 8) => TensorType,
            (Type, 4 | 9) => Of,
            (Type, 5) => Map,
            (TensorType, 2) => Shape,
            (Of, 1) | (Map, 2) => Type,
            (Shape, 1) => Dim,
            (Annotation, 2) => Entry,
            (Function, 7) => Node,
            (Function, 9) => Opset,
            (Function, 11) => Attribute,
            (Function, 12) => Value,
            (Function, 14) => Entry,
            (Training, 1 | 2) => Graph,
            (Training, 3 | 4) => Entry,
            _ => return None,
        })
    }

    /// Whether field `number` is the name of a value.
    pub fn names_value(self, number: u32) -> bool {
        use Kind::*;
        matches!(
            (self, number),
            (Node, 1 | 2)
                | (Tensor, 8)
                | (Value, 1)
                | (Function, 4 | 5)
                | (Annotation, 1)
                | (Entry, 1 | 2)
        )
    }
}

/// What a field holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 5.
    Fixed32([u8; 4]),
    /// Wire type 2: text, data, packed numbers.
    Bytes(Vec<u8>),
    /// Wire type 2: a message that is known.
    Message(Message),
}

/// A field of a message.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Its content.
    pub content: Content,
}

/// A message: its fields in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// How deep messages are looked into: what lies deeper stays bytes.
const DEPTH: u32 = 100;

fn varint(data: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take<'a>(data: &'a [u8], at: &mut usize, n: u64) -> Option<&'a [u8]> {
    let end = at.checked_add(usize::try_from(n).ok()?)?;
    let slice = data.get(*at..end)?;
    *at = end;
    Some(slice)
}

impl Message {
    /// An empty message.
    pub fn new(kind: Kind) -> Self {
        Self { kind, fields: Vec::new() }
    }

    /// The message that bytes say; `None` if they are malformed or have groups.
    pub fn parse(kind: Kind, data: &[u8]) -> Option<Self> {
        Self::parse_within(kind, data, DEPTH)
    }

    fn parse_within(kind: Kind, data: &[u8], depth: u32) -> Option<Self> {
        let mut message = Self::new(kind);
        let mut at = 0;
        while at < data.len() {
            let tag = varint(data, &mut at)?;
            let number = u32::try_from(tag >> 3).ok()?;
            let content = match tag & 7 {
                0 => Content::Varint(varint(data, &mut at)?),
                1 => Content::Fixed64(take(data, &mut at, 8)?.try_into().ok()?),
                5 => Content::Fixed32(take(data, &mut at, 4)?.try_into().ok()?),
                2 => {
                    let n = varint(data, &mut at)?;
                    let bytes = take(data, &mut at, n)?;
                    let known = kind.child(number).filter(|_| depth > 0);
                    match known.and_then(|k| Self::parse_within(k, bytes, depth - 1)) {
                        Some(message) => Content::Message(message),
                        None => Content::Bytes(bytes.to_vec()),
                    }
                }
                _ => return None,
            };
            message.fields.push(Field { number, content });
        }
        Some(message)
    }

    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.fields {
            let tag = |out: &mut Vec<u8>, wire: u64| {
                push_varint(out, u64::from(field.number) << 3 | wire);
            };
            let mut bytes = |content: &[u8]| {
                tag(&mut out, 2);
                push_varint(&mut out, content.len() as u64);
                out.extend_from_slice(content);
            };
            match &field.content {
                Content::Bytes(content) => bytes(content),
                Content::Message(m) => bytes(&m.encode()),
                Content::Varint(v) => {
                    tag(&mut out, 0);
                    push_varint(&mut out, *v);
                }
                Content::Fixed64(v) => {
                    tag(&mut out, 1);
                    out.extend_from_slice(v);
                }
                Content::Fixed32(v) => {
                    tag(&mut out, 5);
                    out.extend_from_slice(v);
                }
            }
        }
        out
    }

    /// The number of messages in the tree, this one included.
    pub fn count(&self) -> usize {
        1 + self.children().map(Message::count).sum::<usize>()
    }

    fn children(&self) -> impl Iterator<Item = &Message> {
        self.fields.iter().filter_map(|f| match &f.content {
            Content::Message(m) => Some(m),
            _ => None,
        })
    }

    /// Every message of the tree, parents first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Message)) {
        visit(self);
        for field in &self.fields {
            if let Content::Message(m) = &field.content {
                m.walk(visit);
            }
        }
    }

    /// Message `n` of the tree, in the order of [`Message::walk`].
    pub fn nth(&mut self, n: usize) -> Option<&mut Message> {
        let mut left = n;
        self.find(&mut left)
    }

    fn find(&mut self, left: &mut usize) -> Option<&mut Message> {
        if *left == 0 {
            return Some(self);
        }
        *left -= 1;
        for field in &mut self.fields {
            if let Content::Message(m) = &mut field.content
                && let Some(found) = m.find(left)
            {
                return Some(found);
            }
        }
        None
    }

    /// With a number.
    pub fn int(mut self, number: u32, value: i64) -> Self {
        self.fields.push(Field { number, content: Content::Varint(value as u64) });
        self
    }

    /// With a 32-bit float.
    pub fn float(mut self, number: u32, value: f32) -> Self {
        self.fields.push(Field { number, content: Content::Fixed32(value.to_le_bytes()) });
        self
    }

    /// With bytes.
    pub fn bytes(mut self, number: u32, value: impl AsRef<[u8]>) -> Self {
        let content = Content::Bytes(value.as_ref().to_vec());
        self.fields.push(Field { number, content });
        self
    }

    /// With a message.
    pub fn message(mut self, number: u32, value: Message) -> Self {
        self.fields.push(Field { number, content: Content::Message(value) });
        self
    }
}
