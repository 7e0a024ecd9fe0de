//! Which constant a value is.

use super::reason::{Blocker, FoldReason, Role};
use normfold_ir::{Binding, ConstId, Graph, OpId, OpKind, Use, Value};

/// A value that is a constant.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The `constant` op.
    pub(super) op: OpId,
    /// Its pool entry.
    pub(super) entry: ConstId,
    /// Whether the reader is the only one that reads the constant, directly or through those identities.
    pub(super) exclusive: bool,
}

/// The constant that operand `at` reads, through identities.
///
/// Uses by `ignoring` do not count against exclusiveness: the op is about to be erased.
pub(super) fn resolve(
    g: &Graph,
    at: Use,
    what: Role,
    ignoring: OpId,
) -> Result<Option<Resolved>, FoldReason> {
    let Some(mut v) = g.operand(at.user, at.operand as usize) else { return Ok(None) };
    let mut u = at;
    let mut exclusive = true;
    loop {
        exclusive &= only_use(g, v, u, ignoring);
        match g.kind(v.op) {
            OpKind::Constant(c) => {
                let name = || g.location(v.op);
                return match c.binding {
                    Binding::Fixed => Ok(Some(Resolved { op: v.op, entry: c.entry, exclusive })),
                    Binding::Overridable => {
                        Err(FoldReason::OverridableInput { what, name: name() })
                    }
                    Binding::Mutable => Err(FoldReason::MutableState { what, name: name() }),
                };
            }
            OpKind::Identity(_) => {
                u = Use { user: v.op, operand: 0 };
                match g.operand(v.op, 0) {
                    Some(source) => v = source,
                    None => {
                        return Err(FoldReason::NotConstant {
                            what,
                            blocker: Blocker::of(g, v.op),
                        });
                    }
                }
            }
            OpKind::Parameter(p) if p.capture => {
                let what = format!("the {what} is captured from the enclosing graph").into();
                return Err(FoldReason::RegionBoundary { what });
            }
            OpKind::Dequantize(_) => {
                return Err(FoldReason::Quantized { blocker: Blocker::of(g, v.op) });
            }
            _ => return Err(FoldReason::NotConstant { what, blocker: Blocker::of(g, v.op) }),
        }
    }
}

fn only_use(g: &Graph, v: Value, u: Use, ignoring: OpId) -> bool {
    g.value_uses(v).all(|w| w == u || w.user == ignoring)
}
