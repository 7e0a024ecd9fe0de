//! Data outside the model file: what moves there, and what must stay within reach.

use super::{
    Export, GraphPlan,
    graph::{constant_tensor, is_external},
};
use crate::{
    FrontendError,
    onnx::{
        model::{AttributeKind, Origin},
        spell_out::Found,
        writer::tensor::Outside,
    },
    save::Content,
};
use normfold_ir::{ConstId, ConstPool, DType, IdMap, OpId, OpKind};
use std::collections::BTreeSet;

/// Tensors below this stay in the model file.
const SMALL: u64 = 1 << 10;

/// Elements of the longest list of floats that engines read while they load: scales and regions of a Resize, bounds of a Range.
const SHORT: u64 = 16;

/// Whether a constant is, by its type and extents, one that engines read while they load, when data outside is not there yet:
/// a shape, axes, pads, bounds, scales. Which op reads it does not decide: it may be on the other side of a call or a body.
fn is_short_list(pool: &ConstPool, entry: ConstId) -> bool {
    if pool.byte_len(entry) >= SMALL {
        return false;
    }
    let dtype = pool.dtype(entry);
    !dtype.is_float() || (pool.dims(entry).len() <= 1 && pool.count(entry) <= SHORT)
}

/// Which tensors have their data outside the document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExternalData {
    /// Those that had it there. What was not rewritten stays in the file where it was; what was goes into a new one. When
    /// the document would pass protobuf's 2 GiB, everything from 1 KiB on goes there.
    #[default]
    Keep,
    /// Those of that many bytes and more, all in one new file; all others are in the document, and with them short lists: what
    /// engines read while they load.
    Above(u64),
    /// None, but for sparse tensors and those in attributes of ops other than Constant, which stay where they are.
    Inline,
}

impl ExternalData {
    /// Every tensor from 1 KiB on, all in one new file.
    pub const SINGLE: Self = ExternalData::Above(SMALL);

    /// Whether tensors may be left in the document that [`ExternalData::SINGLE`] moves.
    pub(crate) fn leaves_large(self) -> bool {
        match self {
            ExternalData::Keep | ExternalData::Inline => true,
            ExternalData::Above(least) => least > SMALL,
        }
    }
}

/// The field of a model that has what training needs.
const TRAINING_INFO: u32 = 20;

/// What moves into the new file.
#[derive(Clone, Copy)]
pub(crate) enum Policy {
    Asked(ExternalData),
    /// The document would be too large: everything but what is outside as it is.
    TooLarge,
}

/// Where the data of constants goes, by graph and op; `None` for those whose data comes into the document.
pub(crate) type Destinations = IdMap<(u32, OpId), Option<Outside>>;

/// Tensors begin at multiples of this in their file, so that readers can map them page by page.
const ALIGNMENT: u64 = 4096;

/// A constant whose data goes into the new external file.
struct Moved {
    key: (u32, OpId),
    entry: ConstId,
    name: String,
    offset: u64,
}

/// What goes into the new external file, in document order.
#[derive(Default)]
pub(crate) struct NewFile {
    moved: Vec<Moved>,
    /// What comes from outside into the document.
    inlined: Vec<(u32, OpId)>,
    len: u64,
}

impl NewFile {
    /// Decides for every constant.
    pub(crate) fn plan(export: &Export<'_>, policy: Policy) -> Result<Self, FrontendError> {
        let mut file = Self::default();
        // What a new constant without a record needs to go outside.
        let least = match policy {
            Policy::Asked(ExternalData::Above(least)) => Some(least),
            Policy::TooLarge => Some(SMALL),
            Policy::Asked(ExternalData::Keep | ExternalData::Inline) => None,
        };
        for plan in export.plans.iter().flatten() {
            for (number, op) in plan.by_record.iter().enumerate() {
                if let Some(op) = *op {
                    file.consider(export, plan, number as u32, op, policy)?;
                }
            }
            for &op in plan.nodes.iter().chain(&plan.constants) {
                if let (OpKind::Constant(c), Some(least)) = (plan.graph.kind(op), least) {
                    file.push(export, plan, op, c.entry, least);
                }
            }
        }
        Ok(file)
    }

    fn consider(
        &mut self,
        export: &Export<'_>,
        plan: &GraphPlan<'_>,
        number: u32,
        op: OpId,
        policy: Policy,
    ) -> Result<(), FrontendError> {
        let OpKind::Constant(c) = plan.graph.kind(op) else { return Ok(()) };
        let changed = export.imported.constant(plan.view.index, number) != Some(c.entry);
        if !changed && matches!(policy, Policy::Asked(ExternalData::Keep)) {
            return Ok(());
        }
        let external = match plan.table().origin(number) {
            Origin::Initializer(i) => is_external(&plan.view.initializer(i as usize)?),
            Origin::Node(i) => match constant_tensor(&plan.view.node(i as usize)?)? {
                Some(t) => is_external(&t),
                // The other forms are scalars and short lists.
                None => return Ok(()),
            },
            Origin::SparseInitializer(_) | Origin::Input(_) => return Ok(()),
        };
        let moved = match policy {
            Policy::Asked(ExternalData::Keep) if external => {
                self.push(export, plan, op, c.entry, SMALL)
            }
            Policy::TooLarge if changed || !external => self.push(export, plan, op, c.entry, SMALL),
            Policy::Asked(ExternalData::Above(least)) => {
                self.push(export, plan, op, c.entry, least)
            }
            Policy::Asked(_) => false,
            // It stays outside as it is.
            Policy::TooLarge => true,
        };
        if external && !moved {
            self.inlined.push((plan.view.index, op));
        }
        Ok(())
    }

    /// Whether a constant goes into the new file: it is large enough.
    fn push(
        &mut self,
        export: &Export<'_>,
        plan: &GraphPlan<'_>,
        op: OpId,
        entry: ConstId,
        least: u64,
    ) -> bool {
        let pool = export.weights.pool;
        if pool.dtype(entry) == DType::Str
            || pool.byte_len(entry) < least.max(1)
            || is_short_list(pool, entry)
        {
            return false;
        }
        let offset = self.len.next_multiple_of(ALIGNMENT);
        self.len = offset + pool.byte_len(entry);
        let name = plan.name(plan.graph.result(op, 0)).to_owned();
        self.moved.push(Moved { key: (plan.view.index, op), entry, name, offset });
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.moved.is_empty()
    }

    /// What the file holds.
    pub(crate) fn content<'a>(&self, export: &Export<'a>) -> Content<'a> {
        let mut out = Content::new();
        for m in &self.moved {
            out.align(ALIGNMENT);
            out.produced(export.weights.chunks(m.entry, &m.name));
        }
        out
    }

    /// What the records say once the file has that name.
    pub(crate) fn references(&self, export: &Export<'_>, location: &str) -> Destinations {
        let outside = |m: &Moved| Outside {
            location: location.to_owned(),
            offset: m.offset,
            len: export.weights.pool.byte_len(m.entry),
        };
        let moved = self.moved.iter().map(|m| (m.key, Some(outside(m))));
        moved.chain(self.inlined.iter().map(|&key| (key, None))).collect()
    }
}

/// Locations that the records which stay as they are still name, those of training included.
pub(crate) fn locations(
    export: &Export<'_>,
    gone: &Destinations,
) -> Result<BTreeSet<String>, FrontendError> {
    let (found, model) = (Found::default(), export.model);
    for plan in export.plans.iter().flatten() {
        let stays = |number: u32, op: OpId| match plan.graph.kind(op) {
            OpKind::Constant(c) => {
                export.imported.constant(plan.view.index, number) == Some(c.entry)
                    && !gone.contains_key(&(plan.view.index, op))
            }
            _ => true,
        };
        let (view, table) = (plan.view, plan.table());
        for (i, rec) in table.initializers.iter().enumerate() {
            let origin = Origin::Initializer(i as u32);
            let stays = match plan.op(origin) {
                Some(op) => stays(table.number(origin), op),
                None => plan.kept.contains(&(i as u32)),
            };
            if stays {
                found.tensor(model.content(*rec)?)?;
            }
        }
        for (i, rec) in table.sparse_initializers.iter().enumerate() {
            let origin = Origin::SparseInitializer(i as u32);
            if plan.op(origin).is_some_and(|op| stays(table.number(origin), op)) {
                found.sparse(model.content(*rec)?)?;
            }
        }
        for i in 0..table.nodes.len() as u32 {
            if !plan.op(Origin::Node(i)).is_some_and(|op| stays(i, op)) {
                continue;
            }
            // Bodies have plans of their own.
            for a in view.node(i as usize)?.attributes.iter().filter(|a| holds_tensors(a.kind)) {
                found.attribute(a.content)?;
            }
        }
    }
    for function in &model.table.functions {
        for rec in &function.attribute_defaults {
            found.attribute(model.content(*rec)?)?;
        }
    }
    let mut fields = model.document().fields();
    while let Some(f) = fields.next()? {
        if f.number == TRAINING_INFO {
            found.training(f.bytes()?)?;
        }
    }
    Ok(found.take())
}

/// Whether tensors stand in the attribute itself.
fn holds_tensors(kind: AttributeKind) -> bool {
    use AttributeKind::*;
    matches!(kind, Tensor | Tensors | SparseTensor | SparseTensors | Undefined)
}
