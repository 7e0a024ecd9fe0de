//! The dataflow graph: ids, uses, order.

use normfold_ir::*;
use normfold_property::holds;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

fn op(g: &mut Graph, operands: &[Value]) -> Value {
    let spec = Opaque { name: "Any".into(), ..Opaque::default() };
    let spec = OpSpec::new(spec).operands(operands.iter().map(|&v| Some(v))).result(Type::Unknown);
    let op = g.create(spec);
    g.result(op, 0)
}

fn empty() -> Graph {
    Graph::new("g", GraphRole::Main)
}

fn panics(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn stale_ids_are_caught() {
    let mut g = empty();
    let a = op(&mut g, &[]);
    let kept = op(&mut g, &[]);
    g.erase(a.op);
    assert!(!g.contains(a.op));
    assert!(panics(|| drop(g.kind(a.op).clone())));
    // The slot is handed out again, the id is not.
    let b = op(&mut g, &[]);
    assert_eq!(b.op.slot(), a.op.slot());
    assert_ne!(b.op, a.op);
    assert!(!g.contains(a.op) && g.contains(b.op));
    assert!(panics(|| drop(g.kind(a.op).clone())));
    assert!(panics(|| drop(g.ty(a).clone())));
    assert!(panics(|| assert_eq!(g.uses(a).count(), 0)));
    assert!(panics(|| g.set_operand(Use { user: kept.op, operand: 0 }, Some(a))));
    assert!(panics(|| {
        g.create(OpSpec::new(UnaryKind::Relu).operand(a).result(Type::Unknown));
    }));
}

#[test]
fn what_is_used_is_not_erased() {
    let mut g = empty();
    let a = op(&mut g, &[]);
    let b = op(&mut g, &[a]);
    assert!(panics(|| g.erase(a.op)));
    g.erase(b.op);
    g.erase(a.op);
    assert!(g.is_empty());
}

#[test]
fn there_is_one_return() {
    let mut g = empty();
    let ret = g.create(OpSpec::new(Return::default()));
    assert!(panics(|| {
        g.create(OpSpec::new(Return::default()));
    }));
    let mut g = empty();
    let again = g.create(OpSpec::new(Return::default()));
    g.erase(again);
    assert_eq!(g.return_op(), None);
    assert_eq!(ret, again);
}

/// 100,000 readers of one value move to another and back, in time linear in them: quadratically this takes minutes.
#[test]
fn uses_are_replaced_in_linear_time() {
    const N: usize = 100_000;
    let mut g = empty();
    let (a, b) = (op(&mut g, &[]), op(&mut g, &[]));
    let users: Vec<Value> = (0..N).map(|_| op(&mut g, &[a])).collect();
    assert_eq!(g.uses(a).count(), N);
    assert_eq!(g.replace_all_uses(a, b), N);
    assert_eq!((g.uses(a).count(), g.uses(b).count()), (0, N));
    assert_eq!(g.replace_all_uses(b, a), N);
    assert_eq!(g.replace_all_uses(a, a), 0);
    assert!(users.iter().all(|u| g.operand(u.op, 0) == Some(a)));
    // Oldest first: the order in which naive lists are slowest.
    users.iter().for_each(|u| g.erase(u.op));
    assert!(!g.has_uses(a.op));
    assert_eq!(g.len(), 2);
}

/// One op of 100,000 operands and as many captures.
#[test]
fn operands_in_any_number() {
    const N: u32 = 100_000;
    let mut g = empty();
    let a = op(&mut g, &[]);
    let user = g.create(OpSpec::new(Opaque::default()));
    for i in 0..N {
        g.set_operand(Use { user, operand: i }, Some(a));
        assert_eq!(g.add_capture(user, a), i);
    }
    assert_eq!(g.uses(a).count(), 2 * N as usize);
    assert_eq!(g.uses(a).filter(|u| u.capture().is_some()).count(), N as usize);
    g.truncate_operands(user, 10);
    assert_eq!((g.num_operands(user), g.captures(user).len()), (10, N as usize));
    assert_eq!(g.uses(a).count(), N as usize + 10);
    g.erase(user);
    assert!(!g.has_uses(a.op));
}

/// Slots of operands with gaps: what lies between is absent.
#[test]
fn absent_operands() {
    let mut g = empty();
    let a = op(&mut g, &[]);
    let user = op(&mut g, &[]);
    g.set_operand(Use { user: user.op, operand: 3 }, Some(a));
    assert_eq!(g.operands(user.op).collect::<Vec<_>>(), [None, None, None, Some(a)]);
    assert_eq!(g.single_value_use(a), Some(Use { user: user.op, operand: 3 }));
    g.set_operand(Use { user: user.op, operand: 3 }, None);
    assert!(g.is_unused(a));
}

fn order(g: &Graph) -> Vec<u32> {
    g.topo_order().unwrap().into_iter().map(|o| o.seq()).collect()
}

#[test]
fn order_is_that_of_creation_where_it_can_be() {
    let mut g = empty();
    let a = op(&mut g, &[]);
    let b = op(&mut g, &[a]);
    let c = op(&mut g, &[a]);
    g.create(OpSpec::new(Return::default()).operand(b));
    let d = op(&mut g, &[c]);
    assert_eq!(order(&g), [0, 1, 2, 4, 3], "return comes last");
    // `b` now reads what was created after it; the rest stays.
    g.set_operand(Use { user: b.op, operand: 0 }, Some(d));
    assert_eq!(order(&g), [0, 2, 4, 1, 3]);
}

#[test]
fn replacements_stand_where_what_they_replace_stood() {
    let mut g = empty();
    let a = op(&mut g, &[]);
    let b = op(&mut g, &[a]);
    let c = op(&mut g, &[b]);
    let d = op(&mut g, &[a]);
    let spec = OpSpec::new(UnaryKind::Relu).operand(a).result(Type::Unknown).at(b.op);
    let new = g.create(spec);
    g.replace_all_uses(b, g.result(new, 0));
    g.erase(b.op);
    let expected = [a.op, new, c.op, d.op].map(OpId::seq);
    assert_eq!(order(&g), expected);
}

#[test]
fn cycles_are_named() {
    let mut g = empty();
    let a = op(&mut g, &[]);
    let b = op(&mut g, &[a, a]);
    let c = op(&mut g, &[b]);
    let d = op(&mut g, &[c]);
    let downstream = op(&mut g, &[d, a]);
    g.create(OpSpec::new(Return::default()).operand(downstream));
    assert!(g.topo_order().is_ok());
    g.set_operand(Use { user: b.op, operand: 1 }, Some(d));
    let mut cycle: Vec<OpId> = g.topo_order().unwrap_err().ops;
    cycle.sort();
    assert_eq!(cycle, [b.op, c.op, d.op]);
    g.set_operand(Use { user: b.op, operand: 1 }, None);
    g.add_capture(c.op, c);
    assert_eq!(g.topo_order().unwrap_err().ops, [c.op]);
}

/// Any acyclic graph: every op once, after what it reads, the same each time.
#[test]
fn orders_respect_operands() {
    holds(200, |u| {
        let mut g = empty();
        let n = u.int_in_range(1..=60)?;
        let values: Vec<Value> = (0..n).map(|_| op(&mut g, &[])).collect();
        // Links go along a random ranking, mostly not that of creation.
        let mut rank: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            rank.swap(i, u.choose_index(i + 1)?);
        }
        for slot in 0..u.int_in_range(0..=150)? {
            let (p, q) = (u.choose_index(n)?, u.choose_index(n)?);
            if rank[p] < rank[q] {
                g.set_operand(Use { user: values[q].op, operand: slot }, Some(values[p]));
            }
        }
        let order = g.topo_order().unwrap();
        assert_eq!(order.len(), n);
        let mut done = BTreeSet::new();
        for &o in &order {
            assert!(g.operands(o).flatten().all(|v| done.contains(&v.op)));
            assert!(done.insert(o));
        }
        assert_eq!(order, g.topo_order().unwrap());
        Ok(())
    });
}
