//! One graph: its parameters, constants, nodes and results as ops.

use super::{
    Importer,
    attrs::Attrs,
    invalid, opaque,
    ops::{self, Body, NodeCx},
    scope::{Captures, Reader, Scope, hides, node_place, twice},
};
use crate::{
    FrontendError,
    onnx::model::{GraphOwner, GraphView, NodeView, Origin, normal_domain},
};
use normfold_ir::{
    Binding, Call, Constant, Graph, GraphRole, OpKind, OpSpec, Opaque, ResultSpec, Return, Type,
    Use, Value,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a body takes and gives.
#[derive(Clone, Copy)]
struct Arity {
    parameters: usize,
    results: usize,
}

impl<'a> Importer<'a, '_> {
    /// Imports the main graph or the body of a function.
    pub(super) fn root(&mut self, index: u32) -> Result<(), FrontendError> {
        let Some(view) = self.model.graph(index) else { return Ok(()) };
        self.graph(view, None, &mut Captures::new()).map(|_| ())
    }

    fn graph(
        &mut self,
        view: GraphView<'a>,
        outer: Option<&Scope<'_, 'a>>,
        captures: &mut Captures<'a>,
    ) -> Result<Arity, FrontendError> {
        let Some(&Some(id)) = self.graphs.get(view.index as usize) else {
            return Err(invalid(view.path(), "a graph of training in an attribute"));
        };
        let role = self.module.graph(id).role();
        let name: Arc<str> = match view.table.owner {
            GraphOwner::Function(i) => self.functions.names[i as usize].clone(),
            _ => match view.name()? {
                "" => "main".into(),
                name => name.into(),
            },
        };
        let opset = view.opset("").or((self.model.table.ir_version < 3).then_some(1));
        let mut scope = Scope::new(Graph::new(name, role), view, outer, opset);
        let table = view.table;
        let constants = table.initializers.len() + table.sparse_initializers.len();
        let ops = table.nodes.len() + constants + table.inputs.len() + 1;
        // Most nodes read one value that a node makes; initializers are mostly read once. Room for what values of many users
        // and rewrites add: beyond it the storage doubles.
        scope.graph.reserve(ops + ops / 16 + 16, ops + table.outputs.len());
        scope.reserve(ops);

        scope.declare()?;
        self.parameters(&mut scope)?;
        let parameters = scope.graph.parameters().len();
        self.initializers(&mut scope)?;
        for i in 0..table.nodes.len() {
            let node = view.node(i)?;
            self.node(&mut scope, &node, i as u32, captures)?;
        }
        let results = self.results(&mut scope, captures)?;
        if scope.resolve_pending()? {
            self.hide_nothing(&scope, view)?;
        }
        for i in 0..table.annotations.len() {
            let name = view.annotation(i)?.tensor_name;
            if let Some(v) = scope.defined(name) {
                scope.graph.set_quantized(v);
            }
        }
        let Scope { graph, .. } = scope;
        *self.module.graph_mut(id) = graph;
        Ok(Arity { parameters, results })
    }

    fn parameters(&mut self, scope: &mut Scope<'_, 'a>) -> Result<(), FrontendError> {
        let view = scope.view;
        if let GraphOwner::Function(i) = view.table.owner {
            let Some(f) = self.model.table.functions.get(i as usize) else { return Ok(()) };
            for (i, name) in f.inputs.iter().enumerate() {
                let ty = self.declared(scope, name)?;
                scope.parameter(i as u32, name, ty)?;
            }
            return Ok(());
        }
        for i in 0..view.table.inputs.len() {
            let info = view.input(i)?;
            if scope.is_default(info.name) {
                continue;
            }
            let ty = self.shared.types.of_view(info.ty.as_ref());
            has_name(scope, "input", i, info.name)?;
            scope.parameter(i as u32, info.name, ty)?;
        }
        Ok(())
    }

    /// The type that the document declares for a name.
    fn declared(&mut self, scope: &Scope<'_, 'a>, name: &str) -> Result<Type, FrontendError> {
        let info = scope.declared(name)?;
        Ok(self.shared.types.of_view(info.and_then(|i| i.ty).as_ref()))
    }

    fn initializers(&mut self, scope: &mut Scope<'_, 'a>) -> Result<(), FrontendError> {
        let view = scope.view;
        for i in 0..view.table.initializers.len() {
            let t = view.initializer(i)?;
            has_name(scope, "initializer", i, t.name)?;
            let entry = self.shared.tensors.entry(&mut self.shared.types, &t, t.name)?;
            self.initializer(scope, t.name, entry, Origin::Initializer(i as u32))?;
        }
        for i in 0..view.table.sparse_initializers.len() {
            let s = view.sparse_initializer(i)?;
            let name = s.values.name;
            has_name(scope, "sparse_initializer", i, name)?;
            let entry = self.shared.tensors.sparse(&mut self.shared.types, &s, name)?;
            self.initializer(scope, name, entry, Origin::SparseInitializer(i as u32))?;
        }
        Ok(())
    }

    fn initializer(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        name: &'a str,
        entry: normfold_ir::ConstEntry,
        origin: Origin,
    ) -> Result<(), FrontendError> {
        let table = self.model.table;
        let both = scope.has_default(name);
        let main = scope.graph.role() == GraphRole::Main;
        let binding = if main && table.training_names.contains(name) {
            Binding::Mutable
        } else if both && table.ir_version >= 4 {
            Binding::Overridable
        } else {
            Binding::Fixed
        };
        let ty = entry.ty.clone();
        let entry = self.module.constants.add(entry.ty, entry.data);
        let origin = scope.view.table.number(origin);
        let spec = OpSpec::new(Constant { entry, binding }).named_result(name, ty).origin(origin);
        let op = scope.graph.create(spec);
        if scope.define(name, Value::new(op, 0)) {
            return Ok(());
        }
        Err(twice(format!("{}.initializer", scope.view.path()), name))
    }

    fn node(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        node: &NodeView<'a>,
        index: u32,
        captures: &mut Captures<'a>,
    ) -> Result<(), FrontendError> {
        let reader = Reader::Node { graph: scope.view.index, node: index };
        let mut later: SmallVec<[(&'a str, u32); 2]> = SmallVec::new();
        let mut operands: SmallVec<[Option<Value>; 6]> = SmallVec::new();
        for (slot, &name) in node.inputs.iter().enumerate() {
            let value = match name {
                "" => None,
                name => scope.value(name, reader, captures),
            };
            if value.is_none() && !name.is_empty() {
                later.push((name, slot as u32));
            }
            operands.push(value);
        }
        let mut own = Captures::new();
        let bodies = self.bodies(scope, node, &mut own)?;
        let (kind, ty) = self.kind(scope, node, index, &operands, &bodies)?;

        let name: Option<Arc<str>> = (!node.name.is_empty()).then(|| node.name.into());
        let mut results: SmallVec<[ResultSpec; 2]> = SmallVec::new();
        for &output in &node.outputs {
            results.push(match (output, &ty) {
                ("", _) => ResultSpec::default(),
                (output, ty) => ResultSpec {
                    name: match &name {
                        Some(name) if **name == *output => Some(name.clone()),
                        _ => Some(output.into()),
                    },
                    ty: match ty {
                        Some(ty) => ty.clone(),
                        None => self.declared(scope, output)?,
                    },
                },
            });
        }
        let mut captured: Vec<Value> = Vec::with_capacity(own.len());
        for (c, (&name, &reader)) in own.iter().enumerate() {
            captured.push(match scope.value(name, reader, captures) {
                Some(v) => v,
                None => {
                    later.push((name, c as u32 | Use::CAPTURE));
                    scope.placeholder()
                }
            });
        }
        let mut spec = OpSpec::new(kind)
            .operands(operands)
            .captures(captured)
            .results(results)
            .origin(scope.view.table.number(Origin::Node(index)));
        for body in &bodies {
            spec = spec.region(body.graph);
        }
        if let Some(name) = name {
            spec = spec.name(name);
        }
        let op = scope.graph.create(spec);
        for (name, operand) in later {
            let reader = own.get(name).filter(|_| operand & Use::CAPTURE != 0).unwrap_or(&reader);
            scope.pending.push((name, Use { user: op, operand }, *reader));
        }
        for (i, &output) in node.outputs.iter().enumerate() {
            if output.is_empty() {
                continue;
            }
            let view = scope.view;
            let place = || node_place(view, index, node);
            if scope.shadows(output) {
                return Err(hides(place(), output));
            }
            if !scope.define(output, Value::new(op, i as u32)) {
                return Err(twice(place(), output));
            }
        }
        Ok(())
    }

    /// Nodes that are out of order may be written in another, where a name that a body defines may stand behind the same name
    /// of the graph: none may be the same then, whichever comes first.
    fn hide_nothing(
        &self,
        scope: &Scope<'_, 'a>,
        view: GraphView<'a>,
    ) -> Result<(), FrontendError> {
        for i in 0..view.table.nodes.len() {
            for a in view.node(i)?.attributes {
                for content in a.graph().into_iter().chain(a.graphs()?) {
                    let Some(body) = self.model.graph_at(content) else { continue };
                    for k in 0..body.table.nodes.len() {
                        let node = body.node(k)?;
                        let defined = |o: &&&str| !o.is_empty() && scope.defined(o).is_some();
                        if let Some(output) = node.outputs.iter().find(defined) {
                            return Err(hides(node_place(body, k as u32, &node), output));
                        }
                    }
                    self.hide_nothing(scope, body)?;
                }
            }
        }
        Ok(())
    }

    /// Imports the graphs in a node's attributes: in their order, but then before else.
    fn bodies(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &NodeView<'a>,
        captures: &mut Captures<'a>,
    ) -> Result<SmallVec<[Body<'a>; 1]>, FrontendError> {
        let mut found: SmallVec<[(&'a str, GraphView<'a>); 2]> = SmallVec::new();
        for a in &node.attributes {
            // As the scan does: by what the attribute holds, whatever its type says.
            for content in a.graph().into_iter().chain(a.graphs()?) {
                found.extend(self.model.graph_at(content).map(|view| (a.name, view)));
            }
        }
        if node.op_type == "If" {
            found.sort_by_key(|(name, _)| *name != "then_branch");
        }
        let mut bodies = SmallVec::new();
        for (name, view) in found {
            let arity = self.graph(view, Some(scope), captures)?;
            let Some(&Some(graph)) = self.graphs.get(view.index as usize) else { continue };
            bodies.push(Body { name, graph, parameters: arity.parameters, results: arity.results });
        }
        Ok(bodies)
    }

    /// What a node is; with the type of its result where that is certain.
    fn kind(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &NodeView<'a>,
        index: u32,
        operands: &[Option<Value>],
        bodies: &[Body<'a>],
    ) -> Result<(OpKind, Option<Type>), FrontendError> {
        let domain = normal_domain(node.domain);
        let key = (domain, node.op_type, node.overload);
        if let Some(&callee) = self.functions.by_key.get(&key) {
            return self.call(scope, node, index, callee, bodies).map(|k| (k, None));
        }
        let mut kind = None;
        if domain.is_empty() {
            let place = || node_place(scope.view, index, node);
            let Some(opset) = scope.opset else {
                let what = "an operator of the standard domain, which opset_import does not have";
                return Err(invalid(place(), format!("`{}` is {what}", node.op_type)));
            };
            if node.op_type == "Constant" && bodies.is_empty() {
                if let Some((kind, ty)) = self.constant(node)? {
                    return Ok((kind, Some(ty)));
                }
            } else {
                kind = ops::convert(NodeCx {
                    node,
                    opset,
                    scope,
                    pool: &mut self.module.constants,
                    shared: &mut self.shared,
                    operands,
                    bodies,
                    attrs: Attrs::new(&node.attributes),
                    error: None,
                })?;
            }
        }
        match kind {
            Some(kind) => Ok((kind, None)),
            None => {
                let pool = &mut self.module.constants;
                let op = opaque::opaque(&mut self.shared, pool, node, !bodies.is_empty())?;
                Ok((op.into(), None))
            }
        }
    }

    fn constant(&mut self, node: &NodeView<'a>) -> Result<Option<(OpKind, Type)>, FrontendError> {
        let ([a], [], [name]) = (&node.attributes[..], &node.inputs[..], &node.outputs[..]) else {
            return Ok(None);
        };
        if !a.ref_attr_name.is_empty() {
            return Ok(None);
        }
        let Some(entry) = self.shared.tensors.of_attribute(&mut self.shared.types, a, name)? else {
            return Ok(None);
        };
        let ty = entry.ty.clone();
        let entry = self.module.constants.add(entry.ty, entry.data);
        Ok(Some((Constant::new(entry).into(), ty.into())))
    }

    /// A node of one of the model's functions. With graphs in its attributes it stays opaque: what a function does with them is
    /// not known.
    fn call(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &NodeView<'a>,
        index: u32,
        callee: u32,
        bodies: &[Body<'a>],
    ) -> Result<OpKind, FrontendError> {
        let Some(f) = self.model.table.functions.get(callee as usize) else {
            return Ok(Opaque::default().into());
        };
        let name = self.functions.names[callee as usize].clone();
        let (inputs, outputs) = (node.inputs.len(), node.outputs.len());
        if inputs > f.inputs.len() || outputs > f.outputs.len() {
            let problem = format!(
                "{inputs} inputs and {outputs} outputs of function `{name}`, which has {} and {}",
                f.inputs.len(),
                f.outputs.len()
            );
            return Err(invalid(node_place(scope.view, index, node), problem));
        }
        if let Some(caller) = self.functions.current {
            self.functions.calls[caller as usize].push(callee);
        }
        if bodies.is_empty() {
            return Ok(Call { callee: name }.into());
        }
        let pool = &mut self.module.constants;
        Ok(opaque::opaque(&mut self.shared, pool, node, true)?.into())
    }

    /// Creates the `return`.
    fn results(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        captures: &mut Captures<'a>,
    ) -> Result<usize, FrontendError> {
        let view = scope.view;
        let mut outputs: Vec<&'a str> = Vec::with_capacity(view.table.outputs.len());
        if let GraphOwner::Function(i) = view.table.owner {
            let f = self.model.table.functions.get(i as usize);
            outputs.extend(f.into_iter().flat_map(|f| &f.outputs).map(String::as_str));
        }
        for i in 0..view.table.outputs.len() {
            outputs.push(view.output(i)?.name);
        }
        let mut values = Vec::with_capacity(outputs.len());
        let mut names = Vec::with_capacity(outputs.len());
        for (i, &name) in outputs.iter().enumerate() {
            has_name(scope, "output", i, name)?;
            let reader = Reader::Output { graph: view.index, index: i as u32 };
            let Some(v) = scope.value(name, reader, captures) else {
                return Err(scope.undefined(name, reader));
            };
            values.push(Some(v));
            names.push(scope.graph.value_name(v).cloned().unwrap_or_else(|| name.into()));
        }
        scope.graph.create(OpSpec::new(Return { names }).operands(values));
        Ok(outputs.len())
    }
}

/// The empty name is that of what is absent; nothing can be called so (`onnx.checker` agrees).
fn has_name(scope: &Scope<'_, '_>, list: &str, i: usize, name: &str) -> Result<(), FrontendError> {
    if name.is_empty() {
        return Err(invalid(format!("{}.{list}[{i}]", scope.view.path()), "it has no name"));
    }
    Ok(())
}
