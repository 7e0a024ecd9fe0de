//! The storage of the graph beside a twin that a child could follow: lists of what was said, searched from end to end.
//! Random sequences of every operation, and after each the two must agree on everything that can be asked.

use arbtest::arbitrary::{Result, Unstructured};
use normfold_ir::*;
use normfold_property::holds;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

type Slots = Vec<Option<Value>>;

#[derive(Clone, Debug)]
struct TwinOp {
    id: OpId,
    /// What orders are made of, by the twin's own count.
    key: (u32, u32),
    operands: Slots,
    captures: Slots,
    regions: Vec<GraphId>,
    name: Option<Arc<str>>,
    results: Vec<(Option<Arc<str>>, Type)>,
    modified: bool,
}

#[derive(Clone, Default, Debug)]
struct Twin {
    ops: Vec<TwinOp>,
    parameters: Vec<OpId>,
    return_op: Option<OpId>,
    erased: Vec<OpId>,
    next_seq: u32,
    next_order: u32,
}

impl Twin {
    fn values(&self) -> Vec<Value> {
        let of = |op: &TwinOp| (0..op.results.len()).map(|i| Value::new(op.id, i as u32)).collect();
        self.ops.iter().flat_map(|op| -> Vec<Value> { of(op) }).collect()
    }

    fn uses(&self, v: Value) -> BTreeSet<(OpId, u32)> {
        let mut uses = BTreeSet::new();
        for op in &self.ops {
            for (list, bit) in [(&op.operands, 0), (&op.captures, Use::CAPTURE)] {
                let reads = list.iter().enumerate().filter(|(_, x)| **x == Some(v));
                uses.extend(reads.map(|(i, _)| (op.id, i as u32 | bit)));
            }
        }
        uses
    }

    /// Everywhere `from` is read, `to` is.
    fn replace(&mut self, from: Value, to: Option<Value>) -> usize {
        let slots =
            self.ops.iter_mut().flat_map(|op| op.operands.iter_mut().chain(&mut op.captures));
        let reads = slots.filter(|v| **v == Some(from));
        reads.map(|v| *v = to).count()
    }

    /// Again and again the first op, by key, that waits for none; `return` last. `None` if all that are left wait.
    fn order(&self) -> Option<Vec<OpId>> {
        let mut left: Vec<&TwinOp> = self.ops.iter().collect();
        left.sort_by_key(|op| (Some(op.id) == self.return_op, op.key));
        let mut order = Vec::new();
        while !left.is_empty() {
            let waits = |op: &TwinOp| {
                let mut reads = op.operands.iter().chain(&op.captures).flatten();
                reads.any(|v| !order.contains(&v.op))
            };
            let next = left.iter().position(|op| !waits(op))?;
            order.push(left.remove(next).id);
        }
        Some(order)
    }

    fn check(&self, g: &Graph) {
        assert_eq!((g.len(), g.is_empty()), (self.ops.len(), self.ops.is_empty()));
        assert_eq!(g.parameters(), self.parameters);
        assert_eq!(g.return_op(), self.return_op);
        let listed: Vec<OpId> = g.ops().collect();
        let mut sorted = listed.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(listed.len(), sorted.len(), "an op is listed twice");
        let mut expected: Vec<OpId> = self.ops.iter().map(|op| op.id).collect();
        expected.sort();
        assert_eq!(sorted, expected);
        assert!(listed.iter().all(|op| op.slot() < g.slot_bound()));
        assert!(self.erased.iter().all(|&op| !g.contains(op)), "what was erased is there");
        for op in &self.ops {
            assert!(g.contains(op.id));
            assert_eq!(g.operands(op.id).collect::<Slots>(), op.operands);
            assert_eq!(g.captures(op.id).collect::<Slots>(), op.captures);
            assert_eq!(g.num_operands(op.id), op.operands.len());
            assert_eq!(g.regions(op.id), op.regions);
            assert_eq!(g.op_name(op.id), op.name.as_ref());
            assert_eq!(g.is_modified(op.id), op.modified);
            assert_eq!((g.order_key(op.id), op.id.seq()), op.key);
            assert_eq!(g.num_results(op.id), op.results.len());
            let mut used = false;
            for (v, (name, ty)) in g.results(op.id).zip(&op.results) {
                assert_eq!((g.value_name(v), g.ty(v)), (name.as_ref(), ty));
                let uses: Vec<(OpId, u32)> = g.uses(v).map(|u| (u.user, u.operand)).collect();
                let set: BTreeSet<_> = uses.iter().copied().collect();
                assert_eq!(uses.len(), set.len(), "a use is listed twice");
                assert_eq!(set, self.uses(v));
                assert_eq!(g.is_unused(v), uses.is_empty());
                let single = if uses.len() == 1 { uses.first().copied() } else { None };
                assert_eq!(g.single_value_use(v).map(|u| (u.user, u.operand)), single);
                used |= !uses.is_empty();
            }
            assert_eq!(g.has_uses(op.id), used);
        }
        match (g.topo_order(), self.order()) {
            (Ok(found), Some(order)) => assert_eq!(found, order),
            (Err(cycle), None) => {
                assert!(!cycle.ops.is_empty());
                let after = cycle.ops.iter().cycle().skip(1);
                for (&op, &next) in cycle.ops.iter().zip(after) {
                    let mut reads = g.operands(op).chain(g.captures(op)).flatten();
                    assert!(reads.any(|v| v.op == next), "{op:?} does not read {next:?}");
                }
            }
            (found, order) => panic!("{found:?}, the twin has {order:?}"),
        }
    }
}

struct Pair<'u, 'b> {
    u: &'u mut Unstructured<'b>,
    g: Graph,
    twin: Twin,
    bodies: Vec<GraphId>,
}

impl Pair<'_, '_> {
    /// A value; now and then, or where there is none, nothing.
    fn value(&mut self) -> Result<Option<Value>> {
        let values = self.twin.values();
        if values.is_empty() || self.u.ratio(1, 10)? {
            return Ok(None);
        }
        Ok(Some(*self.u.choose(&values)?))
    }

    fn slots(&mut self, most: usize) -> Result<Slots> {
        let n = self.u.int_in_range(0..=most)?;
        (0..n).map(|_| self.value()).collect()
    }

    fn name(&mut self) -> Result<Option<Arc<str>>> {
        Ok(match self.u.int_in_range(0..=3)? {
            0 => None,
            i => Some(["a", "b", "a b"][i - 1].into()),
        })
    }

    fn create(&mut self) -> Result<()> {
        let what = self.u.int_in_range(0..=9)?;
        let mut spec = match what {
            0 if self.twin.return_op.is_none() => OpSpec::new(Return::default()),
            1 => OpSpec::new(Parameter::default()),
            _ => OpSpec::new(Opaque::default()),
        };
        let operands = if what == 1 { Slots::new() } else { self.slots(4)? };
        spec = spec.operands(operands.clone());
        let n = if self.u.ratio(1, 4)? { self.u.int_in_range(0..=60)? } else { 0 };
        let mut captures = Slots::new();
        for _ in 0..n {
            captures.extend(self.value()?.map(Some));
        }
        spec = spec.captures(captures.iter().flatten().copied());
        let mut regions = Vec::new();
        for _ in 0..self.u.int_in_range(0..=2)? {
            let body = *self.u.choose(&self.bodies)?;
            spec = spec.region(body);
            regions.push(body);
        }
        let mut results = Vec::new();
        for _ in 0..self.u.int_in_range(0..=3)? {
            let (name, ty) = (self.name()?, Type::Unknown);
            spec = spec.results([ResultSpec { name: name.clone(), ty: ty.clone() }]);
            results.push((name, ty));
        }
        let name = self.name()?;
        if let Some(name) = &name {
            spec = spec.name(name.clone());
        }
        let order = match self.twin.ops.is_empty() || self.u.ratio(2, 3)? {
            true => {
                self.twin.next_order += 1;
                self.twin.next_order - 1
            }
            false => {
                let anchor = self.u.choose_index(self.twin.ops.len())?;
                let anchor = &self.twin.ops[anchor];
                spec = spec.at(anchor.id);
                anchor.key.0
            }
        };
        let is_return = what == 0 && self.twin.return_op.is_none();
        let id = self.g.create(spec);
        let key = (order, self.twin.next_seq);
        self.twin.next_seq += 1;
        let modified = false;
        let op = TwinOp { id, key, operands, captures, regions, name, results, modified };
        self.twin.ops.push(op);
        if is_return {
            self.twin.return_op = Some(id);
        } else if what == 1 {
            self.twin.parameters.push(id);
        }
        Ok(())
    }

    fn erase(&mut self, at: usize) -> Result<()> {
        let op = self.twin.ops[at].clone();
        let own: Vec<Value> = (0..op.results.len()).map(|i| Value::new(op.id, i as u32)).collect();
        if own.iter().any(|&v| !self.twin.uses(v).is_empty()) {
            if self.u.ratio(1, 8)? {
                let erased = catch_unwind(AssertUnwindSafe(|| self.g.erase(op.id)));
                assert!(erased.is_err(), "what is used was erased");
                return Ok(());
            }
            let others: Vec<Value> =
                self.twin.values().into_iter().filter(|v| v.op != op.id).collect();
            for v in own {
                let to = if others.is_empty() || self.u.ratio(1, 3)? {
                    None
                } else {
                    Some(*self.u.choose(&others)?)
                };
                let expected = self.twin.replace(v, to);
                match to {
                    Some(to) => assert_eq!(self.g.replace_all_uses(v, to), expected),
                    None => {
                        let uses: Vec<Use> = self.g.uses(v).collect();
                        assert_eq!(uses.len(), expected);
                        uses.into_iter().for_each(|u| self.g.set_operand(u, None));
                    }
                }
            }
        }
        self.g.erase(op.id);
        self.twin.ops.remove(at);
        self.twin.parameters.retain(|&p| p != op.id);
        self.twin.return_op = self.twin.return_op.filter(|&r| r != op.id);
        self.twin.erased.push(op.id);
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let n = self.twin.ops.len();
        let what = self.u.int_in_range(0..=17)?;
        if n == 0 || (what <= 3 && n < 12) {
            return self.create();
        }
        let at = self.u.choose_index(n)?;
        let id = self.twin.ops[at].id;
        match what {
            // A run of slots at once, so that lists grow far beyond what one node of the storage holds.
            0..=8 => {
                let run = self.u.ratio(1, 2)?;
                let first = self.u.int_in_range(0..=if run { 150 } else { 4 })?;
                let last = first + if run { self.u.int_in_range(0..=60)? } else { 0 };
                for slot in first..=last {
                    let v = self.value()?;
                    let own = &mut self.twin.ops[at].operands;
                    if own.len() <= slot {
                        own.resize(slot + 1, None);
                    }
                    own[slot] = v;
                    self.g.set_operand(Use { user: id, operand: slot as u32 }, v);
                }
            }
            9 => {
                for _ in 0..self.u.int_in_range(1..=40)? {
                    if let Some(v) = self.value()? {
                        let captures = &mut self.twin.ops[at].captures;
                        assert_eq!(self.g.add_capture(id, v) as usize, captures.len());
                        captures.push(Some(v));
                    }
                }
            }
            10 if !self.twin.ops[at].captures.is_empty() => {
                let i = self.u.choose_index(self.twin.ops[at].captures.len())?;
                let v = self.value()?;
                self.twin.ops[at].captures[i] = v;
                self.g.set_operand(Use { user: id, operand: i as u32 | Use::CAPTURE }, v);
            }
            11 => {
                let len = self.u.int_in_range(0..=self.twin.ops[at].operands.len())?;
                self.twin.ops[at].operands.truncate(len);
                self.g.truncate_operands(id, len);
            }
            12 | 13 => {
                if let (Some(from), Some(to)) = (self.value()?, self.value()?) {
                    let expected = if from == to { 0 } else { self.twin.replace(from, Some(to)) };
                    assert_eq!(self.g.replace_all_uses(from, to), expected);
                }
            }
            14 | 15 => self.erase(at)?,
            16 => {
                let name = self.name()?;
                self.twin.ops[at].name = name.clone();
                self.g.set_op_name(id, name);
                if let Some(i) = self.twin.ops[at].results.len().checked_sub(1) {
                    let (name, ty) = (self.name()?, Type::from(TensorType::of(DType::F32, &[2])));
                    self.twin.ops[at].results[i] = (name.clone(), ty.clone());
                    self.g.set_value_name(Value::new(id, i as u32), name);
                    self.g.set_ty(Value::new(id, i as u32), ty);
                }
            }
            _ => {
                // A copy goes on as the original; kinds that the graph keeps a list of stay what they are.
                self.g = self.g.clone();
                if matches!(self.g.kind(id), OpKind::Opaque(_)) {
                    self.g.set_kind(id, Opaque { name: "Other".into(), ..Opaque::default() });
                    self.twin.ops[at].modified = true;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn the_storage_agrees_with_its_twin() {
    let mut module = Module::new("bodies");
    let bodies: Vec<GraphId> =
        (0..3).map(|_| module.add_graph(Graph::new("b", GraphRole::Body))).collect();
    let (mut steps, mut most, mut cycles) = (0u64, 0, 0u64);
    holds(120, |u| {
        let (g, twin) = (Graph::new("g", GraphRole::Main), Twin::default());
        let mut pair = Pair { u, g, twin, bodies: bodies.clone() };
        for _ in 0..pair.u.int_in_range(1..=120)? {
            pair.step()?;
            pair.twin.check(&pair.g);
            steps += 1;
            let values = pair.twin.values();
            most = values.iter().map(|&v| pair.g.uses(v).count()).max().unwrap_or(0).max(most);
            cycles += u64::from(pair.g.topo_order().is_err());
        }
        Ok(())
    });
    // Lists that spread over several nodes were among them, and graphs with an order and without.
    assert!(steps > 2000 && most > 100, "{steps} steps, at most {most} uses");
    assert!(cycles > 100 && cycles * 10 < steps * 9, "{cycles} cycles in {steps} steps");
}
