//! What watches a pipeline run: timers, printers, reproducers.

use crate::{PassCall, PassError};
use normfold_ir::Module;

/// One run of one pass over the module.
#[derive(Clone, Debug)]
pub struct PassRun {
    /// The pass.
    pub name: &'static str,
    /// The pass with its options; `Display` is its pipeline text.
    pub call: PassCall,
    /// Its position among the passes of the pipeline text.
    pub position: usize,
    /// The how manieth run of that position, from 1: above 1 in a fixpoint only.
    pub run: u64,
}

/// Is told of every pass of a pipeline. Every method does nothing unless defined.
///
/// What has to know the module as it was before a failure keeps a copy from `before_pass`: constants are shared, so a copy
/// costs the graphs.
pub trait Instrumentation {
    /// A pass is about to run.
    fn before_pass(&mut self, run: &PassRun, module: &Module) {
        let _ = (run, module);
    }

    /// A pass ran; `changed` is what it says of itself.
    fn after_pass(&mut self, run: &PassRun, module: &Module, changed: bool) {
        let _ = (run, module, changed);
    }

    /// A pass failed. The module may be in any state and is not shown.
    fn failed(&mut self, run: &PassRun, error: &PassError) {
        let _ = (run, error);
    }
}
