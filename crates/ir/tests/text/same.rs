//! Structural equality of modules: all that the text form keeps.

use normfold_ir::{
    Attribute, ConstData, ConstId, Graph, GraphId, GraphRole, Module, OpId, OpKind, Step, Value,
    text,
};
use std::collections::HashMap;

/// Panics where two modules differ in anything but storage.
pub(crate) fn assert_same(a: &Module, b: &Module) {
    assert_eq!(a.name(), b.name());
    assert_attrs(a, b, &a.attrs, &b.attrs);
    let roots = |m: &Module| -> Vec<GraphId> {
        m.graph_ids().filter(|&g| m.graph(g).role() != GraphRole::Body).collect()
    };
    let (ra, rb) = (roots(a), roots(b));
    assert_eq!(ra.len(), rb.len(), "number of graphs");
    for (x, y) in ra.into_iter().zip(rb) {
        assert_graph(a, b, x, y);
    }
}

fn assert_graph(a: &Module, b: &Module, x: GraphId, y: GraphId) {
    let (ga, gb) = (a.graph(x), b.graph(y));
    assert_eq!((ga.name(), ga.role()), (gb.name(), gb.role()));
    let order = |g: &Graph| -> Vec<OpId> {
        let mut ops = g.topo_order().unwrap();
        // The head of a graph lists parameters before any op.
        ops.sort_by_key(|&o| !matches!(g.kind(o), OpKind::Parameter(_)));
        ops
    };
    let (oa, ob) = (order(ga), order(gb));
    assert_eq!(oa.len(), ob.len(), "number of ops");
    let mut to_b: HashMap<Value, Value> = HashMap::new();
    for (p, q) in oa.into_iter().zip(ob) {
        let at = ga.location(p);
        assert_eq!(ga.kind(p).mnemonic(), gb.kind(q).mnemonic(), "{at}");
        assert_attrs(a, b, &ga.kind(p).to_attrs(), &gb.kind(q).to_attrs());
        if let (OpKind::Opaque(s), OpKind::Opaque(t)) = (ga.kind(p), gb.kind(q)) {
            assert_eq!((&s.domain, &s.name), (&t.domain, &t.name), "{at}");
            assert_eq!((s.pure, &s.type_uses, s.quantized), (t.pure, &t.type_uses, t.quantized));
        }
        assert_eq!(ga.op_name(p), gb.op_name(q));
        let read = |v: Option<Value>| v.map(|v| to_b[&v]);
        let operands: Vec<_> = ga.operands(p).map(read).collect();
        assert_eq!(operands, gb.operands(q).collect::<Vec<_>>(), "operands of {at}");
        let captures: Vec<_> = ga.captures(p).map(read).collect();
        assert_eq!(captures, gb.captures(q).collect::<Vec<_>>(), "captures of {at}");
        assert_eq!(ga.num_results(p), gb.num_results(q), "results of {at}");
        for (v, w) in ga.results(p).zip(gb.results(q)) {
            assert_eq!(ga.value_name(v), gb.value_name(w), "name of a result of {at}");
            assert_eq!(ga.ty(v), gb.ty(w), "type of a result of {at}");
            to_b.insert(v, w);
        }
        assert_eq!(ga.regions(p).len(), gb.regions(q).len(), "bodies of {at}");
        for (&r, &s) in ga.regions(p).iter().zip(gb.regions(q)) {
            assert_graph(a, b, r, s);
        }
    }
}

fn assert_attrs(a: &Module, b: &Module, x: &normfold_ir::AttrMap, y: &normfold_ir::AttrMap) {
    assert_eq!(x.keys().collect::<Vec<_>>(), y.keys().collect::<Vec<_>>());
    for (p, q) in x.values().zip(y.values()) {
        assert_attr(a, b, p, q);
    }
}

fn assert_attr(a: &Module, b: &Module, x: &Attribute, y: &Attribute) {
    match (x, y) {
        (Attribute::Tensor(p), Attribute::Tensor(q)) => assert_const(a, b, *p, *q),
        (Attribute::List(p), Attribute::List(q)) => {
            assert_eq!(p.len(), q.len());
            p.iter().zip(q).for_each(|(p, q)| assert_attr(a, b, p, q));
        }
        (Attribute::Float(p), Attribute::Float(q)) => assert_eq!(p.to_bits(), q.to_bits()),
        _ => assert_eq!(x, y),
    }
}

/// The same elements, or the same hash of elements.
fn assert_const(a: &Module, b: &Module, x: ConstId, y: ConstId) {
    let (pa, pb) = (&a.constants, &b.constants);
    assert_eq!(pa.ty(x), pb.ty(y));
    match (&pa.entry(x).data, &pb.entry(y).data) {
        (ConstData::Strings(p), ConstData::Strings(q)) => assert_eq!(p, q),
        (ConstData::Absent { hash: p }, ConstData::Absent { hash: q }) => assert_eq!(p, q),
        (_, ConstData::Absent { hash }) => assert_eq!(pa.content_hash(x).ok(), *hash),
        (ConstData::Derived(p), ConstData::Derived(q)) => {
            assert_const(a, b, p.base(), q.base());
            assert_eq!(p.steps().len(), q.steps().len());
            for (s, t) in p.steps().iter().zip(q.steps()) {
                match (s, t) {
                    (Step::Scale { map: m, factors: u }, Step::Scale { map: n, factors: v })
                    | (Step::Shift { map: m, addends: u }, Step::Shift { map: n, addends: v }) => {
                        assert_eq!(m, n);
                        assert_const(a, b, *u, *v);
                    }
                    (
                        Step::Scatter { positions: p, addends: u },
                        Step::Scatter { positions: q, addends: v },
                    ) => {
                        assert_const(a, b, *p, *q);
                        assert_const(a, b, *u, *v);
                    }
                    (
                        Step::Embed { source: p, offset: o, negated: m },
                        Step::Embed { source: q, offset: w, negated: n },
                    ) => {
                        assert_eq!((o, m), (w, n));
                        assert_const(a, b, *p, *q);
                    }
                    _ => assert_eq!(s, t),
                }
            }
        }
        (_, ConstData::Derived(_)) => panic!("derived out of nothing"),
        _ => assert_eq!(pa.content_hash(x).unwrap(), pb.content_hash(y).unwrap()),
    }
}

/// Prints, parses and prints again; both texts and both modules are the same. Returns the text.
pub(crate) fn round_trip(m: &Module) -> String {
    let text = text::print(m, &Default::default()).unwrap();
    let back = text::parse(&text).unwrap_or_else(|e| panic!("{e:?} in\n{text}"));
    assert_same(m, &back);
    assert_eq!(text, text::print(&back, &Default::default()).unwrap());
    text
}

/// Parses a text that is printed exactly as it stands.
pub(crate) fn exact(text: &str) -> Module {
    let m = text::parse(text).unwrap_or_else(|e| panic!("{e:?} at {:?}", &text[e.span.clone()]));
    assert_eq!(text::print(&m, &Default::default()).unwrap(), text);
    round_trip(&m);
    m
}
