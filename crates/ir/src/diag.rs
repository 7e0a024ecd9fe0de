//! Diagnostics (the input or the compiler is wrong) and remarks (what an optimization did, or why not).

use crate::OpId;
use std::{fmt, sync::Arc};

/// How bad a diagnostic is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Nothing can go on.
    Error,
    /// Worth knowing.
    Warning,
}

/// Something wrong with the input.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Where: a name in the source.
    pub location: Arc<str>,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}: {}", self.location, self.message)
    }
}

/// What a remark tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemarkKind {
    /// A transformation was applied.
    Passed,
    /// A transformation was not applied, and why.
    Missed,
    /// A transformation was due and failed.
    Failure,
    /// A fact found on the way.
    Analysis,
}

impl RemarkKind {
    /// The lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            RemarkKind::Passed => "passed",
            RemarkKind::Missed => "missed",
            RemarkKind::Failure => "failure",
            RemarkKind::Analysis => "analysis",
        }
    }
}

/// The value of a remark's argument. Small: there may be a dozen for each of a hundred thousand remarks.
#[derive(Clone, PartialEq, Debug)]
pub enum RemarkArg {
    /// A number.
    Float(f64),
    /// A count.
    Int(i64),
    /// Text.
    Str(Arc<str>),
    /// Several texts.
    List(Box<[Arc<str>]>),
    /// Several numbers.
    Floats(Box<[f64]>),
}

impl fmt::Display for RemarkArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemarkArg::Float(v) => write!(f, "{v:.3e}"),
            RemarkArg::Int(v) => write!(f, "{v}"),
            RemarkArg::Str(s) => f.write_str(s),
            RemarkArg::List(l) => f.write_str(&l.join(", ")),
            RemarkArg::Floats(l) => write!(f, "{} values", l.len()),
        }
    }
}

/// What an optimization did to one op, or why it did not.
#[derive(Clone, PartialEq, Debug)]
pub struct Remark {
    /// What it tells.
    pub kind: RemarkKind,
    /// The pass, in its pipeline name.
    pub pass: &'static str,
    /// The graph.
    pub graph: Arc<str>,
    /// The op's mnemonic.
    pub op: Arc<str>,
    /// The op's name in the source.
    pub location: Arc<str>,
    /// The stable name of what was done or of the reason.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Further facts by name, in order.
    pub args: Vec<(&'static str, RemarkArg)>,
    /// The ops of the graph that took part and that names may not tell apart, e.g. those that a fold changed.
    pub ops: Vec<OpId>,
}

impl Remark {
    /// The argument of that name.
    pub fn arg(&self, name: &str) -> Option<&RemarkArg> {
        self.args.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}: {}: {}", self.pass, self.op, self.location, self.code, self.message)
    }
}
