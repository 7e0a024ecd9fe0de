//! HDF5 files of the kind that h5py writes by default: read by their tree of objects, and patched object by object.
//!
//! [`File::open`] walks the tree and reads what describes it, never the data: [`Dataset`] says where in the source the
//! elements are. [`Edit`] gives the file with links, data sets and attributes changed; everything else is copied as it was,
//! where it was, and what is new comes behind.
//!
//! References are to the sections of the HDF5 File Format Specification, version 2.0. Files with a superblock of version 0 or
//! 1 (II.A), object headers of version 1 (IV.A.1.a), groups as symbol tables (III.A to III.D) or, as h5py makes them for names
//! that are not ASCII, as links in the header or in a heap (IV.A.2.g, III.G), contiguous and compact data are read; chunked
//! data, soft and external links and types of every kind are carried. Newer forms, which h5py writes when asked for, are
//! errors that say so.

mod attribute;
mod edit;
mod encode;
mod header;
mod links;
mod types;
mod walk;

pub use attribute::Value;
pub use edit::{Edit, Payload};

use crate::{FrontendError, bytes::Source};
use attribute::Attribute;
use header::Message;
use links::LinkInfo;
use normfold_ir::DType;
use std::{fmt, ops::Range};

/// What error messages call the format.
const FORMAT: &str = "HDF5 file";
/// An address that is none.
const UNDEFINED: u64 = u64::MAX;

/// An object of a file, or a new one of an [`Edit`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectId(u32);

impl ObjectId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The type of an element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Element {
    /// Numbers, little-endian.
    Known(DType),
    /// Bytes without a meaning, that many (class 5).
    Opaque(u32),
    /// Anything else.
    Other,
}

/// Where the elements of a data set are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Storage {
    /// In one piece, at these bytes of the source, in the object header or outside it.
    Bytes(Range<u64>),
    /// Nowhere: every element is the fill value.
    Unallocated,
    /// In chunks, in other files, or in a way that is not known.
    Other,
}

/// A data set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dataset {
    /// Extents; none for a scalar.
    pub shape: Vec<u64>,
    /// Element type.
    pub element: Element,
    /// Where the elements are, row-major.
    pub storage: Storage,
}

/// Where a link goes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    Object(ObjectId),
    /// To a path.
    Soft(Vec<u8>),
    /// To another file, or what a user defined: the kind of link and what belongs to it.
    Other(u8, Vec<u8>),
}

/// An entry of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Link {
    name: String,
    target: Target,
    /// Where its symbol table entry is, in a group that has a symbol table.
    entry: Option<u64>,
    /// When it came, in a group that keeps that.
    order: Option<u64>,
}

/// What an object is.
#[derive(Clone, Debug)]
enum Kind {
    Group {
        /// In the order of their names.
        links: Vec<Link>,
        /// The blocks of the symbol table.
        table: Vec<Range<u64>>,
        /// What a group without a symbol table says about its links.
        info: Option<LinkInfo>,
    },
    Dataset(Dataset),
    /// A named type, or something newer.
    Other,
}

#[derive(Clone, Debug)]
struct Object {
    address: u64,
    messages: Vec<Message>,
    attributes: Vec<Attribute>,
    kind: Kind,
    /// The blocks that it is kept in, symbol tables left out.
    extents: Vec<Range<u64>>,
    /// The global heaps that it has texts in; other objects may have some there, too.
    heaps: Vec<Range<u64>>,
}

/// A file that is open. Addresses are those of the file itself; what [`Dataset`] gives is where they are in the source.
#[derive(Clone)]
pub struct File {
    source: Source,
    /// The bytes of the source that are the file.
    range: Range<u64>,
    /// Where the superblock leads to the root group.
    root_entry: u64,
    /// Entries per node of a group's list of symbols, and of its B-tree: half of what there is room for.
    leaf_k: u16,
    internal_k: u16,
    objects: Vec<Object>,
    /// Whether every block of every object is known.
    complete: bool,
    /// Where two blocks overlap, so that a change of one would change the other.
    overlap: Option<u64>,
}

impl File {
    /// Whether the content begins like an HDF5 file.
    pub fn looks_like(bytes: &[u8]) -> bool {
        bytes.starts_with(walk::SIGNATURE)
    }

    /// Reads the tree of the file that is at these bytes of a source. Takes memory in proportion to the objects, never to
    /// what a size claims.
    ///
    /// # Errors
    /// The file is cut short or contradicts itself, or is of a newer form; the error names the object or the byte.
    pub fn open(source: &Source, range: Range<u64>) -> Result<Self, FrontendError> {
        walk::open(source, range)
    }

    /// The bytes of the source that are the file.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The root group.
    pub fn root(&self) -> ObjectId {
        ObjectId(0)
    }

    fn root_entry(&self) -> u64 {
        self.root_entry
    }

    fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(id.index())
    }

    fn links(&self, id: ObjectId) -> &[Link] {
        match self.object(id).map(|o| &o.kind) {
            Some(Kind::Group { links, .. }) => links,
            _ => &[],
        }
    }

    /// Whether it is a group.
    pub fn is_group(&self, id: ObjectId) -> bool {
        matches!(self.object(id).map(|o| &o.kind), Some(Kind::Group { .. }))
    }

    /// The objects that a group links to, by name, in the order of names; soft and external links left out.
    pub fn children(&self, group: ObjectId) -> impl Iterator<Item = (&str, ObjectId)> {
        self.links(group).iter().filter_map(|l| match l.target {
            Target::Object(id) => Some((l.name.as_str(), id)),
            Target::Soft(_) | Target::Other(..) => None,
        })
    }

    /// The object at a path of names with slashes.
    pub fn find(&self, from: ObjectId, path: &str) -> Option<ObjectId> {
        let mut at = from;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let links = self.links(at);
            let i = links.binary_search_by(|l| l.name.as_str().cmp(name)).ok()?;
            match links.get(i)?.target {
                Target::Object(id) => at = id,
                Target::Soft(_) | Target::Other(..) => return None,
            }
        }
        Some(at)
    }

    /// The data set that an object is.
    pub fn dataset(&self, id: ObjectId) -> Option<&Dataset> {
        match &self.object(id)?.kind {
            Kind::Dataset(d) => Some(d),
            _ => None,
        }
    }

    /// The value of an attribute.
    pub fn attribute(&self, id: ObjectId, name: &str) -> Option<&Value> {
        self.object(id)?.attributes.iter().find(|a| a.name == name).map(|a| &a.value)
    }

    /// The names of an object's attributes, in their order.
    pub fn attributes(&self, id: ObjectId) -> impl Iterator<Item = &str> {
        self.object(id).into_iter().flat_map(|o| o.attributes.iter().map(|a| a.name.as_str()))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("range", &self.range)
            .field("objects", &self.objects.len())
            .finish()
    }
}

fn malformed(at: u64, problem: impl Into<String>) -> FrontendError {
    FrontendError::Malformed {
        format: FORMAT,
        place: String::new(),
        offset: at,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
