//! A file with links, data sets and attributes changed.
//!
//! Everything stays where it was, but:
//!
//! - Elements that are replaced stand where the old ones were.
//! - A group whose links changed gets a new symbol table, or a new header where its links are in it, and an object whose
//!   attributes changed a new header, behind everything else. Where the header was, it leads on to the new one.
//! - Links that were in a heap stand in the header then: readers look there where there is no heap.
//! - When nothing that is still linked lies behind some place, and the file was understood wholly, it is cut there first.

use super::{
    File, Kind, ObjectId, Storage, Target,
    attribute::{Attribute, Value},
    encode::{self, Leads, NewHeaps, NewMessage, Table},
    header,
    links::{Goal, LinkInfo, LinkMessage},
};
use crate::{
    FrontendError,
    save::{ChunkProducer, Content},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

/// Elements of a data set: row-major, little-endian.
#[derive(Debug)]
pub enum Payload<'a> {
    /// In memory.
    Bytes(Vec<u8>),
    /// Computed while they are written.
    Produced(Box<dyn ChunkProducer + 'a>),
}

impl Payload<'_> {
    fn len(&self) -> u64 {
        match self {
            Payload::Bytes(b) => b.len() as u64,
            Payload::Produced(p) => p.len(),
        }
    }
}

enum New<'a> {
    Group,
    Dataset { like: ObjectId, shape: Vec<u64>, payload: Payload<'a> },
}

/// Changes to a file.
pub struct Edit<'f, 'a> {
    file: &'f File,
    source: u32,
    /// Links of the groups whose links change, by name.
    groups: BTreeMap<ObjectId, BTreeMap<String, Target>>,
    /// Objects that come, numbered after those of the file.
    new: Vec<New<'a>>,
    /// New elements, by data set.
    payloads: BTreeMap<ObjectId, Payload<'a>>,
    /// Attributes set, or removed.
    attributes: BTreeMap<ObjectId, BTreeMap<String, Option<Value>>>,
}

impl fmt::Debug for Edit<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("groups", &self.groups.len())
            .field("new", &self.new.len())
            .finish()
    }
}

impl<'f, 'a> Edit<'f, 'a> {
    /// No changes to a file in that one of the sources of the contents.
    pub fn new(file: &'f File, source: u32) -> Self {
        Self {
            file,
            source,
            groups: BTreeMap::new(),
            new: Vec::new(),
            payloads: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.payloads.is_empty() && self.attributes.is_empty()
    }

    fn links(&mut self, group: ObjectId) -> &mut BTreeMap<String, Target> {
        let file = self.file;
        self.groups.entry(group).or_insert_with(|| {
            file.links(group).iter().map(|l| (l.name.clone(), l.target.clone())).collect()
        })
    }

    fn add(&mut self, object: New<'a>) -> ObjectId {
        self.new.push(object);
        ObjectId((self.file.objects.len() + self.new.len() - 1) as u32)
    }

    /// Takes a link out of a group. What nothing links to any more is no part of the file.
    pub fn unlink(&mut self, group: ObjectId, name: &str) {
        self.links(group).remove(name);
    }

    /// Links a group to an object, in place of what had that name.
    pub fn link(&mut self, group: ObjectId, name: &str, object: ObjectId) {
        self.links(group).insert(name.to_owned(), Target::Object(object));
    }

    /// Puts an empty group into another one.
    pub fn create_group(&mut self, parent: ObjectId, name: &str) -> ObjectId {
        let id = self.add(New::Group);
        self.groups.insert(id, BTreeMap::new());
        self.link(parent, name, id);
        id
    }

    /// Puts a data set into a group, whose element type, fill value and attributes are those of another data set.
    pub fn create_dataset(
        &mut self,
        parent: ObjectId,
        name: &str,
        like: ObjectId,
        shape: &[u64],
        payload: Payload<'a>,
    ) -> ObjectId {
        let id = self.add(New::Dataset { like, shape: shape.to_vec(), payload });
        self.link(parent, name, id);
        id
    }

    /// Gives a data set other elements, of as many bytes as it has.
    pub fn replace(&mut self, dataset: ObjectId, payload: Payload<'a>) {
        self.payloads.insert(dataset, payload);
    }

    /// Gives an object an attribute, in the form in which it had it before.
    pub fn set_attribute(&mut self, object: ObjectId, name: &str, value: Value) {
        self.attributes.entry(object).or_default().insert(name.to_owned(), Some(value));
    }

    /// Takes an attribute from an object.
    pub fn remove_attribute(&mut self, object: ObjectId, name: &str) {
        self.attributes.entry(object).or_default().insert(name.to_owned(), None);
    }

    /// The file with the changes; without any, exactly as it was.
    ///
    /// # Errors
    /// A change has no place in the file: elements of another size, an attribute that is too large.
    pub fn finish(self) -> Result<Content<'a>, FrontendError> {
        let range = self.file.range.clone();
        if self.is_empty() {
            let mut out = Content::new();
            out.source(self.source, range);
            return Ok(out);
        }
        if let Some(at) = self.file.overlap {
            return Err(super::malformed(at, "two of its blocks overlap: no change is safe"));
        }
        let reached = self.reached();
        let end = self.kept_end(&reached);
        let mut layout = Layout { end, blocks: BTreeMap::new(), patches: BTreeMap::new() };
        let base = range.start;
        let source = self.source;
        self.lay_out(&reached, &mut layout)?;
        layout.content(source, base, end)
    }

    /// The objects that are part of the file.
    fn reached(&self) -> BTreeSet<ObjectId> {
        let mut reached = BTreeSet::new();
        let mut pending = vec![self.file.root()];
        while let Some(id) = pending.pop() {
            if !reached.insert(id) {
                continue;
            }
            let to = |t: &Target| match t {
                Target::Object(id) => Some(*id),
                Target::Soft(_) | Target::Other(..) => None,
            };
            match self.groups.get(&id) {
                Some(links) => pending.extend(links.values().filter_map(to)),
                None => pending.extend(self.file.links(id).iter().filter_map(|l| to(&l.target))),
            }
        }
        reached
    }

    /// How many links lead to each object, as the file is now and as it was, where that is not the same.
    fn recounted(&self, reached: &BTreeSet<ObjectId>) -> BTreeMap<ObjectId, (u32, u32)> {
        let mut counts: BTreeMap<ObjectId, (u32, u32)> = BTreeMap::new();
        for &id in reached {
            let Some(now) = self.groups.get(&id) else { continue };
            for target in now.values() {
                if let Target::Object(id) = target {
                    counts.entry(*id).or_default().0 += 1;
                }
            }
            for link in self.file.links(id) {
                if let Target::Object(id) = link.target {
                    counts.entry(id).or_default().1 += 1;
                }
            }
        }
        counts.retain(|_, (now, before)| now != before);
        counts
    }

    /// The number of links that an object's header states.
    fn stated(&self, id: ObjectId) -> u32 {
        self.file.object(id).map_or(0, |o| {
            let at = (self.file.range.start + o.address) as usize + 4;
            let bytes = self.file.source.bytes().get(at..at + 4);
            bytes.and_then(|b| b.try_into().ok()).map_or(1, u32::from_le_bytes)
        })
    }

    /// Where what is kept of the file ends.
    fn kept_end(&self, reached: &BTreeSet<ObjectId>) -> u64 {
        let len = self.file.range.end - self.file.range.start;
        let gone = (0..self.file.objects.len() as u32).any(|i| !reached.contains(&ObjectId(i)));
        if !self.file.complete || !gone {
            return len;
        }
        let mut end = super::walk::SUPERBLOCK + 4;
        for &id in reached {
            let Some(object) = self.file.object(id) else { continue };
            let table = match &object.kind {
                Kind::Group { table, .. } if !self.groups.contains_key(&id) => table.as_slice(),
                _ => &[],
            };
            let blocks = object.extents.iter().chain(table).chain(&object.heaps);
            end = blocks.map(|e| e.end).fold(end, u64::max);
        }
        end.min(len)
    }

    fn lay_out(
        mut self,
        reached: &BTreeSet<ObjectId>,
        layout: &mut Layout<'a>,
    ) -> Result<(), FrontendError> {
        let file = self.file;
        let old = file.objects.len();
        // Headers that are written anew, with how many links lead to them; their addresses.
        let mut headers: BTreeMap<ObjectId, (Vec<NewMessage>, u32)> = BTreeMap::new();
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.retain(|id, _| reached.contains(id));
        let texts: Vec<&str> = attributes
            .iter()
            .flat_map(|(id, changes)| self.ordered(*id, changes))
            .flat_map(|(_, value, old)| encode::in_heap(value, old))
            .collect();
        let (mut heaps, blocks) = NewHeaps::new(&texts, &mut |len| layout.place(len));
        layout.blocks.extend(blocks.into_iter().map(|(at, b)| (at, Payload::Bytes(b))));
        for (id, changes) in &attributes {
            headers.insert(*id, self.with_attributes(*id, changes, &mut heaps)?);
        }
        for (index, object) in std::mem::take(&mut self.new).into_iter().enumerate() {
            let id = ObjectId((old + index) as u32);
            if !reached.contains(&id) {
                continue;
            }
            let messages = match object {
                New::Group => vec![NewMessage::new(header::SYMBOL_TABLE, vec![0; 16])],
                New::Dataset { like, shape, payload } => {
                    let wanted =
                        shape.iter().try_fold(self.element(like), |n, &d| n.checked_mul(d));
                    if wanted != Some(payload.len()) {
                        return Err(mismatch("a new data set gets elements of another size"));
                    }
                    let at = layout.place(payload.len());
                    let messages = self.dataset(like, &shape, at, payload.len());
                    layout.blocks.insert(at, payload);
                    messages
                }
            };
            headers.insert(id, (messages, 0));
        }
        // Objects of the file stay where they are; new ones come behind, with headers whose length does not depend on where.
        let new: HashMap<ObjectId, u64> = headers
            .iter()
            .filter(|(id, _)| id.index() >= old)
            .map(|(id, (messages, _))| (*id, layout.place(encode::header_len(messages))))
            .collect();
        let address = |id: ObjectId| {
            new.get(&id).copied().or_else(|| file.object(id).map(|o| o.address)).unwrap_or(0)
        };

        let mut tables: HashMap<ObjectId, Table> = HashMap::new();
        for (id, links) in self.groups.iter().filter(|(id, _)| reached.contains(id)) {
            if let Some(Kind::Group { info: Some(info), .. }) = file.object(*id).map(|o| &o.kind) {
                let (messages, _) = headers.entry(*id).or_insert_with(|| {
                    let held = file.object(*id).map(|o| o.messages.as_slice()).unwrap_or_default();
                    (held.iter().map(|m| self.copied(m)).collect(), self.stated(*id))
                });
                self.links_in_header(*id, info, links, &address, messages)?;
                continue;
            }
            let mut leads: Vec<(&str, Leads)> = Vec::with_capacity(links.len());
            for (name, target) in links {
                let to = match target {
                    Target::Object(id) => Leads::To(address(*id)),
                    Target::Soft(path) => Leads::Soft(path.clone()),
                    Target::Other(..) => return Err(mismatch("a link of this kind in this group")),
                };
                leads.push((name.as_str(), to));
            }
            let links = leads;
            let mut place = |len| layout.place(len);
            let (table, blocks) =
                encode::symbol_table(&links, file.leaf_k, file.internal_k, &mut place);
            layout.blocks.extend(blocks.into_iter().map(|(at, b)| (at, Payload::Bytes(b))));
            tables.insert(*id, table);
            if let Some((messages, _)) = headers.get_mut(id) {
                for m in messages.iter_mut().filter(|m| m.kind == header::SYMBOL_TABLE) {
                    m.data = table.bytes();
                }
            } else if let Some(object) = file.object(*id) {
                for m in object.messages.iter().filter(|m| m.kind == header::SYMBOL_TABLE) {
                    layout.patches.insert(m.data.start, Payload::Bytes(table.bytes()));
                }
            }
        }
        // Each object states how many links lead to it: whoever removes the last removes the object.
        for (id, (now, before)) in self.recounted(reached) {
            if !reached.contains(&id) {
                continue;
            }
            let count = (self.stated(id) + now).saturating_sub(before);
            if let Some((_, references)) = headers.get_mut(&id) {
                *references = count;
            } else if let Some(object) = file.object(id) {
                let count = Payload::Bytes(count.to_le_bytes().to_vec());
                layout.patches.insert(object.address + 4, count);
            }
        }
        for (id, (messages, references)) in &headers {
            if messages.len() > usize::from(u16::MAX) - 64 {
                return Err(mismatch("an object has too many links or attributes"));
            }
            let Some(object) = file.object(*id) else {
                let header = encode::header(messages, *references);
                layout.blocks.insert(address(*id), Payload::Bytes(header));
                continue;
            };
            let to = layout.place(encode::header_len(messages) - header::PREFIX);
            layout.blocks.insert(to, Payload::Bytes(encode::body(messages)));
            let first = object.extents.first().map_or(0, |e| e.end - e.start);
            let room = first.saturating_sub(header::PREFIX);
            let moved = encode::forwarded(room, messages, *references, to);
            let moved = moved.ok_or_else(|| mismatch("an object header has no room"))?;
            layout.patches.insert(object.address, Payload::Bytes(moved));
        }

        self.forget(reached, &tables, layout);
        for (id, payload) in std::mem::take(&mut self.payloads) {
            if !reached.contains(&id) {
                continue;
            }
            let held = match file.dataset(id).map(|d| &d.storage) {
                Some(Storage::Bytes(range)) => range.clone(),
                _ => {
                    return Err(mismatch(
                        "a data set that is not in one piece gets other elements",
                    ));
                }
            };
            if held.end - held.start != payload.len() {
                return Err(mismatch("a data set gets elements of another size"));
            }
            if payload.len() > 0 {
                layout.patches.insert(held.start - file.range.start, payload);
            }
        }
        let end = layout.end.to_le_bytes().to_vec();
        layout.patches.insert(file.root_entry() - 16, Payload::Bytes(end));
        Ok(())
    }

    /// Puts links into the header of a group that has them there.
    fn links_in_header(
        &self,
        group: ObjectId,
        info: &LinkInfo,
        links: &BTreeMap<String, Target>,
        address: &dyn Fn(ObjectId) -> u64,
        messages: &mut Vec<NewMessage>,
    ) -> Result<(), FrontendError> {
        let held = self.file.links(group);
        let mut next = info.next().unwrap_or(0);
        messages.retain(|m| m.kind != header::LINK);
        for (name, target) in links {
            let old = held.binary_search_by(|l| l.name.as_str().cmp(name)).ok();
            let order = info.next().map(|_| {
                old.and_then(|i| held.get(i)?.order).unwrap_or_else(|| {
                    next = next.saturating_add(1);
                    next - 1
                })
            });
            let goal = match target {
                Target::Object(id) => Goal::Address(address(*id)),
                Target::Soft(path) => Goal::Soft(path.clone()),
                Target::Other(kind, value) => Goal::Other(*kind, value.clone()),
            };
            let link = LinkMessage { name: name.clone(), goal, order };
            let data = link.bytes().ok_or_else(|| mismatch("the name of a link is too long"))?;
            messages.push(NewMessage::new(header::LINK, data));
        }
        for m in messages.iter_mut().filter(|m| m.kind == header::LINK_INFO) {
            *m = NewMessage { flags: m.flags, ..NewMessage::new(m.kind, info.bytes(next)) };
        }
        Ok(())
    }

    /// Entries that keep what a group's symbol table was have it no more: readers look into its header. That of the root has
    /// to have it.
    fn forget(
        &self,
        reached: &BTreeSet<ObjectId>,
        tables: &HashMap<ObjectId, Table>,
        layout: &mut Layout<'a>,
    ) {
        for &group in reached.iter().filter(|id| !self.groups.contains_key(id)) {
            for link in self.file.links(group) {
                if let (Target::Object(id), Some(entry)) = (&link.target, link.entry)
                    && tables.contains_key(id)
                {
                    layout.patches.insert(entry + 16, Payload::Bytes(vec![0; 24]));
                }
            }
        }
        let (root, entry) = (self.file.root(), self.file.root_entry());
        if let Some(table) = tables.get(&root) {
            let cached = [[1, 0, 0, 0, 0, 0, 0, 0].as_slice(), &table.bytes()].concat();
            layout.patches.insert(entry + 16, Payload::Bytes(cached));
        }
    }

    /// The attributes of an object that are set: those that it has in their order, then new ones.
    fn ordered<'c>(
        &self,
        id: ObjectId,
        changes: &'c BTreeMap<String, Option<Value>>,
    ) -> Vec<(&'c str, &'c Value, Option<&'f Attribute>)> {
        let held = self.file.object(id).map(|o| o.attributes.as_slice()).unwrap_or_default();
        let set = |name: &str| {
            let (name, value) = changes.get_key_value(name)?;
            Some((name.as_str(), value.as_ref()?))
        };
        let mut out: Vec<_> = held
            .iter()
            .filter_map(|a| set(&a.name).map(|(name, value)| (name, value, Some(a))))
            .collect();
        let new = changes.keys().filter(|name| !held.iter().any(|a| a.name == **name));
        out.extend(new.filter_map(|name| set(name)).map(|(name, value)| (name, value, None)));
        out
    }

    /// The messages of an object with other attributes, and how many links lead to it.
    fn with_attributes(
        &self,
        id: ObjectId,
        changes: &BTreeMap<String, Option<Value>>,
        heaps: &mut NewHeaps,
    ) -> Result<(Vec<NewMessage>, u32), FrontendError> {
        let object = self.file.object(id);
        let mut set = Vec::new();
        for (name, value, old) in self.ordered(id, changes) {
            set.push((old.map(|a| a.at), encode::attribute(name, value, old, heaps)?));
        }
        let mut messages = Vec::new();
        for m in object.map(|o| o.messages.as_slice()).unwrap_or_default() {
            let at = m.data.start;
            let held = object.and_then(|o| o.attributes.iter().find(|a| a.at == at));
            if let Some(i) = set.iter().position(|(old, _)| *old == Some(at)) {
                messages.push(set.remove(i).1);
            } else if !held.is_some_and(|a| changes.get(&a.name) == Some(&None)) {
                messages.push(self.copied(m));
            }
        }
        messages.extend(set.into_iter().map(|(_, m)| m));
        let references = self.stated(id);
        Ok((messages, references))
    }

    /// The bytes of an element of a data set; 0 where that is not known.
    fn element(&self, dataset: ObjectId) -> u64 {
        let messages = self.file.object(dataset).map(|o| o.messages.as_slice()).unwrap_or_default();
        let message = messages.iter().find(|m| m.kind == header::DATATYPE && !m.is_shared());
        message.map_or(0, |m| {
            let data = self.copied(m).data;
            super::types::Datatype::read(&data).map_or(0, |d| d.size.into())
        })
    }

    fn copied(&self, m: &header::Message) -> NewMessage {
        let start = (self.file.range.start + m.data.start) as usize;
        let end = (self.file.range.start + m.data.end) as usize;
        let data = self.file.source.bytes().get(start..end).unwrap_or_default().to_vec();
        NewMessage { flags: m.flags, ..NewMessage::new(m.kind, data) }
    }

    fn dataset(&self, like: ObjectId, shape: &[u64], at: u64, len: u64) -> Vec<NewMessage> {
        let messages = self.file.object(like).map(|o| o.messages.as_slice()).unwrap_or_default();
        let kept = [header::DATATYPE, header::FILL_OLD, header::FILL, header::ATTRIBUTE];
        let mut out = vec![NewMessage::new(header::DATASPACE, encode::dataspace(shape))];
        out.extend(messages.iter().filter(|m| kept.contains(&m.kind)).map(|m| self.copied(m)));
        out.push(NewMessage::new(header::LAYOUT, encode::contiguous(at, len)));
        out
    }
}

fn mismatch(what: &str) -> FrontendError {
    FrontendError::unsupported(super::FORMAT, what)
}

/// Where everything goes.
struct Layout<'a> {
    /// The first free address.
    end: u64,
    /// What comes behind, by address.
    blocks: BTreeMap<u64, Payload<'a>>,
    /// What changes in place, by address.
    patches: BTreeMap<u64, Payload<'a>>,
}

impl<'a> Layout<'a> {
    /// Room for a block.
    fn place(&mut self, len: u64) -> u64 {
        let at = self.end.next_multiple_of(8);
        self.end = at + len;
        at
    }

    /// The file, whose first `end` bytes are kept, patches aside.
    fn content(self, source: u32, base: u64, end: u64) -> Result<Content<'a>, FrontendError> {
        let mut out = Content::new();
        let mut at = 0;
        for (place, payload) in self.patches {
            let len = payload.len();
            if place < at || place + len > end {
                return Err(mismatch("two changes of one place, or one beyond what is kept,"));
            }
            out.source(source, base + at..base + place);
            put(&mut out, payload);
            at = place + len;
        }
        out.source(source, base + at..base + end);
        for (place, payload) in self.blocks {
            let gap = place.saturating_sub(out.len());
            out.bytes(&vec![0; gap as usize]);
            put(&mut out, payload);
        }
        out.bytes(&vec![0; self.end.saturating_sub(out.len()) as usize]);
        Ok(out)
    }
}

fn put<'a>(out: &mut Content<'a>, payload: Payload<'a>) {
    match payload {
        Payload::Bytes(bytes) => out.bytes(&bytes),
        Payload::Produced(producer) => out.produced(producer),
    }
}
