//! Folds given pairs of a linear op and a batch norm, and says what became of each.
//!
//! `cargo run -p normfold-driver --example fold_given_pairs`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use normfold_driver::{
    Driver, DriverError, Input, RunOptions,
    passes::{Dce, FoldBn, FoldBnOptions, NoOptions, Pairs, Pipeline},
};

const MODEL: &str = r#"module @example {
  graph @main(%x: tensor<1x2xf32>) -> (%y: tensor<1x2xf32>) {
    %w1 = constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<2x2xf32>
    %w2 = constant dense<[0.5, 0.0, 0.0, 0.5]> : tensor<2x2xf32>
    %one = constant splat<1.0> : tensor<2xf32>
    %zero = constant splat<0.0> : tensor<2xf32>
    %a = linear %x, %w1 "fc1" : tensor<1x2xf32>
    %b = batch_norm %a, %one, %one, %zero, %one "bn1" : tensor<1x2xf32>
    %c = linear %b, %w2 "fc2" : tensor<1x2xf32>
    %y = batch_norm %c, %one, %one, %zero, %one "bn2" : tensor<1x2xf32>
    return %y
  }
}
"#;

fn main() -> Result<(), DriverError> {
    let driver = Driver::new();
    let mut opened = driver.open(Input::Text { name: "example".into(), text: MODEL.into() })?;
    // bn1 could go either way; the pair has it go forward. bn2 is not asked for, and bn3 is not there.
    let pairs = Pairs::new([("fc2", "bn1"), ("fc2", "bn3")]);
    let options = FoldBnOptions { pairs, ..FoldBnOptions::default() };
    let pipeline = Pipeline::new().with::<FoldBn>(options).with::<Dce>(NoOptions);
    let report = driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut [])?;
    for remark in &report.remarks {
        println!("{remark}");
    }
    Ok(())
}
