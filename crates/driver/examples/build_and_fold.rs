//! A module built in memory, folded, and printed; a subscriber of one's own sees what happens.
//!
//! `cargo run -p normfold-driver --example build_and_fold`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use normfold_driver::{
    Driver, Input, RunOptions,
    ir::{
        BatchNorm, ConstPool, Constant, Conv, DType, Graph, GraphRole, Module, OpSpec, Parameter,
        Return, TensorType, UnaryKind, Value,
    },
};
use std::{error::Error, fmt};
use tracing::{Event, Subscriber, field::Field, field::Visit};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

/// Tells events on standard error, indented by the spans around them.
struct Tell;

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            name => self.0.push_str(&format!(" {name}={value:?}")),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Tell {
    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let depth = cx.event_scope(event).map_or(0, Iterator::count);
        eprintln!("{:1$}{2}", "", 2 * depth, message.0);
    }
}

fn constant(
    g: &mut Graph,
    pool: &mut ConstPool,
    name: &str,
    dims: &[u64],
    values: &[f64],
) -> Value {
    let entry = pool.add_f64(DType::F32, dims, values);
    let op = g.create(
        OpSpec::new(Constant::new(entry)).named_result(name, TensorType::of(DType::F32, dims)),
    );
    g.result(op, 0)
}

/// A 1×1 convolution of three channels into two, a batch norm, a ReLU.
fn conv_bn_relu() -> Module {
    let mut module = Module::new("built");
    let mut g = Graph::new("main", GraphRole::Main);
    let pool = &mut module.constants;
    let (image, maps) =
        (TensorType::of(DType::F32, &[1, 3, 8, 8]), TensorType::of(DType::F32, &[1, 2, 8, 8]));

    let x = g.create(OpSpec::new(Parameter { index: 0, capture: false }).named_result("x", image));
    let x = g.result(x, 0);
    let w =
        constant(&mut g, pool, "conv.weight", &[2, 3, 1, 1], &[0.5, -1.0, 0.25, 2.0, 1.0, -0.75]);
    let conv = g.create(
        OpSpec::new(Conv::default())
            .operand(x)
            .operand(w)
            .named_result("c", maps.clone())
            .name("conv"),
    );
    let conv = g.result(conv, 0);
    let scale = constant(&mut g, pool, "bn.weight", &[2], &[1.5, 0.5]);
    let bias = constant(&mut g, pool, "bn.bias", &[2], &[0.125, -0.25]);
    let mean = constant(&mut g, pool, "bn.running_mean", &[2], &[0.1, -0.2]);
    let variance = constant(&mut g, pool, "bn.running_var", &[2], &[0.9, 1.1]);
    let bn = [conv, scale, bias, mean, variance].map(Some);
    let bn = g.create(
        OpSpec::new(BatchNorm::default()).operands(bn).named_result("n", maps.clone()).name("bn"),
    );
    let bn = g.result(bn, 0);
    let y = g.create(OpSpec::new(UnaryKind::Relu).operand(bn).named_result("y", maps).name("relu"));
    let y = g.result(y, 0);
    g.create(OpSpec::new(Return::default()).operand(y));
    module.add_graph(g);
    module
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::registry()
        .with(Tell.with_filter(tracing_subscriber::EnvFilter::new("debug")))
        .init();

    let driver = Driver::new();
    let pipeline = driver.parse_pipeline("fold-bn,dce")?;
    let mut opened = driver.open(Input::from(conv_bn_relu()))?;
    let report = driver.run(&mut opened, &pipeline, &RunOptions::default(), &mut [])?;

    println!("{}", opened.to_text(&Default::default())?);
    println!("folded {} of {}", report.batch_norms.folded, report.batch_norms.total);
    assert_eq!((report.batch_norms.folded, report.batch_norms.total), (1, 1));
    Ok(())
}
