//! What holds of every module that was accepted, wherever it came from.

use normfold_ir::{
    Module,
    text::{self, PrintOptions, Weights},
    verify,
};
use normfold_passes::{ManagerOptions, PassManager, PassRegistry, Pipeline, builtin};
use std::sync::OnceLock;

/// The pipelines that every module goes through.
pub(crate) const PIPELINES: [&str; 2] = ["fold-bn,dce", "simplify"];

/// The passes there are.
pub(crate) fn registry() -> &'static PassRegistry {
    static REGISTRY: OnceLock<PassRegistry> = OnceLock::new();
    REGISTRY.get_or_init(builtin)
}

/// What is printed is parsed as the same.
pub(crate) fn round_trip(module: &Module, weights: Weights) {
    let options = PrintOptions { weights };
    let Ok(once) = text::print(module, &options) else {
        panic!("an accepted module cannot be printed");
    };
    let parsed = text::parse(&once).unwrap_or_else(|e| panic!("{e} at {:?} in\n{once}", e.span));
    let again = text::print(&parsed, &options).unwrap_or_else(|e| panic!("{e} in\n{once}"));
    assert_eq!(once, again, "the text form does not round-trip");
}

/// The module after a pipeline.
pub(crate) fn passes(module: &Module, text: &str) -> Module {
    let pipeline = Pipeline::parse(text, registry()).unwrap_or_else(|e| panic!("{e}"));
    let mut module = module.clone();
    let options = ManagerOptions::default().verify_each(true);
    if let Err(e) = PassManager::new(options).run(&pipeline, &mut module) {
        panic!("{text}: {e}");
    }
    module
}

/// The module keeps the invariants of the IR.
pub(crate) fn valid(module: &Module, what: &str) {
    if let Err(e) = verify(module) {
        panic!("{what} is invalid:\n{e}");
    }
}
