//! A copy of a document for readers that are particular: its external data goes by other names, attributes that a node leaves
//! to their default are spelled out where the default depends on a rank, and every node has a name that no value has.

use super::{
    model::string_pair,
    wire::{Bytes, Field, WireError},
    writer::{self, copy, encode::Value, rebuild, replace},
};
use crate::save::Content;
use std::collections::HashMap;

/// What becomes of a location: its new name, and the bytes the file has.
pub(crate) type Names<'a> = dyn Fn(&str) -> Option<(String, u64)> + 'a;

/// An op that moves a window, over so many spatial axes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Window {
    /// A convolution, transposed or not.
    Conv(usize),
    /// A pool.
    Pool(usize),
}

/// What a copy has differently.
pub(crate) struct Changes<'a> {
    pub(crate) names: &'a Names<'a>,
    /// By where the content of a graph begins, and the node's position in that.
    pub(crate) windows: &'a HashMap<(u64, u32), Window>,
    /// What the names of nodes end with: without one a node is called as its first output.
    pub(crate) node_suffix: Option<&'a str>,
}

/// Field numbers of the messages on the way to tensors, and of what else is read.
mod field {
    /// `ModelProto`.
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const MODEL_FUNCTIONS: u32 = 25;
    /// `GraphProto`.
    pub(super) const GRAPH_NODE: u32 = 1;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    /// `FunctionProto`.
    pub(super) const FUNCTION_NODE: u32 = 7;
    /// `NodeProto`.
    pub(super) const NODE_OUTPUT: u32 = 2;
    pub(super) const NODE_NAME: u32 = 3;
    pub(super) const NODE_ATTRIBUTE: u32 = 5;
    /// `AttributeProto`.
    pub(super) const ATTRIBUTE_NAME: u32 = 1;
    pub(super) const ATTRIBUTE_TENSOR: u32 = 5;
    pub(super) const ATTRIBUTE_GRAPH: u32 = 6;
    pub(super) const ATTRIBUTE_TENSORS: u32 = 10;
    pub(super) const ATTRIBUTE_GRAPHS: u32 = 11;
    /// `TensorProto`.
    pub(super) const TENSOR_EXTERNAL: u32 = 13;
}

type Rewritten<'c> = Result<Content<'c>, WireError>;

/// The document with those changes. External tensors are at the location that the names give for their own, offset and length
/// spelled out; locations without another name stay.
pub(crate) fn model<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::MODEL_GRAPH => replace(out, f, graph(f.bytes()?, field::GRAPH_NODE, changes)?),
        field::MODEL_FUNCTIONS => {
            replace(out, f, graph(f.bytes()?, field::FUNCTION_NODE, changes)?)
        }
        _ => keep(out, f),
    })
}

fn keep(out: &mut Content<'_>, f: &Field<'_>) -> Result<(), WireError> {
    copy(out, f);
    Ok(())
}

/// A graph, or a function, whose nodes have another number, and which has no tensors.
fn graph<'c>(content: Bytes<'_>, nodes: u32, changes: &Changes<'_>) -> Rewritten<'c> {
    let mut position = 0;
    rebuild(content, |out, f| match f.number {
        n if n == nodes => {
            let window = changes.windows.get(&(content.offset, position)).copied();
            position += 1;
            replace(out, f, node(f.bytes()?, window, changes)?)
        }
        field::GRAPH_INITIALIZER if nodes == field::GRAPH_NODE => {
            replace(out, f, tensor(f.bytes()?, changes.names)?)
        }
        _ => keep(out, f),
    })
}

fn node<'c>(content: Bytes<'_>, window: Option<Window>, changes: &Changes<'_>) -> Rewritten<'c> {
    let (mut name, mut output, mut given) = (None, None, Vec::new());
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        match f.number {
            field::NODE_ATTRIBUTE => given.extend(attribute_name(f.bytes()?)?),
            field::NODE_OUTPUT => output = output.or(Some(f.bytes()?.data)),
            field::NODE_NAME => name = Some(f.bytes()?.data).filter(|n| !n.is_empty()),
            _ => {}
        }
    }
    let mut out = rebuild(content, |out, f| match f.number {
        field::NODE_ATTRIBUTE => replace(out, f, attribute(f.bytes()?, changes)?),
        field::NODE_NAME if changes.node_suffix.is_some() => Ok(()),
        _ => keep(out, f),
    })?;
    if let Some(suffix) = changes.node_suffix {
        let name = [name.or(output).unwrap_or_default(), suffix.as_bytes()].concat();
        writer::bytes(&mut out, field::NODE_NAME, &name);
    }
    for (name, value) in window.iter().flat_map(defaults) {
        if !given.contains(&name.as_bytes()) {
            let attribute = Value::Ints(value).attribute(name);
            writer::message(&mut out, field::NODE_ATTRIBUTE, attribute);
        }
    }
    Ok(out)
}

/// The attributes whose default has an element per spatial axis, or two.
fn defaults(window: &Window) -> Vec<(&'static str, Vec<i64>)> {
    match *window {
        Window::Conv(n) => {
            vec![("strides", vec![1; n]), ("dilations", vec![1; n]), ("pads", vec![0; 2 * n])]
        }
        Window::Pool(n) => vec![("strides", vec![1; n])],
    }
}

fn attribute_name(content: Bytes<'_>) -> Result<Option<&[u8]>, WireError> {
    let mut name = None;
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        if f.number == field::ATTRIBUTE_NAME {
            name = Some(f.bytes()?.data);
        }
    }
    Ok(name)
}

fn attribute<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::ATTRIBUTE_TENSOR | field::ATTRIBUTE_TENSORS => {
            replace(out, f, tensor(f.bytes()?, changes.names)?)
        }
        field::ATTRIBUTE_GRAPH | field::ATTRIBUTE_GRAPHS => {
            replace(out, f, graph(f.bytes()?, field::GRAPH_NODE, changes)?)
        }
        _ => keep(out, f),
    })
}

fn tensor<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    let (mut location, mut offset, mut length) = (None, None, None);
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        if f.number == field::TENSOR_EXTERNAL {
            match string_pair(f.bytes()?)? {
                ("location", value) => location = Some(value),
                ("offset", value) => offset = value.parse::<u64>().ok(),
                ("length", value) => length = value.parse::<u64>().ok(),
                _ => {}
            }
        }
    }
    let found = location.and_then(names);
    let mut out = rebuild(content, |out, f| match f.number {
        field::TENSOR_EXTERNAL if found.is_some() => Ok(()),
        _ => keep(out, f),
    })?;
    if let Some((location, size)) = found {
        let offset = offset.unwrap_or(0);
        let length = length.unwrap_or(size.saturating_sub(offset));
        let (offset, length) = (offset.to_string(), length.to_string());
        for (key, value) in [("location", &location), ("offset", &offset), ("length", &length)] {
            let mut entry = Content::new();
            writer::text(&mut entry, 1, key);
            writer::text(&mut entry, 2, value);
            writer::message(&mut out, field::TENSOR_EXTERNAL, entry);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Changes, Names, Window, model};
    use crate::{
        bytes::Source,
        onnx::{
            proto::{
                Msg, attr_graph, attr_ints, attr_tensor, graph, model as model_of, node,
                tensor_external,
            },
            wire::Bytes,
        },
        save::WriteOptions,
    };
    use std::collections::HashMap;

    fn changed(
        given: &[u8],
        names: &Names<'_>,
        windows: &HashMap<(u64, u32), Window>,
        node_suffix: Option<&str>,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let changes = Changes { names, windows, node_suffix };
        let content = model(Bytes::new(given, 0), &changes)?;
        let mut got = Vec::new();
        let source = [Source::Memory(given.to_vec().into())];
        let written = content.write_to(&source, &mut got, WriteOptions::default());
        written.map_err(|e| format!("{e:?}"))?;
        Ok(got)
    }

    #[test]
    fn every_tensor_moves_and_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let with = |entries: &[(&str, &str)]| {
            let t = || tensor_external("t", &[2], entries);
            let body = graph(vec![], vec![t()], vec![], vec![]);
            let constant = node("Constant", &[], &["c"]).msg(5, attr_tensor("value", t()));
            let branch = node("If", &["p"], &["y"]).msg(5, attr_graph("then_branch", body));
            let function = Msg::new().str(1, "f").msg(7, constant.clone());
            let main = graph(vec![constant, branch], vec![t()], vec![], vec![]);
            model_of(8, 17, main).msg(25, function).0
        };
        let given = with(&[("location", "a/b.bin"), ("offset", "8"), ("checksum", "x")]);
        let names = |location: &str| (location == "a/b.bin").then(|| ("0.data".to_owned(), 24));
        let got = changed(&given, &names, &HashMap::new(), None)?;
        // The entries come last in their tensor, behind its `data_location`.
        let moved = [("location", "0.data"), ("offset", "8"), ("length", "16")];
        let has = |bytes: &[u8], what: &str| {
            bytes.windows(what.len()).filter(|w| *w == what.as_bytes()).count()
        };
        for (_, value) in moved {
            assert_eq!(has(&got, value), has(&with(&moved), value), "{value}");
        }
        assert_eq!((has(&got, "a/b.bin"), has(&got, "checksum")), (0, 0));
        assert_eq!(changed(&given, &|_| None, &HashMap::new(), None)?, given);
        Ok(())
    }

    #[test]
    fn defaults_are_spelled_out_and_nodes_are_named() -> Result<(), Box<dyn std::error::Error>> {
        let conv = Msg::new().str(2, "c").str(4, "Conv").msg(5, attr_ints("strides", &[2]));
        let pool = |name: &str| Msg::new().str(2, "p").str(4, "MaxPool").str(3, name);
        let of = |conv, pool| model_of(8, 17, graph(vec![conv, pool], vec![], vec![], vec![])).0;
        let given = of(conv.clone(), pool("pool"));
        let graph_at = given.windows(4).position(|w| w == b"Conv").ok_or("a node")?;
        // Where the content of the graph begins: the only place that gives something else.
        let expected = of(
            conv.str(3, "c!")
                .msg(5, attr_ints("dilations", &[1]))
                .msg(5, attr_ints("pads", &[0, 0])),
            pool("pool!").msg(5, attr_ints("strides", &[1])),
        );
        let places = (0..graph_at as u64).filter(|&at| {
            let windows = [((at, 0), Window::Conv(1)), ((at, 1), Window::Pool(1))].into();
            changed(&given, &|_| None, &windows, Some("!")).is_ok_and(|got| got == expected)
        });
        assert_eq!(places.count(), 1);
        assert_eq!(changed(&given, &|_| None, &HashMap::new(), None)?, given);
        Ok(())
    }
}
