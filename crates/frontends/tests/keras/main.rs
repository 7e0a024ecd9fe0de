//! Keras architectures: what they become, and what is refused.

mod hostile;
mod layers;

use normfold_frontends::{
    FrontendError,
    keras::{self, KerasDocument, OpenOptions, SaveOptions},
};
use normfold_ir::{
    Attribute, BinaryKind, DType, Graph, GraphRole, Module, OpId, OpKind, Value,
    text::{self, PrintOptions},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn import(text: &str) -> Result<Module, FrontendError> {
    KerasDocument::from_bytes(text.as_bytes(), &OpenOptions::default()).map(|(_, m)| m)
}

/// What a text becomes; every module that a test looks at is valid.
fn module(text: &str) -> Module {
    let m = import(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    normfold_ir::verify(&m).unwrap_or_else(|e| panic!("{e}\n{text}"));
    // Types that come from a document are not judged; those of a text are.
    let again = text::parse(&print(&m)).unwrap_or_else(|e| panic!("{e}\n{text}"));
    normfold_ir::verify(&again).unwrap_or_else(|e| panic!("{e}\n{text}"));
    m
}

fn main_graph(module: &Module) -> &Graph {
    module.graph(module.main().expect("a main graph"))
}

fn value_name(g: &Graph, v: Value) -> String {
    g.value_name(v).map_or_else(|| "_".to_owned(), ToString::to_string)
}

/// The ops of a graph in order of creation, constants, parameters and `return` left out: what each reads and gives.
fn lines(g: &Graph) -> Vec<String> {
    let mut ops: Vec<OpId> = g.ops().collect();
    ops.sort_by_key(|&o| g.order_key(o));
    ops.retain(|&o| {
        !matches!(g.kind(o), OpKind::Constant(_) | OpKind::Parameter(_) | OpKind::Return(_))
    });
    let line = |&o: &OpId| {
        let read = |v: Option<Value>| v.map_or_else(|| "none".to_owned(), |v| value_name(g, v));
        let reads: Vec<_> = g.operands(o).map(read).collect();
        let gives = g.results(o).map(|v| format!("{}: {}", value_name(g, v), g.ty(v)));
        let gives: Vec<_> = gives.collect();
        format!("{} = {}({})", gives.join(", "), g.kind(o).display_name(), reads.join(", "))
    };
    ops.iter().map(line).collect()
}

/// The op that gives the value of that name.
fn find<'g>(g: &'g Graph, name: &str) -> (OpId, &'g OpKind) {
    let op = g.ops().find(|&o| g.results(o).any(|v| value_name(g, v) == name));
    let op = op.unwrap_or_else(|| panic!("no value `{name}` among {:?}", lines(g)));
    (op, g.kind(op))
}

/// The type of the first result of the op that gives the value of that name.
fn ty(g: &Graph, name: &str) -> String {
    g.ty(g.result(find(g, name).0, 0)).to_string()
}

fn batch_norms(m: &Module) -> usize {
    let norms = |g: &Graph| g.ops().filter(|&o| matches!(g.kind(o), OpKind::BatchNorm(_))).count();
    m.graph_ids().map(|id| norms(m.graph(id))).sum()
}

/// A layer of a Sequential model, in the bare style of Keras 2.
fn layer(class: &str, name: &str, config: &str) -> String {
    let comma = if config.is_empty() { "" } else { ", " };
    format!(r#"{{"class_name": "{class}", "config": {{"name": "{name}"{comma}{config}}}}}"#)
}

fn sequential(shape: &str, layers: &[String]) -> String {
    let input = layer("InputLayer", "x", &format!(r#""batch_input_shape": {shape}"#));
    let layers: Vec<_> = [input].into_iter().chain(layers.iter().cloned()).collect();
    let layers = layers.join(", ");
    format!(r#"{{"class_name": "Sequential", "config": {{"name": "net", "layers": [{layers}]}}}}"#)
}

/// An entry of a functional model with its calls.
fn with_calls(entry: &str, name: &str, nodes: &str) -> String {
    let open = entry.strip_suffix('}').expect("an object");
    format!(r#"{open}, "name": "{name}", "inbound_nodes": {nodes}}}"#)
}

fn called(class: &str, name: &str, config: &str, nodes: &str) -> String {
    with_calls(&layer(class, name, config), name, nodes)
}

fn functional(layers: &[String], outputs: &str) -> String {
    let input = called("InputLayer", "x", r#""batch_input_shape": [null, 8, 8, 4]"#, "[]");
    let layers: Vec<_> = [input].into_iter().chain(layers.iter().cloned()).collect();
    let layers = layers.join(", ");
    format!(
        r#"{{"class_name": "Functional", "config": {{"name": "net", "layers": [{layers}],
        "input_layers": [["x", 0, 0]], "output_layers": {outputs}}}}}"#
    )
}

const POINT: &str = r#""filters": 6, "kernel_size": [1, 1], "use_bias": false"#;

fn models() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/keras");
    let entries = fs::read_dir(dir).expect("the models");
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|x| x == "json"));
    paths.sort();
    paths
}

fn model(name: &str) -> String {
    let path = models().into_iter().find(|p| p.ends_with(name)).expect("the model");
    fs::read_to_string(path).expect("readable")
}

#[test]
fn every_model_imports() {
    let counts = [
        ("awkward", 5),
        ("branches", 1),
        ("conv_transpose", 3),
        ("mobilenet_v2", 52),
        ("names", 3),
        ("nested", 3),
        ("separable", 4),
        ("seq_conv2d", 5),
    ];
    let paths = models();
    assert!(paths.len() >= 11, "{paths:?}");
    for path in paths {
        let bytes = fs::read(&path).expect("readable");
        assert!(keras::looks_like(&bytes), "{path:?}");
        let m = module(std::str::from_utf8(&bytes).expect("UTF-8"));
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name").to_owned();
        let expected = counts.iter().find(|(n, _)| name.starts_with(n)).expect("a known model").1;
        assert_eq!(batch_norms(&m), expected, "{name}");
        let generation = if name.contains(".k2.") { 2 } else { 3 };
        assert_eq!(m.attrs.get("generation"), Some(&Attribute::Int(generation)), "{name}");
        for id in m.graph_ids() {
            let g = m.graph(id);
            assert!(!g.ops().any(|o| matches!(g.kind(o), OpKind::Opaque(_))), "{name}");
            assert!(g.ops().all(|o| g.results(o).all(|v| g.ty(v).rank().is_some())), "{name}");
        }
    }
}

/// The text of what each of these models becomes, which the golden cases go on from. `cannot` stands there for the
/// capabilities, which text does not keep.
#[test]
fn models_as_text() {
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/keras");
    for (case, name) in [
        ("nested", "nested.json"),
        ("awkward", "awkward.k2.json"),
        ("separable", "separable.json"),
        ("conv-transpose", "conv_transpose.k2.json"),
    ] {
        let text = print(&module(&model(name)));
        let golden = fs::read_to_string(cases.join(case).with_extension("nf")).expect("the case");
        let golden = golden.replacen(r#", cannot = ["create", "constant", "change"]"#, "", 1);
        let golden = golden.lines().filter(|l| !l.starts_with("//"));
        for (line, (found, expected)) in text.lines().zip(golden.clone()).enumerate() {
            assert_eq!(found, expected, "{name}, line {line}");
        }
        assert_eq!(text.lines().count(), golden.count(), "{name}");
    }
}

fn print(m: &Module) -> String {
    text::print(m, &PrintOptions::default()).expect("printable")
}

#[test]
fn text_round_trips() {
    for path in models() {
        let text = print(&module(&fs::read_to_string(&path).expect("readable")));
        let back = text::parse(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert_eq!(print(&back), text, "{path:?}");
    }
    // Names and configurations that need quoting.
    let act = r#""activation": {"class_name": "a>b", "config": {"x": "\u0000\"é\n", "y": NaN}}"#;
    let odd = [
        layer("Dense", r##"a b/\u00e9\""##, &format!(r#""units": 2, {act}"#)),
        layer("Lambda", "%", ""),
    ];
    let text = print(&module(&sequential("[null, 4]", &odd)));
    assert_eq!(print(&text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))), text);
}

#[test]
fn generations_agree() {
    for name in ["awkward", "conv_transpose", "nested", "separable", "seq_conv2d"] {
        let [three, two] = ["json", "k2.json"].map(|ext| {
            let m = module(&model(&format!("{name}.{ext}")));
            // Names that Keras counts up differ; what is done and what comes out does not.
            let bare = |l: String| {
                let (_, rest) = l.split_once(": ").expect("a result");
                rest.split('(').next().expect("a name").to_owned()
            };
            m.graph_ids().flat_map(|id| lines(m.graph(id))).map(bare).collect::<Vec<_>>()
        });
        assert_eq!(three, two, "{name}");
    }
}

#[test]
fn a_layer_called_twice_has_one_set_of_weights() {
    let m = module(&model("awkward.k2.json"));
    let g = main_graph(&m);
    let (kernel, _) = find(g, "shared/kernel");
    assert_eq!(g.uses(g.result(kernel, 0)).count(), 2);
    assert_eq!(g.location(find(g, "shared").0), g.location(find(g, "shared:1").0));
    assert_eq!(g.origin(find(g, "shared").0), g.origin(find(g, "shared:1").0));
    let norm = find(g, "second_call").0;
    assert_eq!(g.operand(norm, 0).map(|v| value_name(g, v)).as_deref(), Some("shared:1"));
}

#[test]
fn nested_models_are_functions() {
    for name in ["nested.json", "nested.k2.json"] {
        let m = module(&model(name));
        let roles: Vec<_> = m.graph_ids().map(|id| m.graph(id).role()).collect();
        assert_eq!(roles, [GraphRole::Function, GraphRole::Function, GraphRole::Main]);
        assert!(m.function("encoder").is_some() && m.function("block").is_some());
        let g = main_graph(&m);
        let calls: Vec<_> = lines(g).into_iter().filter(|l| l.contains("= call")).collect();
        assert_eq!(
            calls,
            [
                "encoder: tensor<?x7x7x8xf32> = call(image)",
                "block: tensor<?x7x7x8xf32> = call(re_lu_2)",
                "block:1: tensor<?x7x7x8xf32> = call(block)",
            ]
        );
        assert_eq!(ty(g, "dense/kernel"), "tensor<392x4xf32>");
    }
}

/// Without any shape in the file but those of the inputs, a nested model of open extents still gives those of its call.
#[test]
fn shapes_reach_through_nested_models() {
    let convs = [called("Conv2D", "conv", POINT, r#"[[["x", 0, 0, {}]]]"#)];
    let inner = functional(&convs, r#"[["conv", 0, 0]]"#);
    let inner = inner.replace("[null, 8, 8, 4]", "[null, null, null, 4]");
    let text = functional(
        &[
            with_calls(&inner, "inner", r#"[[["x", 0, 0, {}]]]"#),
            called("Flatten", "flat", "", r#"[[["inner", 1, 0, {}]]]"#),
            called("Dense", "fc", r#""units": 2"#, r#"[[["flat", 0, 0, {}]]]"#),
        ],
        r#"[["fc", 0, 0]]"#,
    );
    let m = module(&text);
    assert_eq!(ty(main_graph(&m), "fc/kernel"), "tensor<384x2xf32>");
    let inner = m.graph(m.function("inner").expect("a function"));
    assert_eq!(ty(inner, "conv"), "tensor<?x?x?x6xf32>");
}

/// Nested calls multiply on paper only: each model is imported once, and looked at again only where that is cheap.
#[test]
fn deep_nesting_takes_no_time() {
    let calls = r#"[[["x", 0, 0, {}]], [["in", 1, 0, {}]], [["in", 2, 0, {}]]]"#;
    let open = |model: String| model.replacen("[null, 8, 8, 4]", "[null, null, null, 4]", 1);
    let mut model = open(sequential("[null, 8, 8, 4]", &[layer("ReLU", "r", "")]));
    let depth = 60;
    for level in 0..depth {
        let nested = with_calls(&model, "in", calls);
        model = functional(&[nested], r#"[["in", 3, 0]]"#);
        if level + 1 < depth {
            model = open(model);
        }
    }
    let m = module(&model);
    assert_eq!(m.graph_ids().len(), depth + 1);
    assert_eq!(lines(main_graph(&m)).len(), 3);
}

#[test]
fn training_mode_is_seen_where_it_is_asked_for() {
    let norm = |kwargs: &str| {
        let calls = format!(r#"[[["x", 0, 0, {kwargs}]]]"#);
        let norms = [called("BatchNormalization", "n", "", &calls)];
        match find(main_graph(&module(&functional(&norms, r#"["n", 0, 0]"#))), "n").1 {
            OpKind::BatchNorm(b) => Some(b.training),
            _ => None,
        }
    };
    assert_eq!(norm("{}"), Some(false));
    assert_eq!(norm(r#"{"training": null, "mask": null}"#), Some(false));
    assert_eq!(norm(r#"{"training": false}"#), Some(false));
    assert_eq!(norm(r#"{"training": true}"#), Some(true));
    assert_eq!(norm(r#"{"training": ["x", 0, 0]}"#), None, "decided by a tensor");
    // A model that is called in training mode hands it on.
    let quiet = model("nested.k2.json");
    let text = quiet.replacen(
        r#"[["re_lu_2", 0, 0, {}]]"#,
        r#"[["re_lu_2", 0, 0, {"training": true}]]"#,
        1,
    );
    assert_ne!(quiet, text);
    let m = module(&text);
    let trains = |function: &str| {
        let g = m.graph(m.function(function).expect("a function"));
        g.ops().any(|o| matches!(g.kind(o), OpKind::BatchNorm(b) if b.training))
    };
    assert!(trains("block") && !trains("encoder"));
}

#[test]
fn functions_recorded_as_layers() {
    let lambda = |name: &str, function: &str, node: &str| {
        called("TFOpLambda", name, &format!(r#""function": "{function}""#), &format!("[{node}]"))
    };
    let cat = r#"[["scaled", 0, 0, {"axis": -1}], ["x", 0, 0, {"axis": -1}]]"#;
    let text = functional(
        &[
            lambda("sum", "__operators__.add", r#"["x", 0, 0, {"y": ["x", 0, 0], "name": null}]"#),
            lambda("sub", "math.subtract", r#"["_CONSTANT_VALUE", -1, 1.5, {"y": ["sum", 0, 0]}]"#),
            lambda("scaled", "math.multiply", r#"["sub", 0, 0, {"y": [1, 2, 3, 4]}]"#),
            lambda("cat", "concat", cat),
            lambda("six", "nn.relu6", r#"["cat", 0, 0, {}]"#),
            lambda("shape", "compat.v1.shape", r#"["six", 0, 0, {}]"#),
            lambda("other", "math.cumsum", r#"["six", 0, 0, {"axis": 1}]"#),
            lambda("said", "print", r#"["six", 0, 0, {}]"#),
        ],
        r#"[["other", 0, 0], ["shape", 0, 0], ["said", 0, 0]]"#,
    );
    let m = module(&text);
    let g = main_graph(&m);
    assert_eq!(
        lines(g)[..5],
        [
            "sum: tensor<?x8x8x4xf32> = add(x, x)",
            "sub: tensor<?x8x8x4xf32> = sub(_, sum)",
            "scaled: tensor<?x8x8x4xf32> = mul(sub, _)",
            "cat: tensor<?x8x8x8xf32> = concat(scaled, x)",
            "six: tensor<?x8x8x8xf32> = clip(cat)",
        ]
    );
    let literal = g.operand(find(g, "scaled").0, 1).expect("a constant");
    let OpKind::Constant(c) = g.kind(literal.op) else { panic!("a constant") };
    assert_eq!(m.constants.to_f64(c.entry).expect("present"), [1.0, 2.0, 3.0, 4.0]);
    let opaque = |name: &str| match find(g, name).1 {
        OpKind::Opaque(o) => (o.pure, o.type_uses.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(opaque("shape"), (true, vec![0]));
    assert_eq!(opaque("other"), (true, vec![]));
    assert_eq!(opaque("said"), (false, vec![]));
}

#[test]
fn operations_of_keras_3() {
    let tensor = |name: &str| {
        format!(
            r#"{{"class_name": "__keras_tensor__", "config": {{"shape": [null, 8, 8, 4],
            "dtype": "float32", "keras_history": ["{name}", 0, 0]}}}}"#
        )
    };
    let operation = |class: &str, name: &str, args: &str| {
        let nodes = format!(r#"[{{"args": [{args}], "kwargs": {{}}}}]"#);
        let module =
            format!(r#"{{"module": "keras.src.ops.numpy", "registered_name": "{class}", "#);
        called(class, name, "", &nodes).replacen('{', &module, 1)
    };
    let text = functional(
        &[
            operation("Multiply", "mul", &format!("{}, 2.0", tensor("x"))),
            operation("Subtract", "sub", &format!("1.0, {}", tensor("mul"))),
            operation("Concatenate", "cat", &format!("[{}, {}]", tensor("mul"), tensor("sub"))),
            operation("GetItem", "item", &format!("{}, [0]", tensor("cat"))),
        ],
        r#"{"b": ["item", 0, 0], "a": ["cat", 0, 0]}"#,
    );
    let m = module(&text);
    let g = main_graph(&m);
    assert!(matches!(find(g, "mul").1, OpKind::Binary(BinaryKind::Mul)));
    assert!(matches!(find(g, "sub").1, OpKind::Binary(BinaryKind::Sub)));
    assert!(matches!(find(g, "cat").1, OpKind::Concat(c) if c.axis == 0));
    assert!(matches!(find(g, "item").1, OpKind::Opaque(o) if o.pure));
    let OpKind::Return(r) = g.kind(g.return_op().expect("a return")) else { panic!("a return") };
    let names: Vec<_> = r.names.iter().map(|n| &**n).collect();
    assert_eq!(names, ["a", "b"], "a dictionary is flattened in the order of its keys");
}

/// Two models that hold one layer: neither owns its weights.
#[test]
fn layers_that_models_share_stay_opaque() {
    let opaque = |ids: [u32; 2]| {
        let inner = |name: &str, id: u32, channels: u32| {
            let id = format!(r#"{{"shared_object_id": {id}, "#);
            let conv = layer("Conv2D", "c", POINT).replacen('{', &id, 1);
            let shape = format!("[null, 8, 8, {channels}]");
            sequential(&shape, &[conv]).replace("\"net\"", &format!("\"{name}\""))
        };
        let layers = [inner("a", ids[0], 4), inner("b", ids[1], 6)].join(", ");
        let m = module(&format!(
            r#"{{"class_name": "Sequential", "config": {{"name": "net", "layers": [{layers}]}}}}"#
        ));
        let opaque =
            |g: &Graph| g.ops().filter(|&o| matches!(g.kind(o), OpKind::Opaque(_))).count();
        m.graph_ids().map(|id| opaque(m.graph(id))).sum::<usize>()
    };
    assert_eq!(opaque([1, 2]), 0);
    assert_eq!(opaque([1, 1]), 2);
}

#[test]
fn unbuilt_models_leave_open_what_is_not_known() {
    let text = r#"{"class_name": "Sequential", "config": {"name": "n", "layers": [
        {"class_name": "Dense", "config": {"name": "d", "units": 3}},
        {"class_name": "BatchNormalization", "config": {"name": "b"}}]}}"#;
    assert_eq!(
        lines(main_graph(&module(text))),
        ["d: unknown = keras::Dense(input)", "b: unknown = keras::BatchNormalization(d)"]
    );
    let built = text.replace(r#""name": "n","#, r#""name": "n", "build_input_shape": [null, 5],"#);
    assert_eq!(ty(main_graph(&module(&built)), "d/kernel"), "tensor<5x3xf32>");
}

#[test]
fn capabilities_and_saving() {
    let text = model("separable.json").into_bytes();
    let (document, m) =
        KerasDocument::from_bytes(text.clone(), &OpenOptions::default()).expect("a model");
    let g = main_graph(&m);
    let caps = g.capabilities();
    let halves: Vec<bool> = g
        .ops()
        .filter(|&op| g.op_name(op).is_some_and(|n| &**n == "separable_conv2d"))
        .filter(|&op| matches!(g.kind(op), OpKind::Conv(_)))
        .map(|op| caps.may_add_bias(op, g.kind(op)))
        .collect();
    assert_eq!(halves, [false, true], "the depthwise half has no place for a bias");
    let (op, _) = find(g, "separable_conv2d");
    assert!(!caps.may_add_bias(op, &BinaryKind::Add.into()));
    assert!(!caps.may_create(&BinaryKind::Add.into(), DType::F32));
    assert!(!caps.may_add_constant(DType::F32));
    // Nothing changed: the same bytes. A change needs the weights.
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("out.json");
    document.save(&m, &path, SaveOptions::default()).expect("a copy");
    assert_eq!(fs::read(&path).expect("a file"), text);
    let mut changed = m.clone();
    let main = changed.main().expect("a main graph");
    let g = changed.graph_mut(main);
    let (norm, _) = find(g, "batch_normalization");
    let input = g.operand(norm, 0).expect("an input");
    g.replace_all_uses(g.result(norm, 0), input);
    g.erase(norm);
    let error = document.save(&changed, &path, SaveOptions::default());
    let error = error.expect_err("not supported").to_string();
    assert!(error.contains("without its weights"), "{error}");
}

/// Two files, neither of which is lost to the other.
#[test]
fn architecture_and_weights_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/keras");
    let [k, w] = ["branches.json", "branches.weights.h5"].map(|name| {
        fs::copy(models.join(name), dir.path().join(name)).unwrap();
        dir.path().join(name)
    });
    let before = [&k, &w].map(|path| fs::read(path).unwrap());
    let options = OpenOptions::default().weights(w.clone());
    let (document, module) = KerasDocument::open(&k, &options).unwrap();
    let save = |target: &Path, weights: Option<&Path>| {
        let mut how = SaveOptions::default();
        how.weights = weights;
        document.save(&module, target, how)
    };
    let new = dir.path().join("new.json");
    let round = dir.path().join("../").join(dir.path().file_name().unwrap()).join("new.json");
    for (target, weights) in
        [(&w, None), (&w, Some(&new)), (&new, Some(&k)), (&new, Some(&new)), (&new, Some(&round))]
    {
        let e = save(target, weights.map(|p| &**p)).unwrap_err().to_string();
        assert!(e.contains("would be one file") || e.contains("of the input"), "{e}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
    save(&k, None).unwrap();
    save(&new, Some(&w)).unwrap();
    save(&new, None).unwrap();
    assert_eq!(before, [&k, &w].map(|path| fs::read(path).unwrap()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}
