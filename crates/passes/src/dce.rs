//! `dce`: erases what nothing reads.
//!
//! ```text
//! %x = parameter 0 : tensor<2xf32>          %x = parameter 0 : tensor<2xf32>
//! %unused = relu(%x) : tensor<2xf32>   →    %y = neg(%x) : tensor<2xf32>
//! %y = neg(%x) : tensor<2xf32>              return %y
//! return %y
//! ```

use crate::{
    NoOptions,
    pass::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec},
};
use normfold_ir::{Event, Graph, OpId, OpKind};

/// The pass `dce`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dce;

impl PassSpec for Dce {
    type Options = NoOptions;

    const INFO: PassInfo = PassInfo {
        name: "dce",
        summary: "Erase ops and constants that nothing reads",
        description: "\
Erases every op that has no effect but its results when none of them is used: constants too, and then whatever only the \
erased ops read. What bodies capture and do not read is captured no more. Reading only the shape or the element type is a use.

Kept are parameters, ops that may have effects (calls, control flow, custom ops that their frontend does not know to be \
pure), and constants that are part of the interface or of the training state (`binding = overridable` and \
`binding = mutable`).

The cost is linear in the ops and in what is erased.",
        statistics: &[("erased", "ops erased, constants included"), ("constants", "constants erased"), ("captures", "captures dropped")],
        reasons: &[],
    };

    fn new(_: NoOptions) -> Self {
        Dce
    }
}

impl Pass for Dce {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let is_dead = |g: &Graph, op: OpId| g.contains(op) && g.is_trivially_dead(op);
        let mut changed = false;
        for u in cx.idle_captures().to_vec() {
            if cx.rewrite(graph, |rw| rw.set_operand(u, None)).is_none() {
                break;
            }
            changed = true;
            cx.stat("captures", 1);
        }
        let mut dead: Vec<OpId> = graph.ops().filter(|&op| is_dead(graph, op)).collect();
        // The first of the source goes first, whatever the storage order: `stop_after_rewrites` counts on it.
        dead.sort_by_key(|&op| std::cmp::Reverse((graph.order_key(op), op)));
        while let Some(op) = dead.pop() {
            // An op stands twice in the list when two erased ops read it.
            if !is_dead(graph, op) {
                continue;
            }
            let is_constant = matches!(graph.kind(op), OpKind::Constant(_));
            let mut orphans = Vec::new();
            let mut listener = |g: &Graph, event: Event| {
                if let Event::Modified(def) = event
                    && is_dead(g, def)
                {
                    orphans.push(def);
                }
            };
            if cx.rewrite_listening(graph, &mut listener, |rw| rw.erase(op)).is_none() {
                break;
            }
            changed = true;
            cx.stat("erased", 1);
            if is_constant {
                cx.stat("constants", 1);
            }
            orphans.reverse();
            dead.extend(orphans);
        }
        Ok(PassOutcome::from_changed(changed).preserving::<crate::CertainTypes>())
    }
}
