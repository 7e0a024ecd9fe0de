//! Files that are broken, contradict themselves, or mean harm: an error with a place each, never a panic.

use super::*;

fn refused(text: &str, expected: &str) {
    let error =
        import(text).err().unwrap_or_else(|| panic!("accepted, wants {expected:?}: {text}"));
    let message = error.to_string();
    assert!(message.contains(expected), "{message}\nlacks {expected:?}\nfor {text}");
}

#[test]
fn references() {
    let cycle = [
        called("ReLU", "a", "", r#"[[["b", 0, 0, {}]]]"#),
        called("ReLU", "b", "", r#"[[["a", 0, 0, {}]]]"#),
    ];
    let expected = "layer `a`: its inputs depend on its own result: a cycle";
    refused(&functional(&cycle, r#"[["b", 0, 0]]"#), expected);
    for (nodes, expected) in [
        (r#"[[["y", 0, 0, {}]]]"#, "layer `y`: its inputs depend on its own result"),
        (r#"[[["z", 0, 0, {}]]]"#, "layer `y`: call 0 in `inbound_nodes`: it refers to layer `z`"),
        (r#"[[["x", 3, 0, {}]]]"#, "layer `y`: it reads call 3 of layer `x`"),
        (r#"[[["x", 0, 7, {}]]]"#, "layer `y`: it reads result 7 of layer `x`, which gives 1"),
        (r#"[[["x", -1, 0, {}]]]"#, "something else in its place"),
        (r#"[[["x", 0, 1e99, {}]]]"#, "something else in its place"),
        (r#"[[["x", 0, 0, 5]]]"#, "arguments by name are a number, not an object"),
        (r#"[[[7, 0, 0, {}]]]"#, "call 0 in `inbound_nodes`"),
        (r#"[7]"#, "call 0 in `inbound_nodes`: it is a number"),
        (r#"{"a": 1}"#, "`inbound_nodes` is an object, not a list"),
        (r#"[{"args": 3}]"#, "`args` is not a list"),
        (r#"[{"args": [{"class_name": "__keras_tensor__"}]}]"#, "a tensor without `config`"),
        ("[]", "which the model neither calls nor lists among its inputs"),
    ] {
        refused(&functional(&[called("ReLU", "y", "", nodes)], r#"[["y", 0, 0]]"#), expected);
    }
    refused(&functional(&[], r#"[["y", 0, 0]]"#), "model `net`: it refers to layer `y`");
    refused(&functional(&[], "7"), "`output_layers` has something else than references");
    let twice = functional(&[called("ReLU", "x", "", "[]")], r#"[["x", 0, 0]]"#);
    refused(&twice, "layer `x`: a second layer of that name");
    // An opaque layer gives as many results as are read, within reason.
    let nodes = r#"[[["x", 0, 0, {}]]]"#;
    let many = functional(&[called("Lambda", "y", "", nodes)], r#"[["y", 0, 99999999999]]"#);
    refused(&many, "output `y`: it reads result 99999999999 of layer `y`, which gives 4096");
}

#[test]
fn configurations_of_a_convolution() {
    for (config, expected) in [
        (
            r#""kernel_size": [1000000000000, 3]"#,
            "layer `conv`: a window of 1000000000000 does not fit into an extent of 8",
        ),
        (r#""kernel_size": [1e30, 3]"#, "layer `conv`: `kernel_size` must be"),
        (r#""kernel_size": [99999999999999999999, 3]"#, "layer `conv`: `kernel_size` must be"),
        (r#""kernel_size": [3, 3, 3]"#, "`kernel_size` must be an integer or a list of 2"),
        (r#""kernel_size": [0, 3]"#, "layer `conv`: `kernel_size` must be"),
        (r#""kernel_size": "big""#, "layer `conv`: `kernel_size` must be"),
        (r#""kernel_size": null"#, "layer `conv`: `kernel_size` must be"),
        (r#""kernel_size": 9, "dilation_rate": 1000000000000"#, "does not fit"),
        (r#""kernel_size": 3, "filters": -1"#, "layer `conv`: `filters` must be an integer from 1"),
        (r#""kernel_size": 3, "strides": 0"#, "layer `conv`: `strides` must be"),
        (
            r#""kernel_size": 3, "groups": 3"#,
            "4 channels and 6 filters do not divide into 3 groups",
        ),
        (r#""kernel_size": 3, "padding": 1"#, "`padding` must be a string"),
        (r#""kernel_size": 3, "padding": "full""#, "`padding` must be valid, same or causal"),
        (r#""kernel_size": 3, "data_format": "x""#, "`data_format` must be channels_last"),
        (r#""kernel_size": 3, "use_bias": 1"#, "`use_bias` must be true or false"),
        (
            r#""kernel_size": 1000000, "filters": 1000000000000, "padding": "same""#,
            "layer `conv`: its kernel would have the extents [1000000, 1000000, 4, 1000000000000]",
        ),
    ] {
        let conv = layer("Conv2D", "conv", &format!(r#""filters": 6, {config}"#));
        refused(&sequential("[null, 8, 8, 4]", &[conv]), expected);
    }
}

#[test]
fn configurations_of_other_layers() {
    let absurd = r#""filters": 1, "kernel_size": 1000000000000, "dilation_rate": 1000000000000"#;
    let far = "`kernel_size` times `dilation_rate` is absurdly large";
    for (class, config, expected) in [
        ("BatchNormalization", r#""axis": 9"#, "`axis` 9 is none of an input of rank 3"),
        ("BatchNormalization", r#""axis": "last""#, "`axis` must be"),
        ("BatchNormalization", r#""epsilon": "x""#, "`epsilon` must be a number"),
        ("Reshape", r#""target_shape": [4]"#, "`target_shape` has 4 elements, its input 32"),
        ("Reshape", r#""target_shape": [-1, -1]"#, "`target_shape` must be"),
        ("Permute", r#""dims": [2]"#, "`dims` must be a permutation"),
        ("Permute", r#""dims": [1, 2, 3]"#, "`dims` permutes another rank"),
        ("Cropping1D", r#""cropping": 5"#, "`cropping` leaves nothing"),
        ("ZeroPadding1D", r#""padding": -1"#, "`padding` must be amounts"),
        ("UpSampling1D", r#""size": 1000000000000"#, "`size` is absurdly large"),
        ("MaxPooling1D", r#""pool_size": 9"#, "a window of 9 does not fit into an extent of 8"),
        ("Conv1DTranspose", absurd, far),
        ("DepthwiseConv1D", r#""kernel_size": 1, "depth_multiplier": 1.5"#, "`depth_multiplier`"),
        ("Dense", r#""units": []"#, "`units` must be an integer"),
    ] {
        let text = sequential("[null, 8, 4]", &[layer(class, "bad", config)]);
        refused(&text, &format!("layer `bad`: {expected}"));
    }
}

#[test]
fn shapes_of_objects() {
    let net = |layers: &str| {
        format!(r#"{{"class_name": "Sequential", "config": {{"name": "n", "layers": {layers}}}}}"#)
    };
    refused(&net("7"), "it has no list of `layers`");
    refused(&net("[7]"), "model `n`, layer 0: it is a number, not an object");
    refused(&net(r#"[{"config": {}}]"#), "layer 0: it has no `class_name`");
    refused(&net(r#"[{"class_name": "ReLU"}]"#), "layer 0: it has no `config`");
    refused(&net(r#"[{"class_name": "ReLU", "config": {}}]"#), "layer 0: it has no `name`");
    let list = "layer 0: its `config` is a list, not an object";
    refused(&net(r#"[{"class_name": "ReLU", "config": []}]"#), list);
    refused(r#"{"class_name": 1, "config": {}}"#, "it has no `class_name`");
    refused("[]", "it has no `class_name`");
    refused(r#"{"class_name": "Mine", "config": {}}"#, "the class `Mine`");
    let bare = r#"{"class_name": "Functional", "config": {"name": "f", "layers": []}}"#;
    refused(bare, "model `f`: `input_layers` is missing");
}

#[test]
fn cut_and_altered_files_never_panic() {
    let text = model("nested.json");
    for cut in (0..text.len() - 1).step_by(97) {
        refused(&text[..cut], "byte ");
    }
    // Numbers replaced, every third one, by something else. Either outcome is right; what counts is that there is one.
    let bytes = text.as_bytes();
    let starts =
        |at: &usize| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[at - 1].is_ascii_digit());
    let (mut accepted, mut rejected) = (0, 0);
    for at in (0..bytes.len()).filter(starts).step_by(3) {
        let end = at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        for other in ["null", "-1", "\"x\"", "[]", "{}", "1e9", "0", "4611686018427387904"] {
            match import(&format!("{}{other}{}", &text[..at], &text[end..])) {
                Ok(m) => {
                    normfold_ir::verify(&m).unwrap_or_else(|e| panic!("{e}"));
                    accepted += 1;
                }
                Err(_) => rejected += 1,
            }
        }
    }
    assert!(accepted > 100 && rejected > 100, "{accepted} accepted, {rejected} refused");
}

#[test]
fn deep_nesting() {
    for text in ["[".repeat(10_000), r#"{"class_name":"Sequential","config":"#.repeat(10_000)] {
        refused(&text, "nested deeper than");
    }
}
