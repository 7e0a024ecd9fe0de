//! A pass of one's own beside those of normfold: it is registered, named in a pipeline, and has an option.
//!
//! `cargo run -p normfold-driver --example own_pass`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use normfold_driver::{
    Driver, Input, RunOptions,
    ir::{BinaryKind, Graph, OpId, OpKind, OpSpec, RemarkKind},
    passes::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec, builtin, pass_options},
};
use std::error::Error;

pass_options! {
    /// Options of `double-to-add`.
    pub struct DoubleToAddOptions {
        /// Rewrite at most that many ops of each graph.
        at_most: u64 = u64::MAX,
    }
}

/// `x + x` for `x · 2`, as far as a constant says that it is 2.
struct DoubleToAdd {
    options: DoubleToAddOptions,
}

impl PassSpec for DoubleToAdd {
    type Options = DoubleToAddOptions;
    const INFO: PassInfo = PassInfo {
        name: "double-to-add",
        summary: "Write a product with 2 as a sum",
        description: "`x · 2` becomes `x + x`.",
        statistics: &[("rewritten", "products rewritten")],
        reasons: &[],
    };

    fn new(options: DoubleToAddOptions) -> Self {
        Self { options }
    }
}

impl Pass for DoubleToAdd {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let doubles: Vec<OpId> = graph.ops().filter(|&op| is_double(graph, cx, op)).collect();
        let mut changed = false;
        for op in doubles.into_iter().take(self.options.at_most.try_into().unwrap_or(usize::MAX)) {
            let Some(x) = graph.operand(op, 0) else { continue };
            let y = graph.result(op, 0);
            let sum =
                OpSpec::new(BinaryKind::Add).operand(x).operand(x).result(graph.ty(y).clone());
            let remark = cx.about(graph, op, RemarkKind::Passed, "rewritten", "x · 2 is x + x");
            // `None` once `--stop-after-rewrites` is reached.
            let Some(()) = cx.rewrite(graph, |rw| {
                let add = rw.create(sum, op);
                let sum = rw.graph().result(add, 0);
                rw.replace_op(op, &[sum]);
            }) else {
                break;
            };
            cx.remark(remark);
            cx.stat("rewritten", 1);
            changed = true;
        }
        Ok(PassOutcome::from_changed(changed))
    }
}

fn is_double(graph: &Graph, cx: &PassCx<'_>, op: OpId) -> bool {
    if !matches!(graph.kind(op), OpKind::Binary(BinaryKind::Mul)) {
        return false;
    }
    let Some(factor) = graph.operand(op, 1) else { return false };
    let OpKind::Constant(c) = graph.kind(factor.op) else { return false };
    cx.constants().count(c.entry) == 1
        && cx.constants().element_f64(c.entry, 0).is_ok_and(|v| v == 2.0)
}

const MODULE: &str = r#"module @example {
  graph @main(%x: tensor<1x4xf32>) -> (%y: tensor<1x4xf32>) {
    %two = constant dense<2.0> : tensor<1xf32>
    %d = mul %x, %two "double" : tensor<1x4xf32>
    %y = relu %d "act" : tensor<1x4xf32>
    return %y
  }
}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut registry = builtin();
    registry.register::<DoubleToAdd>();
    let driver = Driver::with_registry(registry);
    let pipeline = driver.parse_pipeline("double-to-add{at-most=10},dce")?;

    let mut opened = driver.open(Input::Text { name: "example".into(), text: MODULE.into() })?;
    let report = driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut [])?;
    for remark in &report.remarks {
        println!("{remark}");
    }
    println!("{}", opened.to_text(&Default::default())?);
    assert_eq!(report.passes[0].statistics["rewritten"], 1);
    Ok(())
}
