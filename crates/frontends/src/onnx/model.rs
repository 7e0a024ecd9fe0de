//! What an ONNX document consists of: record tables, found once, and views that are decoded when asked for.
//!
//! Opening scans the model, its graph, the bodies in attributes and its functions once and keeps, of each list, where its
//! records begin and end: 16 bytes per record, nothing of its content. A [`Model`] pairs these tables with the bytes; its
//! views decode one record on demand. Bodies may nest [`GRAPH_DEPTH_LIMIT`] deep; the scan keeps a queue, not a call stack.
//!
//! Field numbers are those of `onnx.proto` (IR version 14); other fields are kept by the writer without being looked at.

use super::wire::{Bytes, Field, Inside, WireError};
use crate::FrontendError;
use smallvec::SmallVec;
use std::{collections::HashMap, ops::Range};

mod attribute;
mod scan;
mod tensor;
mod value;

pub(crate) use attribute::{AttributeKind, AttributeView};
pub(crate) use tensor::{Storage, TensorView};
pub(crate) use value::{AnnotationView, DimView, TypeView, ValueInfoView};

/// How deeply graphs may nest in attributes: the main graph and function bodies are level 1.
pub(crate) const GRAPH_DEPTH_LIMIT: u32 = 64;
/// How deeply types may nest (sequences of maps of optionals …).
pub(crate) const TYPE_DEPTH_LIMIT: u32 = 32;
/// Functions and graphs in attributes together.
pub(crate) const GRAPH_LIMIT: usize = 1 << 19;
/// Records of all graphs together. Well beyond any model; keeps what a hostile file makes us allocate in proportion.
pub(crate) const RECORD_LIMIT: usize = 1 << 24;

impl From<WireError> for FrontendError {
    fn from(e: WireError) -> Self {
        FrontendError::Malformed {
            format: "ONNX model",
            place: e.path,
            offset: e.offset,
            problem: e.problem.to_string(),
        }
    }
}

/// Where the record of one list entry is in the document, tag included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rec {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Rec {
    pub(crate) fn range(self) -> Range<u64> {
        self.start..self.end
    }
}

/// What holds a graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GraphOwner {
    /// `ModelProto.graph`.
    Main,
    /// `ModelProto.functions`, that entry: a body without initializers.
    Function(u32),
    /// A graph attribute of that node of that graph.
    Node { graph: u32, node: u32 },
    /// `ModelProto.training_info`, that entry: not part of inference.
    Training(u32),
}

/// Where the records of a graph or function are.
#[derive(Clone, Debug)]
pub(crate) struct GraphTable {
    pub(crate) owner: GraphOwner,
    /// The content of the message.
    pub(crate) content: Range<u64>,
    pub(crate) nodes: Vec<Rec>,
    pub(crate) initializers: Vec<Rec>,
    pub(crate) sparse_initializers: Vec<Rec>,
    /// Empty for functions, whose inputs are names.
    pub(crate) inputs: Vec<Rec>,
    /// Empty for functions, whose outputs are names.
    pub(crate) outputs: Vec<Rec>,
    pub(crate) value_infos: Vec<Rec>,
    /// Quantization annotations.
    pub(crate) annotations: Vec<Rec>,
}

/// A record that an op comes from: what [`normfold_ir::Graph::origin`] numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A node: ops of any kind, constants of Constant nodes among them.
    Node(u32),
    /// An initializer: a constant.
    Initializer(u32),
    /// A sparse initializer: a constant.
    SparseInitializer(u32),
    /// A graph input, or an input name of a function: a parameter.
    Input(u32),
}

impl GraphTable {
    /// Records of a graph are numbered through: nodes, initializers, sparse initializers, inputs.
    pub(crate) fn number(&self, origin: Origin) -> u32 {
        let nodes = self.nodes.len() as u32;
        let initializers = nodes + self.initializers.len() as u32;
        match origin {
            Origin::Node(i) => i,
            Origin::Initializer(i) => nodes + i,
            Origin::SparseInitializer(i) => initializers + i,
            Origin::Input(i) => initializers + self.sparse_initializers.len() as u32 + i,
        }
    }

    /// The record of a number.
    pub(crate) fn origin(&self, number: u32) -> Origin {
        let nodes = self.nodes.len() as u32;
        let initializers = nodes + self.initializers.len() as u32;
        let sparse = initializers + self.sparse_initializers.len() as u32;
        if number < nodes {
            Origin::Node(number)
        } else if number < initializers {
            Origin::Initializer(number - nodes)
        } else if number < sparse {
            Origin::SparseInitializer(number - initializers)
        } else {
            Origin::Input(number - sparse)
        }
    }
}

/// An entry of `opset_import`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Opset {
    /// Normalised: `ai.onnx` is the empty domain.
    pub(crate) domain: String,
    pub(crate) version: i64,
}

/// What a function declares.
#[derive(Clone, Debug)]
pub(crate) struct FunctionTable {
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) overload: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    /// Attributes without a default.
    pub(crate) attributes: Vec<String>,
    /// Attributes with a default: `AttributeProto` records.
    pub(crate) attribute_defaults: Vec<Rec>,
    pub(crate) opsets: Vec<Opset>,
    /// Its body among [`ModelTable::graphs`].
    pub(crate) body: u32,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct ModelTable {
    pub(crate) ir_version: i64,
    pub(crate) opsets: Vec<Opset>,
    pub(crate) producer_name: String,
    pub(crate) producer_version: String,
    /// The main graph first, then functions in order, then bodies level by level.
    pub(crate) graphs: Vec<GraphTable>,
    pub(crate) functions: Vec<FunctionTable>,
    /// Names that training may change, or that its graphs read: keys of the bindings, inputs of nodes of its graphs.
    pub(crate) training_names: std::collections::BTreeSet<String>,
    /// Graphs in attributes by where their content begins.
    by_offset: HashMap<u64, u32>,
}

pub(super) const MAIN: u32 = 0;

/// A document's tables with its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model<'a> {
    data: &'a [u8],
    pub(crate) table: &'a ModelTable,
}

fn version_of(opsets: &[Opset], domain: &str) -> Option<i64> {
    let domain = normal_domain(domain);
    opsets.iter().find(|o| o.domain == domain).map(|o| o.version)
}

/// The standard domain has two spellings; the empty one is normal.
pub(crate) fn normal_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

impl ModelTable {
    /// Scans a document.
    ///
    /// # Errors
    /// The bytes are not an ONNX model, it has no graph, or a limit is passed.
    pub(crate) fn scan(data: &[u8]) -> Result<Self, FrontendError> {
        scan::scan(data)
    }
}

impl<'a> Model<'a> {
    pub(crate) fn new(data: &'a [u8], table: &'a ModelTable) -> Self {
        Self { data, table }
    }

    /// The whole document as the content of its outermost message.
    pub(crate) fn document(self) -> Bytes<'a> {
        Bytes::new(self.data, 0)
    }

    /// The bytes of a range that a table or view gave; empty if it is none of this document's.
    pub(crate) fn slice(self, range: Range<u64>) -> Bytes<'a> {
        let data = self.data.get(range.start as usize..range.end as usize).unwrap_or_default();
        Bytes::new(data, range.start)
    }

    /// The version of a domain that the model imports.
    pub(crate) fn opset(self, domain: &str) -> Option<i64> {
        version_of(&self.table.opsets, domain)
    }

    /// The main graph.
    pub(crate) fn main(self) -> GraphView<'a> {
        self.graph(MAIN).unwrap_or_else(|| unreachable!("a scanned model has a main graph"))
    }

    /// A graph by its number.
    pub(crate) fn graph(self, index: u32) -> Option<GraphView<'a>> {
        let table = self.table.graphs.get(index as usize)?;
        Some(GraphView { model: self, index, table })
    }

    /// The graph that an attribute holds.
    pub(crate) fn graph_at(self, content: Bytes<'a>) -> Option<GraphView<'a>> {
        self.graph(*self.table.by_offset.get(&content.offset)?)
    }

    /// The field that is a record.
    fn field(self, rec: Rec) -> Result<Field<'a>, WireError> {
        match self.slice(rec.range()).fields().next()? {
            Some(f) => Ok(f),
            None => Err(WireError::new(super::wire::WireProblem::Truncated, rec.start)),
        }
    }

    /// The content of a record that is a message.
    pub(crate) fn content(self, rec: Rec) -> Result<Bytes<'a>, WireError> {
        self.field(rec)?.bytes()
    }
}

impl FunctionTable {
    /// The version of a domain that the function imports.
    pub(crate) fn opset(&self, domain: &str) -> Option<i64> {
        version_of(&self.opsets, domain)
    }
}

/// A graph or function body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphView<'a> {
    pub(crate) model: Model<'a>,
    /// Its number among [`ModelTable::graphs`].
    pub(crate) index: u32,
    pub(crate) table: &'a GraphTable,
}

impl<'a> GraphView<'a> {
    /// Where the graph is, for messages: `graph.node[3].body`.
    pub(crate) fn path(self) -> String {
        match self.table.owner {
            GraphOwner::Main => "graph".into(),
            GraphOwner::Function(i) => format!("functions[{i}]"),
            GraphOwner::Training(i) => format!("training_info[{i}]"),
            GraphOwner::Node { graph, node } => match self.model.graph(graph) {
                Some(g) => format!("{}.node[{node}].body", g.path()),
                None => String::new(),
            },
        }
    }

    /// `GraphProto.name`; of a function, its name.
    pub(crate) fn name(self) -> Result<&'a str, WireError> {
        let number = if let GraphOwner::Function(_) = self.table.owner { 1 } else { 2 };
        let mut name = "";
        let mut fields = self.model.slice(self.table.content.clone()).fields();
        while let Some(f) = fields.next()? {
            if f.number == number {
                name = f.text()?;
            }
        }
        Ok(name)
    }

    /// The version of a domain that the model, or the function around this graph, imports.
    pub(crate) fn opset(self, domain: &str) -> Option<i64> {
        let mut at = self;
        loop {
            match at.table.owner {
                GraphOwner::Function(i) => {
                    return self.model.table.functions.get(i as usize)?.opset(domain);
                }
                GraphOwner::Node { graph, .. } => at = self.model.graph(graph)?,
                GraphOwner::Main | GraphOwner::Training(_) => return self.model.opset(domain),
            }
        }
    }

    fn entry(self, list: &[Rec], what: &str, i: usize) -> Result<Bytes<'a>, WireError> {
        match list.get(i) {
            Some(&rec) => self
                .model
                .content(rec)
                .map_err(|e| e.inside(format_args!("{}.{what}[{i}]", self.path()))),
            None => unreachable!("{what}[{i}] is beyond the table"),
        }
    }

    /// Node `i`.
    ///
    /// # Errors
    /// Its record is malformed.
    pub(crate) fn node(self, i: usize) -> Result<NodeView<'a>, WireError> {
        let content = self.entry(&self.table.nodes, "node", i)?;
        NodeView::decode(content).map_err(|e| e.inside(format_args!("{}.node[{i}]", self.path())))
    }

    /// Initializer `i`.
    pub(crate) fn initializer(self, i: usize) -> Result<TensorView<'a>, FrontendError> {
        let content = self.entry(&self.table.initializers, "initializer", i)?;
        TensorView::decode(content)
            .map_err(|e| e.inside(format_args!("{}.initializer[{i}]", self.path())).into())
    }

    /// Sparse initializer `i`.
    pub(crate) fn sparse_initializer(self, i: usize) -> Result<SparseView<'a>, FrontendError> {
        let content = self.entry(&self.table.sparse_initializers, "sparse_initializer", i)?;
        let sparse = SparseView::decode(content);
        sparse.map_err(|e| e.inside(format_args!("{}.sparse_initializer[{i}]", self.path())).into())
    }

    /// Input `i`; functions have none here.
    pub(crate) fn input(self, i: usize) -> Result<ValueInfoView<'a>, WireError> {
        self.value_info_of(&self.table.inputs, "input", i)
    }

    /// Output `i`; functions have none here.
    pub(crate) fn output(self, i: usize) -> Result<ValueInfoView<'a>, WireError> {
        self.value_info_of(&self.table.outputs, "output", i)
    }

    /// The type of an intermediate value.
    pub(crate) fn value_info(self, i: usize) -> Result<ValueInfoView<'a>, WireError> {
        self.value_info_of(&self.table.value_infos, "value_info", i)
    }

    fn value_info_of(
        self,
        list: &[Rec],
        what: &str,
        i: usize,
    ) -> Result<ValueInfoView<'a>, WireError> {
        let content = self.entry(list, what, i)?;
        ValueInfoView::decode(content)
            .map_err(|e| e.inside(format_args!("{}.{what}[{i}]", self.path())))
    }

    /// Quantization annotation `i`.
    pub(crate) fn annotation(self, i: usize) -> Result<AnnotationView<'a>, WireError> {
        let content = self.entry(&self.table.annotations, "quantization_annotation", i)?;
        let view = AnnotationView::decode(content);
        view.map_err(|e| e.inside(format_args!("{}.quantization_annotation[{i}]", self.path())))
    }
}

/// `NodeProto`.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeView<'a> {
    pub(crate) name: &'a str,
    pub(crate) op_type: &'a str,
    /// As written: see [`normal_domain`].
    pub(crate) domain: &'a str,
    pub(crate) overload: &'a str,
    /// Value names; an absent optional operand is the empty string.
    pub(crate) inputs: SmallVec<[&'a str; 4]>,
    /// Value names; an absent optional result is the empty string.
    pub(crate) outputs: SmallVec<[&'a str; 2]>,
    pub(crate) attributes: SmallVec<[AttributeView<'a>; 2]>,
    /// Values whose sharding over devices the node specifies.
    pub(crate) sharded: SmallVec<[&'a str; 0]>,
}

impl<'a> NodeView<'a> {
    pub(crate) fn decode(content: Bytes<'a>) -> Result<Self, WireError> {
        let mut node = Self::default();
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => node.inputs.push(f.text().inside("input")?),
                2 => node.outputs.push(f.text().inside("output")?),
                3 => node.name = f.text().inside("name")?,
                4 => node.op_type = f.text().inside("op_type")?,
                5 => {
                    let i = node.attributes.len();
                    let attribute = f.bytes().and_then(AttributeView::decode);
                    node.attributes
                        .push(attribute.map_err(|e| e.inside(format_args!("attribute[{i}]")))?);
                }
                7 => node.domain = f.text().inside("domain")?,
                8 => node.overload = f.text().inside("overload")?,
                10 => {
                    Self::sharded(f.bytes()?, &mut node.sharded).inside("device_configurations")?
                }
                _ => {}
            }
        }
        Ok(node)
    }

    /// `NodeDeviceConfigurationProto.sharding_spec[*].tensor_name`.
    fn sharded(content: Bytes<'a>, out: &mut SmallVec<[&'a str; 0]>) -> Result<(), WireError> {
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            if f.number == 2 {
                let mut spec = f.bytes()?.fields();
                while let Some(s) = spec.next()? {
                    if s.number == 1 {
                        out.push(s.text()?);
                    }
                }
            }
        }
        Ok(())
    }

    /// The attribute of that name.
    pub(crate) fn attribute(&self, name: &str) -> Option<&AttributeView<'a>> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// What a message calls the node: its name, else its first output, else its type.
    pub(crate) fn display_name(&self) -> &'a str {
        match (self.name, self.outputs.iter().find(|o| !o.is_empty())) {
            ("", Some(output)) => output,
            ("", None) => self.op_type,
            (name, _) => name,
        }
    }
}

/// `SparseTensorProto`.
#[derive(Clone, Debug)]
pub(crate) struct SparseView<'a> {
    /// The non-zero elements; its name is the tensor's.
    pub(crate) values: TensorView<'a>,
    pub(crate) indices: Option<TensorView<'a>>,
    pub(crate) dims: SmallVec<[i64; 4]>,
}

impl<'a> SparseView<'a> {
    pub(crate) fn decode(content: Bytes<'a>) -> Result<Self, WireError> {
        let (mut values, mut indices, mut dims) = (None, None, SmallVec::new());
        let mut fields = content.fields();
        while let Some(f) = fields.next()? {
            match f.number {
                1 => f.singular(&mut values).inside("values")?,
                2 => f.singular(&mut indices).inside("indices")?,
                3 => super::wire::repeated(&f, None, |v| dims.push(v as i64)).inside("dims")?,
                _ => {}
            }
        }
        Ok(Self {
            values: TensorView::decode(values.unwrap_or(Bytes::new(&[], content.offset)))
                .inside("values")?,
            indices: indices.map(TensorView::decode).transpose().inside("indices")?,
            dims,
        })
    }
}

/// `StringStringEntryProto`: key and value.
pub(crate) fn string_pair(content: Bytes<'_>) -> Result<(&str, &str), WireError> {
    let (mut key, mut value) = ("", "");
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        match f.number {
            1 => key = f.text()?,
            2 => value = f.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests;
