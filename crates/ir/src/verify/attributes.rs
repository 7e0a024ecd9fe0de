//! Invariant 13: attributes that make sense.

use super::Verifier;
use crate::{Graph, OpId, OpKind, Padding};

impl Verifier<'_> {
    pub(super) fn attributes(&mut self, g: &Graph, op: OpId) {
        let mut wrong: Vec<String> = Vec::new();
        match g.kind(op) {
            OpKind::Conv(k) => {
                window(&mut wrong, k.x.spatial, &k.strides, &k.dilations, &k.pad);
                if k.groups == 0 {
                    wrong.push("`groups` is 0".into());
                }
                if k.w.spatial != k.x.spatial {
                    wrong.push("`x` and `w` have different numbers of spatial axes".into());
                }
            }
            OpKind::ConvTranspose(k) => {
                window(&mut wrong, k.x.spatial, &k.strides, &k.dilations, &k.pad);
                length(&mut wrong, "output_padding", k.output_padding.len(), k.x.spatial);
                length(&mut wrong, "output_shape", k.output_shape.len(), k.x.spatial);
                if k.groups == 0 {
                    wrong.push("`groups` is 0".into());
                }
                if k.w.spatial != k.x.spatial {
                    wrong.push("`x` and `w` have different numbers of spatial axes".into());
                }
            }
            OpKind::Pool(k) => {
                window(&mut wrong, k.x.spatial, &k.strides, &k.dilations, &k.pad);
                if k.kernel.len() != usize::from(k.x.spatial) || k.kernel.contains(&0) {
                    wrong.push("`kernel` is no window".into());
                }
            }
            OpKind::Transpose(k) => {
                let mut seen = vec![false; k.perm.len()];
                let once = |&p: &i64| {
                    let place = usize::try_from(p).ok().and_then(|p| seen.get_mut(p));
                    place.is_some_and(|s| !std::mem::replace(s, true))
                };
                if !k.perm.iter().all(once) {
                    wrong.push("`perm` is no permutation".into());
                }
            }
            OpKind::DepthToSpace(k) if k.block == 0 => wrong.push("`block` is 0".into()),
            OpKind::SpaceToDepth(k) if k.block == 0 => wrong.push("`block` is 0".into()),
            OpKind::Slice(k) => {
                let lens = [&k.starts, &k.ends, &k.axes].map(|l| l.as_ref().map(Vec::len));
                let mut given = lens.into_iter().flatten();
                let first = given.next();
                if given.any(|n| Some(n) != first) {
                    wrong.push("`starts`, `ends` and `axes` have different lengths".into());
                }
            }
            OpKind::Split(k) if k.sizes.as_ref().is_some_and(|s| s.len() != g.num_results(op)) => {
                wrong.push("`sizes` are not as many as the results".into());
            }
            OpKind::ConstantOfShape(k) => {
                let pool = &self.module.constants;
                if k.value.is_some_and(|v| v.index() < pool.len() && pool.count(v) != 1) {
                    wrong.push("`value` is not one element".into());
                }
            }
            _ => {}
        }
        for message in wrong {
            self.op_error(13, g, op, message);
        }
    }
}

fn length(wrong: &mut Vec<String>, name: &str, len: usize, spatial: u8) {
    if len != 0 && len != usize::from(spatial) {
        wrong.push(format!("`{name}` has {len} entries for {spatial} spatial axes"));
    }
}

fn window(wrong: &mut Vec<String>, spatial: u8, strides: &[u64], dilations: &[u64], pad: &Padding) {
    for (name, list) in [("strides", strides), ("dilations", dilations)] {
        length(wrong, name, list.len(), spatial);
        if list.contains(&0) {
            wrong.push(format!("`{name}` has a 0"));
        }
    }
    if let Padding::Explicit(p) = pad {
        length(wrong, "pad", p.len(), spatial);
    }
}
