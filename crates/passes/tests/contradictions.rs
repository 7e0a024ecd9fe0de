//! Models that contradict themselves: no engine runs them, so golden cases cannot hold them.

use normfold_ir::text;
use normfold_passes::{ManagerOptions, PassManager, Pipeline, builtin};

#[test]
fn two_factors_for_three_channels_stay() {
    let source = r#"module @case {
  graph @main(%x: tensor<1x3x3x3xf32>) -> (%y: unknown) {
    %gamma = constant dense<[4.0, -1.0]> : tensor<2xf32>
    %r = relu %x : unknown
    %y = batch_norm %r, %gamma, %gamma, %gamma, %gamma {eps = 9.0} "bn" : unknown
    return %y
  }
}
"#;
    let mut module = text::parse(source).expect("a module");
    let pipeline = Pipeline::parse("lower-bn,const-fold,dce", &builtin()).expect("a pipeline");
    let manager = PassManager::new(ManagerOptions::default().verify_each(true));
    let report = manager.run(&pipeline, &mut module).expect("nothing is broken");
    assert!(!report.changed());
    let codes: Vec<&str> = report.remarks.iter().map(|r| r.code).collect();
    assert_eq!(codes, ["channel-mismatch"]);
}
