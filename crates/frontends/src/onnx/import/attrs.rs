//! Attributes of a node, taken one by one: an op is known only if all of them are understood.

use crate::onnx::{
    model::{AttributeKind, AttributeView, TensorView},
    wire::WireError,
};
use smallvec::{SmallVec, smallvec};

/// The attributes of one node. Every accessor gives `None` when the attribute is there but of another type, or a reference
/// to an attribute of the enclosing function: then the node is not understood.
pub(super) struct Attrs<'n, 'a> {
    list: &'n [AttributeView<'a>],
    taken: SmallVec<[bool; 8]>,
    /// What was malformed.
    pub(super) error: Option<WireError>,
}

impl<'n, 'a> Attrs<'n, 'a> {
    pub(super) fn new(list: &'n [AttributeView<'a>]) -> Self {
        Self { list, taken: smallvec![false; list.len()], error: None }
    }

    /// Whether every attribute was asked for.
    pub(super) fn all_taken(&self) -> bool {
        self.taken.iter().all(|&t| t)
    }

    /// Takes an attribute; the inner `None` is an absent one.
    fn take(&mut self, name: &str, kind: AttributeKind) -> Option<Option<&'n AttributeView<'a>>> {
        let Some(i) = self.list.iter().position(|a| a.name == name) else { return Some(None) };
        self.taken[i] = true;
        let a = &self.list[i];
        // An empty list of an old file says nothing of its type.
        let list = matches!(kind, AttributeKind::Ints | AttributeKind::Floats);
        let fits = a.kind == kind || (list && a.kind == AttributeKind::Undefined);
        (fits && a.ref_attr_name.is_empty()).then_some(Some(a))
    }

    fn ok<T>(&mut self, result: Result<T, WireError>) -> Option<T> {
        result.map_err(|e| self.error = Some(e)).ok()
    }

    /// Takes an attribute that does not matter to what the op computes.
    pub(super) fn skip(&mut self, name: &str) {
        if let Some(i) = self.list.iter().position(|a| a.name == name) {
            self.taken[i] = true;
        }
    }

    pub(super) fn opt_int(&mut self, name: &str) -> Option<Option<i64>> {
        Some(self.take(name, AttributeKind::Int)?.map(|a| a.i))
    }

    pub(super) fn int(&mut self, name: &str, default: i64) -> Option<i64> {
        Some(self.opt_int(name)?.unwrap_or(default))
    }

    /// 0 or 1; anything else is not understood.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> Option<bool> {
        match self.opt_int(name)? {
            None => Some(default),
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(_) => None,
        }
    }

    /// A float, widened.
    pub(super) fn opt_float(&mut self, name: &str) -> Option<Option<f64>> {
        Some(self.take(name, AttributeKind::Float)?.map(|a| f64::from(a.f)))
    }

    /// A float, widened; the default is an f32 like that of the specification.
    pub(super) fn float(&mut self, name: &str, default: f32) -> Option<f64> {
        Some(self.opt_float(name)?.unwrap_or(f64::from(default)))
    }

    pub(super) fn ints(&mut self, name: &str) -> Option<Option<Vec<i64>>> {
        match self.take(name, AttributeKind::Ints)? {
            None => Some(None),
            Some(a) => self.ok(a.ints()).map(Some),
        }
    }

    pub(super) fn floats(&mut self, name: &str) -> Option<Option<Vec<f64>>> {
        match self.take(name, AttributeKind::Floats)? {
            None => Some(None),
            Some(a) => self.ok(a.floats()).map(|v| Some(v.into_iter().map(f64::from).collect())),
        }
    }

    pub(super) fn text(&mut self, name: &str, default: &'static str) -> Option<&'n str> {
        match self.take(name, AttributeKind::String)? {
            None => Some(default),
            Some(a) => std::str::from_utf8(a.s).ok(),
        }
    }

    pub(super) fn tensor(&mut self, name: &str) -> Option<Option<TensorView<'a>>> {
        match self.take(name, AttributeKind::Tensor)? {
            None => Some(None),
            Some(a) => self.ok(a.tensor()),
        }
    }
}
