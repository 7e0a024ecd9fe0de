//! A copy of a document that names its external data differently, for readers that are particular about names.

use super::{
    model::string_pair,
    wire::{Bytes, Field, WireError},
    writer::{self, copy, rebuild, replace},
};
use crate::save::Content;

/// What becomes of a location: its new name, and the bytes the file has.
pub(crate) type Names<'a> = dyn Fn(&str) -> Option<(String, u64)> + 'a;

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
    pub(super) const NODE_ATTRIBUTE: u32 = 5;
    /// `AttributeProto`.
    pub(super) const ATTRIBUTE_TENSOR: u32 = 5;
    pub(super) const ATTRIBUTE_GRAPH: u32 = 6;
    pub(super) const ATTRIBUTE_TENSORS: u32 = 10;
    pub(super) const ATTRIBUTE_GRAPHS: u32 = 11;
    /// `TensorProto`.
    pub(super) const TENSOR_EXTERNAL: u32 = 13;
}

type Rewritten<'c> = Result<Content<'c>, WireError>;

/// The document with every external tensor at the location that `names` gives for its own, offset and length spelled out.
/// Locations that `names` does not know stay.
pub(crate) fn model<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::MODEL_GRAPH => replace(out, f, graph(f.bytes()?, names)?),
        field::MODEL_FUNCTIONS => replace(out, f, nodes(f.bytes()?, field::FUNCTION_NODE, names)?),
        _ => keep(out, f),
    })
}

fn keep(out: &mut Content<'_>, f: &Field<'_>) -> Result<(), WireError> {
    copy(out, f);
    Ok(())
}

fn graph<'c>(content: Bytes<'_>, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number {
        field::GRAPH_NODE => replace(out, f, node(f.bytes()?, names)?),
        field::GRAPH_INITIALIZER => replace(out, f, tensor(f.bytes()?, names)?),
        _ => keep(out, f),
    })
}

fn nodes<'c>(content: Bytes<'_>, number: u32, names: &Names<'_>) -> Rewritten<'c> {
    rebuild(content, |out, f| match f.number == number {
        true => replace(out, f, node(f.bytes()?, names)?),
        false => keep(out, f),
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
    use super::model;
    use crate::{
        bytes::Source,
        onnx::{
            proto::{attr_graph, attr_tensor, graph, model as model_of, node, tensor_external},
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
            let function = crate::onnx::proto::Msg::new().str(1, "f").msg(7, constant.clone());
            let main = graph(vec![constant, branch], vec![t()], vec![], vec![]);
            model_of(8, 17, main).msg(25, function).0
        };
        let given = with(&[("location", "a/b.bin"), ("offset", "8"), ("checksum", "x")]);
        let names = |location: &str| (location == "a/b.bin").then(|| ("0.data".to_owned(), 24));
        let mut got = Vec::new();
        let content = model(Bytes::new(&given, 0), &names)?;
        let source = [Source::Memory(given.clone().into())];
        content
            .write_to(&source, &mut got, WriteOptions::default())
            .map_err(|e| format!("{e:?}"))?;
        // The entries come last in their tensor, behind its `data_location`.
        let moved = [("location", "0.data"), ("offset", "8"), ("length", "16")];
        let has = |bytes: &[u8], what: &str| {
            bytes.windows(what.len()).filter(|w| *w == what.as_bytes()).count()
        };
        for (_, value) in moved {
            assert_eq!(has(&got, value), has(&with(&moved), value), "{value}");
        }
        assert_eq!((has(&got, "a/b.bin"), has(&got, "checksum")), (0, 0));
        let content = model(Bytes::new(&given, 0), &|_| None)?;
        assert!(content.is_source(0..given.len() as u64));
        Ok(())
    }
}
