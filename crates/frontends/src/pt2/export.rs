//! What became of each node and of each parameter: the module compared with what was imported.
//!
//! Nodes are neither made nor moved. What a pass did must amount to nodes that are gone, arguments that mention other
//! values, parameters with other elements, and parameters that are new; everything else is an error that names the node.

use super::{
    alias,
    capabilities::is_addmm,
    import::{Record, calls, owner},
    layout,
    ops::{self, Operand, Slot},
    program::{Node, Program, Role},
};
use crate::FrontendError;
use normfold_ir::{ConstId, ConstPool, Graph, OpId, OpKind, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What became of a program.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Nodes that go.
    pub(super) gone: BTreeSet<usize>,
    /// Other names in place of mentions: node, argument, number of the mention.
    pub(super) mentions: BTreeMap<(usize, usize, usize), String>,
    /// Nodes that get a bias of that name.
    pub(super) biases: BTreeMap<usize, String>,
    /// Matrix products that get an addend of that name.
    pub(super) addends: BTreeMap<usize, String>,
    /// Nodes whose update in place becomes a result of its own: their targets.
    pub(super) targets: BTreeMap<usize, String>,
    /// Views that become copies where they have to.
    pub(super) reshapes: BTreeSet<usize>,
    /// What is read in place of values that are gone.
    pub(super) replaced: HashMap<String, String>,
    /// Results by number under other names.
    pub(super) outputs: BTreeMap<usize, String>,
    /// Inputs that go.
    pub(super) inputs: BTreeSet<usize>,
    /// Parameters with other elements.
    pub(super) changed: Vec<(String, ConstId)>,
    /// Parameters that are new.
    pub(super) added: Vec<Added>,
}

/// A parameter that is new.
#[derive(Debug)]
pub(super) struct Added {
    /// Its fully qualified name.
    pub(super) name: String,
    /// What nodes call it.
    pub(super) placeholder: String,
    pub(super) entry: ConstId,
    /// The input that it comes behind and is like.
    pub(super) after: usize,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        let Self { gone, mentions, biases, addends, targets, reshapes, .. } = self;
        let Self { replaced: _, outputs, inputs, changed, added, .. } = self;
        gone.is_empty()
            && mentions.is_empty()
            && biases.is_empty()
            && addends.is_empty()
            && targets.is_empty()
            && reshapes.is_empty()
            && outputs.is_empty()
            && inputs.is_empty()
            && changed.is_empty()
            && added.is_empty()
    }
}

pub(super) fn inexpressible(node: &Node<'_>, why: impl Into<String>) -> FrontendError {
    FrontendError::NotExpressible { op: node.place().to_owned(), why: why.into() }
}

struct Export<'e, 'a> {
    program: &'e Program<'a>,
    record: &'e Record,
    graph: &'e Graph,
    pool: &'e ConstPool,
    /// What the program calls each value.
    names: HashMap<Value, String>,
    /// Names that are taken.
    taken: HashSet<String>,
    /// Those of parameters; what stands before a dot of one is a module's.
    weights: BTreeSet<&'a str>,
    /// Which input a placeholder is.
    inputs: HashMap<&'a str, usize>,
    /// Whether the program is that of a live module.
    live: bool,
    change: Change,
}

/// Compares a program with its graph.
///
/// # Errors
/// The graph has become what the program cannot say.
pub(super) fn export<'a>(
    graph: &Graph,
    pool: &ConstPool,
    program: &Program<'a>,
    record: &Record,
    live: bool,
) -> Result<Change, FrontendError> {
    let mut names = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    let mut inputs = HashMap::new();
    let mut weights = BTreeSet::new();
    for (i, (input, made)) in program.inputs.iter().zip(&record.inputs).enumerate() {
        if let (Some(name), Some(value)) = (input.name, made.value) {
            names.insert(value, name.to_owned());
            inputs.insert(name, i);
        }
        taken.extend(input.name.map(str::to_owned));
        if let Role::Weight(name) = input.role {
            taken.insert(name.to_owned());
            weights.insert(name);
        }
    }
    for (node, made) in program.nodes.iter().zip(&record.nodes) {
        let results = node.results.iter().zip(&made.results);
        names.extend(results.map(|(name, &value)| (value, (*name).to_owned())));
        taken.extend(node.results.iter().map(|name| (*name).to_owned()));
    }
    let change = Change::default();
    let mut export =
        Export { program, record, graph, pool, names, taken, weights, inputs, live, change };
    export.weights()?;
    for index in 0..program.nodes.len() {
        export.node(index)?;
    }
    export.outputs()?;
    export.companions();
    export.order()?;
    let overwritten = export.updates()?;
    layout::follow(program, &mut export.change, &overwritten, live)?;
    Ok(export.change)
}

impl<'a> Export<'_, 'a> {
    /// Parameters that have other elements, and those that nothing reads any more.
    fn weights(&mut self) -> Result<(), FrontendError> {
        for (i, (input, made)) in self.program.inputs.iter().zip(&self.record.inputs).enumerate() {
            let (Role::Weight(name), Some(value), Some(entry)) =
                (input.role, made.value, made.entry)
            else {
                continue;
            };
            if !self.graph.contains(value.op) {
                if made.used {
                    self.change.inputs.insert(i);
                }
                continue;
            }
            match self.graph.kind(value.op) {
                OpKind::Constant(c) if c.entry == entry => {}
                OpKind::Constant(c) if self.pool.ty(c.entry) == self.pool.ty(entry) => {
                    self.change.changed.push((name.to_owned(), c.entry));
                }
                _ => {
                    let why = "it would have another type".to_owned();
                    return Err(FrontendError::NotExpressible { op: name.to_owned(), why });
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, index: usize) -> Result<(), FrontendError> {
        let (Some(node), Some(made)) =
            (self.program.nodes.get(index), self.record.nodes.get(index))
        else {
            return Ok(());
        };
        let Some((last, _)) = made.ops.last() else { return Ok(()) };
        if !self.graph.contains(*last) {
            self.change.gone.insert(index);
            return Ok(());
        }
        for (op, operands) in &made.ops {
            let addend = self.addend(node, *op);
            if !self.graph.contains(*op) || (self.graph.is_modified(*op) && addend.is_none()) {
                return Err(inexpressible(node, "the node would do something else"));
            }
            if let Some(addend) = addend {
                let like = node.reads().find(|name| self.weight(name).is_some());
                let name = self.name(node, addend, like, Slot::Bias)?;
                self.change.addends.insert(index, name);
            }
            let more = operands.len() + usize::from(addend.is_some());
            if self.graph.num_operands(*op) > more {
                return Err(inexpressible(node, "another number of operands"));
            }
            for (slot, before) in operands.iter().enumerate() {
                let now = self.graph.operand(*op, slot);
                if before.value != now {
                    self.operand(index, node, *before, now)?;
                }
            }
        }
        Ok(())
    }

    /// The addend that a matrix product has got.
    fn addend(&self, node: &Node<'a>, op: OpId) -> Option<Value> {
        let matrices = matches!(node.aten(), Some(("mm" | "matmul", _)));
        match self.graph.contains(op).then(|| self.graph.kind(op)) {
            Some(OpKind::Linear(l)) if matrices && is_addmm(l) => self.graph.operand(op, 2),
            _ => None,
        }
    }

    /// An operand that is another value than it was.
    fn operand(
        &mut self,
        index: usize,
        node: &Node<'a>,
        before: Operand,
        now: Option<Value>,
    ) -> Result<(), FrontendError> {
        let Some(now) = now else { return Err(inexpressible(node, "an operand is gone")) };
        // Of equal numbers one may stand for all.
        if let Slot::Stated(entry) = before.slot {
            return match self.states(now, entry) {
                true => Ok(()),
                false => Err(inexpressible(node, "a number that it states is another")),
            };
        }
        // What the new parameter is like: the weight of the node, or the one whose place it takes.
        let like = match before.slot {
            Slot::Read { arg, mention } => self.mention(node, arg, mention),
            Slot::Bias => node.arg("weight").and_then(|a| a.reads.first()?.as_str()),
            Slot::Fixed | Slot::Stated(_) => None,
        };
        let name = self.name(node, now, like, before.slot)?;
        match before.slot {
            Slot::Read { arg, mention } => {
                if let Some(old) = self.mention(node, arg, mention) {
                    self.change.replaced.entry(old.to_owned()).or_insert_with(|| name.clone());
                }
                self.change.mentions.insert((index, arg as usize, mention as usize), name);
            }
            Slot::Bias => {
                self.change.biases.insert(index, name);
            }
            Slot::Fixed | Slot::Stated(_) => {
                return Err(inexpressible(node, "what it states is another"));
            }
        }
        Ok(())
    }

    /// Whether a value has these elements for good.
    fn states(&self, value: Value, entry: ConstId) -> bool {
        let bytes = |entry| {
            let mut bytes = vec![0; self.pool.byte_len(entry) as usize];
            self.pool.read_bytes(entry, 0, &mut bytes).is_ok().then_some(bytes)
        };
        match self.graph.kind(value.op) {
            OpKind::Constant(c) => {
                self.pool.ty(c.entry) == self.pool.ty(entry)
                    && bytes(c.entry).is_some_and(|now| bytes(entry) == Some(now))
            }
            _ => false,
        }
    }

    fn mention(&self, node: &Node<'a>, arg: u32, mention: u32) -> Option<&'a str> {
        node.args.get(arg as usize)?.reads.get(mention as usize)?.as_str()
    }

    /// What the program calls a value, a constant that is new included.
    fn name(
        &mut self,
        node: &Node<'a>,
        value: Value,
        like: Option<&'a str>,
        slot: Slot,
    ) -> Result<String, FrontendError> {
        if let Some(name) = self.names.get(&value) {
            return Ok(name.clone());
        }
        let OpKind::Constant(c) = self.graph.kind(value.op) else {
            let mnemonic = self.graph.kind(value.op).mnemonic();
            return Err(inexpressible(node, format!("no node stands for this {mnemonic}")));
        };
        let weight = like.and_then(|name| self.weight(name)).or_else(|| {
            // What was computed from a parameter: any parameter of the node.
            node.reads().find_map(|name| self.weight(name)).or_else(|| self.first_weight())
        });
        let Some((after, weight)) = weight else {
            return Err(inexpressible(node, "no parameter shows what a new one is like"));
        };
        let name = match slot {
            Slot::Bias => match owner(weight) {
                "" => "bias".to_owned(),
                module => format!("{module}.bias"),
            },
            _ => weight.to_owned(),
        };
        let name = self.fresh(name);
        // It becomes a variable of Python.
        let word = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let placeholder = self.fresh(format!("p_{word}"));
        self.names.insert(value, placeholder.clone());
        self.change.added.push(Added {
            name,
            placeholder: placeholder.clone(),
            entry: c.entry,
            after,
        });
        Ok(placeholder)
    }

    /// The input that a placeholder is, and the parameter it stands for.
    fn weight(&self, placeholder: &str) -> Option<(usize, &'a str)> {
        let index = *self.inputs.get(placeholder)?;
        match self.program.inputs.get(index)?.role {
            Role::Weight(name) => Some((index, name)),
            Role::Passed => None,
        }
    }

    fn first_weight(&self) -> Option<(usize, &'a str)> {
        self.program.inputs.iter().enumerate().find_map(|(i, input)| match input.role {
            Role::Weight(name) => Some((i, name)),
            Role::Passed => None,
        })
    }

    fn is_module(&self, name: &str) -> bool {
        let inside = format!("{name}.");
        self.weights.range(&*inside..).next().is_some_and(|found| found.starts_with(&*inside))
    }

    /// The name, or with a number where it is taken.
    fn fresh(&mut self, name: String) -> String {
        let mut candidate = name.clone();
        let mut number = 0;
        while self.is_module(&candidate) || !self.taken.insert(candidate.clone()) {
            number += 1;
            candidate = format!("{name}_{number}");
        }
        candidate
    }

    fn outputs(&mut self) -> Result<(), FrontendError> {
        let returned = self.graph.return_op();
        for (i, old) in self.program.outputs.iter().enumerate() {
            let Some(old) = old.as_str() else { continue };
            let value = returned.and_then(|r| self.graph.operand(r, i));
            match value.and_then(|v| self.names.get(&v)) {
                Some(now) if now == old => {}
                Some(now) => {
                    self.change.replaced.entry(old.to_owned()).or_insert_with(|| now.clone());
                    self.change.outputs.insert(i, now.clone());
                }
                None => {
                    let why = "a result that no node gives".to_owned();
                    return Err(FrontendError::NotExpressible { op: old.to_owned(), why });
                }
            }
        }
        Ok(())
    }

    /// A batch norm that goes takes the count of its batches along, which nothing read.
    fn companions(&mut self) {
        let weight = |&i: &usize| match self.program.inputs.get(i)?.role {
            Role::Weight(name) => name.strip_suffix(".running_mean"),
            Role::Passed => None,
        };
        let norms: HashSet<&str> = self.change.inputs.iter().filter_map(weight).collect();
        for (i, (input, made)) in self.program.inputs.iter().zip(&self.record.inputs).enumerate() {
            if let Role::Weight(name) = input.role
                && let Some(norm) = name.strip_suffix(".num_batches_tracked")
                && norms.contains(norm)
                && !made.used
            {
                self.change.inputs.insert(i);
            }
        }
    }

    /// The calls as they are now, with the nodes they are.
    fn calls(&self) -> Vec<(usize, alias::Call<'_>)> {
        let mut now = Vec::new();
        for (index, mut call) in calls(self.program).into_iter().enumerate() {
            if self.change.gone.contains(&index) {
                continue;
            }
            let Some(node) = self.program.nodes.get(index) else { continue };
            let mut reads: Vec<&str> = Vec::with_capacity(call.reads.len() + 1);
            for (arg, argument) in node.args.iter().enumerate() {
                for (mention, old) in argument.reads.iter().enumerate() {
                    let new = self.change.mentions.get(&(index, arg, mention));
                    reads.extend(new.map(String::as_str).or(old.as_str()));
                }
            }
            reads.extend(self.change.biases.get(&index).map(String::as_str));
            reads.extend(self.change.addends.get(&index).map(String::as_str));
            call.reads = reads;
            if let Some(target) = self.change.targets.get(&index) {
                call.effect = alias::effect(target);
            }
            now.push((index, call));
        }
        now
    }

    /// The names that inputs have now.
    fn given(&self) -> impl Iterator<Item = &str> {
        let kept = self.program.inputs.iter().enumerate();
        let kept = kept.filter(|(i, _)| !self.change.inputs.contains(i));
        let added = self.change.added.iter().map(|a| a.placeholder.as_str());
        kept.filter_map(|(_, input)| input.name).chain(added)
    }

    fn returned(&self) -> impl Iterator<Item = &str> {
        self.program
            .outputs
            .iter()
            .enumerate()
            .filter_map(|(i, old)| self.change.outputs.get(&i).map(String::as_str).or(old.as_str()))
    }

    /// Everything that is read has to be there, and before it is read.
    fn order(&self) -> Result<(), FrontendError> {
        let mut there: HashSet<&str> = self.given().collect();
        for (index, call) in self.calls() {
            if let Some(name) = call.reads.iter().find(|name| !there.contains(*name)) {
                let name = (*name).to_owned();
                return Err(match self.program.nodes.get(index) {
                    Some(node) => inexpressible(node, format!("`{name}` would not be there yet")),
                    None => FrontendError::NotExpressible { op: name, why: "it is gone".into() },
                });
            }
            there.extend(call.results);
        }
        match self.returned().find(|name| !there.contains(name)) {
            None => Ok(()),
            Some(name) => Err(FrontendError::NotExpressible {
                op: name.to_owned(),
                why: "a result that is gone".into(),
            }),
        }
    }

    /// An update in place that others would see now gives a result of its own instead. Gives the values that share memory with
    /// what stays to be overwritten where others see it.
    fn updates(&mut self) -> Result<HashSet<String>, FrontendError> {
        loop {
            let calls = self.calls();
            let indices: Vec<usize> = calls.iter().map(|(index, _)| *index).collect();
            let calls: Vec<_> = calls.into_iter().map(|(_, call)| call).collect();
            let effects = alias::analyse(&calls, self.given(), self.returned());
            let seen = effects.seen.iter().filter_map(|&at| indices.get(at).copied());
            let new: Vec<usize> = seen.filter(|i| !self.record.seen.contains(i)).collect();
            if new.is_empty() {
                return Ok(effects.pinned.into_iter().map(str::to_owned).collect());
            }
            let mut targets = Vec::new();
            for index in new {
                let Some(node) = self.program.nodes.get(index) else { continue };
                let why = "what it overwrites would be seen by others";
                match ops::functional_target(node, self.program) {
                    Some(target) if !self.live && !self.change.targets.contains_key(&index) => {
                        targets.push((index, target));
                    }
                    _ => return Err(inexpressible(node, why)),
                }
            }
            self.change.targets.extend(targets);
        }
    }
}
