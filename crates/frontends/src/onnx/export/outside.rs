//! Data outside the model file: what moves there, and what must stay within reach.

use super::{
    Export, GraphPlan,
    graph::{constant_tensor, is_external},
};
use crate::{
    FrontendError,
    onnx::{
        model::{AttributeKind, Origin, Storage, TensorView},
        writer::tensor::Outside,
    },
    save::Content,
};
use normfold_ir::{ConstId, DType, OpId, OpKind};
use std::collections::{BTreeSet, HashMap};

/// Tensors below this stay in the model file.
const SMALL: u64 = 1 << 10;
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
    len: u64,
}

impl NewFile {
    /// Rewritten tensors that were external stay so; `everything` moves all other large ones, too.
    pub(crate) fn plan(export: &Export<'_>, everything: bool) -> Result<Self, FrontendError> {
        let mut file = Self::default();
        for plan in export.plans.iter().flatten() {
            for (number, op) in plan.by_record.iter().enumerate() {
                if let Some(op) = *op {
                    file.consider(export, plan, number as u32, op, everything)?;
                }
            }
            if everything {
                for &op in plan.nodes.iter().chain(&plan.constants) {
                    if let OpKind::Constant(c) = plan.graph.kind(op) {
                        file.push(export, plan, op, c.entry);
                    }
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
        everything: bool,
    ) -> Result<(), FrontendError> {
        let OpKind::Constant(c) = plan.graph.kind(op) else { return Ok(()) };
        let changed = export.imported.constant(plan.view.index, number) != Some(c.entry);
        if !changed && !everything {
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
        let moves = if everything { changed || !external } else { external };
        if moves {
            self.push(export, plan, op, c.entry);
        }
        Ok(())
    }

    fn push(&mut self, export: &Export<'_>, plan: &GraphPlan<'_>, op: OpId, entry: ConstId) {
        let pool = export.weights.pool;
        if pool.dtype(entry) == DType::Str || pool.byte_len(entry) < SMALL {
            return;
        }
        let offset = self.len.next_multiple_of(ALIGNMENT);
        self.len = offset + pool.byte_len(entry);
        let name = plan.name(plan.graph.result(op, 0)).to_owned();
        self.moved.push(Moved { key: (plan.view.index, op), entry, name, offset });
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
    pub(crate) fn references(
        &self,
        export: &Export<'_>,
        location: &str,
    ) -> HashMap<(u32, OpId), Outside> {
        let outside = |m: &Moved| Outside {
            location: location.to_owned(),
            offset: m.offset,
            len: export.weights.pool.byte_len(m.entry),
        };
        self.moved.iter().map(|m| (m.key, outside(m))).collect()
    }
}

/// Locations that the records which stay as they are still name.
pub(crate) fn locations(export: &Export<'_>) -> Result<BTreeSet<String>, FrontendError> {
    let mut found = BTreeSet::new();
    let mut note = |tensor: &TensorView<'_>| {
        if let Storage::External(entries) = &tensor.storage {
            found.extend(
                entries.iter().filter(|(k, _)| *k == "location").map(|(_, v)| (*v).to_owned()),
            );
        }
    };
    for plan in export.plans.iter().flatten() {
        let stays = |number: u32, op: OpId| match plan.graph.kind(op) {
            OpKind::Constant(c) => {
                export.imported.constant(plan.view.index, number) == Some(c.entry)
            }
            _ => true,
        };
        for i in 0..plan.table().initializers.len() as u32 {
            let origin = Origin::Initializer(i);
            let stays = match plan.op(origin) {
                Some(op) => stays(plan.table().number(origin), op),
                None => plan.kept.contains(&i),
            };
            if stays {
                note(&plan.view.initializer(i as usize)?);
            }
        }
        for i in 0..plan.table().nodes.len() as u32 {
            if !plan.op(Origin::Node(i)).is_some_and(|op| stays(i, op)) {
                continue;
            }
            for a in plan
                .view
                .node(i as usize)?
                .attributes
                .iter()
                .filter(|a| a.kind == AttributeKind::Tensor)
            {
                if let Some(t) = a.tensor()? {
                    note(&t);
                }
            }
        }
    }
    Ok(found)
}
