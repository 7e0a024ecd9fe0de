//! Small models that cost exponential or quadratic time where nothing bounds it: `opt` and `explain` end in seconds.

use crate::{
    Place,
    model::{Message, graph, model, node, tensor},
};
use std::time::{Duration, Instant};

/// What a run takes where nothing is wrong is a hundredth of this.
const LONGEST: Duration = Duration::from_secs(60);

const STEPS: usize = 100;

/// `a0`, which is `from`, and so on: each the op of the one before with itself.
fn doubled(op: &str, from: &str, a: &str) -> Vec<Message> {
    let name = |i: usize| if i == 0 { from.to_owned() } else { format!("{a}{i}") };
    let step = |i: usize| {
        let (x, y) = (name(i), name(i + 1));
        node(op, &y, &[&x, &x], &[&y])
    };
    (0..STEPS).map(step).collect()
}

/// A convolution and a batch norm, with those nodes before the op that reads what they make.
fn conv_bn(nodes: Vec<Message>, conv: [&str; 2], norm: &[&str; 5]) -> Vec<u8> {
    let on_data = norm[0] != "c";
    let conv = node("Conv", "conv", &conv, &["c"]);
    let norm = node("BatchNormalization", "bn", norm, &["y"]);
    let two = |name: &str, a: f32, b: f32| tensor(name, &[2], &[a, b]);
    let tiny = 2f32.powi(-100);
    let initializers = [
        tensor("w", &[2, 2, 1, 1], &[0.5, -1.0, 0.25, 2.0]),
        tensor("u", &[2, 2, 1, 1], &[0.5 * tiny, -tiny, 0.25 * tiny, 2.0 * tiny]),
        two("scale", 1.5, 0.5),
        two("bias", 0.125, -0.25),
        two("mean", 0.1, -0.2),
        two("var", 0.9, 1.1),
        two("tiny", 1.5 * tiny, 0.5 * tiny),
        two("one", 1.0, 1.0),
    ];
    let (first, last) = if on_data { (vec![conv], nodes) } else { (nodes, vec![conv]) };
    model(graph(&[first, last, vec![norm]].concat(), &initializers))
}

fn ends(model: &[u8], folded: &str) {
    let place = Place::new();
    place.write("m.onnx", model);
    for args in [&["opt", "m.onnx", "-o", "out.onnx"][..], &["explain", "m.onnx"]] {
        let start = Instant::now();
        let outcome = place.run(args);
        assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.stderr);
        assert!(start.elapsed() < LONGEST, "{args:?}: {:?}", start.elapsed());
        if args[0] == "opt" {
            let said = outcome.stdout.lines().next().unwrap_or_default();
            assert!(said.contains(folded), "{}{}", outcome.stdout, outcome.stderr);
            // However often an element is read, its certificate has to say something.
            if folded.starts_with("folded 1") {
                let bound = outcome.stdout.split_once("bound ").map(|(_, rest)| rest);
                let bound = bound.and_then(|rest| rest.split_whitespace().next());
                let bound = bound.expect("a bound").parse::<f64>().expect("a number");
                assert!(bound < 1e-6, "{}", outcome.stdout);
            }
        }
    }
}

const PARAMETERS: [&str; 5] = ["c", "scale", "bias", "mean", "var"];

#[test]
fn what_reads_itself_again_and_again() {
    let last = |a: &str| format!("{a}{STEPS}");
    let folded = "folded 1 of 1 batch norm";
    // A parameter of the norm.
    let mut norm = PARAMETERS;
    let a = last("a");
    norm[1] = &a;
    ends(&conv_bn(doubled("Add", "tiny", "a"), ["x", "w"], &norm), folded);
    norm[1] = "scale";
    norm[4] = &a;
    ends(&conv_bn(doubled("Mul", "one", "a"), ["x", "w"], &norm), folded);
    // The weight.
    ends(&conv_bn(doubled("Add", "u", "a"), ["x", &a], &PARAMETERS), folded);
    // The data.
    norm = PARAMETERS;
    norm[0] = &a;
    ends(&conv_bn(doubled("Add", "c", "a"), ["x", "w"], &norm), folded);
}

#[test]
fn long_chains_of_transposes() {
    let name = |i: usize| if i == 0 { "w".to_owned() } else { format!("t{i}") };
    let chain = (0..4000).map(|i| node("Transpose", "", &[&name(i)], &[&name(i + 1)]));
    ends(&conv_bn(chain.collect(), ["x", &name(4000)], &PARAMETERS), "of 1 batch norm");
    let few = (0..100).map(|i| node("Transpose", "", &[&name(i)], &[&name(i + 1)]));
    ends(&conv_bn(few.collect(), ["x", &name(100)], &PARAMETERS), "folded 1 of 1 batch norm");
}
