//! Invariants 1 to 10: graphs, modules, bodies.

use super::Verifier;
use crate::{Graph, GraphId, GraphRole, OpId, OpKind, Value, text::quote};
use std::collections::HashSet;

impl Verifier<'_> {
    pub(super) fn module(&mut self) {
        let m = self.module;
        let mut main = false;
        for id in m.graph_ids() {
            let g = m.graph(id);
            match g.role() {
                GraphRole::Main if std::mem::replace(&mut main, true) => {
                    self.graph_error(6, g, "is a second main graph");
                }
                GraphRole::Function if self.functions.insert(g.name(), id).is_some() => {
                    self.graph_error(6, g, "is a second function of that name");
                }
                _ => {}
            }
        }
    }

    /// Parameters, `return`, names and order of one graph.
    pub(super) fn frame(&mut self, g: &Graph, ops: &[OpId]) {
        if let Err(cycle) = g.topo_order()
            && let Some(&first) = cycle.ops.first()
        {
            let mut names: Vec<_> =
                cycle.ops.iter().take(8).map(|&o| quote(&g.location(o))).collect();
            if cycle.ops.len() > names.len() {
                names.push(format!("… ({} ops)", cycle.ops.len()));
            }
            self.op_error(
                1,
                g,
                first,
                format!("reads its own result, by way of {}", names.join(", ")),
            );
        }
        match g.return_op() {
            None => self.graph_error(2, g, "has no `return`"),
            Some(ret) => {
                if let OpKind::Return(r) = g.kind(ret)
                    && !r.names.is_empty()
                    && r.names.len() != g.num_operands(ret)
                {
                    let message =
                        format!("{} names for {} operands", r.names.len(), g.num_operands(ret));
                    self.op_error(5, g, ret, message);
                }
            }
        }
        self.parameters(g);
        let mut names = HashSet::new();
        for &op in ops.iter().filter(|&&op| !matches!(g.kind(op), OpKind::Constant(_))) {
            for v in g.results(op) {
                if let Some(name) = g.value_name(v)
                    && !names.insert(name)
                {
                    self.op_error(4, g, op, format!("a second value is named {}", quote(name)));
                }
            }
        }
    }

    fn parameters(&mut self, g: &Graph) {
        let mut seen = HashSet::new();
        let mut own = 0;
        for &op in g.parameters() {
            let OpKind::Parameter(p) = g.kind(op) else {
                self.op_error(3, g, op, "is no longer a parameter");
                continue;
            };
            if !seen.insert((p.capture, p.index)) {
                let what = if p.capture { "capture" } else { "argument" };
                self.op_error(3, g, op, format!("{what} {} has a parameter already", p.index));
            }
            if p.capture && g.role() != GraphRole::Body {
                self.op_error(3, g, op, "captures, but its graph is no body");
            }
            own += u32::from(!p.capture);
        }
        for &op in g.parameters() {
            if let OpKind::Parameter(p) = g.kind(op)
                && !p.capture
                && p.index >= own
            {
                self.op_error(3, g, op, format!("has index {}, of {own} arguments", p.index));
            }
        }
    }

    pub(super) fn bodies(&mut self, g: &Graph, op: OpId) {
        let regions = g.regions(op);
        let fits = match g.kind(op) {
            OpKind::If(_) => regions.len() == 2,
            OpKind::Loop(_) | OpKind::Scan(_) => regions.len() == 1,
            OpKind::Opaque(_) => true,
            _ => regions.is_empty(),
        };
        if !fits {
            self.op_error(8, g, op, format!("has {} bodies", regions.len()));
        }
        if regions.is_empty()
            && g.captures(op).len() > 0
            && !matches!(g.kind(op), OpKind::Opaque(_))
        {
            self.op_error(10, g, op, "captures values without a body");
        }
        if !regions.is_empty() {
            let captures: Vec<Option<Value>> = g.captures(op).collect();
            for &id in regions {
                self.body(g, op, id, &captures);
            }
        }
    }

    fn body(&mut self, g: &Graph, op: OpId, id: GraphId, captures: &[Option<Value>]) {
        let m = self.module;
        let Some(owned) = self.owned.get_mut(id.index()) else {
            self.op_error(8, g, op, "owns a graph that the module does not have");
            return;
        };
        let twice = std::mem::replace(owned, true);
        let body = m.graph(id);
        if twice {
            self.op_error(
                8,
                g,
                op,
                format!("owns body {}, which is owned already", quote(body.name())),
            );
            return;
        }
        if body.role() != GraphRole::Body {
            self.op_error(8, g, op, format!("owns graph {}, which is no body", quote(body.name())));
            return;
        }
        let (operands, results) = (g.num_operands(op), g.num_results(op));
        let takes_gives = match g.kind(op) {
            OpKind::If(_) => Some((0, results)),
            OpKind::Loop(_) => Some((operands, results + 1)),
            OpKind::Scan(_) => Some((operands, results)),
            _ => None,
        };
        if let (Some((takes, gives)), Some(ret)) = (takes_gives, body.return_op()) {
            let own = |&&p: &&OpId| matches!(body.kind(p), OpKind::Parameter(p) if !p.capture);
            let has = (body.parameters().iter().filter(own).count(), body.num_operands(ret));
            if has != (takes, gives) {
                let message = format!(
                    "body {} takes {} values and gives {}, not {takes} and {gives}",
                    quote(body.name()),
                    has.0,
                    has.1,
                );
                self.op_error(9, g, op, message);
            }
        }
        for &p in body.parameters() {
            let OpKind::Parameter(parameter) = body.kind(p) else { continue };
            if !parameter.capture {
                continue;
            }
            let captured = captures.get(parameter.index as usize).copied();
            match (captured, body.results(p).next()) {
                (None, _) => self.op_error(
                    10,
                    body,
                    p,
                    format!("is capture {} of an op that has {}", parameter.index, captures.len()),
                ),
                // What nothing reads may capture nothing.
                (Some(None), _) if !body.has_uses(p) => {}
                (Some(None), _) => self.op_error(10, body, p, "captures nothing"),
                (Some(Some(v)), Some(inside)) if !g.ty(v).compatible(body.ty(inside)) => {
                    let message = format!("is a {} inside, a {} outside", body.ty(inside), g.ty(v));
                    self.op_error(10, body, p, message);
                }
                _ => {}
            }
        }
    }

    pub(super) fn call(&mut self, g: &Graph, op: OpId) {
        let OpKind::Call(call) = g.kind(op) else { return };
        let Some(&id) = self.functions.get(&*call.callee) else {
            self.op_error(7, g, op, format!("no function is named {}", quote(&call.callee)));
            return;
        };
        let callee = self.module.graph(id);
        let returns = callee.return_op().map_or(0, |r| callee.num_operands(r));
        let has = (callee.parameters().len(), returns);
        let wants = (g.num_operands(op), g.num_results(op));
        if wants.0 > has.0 || wants.1 > has.1 {
            let message = format!(
                "gives {} operands and asks for {} results of {}, which has {} and {}",
                wants.0,
                wants.1,
                quote(&call.callee),
                has.0,
                has.1,
            );
            self.op_error(7, g, op, message);
        }
    }
}
