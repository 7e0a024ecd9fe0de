//! Reading: from the superblock to every object that links lead to.

use super::{
    Dataset, Element, FORMAT, File, Kind, Link, Object, ObjectId, Storage, Target, UNDEFINED,
    attribute::{self, Attribute, Heaps},
    header::{self, Message},
    links::{self, Goal, LinkInfo, LinkMessage},
    malformed,
    types::{self, Datatype},
};
use crate::{FrontendError, bytes::Source};
use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    ops::Range,
};

/// The first bytes (II.A).
pub(super) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The superblock, its root entry included; version 1 has four bytes more before the addresses.
pub(super) const SUPERBLOCK: u64 = 96;
/// A symbol table entry (III.C).
pub(super) const ENTRY: u64 = 40;
/// What an entry keeps of a group: its B-tree and heap; of a soft link: where its value is.
const CACHED_GROUP: u32 = 1;
const CACHED_SOFT: u32 = 2;

/// The bytes of a file, with care about how many are looked at: structures of a sound file do not overlap.
pub(super) struct Bytes<'b> {
    bytes: &'b [u8],
    left: Cell<u64>,
}

impl<'b> Bytes<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, left: Cell::new((bytes.len() as u64).saturating_mul(4) + (1 << 16)) }
    }

    /// The bytes of a block.
    pub(super) fn block(&self, at: u64, len: u64, what: &str) -> Result<&'b [u8], FrontendError> {
        let range =
            usize::try_from(at).ok().zip(at.checked_add(len).and_then(|e| e.try_into().ok()));
        let block = range.and_then(|(start, end): (usize, usize)| self.bytes.get(start..end));
        let block = block.ok_or_else(|| {
            malformed(at, format!("{what} of {len} bytes reaches beyond the file"))
        })?;
        let left = self.left.get().checked_sub(len);
        self.left.set(left.ok_or_else(|| malformed(at, "its structures overlap"))?);
        Ok(block)
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Little-endian numbers at a place; 0 beyond the end, which callers rule out by lengths.
pub(super) trait Numbers {
    fn u8_at(&self, at: usize) -> u8;
    fn u16_at(&self, at: usize) -> u16;
    fn u32_at(&self, at: usize) -> u32;
    fn u64_at(&self, at: usize) -> u64;
    /// What begins at a place.
    fn from(&self, at: usize) -> &[u8];
}

impl Numbers for [u8] {
    fn u8_at(&self, at: usize) -> u8 {
        self.get(at).copied().unwrap_or(0)
    }
    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.u8_at(at), self.u8_at(at + 1)])
    }
    fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) | u32::from(self.u16_at(at + 2)) << 16
    }
    fn u64_at(&self, at: usize) -> u64 {
        u64::from(self.u32_at(at)) | u64::from(self.u32_at(at + 4)) << 32
    }
    fn from(&self, at: usize) -> &[u8] {
        self.get(at..).unwrap_or_default()
    }
}

fn unsupported(what: impl Into<String>) -> FrontendError {
    FrontendError::unsupported(FORMAT, what)
}

/// A remedy for files of newer forms.
pub(super) const REMEDY: &str = "load it with Keras and save it again, which writes the older form";

pub(super) fn open(source: &Source, range: Range<u64>) -> Result<File, FrontendError> {
    let whole = source.bytes();
    let place = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    let bytes = place.and_then(|(start, end)| whole.get(start..end)).unwrap_or_default();
    let bytes = Bytes::new(bytes);
    let block = bytes.block(0, SUPERBLOCK.min(bytes.len()), "its superblock")?;
    if !block.starts_with(SIGNATURE) {
        return Err(malformed(0, "it does not begin with the signature of HDF5"));
    }
    let shift = match block.u8_at(8) {
        0 => 0,
        1 => 4,
        version => {
            return Err(unsupported(format!(
                "a superblock of version {version} ({REMEDY}), which"
            )));
        }
    };
    let block = bytes.block(0, SUPERBLOCK + shift, "its superblock")?;
    if (block.u8_at(13), block.u8_at(14)) != (8, 8) {
        return Err(unsupported("another size of addresses and lengths than 8 bytes"));
    }
    let addresses = block.from(24 + shift as usize);
    if addresses.u64_at(0) != 0 {
        return Err(unsupported("a user block or another base address"));
    }
    let end = addresses.u64_at(16);
    if end > bytes.len() {
        let found = bytes.len();
        return Err(malformed(
            0,
            format!("the file should have {end} bytes and has {found}: it is cut short"),
        ));
    }
    let (leaf_k, internal_k) = (block.u16_at(16), block.u16_at(18));
    if leaf_k == 0 || internal_k == 0 || leaf_k > 1 << 12 || internal_k > 1 << 12 {
        return Err(malformed(16, "nodes of groups have no room, or absurdly much"));
    }
    let mut walk = Walk {
        origin: range.start,
        bytes: &bytes,
        leaf_k,
        internal_k,
        objects: Vec::new(),
        by_address: HashMap::new(),
        pending: Vec::new(),
        heaps: Heaps::default(),
        // Blocks that a driver or a list of free space would have are not looked for.
        complete: addresses.u64_at(8) == UNDEFINED && addresses.u64_at(24) == UNDEFINED,
    };
    walk.meet(addresses.u64_at(32 + 8));
    // Objects are numbered as they are met; each is read once.
    while let Some(id) = walk.pending.pop() {
        walk.object(id)?;
    }
    let Walk { objects, complete, .. } = walk;
    let objects: Option<Vec<Object>> = objects.into_iter().collect();
    let objects = objects.ok_or_else(|| malformed(0, "an object was not read"))?;
    let overlap = overlap(&objects, SUPERBLOCK + shift);
    let root_entry = 56 + shift;
    let source = source.clone();
    let file = File { source, range, root_entry, leaf_k, internal_k, objects, complete, overlap };
    if !file.is_group(file.root()) {
        return Err(malformed(0, "its root is no group"));
    }
    Ok(file)
}

/// Where a block begins that overlaps another one. Objects share nothing but global heaps.
fn overlap(objects: &[Object], superblock: u64) -> Option<u64> {
    let mut blocks: Vec<(u64, u64)> = vec![(0, superblock)];
    for object in objects {
        let table = match &object.kind {
            Kind::Group { table, .. } => table.as_slice(),
            _ => &[],
        };
        let extents = object.extents.iter().chain(table);
        blocks.extend(extents.filter(|e| !e.is_empty()).map(|e| (e.start, e.end)));
    }
    let mut heaps: Vec<(u64, u64)> =
        objects.iter().flat_map(|o| &o.heaps).map(|e| (e.start, e.end)).collect();
    heaps.sort_unstable();
    heaps.dedup();
    blocks.extend(heaps);
    blocks.sort_unstable();
    blocks.windows(2).find_map(|w| match w {
        [a, b] => (a.1 > b.0).then_some(b.0),
        _ => None,
    })
}

struct Walk<'w> {
    origin: u64,
    bytes: &'w Bytes<'w>,
    leaf_k: u16,
    internal_k: u16,
    /// `None` until they are read.
    objects: Vec<Option<Object>>,
    by_address: HashMap<u64, ObjectId>,
    pending: Vec<(ObjectId, u64)>,
    heaps: Heaps,
    complete: bool,
}

impl Walk<'_> {
    fn meet(&mut self, address: u64) -> ObjectId {
        if let Some(&id) = self.by_address.get(&address) {
            return id;
        }
        let id = ObjectId(self.objects.len() as u32);
        self.objects.push(None);
        self.by_address.insert(address, id);
        self.pending.push((id, address));
        id
    }

    fn object(&mut self, (id, address): (ObjectId, u64)) -> Result<(), FrontendError> {
        let (messages, mut extents) = header::read(self.bytes, address)?;
        let (mut attributes, mut heaps) = (Vec::new(), Vec::new());
        for m in messages.iter().filter(|m| m.kind == header::ATTRIBUTE) {
            let data = self.bytes.block(m.data.start, m.data.end - m.data.start, "an attribute")?;
            if m.is_shared() {
                self.complete = false;
                continue;
            }
            let attribute: Attribute =
                attribute::read(self.bytes, data, m.data.start, &mut self.heaps, &mut heaps)?;
            self.complete &= attribute.is_known();
            attributes.push(attribute);
        }
        let find = |kind| messages.iter().find(|m: &&Message| m.kind == kind);
        let single = [
            header::SYMBOL_TABLE,
            header::LINK_INFO,
            header::DATASPACE,
            header::DATATYPE,
            header::LAYOUT,
        ];
        for kind in single {
            if messages.iter().filter(|m| m.kind == kind).count() > 1 {
                return Err(malformed(
                    address,
                    "an object with two messages of a kind of which there is one",
                ));
            }
        }
        self.complete &= find(header::ATTRIBUTE_INFO).is_none();
        let kind = if let Some(table) = find(header::SYMBOL_TABLE) {
            let data = self.message(table)?;
            if data.len() < 16 {
                return Err(malformed(
                    table.data.start,
                    "a symbol table message that is cut short",
                ));
            }
            let (tree, heap) = (data.u64_at(0), data.u64_at(8));
            self.group(tree, heap)?
        } else if let Some(info) = find(header::LINK_INFO) {
            self.new_group(&messages, info)?
        } else if let (Some(space), Some(ty), Some(layout)) =
            (find(header::DATASPACE), find(header::DATATYPE), find(header::LAYOUT))
        {
            let dataset = self.dataset(space, ty, layout, &mut extents)?;
            Kind::Dataset(dataset)
        } else {
            self.complete = false;
            Kind::Other
        };
        let object = Object { address, messages, attributes, kind, extents, heaps };
        if let Some(slot) = self.objects.get_mut(id.index()) {
            *slot = Some(object);
        }
        Ok(())
    }

    fn message(&self, m: &Message) -> Result<&[u8], FrontendError> {
        self.bytes.block(m.data.start, m.data.end - m.data.start, "a message")
    }

    fn dataset(
        &mut self,
        space: &Message,
        ty: &Message,
        layout: &Message,
        extents: &mut Vec<Range<u64>>,
    ) -> Result<Dataset, FrontendError> {
        let shape = types::dataspace(self.message(space)?)
            .ok_or_else(|| malformed(space.data.start, "a dataspace that is not understood"))?;
        // A type that is shared stands elsewhere.
        let datatype = match ty.is_shared() {
            true => None,
            false => Datatype::read(self.message(ty)?),
        };
        let element = datatype.as_ref().map_or(Element::Other, Datatype::element);
        let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let size = datatype.as_ref().map(|d| u64::from(d.size));
        let len = count.zip(size).and_then(|(n, s)| n.checked_mul(s));
        if datatype.as_ref().is_none_or(Datatype::has_references) {
            self.complete = false;
        }
        let data = self.message(layout)?;
        let storage = match (data.u8_at(0), data.u8_at(1)) {
            (3 | 4, 0) => {
                let start = layout.data.start + 4;
                let held = u64::from(data.u16_at(2));
                if start + held > layout.data.end {
                    return Err(malformed(
                        layout.data.start,
                        "compact data reaches beyond its message",
                    ));
                }
                self.placed(start, held, len)?
            }
            (3 | 4, 1) => match data.u64_at(2) {
                UNDEFINED => Storage::Unallocated,
                address => {
                    let held = data.u64_at(10);
                    let storage = self.placed(address, held, len)?;
                    extents.push(address..address + held);
                    storage
                }
            },
            (3, 2) => {
                self.chunks(data.u8_at(2), data.u64_at(3), extents)?;
                Storage::Other
            }
            _ => {
                self.complete = false;
                Storage::Other
            }
        };
        Ok(Dataset { shape, element, storage })
    }

    /// Elements in one piece.
    fn placed(&self, at: u64, held: u64, wanted: Option<u64>) -> Result<Storage, FrontendError> {
        if at.checked_add(held).is_none_or(|end| end > self.bytes.len()) {
            return Err(malformed(at, format!("data of {held} bytes reaches beyond the file")));
        }
        match wanted {
            None => Ok(Storage::Other),
            Some(wanted) if wanted > held => {
                Err(malformed(at, format!("a data set of {wanted} bytes has only {held}")))
            }
            Some(wanted) => Ok(Storage::Bytes(self.origin + at..self.origin + at + wanted)),
        }
    }

    /// The blocks of a B-tree of chunks (III.A.1, type 1).
    fn chunks(
        &mut self,
        rank: u8,
        root: u64,
        extents: &mut Vec<Range<u64>>,
    ) -> Result<(), FrontendError> {
        if root == UNDEFINED {
            return Ok(());
        }
        // Per key: size, filter mask, and the offset in each dimension, one more for the element.
        let key = 8 + 8 * u64::from(rank);
        let (mut stack, mut seen) = (vec![root], HashSet::new());
        while let Some(at) = stack.pop() {
            if !seen.insert(at) {
                return Err(malformed(at, "a B-tree that leads back to itself"));
            }
            let head = self.node(at, 1)?;
            let (level, used) = head;
            let body =
                self.bytes.block(at + 24, u64::from(used) * (key + 8) + key, "a B-tree node")?;
            extents.push(at..at + 24 + u64::from(used) * (key + 8) + key);
            for i in 0..usize::from(used) {
                let entry = body.from(i * (key as usize + 8));
                let (size, child) = (u64::from(entry.u32_at(0)), entry.u64_at(key as usize));
                match level {
                    0 => {
                        if child.checked_add(size).is_none_or(|end| end > self.bytes.len()) {
                            return Err(malformed(child, "a chunk reaches beyond the file"));
                        }
                        extents.push(child..child + size);
                    }
                    _ => stack.push(child),
                }
            }
        }
        // Nodes have room for more entries than they hold, by a number that the superblock has only in version 1.
        self.complete = false;
        Ok(())
    }

    /// Level and number of entries of a B-tree node.
    fn node(&self, at: u64, kind: u8) -> Result<(u8, u16), FrontendError> {
        let head = self.bytes.block(at, 24, "a B-tree node")?;
        if !head.starts_with(b"TREE") || head.u8_at(4) != kind {
            return Err(malformed(at, "no B-tree node where one should be"));
        }
        Ok((head.u8_at(5), head.u16_at(6)))
    }

    fn group(&mut self, tree: u64, heap: u64) -> Result<Kind, FrontendError> {
        let mut table = Vec::new();
        let head = self.bytes.block(heap, 32, "a local heap")?;
        if !head.starts_with(b"HEAP") || head.u8_at(4) != 0 {
            return Err(malformed(heap, "no local heap where one should be"));
        }
        let (size, at) = (head.u64_at(8), head.u64_at(24));
        table.extend([heap..heap + 32, at..at.saturating_add(size)]);
        let names = Names { bytes: self.bytes.block(at, size, "a local heap")?, at };

        let mut links: Vec<Link> = Vec::new();
        // Nodes in the order of names: children are pushed in reverse.
        let (mut stack, mut seen) = (vec![tree], HashSet::new());
        let node_size = 24 + 8 * (4 * u64::from(self.internal_k) + 1);
        let leaf_size = 8 + ENTRY * 2 * u64::from(self.leaf_k);
        while let Some(at) = stack.pop() {
            if !seen.insert(at) {
                return Err(malformed(at, "a B-tree that leads back to itself"));
            }
            let (_, used) = self.node(at, 0)?;
            if used > 2 * self.internal_k {
                return Err(malformed(at, "a B-tree node with more entries than it has room for"));
            }
            let body = self.bytes.block(at + 24, node_size - 24, "a B-tree node")?;
            table.push(at..at + node_size);
            let level = self.node(at, 0)?.0;
            let children = (0..usize::from(used)).map(|i| body.u64_at(8 + 16 * i));
            if level > 0 {
                let children: Vec<u64> = children.collect();
                stack.extend(children.into_iter().rev());
                continue;
            }
            for leaf in children {
                if !seen.insert(leaf) {
                    return Err(malformed(leaf, "a list of symbols that stands there twice"));
                }
                let block = self.bytes.block(leaf, leaf_size, "a list of symbols")?;
                table.push(leaf..leaf + leaf_size);
                let count = block.u16_at(6);
                if !block.starts_with(b"SNOD") || count > 2 * self.leaf_k {
                    return Err(malformed(leaf, "no list of symbols where one should be"));
                }
                for i in 0..u64::from(count) {
                    let entry = leaf + 8 + ENTRY * i;
                    links.push(self.link(block.from((8 + ENTRY * i) as usize), entry, &names)?);
                }
            }
        }
        sort(&mut links, tree)?;
        Ok(Kind::Group { links, table, info: None })
    }

    /// A group that has its links in the header or in a heap.
    fn new_group(&mut self, messages: &[Message], info: &Message) -> Result<Kind, FrontendError> {
        let at = info.data.start;
        let info = LinkInfo::read(self.message(info)?, at)?;
        let mut found: Vec<LinkMessage> = Vec::new();
        for m in messages.iter().filter(|m| m.kind == header::LINK) {
            found.push(LinkMessage::read(self.message(m)?, m.data.start)?);
        }
        if info.is_dense() {
            // Its blocks are not looked for.
            self.complete = false;
            found.extend(links::dense(self.bytes, &info)?);
        }
        let mut links = Vec::with_capacity(found.len());
        for LinkMessage { name, goal, order } in found {
            check_name(&name, at)?;
            let target = match goal {
                Goal::Address(address) => Target::Object(self.meet(address)),
                Goal::Soft(path) => Target::Soft(path),
                Goal::Other(kind, value) => Target::Other(kind, value),
            };
            links.push(Link { name, target, entry: None, order });
        }
        sort(&mut links, at)?;
        Ok(Kind::Group { links, table: Vec::new(), info: Some(info) })
    }

    fn link(&mut self, entry: &[u8], at: u64, names: &Names<'_>) -> Result<Link, FrontendError> {
        let name = names.text(entry.u64_at(0))?;
        let name = std::str::from_utf8(name)
            .map_err(|_| malformed(at, "the name of a link is not UTF-8"))?
            .to_owned();
        check_name(&name, at)?;
        let target = match entry.u32_at(16) {
            CACHED_SOFT => Target::Soft(names.text(u64::from(entry.u32_at(24)))?.to_vec()),
            0 | CACHED_GROUP => Target::Object(self.meet(entry.u64_at(8))),
            _ => return Err(malformed(at, format!("the link `{name}` is of no known kind"))),
        };
        Ok(Link { name, target, entry: Some(at), order: None })
    }
}

fn check_name(name: &str, at: u64) -> Result<(), FrontendError> {
    if name.is_empty() || name.contains('/') {
        return Err(malformed(at, format!("`{name}` is no name of a link")));
    }
    Ok(())
}

/// Puts the links of a group in the order of their names, of which there is one each.
fn sort(links: &mut [Link], at: u64) -> Result<(), FrontendError> {
    links.sort_by(|a, b| a.name.cmp(&b.name));
    let twice = links.windows(2).find_map(|w| match w {
        [a, b] => (a.name == b.name).then_some(&a.name),
        _ => None,
    });
    match twice {
        None => Ok(()),
        Some(name) => Err(malformed(at, format!("a group with two links of the name `{name}`"))),
    }
}

/// The texts of a local heap (III.D).
struct Names<'n> {
    bytes: &'n [u8],
    at: u64,
}

impl<'n> Names<'n> {
    fn text(&self, offset: u64) -> Result<&'n [u8], FrontendError> {
        let text = usize::try_from(offset).ok().and_then(|o| self.bytes.get(o..));
        let end = text.and_then(|t| t.iter().position(|&b| b == 0));
        text.zip(end).and_then(|(t, end)| t.get(..end)).ok_or_else(|| {
            malformed(self.at.saturating_add(offset), "a name that is not in its heap")
        })
    }
}
