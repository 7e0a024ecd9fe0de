//! The JSON of a program, and the lists of its payloads, with what became of them.

use super::{
    export::{Added, Change},
    layout,
    program::{Node, Program, code, mentioned, union},
    storage::Config,
};
use crate::{
    FrontendError,
    json::{
        Json,
        splice::{Edits, quoted},
    },
};
use normfold_ir::ConstPool;
use std::collections::{BTreeMap, HashSet};

fn missing(what: &str) -> FrontendError {
    FrontendError::NotExpressible { op: what.to_owned(), why: "the program does not say it".into() }
}

fn tensor(name: &str) -> Vec<u8> {
    format!("{{\"as_tensor\": {{\"name\": {}}}}}", quoted(name)).into_bytes()
}

/// What describes a new parameter (`schema.TensorMeta`): contiguous, otherwise like another.
fn meta(
    added: &Added,
    pool: &ConstPool,
    like: &Json,
    text: &[u8],
) -> Result<Vec<u8>, FrontendError> {
    let inexpressible =
        |why: &str| FrontendError::NotExpressible { op: added.name.clone(), why: why.to_owned() };
    let dtype = code(pool.dtype(added.entry)).ok_or_else(|| inexpressible("its element type"))?;
    let dims = pool.dims(added.entry);
    let mut strides = vec![1u64; dims.len()];
    for axis in (1..dims.len()).rev() {
        let stride =
            strides.get(axis).zip(dims.get(axis)).and_then(|(s, d)| s.checked_mul((*d).max(1)));
        if let (Some(slot), Some(stride)) = (strides.get_mut(axis - 1), stride) {
            *slot = stride;
        }
    }
    let list = |numbers: &[u64]| {
        let items: Vec<String> = numbers.iter().map(|n| format!("{{\"as_int\": {n}}}")).collect();
        items.join(", ")
    };
    let own = |key: &str| like.get(key).map(|v| v.text(text));
    let grad = own("requires_grad").ok_or_else(|| inexpressible("requires_grad"))?;
    let device = own("device").ok_or_else(|| inexpressible("its device"))?;
    Ok(format!(
        "{{\"dtype\": {dtype}, \"sizes\": [{}], \"requires_grad\": {grad}, \"device\": {device}, \
         \"strides\": [{}], \"storage_offset\": {{\"as_int\": 0}}, \"layout\": 7}}",
        list(&dims),
        list(&strides)
    )
    .into_bytes())
}

/// The program with its changes.
pub(super) fn program(
    text: &[u8],
    program: &Program<'_>,
    change: &Change,
    pool: &ConstPool,
) -> Result<Vec<u8>, FrontendError> {
    let mut edits = Edits::new(text);
    for (&(node, arg, mention), name) in &change.mentions {
        let found = program.nodes.get(node).and_then(|n| n.args.get(arg)?.reads.get(mention));
        edits.replace(found.ok_or_else(|| missing(name))?, quoted(name));
    }
    for (&node, target) in &change.targets {
        let found = program.nodes.get(node).and_then(|n| n.json.get("target"));
        edits.replace(found.ok_or_else(|| missing(target))?, quoted(target));
    }
    for node in change.reshapes.iter().filter_map(|&node| program.nodes.get(node)) {
        let target = node.json.get("target").zip(layout::renamed(node));
        let (target, (name, now)) = target.ok_or_else(|| missing(node.place()))?;
        edits.replace(target, quoted("torch.ops.aten.reshape.default"));
        edits.replace(name, quoted(now));
    }
    for (&node, name) in &change.biases {
        let node = program.nodes.get(node).ok_or_else(|| missing(name))?;
        match node.arg("bias") {
            Some(arg) => edits.replace(arg.value, tensor(name)),
            None => {
                // Arguments at their end are left out when they are what they are by default.
                let at = node.args.iter().position(|a| a.name == "weight");
                let at = at.ok_or_else(|| missing(name))?;
                let entry =
                    [b"{\"name\": \"bias\", \"arg\": ", &*tensor(name), b", \"kind\": 1}"].concat();
                edits.insert(node.inputs, |_| true, &BTreeMap::from([(at, vec![entry])]));
            }
        }
    }
    for (&node, name) in &change.addends {
        let node = program.nodes.get(node).ok_or_else(|| missing(name))?;
        addend(&mut edits, node, name)?;
    }
    if let Some(nodes) = program.graph.get("nodes") {
        edits.insert(nodes, |i| !change.gone.contains(&i), &BTreeMap::new());
    }
    outputs(&mut edits, program, change)?;
    inputs(&mut edits, program, change);
    calls(&mut edits, program, change)?;

    let mut gone: HashSet<&str> = HashSet::new();
    gone.extend(change.gone.iter().filter_map(|&i| program.nodes.get(i)).flat_map(|n| &n.results));
    gone.extend(change.inputs.iter().filter_map(|&i| program.inputs.get(i)?.name));
    let mut types = Vec::new();
    for added in &change.added {
        let like = program.inputs.get(added.after).and_then(|i| program.meta(i.name?));
        let like = like.ok_or_else(|| missing(&added.placeholder))?;
        types.push((added.placeholder.clone(), meta(added, pool, like, text)?));
    }
    if let Some(values) = program.graph.get("tensor_values") {
        edits.members(values, |name| !gone.contains(name), &types);
    }
    Ok(edits.finish())
}

/// Makes `addmm` of a matrix product: `addmm(self, mat1, mat2)` is `self + mat1 · mat2`.
fn addend(edits: &mut Edits<'_>, node: &Node<'_>, name: &str) -> Result<(), FrontendError> {
    let [a, b] = node.args.as_slice() else { return Err(missing(name)) };
    let entry = |key: &str, value: Vec<u8>| {
        let before = format!("{{\"name\": \"{key}\", \"arg\": ");
        [before.as_bytes(), &value, b", \"kind\": 1}"].concat()
    };
    let (mat1, mat2) = (edits.render(a.value.span.clone()), edits.render(b.value.span.clone()));
    let inputs = [entry("self", tensor(name)), entry("mat1", mat1), entry("mat2", mat2)];
    edits.replace(node.inputs, [b"[", &*inputs.join(b", ".as_slice()), b"]"].concat());
    let target = node.json.get("target").ok_or_else(|| missing(name))?;
    edits.replace(target, quoted("torch.ops.aten.addmm.default"));
    Ok(())
}

fn outputs(
    edits: &mut Edits<'_>,
    program: &Program<'_>,
    change: &Change,
) -> Result<(), FrontendError> {
    let specs = program.output_specs.items().unwrap_or_default();
    let specs: Vec<&Json> = specs
        .iter()
        .filter_map(|spec| union(spec)?.1.get("arg"))
        .flat_map(|arg| match arg.get("name") {
            Some(name) => vec![name],
            None => mentioned(arg),
        })
        .collect();
    for (&i, name) in &change.outputs {
        let output = program.outputs.get(i).ok_or_else(|| missing(name))?;
        let spec = specs.get(i).filter(|s| s.as_str() == output.as_str());
        edits.replace(output, quoted(name));
        edits.replace(spec.ok_or_else(|| missing(name))?, quoted(name));
    }
    Ok(())
}

fn inputs(edits: &mut Edits<'_>, program: &Program<'_>, change: &Change) {
    let (mut named, mut specs) = (BTreeMap::new(), BTreeMap::new());
    for added in &change.added {
        let list: &mut Vec<Vec<u8>> = named.entry(added.after).or_default();
        list.push(tensor(&added.placeholder));
        let spec = format!(
            "{{\"parameter\": {{\"arg\": {{\"name\": {}}}, \"parameter_name\": {}}}}}",
            quoted(&added.placeholder),
            quoted(&added.name)
        );
        let list: &mut Vec<Vec<u8>> = specs.entry(added.after).or_default();
        list.push(spec.into_bytes());
    }
    edits.insert(program.graph_inputs, |i| !change.inputs.contains(&i), &named);
    edits.insert(program.input_specs, |i| !change.inputs.contains(&i), &specs);
}

/// The signatures of modules whose calls are to be found again (`schema.ModuleCallSignature`) mention values, too.
fn calls(
    edits: &mut Edits<'_>,
    program: &Program<'_>,
    change: &Change,
) -> Result<(), FrontendError> {
    let module = program.json.get("graph_module").and_then(|m| m.get("module_call_graph"));
    let gone: HashSet<&str> = change
        .gone
        .iter()
        .filter_map(|&i| program.nodes.get(i))
        .flat_map(|n| n.results.iter().copied())
        .collect();
    let signatures = module.and_then(Json::items).unwrap_or_default();
    for signature in signatures.iter().filter_map(|entry| entry.some("signature")) {
        let arguments =
            ["inputs", "outputs"].into_iter().filter_map(|key| signature.get(key)?.items());
        for mention in arguments.flatten().flat_map(mentioned) {
            let Some(old) = mention.as_str().filter(|name| gone.contains(name)) else { continue };
            let mut now = old;
            while let (true, Some(next)) = (gone.contains(now), change.replaced.get(now)) {
                now = next;
            }
            if gone.contains(now) {
                return Err(FrontendError::NotExpressible {
                    op: old.to_owned(),
                    why: "the signature of a module mentions it".into(),
                });
            }
            edits.replace(mention, quoted(now));
        }
    }
    Ok(())
}

/// The payload of a new parameter.
pub(super) struct NewPayload<'c> {
    pub(super) added: &'c Added,
    /// The name of its file.
    pub(super) file: String,
    /// What describes the payload that it is like, and the text that this stands in.
    pub(super) like: &'c Json,
    pub(super) text: &'c [u8],
}

/// A list of payloads with its changes; `None` where it stays as it is.
pub(super) fn payloads(
    config: &Config,
    gone: &HashSet<&str>,
    added: &[NewPayload<'_>],
    pool: &ConstPool,
) -> Result<Option<Vec<u8>>, FrontendError> {
    let mut new = Vec::new();
    for NewPayload { added: parameter, file, like, text } in added {
        let meta = meta(parameter, pool, like, text)?;
        let text = [
            b"{\"path_name\": ",
            quoted(file).as_bytes(),
            b", \"is_param\": true, \"use_pickle\": false, \"tensor_meta\": ",
            &meta,
            b"}",
        ]
        .concat();
        new.push((parameter.name.clone(), text));
    }
    let mut edits = Edits::new(&config.text);
    if let Some(list) = config.json.get("config") {
        edits.members(list, |name| !gone.contains(name), &new);
    }
    Ok((!edits.is_empty()).then(|| edits.finish()))
}
