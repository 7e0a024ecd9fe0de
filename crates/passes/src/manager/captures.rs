//! What bodies capture, where it is constant.

use normfold_ir::{Binding, ConstId, GraphId, GraphRole, Module, OpId, OpKind, Use};
use std::collections::HashMap;

/// The op that owns each body, and the graph it stands in.
pub(crate) fn owners(module: &Module) -> HashMap<GraphId, (GraphId, OpId)> {
    let mut owners = HashMap::new();
    if module.graph_ids().all(|id| module.graph(id).role() != GraphRole::Body) {
        return owners;
    }
    for id in module.graph_ids() {
        let g = module.graph(id);
        for op in g.ops() {
            owners.extend(g.regions(op).iter().map(|&body| (body, (id, op))));
        }
    }
    owners
}

/// The capture parameters of a graph that stand for constants no caller can replace.
pub(crate) fn captured(
    module: &Module,
    owners: &HashMap<GraphId, (GraphId, OpId)>,
    id: GraphId,
) -> HashMap<OpId, ConstId> {
    let g = module.graph(id);
    if g.role() != GraphRole::Body {
        return HashMap::new();
    }
    let one = |&op: &OpId| Some((op, constant(module, owners, id, op)?));
    g.parameters().iter().filter_map(one).collect()
}

/// The captures of a graph's ops that their bodies do not read.
pub(super) fn idle(
    module: &Module,
    owners: &HashMap<GraphId, (GraphId, OpId)>,
    id: GraphId,
) -> Vec<Use> {
    let g = module.graph(id);
    let mut ops: Vec<OpId> =
        owners.values().filter(|(around, _)| *around == id).map(|o| o.1).collect();
    ops.sort_unstable();
    ops.dedup();
    let mut idle = Vec::new();
    for op in ops {
        let mut read = vec![false; g.captures(op).len()];
        for &body in g.regions(op) {
            let body = module.graph(body);
            for &p in body.parameters().iter().filter(|&&p| body.has_uses(p)) {
                if let OpKind::Parameter(p) = body.kind(p)
                    && p.capture
                    && let Some(read) = read.get_mut(p.index as usize)
                {
                    *read = true;
                }
            }
        }
        let given = g.captures(op).zip(read).enumerate();
        let unread = given.filter(|(_, (v, read))| v.is_some() && !read);
        idle.extend(unread.map(|(i, _)| Use { user: op, operand: Use::CAPTURE | i as u32 }));
    }
    idle
}

fn constant(
    module: &Module,
    owners: &HashMap<GraphId, (GraphId, OpId)>,
    mut id: GraphId,
    mut op: OpId,
) -> Option<ConstId> {
    loop {
        match module.graph(id).kind(op) {
            OpKind::Constant(c) if c.binding == Binding::Fixed => return Some(c.entry),
            OpKind::Parameter(p) if p.capture => {
                let &(around, owner) = owners.get(&id)?;
                let v = module.graph(around).captures(owner).nth(p.index as usize)??;
                (id, op) = (around, v.op);
            }
            _ => return None,
        }
    }
}
