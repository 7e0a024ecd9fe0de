//! `cse`: computes once what is computed twice.
//!
//! ```text
//! %a = relu %x                               %a = relu %x
//! %b = relu %x                        →      %y = add %a, %a
//! %y = add %a, %b
//! ```

mod contents;

use crate::{
    NoOptions,
    pass::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec},
};
use contents::Contents;
use normfold_ir::{BinaryKind, Binding, Graph, OpId, OpKind, PatternRewriter, Use, Value};
use smallvec::SmallVec;
use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Write},
    hash::{DefaultHasher, Hash, Hasher},
};

/// The pass `cse`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cse;

impl PassSpec for Cse {
    type Options = NoOptions;

    const INFO: PassInfo = PassInfo {
        name: "cse",
        summary: "Compute once what is computed twice",
        description: "\
Of ops of one graph that have the same kind, attributes and operands the first stays, and the readers of the others read its \
results. `add` and `mul` are the same in either order of their operands. Constants are the same when type and bytes are: \
a few bytes of each are read, and all bytes only of those which agree in these, so that equal weights of any size become one.

Left alone are ops with bodies, calls, custom and random ops, batch norms and dropouts in training, constants that a caller \
may replace, training state, and values that carry an annotation of quantization. Where two equal values both are results of \
the graph, or are read by bodies, each keeps its op, because a document knows such a value by its name; what else reads the \
second reads the first.

The cost is linear in the ops and their operands. Run it behind `fold-bn`: linear ops whose batch norms differ are not equal \
any more then.",
        statistics: &[
            ("merged", "ops merged into an equal one"),
            ("constants", "constants merged into an equal one"),
            ("redirected", "values that stay, but for what else reads them"),
        ],
        reasons: &[],
    };

    fn new(_: NoOptions) -> Self {
        Cse
    }
}

impl Pass for Cse {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let order = graph.topo_order().unwrap_or_default();
        let contents = Contents::of(graph, cx.constants(), &order);
        let mut outside = named_outside(graph);
        let mut first: HashMap<u64, SmallVec<[OpId; 1]>> = HashMap::with_capacity(order.len());
        let mut changed = false;
        for op in order {
            let Some(key) = key(graph, &contents, op) else { continue };
            let known = first.entry(key).or_default();
            let Some(&other) = known.iter().find(|&&o| same(graph, &contents, o, op)) else {
                known.push(op);
                continue;
            };
            if !graph.has_uses(op) {
                continue;
            }
            let pairs: Vec<(Value, Value)> = graph.results(op).zip(graph.results(other)).collect();
            let done = match pairs.iter().all(|&(v, to)| can_stand_for(graph, &outside, to, v)) {
                true => cx.rewrite(graph, |rw| merge(rw, &pairs)).map(|()| {
                    for (v, to) in &pairs {
                        if outside.remove(v) {
                            outside.insert(*to);
                        }
                    }
                    let is_constant = matches!(graph.kind(other), OpKind::Constant(_));
                    cx.stat(if is_constant { "constants" } else { "merged" }, 1);
                }),
                false => {
                    let moved: Vec<(Use, Value)> =
                        pairs.iter().flat_map(|&(v, to)| movable(graph, v, to)).collect();
                    if moved.is_empty() {
                        continue;
                    }
                    let done = cx.rewrite(graph, |rw| {
                        moved.into_iter().for_each(|(u, to)| rw.set_operand(u, Some(to)));
                    });
                    done.map(|()| cx.stat("redirected", 1))
                }
            };
            if done.is_none() {
                break;
            }
            changed = true;
        }
        Ok(PassOutcome::from_changed(changed).preserving::<crate::CertainTypes>())
    }
}

/// The values that a document knows by name: results of the graph, and what bodies read.
fn named_outside(g: &Graph) -> HashSet<Value> {
    let returned = g.return_op().into_iter().flat_map(|r| g.operands(r)).flatten();
    returned.chain(g.ops().flat_map(|op| g.captures(op)).flatten()).collect()
}

/// Whether equal ops of this kind give equal results.
fn is_eligible(g: &Graph, op: OpId) -> bool {
    match g.kind(op) {
        OpKind::Constant(c) => c.binding == Binding::Fixed,
        OpKind::Opaque(_) => false,
        OpKind::Dropout(d) => !d.training && g.operand(op, 2).is_none(),
        OpKind::BatchNorm(b) => !b.training,
        kind => kind.is_pure() && g.regions(op).is_empty(),
    }
}

/// What two equal ops have in common; `None` for what is left alone.
fn key(g: &Graph, contents: &Contents, op: OpId) -> Option<u64> {
    if !is_eligible(g, op) {
        return None;
    }
    let mut hasher = Text(DefaultHasher::new());
    match g.kind(op) {
        OpKind::Constant(_) => contents.class(op)?.hash(&mut hasher.0),
        // Floats print in full, and 0 and -0 differently.
        kind => write!(hasher, "{kind:?}").ok()?,
    }
    g.num_results(op).hash(&mut hasher.0);
    operands(g, op).hash(&mut hasher.0);
    Some(hasher.0.finish())
}

/// The operands in an order that does not matter to the op.
fn operands(g: &Graph, op: OpId) -> SmallVec<[Option<Value>; 6]> {
    let mut list: SmallVec<[Option<Value>; 6]> = g.operands(op).collect();
    if matches!(g.kind(op), OpKind::Binary(BinaryKind::Add | BinaryKind::Mul)) {
        list.sort_unstable();
    }
    list
}

fn same(g: &Graph, contents: &Contents, a: OpId, b: OpId) -> bool {
    let kinds = match (g.kind(a), g.kind(b)) {
        (OpKind::Constant(_), OpKind::Constant(_)) => contents.class(a) == contents.class(b),
        (a, b) => a == b,
    };
    kinds && g.num_results(a) == g.num_results(b) && operands(g, a) == operands(g, b)
}

/// Whether readers of either value may read the other one.
fn agree(g: &Graph, a: Value, b: Value) -> bool {
    // Annotations belong to one value by name. Declarations that contradict each other are left for somebody to look at.
    !g.is_quantized(a) && !g.is_quantized(b) && g.ty(a).compatible(g.ty(b))
}

/// Whether every reader of `v` can read `to` instead, as far as the document is concerned.
fn can_stand_for(g: &Graph, outside: &HashSet<Value>, to: Value, v: Value) -> bool {
    let keeps_name = || matches!(g.kind(to.op), OpKind::Constant(_)) || outside.contains(&to);
    agree(g, v, to) && (!outside.contains(&v) || !keeps_name())
}

fn merge(rw: &mut PatternRewriter<'_>, pairs: &[(Value, Value)]) {
    for &(v, to) in pairs {
        rw.replace_all_uses(v, to);
    }
    if let Some((v, _)) = pairs.first() {
        rw.erase(v.op);
    }
}

/// The uses of `v` by ops, which may read `to` instead.
fn movable(g: &Graph, v: Value, to: Value) -> Vec<(Use, Value)> {
    if !agree(g, v, to) {
        return Vec::new();
    }
    g.uses(v).filter(|&u| !g.is_use_by_name(u)).map(|u| (u, to)).collect()
}

/// A hasher that text is written to.
struct Text(DefaultHasher);

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.write(s.as_bytes());
        Ok(())
    }
}
