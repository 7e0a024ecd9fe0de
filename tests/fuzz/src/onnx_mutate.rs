//! A mutator of ONNX documents: fields and whole messages are dropped, doubled, moved between messages of a kind, rewired,
//! or made up; lengths stay right, so that what is tried gets past the reader.

use crate::{
    Random,
    onnx_words::{FLOAT, INT, INTS, OPERATORS, STRINGS},
    wire::{Content, Field, Kind, Message},
};

/// Changes a document. One that cannot be parsed has bytes changed; so has any, now and then.
pub(crate) fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    let Some(mut model) = Message::parse(Kind::Model, data) else {
        return flip(data, random);
    };
    for _ in 0..=random.below(4) {
        once(&mut model, random);
    }
    *data = model.encode();
    if random.once_in(16) {
        flip(data, random);
    }
}

fn flip(data: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(data.len());
    match random.below(4) {
        _ if data.is_empty() => data.extend([0x3a, 0]),
        0 => drop(data.remove(at)),
        1 => data.insert(at, random.bits() as u8),
        2 => data.truncate(at),
        _ => data[at] ^= 1 << random.below(8),
    }
}

/// Every name of a value.
fn names(model: &Message) -> Vec<Vec<u8>> {
    let mut names = vec![Vec::new()];
    model.walk(&mut |m| {
        for f in m.fields.iter().filter(|f| m.kind.names_value(f.number)) {
            if let Content::Bytes(name) = &f.content {
                names.push(name.clone());
            }
        }
    });
    names
}

/// A random message of the tree; of a kind, if there is one.
fn pick(model: &Message, kind: Option<Kind>, random: &mut Random) -> usize {
    let mut fitting = Vec::new();
    let mut n = 0;
    model.walk(&mut |m| {
        if kind.is_none_or(|k| k == m.kind) {
            fitting.push(n);
        }
        n += 1;
    });
    random.of(&fitting).copied().unwrap_or_default()
}

fn once(model: &mut Message, random: &mut Random) {
    let names = names(model);
    let kind = match random.below(8) {
        0..=2 => Some(Kind::Node),
        3 => Some(Kind::Graph),
        4 => Some(Kind::Tensor),
        5 => Some(Kind::Attribute),
        _ => None,
    };
    let at = pick(model, kind, random);
    // A field of another message of the kind, or of the same.
    let graft = if random.once_in(4) {
        let mut donors = Vec::new();
        let wanted = model.nth(at).map(|m| m.kind);
        model.walk(&mut |m| {
            if Some(m.kind) == wanted {
                donors.extend(&m.fields);
            }
        });
        random.of(&donors).map(|&f| f.clone())
    } else {
        None
    };
    let Some(message) = model.nth(at) else { return };
    let n = message.fields.len();
    let i = random.below(n);
    if let Some(field) = graft {
        if random.once_in(2) {
            message.fields.insert(random.below(n + 1), field);
        } else if let Some(at) = message.fields.iter().position(|f| f.number == field.number) {
            message.fields[at] = field;
        }
        return;
    }
    match random.below(10) {
        0 if n > 0 => drop(message.fields.remove(i)),
        1 if n > 0 => {
            let copy = message.fields[i].clone();
            message.fields.insert(random.below(n + 1), copy);
        }
        2 if n > 0 => message.fields.swap(i, random.below(n)),
        3..=6 if n > 0 => change(message, i, &names, random),
        7 if n > 0 && random.once_in(6) => message.fields[i].number = random.below(32) as u32,
        _ => grow(message, &names, random),
    }
}

fn change(message: &mut Message, i: usize, names: &[Vec<u8>], random: &mut Random) {
    let kind = message.kind;
    let Field { number, content } = &mut message.fields[i];
    match content {
        Content::Varint(v) => {
            *v = match random.below(3) {
                0 => v.wrapping_add(1),
                1 => v.wrapping_sub(1),
                _ => random.int() as u64,
            }
        }
        Content::Fixed32(v) => *v = random.float().to_le_bytes(),
        Content::Fixed64(v) => *v = f64::from(random.float()).to_le_bytes(),
        Content::Bytes(v) if kind.names_value(*number) && !random.once_in(8) => {
            *v = random.of(names).cloned().unwrap_or_default();
        }
        Content::Bytes(v) if (kind, *number) == (Kind::Node, 4) => {
            *v = random.of(OPERATORS).map_or_else(Vec::new, |o| o.as_bytes().to_vec());
        }
        Content::Bytes(v) => flip(v, random),
        Content::Message(_) => {
            // A message of another node or graph comes by grafting; here it goes.
            if random.once_in(4) {
                message.fields.remove(i);
            }
        }
    }
}

fn name(names: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    random.of(names).cloned().unwrap_or_default()
}

fn dims(random: &mut Random, most: usize) -> Vec<i64> {
    let rank = random.below(most + 1);
    (0..rank)
        .map(|_| if random.once_in(20) { random.int() } else { 1 + random.below(4) as i64 })
        .collect()
}

/// Adds what may stand in the message.
fn grow(message: &mut Message, names: &[Vec<u8>], random: &mut Random) {
    let (number, content) = match message.kind {
        Kind::Node => match random.below(5) {
            0 => (1, Content::Bytes(name(names, random))),
            1 => (2, Content::Bytes(format!("n{}", random.below(16)).into_bytes())),
            _ => (5, Content::Message(attribute(random))),
        },
        Kind::Graph => match random.below(6) {
            0 => (5, Content::Message(tensor(name(names, random), random))),
            1 => (13, Content::Message(value(name(names, random), random))),
            2 => (12, Content::Message(value(name(names, random), random))),
            3 if random.once_in(4) => (15, Content::Message(sparse(random))),
            _ => (1, Content::Message(node(names, random))),
        },
        Kind::Function => (7, Content::Message(node(names, random))),
        Kind::Model => match random.below(4) {
            0 => (25, Content::Message(function(names, random))),
            1 => (1, Content::Varint(random.below(14) as u64)),
            _ => (8, Content::Message(Message::new(Kind::Opset).int(2, random.below(24) as i64))),
        },
        Kind::Attribute => match random.below(4) {
            0 => (6, Content::Message(body(names, random))),
            1 => (5, Content::Message(tensor(name(names, random), random))),
            2 => (20, Content::Varint(random.below(15) as u64)),
            _ => (8, Content::Varint(random.int() as u64)),
        },
        Kind::Tensor => match random.below(5) {
            0 => (2, Content::Varint(random.below(25) as u64)),
            1 => (4, Content::Bytes(random.float().to_le_bytes().to_vec())),
            2 => (7, Content::Bytes(vec![random.below(128) as u8; random.below(5)])),
            3 => (9, Content::Bytes(vec![random.bits() as u8; random.below(33)])),
            _ => (1, Content::Varint(random.int() as u64)),
        },
        Kind::Shape => (1, Content::Message(Message::new(Kind::Dim).int(1, random.int()))),
        _ => (1 + random.below(16) as u32, Content::Varint(random.int() as u64)),
    };
    let at = random.below(message.fields.len() + 1);
    message.fields.insert(at, Field { number, content });
}

fn attribute(random: &mut Random) -> Message {
    let m = Message::new(Kind::Attribute);
    let text =
        |list: &[&'static str], random: &mut Random| random.of(list).copied().unwrap_or_default();
    match random.below(5) {
        0 | 1 => {
            let m = m.bytes(1, text(INTS, random));
            let n = random.below(5);
            (0..n).fold(m, |m, _| m.int(8, random.int())).int(20, 7)
        }
        2 => m.bytes(1, text(INT, random)).int(3, random.int()).int(20, 2),
        3 => m.bytes(1, text(FLOAT, random)).float(2, random.float()).int(20, 1),
        _ => {
            let Some((name, values)) = random.of(STRINGS) else { return m };
            m.bytes(1, name).bytes(4, text(values, random)).int(20, 3)
        }
    }
}

/// A node that reads known names, as many as make sense, and writes one.
fn node(names: &[Vec<u8>], random: &mut Random) -> Message {
    let m = Message::new(Kind::Node);
    let inputs = if random.once_in(6) { random.below(6) } else { 1 + random.below(3) };
    let m = (0..inputs).fold(m, |m, _| m.bytes(1, name(names, random)));
    let m = m.bytes(2, format!("n{}", random.below(16)));
    let m = m.bytes(4, random.of(OPERATORS).copied().unwrap_or_default());
    let attributes = random.below(3);
    (0..attributes).fold(m, |m, _| m.message(5, attribute(random)))
}

/// A tensor whose data fits its extents, mostly.
fn tensor(name: Vec<u8>, random: &mut Random) -> Message {
    let dims = dims(random, 4);
    let m = dims.iter().fold(Message::new(Kind::Tensor), |m, &d| m.int(1, d)).bytes(8, name);
    let n = dims.iter().fold(1i64, |n, &d| n.saturating_mul(d)).clamp(0, 256);
    let mut data = Vec::new();
    if random.once_in(3) {
        (0..n).for_each(|_| data.extend((random.below(7) as i64 - 2).to_le_bytes()));
        m.int(2, 7).bytes(9, data)
    } else {
        (0..n).for_each(|_| data.extend(random.float().to_le_bytes()));
        m.int(2, 1).bytes(9, data)
    }
}

fn sparse(random: &mut Random) -> Message {
    let m = Message::new(Kind::Sparse).message(1, tensor(b"sparse".to_vec(), random));
    let m = m.message(2, tensor(Vec::new(), random));
    dims(random, 3).into_iter().fold(m, |m, d| m.int(3, d))
}

fn value(name: Vec<u8>, random: &mut Random) -> Message {
    let shape = dims(random, 4).into_iter().fold(Message::new(Kind::Shape), |m, d| {
        let dim = Message::new(Kind::Dim);
        m.message(1, if random.once_in(5) { dim.bytes(2, "N") } else { dim.int(1, d) })
    });
    let dtype = if random.once_in(5) { random.below(25) as i64 } else { 1 };
    let tensor = Message::new(Kind::TensorType).int(1, dtype).message(2, shape);
    let ty = Message::new(Kind::Type).message(1, tensor);
    Message::new(Kind::Value).bytes(1, name).message(2, ty)
}

/// A graph as bodies are: without inputs, of one result.
fn body(names: &[Vec<u8>], random: &mut Random) -> Message {
    let m = Message::new(Kind::Graph).bytes(2, "body").message(1, node(names, random));
    m.message(12, value(format!("n{}", random.below(16)).into_bytes(), random))
}

fn function(names: &[Vec<u8>], random: &mut Random) -> Message {
    let m = Message::new(Kind::Function).bytes(1, "F").bytes(4, "x").bytes(5, "n0");
    let m = m.message(7, node(names, random));
    m.message(9, Message::new(Kind::Opset).int(2, 17))
}

/// A document made up: an image `x`, weights of a few shapes, and nodes that read what stands before them.
pub fn generate(random: &mut Random) -> Vec<u8> {
    let c = 1 + random.below(3) as i64;
    let mut graph = Message::new(Kind::Graph).bytes(2, "g");
    let mut names: Vec<Vec<u8>> = Vec::new();
    let weights: [&[i64]; 6] = [&[c, c, 1, 1], &[c, 1, 1], &[c], &[], &[1], &[c, c]];
    for (i, dims) in weights.iter().enumerate() {
        let m = dims.iter().fold(Message::new(Kind::Tensor), |m, &d| m.int(1, d)).int(2, 1);
        let n = dims.iter().product::<i64>();
        let data: Vec<u8> =
            (0..n).flat_map(|_| (1.0 + random.below(4) as f32 / 4.0).to_le_bytes()).collect();
        let name = format!("w{i}");
        graph = graph.message(5, m.bytes(8, &name).bytes(9, data));
        names.push(name.into_bytes());
    }
    let mut last = b"x".to_vec();
    for i in 0..2 + random.below(6) {
        let out = format!("n{i}").into_bytes();
        let m = Message::new(Kind::Node).bytes(1, &last);
        let m = match random.below(6) {
            0 => m.bytes(1, "w0").bytes(1, "w2").bytes(4, "Conv"),
            1 | 2 => {
                let norm = (0..4).fold(m, |m, _| m.bytes(1, "w2"));
                norm.bytes(4, "BatchNormalization")
            }
            3 => {
                let ops = ["Mul", "Add", "Sub", "Div"];
                let m = m.bytes(1, name(&names[1..5], random));
                m.bytes(4, random.of(&ops).copied().unwrap_or_default())
            }
            4 => m.bytes(4, random.of(&["Relu", "Neg", "Identity"]).copied().unwrap_or_default()),
            _ => {
                let mut m = m.bytes(4, random.of(OPERATORS).copied().unwrap_or_default());
                for _ in 0..random.below(3) {
                    m = m.bytes(1, name(&names, random));
                }
                (0..random.below(3)).fold(m, |m, _| m.message(5, attribute(random)))
            }
        };
        graph = graph.message(1, m.bytes(2, &out));
        names.push(out.clone());
        last = out;
    }
    let declared = |name: &[u8]| {
        let of = |d: i64| Message::new(Kind::Dim).int(1, d);
        let shape =
            [1, c, 4, 4].into_iter().fold(Message::new(Kind::Shape), |m, d| m.message(1, of(d)));
        let tensor = Message::new(Kind::TensorType).int(1, 1).message(2, shape);
        let ty = Message::new(Kind::Type).message(1, tensor);
        Message::new(Kind::Value).bytes(1, name).message(2, ty)
    };
    let graph =
        graph.message(11, declared(b"x")).message(12, Message::new(Kind::Value).bytes(1, &last));
    let opset = Message::new(Kind::Opset).int(2, 7 + random.below(16) as i64);
    Message::new(Kind::Model).int(1, 8).message(7, graph).message(8, opset).encode()
}
