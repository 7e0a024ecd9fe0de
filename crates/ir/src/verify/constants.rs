//! Invariants 17 and 18: entries of the constant pool.

use super::Verifier;
use crate::{
    Attribute, ConstData, ConstId, DType, ElementMap, Graph, OpId, OpKind, Step, TensorType,
};

impl Verifier<'_> {
    pub(super) fn constants(&mut self, g: &Graph, op: OpId) {
        match g.kind(op) {
            OpKind::Constant(c) => self.entry(g, op, c.entry),
            OpKind::ConstantOfShape(c) => {
                c.value.into_iter().for_each(|v| self.entry(g, op, v));
            }
            OpKind::Opaque(o) => o.attrs.values().for_each(|a| self.attribute(g, op, a)),
            _ => {}
        }
    }

    fn attribute(&mut self, g: &Graph, op: OpId, attribute: &Attribute) {
        match attribute {
            Attribute::Tensor(id) => self.entry(g, op, *id),
            Attribute::List(items) => items.iter().for_each(|a| self.attribute(g, op, a)),
            _ => {}
        }
    }

    fn entry(&mut self, g: &Graph, op: OpId, id: ConstId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            match self.checked.get_mut(id.index()) {
                None => self.op_error(17, g, op, "names an entry that the pool does not have"),
                Some(true) => {}
                Some(unseen) => {
                    *unseen = true;
                    if let ConstData::Derived(d) = &self.module.constants.entry(id).data {
                        stack.extend(d.sources());
                    }
                    if let Err((rule, message)) = self.sound(id) {
                        self.op_error(rule, g, op, message);
                    }
                }
            }
        }
    }

    fn sound(&self, id: ConstId) -> Result<(), (u32, String)> {
        let pool = &self.module.constants;
        let e = pool.entry(id);
        let ty = &e.ty;
        let size = Err((17, format!("a {ty} is too large")));
        let Some(count) = count(ty) else { return size };
        // Elements are counted and addressed in bits on the way.
        let bytes = match ty.dtype.bytes_for(count) {
            Some(n) => n,
            None if ty.dtype == DType::Str => 0,
            None => return size,
        };
        let is_text = ty.dtype == DType::Str;
        let (what, has, wants) = match &e.data {
            ConstData::Strings(list) if is_text => ("strings", list.len() as u64, count),
            ConstData::Absent { .. } | ConstData::Derived(_) => ("", 0, 0),
            ConstData::Strings(_) => return Err((17, format!("strings are no {ty}"))),
            _ if is_text => return Err((17, format!("bytes are no {ty}"))),
            ConstData::Owned(b) => ("bytes", b.len() as u64, bytes),
            ConstData::Splat(b) => {
                ("bytes of one element", b.len() as u64, u64::from(ty.dtype.bits().div_ceil(8)))
            }
            ConstData::Mapped { source, offset } => {
                let end = offset.checked_add(bytes);
                if end.is_none_or(|end| end > source.len()) {
                    let message = format!("{bytes} bytes from {offset} on are beyond the source");
                    return Err((17, message));
                }
                ("", 0, 0)
            }
        };
        if has != wants {
            return Err((17, format!("{has} {what} for a {ty}, which has {wants}")));
        }
        match &e.data {
            ConstData::Derived(_) => self.derived(id),
            _ => Ok(()),
        }
    }

    fn derived(&self, id: ConstId) -> Result<(), (u32, String)> {
        let pool = &self.module.constants;
        let ConstData::Derived(d) = &pool.entry(id).data else { return Ok(()) };
        if d.sources().any(|s| s.index() >= pool.len()) {
            return Ok(());
        }
        let mut dims = pool.dims(d.base());
        for step in d.steps() {
            match step {
                Step::Scale { map, factors: v } | Step::Shift { map, addends: v } => {
                    let within = largest(map).zip(count(pool.ty(*v))).is_some_and(|(c, n)| c < n);
                    if !within && dims.iter().all(|&d| d > 0) {
                        return Err((
                            18,
                            format!("a map reaches beyond its vector, a {}", pool.ty(*v)),
                        ));
                    }
                }
                Step::Scatter { positions, addends } => {
                    let n = dims.iter().product();
                    if !crate::constant::scatters(pool, *positions, *addends, n) {
                        return Err((18, "positions that are scattered to do not fit".into()));
                    }
                }
                Step::Embed { source, offset, .. } => {
                    let dtype = pool.dtype(d.base());
                    if !crate::constant::embeds(pool, *source, offset, dtype, &dims) {
                        let small = pool.ty(*source);
                        let message = format!("a {small} at {offset:?} is not within {dims:?}");
                        return Err((18, message));
                    }
                }
                Step::Broadcast { dims: to } => {
                    let fits = to.len().checked_sub(dims.len()).is_some_and(|lead| {
                        dims.iter().zip(&to[lead..]).all(|(&f, &t)| f == 1 || f == t)
                    });
                    if !fits {
                        return Err((18, format!("{dims:?} does not broadcast to {to:?}")));
                    }
                    dims.clone_from(to);
                }
            }
        }
        let ty = TensorType::of(pool.dtype(d.base()), &dims);
        if ty != *pool.ty(id) {
            return Err((18, format!("a {} is derived as a {ty}", pool.ty(id))));
        }
        Ok(())
    }
}

fn count(ty: &TensorType) -> Option<u64> {
    ty.static_dims()?.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
}

/// The largest channel that a map gives; `None` where it is none at all.
fn largest(map: &ElementMap) -> Option<u64> {
    map.terms().iter().try_fold(0u64, |sum, t| {
        let last = t.size.checked_sub(1)?.checked_div(t.div)?;
        (t.stride > 0).then_some(())?;
        sum.checked_add(last.checked_mul(t.mul)?)
    })
}
