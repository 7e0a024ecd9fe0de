//! The older form: a group per layer of the outermost model, with a list of the weights in it and in the models it is.
//!
//! Keras reads layers and their weights by position; of a model it lists the trained weights of all its layers first, then
//! the others. Names are what the file calls them.

use super::{FORMAT, WeightFile, Writer, old_order, variables};
use crate::{
    FrontendError,
    hdf5::{Edit, File, ObjectId, Value},
    keras::{
        export::{LayerChange, ModelChange},
        json::Json,
        model::{Layer, Model},
        record::{LayerRecord, Record, Store},
        rewrite::new_order,
    },
};
use std::collections::{BTreeMap, HashMap};

/// Bytes of a list that Keras puts into one attribute.
const LIMIT: usize = 64512;

/// A list of names: an attribute, or several with numbers behind the name. `None` where there is neither.
pub(super) fn names(file: &File, group: ObjectId, attribute: &str) -> Option<Vec<String>> {
    let list = |name: &str| match file.attribute(group, name)? {
        Value::Texts(texts) => Some(texts.clone()),
        _ => None,
    };
    if let Some(names) = list(attribute) {
        return Some(names);
    }
    let parts: Vec<Vec<String>> = (0..).map_while(|i| list(&format!("{attribute}{i}"))).collect();
    (!parts.is_empty()).then(|| parts.concat())
}

/// Writes a list of names as Keras does: in as few equal parts as have at most [`LIMIT`] bytes each.
fn set_names(
    file: &File,
    edit: &mut Edit<'_, '_>,
    group: ObjectId,
    attribute: &str,
    names: &[String],
) {
    let numbered = |name: &str| {
        name.strip_prefix(attribute).is_some_and(|n| n.is_empty() || n.parse::<u64>().is_ok())
    };
    let old: Vec<String> =
        file.attributes(group).filter(|n| numbered(n)).map(str::to_owned).collect();
    // An entry takes the bytes of the longest; of texts with a length of their own, those of a reference.
    let width = names.iter().map(String::len).max().unwrap_or(0).max(16);
    let parts = (1..names.len().max(2)).find(|k| names.len().div_ceil(*k) * width <= LIMIT);
    let parts = parts.unwrap_or(names.len());
    let mut kept = Vec::new();
    let mut rest = names;
    for i in 0..parts {
        // As numpy splits: the first parts have one more.
        let len = names.len() / parts + usize::from(i < names.len() % parts);
        let (part, behind) = rest.split_at(len);
        rest = behind;
        let name = if parts == 1 { attribute.to_owned() } else { format!("{attribute}{i}") };
        edit.set_attribute(group, &name, Value::Texts(part.to_vec()));
        kept.push(name);
    }
    for name in old.iter().filter(|n| !kept.contains(n)) {
        edit.remove_attribute(group, name);
    }
}

/// A layer that is no model, within an entry of the file.
struct Leaf<'m, 'a> {
    layer: &'m Layer<'a>,
    indices: Vec<u32>,
    /// Whether it or a model around it is not trained.
    frozen: bool,
}

/// The layers in an entry, in Keras's order; `order` gives that of each model.
fn leaves<'m, 'a>(
    layer: &'m Layer<'a>,
    indices: Vec<u32>,
    frozen: bool,
    order: &dyn Fn(&[u32], &'m Model<'a>) -> Vec<usize>,
    out: &mut Vec<Leaf<'m, 'a>>,
) {
    let frozen = frozen || layer.config.get("trainable").and_then(Json::as_bool) == Some(false);
    let Some(nested) = &layer.nested else {
        out.push(Leaf { layer, indices, frozen });
        return;
    };
    for index in order(&indices, nested) {
        if let Some(inner) = nested.layers.get(index) {
            let mut path = indices.clone();
            path.push(index as u32);
            leaves(inner, path, frozen, order, out);
        }
    }
}

/// The positions of each layer's weights in a list of names; trained weights come first.
fn assign(leaves: &[Leaf<'_, '_>], names: &[String]) -> Result<Vec<Vec<usize>>, String> {
    let counts: Option<Vec<(usize, usize)>> = leaves.iter().map(|l| variables(l.layer)).collect();
    if let [only] = leaves {
        // A layer for itself has whatever is there.
        if let Some((_, all)) = variables(only.layer).filter(|(_, all)| *all != names.len()) {
            return Err(format!("it should have {all} weights and has {}", names.len()));
        }
        return Ok(vec![(0..names.len()).collect()]);
    }
    let Some(counts) = counts else { return by_name(leaves, names) };
    let mut lists = vec![Vec::new(); leaves.len()];
    let mut next = 0;
    for trained in [true, false] {
        for ((list, leaf), (first, all)) in lists.iter_mut().zip(leaves).zip(&counts) {
            let n = match (trained, leaf.frozen) {
                (true, true) => 0,
                (true, false) => *first,
                (false, true) => *all,
                (false, false) => all - first,
            };
            list.extend(next..next + n);
            next += n;
        }
    }
    match next == names.len() {
        true => Ok(lists),
        false => Err(format!("its layers should have {next} weights and have {}", names.len())),
    }
}

/// Where some layers have an unknown number of weights, names tell: that of a layer stands in those of its weights.
fn by_name(leaves: &[Leaf<'_, '_>], names: &[String]) -> Result<Vec<Vec<usize>>, String> {
    let mut owners: HashMap<&str, usize> = HashMap::new();
    for (i, leaf) in leaves.iter().enumerate() {
        if owners.insert(leaf.layer.name, i).is_some() {
            return Err(format!(
                "it has two layers `{}`, whose weights cannot be told apart",
                leaf.layer.name
            ));
        }
    }
    let mut lists = vec![Vec::new(); leaves.len()];
    for (at, name) in names.iter().enumerate() {
        let parts: Vec<&str> = name.split('/').collect();
        let around = parts.split_last().map(|(_, p)| p).unwrap_or_default();
        let owner = around.iter().rev().find_map(|p| owners.get(p));
        match owner.and_then(|&o| lists.get_mut(o)) {
            Some(list) => list.push(at),
            None => return Err(format!("no layer of it is named in `{name}`")),
        }
    }
    for (list, leaf) in lists.iter().zip(leaves) {
        if variables(leaf.layer).is_some_and(|(_, all)| all != list.len()) {
            return Err(format!(
                "the names of the weights of `{}` do not tell them",
                leaf.layer.name
            ));
        }
    }
    Ok(lists)
}

fn invalid(name: &str, problem: String) -> FrontendError {
    FrontendError::invalid(FORMAT, format!("group `{name}`"), problem)
}

pub(super) fn read(
    weights: &WeightFile,
    root: ObjectId,
    model: &Model<'_>,
    store: &mut Store,
) -> Result<(), FrontendError> {
    let file = weights.file();
    let listed = names(file, root, "layer_names");
    let listed = listed
        .ok_or_else(|| FrontendError::invalid(FORMAT, "root", "it has no list `layer_names`"))?;
    let frozen = false;
    for (index, layer) in model.layers.iter().enumerate() {
        if !listed.iter().any(|n| n == layer.name) {
            continue;
        }
        let Some(group) = file.find(root, layer.name) else {
            return Err(invalid(layer.name, "`layer_names` lists it, but it is not there".into()));
        };
        let names = names(file, group, "weight_names").unwrap_or_default();
        let mut found = Vec::new();
        let order = |_: &[u32], m: &Model<'_>| old_order(m);
        leaves(layer, vec![index as u32], frozen, &order, &mut found);
        let lists = assign(&found, &names).map_err(|p| invalid(layer.name, p))?;
        for (leaf, list) in found.into_iter().zip(lists) {
            let mut stored = Vec::with_capacity(list.len());
            for name in list.into_iter().filter_map(|at| names.get(at)) {
                let path = format!("{}/{name}", layer.name);
                let id = file.find(group, name);
                let id = id.ok_or_else(|| {
                    invalid(
                        layer.name,
                        format!("`weight_names` lists `{name}`, but it is not there"),
                    )
                })?;
                stored.push(weights.stored(path, id)?);
            }
            store.insert(leaf.indices, stored);
        }
    }
    if let Some(name) = listed.iter().find(|n| !model.layers.iter().any(|l| l.name == **n)) {
        return Err(invalid(
            name,
            "the model has no layer of that name: these are the weights of another".into(),
        ));
    }
    Ok(())
}

pub(super) fn write(
    w: &mut Writer<'_, '_, '_>,
    root: ObjectId,
    model: &Model<'_>,
    record: &Record,
    change: &ModelChange,
) -> Result<(), FrontendError> {
    let file = w.file;
    let before = names(file, root, "layer_names").unwrap_or_default();
    let after: Vec<String> = new_order(model, change)
        .into_iter()
        .filter_map(|l| model.layers.get(l))
        .filter(|l| before.iter().any(|n| n == l.name))
        .map(|l| l.name.to_owned())
        .collect();
    if after != before {
        set_names(file, w.edit, root, "layer_names", &after);
    }
    for (index, layer) in model.layers.iter().enumerate() {
        let (Some(c), Some(r), Some(group)) =
            (change.layers.get(index), record.layers.get(index), file.find(root, layer.name))
        else {
            continue;
        };
        if c.gone {
            w.edit.unlink(root, layer.name);
        } else {
            Entry { layer, index: index as u32, group, change: c, record: r }.write(w)?;
        }
    }
    Ok(())
}

/// A layer of the outermost model that stays.
struct Entry<'e, 'a> {
    layer: &'e Layer<'a>,
    index: u32,
    group: ObjectId,
    change: &'e LayerChange,
    record: &'e LayerRecord,
}

impl<'e, 'a> Entry<'e, 'a> {
    /// What became of a layer in the entry: nothing is left of those in a model that goes.
    fn at(&self, indices: &[u32]) -> Option<(&'e LayerChange, &'e LayerRecord)> {
        let (mut change, mut record) = (self.change, self.record);
        for &i in indices.get(1..)? {
            change = change.nested.as_ref()?.layers.get(i as usize)?;
            record = record.nested.as_ref()?.layers.get(i as usize)?;
        }
        (!change.gone).then_some((change, record))
    }

    fn write(&self, w: &mut Writer<'_, '_, '_>) -> Result<(), FrontendError> {
        let file = w.file;
        let old = names(file, self.group, "weight_names").unwrap_or_default();
        let mut found = Vec::new();
        let order = |_: &[u32], m: &Model<'_>| old_order(m);
        leaves(self.layer, vec![self.index], false, &order, &mut found);
        let lists = assign(&found, &old).map_err(|p| invalid(self.layer.name, p))?;
        // The weights that each layer has now: the first of them trained.
        let mut now: BTreeMap<Vec<u32>, Vec<String>> = BTreeMap::new();
        for (leaf, list) in found.iter().zip(&lists) {
            let held: Vec<&String> = list.iter().filter_map(|&at| old.get(at)).collect();
            let Some((change, _)) = self.at(&leaf.indices) else {
                held.iter().for_each(|name| self.remove(w, name));
                continue;
            };
            for (number, entry) in &change.weights {
                let dataset = held.get(*number).and_then(|name| file.find(self.group, name));
                if let Some(dataset) = dataset {
                    let payload = w.payload(*entry, &leaf.layer.place);
                    w.edit.replace(dataset, payload);
                }
            }
            let mut names: Vec<String> = held.iter().map(|n| (*n).clone()).collect();
            if let (Some(bias), Some(kernel)) = (change.bias, held.first()) {
                names.push(self.add_bias(w, leaf, bias, kernel)?);
            }
            now.insert(leaf.indices.clone(), names);
        }
        let list = self.list(&found, &lists, &old, &now)?;
        if list != old {
            set_names(file, w.edit, self.group, "weight_names", &list);
        }
        Ok(())
    }

    /// The names of all weights in Keras's order.
    fn list(
        &self,
        found: &[Leaf<'_, '_>],
        lists: &[Vec<usize>],
        old: &[String],
        now: &BTreeMap<Vec<u32>, Vec<String>>,
    ) -> Result<Vec<String>, FrontendError> {
        let mut after = Vec::new();
        let order = |indices: &[u32], m: &Model<'_>| match self.at(indices) {
            Some((LayerChange { nested: Some(change), .. }, _)) => new_order(m, change),
            _ => old_order(m),
        };
        leaves(self.layer, vec![self.index], false, &order, &mut after);
        after.retain(|l| now.contains_key(&l.indices));
        let kept = || found.iter().filter(|l| now.contains_key(&l.indices));
        if kept().map(|l| &l.indices).eq(after.iter().map(|l| &l.indices)) {
            // Nothing changes places: names go, and biases come behind the weights of their layer.
            let mut behind: HashMap<usize, &String> = HashMap::new();
            let mut stays = vec![false; old.len()];
            for (leaf, list) in found.iter().zip(lists) {
                let Some(names) = now.get(&leaf.indices) else { continue };
                for &at in list {
                    if let Some(s) = stays.get_mut(at) {
                        *s = true;
                    }
                }
                if let (Some(last), Some(bias)) = (list.last(), names.get(list.len())) {
                    behind.insert(*last, bias);
                }
            }
            let mut out = Vec::new();
            for (at, (name, stays)) in old.iter().zip(stays).enumerate() {
                out.extend(stays.then(|| name.clone()));
                out.extend(behind.get(&at).map(|b| (*b).clone()));
            }
            return Ok(out);
        }
        let mut out = Vec::new();
        for trained in [true, false] {
            for leaf in &after {
                let names = now.get(&leaf.indices).map(Vec::as_slice).unwrap_or_default();
                let known = variables(leaf.layer).filter(|_| !leaf.frozen);
                let first = match (leaf.frozen, known) {
                    (true, _) => 0,
                    // Layers that can get a bias have trained weights only.
                    (false, Some((first, all))) if first == all => names.len(),
                    (false, Some((first, _))) => first,
                    (false, None) if names.is_empty() => 0,
                    (false, None) => {
                        return Err(FrontendError::NotExpressible {
                            op: leaf.layer.place.clone(),
                            why: "its weights change places, and which of them are trained is not known".into(),
                        });
                    }
                };
                let (front, back) = names.split_at(first.min(names.len()));
                out.extend_from_slice(if trained { front } else { back });
            }
        }
        Ok(out)
    }

    /// Unlinks a weight, and the group it was alone in.
    fn remove(&self, w: &mut Writer<'_, '_, '_>, name: &str) {
        let (parent, base) = self.parent(w.file, name);
        if let Some(parent) = parent {
            w.edit.unlink(parent, base);
        }
    }

    /// The group that a weight is in, and its name there.
    fn parent<'n>(&self, file: &File, name: &'n str) -> (Option<ObjectId>, &'n str) {
        match name.rsplit_once('/') {
            Some((groups, base)) => (file.find(self.group, groups), base),
            None => (Some(self.group), name),
        }
    }

    /// Puts a bias beside its kernel; gives its name.
    fn add_bias(
        &self,
        w: &mut Writer<'_, '_, '_>,
        leaf: &Leaf<'_, '_>,
        bias: normfold_ir::ConstId,
        kernel: &str,
    ) -> Result<String, FrontendError> {
        let (parent, base) = self.parent(w.file, kernel);
        let name = if base.ends_with(":0") { "bias:0" } else { "bias" };
        let (Some(parent), Some(like)) = (parent, w.file.find(self.group, kernel)) else {
            return Err(invalid(self.layer.name, format!("`{kernel}` is not there")));
        };
        if w.file.find(parent, name).is_some() {
            return Err(FrontendError::NotExpressible {
                op: leaf.layer.place.clone(),
                why: format!("there is a `{name}` beside its kernel already"),
            });
        }
        let (payload, dims) = (w.payload(bias, &leaf.layer.place), w.dims(bias));
        w.edit.create_dataset(parent, name, like, &dims, payload);
        Ok(match kernel.rsplit_once('/') {
            Some((groups, _)) => format!("{groups}/{name}"),
            None => name.to_owned(),
        })
    }
}
