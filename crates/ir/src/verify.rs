//! The verifier: what holds of every module.
//!
//! A module that breaks one of these is a mistake of whoever built or changed it. Nothing is refused that a valid document
//! may contain; what cannot be told for certain is not judged. Time is linear in ops, operands and constants.
//!
//! Graphs:
//! 1. No op reads, over any way, its own results.
//! 2. A graph ends in exactly one `return`.
//! 3. A `parameter` has no operands and one result. Indices of arguments are 0, 1, …, each once. Captures are parameters
//!    of bodies only, each capture of the owner at most once per body.
//! 4. No two values of a graph have the same name, constants aside: a pass names a new one for what it stands for, and
//!    documents find names that are free.
//! 5. `return` names all of its operands or none.
//!
//! Modules:
//! 6. At most one graph is the main one; no two functions have the same name.
//! 7. The callee of a `call` is a function of the module, with at least as many parameters and results as the call has
//!    operands and results (trailing ones may be left out).
//! 8. A graph that an op owns is a body, owned by no other op; only `if` (two), `loop`, `scan` (one) and `opaque` (any
//!    number) own bodies.
//! 9. The body of an `if` takes nothing and gives its results; that of a `loop` takes its operands and gives a condition
//!    and its results; that of a `scan` takes its operands and gives its results.
//! 10. A captured value's type is compatible with that of the capture parameter, which names a capture that its owner has.
//!
//! Ops:
//! 11. An op has as many operands as its kind takes; those that are not optional are present.
//! 12. An op has as many results as its kind gives.
//! 13. Attributes make sense: groups, strides, dilations, windows, blocks are at least 1; lists have the length of the
//!     spatial rank or are empty; a permutation is one.
//! 14. What may be an attribute or an operand is not both; what must be either is one.
//!
//! Types. Those that a document states of intermediate values are hints that may be stale, so results of ops that came
//! from a document record ([`crate::Graph::origin`]) are not judged:
//! 15. A `constant` has the type of its entry.
//! 16. Result types agree with what the kind makes of the operand types, wherever both are known.
//!
//! Constants, as far as an op names them:
//! 17. An entry has as many bytes, or strings, as its type says; a splat those of one element; a mapped one lies within its
//!     source.
//! 18. Maps of a derived entry stay within their vectors, and broadcasts fit.
//!
//! Bodies that no op owns, and entries that no op names, are garbage and not looked at.

mod arity;
mod attributes;
mod constants;
mod graphs;
mod types;

use crate::{Graph, GraphId, Module, OpId};
use std::{collections::HashMap, fmt, sync::Arc};

/// One broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The number of the invariant in the documentation of the verifier.
    pub rule: u32,
    /// The graph's name.
    pub graph: Arc<str>,
    /// The op's mnemonic; empty where it is the graph that is wrong.
    pub op: String,
    /// The op's name in the source, or that of its first result.
    pub location: Arc<str>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "graph {:?}: ", self.graph)?;
        if !self.op.is_empty() {
            write!(f, "{} {:?}: ", self.op, self.location)?;
        }
        write!(f, "{} (invariant {})", self.message, self.rule)
    }
}

/// Every broken invariant of a module, in a deterministic order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyErrors {
    errors: Vec<VerifyError>,
}

impl VerifyErrors {
    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, VerifyError> {
        self.errors.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// Whether there is none; never so in an error.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }
}

impl<'a> IntoIterator for &'a VerifyErrors {
    type Item = &'a VerifyError;
    type IntoIter = std::slice::Iter<'a, VerifyError>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One per line.
impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, e) in self.errors.iter().enumerate() {
            write!(f, "{}{e}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyErrors {}

/// Checks every invariant.
///
/// # Errors
/// All that are broken.
pub fn verify(module: &Module) -> Result<(), VerifyErrors> {
    let mut v = Verifier {
        module,
        errors: Vec::new(),
        checked: vec![false; module.constants.len()],
        owned: vec![false; module.graph_ids().len()],
        functions: HashMap::new(),
    };
    v.module();
    for id in module.innermost_first() {
        v.graph(id);
    }
    if v.errors.is_empty() { Ok(()) } else { Err(VerifyErrors { errors: v.errors }) }
}

struct Verifier<'m> {
    module: &'m Module,
    errors: Vec<VerifyError>,
    /// Entries of the pool that were looked at.
    checked: Vec<bool>,
    /// Graphs that an op owns.
    owned: Vec<bool>,
    functions: HashMap<&'m str, GraphId>,
}

impl Verifier<'_> {
    fn op_error(&mut self, rule: u32, g: &Graph, op: OpId, message: impl Into<String>) {
        self.errors.push(VerifyError {
            rule,
            graph: g.name().clone(),
            op: g.kind(op).display_name(),
            location: g.location(op),
            message: message.into(),
        });
    }

    fn graph_error(&mut self, rule: u32, g: &Graph, message: impl Into<String>) {
        self.errors.push(VerifyError {
            rule,
            graph: g.name().clone(),
            op: String::new(),
            location: "".into(),
            message: message.into(),
        });
    }

    fn graph(&mut self, id: GraphId) {
        let g = self.module.graph(id);
        // A deterministic order that exists whatever is wrong.
        let mut ops: Vec<OpId> = g.ops().collect();
        ops.sort_by_key(|&o| (g.order_key(o), o));
        self.frame(g, &ops);
        for op in ops {
            self.arity(g, op);
            self.attributes(g, op);
            self.bodies(g, op);
            self.call(g, op);
            self.types(g, op);
            self.constants(g, op);
        }
    }
}
