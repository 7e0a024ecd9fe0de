//! Remarks: what became of a root.

use super::{
    reason::{Blocker, FoldReason},
    search::Found,
};
use crate::PassCx;
use normfold_ir::{Graph, OpId, Reason, Remark, RemarkArg, RemarkKind};
use std::sync::Arc;

/// Which way a fold went.
fn direction(found: &Found) -> RemarkArg {
    let name = match found {
        Found { forward: true, .. } => "forward",
        Found { sideways: true, .. } => "sideways",
        _ => "backward",
    };
    RemarkArg::Str(name.into())
}

fn absorbers(g: &Graph, found: &Found) -> Vec<Blocker> {
    found.plan.absorbed.iter().map(|a| Blocker::of(g, a.op)).collect()
}

fn names(list: &[Blocker]) -> String {
    match list {
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    }
}

pub(super) fn folded(cx: &PassCx<'_>, g: &Graph, root: OpId, found: &Found) -> Remark {
    let into = absorbers(g, found);
    let via: Vec<Arc<str>> =
        found.via.iter().map(|&v| Blocker::of(g, v).to_string().into()).collect();
    let through =
        if via.is_empty() { String::new() } else { format!(" through {}", via.join(", ")) };
    let copied = match found.copied.as_slice() {
        [] => String::new(),
        names => format!(", with its own copy of {}", names.join(", ")),
    };
    let empty = Vec::new();
    let own = found.own.as_ref().map_or(&empty, |a| &a.s);
    let magnitudes = || own.iter().map(|s| s.abs());
    let message = format!("into {}{through}{copied}", names(&into));
    let mut r = cx.about(g, root, RemarkKind::Passed, "folded", message);
    let first = |f: fn(&Blocker) -> Arc<str>| into.first().map(f).unwrap_or_default();
    r.args = vec![
        ("into", RemarkArg::Str(first(|b| b.location.clone()))),
        ("into-op", RemarkArg::Str(first(|b| b.op.clone()))),
        ("absorbers", RemarkArg::List(into.iter().map(|b| b.location.clone()).collect())),
        ("direction", direction(found)),
        ("through", RemarkArg::List(via)),
        ("copied", RemarkArg::List(found.copied.clone())),
        ("scale-min", RemarkArg::Float(magnitudes().fold(f64::INFINITY, f64::min))),
        ("scale-max", RemarkArg::Float(magnitudes().fold(0.0, f64::max))),
        ("cancellation", RemarkArg::Float(found.cancellation)),
        ("gamma", RemarkArg::Floats(found.parameters.gamma.clone())),
        ("beta", RemarkArg::Floats(found.parameters.beta.clone())),
    ];
    r
}

/// The remark of a root that goes where `with` goes.
pub(super) fn along(cx: &PassCx<'_>, g: &Graph, root: OpId, with: OpId, found: &Found) -> Remark {
    let into = absorbers(g, found);
    let message = format!("into {}, together with {}", names(&into), Blocker::of(g, with));
    let mut r = cx.about(g, root, RemarkKind::Passed, "folded", message);
    let location = into.first().map(|b| b.location.clone()).unwrap_or_default();
    r.args = vec![
        ("into", RemarkArg::Str(location)),
        ("direction", direction(found)),
        ("with", RemarkArg::Str(g.location(with))),
    ];
    r
}

pub(super) fn kept(cx: &PassCx<'_>, g: &Graph, root: OpId, reason: &FoldReason) -> Remark {
    let mut r = cx.about(g, root, RemarkKind::Missed, reason.code(), reason.to_string());
    if let Some(b) = reason.blocker() {
        r.args.push(("blocker", RemarkArg::Str(b.location.clone())));
        r.args.push(("blocker-op", RemarkArg::Str(b.op.clone())));
    }
    r.args.push(("unlock", RemarkArg::Str(reason.unlock().into())));
    r
}
