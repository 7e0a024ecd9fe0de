//! Remarks: what became of a root.

use super::{
    affine::Parameters,
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
        [first, second] => format!("{first} and {second}"),
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
    // With room for what the certificate adds: there may be a hundred thousand of these.
    r.args = Vec::with_capacity(15);
    r.args.extend([
        ("into", RemarkArg::Str(first(&into, |b| &b.location))),
        ("into-op", RemarkArg::Str(first(&into, |b| &b.op))),
        ("absorbers", RemarkArg::List(into.iter().map(|b| b.location.clone()).collect())),
        ("direction", direction(found)),
        ("through", RemarkArg::List(via.into())),
        ("copied", RemarkArg::List(found.copied.as_slice().into())),
        ("scale-min", RemarkArg::Float(magnitudes().fold(f64::INFINITY, f64::min))),
        ("scale-max", RemarkArg::Float(magnitudes().fold(0.0, f64::max))),
        ("cancellation", RemarkArg::Float(found.cancellation)),
        ("gamma", RemarkArg::Floats(found.parameters.gamma.as_slice().into())),
        ("beta", RemarkArg::Floats(found.parameters.beta.as_slice().into())),
        ("composed", composed(g, root, found)),
    ]);
    r.ops = ops(found);
    r
}

/// The linear ops and batch norms that change.
fn ops(found: &Found) -> Vec<OpId> {
    found.plan.absorbed.iter().map(|a| a.op).collect()
}

/// The other ops that go: batch norms and arithmetic on the way.
fn composed(g: &Graph, root: OpId, found: &Found) -> RemarkArg {
    let others = found.plan.bypassed.iter().filter(|b| b.0 != root);
    RemarkArg::List(others.map(|b| Blocker::of(g, b.0).to_string().into()).collect())
}

/// The remark of a root that goes where `with` goes; `own` is what it does by itself.
pub(super) fn along(
    cx: &PassCx<'_>,
    g: &Graph,
    root: OpId,
    with: OpId,
    found: &Found,
    own: (&[f64], Parameters),
) -> Remark {
    let into = absorbers(g, found);
    let message = format!("into {}, together with {}", names(&into), Blocker::of(g, with));
    let mut r = cx.about(g, root, RemarkKind::Passed, "folded", message);
    let (s, Parameters { gamma, beta }) = own;
    r.args = vec![
        ("into", RemarkArg::Str(first(&into, |b| &b.location))),
        ("into-op", RemarkArg::Str(first(&into, |b| &b.op))),
        ("absorbers", RemarkArg::List(into.iter().map(|b| b.location.clone()).collect())),
        ("direction", direction(found)),
        ("with", RemarkArg::Str(g.location(with))),
        ("scale-min", RemarkArg::Float(s.iter().fold(f64::INFINITY, |m, s| m.min(s.abs())))),
        ("scale-max", RemarkArg::Float(s.iter().fold(0.0, |m, s| m.max(s.abs())))),
        ("gamma", RemarkArg::Floats(gamma.into())),
        ("beta", RemarkArg::Floats(beta.into())),
    ];
    r.ops = ops(found);
    r
}

/// A property of the first op, or nothing.
fn first(list: &[Blocker], of: fn(&Blocker) -> &Arc<str>) -> Arc<str> {
    list.first().map(of).cloned().unwrap_or_default()
}

pub(super) fn kept(cx: &PassCx<'_>, g: &Graph, root: OpId, reason: &FoldReason) -> Remark {
    let mut r = cx.about(g, root, RemarkKind::Missed, reason.code(), reason.to_string());
    if let FoldReason::Carried { .. } = reason {
        r.op = "batch_norm".into();
    }
    if let Some(b) = reason.blocker() {
        r.args.push(("blocker", RemarkArg::Str(b.location.clone())));
        r.args.push(("blocker-op", RemarkArg::Str(b.op.clone())));
    }
    r.args.push(("unlock", RemarkArg::Str(reason.unlock().into())));
    r
}
