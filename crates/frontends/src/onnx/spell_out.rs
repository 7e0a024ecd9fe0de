//! What readers that are particular make of a document: a copy in which its external data goes by other names, attributes
//! that a node leaves to their default are spelled out where the default depends on a rank, and every node has a name that no
//! value has; and which names of external data there are.

use super::{
    model::{GRAPH_DEPTH_LIMIT, TensorView, string_pair},
    types::dtype_of,
    wire::{Bytes, Field, WireError, WireProblem},
    writer::{self, DOCUMENT, copy, encode::Value, rebuild, replace},
};
use crate::save::Content;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
};

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

/// Windows by where the content of a graph begins, and the node's position in that.
pub(crate) type Windows = HashMap<(u64, u32), Window>;

/// What a copy has differently.
pub(crate) struct Changes<'a> {
    names: &'a Names<'a>,
    windows: Option<&'a Windows>,
    node_suffix: Option<&'a str>,
    /// How many graphs are around. What the tables have is checked, but defaults of functions and other documents may nest as
    /// deep as they like.
    depth: Cell<u32>,
}

impl<'a> Changes<'a> {
    /// The new name of each location that has one.
    pub(crate) fn new(names: &'a Names<'a>) -> Self {
        Self { names, windows: None, node_suffix: None, depth: Cell::new(0) }
    }

    /// Also the defaults of those windows, and what the names of nodes end with: without one a node is called as its first
    /// output.
    pub(crate) fn spelled_out(self, windows: &'a Windows, node_suffix: Option<&'a str>) -> Self {
        Self { windows: Some(windows), node_suffix, ..self }
    }
}

/// The locations that come up where a copy would be made.
#[derive(Default)]
pub(crate) struct Found(RefCell<BTreeSet<String>>);

impl Found {
    fn note(&self, location: &str) -> Option<(String, u64)> {
        self.0.borrow_mut().insert(location.to_owned());
        None
    }

    /// Of all tensors of a document.
    pub(crate) fn model(&self, content: Bytes<'_>) -> Result<(), WireError> {
        model(content, &Changes::new(&|location| self.note(location))).map(drop)
    }

    /// Of all tensors in the two graphs of a `TrainingInfoProto`.
    pub(crate) fn training(&self, content: Bytes<'_>) -> Result<(), WireError> {
        training(content, &Changes::new(&|location| self.note(location))).map(drop)
    }

    /// Of all tensors of an attribute, those of its graphs included.
    pub(crate) fn attribute(&self, content: Bytes<'_>) -> Result<(), WireError> {
        attribute(content, &Changes::new(&|location| self.note(location))).map(drop)
    }

    /// Of values and indices of a sparse tensor.
    pub(crate) fn sparse(&self, content: Bytes<'_>) -> Result<(), WireError> {
        sparse(content, &Changes::new(&|location| self.note(location))).map(drop)
    }

    /// Of a tensor.
    pub(crate) fn tensor(&self, content: Bytes<'_>) -> Result<(), WireError> {
        tensor(content, &Changes::new(&|location| self.note(location))).map(drop)
    }

    /// All of them.
    pub(crate) fn take(self) -> BTreeSet<String> {
        self.0.into_inner()
    }
}

/// Field numbers of the messages on the way to tensors, and of what else is read.
mod field {
    /// `ModelProto`.
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const MODEL_TRAINING: u32 = 20;
    pub(super) const MODEL_FUNCTIONS: u32 = 25;
    /// `TrainingInfoProto`.
    pub(super) const TRAINING_INITIALIZATION: u32 = 1;
    pub(super) const TRAINING_ALGORITHM: u32 = 2;
    /// `GraphProto`.
    pub(super) const GRAPH_NODE: u32 = 1;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const GRAPH_SPARSE: u32 = 15;
    /// `FunctionProto`.
    pub(super) const FUNCTION_NODE: u32 = 7;
    pub(super) const FUNCTION_DEFAULT: u32 = 11;
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
    pub(super) const ATTRIBUTE_SPARSE: u32 = 22;
    pub(super) const ATTRIBUTE_SPARSES: u32 = 23;
    /// `SparseTensorProto`.
    pub(super) const SPARSE_VALUES: u32 = 1;
    pub(super) const SPARSE_INDICES: u32 = 2;
    /// `TensorProto`.
    pub(super) const TENSOR_EXTERNAL: u32 = 13;
}

type Rewritten<'c> = Result<Content<'c>, WireError>;

/// The document with those changes. External tensors are at the location that the names give for their own, offset and length
/// spelled out; locations without another name stay.
pub(crate) fn model<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::MODEL_GRAPH => replace(out, f, graph(f.bytes()?, changes)?),
        field::MODEL_FUNCTIONS => replace(out, f, function(f.bytes()?, changes)?),
        field::MODEL_TRAINING => replace(out, f, training(f.bytes()?, changes)?),
        _ => keep(out, f),
    })
}

fn keep(out: &mut Content<'_>, f: &Field<'_>) -> Result<(), WireError> {
    copy(out, f);
    Ok(())
}

fn graph<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    let depth = changes.depth.get();
    if depth == GRAPH_DEPTH_LIMIT {
        return Err(WireError::new(WireProblem::GraphDepth, content.offset));
    }
    changes.depth.set(depth + 1);
    let mut position = 0;
    let rewritten = rebuild(content, |out, f| match f.number {
        field::GRAPH_NODE => {
            position += 1;
            replace(out, f, node(f.bytes()?, (content.offset, position - 1), changes)?)
        }
        field::GRAPH_INITIALIZER => replace(out, f, tensor(f.bytes()?, changes)?),
        field::GRAPH_SPARSE => replace(out, f, sparse(f.bytes()?, changes)?),
        _ => keep(out, f),
    });
    changes.depth.set(depth);
    rewritten
}

fn function<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    let mut position = 0;
    rebuild(content, |out, f| match f.number {
        field::FUNCTION_NODE => {
            position += 1;
            replace(out, f, node(f.bytes()?, (content.offset, position - 1), changes)?)
        }
        field::FUNCTION_DEFAULT => replace(out, f, attribute(f.bytes()?, changes)?),
        _ => keep(out, f),
    })
}

fn training<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::TRAINING_INITIALIZATION | field::TRAINING_ALGORITHM => {
            replace(out, f, graph(f.bytes()?, changes)?)
        }
        _ => keep(out, f),
    })
}

/// A node, by where its graph begins and its position in that.
fn node<'c>(content: Bytes<'_>, at: (u64, u32), changes: &Changes<'_>) -> Rewritten<'c> {
    let window = changes.windows.and_then(|w| w.get(&at).copied());
    if window.is_none() && changes.node_suffix.is_none() {
        return rebuild(content, |out, f| match f.number {
            field::NODE_ATTRIBUTE => replace(out, f, attribute(f.bytes()?, changes)?),
            _ => keep(out, f),
        });
    }
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
            replace(out, f, tensor(f.bytes()?, changes)?)
        }
        field::ATTRIBUTE_GRAPH | field::ATTRIBUTE_GRAPHS => {
            replace(out, f, graph(f.bytes()?, changes)?)
        }
        field::ATTRIBUTE_SPARSE | field::ATTRIBUTE_SPARSES => {
            replace(out, f, sparse(f.bytes()?, changes)?)
        }
        _ => keep(out, f),
    })
}

fn sparse<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::SPARSE_VALUES | field::SPARSE_INDICES => {
            replace(out, f, tensor(f.bytes()?, changes)?)
        }
        _ => keep(out, f),
    })
}

fn tensor<'c>(content: Bytes<'_>, changes: &Changes<'_>) -> Rewritten<'c> {
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
    let Some((location, size)) = location.and_then(changes.names) else {
        let mut out = Content::new();
        out.source(DOCUMENT, content.range());
        return Ok(out);
    };
    let mut out = rebuild(content, |out, f| match f.number {
        field::TENSOR_EXTERNAL => Ok(()),
        _ => keep(out, f),
    })?;
    let offset = offset.unwrap_or(0);
    let length = length.or_else(|| needed(content)).unwrap_or(size.saturating_sub(offset));
    let (offset, length) = (offset.to_string(), length.to_string());
    for (key, value) in [("location", &location), ("offset", &offset), ("length", &length)] {
        let mut entry = Content::new();
        writer::text(&mut entry, 1, key);
        writer::text(&mut entry, 2, value);
        writer::message(&mut out, field::TENSOR_EXTERNAL, entry);
    }
    Ok(out)
}

/// The bytes that dims and element type of a tensor say.
fn needed(content: Bytes<'_>) -> Option<u64> {
    let view = TensorView::decode(content).ok()?;
    dtype_of(view.data_type)?.bytes_for(view.elements()?)
}

#[cfg(test)]
mod tests {
    use super::{Changes, Found, Window, Windows, model};
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
        let mut got = Vec::new();
        let content = model(Bytes::new(&given, 0), &Changes::new(&names))?;
        let source = [Source::Memory(given.clone().into())];
        content
            .write_to(&source, &mut got, WriteOptions::default())
            .map_err(|e| format!("{e:?}"))?;
        // The entries come last in their tensor, behind its `data_location`.
        let moved = [("location", "0.data"), ("offset", "8"), ("length", "8")];
        let has = |bytes: &[u8], what: &str| {
            bytes.windows(what.len()).filter(|w| *w == what.as_bytes()).count()
        };
        for (_, value) in moved {
            assert_eq!(has(&got, value), has(&with(&moved), value), "{value}");
        }
        assert_eq!((has(&got, "a/b.bin"), has(&got, "checksum")), (0, 0));
        let content = model(Bytes::new(&given, 0), &Changes::new(&|_| None))?;
        assert!(content.is_source(0..given.len() as u64));
        let found = Found::default();
        found.model(Bytes::new(&given, 0))?;
        assert!(found.take().into_iter().eq(["a/b.bin"]));
        Ok(())
    }

    /// Defaults of functions are in no table, whose depth is checked.
    #[test]
    fn graphs_in_defaults_have_a_limit() {
        let found = |depth: usize| {
            let inner = graph(vec![], vec![], vec![], vec![]);
            let wrap = |g, _| {
                graph(vec![node("If", &[], &[]).msg(5, attr_graph("b", g))], vec![], vec![], vec![])
            };
            let nested = (1..depth).fold(inner, wrap);
            let function = Msg::new().str(1, "f").msg(11, attr_graph("default", nested));
            let m = model_of(8, 17, graph(vec![], vec![], vec![], vec![])).msg(25, function).0;
            Found::default().model(Bytes::new(&m, 0))
        };
        assert!(found(64).is_ok());
        assert!(found(65).is_err());
        assert!(found(20_000).is_err());
    }

    fn changed(
        given: &[u8],
        windows: &Windows,
        node_suffix: Option<&str>,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let changes = Changes::new(&|_| None).spelled_out(windows, node_suffix);
        let content = model(Bytes::new(given, 0), &changes)?;
        let mut got = Vec::new();
        let source = [Source::Memory(given.to_vec().into())];
        let written = content.write_to(&source, &mut got, WriteOptions::default());
        written.map_err(|e| format!("{e:?}"))?;
        Ok(got)
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
            changed(&given, &windows, Some("!")).is_ok_and(|got| got == expected)
        });
        assert_eq!(places.count(), 1);
        assert_eq!(changed(&given, &Windows::new(), None)?, given);
        Ok(())
    }
}
