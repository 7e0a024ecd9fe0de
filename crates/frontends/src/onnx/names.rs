//! Which name each value gets in the document.
//!
//! A value keeps its name where it can. A graph result must have the name its interface says: where the value cannot take it (a
//! parameter, a constant, one that is another result already) an Identity node is planned. A value whose name is taken, or that
//! has none, gets a new one that is free in every graph of the module, so that nothing is shadowed.

use normfold_ir::{Graph, IdMap, IdSet, Module, OpId, OpKind, Value};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// A graph result that takes an Identity node.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    pub(crate) value: Value,
    /// The name of the result.
    pub(crate) name: Arc<str>,
}

/// The names of one graph's values.
#[derive(Debug, Default)]
pub(crate) struct GraphNames {
    changed: IdMap<Value, Arc<str>>,
    pub(crate) aliases: Vec<Alias>,
}

impl GraphNames {
    /// The name of a value; empty for a result that is not asked for.
    pub(crate) fn of<'n>(&'n self, graph: &'n Graph, v: Value) -> &'n str {
        match self.changed.get(&v) {
            Some(name) => name,
            None => graph.value_name(v).map_or("", |n| n),
        }
    }
}

/// Makes names that are free everywhere.
#[derive(Debug)]
pub(crate) struct FreshNames<'m> {
    module: &'m Module,
    /// Names of the document that no op of the module shows: kept records, interfaces.
    reserved: Vec<Arc<str>>,
    /// Filled when the first name is asked for: most models need none.
    used: Option<HashSet<Arc<str>>>,
    /// The number to go on with for each base, so that many values of one name cost one step each.
    next: HashMap<Box<str>, u64>,
}

impl<'m> FreshNames<'m> {
    pub(crate) fn new(module: &'m Module, reserved: Vec<Arc<str>>) -> Self {
        Self { module, reserved, used: None, next: HashMap::new() }
    }

    /// `base`, or `base` with the smallest number that makes it free.
    pub(crate) fn name(&mut self, base: &str) -> Arc<str> {
        let (module, reserved) = (self.module, &mut self.reserved);
        let used = self.used.get_or_insert_with(|| {
            let mut used: HashSet<Arc<str>> = std::mem::take(reserved).into_iter().collect();
            for id in module.graph_ids() {
                let g = module.graph(id);
                for op in g.ops() {
                    used.extend(g.results(op).filter_map(|v| g.value_name(v).cloned()));
                }
            }
            used
        });
        let base = if base.is_empty() { "value" } else { base };
        let mut name: Arc<str> = base.into();
        if used.contains(&name) {
            let n = match self.next.get_mut(base) {
                Some(n) => n,
                None => self.next.entry(base.into()).or_insert(1),
            };
            while used.contains(&name) {
                name = format!("{base}_{n}").into();
                *n += 1;
            }
        }
        used.insert(name.clone());
        name
    }
}

/// What a graph's names must agree with.
pub(crate) struct Interface<'a> {
    /// The names of the graph's results.
    pub(crate) outputs: &'a [Arc<str>],
    /// Names that values outside the graph's ops have: of initializers that are kept though their op is gone.
    pub(crate) kept: &'a [Arc<str>],
    /// Final names of captured values, by the capture parameter.
    pub(crate) captures: &'a [(Value, Arc<str>)],
}

/// Plans the names of a graph. `order` lists its ops, those of the document before those that are new.
pub(crate) fn plan(
    graph: &Graph,
    order: &[OpId],
    interface: &Interface<'_>,
    fresh: &mut FreshNames<'_>,
) -> GraphNames {
    let mut names = GraphNames::default();
    let mut taken: HashMap<Arc<str>, Option<Value>> = HashMap::new();
    let is_parameter = |op: OpId| matches!(graph.kind(op), OpKind::Parameter(_));
    taken.extend(interface.kept.iter().map(|n| (n.clone(), None)));
    for (v, name) in interface.captures {
        taken.insert(name.clone(), Some(*v));
        if graph.value_name(*v) != Some(name) {
            names.changed.insert(*v, name.clone());
        }
    }
    for v in graph.parameters().iter().flat_map(|&p| graph.results(p)) {
        if let Some(n) = graph.value_name(v)
            && !names.changed.contains_key(&v)
        {
            taken.insert(n.clone(), Some(v));
        }
    }
    let returned =
        graph.return_op().map(|r| graph.operands(r).collect::<Vec<_>>()).unwrap_or_default();
    // Values that already have the name of a result keep it, whichever result comes first.
    for (name, v) in interface.outputs.iter().zip(&returned) {
        if let Some(v) = v
            && graph.value_name(*v) == Some(name)
            && !names.changed.contains_key(v)
        {
            taken.entry(name.clone()).or_insert(Some(*v));
        }
    }
    let holds = |taken: &HashMap<Arc<str>, Option<Value>>, name: &Arc<str>, v: Value| {
        taken.get(name) == Some(&Some(v))
    };
    let mut settled: IdSet<Value> = IdSet::default();
    for (name, v) in interface.outputs.iter().zip(&returned) {
        let Some(v) = *v else { continue };
        if holds(&taken, name, v) {
            settled.insert(v);
        }
    }
    for (name, v) in interface.outputs.iter().zip(&returned) {
        let Some(v) = *v else { continue };
        if holds(&taken, name, v) {
            continue;
        }
        let fixed = is_parameter(v.op)
            || matches!(graph.kind(v.op), OpKind::Constant(_))
            || settled.contains(&v);
        if fixed || taken.contains_key(name) {
            names.aliases.push(Alias { value: v, name: name.clone() });
            taken.entry(name.clone()).or_insert(None);
        } else {
            taken.insert(name.clone(), Some(v));
            names.changed.insert(v, name.clone());
            settled.insert(v);
        }
    }
    for &op in order {
        if is_parameter(op) {
            continue;
        }
        for v in graph.results(op) {
            if settled.contains(&v) {
                continue;
            }
            let name = graph.value_name(v).filter(|n| !n.is_empty());
            match name {
                Some(n) if taken.get(n).is_none_or(|owner| *owner == Some(v)) => {
                    taken.insert(n.clone(), Some(v));
                }
                // What a node of the document leaves out it may leave out; the first result of a new one it may not.
                None if graph.is_unused(v) && (v.result > 0 || graph.origin(op).is_some()) => {}
                _ => {
                    let base = match name {
                        Some(n) => n.clone(),
                        None => graph.location(op),
                    };
                    let new = fresh.name(&base);
                    taken.insert(new.clone(), Some(v));
                    names.changed.insert(v, new);
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::{
        Constant, DType, GraphRole, OpSpec, Parameter, Return, TensorType, UnaryKind,
    };

    fn ty() -> TensorType {
        TensorType::of(DType::F32, &[2])
    }

    /// x → relu `a` → relu `b`; returns what the test says.
    fn chain(
        module: &mut Module,
        returned: impl Fn(Value, Value, Value, Value) -> Vec<Value>,
    ) -> normfold_ir::GraphId {
        let mut g = Graph::new("main", GraphRole::Main);
        let w = module.constants.add_f64(DType::F32, &[2], &[1.0, 2.0]);
        let x =
            g.create(OpSpec::new(Parameter { index: 0, capture: false }).named_result("x", ty()));
        let w = g.create(OpSpec::new(Constant::new(w)).named_result("w", ty()));
        let (x, w) = (g.result(x, 0), g.result(w, 0));
        let a = g.create(OpSpec::new(UnaryKind::Relu).operand(x).named_result("a", ty()));
        let a = g.result(a, 0);
        let b = g.create(OpSpec::new(UnaryKind::Relu).operand(a).named_result("b", ty()));
        let b = g.result(b, 0);
        g.create(
            OpSpec::new(Return::default()).operands(returned(x, w, a, b).into_iter().map(Some)),
        );
        module.add_graph(g)
    }

    fn planned(
        module: &Module,
        id: normfold_ir::GraphId,
        outputs: &[&str],
    ) -> (Vec<String>, Vec<String>) {
        let g = module.graph(id);
        let outputs: Vec<Arc<str>> = outputs.iter().map(|&o| o.into()).collect();
        let order: Vec<OpId> = g.topo_order().unwrap();
        let mut fresh = FreshNames::new(module, outputs.clone());
        let interface = Interface { outputs: &outputs, kept: &[], captures: &[] };
        let names = plan(g, &order, &interface, &mut fresh);
        let values =
            order.iter().flat_map(|&op| g.results(op)).map(|v| names.of(g, v).to_owned()).collect();
        (
            values,
            names
                .aliases
                .iter()
                .map(|a| format!("{} = {}", a.name, names.of(g, a.value)))
                .collect(),
        )
    }

    #[test]
    fn names_stay_where_they_can() {
        let mut m = Module::new("m");
        let id = chain(&mut m, |_, _, _, b| vec![b]);
        assert_eq!(
            planned(&m, id, &["b"]),
            (["x", "w", "a", "b"].map(String::from).to_vec(), vec![])
        );
    }

    #[test]
    fn a_result_takes_its_interface_name() {
        let mut m = Module::new("m");
        let id = chain(&mut m, |_, _, a, _| vec![a]);
        // `b` is another value's name, which must give way.
        assert_eq!(
            planned(&m, id, &["b"]),
            (["x", "w", "b", "b_1"].map(String::from).to_vec(), vec![])
        );
    }

    #[test]
    fn what_cannot_take_a_name_is_aliased() {
        let mut m = Module::new("m");
        let id = chain(&mut m, |x, w, a, _| vec![x, w, a, a]);
        let (values, aliases) = planned(&m, id, &["o1", "o2", "o3", "a"]);
        assert_eq!(values, ["x", "w", "a", "b"]);
        assert_eq!(aliases, ["o1 = x", "o2 = w", "o3 = a"]);
    }

    #[test]
    fn taken_and_missing_names_become_new_ones() {
        let mut m = Module::new("m");
        let id = chain(&mut m, |_, _, _, b| vec![b]);
        let (a, op);
        {
            let g = m.graph_mut(id);
            let order = g.topo_order().unwrap();
            a = g.result(order[2], 0);
            op = g.create(
                OpSpec::new(UnaryKind::Neg).operand(a).named_result("a", ty()).at(order[2]),
            );
            let unnamed = g
                .create(OpSpec::new(UnaryKind::Neg).operand(a).result(ty()).name("n").at(order[2]));
            let _ = unnamed;
        }
        let g = m.graph(id);
        let mut order = g.topo_order().unwrap();
        order.sort_by_key(|&o| o.seq());
        let outputs = [Arc::from("b")];
        let mut fresh = FreshNames::new(&m, vec!["a_1".into()]);
        let names = plan(
            g,
            &order,
            &Interface { outputs: &outputs, kept: &["n".into()], captures: &[] },
            &mut fresh,
        );
        assert_eq!(names.of(g, a), "a");
        assert_eq!(names.of(g, g.result(op, 0)), "a_2");
        assert!(
            order.iter().any(|&o| g.num_results(o) > 0 && names.of(g, g.result(o, 0)) == "n_1"
                || g.num_results(o) == 0)
        );
    }
}
