//! Writes one graph or function: its records in document order, edited, dropped or added.

use super::{
    Counts, Export, GraphPlan, is_main,
    order::{Item, Order},
    value_info::ValueInfos,
};
use crate::{
    FrontendError,
    onnx::{
        model::{GraphOwner, NodeView, Origin, Storage, TensorView},
        types::dtype_code,
        wire::{Bytes, Field},
        writer::{
            DOCUMENT, copy,
            encode::encode,
            message,
            node::{NodeEdit, new_constant, new_node},
            rebuild, replace, replace_text,
            tensor::Outside,
            text,
        },
    },
    save::{Content, Contents},
};
use normfold_ir::{Binding, ConstId, IdMap, IdSet, OpId, OpKind};
use std::collections::{HashMap, HashSet};

/// Field numbers of a graph, or of a function.
struct Numbers {
    node: u32,
    initializer: u32,
    sparse: u32,
    input: u32,
    value_info: u32,
    annotation: u32,
}

const GRAPH: Numbers =
    Numbers { node: 1, initializer: 5, sparse: 15, input: 11, value_info: 13, annotation: 14 };
/// 0 is no field number: functions have no such lists.
const FUNCTION: Numbers =
    Numbers { node: 7, initializer: 0, sparse: 0, input: 0, value_info: 12, annotation: 0 };

/// What becomes of records, in their order: a new content, by its number, or `None` when the record goes.
#[derive(Default)]
struct Edits {
    list: Vec<(u32, Option<u32>)>,
    /// Those before are written.
    at: usize,
}

impl Edits {
    /// Notes the edit of a record beyond all noted ones.
    fn push(&mut self, record: u32, content: Option<u32>) {
        self.list.push((record, content));
    }

    /// The edit of a record, which is written now; usually the next one.
    fn take(&mut self, record: u32) -> Option<Option<u32>> {
        if self.list.get(self.at).is_none_or(|(r, _)| *r != record) {
            self.at = self.list.binary_search_by_key(&record, |(r, _)| *r).ok()?;
        }
        let edit = self.list.get(self.at)?.1;
        self.at += 1;
        Some(edit)
    }
}

pub(super) struct Writer<'e, 'a> {
    export: &'e Export<'a>,
    plan: &'e GraphPlan<'a>,
    outside: &'e super::outside::Destinations,
    /// Contents of records, which the lists below have by number.
    contents: Contents<'a>,
    nodes: Edits,
    initializers: Edits,
    /// Sparse initializers that go.
    sparse: IdSet<u32>,
    new: IdMap<Item, u32>,
    /// New initializers.
    added: Vec<u32>,
    /// New graph inputs.
    inputs: Vec<u32>,
    /// Types that are declared anew.
    types: ValueInfos<'a>,
    /// Names that records no longer define.
    gone: HashSet<&'e str>,
    /// Names that edited and new records define.
    present: HashSet<&'e str>,
    /// Names that are no graph inputs any more.
    unlisted: HashSet<&'e str>,
}

impl<'e, 'a> Writer<'e, 'a> {
    pub(super) fn new(
        export: &'e Export<'a>,
        plan: &'e GraphPlan<'a>,
        outside: &'e super::outside::Destinations,
    ) -> Self {
        Self {
            export,
            plan,
            outside,
            contents: Contents::default(),
            nodes: Edits::default(),
            initializers: Edits::default(),
            sparse: IdSet::default(),
            new: IdMap::default(),
            added: Vec::new(),
            inputs: Vec::new(),
            types: ValueInfos::default(),
            gone: HashSet::new(),
            present: HashSet::new(),
            unlisted: HashSet::new(),
        }
    }

    /// The content of the graph; exactly its range of the document when nothing changed.
    pub(super) fn write(
        mut self,
        bodies: &mut HashMap<u64, Content<'a>>,
        counts: &mut Counts,
    ) -> Result<Content<'a>, FrontendError> {
        let table = self.plan.table();
        for i in 0..table.nodes.len() as u32 {
            self.node(i, bodies)?;
        }
        for i in 0..table.initializers.len() as u32 {
            self.initializer(i)?;
        }
        for i in 0..table.sparse_initializers.len() as u32 {
            self.sparse_initializer(i)?;
        }
        for &op in &self.plan.constants {
            self.new_initializer(op)?;
        }
        self.new_nodes()?;
        self.types = ValueInfos::plan(self.plan, self.export.model)?;
        self.count(counts);
        let resorted = matches!(self.plan.order, Order::Resorted(_));
        let untouched = self.nodes.list.is_empty()
            && self.initializers.list.is_empty()
            && self.sparse.is_empty()
            && self.new.is_empty()
            && self.added.is_empty()
            && self.types.is_empty()
            && self.unlisted.is_empty();
        if untouched && !resorted {
            let mut out = Content::new();
            out.source(DOCUMENT, table.content.clone());
            return Ok(out);
        }
        let Self { gone, present, .. } = &mut self;
        gone.retain(|name| !present.contains(name));
        self.assemble()
    }

    fn count(&self, counts: &mut Counts) {
        for (_, edit) in self.nodes.list.iter().chain(&self.initializers.list) {
            match edit {
                Some(_) => counts.edited += 1,
                None => counts.removed += 1,
            }
        }
        counts.removed += self.sparse.len();
        counts.added += self.new.len() + self.added.len();
        counts.edited += self.types.edited.len();
        counts.added += self.types.added.len();
    }

    fn name(&self, op: OpId, result: usize) -> &'e str {
        self.plan.name(self.plan.graph.result(op, result))
    }

    /// The changed value of a constant: its entry, when that is not what import found or its data moves.
    fn changed(&self, op: OpId) -> Option<(ConstId, Option<Outside>)> {
        let OpKind::Constant(c) = self.plan.graph.kind(op) else { return None };
        let table = self.plan.view.index;
        let before = self.export.imported.constant(table, self.plan.graph.origin(op)?);
        let destination = self.outside.get(&(table, op));
        (before != Some(c.entry) || destination.is_some())
            .then_some((c.entry, destination.cloned().flatten()))
    }

    fn node(
        &mut self,
        i: u32,
        bodies: &mut HashMap<u64, Content<'a>>,
    ) -> Result<(), FrontendError> {
        let view = self.plan.view;
        let node = view.node(i as usize)?;
        let Some(op) = self.plan.op(Origin::Node(i)) else {
            self.nodes.push(i, None);
            self.gone.extend(&node.outputs);
            return Ok(());
        };
        let (plan, graph) = (self.plan, self.plan.graph);
        let name = |v| plan.name(v);
        let mut edit = NodeEdit {
            inputs: graph.operands(op).map(|v| v.map_or("", name)).collect(),
            outputs: graph.results(op).map(name).collect(),
            ..NodeEdit::default()
        };
        if !bodies.is_empty() {
            for a in &node.attributes {
                for g in a.graph().into_iter().chain(a.graphs()?) {
                    edit.bodies.extend(bodies.remove_entry(&g.offset));
                }
            }
        }
        let kind = graph.kind(op);
        let constant = matches!(kind, OpKind::Constant(_));
        if constant {
            edit.constant =
                self.changed(op).map(|(id, outside)| (id, self.export.weights, outside));
        }
        let rewired = node.inputs.iter().ne(edit.inputs.iter());
        let opset = view.opset("");
        // Below opset 7 the shape of C shows in an attribute.
        let gemm = matches!(kind, OpKind::Linear(_)) && rewired && opset.is_some_and(|o| o < 7);
        if (graph.is_modified(op) || gemm) && !constant {
            edit.kind = Some(self.encoded(op)?);
        }
        if edit.is_empty(&node) {
            return Ok(());
        }
        self.gone.extend(node.outputs.iter().filter(|o| !edit.outputs.contains(o)));
        self.present.extend(&edit.outputs);
        let content = edit.splice(record_content(self, i)?, &node)?;
        let content = self.contents.push(content);
        self.nodes.push(i, Some(content));
        Ok(())
    }

    fn encoded(&self, op: OpId) -> Result<crate::onnx::writer::encode::Encoded, FrontendError> {
        let graph = self.plan.graph;
        let refused =
            |why: String| FrontendError::NotExpressible { op: graph.location(op).to_string(), why };
        let opset = self
            .plan
            .view
            .opset("")
            .ok_or_else(|| refused("the standard operators are not imported".into()))?;
        let encoded = encode(graph.kind(op), opset).map_err(refused)?;
        match (0..encoded.required).find(|&i| graph.operand(op, i).is_none()) {
            Some(i) => {
                Err(refused(format!("{} in opset {opset} needs operand {i}", encoded.op_type)))
            }
            None => Ok(encoded),
        }
    }

    fn initializer(&mut self, i: u32) -> Result<(), FrontendError> {
        let tensor = self.plan.view.initializer(i as usize)?;
        let Some(op) = self.plan.op(Origin::Initializer(i)) else {
            if !self.plan.kept.contains(&i) {
                self.initializers.push(i, None);
                self.gone.insert(tensor.name);
                self.unlisted.insert(tensor.name);
            }
            return Ok(());
        };
        let name = self.name(op, 0);
        let changed = self.changed(op);
        let renamed = name != tensor.name;
        if let OpKind::Constant(c) = self.plan.graph.kind(op)
            && self.export.model.table.ir_version >= 4
            && c.binding == Binding::Fixed
            && self.plan.graph.is_modified(op)
        {
            // A constant for good is no argument; one that never was is not in the list.
            self.unlisted.extend(self.listed(tensor.name)?.then_some(name));
        }
        if renamed {
            self.gone.insert(tensor.name);
            self.present.insert(name);
            self.unlisted.insert(tensor.name);
            self.list_input(op, name)?;
        }
        let content = match changed {
            Some((id, outside)) => self.export.weights.rewrite(&tensor, id, name, outside)?,
            None if renamed => rename(&tensor, name)?,
            None => return Ok(()),
        };
        let content = self.contents.push(content);
        self.initializers.push(i, Some(content));
        Ok(())
    }

    /// Whether a graph input has that name.
    fn listed(&self, name: &str) -> Result<bool, FrontendError> {
        for i in 0..self.plan.table().inputs.len() {
            if self.plan.view.input(i)?.name == name {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sparse_initializer(&mut self, i: u32) -> Result<(), FrontendError> {
        let op = self.plan.op(Origin::SparseInitializer(i));
        let old = self.plan.view.sparse_initializer(i as usize)?.values.name;
        let stays = op.is_some_and(|op| self.changed(op).is_none() && self.name(op, 0) == old);
        if stays {
            return Ok(());
        }
        self.sparse.insert(i);
        self.gone.insert(old);
        match op {
            // What a sparse tensor became need not be sparse.
            Some(op) => self.new_initializer(op),
            None => Ok(()),
        }
    }

    fn new_initializer(&mut self, op: OpId) -> Result<(), FrontendError> {
        let OpKind::Constant(c) = self.plan.graph.kind(op) else { return Ok(()) };
        let name = self.name(op, 0);
        let outside = self.outside.get(&(self.plan.view.index, op)).cloned().flatten();
        let content = self.export.weights.tensor(c.entry, name, outside)?;
        self.added.push(self.contents.push(content));
        self.list_input(op, name)?;
        self.present.insert(name);
        Ok(())
    }

    /// Before IR version 4 an initializer must be a graph input as well.
    fn list_input(&mut self, op: OpId, name: &str) -> Result<(), FrontendError> {
        if self.export.model.table.ir_version >= 4 || !is_main(self.plan.view) {
            return Ok(());
        }
        let OpKind::Constant(c) = self.plan.graph.kind(op) else { return Ok(()) };
        let pool = self.export.weights.pool;
        let mut shape = Content::new();
        for d in pool.dims(c.entry) {
            let mut dim = Content::new();
            crate::onnx::writer::int(&mut dim, 1, d as i64);
            message(&mut shape, 1, dim);
        }
        let mut tensor = Content::new();
        crate::onnx::writer::int(
            &mut tensor,
            1,
            dtype_code(pool.dtype(c.entry)).unwrap_or(0).into(),
        );
        message(&mut tensor, 2, shape);
        let mut ty = Content::new();
        message(&mut ty, 1, tensor);
        let mut input = Content::new();
        text(&mut input, 1, name);
        message(&mut input, 2, ty);
        self.inputs.push(self.contents.push(input));
        Ok(())
    }

    fn new_nodes(&mut self) -> Result<(), FrontendError> {
        let graph = self.plan.graph;
        for &op in &self.plan.nodes {
            let outputs: Vec<&str> = graph.results(op).map(|v| self.plan.name(v)).collect();
            let content = if let OpKind::Constant(c) = graph.kind(op) {
                let output = outputs.first().copied().unwrap_or("");
                let outside = self.outside.get(&(self.plan.view.index, op)).cloned().flatten();
                new_constant(output, self.export.weights.tensor(c.entry, "", outside)?)
            } else {
                let inputs: Vec<&str> =
                    graph.operands(op).map(|v| v.map_or("", |v| self.plan.name(v))).collect();
                new_node(&self.encoded(op)?, graph.op_name(op).map_or("", |n| n), &inputs, &outputs)
            };
            self.present.extend(&outputs);
            self.new.insert(Item::New(op), self.contents.push(content));
        }
        for (n, alias) in self.plan.names.aliases.iter().enumerate() {
            let input = self.plan.name(alias.value);
            let identity = encode(&normfold_ir::Identity {}.into(), 1)
                .map_err(|why| FrontendError::NotExpressible { op: alias.name.to_string(), why })?;
            let content = new_node(&identity, "", &[input], &[&alias.name]);
            self.new.insert(Item::Alias(n as u32), self.contents.push(content));
            self.present.insert(&alias.name);
        }
        Ok(())
    }

    fn assemble(mut self) -> Result<Content<'a>, FrontendError> {
        let table = self.plan.table();
        let numbers = if let GraphOwner::Function(_) = table.owner { &FUNCTION } else { &GRAPH };
        let mut nodes = Nodes::new(&self.plan.order);
        let (mut node, mut initializer, mut sparse, mut input, mut info) = (0, 0, 0, 0, 0);
        let content = self.export.model.slice(table.content.clone());
        let mut out = rebuild(content, |out, f| {
            if f.number == numbers.node {
                nodes.reach(out, &mut self, numbers, node, Some(f))?;
                node += 1;
                if node == table.nodes.len() as u32 {
                    nodes.finish(out, &mut self, numbers);
                }
            } else if f.number == numbers.initializer {
                let edit = self.initializers.take(initializer);
                self.edited(out, f, edit)?;
                initializer += 1;
                if initializer == table.initializers.len() as u32 {
                    self.new_initializers(out, numbers);
                }
            } else if f.number == numbers.sparse {
                if !self.sparse.contains(&sparse) {
                    copy(out, f);
                }
                sparse += 1;
            } else if f.number == numbers.input {
                if !self.unlisted.contains(self.plan.view.input(input)?.name) {
                    copy(out, f);
                }
                input += 1;
                if input == table.inputs.len() {
                    self.new_inputs(out, numbers);
                }
            } else if f.number == numbers.value_info || f.number == numbers.annotation {
                // Both name their value in field 1.
                let mut fields = f.bytes()?.fields();
                let mut name = "";
                while let Some(n) = fields.next()? {
                    if n.number == 1 {
                        name = n.text()?;
                    }
                }
                let record = (f.number == numbers.value_info).then_some(info);
                info += u32::from(record.is_some());
                match record.and_then(|i| self.types.edited.remove(&i)) {
                    Some(content) => replace(out, f, content)?,
                    None if !self.gone.contains(name) => copy(out, f),
                    None => {}
                }
                if record.is_some() && info == table.value_infos.len() as u32 {
                    self.types.added.drain(..).for_each(|v| message(out, numbers.value_info, v));
                }
            } else {
                copy(out, f);
            }
            Ok::<_, FrontendError>(())
        })?;
        nodes.finish(&mut out, &mut self, numbers);
        self.new_initializers(&mut out, numbers);
        self.new_inputs(&mut out, numbers);
        self.types.added.into_iter().for_each(|v| message(&mut out, numbers.value_info, v));
        Ok(out)
    }

    /// Writes the new initializers, once.
    fn new_initializers(&mut self, out: &mut Content<'a>, numbers: &Numbers) {
        for t in std::mem::take(&mut self.added) {
            message(out, numbers.initializer, self.contents.take(t));
        }
    }

    /// Writes the new graph inputs, once.
    fn new_inputs(&mut self, out: &mut Content<'a>, numbers: &Numbers) {
        for i in std::mem::take(&mut self.inputs) {
            message(out, numbers.input, self.contents.take(i));
        }
    }

    /// Writes a record: as it is, with another content, or not at all.
    fn edited(
        &mut self,
        out: &mut Content<'a>,
        field: &Field<'_>,
        edit: Option<Option<u32>>,
    ) -> Result<(), FrontendError> {
        match edit {
            None => copy(out, field),
            Some(Some(content)) => replace(out, field, self.contents.take(content))?,
            Some(None) => {}
        }
        Ok(())
    }
}

/// Nodes as they are written: records in document order with new ones between, or everything anew at the first record.
struct Nodes<'o> {
    order: &'o Order,
    at: usize,
}

impl<'o> Nodes<'o> {
    fn new(order: &'o Order) -> Self {
        Self { order, at: 0 }
    }

    /// Writes what belongs at record `i`.
    fn reach<'a>(
        &mut self,
        out: &mut Content<'a>,
        writer: &mut Writer<'_, 'a>,
        numbers: &Numbers,
        i: u32,
        field: Option<&Field<'_>>,
    ) -> Result<(), FrontendError> {
        match self.order {
            Order::Document(items) => {
                self.new_until(out, writer, numbers, items, (i, 1));
                if let Some(f) = field {
                    let edit = writer.nodes.take(i);
                    writer.edited(out, f, edit)?;
                }
                self.new_until(out, writer, numbers, items, (i + 1, 0));
            }
            Order::Resorted(items) if i == 0 => {
                for &item in items {
                    match item {
                        Item::Record(r) => {
                            let Some(&rec) = writer.plan.table().nodes.get(r as usize) else {
                                continue;
                            };
                            let record = writer.export.model.slice(rec.range());
                            if let Some(f) = record.fields().next()? {
                                let edit = writer.nodes.take(r);
                                writer.edited(out, &f, edit)?;
                            }
                        }
                        new => {
                            if let Some(node) = writer.new.remove(&new) {
                                message(out, numbers.node, writer.contents.take(node));
                            }
                        }
                    }
                }
            }
            Order::Resorted(_) => {}
        }
        Ok(())
    }

    fn new_until<'a>(
        &mut self,
        out: &mut Content<'a>,
        writer: &mut Writer<'_, 'a>,
        numbers: &Numbers,
        items: &[((u32, u8, u32), Item)],
        end: (u32, u8),
    ) {
        while let Some(((i, phase, _), item)) = items.get(self.at)
            && (*i, *phase) < end
        {
            if let Some(node) = writer.new.remove(item) {
                message(out, numbers.node, writer.contents.take(node));
            }
            self.at += 1;
        }
    }

    /// Writes the new nodes that are left.
    fn finish<'a>(
        &mut self,
        out: &mut Content<'a>,
        writer: &mut Writer<'_, 'a>,
        numbers: &Numbers,
    ) {
        if let Order::Document(items) = self.order {
            self.new_until(out, writer, numbers, items, (u32::MAX, u8::MAX));
        }
    }
}

fn record_content<'a>(writer: &Writer<'_, 'a>, i: u32) -> Result<Bytes<'a>, FrontendError> {
    match writer.plan.table().nodes.get(i as usize) {
        Some(&rec) => Ok(writer.export.model.content(rec)?),
        None => Ok(Bytes::new(&[], 0)),
    }
}

/// A tensor under another name.
fn rename<'c>(tensor: &TensorView<'_>, name: &str) -> Result<Content<'c>, FrontendError> {
    rebuild(tensor.content, |out, f| {
        match f.number {
            8 => replace_text(out, f, name)?,
            _ => copy(out, f),
        }
        Ok(())
    })
}

/// The tensor whose data a Constant node holds.
pub(super) fn constant_tensor<'a>(
    node: &NodeView<'a>,
) -> Result<Option<TensorView<'a>>, FrontendError> {
    match node.attribute("value") {
        Some(a) => Ok(a.tensor()?),
        None => Ok(None),
    }
}

/// Whether a tensor's data is in another file.
pub(super) fn is_external(tensor: &TensorView<'_>) -> bool {
    matches!(tensor.storage, Storage::External(_))
}
