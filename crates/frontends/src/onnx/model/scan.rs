//! The one walk over a document that fills its tables.

use super::{
    FunctionTable, GRAPH_DEPTH_LIMIT, GRAPH_LIMIT, GraphOwner, GraphTable, ModelTable, NodeView,
    Opset, RECORD_LIMIT, Rec, normal_domain, string_pair,
};
use crate::{
    FrontendError,
    onnx::wire::{Bytes, Field, Inside, WireError},
};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A graph that is still to be scanned.
struct Pending<'a> {
    content: Bytes<'a>,
    owner: GraphOwner,
    depth: u32,
}

/// See [`ModelTable::scan`].
pub(super) fn scan(data: &[u8]) -> Result<ModelTable, FrontendError> {
    let invalid = |problem: &str| Err(FrontendError::invalid("ONNX model", "ModelProto", problem));
    if data.is_empty() {
        return invalid("the file is empty");
    }
    if data.starts_with(b"version https://git-lfs") {
        return invalid(
            "this is a Git LFS pointer, not the model: fetch the file itself with `git lfs pull`",
        );
    }
    let mut table = ModelTable {
        ir_version: 0,
        opsets: Vec::new(),
        producer_name: String::new(),
        producer_version: String::new(),
        graphs: Vec::new(),
        functions: Vec::new(),
        training_names: BTreeSet::new(),
        by_offset: HashMap::new(),
    };
    let (mut graph, mut functions, mut training) = (None, Vec::new(), Vec::new());
    top_level(data, &mut table, &mut graph, &mut functions, &mut training).inside("ModelProto")?;
    if functions.len() + training.len() > GRAPH_LIMIT {
        return Err(too_many_graphs());
    }
    let Some(graph) = graph else { return invalid("there is no graph: is this an ONNX model?") };

    let mut records = 0;
    let mut queue = VecDeque::from([Pending { content: graph, owner: GraphOwner::Main, depth: 1 }]);
    for (i, content) in functions.into_iter().enumerate() {
        let function = function(content).inside(format_args!("functions[{i}]"))?;
        table.functions.push(FunctionTable { body: i as u32 + 1, ..function });
        queue.push_back(Pending { content, owner: GraphOwner::Function(i as u32), depth: 1 });
    }
    for (i, content) in training.into_iter().enumerate() {
        training_info(content, i as u32, &mut table, &mut queue)
            .inside(format_args!("training_info[{i}]"))?;
    }
    while let Some(pending) = queue.pop_front() {
        let index = table.graphs.len() as u32;
        let path = |table: &ModelTable| {
            super::Model::new(data, table).graph(index).map(super::GraphView::path)
        };
        if pending.depth > GRAPH_DEPTH_LIMIT {
            let GraphOwner::Node { graph, node } = pending.owner else { continue };
            let place = super::Model::new(data, &table)
                .graph(graph)
                .map_or_else(String::new, super::GraphView::path);
            return Err(FrontendError::Limit {
                place: format!("{place}.node[{node}]"),
                limit: format!("graphs nest more than {GRAPH_DEPTH_LIMIT} deep"),
            });
        }
        table.by_offset.insert(pending.content.offset, index);
        let lists = if let GraphOwner::Function(_) = pending.owner {
            &FUNCTION_LISTS
        } else {
            &GRAPH_LISTS
        };
        let scanned = graph_table(&pending, lists, &mut records);
        let scanned = match scanned {
            Ok(Some(t)) => t,
            Ok(None) => {
                return Err(FrontendError::Limit {
                    place: "ModelProto".into(),
                    limit: format!(
                        "more than {RECORD_LIMIT} nodes, initializers and value descriptions"
                    ),
                });
            }
            Err(e) => {
                table.graphs.push(empty_table(&pending));
                return Err(e.inside(path(&table).unwrap_or_default()).into());
            }
        };
        table.graphs.push(scanned);
        bodies(data, &mut table, index, &pending, &mut queue)?;
    }
    training_reads(data, &mut table)?;
    Ok(table)
}

fn too_many_graphs() -> FrontendError {
    FrontendError::Limit {
        place: "ModelProto".into(),
        limit: format!("more than {GRAPH_LIMIT} functions and graphs in attributes"),
    }
}

fn top_level<'a>(
    data: &'a [u8],
    table: &mut ModelTable,
    graph: &mut Option<Bytes<'a>>,
    functions: &mut Vec<Bytes<'a>>,
    training: &mut Vec<Bytes<'a>>,
) -> Result<(), WireError> {
    let mut fields = Bytes::new(data, 0).fields();
    while let Some(f) = fields.next()? {
        match f.number {
            1 => table.ir_version = f.int().inside("ir_version")?,
            2 => table.producer_name = f.text().inside("producer_name")?.into(),
            3 => table.producer_version = f.text().inside("producer_version")?.into(),
            7 => f.singular(graph).inside("graph")?,
            8 => opset(&f, &mut table.opsets).inside("opset_import")?,
            20 => training.push(f.bytes().inside("training_info")?),
            25 => functions.push(f.bytes().inside("functions")?),
            _ => {}
        }
    }
    Ok(())
}

fn opset(field: &Field<'_>, into: &mut Vec<Opset>) -> Result<(), WireError> {
    let (mut domain, mut version) = ("", 0);
    let mut fields = field.bytes()?.fields();
    while let Some(f) = fields.next()? {
        match f.number {
            1 => domain = f.text()?,
            2 => version = f.int()?,
            _ => {}
        }
    }
    into.push(Opset { domain: normal_domain(domain).into(), version });
    Ok(())
}

fn function(content: Bytes<'_>) -> Result<FunctionTable, WireError> {
    let mut t = FunctionTable {
        domain: String::new(),
        name: String::new(),
        overload: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        attributes: Vec::new(),
        attribute_defaults: Vec::new(),
        opsets: Vec::new(),
        body: 0,
    };
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        match f.number {
            1 => t.name = f.text()?.into(),
            4 => t.inputs.push(f.text()?.into()),
            5 => t.outputs.push(f.text()?.into()),
            6 => t.attributes.push(f.text()?.into()),
            9 => opset(&f, &mut t.opsets)?,
            10 => t.domain = normal_domain(f.text()?).into(),
            11 => t.attribute_defaults.push(Rec { start: f.start, end: f.end }),
            13 => t.overload = f.text()?.into(),
            _ => {}
        }
    }
    Ok(t)
}

fn training_info<'a>(
    content: Bytes<'a>,
    index: u32,
    table: &mut ModelTable,
    queue: &mut VecDeque<Pending<'a>>,
) -> Result<(), WireError> {
    let mut fields = content.fields();
    while let Some(f) = fields.next()? {
        match f.number {
            1 | 2 => queue.push_back(Pending {
                content: f.bytes()?,
                owner: GraphOwner::Training(index),
                depth: 1,
            }),
            3 | 4 => {
                let (key, _) = string_pair(f.bytes()?)?;
                table.training_names.insert(key.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Field numbers of the lists of a graph, in the order of [`GraphTable`]: nodes, initializers, sparse initializers, inputs,
/// outputs, value infos, annotations.
const GRAPH_LISTS: [u32; 7] = [1, 5, 15, 11, 12, 13, 14];
/// The same of a function, which has nodes and value infos only. 0 is no field number.
const FUNCTION_LISTS: [u32; 7] = [7, 0, 0, 0, 0, 12, 0];

/// Counts first and fills then, so that tables are as large as they need to be. `None` past [`RECORD_LIMIT`].
fn graph_table(
    pending: &Pending<'_>,
    lists: &[u32; 7],
    records: &mut usize,
) -> Result<Option<GraphTable>, WireError> {
    let mut counts = [0usize; 7];
    let mut fields = pending.content.fields();
    while let Some(f) = fields.next()? {
        if let Some(i) = lists.iter().position(|&l| l == f.number) {
            f.bytes()?;
            counts[i] += 1;
        }
    }
    *records += counts.iter().sum::<usize>();
    if *records > RECORD_LIMIT {
        return Ok(None);
    }
    let mut tables = counts.map(Vec::with_capacity);
    let mut fields = pending.content.fields();
    while let Some(f) = fields.next()? {
        if let Some(i) = lists.iter().position(|&l| l == f.number) {
            tables[i].push(Rec { start: f.start, end: f.end });
        }
    }
    let [nodes, initializers, sparse_initializers, inputs, outputs, value_infos, annotations] =
        tables;
    Ok(Some(GraphTable {
        nodes,
        initializers,
        sparse_initializers,
        inputs,
        outputs,
        value_infos,
        annotations,
        ..empty_table(pending)
    }))
}

fn empty_table(pending: &Pending<'_>) -> GraphTable {
    GraphTable {
        owner: pending.owner,
        content: pending.content.range(),
        nodes: Vec::new(),
        initializers: Vec::new(),
        sparse_initializers: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        value_infos: Vec::new(),
        annotations: Vec::new(),
    }
}

/// Queues the graphs in attributes of a graph's nodes.
fn bodies<'a>(
    data: &'a [u8],
    table: &mut ModelTable,
    graph: u32,
    pending: &Pending<'a>,
    queue: &mut VecDeque<Pending<'a>>,
) -> Result<(), FrontendError> {
    let Some(nodes) = table.graphs.get(graph as usize).map(|t| t.nodes.len()) else {
        return Ok(());
    };
    for node in 0..nodes {
        let rec = table.graphs[graph as usize].nodes[node];
        let owner = GraphOwner::Node { graph, node: node as u32 };
        let graphs = table.graphs.len();
        let mut within = true;
        let found = node_bodies(record_bytes(data, rec), |content| {
            within = graphs + queue.len() < GRAPH_LIMIT;
            if within {
                queue.push_back(Pending { content, owner, depth: pending.depth + 1 });
            }
        });
        if !within {
            return Err(too_many_graphs());
        }
        if let Err(e) = found {
            let path = super::Model::new(data, table)
                .graph(graph)
                .map(super::GraphView::path)
                .unwrap_or_default();
            return Err(e.inside(format_args!("{path}.node[{node}]")).into());
        }
    }
    Ok(())
}

fn record_bytes(data: &[u8], rec: Rec) -> Bytes<'_> {
    Bytes::new(data.get(rec.start as usize..rec.end as usize).unwrap_or_default(), rec.start)
}

fn node_bodies<'a>(record: Bytes<'a>, mut each: impl FnMut(Bytes<'a>)) -> Result<(), WireError> {
    let Some(node) = record.fields().next()? else { return Ok(()) };
    let mut fields = node.bytes()?.fields();
    while let Some(f) = fields.next()? {
        if f.number != 5 {
            continue;
        }
        let mut g = None;
        let mut inner = f.bytes().inside("attribute")?.fields();
        while let Some(a) = inner.next().inside("attribute")? {
            match a.number {
                6 => a.singular(&mut g).inside("attribute.g")?,
                11 => each(a.bytes().inside("attribute.graphs")?),
                _ => {}
            }
        }
        if let Some(g) = g {
            each(g);
        }
    }
    Ok(())
}

/// Collects what nodes of training graphs read: those values must stay as they are.
fn training_reads(data: &[u8], table: &mut ModelTable) -> Result<(), FrontendError> {
    let mut names = BTreeSet::new();
    let mut training = vec![false; table.graphs.len()];
    for (i, g) in table.graphs.iter().enumerate() {
        training[i] = match g.owner {
            GraphOwner::Training(_) => true,
            GraphOwner::Node { graph, .. } => training[graph as usize],
            GraphOwner::Main | GraphOwner::Function(_) => false,
        };
        if !training[i] {
            continue;
        }
        let model = super::Model::new(data, table);
        for &rec in &g.nodes {
            let node = NodeView::decode(model.content(rec)?)?;
            names.extend(node.inputs.iter().filter(|n| !n.is_empty()).map(|&n| n.to_owned()));
        }
    }
    table.training_names.extend(names);
    Ok(())
}
