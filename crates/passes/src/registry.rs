//! Which passes and named pipelines there are: one explicit list, [`builtin`].

use crate::{
    canonicalize::Canonicalize,
    const_fold::ConstFold,
    cse::Cse,
    dce::Dce,
    fold_bn::FoldBn,
    infer_shapes::InferShapes,
    lower_bn::LowerBn,
    merge_parallel_linear::MergeParallelLinear,
    options::{OptionError, OptionInfo, PassOptions},
    pass::{Pass, PassInfo, PassSpec},
    pipeline::PassCall,
};
use indexmap::IndexMap;
use std::fmt;

/// The passes and named pipelines of normfold.
///
/// A new pass is one `register` line here.
pub fn builtin() -> PassRegistry {
    let mut registry = PassRegistry::default();
    registry.register::<FoldBn>();
    registry.register::<MergeParallelLinear>();
    registry.register::<LowerBn>();
    registry.register::<Canonicalize>();
    registry.register::<ConstFold>();
    registry.register::<Cse>();
    registry.register::<Dce>();
    registry.register::<InferShapes>();
    registry.pipeline("default", "fold-bn,dce", "What `normfold opt` runs");
    registry.pipeline(
        "simplify",
        "fixpoint(canonicalize,const-fold,fold-bn,cse,dce)",
        "Fold and tidy up: fewer nodes that compute the same",
    );
    registry
}

/// One registered pass.
#[derive(Clone)]
pub struct PassEntry {
    /// Its name and documentation.
    pub info: PassInfo,
    /// Its options.
    pub options: Vec<OptionInfo>,
    call: MakeCall,
}

/// From settings to a call, or to the position of the wrong setting and what is wrong.
type MakeCall = fn(&[Setting]) -> Result<PassCall, (usize, OptionError)>;

/// An option as it stands in a pipeline text.
pub(crate) type Setting = (String, Option<String>);

impl PassEntry {
    /// A call with these settings; the error names the setting by position.
    pub(crate) fn call(&self, settings: &[Setting]) -> Result<PassCall, (usize, OptionError)> {
        (self.call)(settings)
    }
}

impl fmt::Debug for PassEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassEntry").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A named pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedPipeline {
    /// What the name stands for, as pipeline text.
    pub text: String,
    /// One line, without a full stop.
    pub summary: String,
}

/// The passes and named pipelines that pipeline text can name.
#[derive(Clone, Debug, Default)]
pub struct PassRegistry {
    passes: IndexMap<&'static str, PassEntry>,
    pipelines: IndexMap<String, NamedPipeline>,
}

impl PassRegistry {
    /// Adds a pass; it takes the place of one with its name.
    pub fn register<P: PassSpec>(&mut self) -> &mut Self {
        let call = |settings: &[Setting]| {
            let mut options = P::Options::default();
            for (i, (name, value)) in settings.iter().enumerate() {
                options.set(name, value.as_deref()).map_err(|e| (i, e))?;
            }
            Ok(PassCall::of::<P>(options))
        };
        let entry = PassEntry { info: P::INFO, options: P::Options::options(), call };
        self.passes.insert(P::INFO.name, entry);
        self
    }

    /// Names a pipeline. The text is read when the name is used, so it may name passes that are registered later.
    pub fn pipeline(&mut self, name: &str, text: &str, summary: &str) -> &mut Self {
        let named = NamedPipeline { text: text.to_owned(), summary: summary.to_owned() };
        self.pipelines.insert(name.to_owned(), named);
        self
    }

    /// The passes, in the order of registration.
    pub fn passes(&self) -> impl ExactSizeIterator<Item = &PassEntry> {
        self.passes.values()
    }

    /// The pass of that name.
    pub fn pass(&self, name: &str) -> Option<&PassEntry> {
        self.passes.get(name)
    }

    /// The named pipelines, in the order of registration.
    pub fn pipelines(&self) -> impl ExactSizeIterator<Item = (&str, &NamedPipeline)> {
        self.pipelines.iter().map(|(n, p)| (&**n, p))
    }

    /// The named pipeline of that name.
    pub fn named(&self, name: &str) -> Option<&NamedPipeline> {
        self.pipelines.get(name)
    }

    /// An instance of the pass of that name with default options, e.g. to run it on one graph.
    pub fn instance(&self, name: &str) -> Option<Box<dyn Pass>> {
        Some(self.pass(name)?.call(&[]).ok()?.instance())
    }
}
