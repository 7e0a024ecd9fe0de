//! Pipelines: which passes run in which order, as a value and as text.
//!
//! ```text
//! pipeline := [item (',' item)*]
//! item     := NAME [options] | 'fixpoint' [options] '(' pipeline ')'
//! options  := '{' [option ((',' | blank) option)*] '}'
//! option   := KEY ['=' value]
//! value    := bare text without blanks , { } " '  |  text in " or ', where \ stands before " ' \
//! ```
//!
//! A NAME is a pass or a named pipeline, in whose place its passes stand. `fixpoint` runs its body until nothing changes,
//! at most `max` times.

mod parse;

pub use parse::{PipelineError, PipelineErrorKind};

use crate::{
    options::{PassOptions, write_settings},
    pass::{Pass, PassInfo, PassSpec},
    registry::PassRegistry,
};
use std::{fmt, sync::Arc};

/// How often a `fixpoint` runs its body unless `max` says otherwise.
pub const DEFAULT_ROUNDS: u64 = 16;

/// How deep `fixpoint` may nest, named pipelines included.
pub const MAX_DEPTH: usize = 32;

/// A pass with its options, ready to be run any number of times.
#[derive(Clone)]
pub struct PassCall {
    info: PassInfo,
    settings: Vec<(&'static str, String)>,
    make: Arc<dyn Fn() -> Box<dyn Pass> + Send + Sync>,
}

impl PassCall {
    /// Pass `P` with these options.
    pub fn of<P: PassSpec>(options: P::Options) -> Self {
        Self {
            info: P::INFO,
            settings: options.settings(),
            make: Arc::new(move || Box::new(P::new(options.clone()))),
        }
    }

    /// A pass that text cannot say, e.g. one that is given values of the embedder's program. `make` is called once per run.
    pub fn from_fn(
        info: PassInfo,
        make: impl Fn() -> Box<dyn Pass> + Send + Sync + 'static,
    ) -> Self {
        Self { info, settings: Vec::new(), make: Arc::new(make) }
    }

    /// The pass.
    pub fn info(&self) -> &PassInfo {
        &self.info
    }

    /// The options that differ from their default.
    pub fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// A fresh instance.
    pub fn instance(&self) -> Box<dyn Pass> {
        (self.make)()
    }
}

impl fmt::Debug for PassCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassCall({self})")
    }
}

/// Equal when they print alike.
impl PartialEq for PassCall {
    fn eq(&self, other: &Self) -> bool {
        self.info.name == other.info.name && self.settings == other.settings
    }
}

impl fmt::Display for PassCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.name)?;
        if self.settings.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        write_settings(f, &self.settings)?;
        f.write_str("}")
    }
}

/// A step of a pipeline.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// One pass.
    Pass(PassCall),
    /// A pipeline that runs until it changes nothing.
    Fixpoint {
        /// How often at most.
        max: u64,
        /// What runs.
        body: Pipeline,
    },
}

/// Which passes run, in which order. See the module documentation for the text form; `Display` prints it with named
/// pipelines expanded and defaults left out, and parsing that gives an equal pipeline.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pipeline {
    /// The steps.
    pub items: Vec<Item>,
}

impl Pipeline {
    /// A pipeline without passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pipeline that the text says.
    ///
    /// ```
    /// use normfold_passes::{Pipeline, builtin};
    ///
    /// let registry = builtin();
    /// let pipeline = Pipeline::parse(" fixpoint ( canonicalize, dce ) ", &registry).unwrap();
    /// assert_eq!(pipeline.to_string(), "fixpoint(canonicalize,dce)");
    ///
    /// let error = Pipeline::parse("canonicalize,dec", &registry).unwrap_err();
    /// assert_eq!((error.offset, error.len), (13, 3));
    /// assert_eq!(error.help.as_deref(), Some("did you mean `dce`?"));
    /// ```
    ///
    /// # Errors
    /// The text is no pipeline: where, and what would have been valid.
    pub fn parse(text: &str, registry: &PassRegistry) -> Result<Self, PipelineError> {
        parse::parse(text, registry)
    }

    /// Appends pass `P`.
    pub fn with<P: PassSpec>(self, options: P::Options) -> Self {
        self.then(PassCall::of::<P>(options))
    }

    /// Appends a pass.
    pub fn then(mut self, call: PassCall) -> Self {
        self.items.push(Item::Pass(call));
        self
    }

    /// Appends a pipeline that runs until it changes nothing, at most [`DEFAULT_ROUNDS`] times.
    pub fn fixpoint(mut self, body: Pipeline) -> Self {
        self.items.push(Item::Fixpoint { max: DEFAULT_ROUNDS, body });
        self
    }

    /// Whether there is no pass.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Every pass, in the order of the text.
    pub fn calls(&self) -> Vec<&PassCall> {
        let mut list = Vec::new();
        for item in &self.items {
            match item {
                Item::Pass(call) => list.push(call),
                Item::Fixpoint { body, .. } => list.extend(body.calls()),
            }
        }
        list
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match item {
                Item::Pass(call) => write!(f, "{call}")?,
                Item::Fixpoint { max, body } if *max == DEFAULT_ROUNDS => {
                    write!(f, "fixpoint({body})")?;
                }
                Item::Fixpoint { max, body } => write!(f, "fixpoint{{max={max}}}({body})")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
