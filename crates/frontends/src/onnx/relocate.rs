//! The names of external data in a document: which there are, and a copy of it with others, for readers that are particular
//! about names.

use super::{
    model::{GRAPH_DEPTH_LIMIT, TensorView, string_pair},
    types::dtype_of,
    wire::{Bytes, Field, WireError, WireProblem},
    writer::{self, DOCUMENT, copy, rebuild, replace},
};
use crate::save::Content;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

/// What becomes of a location: its new name, and the bytes the file has.
type Name<'a> = dyn Fn(&str) -> Option<(String, u64)> + 'a;

/// What becomes of locations, on the way through graphs inside each other.
pub(crate) struct Names<'a> {
    of: &'a Name<'a>,
    /// How many graphs are around. What the tables have is checked, but defaults of functions and other documents may nest as
    /// deep as they like.
    depth: Cell<u32>,
}

impl<'a> Names<'a> {
    /// With the new name of each location that has one.
    pub(crate) fn new(of: &'a Name<'a>) -> Self {
        Self { of, depth: Cell::new(0) }
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
        model(content, &Names::new(&|location| self.note(location))).map(drop)
    }

    /// Of all tensors in the two graphs of a `TrainingInfoProto`.
    pub(crate) fn training(&self, content: Bytes<'_>) -> Result<(), WireError> {
        training(content, &Names::new(&|location| self.note(location))).map(drop)
    }

    /// Of all tensors of an attribute, those of its graphs included.
    pub(crate) fn attribute(&self, content: Bytes<'_>) -> Result<(), WireError> {
        attribute(content, &Names::new(&|location| self.note(location))).map(drop)
    }

    /// Of values and indices of a sparse tensor.
    pub(crate) fn sparse(&self, content: Bytes<'_>) -> Result<(), WireError> {
        sparse(content, &Names::new(&|location| self.note(location))).map(drop)
    }

    /// Of a tensor.
    pub(crate) fn tensor(&self, content: Bytes<'_>) -> Result<(), WireError> {
        tensor(content, &Names::new(&|location| self.note(location))).map(drop)
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
    pub(super) const NODE_ATTRIBUTE: u32 = 5;
    /// `AttributeProto`.
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

/// The document with every external tensor at the location that `names` gives for its own, offset and length spelled out.
/// Locations that `names` does not know stay.
pub(crate) fn model<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::MODEL_GRAPH => replace(out, f, graph(f.bytes()?, names)?),
        field::MODEL_FUNCTIONS => replace(out, f, function(f.bytes()?, names)?),
        field::MODEL_TRAINING => replace(out, f, training(f.bytes()?, names)?),
        _ => keep(out, f),
    })
}

fn keep(out: &mut Content<'_>, f: &Field<'_>) -> Result<(), WireError> {
    copy(out, f);
    Ok(())
}

fn graph<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    let depth = names.depth.get();
    if depth == GRAPH_DEPTH_LIMIT {
        return Err(WireError::new(WireProblem::GraphDepth, content.offset));
    }
    names.depth.set(depth + 1);
    let rewritten = rebuild(content, |out, f| match f.number {
        field::GRAPH_NODE => replace(out, f, node(f.bytes()?, names)?),
        field::GRAPH_INITIALIZER => replace(out, f, tensor(f.bytes()?, names)?),
        field::GRAPH_SPARSE => replace(out, f, sparse(f.bytes()?, names)?),
        _ => keep(out, f),
    });
    names.depth.set(depth);
    rewritten
}

fn function<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::FUNCTION_NODE => replace(out, f, node(f.bytes()?, names)?),
        field::FUNCTION_DEFAULT => replace(out, f, attribute(f.bytes()?, names)?),
        _ => keep(out, f),
    })
}

fn training<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::TRAINING_INITIALIZATION | field::TRAINING_ALGORITHM => {
            replace(out, f, graph(f.bytes()?, names)?)
        }
        _ => keep(out, f),
    })
}

fn node<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::NODE_ATTRIBUTE => replace(out, f, attribute(f.bytes()?, names)?),
        _ => keep(out, f),
    })
}

fn attribute<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::ATTRIBUTE_TENSOR | field::ATTRIBUTE_TENSORS => {
            replace(out, f, tensor(f.bytes()?, names)?)
        }
        field::ATTRIBUTE_GRAPH | field::ATTRIBUTE_GRAPHS => {
            replace(out, f, graph(f.bytes()?, names)?)
        }
        field::ATTRIBUTE_SPARSE | field::ATTRIBUTE_SPARSES => {
            replace(out, f, sparse(f.bytes()?, names)?)
        }
        _ => keep(out, f),
    })
}

fn sparse<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::SPARSE_VALUES | field::SPARSE_INDICES => replace(out, f, tensor(f.bytes()?, names)?),
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
    let Some((location, size)) = location.and_then(names.of) else {
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
    use super::{Found, Names, model};
    use crate::{
        bytes::Source,
        onnx::{
            proto::{
                Msg, attr_graph, attr_tensor, graph, model as model_of, node, tensor_external,
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
        let content = model(Bytes::new(&given, 0), &Names::new(&names))?;
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
        let content = model(Bytes::new(&given, 0), &Names::new(&|_| None))?;
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
}
