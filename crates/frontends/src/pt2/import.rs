//! From a program to a graph.

use super::{
    Pt2Capabilities,
    alias::{self, Call, Effect},
    ops::{self, NodeCx, NodeRecord, Operand, Slot},
    program::{Node, Program, Role, invalid, union},
    storage::Storages,
};
use crate::{FrontendError, archive::Archive, bytes::Source, json::Json};
use normfold_ir::{
    AttrMap, Attribute, Binding, CarriedNorm, ConstId, Constant, Graph, GraphRole, Module, OpId,
    OpSpec, Opaque, Parameter, ResultSpec, Return, Type, Value,
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// What import made of a program, to know later what became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Per input.
    pub(super) inputs: Vec<InputRecord>,
    /// Per node.
    pub(super) nodes: Vec<NodeRecord>,
    /// Nodes whose update is seen by others.
    pub(super) seen: HashSet<usize>,
}

/// What an input became.
#[derive(Clone, Debug, Default)]
pub(super) struct InputRecord {
    /// Its value; `None` without a name.
    pub(super) value: Option<Value>,
    /// Its constant, if it is one.
    pub(super) entry: Option<ConstId>,
    /// Whether something read it.
    pub(super) used: bool,
}

/// What is imported, and how.
pub(super) struct Importer<'i, 'a> {
    pub(super) program: &'i Program<'a>,
    pub(super) archive: &'i Archive,
    pub(super) source: &'i Source,
    pub(super) storages: &'i mut Storages,
    /// The document, for what is carried verbatim.
    pub(super) text: &'a [u8],
    /// The layers of a live module that can change; `None` for a file.
    pub(super) live: Option<&'i BTreeSet<String>>,
}

/// What one graph is made with.
struct Body<'g, 'a> {
    graph: &'g mut Graph,
    values: HashMap<&'a str, Value>,
    record: Record,
    fixed: HashSet<OpId>,
    unbiased: HashSet<OpId>,
    removable: Option<HashSet<OpId>>,
    /// The constant of each fully qualified name.
    constants: HashMap<Value, &'a str>,
    /// How many batch norms there are of each name.
    norms: HashMap<&'a str, usize>,
    /// Names that something reads.
    read: HashSet<&'a str>,
}

/// The module that a parameter belongs to.
pub(super) fn owner(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or("", |(module, _)| module)
}

impl<'a> Importer<'_, 'a> {
    /// Imports the program under a name.
    pub(super) fn run(&mut self, name: &str) -> Result<(Module, Record), FrontendError> {
        let program = self.program;
        let mut module = Module::new(name);
        let attrs = &mut module.attrs;
        attrs.insert("source".into(), Attribute::Str("torch".into()));
        if let Some(version) = program.json.get("torch_version").and_then(Json::as_str) {
            attrs.insert("torch_version".into(), Attribute::Str(version.into()));
        }
        let mut graph = Graph::new("main", GraphRole::Main);
        graph.reserve(program.nodes.len() + program.inputs.len() + 1, program.nodes.len() * 3);
        let effects = alias::analyse(
            &calls(program),
            program.inputs.iter().filter_map(|i| i.name),
            program.outputs.iter().filter_map(|json| json.as_str()),
        );
        let mut body = Body {
            graph: &mut graph,
            values: HashMap::new(),
            record: Record::default(),
            fixed: HashSet::new(),
            unbiased: HashSet::new(),
            removable: self.live.map(|_| HashSet::new()),
            constants: HashMap::new(),
            norms: HashMap::new(),
            read: program.nodes.iter().flat_map(Node::reads).collect(),
        };
        body.read.extend(program.outputs.iter().filter_map(|json| json.as_str()));
        for node in &program.nodes {
            if let Some(name) = ops::is_norm(node).and_then(|norm| norm.mean) {
                *body.norms.entry(name).or_default() += 1;
            }
        }
        self.inputs(&mut module, &mut body, &effects.pinned)?;
        for (index, node) in program.nodes.iter().enumerate() {
            let pinned = node.reads().chain(node.results.iter().copied());
            // What counts of a norm that nothing reads is what it keeps.
            let keeps = !ops::updated_state(node).is_empty()
                && node.results.first().is_none_or(|name| !body.read.contains(name));
            let pinned = keeps || pinned.into_iter().any(|name| effects.pinned.contains(name));
            let record = self.node(&mut module, &mut body, node, index as u32, pinned)?;
            for (&name, &value) in node.results.iter().zip(&record.results) {
                if body.values.insert(name, value).is_some() {
                    let problem = format!("two nodes give `{name}`");
                    return Err(invalid(format!("node `{}`", node.place()), problem));
                }
            }
            body.record.nodes.push(record);
        }
        let mut operands = Vec::new();
        let mut names = Vec::new();
        for name in program.outputs.iter().filter_map(|json| json.as_str()) {
            let value = body.values.get(name).ok_or_else(|| {
                invalid("graph.outputs", format!("nothing gives the result `{name}`"))
            })?;
            operands.push(Some(*value));
            names.push(Arc::from(name));
        }
        body.graph.create(OpSpec::new(Return { names }).operands(operands));
        for input in &mut body.record.inputs {
            input.used = input.value.is_some_and(|v| body.graph.has_uses(v.op));
        }
        let Body { mut record, fixed, unbiased, mut removable, .. } = body;
        if let Some(norms) = &mut removable {
            // Code that reads what a batch norm owns finds nothing once it is gone.
            let own = |v: Value| graph.uses(v).count() == 1;
            norms.retain(|&op| graph.operands(op).skip(1).flatten().all(own));
        }
        record.seen = effects.seen.into_iter().collect();
        let may_add = self.live.is_none();
        graph.set_capabilities(Arc::new(Pt2Capabilities { fixed, unbiased, removable, may_add }));
        module.add_graph(graph);
        Ok((module, record))
    }

    fn inputs(
        &mut self,
        module: &mut Module,
        body: &mut Body<'_, 'a>,
        pinned: &HashSet<&'a str>,
    ) -> Result<(), FrontendError> {
        let program = self.program;
        let updated: HashSet<&str> = program.updated().collect();
        let state: HashSet<&str> = program.nodes.iter().flat_map(ops::updated_state).collect();
        // A storage that several inputs view cannot change for one of them.
        let mut viewers: HashMap<usize, usize> = HashMap::new();
        for input in &program.inputs {
            if let Role::Weight(name) = input.role
                && input.name.is_some_and(|placeholder| body.read.contains(placeholder))
                && let Some(member) = self.storages.member(name)
            {
                *viewers.entry(member).or_default() += 1;
            }
        }
        let mut index = 0;
        for (number, input) in program.inputs.iter().enumerate() {
            let Some(name) = input.name else {
                body.record.inputs.push(InputRecord::default());
                continue;
            };
            let ty = program.ty(name);
            let data = match input.role {
                Role::Weight(weight) => self.storages.data(self.archive, self.source, weight)?,
                Role::Passed => None,
            };
            let (op, entry) = match (input.role, data) {
                (Role::Weight(weight), Some((stored, data))) => {
                    if ty != Type::Tensor(stored.clone()) {
                        let problem = format!("its payload is a {stored}, the graph reads a {ty}");
                        return Err(invalid(format!("`{weight}`"), problem));
                    }
                    let changes =
                        updated.contains(weight) || pinned.contains(name) || state.contains(name);
                    let binding = match changes {
                        true => Binding::Mutable,
                        false => Binding::Fixed,
                    };
                    let entry = module.constants.add(stored, data);
                    let spec = OpSpec::new(Constant { entry, binding })
                        .name(weight)
                        .origin(program.nodes.len() as u32 + number as u32)
                        .named_result(name, ty);
                    let op = body.graph.create(spec);
                    let shared = self
                        .storages
                        .member(weight)
                        .is_some_and(|m| viewers.get(&m).is_some_and(|&n| n > 1));
                    let live = self.live.is_none_or(|modules| modules.contains(owner(weight)));
                    if shared || !live || !self.storages.may_change(weight) {
                        body.fixed.insert(op);
                    }
                    body.constants.insert(Value::new(op, 0), weight);
                    (op, Some(entry))
                }
                _ => {
                    let kind = Parameter { index, capture: false };
                    index += 1;
                    (body.graph.create(OpSpec::new(kind).named_result(name, ty)), None)
                }
            };
            let value = Value::new(op, 0);
            if body.values.insert(name, value).is_some() {
                return Err(invalid("graph.inputs", format!("two inputs are `{name}`")));
            }
            body.record.inputs.push(InputRecord { value: Some(value), entry, used: false });
        }
        Ok(())
    }

    fn node(
        &mut self,
        module: &mut Module,
        body: &mut Body<'_, 'a>,
        node: &Node<'a>,
        index: u32,
        pinned: bool,
    ) -> Result<NodeRecord, FrontendError> {
        if let Some(name) = node.reads().find(|name| !body.values.contains_key(name)) {
            let problem = format!("it reads `{name}`, which nothing before it gives");
            return Err(invalid(format!("node `{}`", node.place()), problem));
        }
        // What a layer computes with its own weights is called after the layer.
        let weights = node.reads().filter_map(|n| body.constants.get(body.values.get(n)?));
        let mut owners = weights.map(|w| owner(w));
        let layer = node.module_name().filter(|m| !m.is_empty() && owners.any(|o| o == *m));
        let location = match (layer, node.module) {
            (Some(_), Some((name, _))) => name,
            _ => node.place(),
        };
        let mut cx = NodeCx {
            graph: &mut *body.graph,
            pool: &mut module.constants,
            program: self.program,
            node,
            index,
            values: &body.values,
            location: location.into(),
            read: &body.read,
            literals: &mut body.fixed,
            record: NodeRecord::default(),
        };
        let mut norm = None;
        if let Some(found) = ops::is_norm(node) {
            norm = match (self.live, found.mean) {
                _ if pinned => match ops::carried(&cx) {
                    Some(reason @ CarriedNorm::BatchStatistics) => Some(reason),
                    _ => Some(CarriedNorm::UpdatedInPlace),
                },
                (Some(_), Some(mean)) if body.norms.get(mean).is_some_and(|&n| n > 1) => {
                    Some(CarriedNorm::SharedLayer)
                }
                (Some(modules), _) if layer.is_none_or(|m| !modules.contains(m)) => {
                    ops::carried(&cx).map(|reason| match reason {
                        CarriedNorm::BatchStatistics => reason,
                        _ => CarriedNorm::CustomLayer,
                    })
                }
                _ => None,
            };
        }
        // What a live module overwrites stays with the module: an update that became private only through a fold would not.
        let in_place = effect(node) == Effect::InPlace;
        let arithmetic = matches!(ops::functional(node), Some(("add" | "sub" | "mul" | "div", _)));
        let kept = pinned || norm.is_some() || (self.live.is_some() && in_place && arithmetic);
        if !kept {
            if let Some(results) = ops::emit(&mut cx) {
                let mut record = cx.record;
                record.results = results;
                let own =
                    self.live.is_none_or(|modules| layer.is_some_and(|m| modules.contains(m)));
                let ops = record.ops.iter().map(|(op, _)| *op);
                match &mut body.removable {
                    _ if !own => body.unbiased.extend(ops),
                    Some(norms) if ops::is_norm(node).is_some() => norms.extend(ops),
                    _ => {}
                }
                return Ok(record);
            }
            norm = ops::carried(&cx);
        }
        let norm = norm.or_else(|| carries(node).then_some(CarriedNorm::NestedGraph));
        let mut record = cx.record;
        let (op, operands) = opaque(
            body.graph,
            &body.values,
            self.program,
            self.text,
            node,
            Kept { index, location: location.into(), norm, pinned },
        );
        record.results = body.graph.results(op).collect();
        record.ops.push((op, operands));
        Ok(record)
    }
}

/// Before the names of ops that carry graphs.
const HIGHER_ORDER: &str = "torch.ops.higher_order.";

/// What the analysis of updates sees of a program.
pub(super) fn calls<'a>(program: &Program<'a>) -> Vec<Call<'a>> {
    let call = |n: &Node<'a>| Call {
        effect: effect(n),
        stays: ops::functional_target(n, program).is_none(),
        reads: n.reads().collect(),
        results: n.results.clone(),
        state: ops::updated_state(n),
    };
    program.nodes.iter().map(call).collect()
}

/// What a node does to memory. Of an op that carries graphs it is what is done in them.
fn effect(node: &Node<'_>) -> Effect {
    if ops::is_no_dropout(node) {
        return Effect::View;
    }
    let mut carried = false;
    let mut harmless = true;
    inner(node, &mut |target| {
        carried = true;
        harmless &= matches!(alias::effect(target), Effect::Fresh | Effect::View);
    });
    match node.target.starts_with(HIGHER_ORDER) {
        true if carried && harmless => Effect::View,
        _ => alias::effect(node.target),
    }
}

/// Whether an argument of the node is a graph with batch norms in it.
fn carries(node: &Node<'_>) -> bool {
    let mut found = false;
    inner(node, &mut |target| found |= target.contains("batch_norm"));
    found
}

/// Calls `f` with the target of every node in the graphs that a node carries, those of them aside that only carry graphs
/// themselves.
pub(super) fn inner(node: &Node<'_>, f: &mut impl FnMut(&str)) {
    let mut pending: Vec<&Json> = node.args.iter().map(|a| a.value).collect();
    while let Some(argument) = pending.pop() {
        let Some(("as_graph", argument)) = union(argument) else { continue };
        let nodes = argument.get("graph").and_then(|g| g.get("nodes")).and_then(Json::items);
        for inner in nodes.unwrap_or_default() {
            let target = inner.get("target").and_then(Json::as_str);
            let inputs = inner.get("inputs").and_then(Json::items).unwrap_or_default();
            let before = pending.len();
            let arguments = inputs.iter().filter_map(|i| i.get("arg"));
            pending.extend(arguments.filter(|a| matches!(union(a), Some(("as_graph", _)))));
            let carries = pending.len() > before;
            target
                .filter(|t| !carries || !t.starts_with(HIGHER_ORDER))
                .into_iter()
                .for_each(&mut *f);
        }
    }
}

/// What is known of a node that stays opaque.
struct Kept {
    index: u32,
    location: Arc<str>,
    norm: Option<CarriedNorm>,
    pinned: bool,
}

/// A node that is carried and not understood.
fn opaque<'a>(
    graph: &mut Graph,
    values: &HashMap<&'a str, Value>,
    program: &Program<'a>,
    text: &[u8],
    node: &Node<'a>,
    kept: Kept,
) -> (OpId, Vec<Operand>) {
    let mut operands = Vec::new();
    let mut attrs = AttrMap::new();
    for (arg, argument) in node.args.iter().enumerate() {
        for (mention, read) in argument.reads.iter().enumerate() {
            let value = read.as_str().and_then(|name| values.get(name)).copied();
            let slot = Slot::Read { arg: arg as u32, mention: mention as u32 };
            operands.push(Operand { value, slot });
        }
        if argument.reads.is_empty() && !matches!(union(argument.value), Some(("as_graph", _))) {
            let key = match argument.name {
                "" => format!("arg{arg}"),
                name => name.to_owned(),
            };
            attrs.insert(key.into(), Attribute::Str(argument.value.text(text).into()));
        }
    }
    let name = node.target.strip_prefix("torch.ops.").unwrap_or(node.target);
    let pure = !kept.pinned && effect(node) == Effect::Fresh && is_value(node);
    let kind = Opaque {
        domain: "torch".into(),
        name: name.into(),
        attrs,
        pure,
        type_uses: node.aten().map_or_else(Vec::new, |(name, _)| type_uses(name)),
        quantized: name.contains("quant"),
        norm: kept.norm,
        ..Opaque::default()
    };
    let results = node.results.iter();
    let results: Vec<ResultSpec> =
        results.map(|r| ResultSpec { name: Some((*r).into()), ty: program.ty(r) }).collect();
    let spec = OpSpec::new(kind)
        .name(kept.location)
        .origin(kept.index)
        .operands(operands.iter().map(|o| o.value))
        .results(results);
    (graph.create(spec), operands)
}

/// The operands of which an op reads shape and type, and no elements.
fn type_uses(name: &str) -> Vec<u32> {
    let first = name.starts_with("sym_") || name == "_assert_tensor_metadata";
    match name {
        _ if first || name.ends_with("_like") || name.starts_with("new_") => vec![0],
        "reshape_as" | "view_as" | "expand_as" | "type_as" => vec![1],
        _ => Vec::new(),
    }
}

/// Whether a node computes tensors from its operands and nothing else: no symbols, which are named where no op reads them, and
/// no random numbers.
fn is_value(node: &Node<'_>) -> bool {
    node.aten().is_some_and(|(name, _)| !name.starts_with("sym_") && !name.starts_with("rand"))
}
