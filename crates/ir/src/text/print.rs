//! Printing of modules, graphs and ops.

mod attributes;
mod constants;

use super::{MAX_BODIES, quote};
use crate::{
    Binding, ConstError, ConstId, ConstPool, Graph, GraphId, GraphRole, Module, OpId, OpKind, Value,
};
use indexmap::IndexSet;
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// How constants of more than 16 elements are printed. Uniform ones are always a `splat`, unless
/// nothing is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Weights {
    /// By the first 64 bits of a SHA-256 over type and content. Parses back as absent with that hash.
    #[default]
    Hash,
    /// Smallest, largest, mean and L2 norm in 4 digits. Parses back as absent.
    Stats,
    /// All of it, in a trailer of the module: what a reproducer needs.
    Full,
    /// Not at all, and nothing large is read. Parses back as absent.
    None,
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrintOptions {
    /// How large constants are printed.
    pub weights: Weights,
}

/// Why a module could not be printed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrintError {
    /// The elements of a constant could not be read.
    #[error("constant {} cannot be printed: {source}", entry.index())]
    Constant {
        /// The entry of the pool.
        entry: ConstId,
        /// Why.
        source: ConstError,
    },
    /// The sink failed.
    #[error("the text could not be written")]
    Sink(#[from] fmt::Error),
}

/// The text of a module.
///
/// # Errors
/// A constant that must be read cannot be.
pub fn print(module: &Module, options: &PrintOptions) -> Result<String, PrintError> {
    let mut text = String::new();
    write_to(module, options, &mut text)?;
    Ok(text)
}

/// Writes the text of a module piece by piece.
///
/// # Errors
/// A constant that must be read cannot be, or the sink fails.
pub fn write_to(
    module: &Module,
    options: &PrintOptions,
    out: &mut dyn fmt::Write,
) -> Result<(), PrintError> {
    let mut p = Printer {
        out,
        pool: &module.constants,
        module: Some(module),
        options,
        resources: Some(IndexSet::new()),
    };
    write!(p.out, "module {}", symbol(module.name()))?;
    p.attr_map(&module.attrs)?;
    p.out.write_str(" {\n")?;
    for id in module.graph_ids() {
        if module.graph(id).role() != GraphRole::Body {
            p.graph(id, 1)?;
        }
    }
    p.resources()?;
    Ok(p.out.write_str("}\n")?)
}

/// The text of one graph, bodies included. It stands within a module's braces.
///
/// # Errors
/// A constant that must be read cannot be.
pub fn print_graph(
    module: &Module,
    graph: GraphId,
    options: &PrintOptions,
) -> Result<String, PrintError> {
    let mut text = String::new();
    let out = &mut text;
    let pool = &module.constants;
    Printer { out, pool, module: Some(module), options, resources: None }.graph(graph, 0)?;
    Ok(text)
}

/// One op on one line, bodies and large constants left out, for messages. Values without a name are called by the
/// creation number of their op (`%_17`).
pub fn print_op(graph: &Graph, constants: &ConstPool, op: OpId) -> String {
    let mut text = String::new();
    let options = PrintOptions { weights: Weights::None };
    let out = &mut text;
    let mut p = Printer { out, pool: constants, module: None, options: &options, resources: None };
    match p.header(graph, &Names::default(), op) {
        Ok(()) => text,
        Err(e) => format!("{} ({e})", graph.kind(op).mnemonic()),
    }
}

/// How the values of a graph are spelled: by their name, else by a number.
#[derive(Default)]
struct Names {
    numbers: Option<HashMap<Value, u32>>,
}

impl Names {
    fn of(graph: &Graph, ops: &[OpId]) -> Self {
        let mut seen = HashSet::new();
        let mut numbers = HashMap::new();
        for v in ops.iter().flat_map(|&op| graph.results(op)) {
            // Two values of one name (the verifier forbids it) still print as two.
            if graph.value_name(v).is_none_or(|n| !seen.insert(&**n)) {
                numbers.insert(v, numbers.len() as u32);
            }
        }
        Self { numbers: Some(numbers) }
    }

    fn spell(&self, graph: &Graph, v: Value) -> String {
        match (&self.numbers, graph.value_name(v)) {
            (Some(numbers), name) => match (numbers.get(&v), name) {
                (Some(n), _) => format!("%{n}"),
                (None, Some(name)) => value_name(name),
                (None, None) => format!("%_{}", v.op.seq()),
            },
            (None, Some(name)) => value_name(name),
            (None, None) if v.result == 0 => format!("%_{}", v.op.seq()),
            (None, None) => format!("%_{}.{}", v.op.seq(), v.result),
        }
    }

    fn define(&self, graph: &Graph, v: Value) -> String {
        let mut text = self.spell(graph, v);
        if let Some(name) = graph.value_name(v)
            && self.numbers.as_ref().is_some_and(|n| n.contains_key(&v))
        {
            text += &format!(" as {}", quote(name));
        }
        text
    }
}

/// `%name`, in quotes when it has other characters or is a number.
fn value_name(name: &str) -> String {
    let bare = crate::types::is_plain_name(name) && !name.bytes().all(|b| b.is_ascii_digit());
    if bare { format!("%{name}") } else { format!("%{}", quote(name)) }
}

fn symbol(name: &str) -> String {
    if crate::types::is_plain_name(name) { format!("@{name}") } else { format!("@{}", quote(name)) }
}

struct Printer<'a> {
    out: &'a mut dyn fmt::Write,
    pool: &'a ConstPool,
    module: Option<&'a Module>,
    options: &'a PrintOptions,
    /// Entries to be written out at the end; `None` where there is no end to write them at.
    resources: Option<IndexSet<ConstId>>,
}

impl Printer<'_> {
    fn graph(&mut self, id: GraphId, indent: usize) -> Result<(), PrintError> {
        let Some(module) = self.module else { return Ok(()) };
        let g = module.graph(id);
        let mut parameters = g.parameters().to_vec();
        parameters.sort_by_key(|&p| match g.kind(p) {
            OpKind::Parameter(p) => (p.capture, p.index),
            _ => (true, u32::MAX),
        });
        // An invalid graph is printed all the same: one looks at it to find out why.
        let order = g.topo_order().unwrap_or_else(|_| {
            let mut ops: Vec<_> = g.ops().collect();
            ops.sort_by_key(|&o| (Some(o) == g.return_op(), g.order_key(o), o));
            ops
        });
        let ops: Vec<OpId> =
            order.into_iter().filter(|&o| !matches!(g.kind(o), OpKind::Parameter(_))).collect();
        let all: Vec<OpId> = parameters.iter().chain(&ops).copied().collect();
        let names = Names::of(g, &all);

        self.indent(indent)?;
        let keyword = match g.role() {
            GraphRole::Main => "graph",
            GraphRole::Function => "function",
            GraphRole::Body => "body",
        };
        write!(self.out, "{keyword} {}", symbol(g.name()))?;
        let captured = |p: &OpId| matches!(g.kind(*p), OpKind::Parameter(p) if p.capture);
        let split = parameters.iter().position(captured).unwrap_or(parameters.len());
        let (own, captures) = parameters.split_at(split);
        self.parameters(g, &names, own)?;
        if !captures.is_empty() {
            self.out.write_str(" captures")?;
            self.parameters(g, &names, captures)?;
        }
        self.signature_results(g)?;
        self.out.write_str(" {\n")?;
        for &op in &ops {
            self.indent(indent + 1)?;
            self.header(g, &names, op)?;
            self.out.write_str("\n")?;
            for &body in g.regions(op) {
                if indent as u32 > MAX_BODIES {
                    self.indent(indent + 2)?;
                    self.out.write_str("// a body nested too deeply to print\n")?;
                } else {
                    self.graph(body, indent + 2)?;
                }
            }
        }
        self.indent(indent)?;
        Ok(self.out.write_str("}\n")?)
    }

    fn indent(&mut self, n: usize) -> fmt::Result {
        write!(self.out, "{:1$}", "", 2 * n)
    }

    fn parameters(&mut self, g: &Graph, names: &Names, list: &[OpId]) -> Result<(), PrintError> {
        self.out.write_str("(")?;
        let results = list.iter().flat_map(|&p| g.results(p).map(move |v| (p, v)));
        for (i, (p, v)) in results.enumerate() {
            if i > 0 {
                self.out.write_str(", ")?;
            }
            self.out.write_str(&names.define(g, v))?;
            // Captures are sparse where an op has several bodies: which slot of the owner, when it is not the next one.
            if let OpKind::Parameter(p) = g.kind(p)
                && p.capture
                && p.index as usize != i
            {
                write!(self.out, " from {}", p.index)?;
            }
            if let Some(name) = g.op_name(p) {
                write!(self.out, " {}", quote(name))?;
            }
            write!(self.out, ": {}", g.ty(v))?;
        }
        Ok(self.out.write_str(")")?)
    }

    /// ` -> (…)`: the names of `return` and the types that its operands have.
    fn signature_results(&mut self, g: &Graph) -> Result<(), PrintError> {
        let Some(ret) = g.return_op() else { return Ok(()) };
        let OpKind::Return(r) = g.kind(ret) else { return Ok(()) };
        self.out.write_str(" -> (")?;
        for i in 0..g.num_operands(ret).max(r.names.len()) {
            if i > 0 {
                self.out.write_str(", ")?;
            }
            let ty = g.operand(ret, i).map(|v| g.ty(v));
            match (r.names.get(i), ty) {
                (Some(name), Some(ty)) => write!(self.out, "{}: {ty}", value_name(name))?,
                (Some(name), None) => self.out.write_str(&value_name(name))?,
                (None, Some(ty)) => write!(self.out, "{ty}")?,
                (None, None) => self.out.write_str("unknown")?,
            }
        }
        Ok(self.out.write_str(")")?)
    }

    /// An op without its bodies.
    fn header(&mut self, g: &Graph, names: &Names, op: OpId) -> Result<(), PrintError> {
        let kind = g.kind(op);
        for (i, v) in g.results(op).enumerate() {
            self.out.write_str(if i > 0 { ", " } else { "" })?;
            self.out.write_str(&names.define(g, v))?;
        }
        if g.num_results(op) > 0 {
            self.out.write_str(" = ")?;
        }
        self.out.write_str(kind.mnemonic())?;
        match kind {
            OpKind::Constant(c) => {
                self.out.write_str(" ")?;
                self.data(c.entry)?;
                if c.binding != Binding::Fixed {
                    write!(self.out, " {{binding = {}}}", c.binding.name())?;
                }
                write!(self.out, " : {}", self.pool.ty(c.entry))?;
            }
            OpKind::Opaque(o) => {
                write!(self.out, " {}", opaque_name(&o.domain, &o.name))?;
                if o.pure {
                    self.out.write_str(" pure")?;
                }
                if !o.type_uses.is_empty() {
                    let slots: Vec<String> = o.type_uses.iter().map(u32::to_string).collect();
                    write!(self.out, " type_uses({})", slots.join(", "))?;
                }
                if o.shaped {
                    self.out.write_str(" shaped")?;
                }
                if o.quantized {
                    self.out.write_str(" quantized")?;
                }
                if let Some(norm) = o.norm {
                    write!(self.out, " norm(\"{}\")", norm.name())?;
                }
            }
            _ => {}
        }
        self.operands(g, names, g.operands(op), " ")?;
        if g.captures(op).len() > 0 {
            self.operands(g, names, g.captures(op), " captures(")?;
            self.out.write_str(")")?;
        }
        match kind {
            // What their attributes would say is printed already.
            OpKind::Constant(_) | OpKind::Return(_) => {}
            _ => self.attr_map(&kind.to_attrs())?,
        }
        if let Some(name) = g.op_name(op) {
            write!(self.out, " {}", quote(name))?;
        }
        self.result_types(g, op)
    }

    fn operands(
        &mut self,
        g: &Graph,
        names: &Names,
        values: impl Iterator<Item = Option<Value>>,
        before: &str,
    ) -> Result<(), PrintError> {
        for (i, v) in values.enumerate() {
            self.out.write_str(if i > 0 { ", " } else { before })?;
            match v {
                Some(v) => self.out.write_str(&names.spell(g, v))?,
                None => self.out.write_str("none")?,
            }
        }
        Ok(())
    }

    fn result_types(&mut self, g: &Graph, op: OpId) -> Result<(), PrintError> {
        let results: Vec<Value> = g.results(op).collect();
        match results.as_slice() {
            [] => {}
            [v] => {
                // The entry of a constant has said its type already.
                let said = match g.kind(op) {
                    OpKind::Constant(c) => Some(self.pool.ty(c.entry)),
                    _ => None,
                };
                if said.is_none() || g.ty(*v).tensor() != said {
                    write!(self.out, " : {}", g.ty(*v))?;
                }
            }
            many => {
                for (i, v) in many.iter().enumerate() {
                    write!(self.out, "{}{}", if i > 0 { ", " } else { " : (" }, g.ty(*v))?;
                }
                self.out.write_str(")")?;
            }
        }
        Ok(())
    }
}

/// `"domain::name"` where that splits back at its last `::`, else the two quoted apart.
fn opaque_name(domain: &str, name: &str) -> String {
    let joined = if domain.is_empty() { name.to_owned() } else { format!("{domain}::{name}") };
    if split_opaque_name(&joined) == (domain, name) {
        quote(&joined)
    } else {
        format!("{}::{}", quote(domain), quote(name))
    }
}

/// Domain and name of an opaque op.
pub(super) fn split_opaque_name(joined: &str) -> (&str, &str) {
    joined.rsplit_once("::").unwrap_or(("", joined))
}
