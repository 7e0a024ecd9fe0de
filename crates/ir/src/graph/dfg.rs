//! Storage of the dataflow graph: the only file that names petgraph.
//!
//! One petgraph edge per use, from definition to user. Operand order lives in the op's slot list and the connection in
//! the edge; no fact is stored twice, and nothing is ever read from adjacency *order*.
//!
//! petgraph unlinks an edge by walking the lists of both ends from the newest edge on, which is quadratic where one
//! constant has 100,000 readers. So neither list is ever long: beyond [`FAN`] uses a definition spreads over hidden
//! fan-out nodes, and beyond [`FAN`] operands a user over hidden fan-in nodes. Every unlink is bounded by `2·FAN` steps.

use super::OpData;
use crate::{OpId, Use, Value};
use petgraph::{
    Direction,
    stable_graph::{EdgeIndex, NodeIndex, StableDiGraph},
    visit::EdgeRef,
};

const FAN: usize = 48;
/// An operand slot without a value.
pub(super) const ABSENT: u32 = u32::MAX;

#[derive(Clone, Debug)]
enum Node {
    Op(OpData),
    /// Further uses of `owner`'s results; `index` is its place in the owner's list, `degree` its edges.
    FanOut {
        owner: NodeIndex,
        index: u32,
        degree: u32,
    },
    /// Further operands of `owner`.
    FanIn {
        owner: NodeIndex,
    },
}

#[derive(Clone, Copy, Debug)]
struct UseEdge {
    result: u32,
    operand: u32,
}

/// The hidden nodes of one op.
#[derive(Clone, Debug, Default)]
pub(super) struct Fans {
    out: Vec<NodeIndex>,
    /// By block of `FAN` operand slots, own and capture slots apart.
    own_in: Vec<NodeIndex>,
    capture_in: Vec<NodeIndex>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Dfg {
    g: StableDiGraph<Node, UseEdge, u32>,
    ops: usize,
}

impl Dfg {
    pub(super) fn len(&self) -> usize {
        self.ops
    }

    pub(super) fn slot_bound(&self) -> usize {
        use petgraph::visit::NodeIndexable;
        self.g.node_bound()
    }

    pub(super) fn reserve(&mut self, ops: usize, uses: usize) {
        self.g.reserve_nodes(ops);
        self.g.reserve_edges(uses);
    }

    pub(super) fn add(&mut self, data: OpData) -> OpId {
        let seq = data.seq;
        let slot = self.g.add_node(Node::Op(data));
        self.ops += 1;
        OpId { seq, slot: slot.index() as u32 }
    }

    pub(super) fn contains(&self, op: OpId) -> bool {
        matches!(self.g.node_weight(NodeIndex::new(op.slot())), Some(Node::Op(d)) if d.seq == op.seq)
    }

    #[track_caller]
    pub(super) fn data(&self, op: OpId) -> &OpData {
        match self.g.node_weight(NodeIndex::new(op.slot())) {
            Some(Node::Op(d)) if d.seq == op.seq => d,
            _ => panic!("{op:?} was erased"),
        }
    }

    #[track_caller]
    pub(super) fn data_mut(&mut self, op: OpId) -> &mut OpData {
        match self.g.node_weight_mut(NodeIndex::new(op.slot())) {
            Some(Node::Op(d)) if d.seq == op.seq => d,
            _ => panic!("{op:?} was erased"),
        }
    }

    fn at(&mut self, node: NodeIndex) -> &mut OpData {
        match &mut self.g[node] {
            Node::Op(d) => d,
            _ => unreachable!("owners are ops"),
        }
    }

    /// Every op, in slot order.
    pub(super) fn ids(&self) -> impl Iterator<Item = OpId> + '_ {
        self.g.node_indices().filter_map(|n| match &self.g[n] {
            Node::Op(d) => Some(OpId { seq: d.seq, slot: n.index() as u32 }),
            _ => None,
        })
    }

    fn id(&self, node: NodeIndex) -> OpId {
        match &self.g[node] {
            Node::Op(d) => OpId { seq: d.seq, slot: node.index() as u32 },
            Node::FanOut { owner, .. } | Node::FanIn { owner } => self.id(*owner),
        }
    }

    /// The value behind a slot's edge.
    pub(super) fn source(&self, edge: u32) -> Option<Value> {
        if edge == ABSENT {
            return None;
        }
        let e = EdgeIndex::new(edge as usize);
        let (def, _) = self.g.edge_endpoints(e)?;
        Some(Value { op: self.id(def), result: self.g[e].result })
    }

    /// Adds the edge of one use and returns what the user's slot must hold.
    pub(super) fn link(&mut self, value: Value, user: OpId, operand: u32) -> u32 {
        let from = self.source_node(NodeIndex::new(value.op.slot()));
        let to = self.target_node(NodeIndex::new(user.slot()), operand);
        self.g.add_edge(from, to, UseEdge { result: value.result, operand }).index() as u32
    }

    fn source_node(&mut self, def: NodeIndex) -> NodeIndex {
        let data = self.at(def);
        if (data.degree as usize) < FAN {
            data.degree += 1;
            return def;
        }
        let extra = data.extra.get_or_insert_default();
        let index = extra.fans.out.len() as u32;
        if let Some(&last) = extra.fans.out.last()
            && let Node::FanOut { degree, .. } = &mut self.g[last]
            && (*degree as usize) < FAN
        {
            *degree += 1;
            return last;
        }
        let fan = self.g.add_node(Node::FanOut { owner: def, index, degree: 1 });
        self.at(def).extra.get_or_insert_default().fans.out.push(fan);
        fan
    }

    fn target_node(&mut self, user: NodeIndex, operand: u32) -> NodeIndex {
        let capture = operand & Use::CAPTURE != 0;
        let block = (operand & !Use::CAPTURE) as usize / FAN;
        if block == 0 {
            return user;
        }
        loop {
            let fans = &mut self.at(user).extra.get_or_insert_default().fans;
            let list = if capture { &mut fans.capture_in } else { &mut fans.own_in };
            if let Some(&node) = list.get(block - 1) {
                return node;
            }
            let fan = self.g.add_node(Node::FanIn { owner: user });
            let fans = &mut self.at(user).extra.get_or_insert_default().fans;
            if capture { fans.capture_in.push(fan) } else { fans.own_in.push(fan) }
        }
    }

    pub(super) fn unlink(&mut self, edge: u32) {
        if edge == ABSENT {
            return;
        }
        let e = EdgeIndex::new(edge as usize);
        let Some((from, _)) = self.g.edge_endpoints(e) else { return };
        self.g.remove_edge(e);
        match &mut self.g[from] {
            Node::Op(d) => d.degree -= 1,
            Node::FanOut { degree, owner, index } => {
                *degree -= 1;
                if *degree == 0 {
                    let (owner, index) = (*owner, *index as usize);
                    self.g.remove_node(from);
                    let out = &mut self.at(owner).extra.get_or_insert_default().fans.out;
                    out.swap_remove(index);
                    if let Some(&moved) = out.get(index)
                        && let Node::FanOut { index: i, .. } = &mut self.g[moved]
                    {
                        *i = index as u32;
                    }
                }
            }
            Node::FanIn { .. } => unreachable!("fan-in nodes define nothing"),
        }
    }

    /// The uses of every result of `op`, with the result each reads.
    pub(super) fn uses(&self, op: OpId) -> impl Iterator<Item = (u32, Use)> + '_ {
        let own = NodeIndex::new(op.slot());
        let fans = self.data(op).extra.as_ref().map_or(&[][..], |x| &x.fans.out);
        std::iter::once(own).chain(fans.iter().copied()).flat_map(move |node| {
            self.g.edges_directed(node, Direction::Outgoing).map(|e| {
                let u = *e.weight();
                (u.result, Use { user: self.id(e.target()), operand: u.operand })
            })
        })
    }

    /// Removes an op whose edges are unlinked already.
    pub(super) fn remove(&mut self, op: OpId) -> OpData {
        let node = NodeIndex::new(op.slot());
        if let Some(extra) = &self.data(op).extra {
            let fans: Vec<_> =
                extra.fans.own_in.iter().chain(&extra.fans.capture_in).copied().collect();
            for f in fans {
                self.g.remove_node(f);
            }
        }
        self.ops -= 1;
        match self.g.remove_node(node) {
            Some(Node::Op(d)) => d,
            _ => unreachable!("checked by data()"),
        }
    }
}
