//! Nodes: spliced and new.

use super::{
    bytes, copy,
    encode::{Encoded, Value},
    int, message, rebuild, replace, replace_text,
    tensor::Outside,
    text,
};
use crate::{
    FrontendError,
    onnx::{
        model::{AttributeKind, AttributeView, NodeView},
        wire::{Bytes, Field},
    },
    payload::Weights,
    save::Content,
};
use normfold_ir::{ConstId, DType};
use std::collections::HashMap;

/// What changes about a node. Everything else stays where it is.
#[derive(Default)]
pub(crate) struct NodeEdit<'e, 'c> {
    /// All inputs, `""` for an absent one; trailing absent ones may be left out.
    pub(crate) inputs: Vec<&'e str>,
    /// All outputs, likewise.
    pub(crate) outputs: Vec<&'e str>,
    /// The op, when its kind changed.
    pub(crate) kind: Option<Encoded>,
    /// The value of a Constant node, when it changed.
    pub(crate) constant: Option<(ConstId, Weights<'c>, Option<Outside>)>,
    /// Changed graphs of attributes, by where their content begins in the document.
    pub(crate) bodies: HashMap<u64, Content<'c>>,
}

impl<'c> NodeEdit<'_, 'c> {
    /// Whether the record stays as it is.
    pub(crate) fn is_empty(&self, node: &NodeView<'_>) -> bool {
        self.kind.is_none()
            && self.constant.is_none()
            && self.bodies.is_empty()
            && same_names(&node.inputs, &self.inputs)
            && same_names(&node.outputs, &self.outputs)
    }

    /// The node's content with the edit made.
    pub(crate) fn splice(
        &mut self,
        content: Bytes<'_>,
        node: &NodeView<'_>,
    ) -> Result<Content<'c>, FrontendError> {
        let mut bodies = std::mem::take(&mut self.bodies);
        let this = &*self;
        let inputs = Names::new(1, &node.inputs, trimmed(&self.inputs, node.inputs.len()));
        let outputs = Names::new(2, &node.outputs, trimmed(&self.outputs, node.outputs.len()));
        let (mut at_input, mut at_output, mut at_attribute) = (0, 0, 0);
        // The new type of an op of another type takes only what it says itself of attributes.
        let retyped = self.kind.as_ref().is_some_and(|k| k.op_type != node.op_type);
        let mut missing: Vec<(&'static str, Value)> = match &self.kind {
            Some(k) => {
                let absent = |a: &&super::encode::Attr| retyped || node.attribute(a.name).is_none();
                let new = k.attrs.iter().filter(|a| !a.default).filter(absent);
                new.map(|a| (a.name, a.value.clone())).collect()
            }
            None => Vec::new(),
        };
        let mut start = Content::new();
        inputs.rest(&mut start, 0, node.inputs.is_empty());
        let body = rebuild(content, |out, f| {
            match f.number {
                1 => inputs.field(out, f, &mut at_input)?,
                2 => outputs.field(out, f, &mut at_output)?,
                4 => match &this.kind {
                    Some(k) => replace_text(out, f, k.op_type)?,
                    None => copy(out, f),
                },
                5 => {
                    if let Some(a) = node.attributes.get(at_attribute)
                        && !retyped
                    {
                        this.attribute(out, f, a, &mut bodies)?;
                    }
                    at_attribute += 1;
                    if at_attribute == node.attributes.len() {
                        for (name, value) in missing.drain(..) {
                            message(out, 5, value.attribute(name));
                        }
                    }
                }
                10 => this.device(out, f, node)?,
                _ => copy(out, f),
            }
            Ok::<_, FrontendError>(())
        })?;
        start.append(body);
        for (name, value) in missing {
            message(&mut start, 5, value.attribute(name));
        }
        Ok(start)
    }

    fn attribute(
        &self,
        out: &mut Content<'c>,
        f: &Field<'_>,
        a: &AttributeView<'_>,
        bodies: &mut HashMap<u64, Content<'c>>,
    ) -> Result<(), FrontendError> {
        if let Some(wanted) =
            self.kind.as_ref().and_then(|k| k.attrs.iter().find(|w| w.name == a.name))
            && !wanted.value.is(a)
        {
            return Ok(replace(out, f, set_attribute(a, &wanted.value)?)?);
        }
        if let Some((id, weights, outside)) = &self.constant
            && is_value(a)
        {
            return replace_constant(out, f, a, *id, *weights, outside.clone());
        }
        if bodies.is_empty() {
            copy(out, f);
            return Ok(());
        }
        let content = rebuild(a.content, |out, g| {
            let body =
                if matches!(g.number, 6 | 11) { bodies.remove(&g.bytes()?.offset) } else { None };
            match body {
                Some(body) => replace(out, g, body)?,
                None => copy(out, g),
            }
            Ok::<_, FrontendError>(())
        })?;
        Ok(replace(out, f, content)?)
    }

    /// Sharding specifications name values of the node: those of values it has no more go.
    fn device(
        &self,
        out: &mut Content<'c>,
        f: &Field<'_>,
        node: &NodeView<'_>,
    ) -> Result<(), FrontendError> {
        let had = |name: &str| node.inputs.contains(&name) || node.outputs.contains(&name);
        let has = |name: &str| self.inputs.contains(&name) || self.outputs.contains(&name);
        let content = rebuild(f.bytes()?, |out, spec| {
            let mut gone = false;
            if spec.number == 2 {
                let mut fields = spec.bytes()?.fields();
                while let Some(s) = fields.next()? {
                    if s.number == 1 {
                        let name = s.text()?;
                        gone = had(name) && !has(name);
                    }
                }
            }
            if !gone {
                copy(out, spec);
            }
            Ok::<_, FrontendError>(())
        })?;
        Ok(replace(out, f, content)?)
    }
}

fn same_names(old: &[&str], new: &[&str]) -> bool {
    let n = old.len().max(new.len());
    (0..n).all(|i| old.get(i).unwrap_or(&"") == new.get(i).unwrap_or(&""))
}

/// Without trailing absent names beyond those that were written before.
fn trimmed<'n, 's>(names: &'n [&'s str], old: usize) -> &'n [&'s str] {
    let used = names.iter().rposition(|n| !n.is_empty()).map_or(0, |i| i + 1);
    &names[..used.max(old.min(names.len()))]
}

/// A repeated string field with new values in the places of the old ones.
struct Names<'n, 's> {
    number: u32,
    old: usize,
    new: &'n [&'s str],
}

impl<'n, 's> Names<'n, 's> {
    fn new(number: u32, old: &[&str], new: &'n [&'s str]) -> Self {
        // Absent names at the end that were written stay written.
        Self { number, old: old.len(), new }
    }

    fn field(
        &self,
        out: &mut Content<'_>,
        f: &Field<'_>,
        at: &mut usize,
    ) -> Result<(), FrontendError> {
        match self.new.get(*at) {
            Some(name) => replace_text(out, f, name)?,
            None if f.bytes()?.data.is_empty() => copy(out, f),
            None => {}
        }
        *at += 1;
        self.rest(out, *at, *at == self.old);
        Ok(())
    }

    /// Appends the values beyond the old ones, after the last old one.
    fn rest(&self, out: &mut Content<'_>, at: usize, last: bool) {
        if last {
            for name in self.new.get(at..).unwrap_or_default() {
                text(out, self.number, name);
            }
        }
    }
}

/// `a` with another value of scalars or integers.
fn set_attribute<'c>(a: &AttributeView<'_>, value: &Value) -> Result<Content<'c>, FrontendError> {
    let mut done = false;
    let mut out = rebuild(a.content, |out, f| {
        match f.number {
            2..=11 | 14 | 15 | 22 | 23 => {
                if !std::mem::replace(&mut done, true) {
                    value.write(out);
                }
            }
            20 if f.int()? != value.kind() => int(out, 20, value.kind()),
            // A value replaces a reference to an attribute of the function.
            21 => {}
            _ => copy(out, f),
        }
        Ok::<_, FrontendError>(())
    })?;
    if !done {
        value.write(&mut out);
    }
    Ok(out)
}

/// The attributes of a Constant node that hold its value.
fn is_value(a: &AttributeView<'_>) -> bool {
    matches!(
        a.name,
        "value"
            | "sparse_value"
            | "value_float"
            | "value_floats"
            | "value_int"
            | "value_ints"
            | "value_string"
            | "value_strings"
    )
}

fn replace_constant<'c>(
    out: &mut Content<'c>,
    f: &Field<'_>,
    a: &AttributeView<'_>,
    id: ConstId,
    weights: Weights<'c>,
    outside: Option<Outside>,
) -> Result<(), FrontendError> {
    let pool = weights.pool;
    let (dtype, rank) = (pool.dtype(id), pool.dims(id).len());
    let read = |n: usize| -> Result<Vec<f32>, FrontendError> {
        let mut values = vec![0.0; n];
        pool.read_f64(id, 0, &mut values)
            .map_err(|e| FrontendError::invalid("module", a.name, e.to_string()))?;
        Ok(values.into_iter().map(|v| v as f32).collect())
    };
    if a.kind == AttributeKind::Tensor
        && let Some(old) = a.tensor()?
    {
        let mut tensor = Some(weights.rewrite(&old, id, old.name, outside)?);
        let content = rebuild(a.content, |out, g| {
            match (g.number, tensor.take_if(|_| g.number == 5)) {
                (5, Some(t)) => replace(out, g, t)?,
                _ => copy(out, g),
            }
            Ok::<_, FrontendError>(())
        })?;
        return Ok(replace(out, f, content)?);
    }
    if a.name == "value_float" && dtype == DType::F32 && rank == 0 {
        let value = read(1)?.first().copied().unwrap_or(0.0);
        return Ok(replace(out, f, set_attribute(a, &Value::Float(value))?)?);
    }
    if a.name == "value_floats" && dtype == DType::F32 && rank == 1 {
        let mut packed = Vec::new();
        read(pool.count(id) as usize)?.iter().for_each(|v| packed.extend(v.to_le_bytes()));
        let mut packed = Some(packed);
        let mut content = rebuild(a.content, |out, g| {
            match g.number {
                7 => {
                    if let Some(p) = packed.take() {
                        bytes(out, 7, &p);
                    }
                }
                _ => copy(out, g),
            }
            Ok::<_, FrontendError>(())
        })?;
        if let Some(p) = packed {
            bytes(&mut content, 7, &p);
        }
        return Ok(replace(out, f, content)?);
    }
    // Another form cannot say it: the value becomes a tensor.
    message(out, 5, tensor_attribute(weights.tensor(id, "", outside)?));
    Ok(())
}

fn tensor_attribute(tensor: Content<'_>) -> Content<'_> {
    let mut out = Content::new();
    text(&mut out, 1, "value");
    message(&mut out, 5, tensor);
    int(&mut out, 20, 4);
    out
}

/// A new node.
pub(crate) fn new_node<'c>(
    encoded: &Encoded,
    name: &str,
    inputs: &[&str],
    outputs: &[&str],
) -> Content<'c> {
    let mut out = Content::new();
    trimmed(inputs, 0).iter().for_each(|i| text(&mut out, 1, i));
    trimmed(outputs, 0).iter().for_each(|o| text(&mut out, 2, o));
    if !name.is_empty() {
        text(&mut out, 3, name);
    }
    text(&mut out, 4, encoded.op_type);
    for a in encoded.attrs.iter().filter(|a| !a.default) {
        message(&mut out, 5, a.value.attribute(a.name));
    }
    out
}

/// A new Constant node.
pub(crate) fn new_constant<'c>(output: &str, tensor: Content<'c>) -> Content<'c> {
    let mut out = Content::new();
    text(&mut out, 2, output);
    text(&mut out, 4, "Constant");
    message(&mut out, 5, tensor_attribute(tensor));
    out
}
