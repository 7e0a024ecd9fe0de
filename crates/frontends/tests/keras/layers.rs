//! Single layers.

use super::*;
use normfold_ir::Padding;

#[test]
fn layers_become_ops_in_their_layouts() {
    let conv = r#""filters": 8, "kernel_size": 3, "groups": 2, "padding": "same", "strides": 2"#;
    let dw = r#""kernel_size": [3, 2], "depth_multiplier": 2, "use_bias": false"#;
    let sep = r#""filters": 5, "kernel_size": [2, 2], "activation": "relu""#;
    let tr = r#""filters": 7, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same""#;
    let norm = r#""axis": [3], "epsilon": 0.01, "scale": false"#;
    let text = sequential(
        "[null, 16, 16, 4]",
        &[
            layer("Conv2D", "conv", conv),
            layer("BatchNormalization", "norm", norm),
            layer("DepthwiseConv2D", "dw", dw),
            layer("SeparableConv2D", "sep", sep),
            layer("Conv2DTranspose", "tr", tr),
            layer("Dense", "fc", r#""units": 3"#),
            layer("BatchNormalization", "last", r#""axis": -1, "center": false"#),
        ],
    );
    let m = module(&text);
    let g = main_graph(&m);
    let expected = "\
conv: tensor<?x8x8x8xf32> = conv(x, conv/kernel, conv/bias)
norm: tensor<?x8x8x8xf32> = batch_norm(conv, none, norm/beta, norm/moving_mean, norm/moving_variance)
dw: tensor<?x6x7x16xf32> = conv(norm, dw/depthwise_kernel)
sep/depthwise: tensor<?x5x6x16xf32> = conv(dw, sep/depthwise_kernel)
sep/linear: tensor<?x5x6x5xf32> = conv(sep/depthwise, sep/pointwise_kernel, sep/bias)
sep: tensor<?x5x6x5xf32> = relu(sep/linear)
tr: tensor<?x10x12x7xf32> = conv_transpose(sep, tr/kernel, tr/bias)
fc: tensor<?x10x12x3xf32> = linear(tr, fc/kernel, fc/bias)
last: tensor<?x10x12x3xf32> = batch_norm(fc, last/gamma, none, last/moving_mean, last/moving_variance)";
    assert_eq!(lines(g).join("\n"), expected);
    for (weight, expected) in [
        ("conv/kernel", "tensor<3x3x2x8xf32>"),
        ("conv/bias", "tensor<8xf32>"),
        ("dw/depthwise_kernel", "tensor<3x2x8x2xf32>"),
        ("sep/depthwise_kernel", "tensor<2x2x16x1xf32>"),
        ("sep/pointwise_kernel", "tensor<1x1x16x5xf32>"),
        ("tr/kernel", "tensor<3x3x7x5xf32>"),
        ("fc/kernel", "tensor<7x3xf32>"),
        ("last/gamma", "tensor<3xf32>"),
    ] {
        assert_eq!(ty(g, weight), expected, "{weight}");
        let OpKind::Constant(c) = find(g, weight).1 else { panic!("{weight} is no constant") };
        assert!(!m.constants.is_present(c.entry), "{weight}");
    }
    let attrs = |name: &str| -> String {
        let attrs = find(g, name).1.to_attrs();
        attrs.iter().map(|(k, v)| format!("{k}={v:?} ")).collect()
    };
    assert!(attrs("conv").starts_with(r#"x=Word("NHWC") w=Word("HWIO") groups=Int(2) strides"#));
    assert!(attrs("conv").contains(r#"pad=Word("same_upper")"#));
    assert!(attrs("dw").starts_with(r#"x=Word("NHWC") w=Word("HWCM") "#));
    assert!(attrs("tr").starts_with(r#"x=Word("NHWC") w=Word("HWOI") strides"#));
    assert_eq!(attrs("norm"), "axis=Int(3) eps=Float(0.01) ");
    for part in ["sep/depthwise", "sep/linear", "sep", "sep/bias"] {
        let (op, _) = find(g, part);
        assert_eq!(g.origin(op), Some(4), "{part} is of the fifth entry");
        assert!(g.location(op).starts_with("sep"), "{part}");
    }
}

#[test]
fn channels_first_is_nchw_with_the_same_kernels() {
    let first = |config: &str| {
        let comma = if config.is_empty() { "" } else { ", " };
        format!(r#"{config}{comma}"data_format": "channels_first""#)
    };
    let conv = r#""filters": 6, "kernel_size": [3, 3], "dilation_rate": [2, 2]"#;
    let text = sequential(
        "[null, 3, 9, 9]",
        &[
            layer("Conv2D", "conv", &first(conv)),
            layer("BatchNormalization", "norm", r#""axis": [1], "scale": false"#),
            layer("ZeroPadding2D", "pad", &first(r#""padding": [[1, 0], [0, 2]]"#)),
            layer("Cropping2D", "crop", &first(r#""cropping": 1"#)),
            layer("MaxPooling2D", "pool", &first(r#""pool_size": [2, 2], "padding": "same""#)),
            layer("UpSampling2D", "up", &first(r#""size": [2, 3]"#)),
            layer("Flatten", "flat", &first("")),
        ],
    );
    let m = module(&text);
    let g = main_graph(&m);
    assert_eq!(ty(g, "conv/kernel"), "tensor<3x3x3x6xf32>");
    let expected = "\
conv: tensor<?x6x5x5xf32> = conv(x, conv/kernel, conv/bias)
norm: tensor<?x6x5x5xf32> = batch_norm(conv, none, norm/beta, norm/moving_mean, norm/moving_variance)
pad: tensor<?x6x6x7xf32> = pad(norm)
crop: tensor<?x6x4x5xf32> = pad(pad)
pool: tensor<?x6x2x3xf32> = pool(crop)
up: tensor<?x6x4x9xf32> = resize(pool)
_: tensor<?x4x9x6xf32> = transpose(up)
flat: tensor<?x216xf32> = flatten(_)";
    assert_eq!(lines(g).join("\n"), expected);
    let OpKind::BatchNorm(norm) = find(g, "norm").1 else { panic!("a batch norm") };
    assert_eq!(norm.axis, 1);
    let OpKind::Pad(pad) = find(g, "crop").1 else { panic!("a pad") };
    assert_eq!(pad.amounts.as_deref(), Some(&[0, 0, -1, -1, 0, 0, -1, -1][..]));
}

#[test]
fn merging_pooling_and_moving() {
    let both = r#"[[["x", 0, 0, {}], ["half", 0, 0, {}]]]"#;
    let one = |name: &str| format!(r#"[[["{name}", 0, 0, {{}}]]]"#);
    let text = functional(
        &[
            called("Dropout", "half", r#""rate": 0.5"#, &one("x")),
            called("Average", "mean", "", both),
            called("Maximum", "max", "", both),
            called("Concatenate", "cat", r#""axis": -1"#, both),
            called("AveragePooling2D", "pool", r#""pool_size": 3, "strides": null"#, &one("cat")),
            called("GlobalMaxPooling2D", "kept", r#""keepdims": true"#, &one("pool")),
            called("GlobalAveragePooling2D", "gone", "", &one("pool")),
            called("Permute", "moved", r#""dims": [3, 1, 2]"#, &one("pool")),
            called("Reshape", "flat", r#""target_shape": [-1, 4]"#, &one("moved")),
        ],
        r#"[["flat", 0, 0], ["kept", 0, 0], ["gone", 0, 0], ["mean", 0, 0], ["max", 0, 0]]"#,
    );
    let m = module(&text);
    let expected = "\
half: tensor<?x8x8x4xf32> = dropout(x)
_: tensor<?x8x8x4xf32> = add(x, half)
mean: tensor<?x8x8x4xf32> = div(_, _)
max: tensor<?x8x8x4xf32> = max(x, half)
cat: tensor<?x8x8x8xf32> = concat(x, half)
pool: tensor<?x2x2x8xf32> = pool(cat)
kept: tensor<?x1x1x8xf32> = global_pool(pool)
gone: tensor<?x8xf32> = global_pool(pool)
moved: tensor<?x8x2x2xf32> = transpose(pool)
flat: tensor<?x8x4xf32> = reshape(moved)";
    let g = main_graph(&m);
    assert_eq!(lines(g).join("\n"), expected);
    let count = g.operand(find(g, "mean").0, 1).expect("a constant");
    let OpKind::Constant(c) = g.kind(count.op) else { panic!("a constant") };
    assert_eq!(m.constants.to_f64(c.entry).expect("present"), [2.0]);
}

/// Extents as Keras computes them (`deconv_output_length`); the odd cell that is cut is the last one.
#[test]
fn transposed_convolutions_cut_explicit_amounts() {
    for (kernel, stride, dilation, padding, stated, extent, pad, extra) in [
        (3, 2, 1, "same", "null", 10, Some((0, 1)), 0),
        (3, 2, 1, "valid", "null", 11, None, 0),
        (2, 3, 1, "valid", "null", 15, None, 1),
        (2, 3, 1, "same", "null", 15, None, 1),
        (4, 1, 1, "same", "null", 5, Some((1, 2)), 0),
        (3, 1, 2, "valid", "null", 9, None, 0),
        (3, 2, 1, "same", "1", 10, Some((0, 1)), 0),
        (3, 2, 1, "valid", "[1]", 12, None, 1),
    ] {
        let config = format!(
            r#""filters": 2, "kernel_size": [{kernel}], "strides": [{stride}],
            "dilation_rate": {dilation}, "padding": "{padding}", "output_padding": {stated}"#
        );
        let m = module(&sequential("[null, 5, 3]", &[layer("Conv1DTranspose", "tr", &config)]));
        let g = main_graph(&m);
        assert_eq!(ty(g, "tr"), format!("tensor<?x{extent}x2xf32>"), "{config}");
        let OpKind::ConvTranspose(c) = find(g, "tr").1 else { panic!("a transposed convolution") };
        let expected = match pad {
            Some(p) => Padding::Explicit([p].into_iter().collect()),
            None => Padding::default(),
        };
        assert_eq!(c.pad, expected, "{config}");
        assert_eq!(c.output_padding.first().copied().unwrap_or(0), extra, "{config}");
    }
}

#[test]
fn norms_that_are_none_stay_opaque() {
    let norm =
        |config: &str| sequential("[null, 8, 8, 4]", &[layer("BatchNormalization", "n", config)]);
    for config in [r#""axis": [1, 2]"#, r#""virtual_batch_size": 4"#, r#""adjustment": {}"#] {
        let m = module(&norm(config));
        let OpKind::Opaque(o) = find(main_graph(&m), "n").1 else { panic!("{config}") };
        assert!(o.pure && !o.quantized && o.attrs.contains_key("why"), "{config}");
    }
    let m = module(&norm(r#""renorm": true, "momentum": 0.5, "fused": null"#));
    assert!(matches!(find(main_graph(&m), "n").1, OpKind::BatchNorm(b) if b.axis == 3));
}

#[test]
fn activations() {
    for (class, config, expected) in [
        ("ReLU", "", "relu"),
        ("ReLU", r#""max_value": 6.0, "negative_slope": 0.0, "threshold": 0"#, "clip"),
        ("ReLU", r#""negative_slope": 0.1"#, "leaky_relu"),
        ("ReLU", r#""max_value": 6.0, "threshold": 1"#, "keras::ReLU"),
        ("LeakyReLU", r#""alpha": 0.3"#, "leaky_relu"),
        ("ELU", r#""alpha": 1.0"#, "elu"),
        ("Softmax", r#""axis": [1]"#, "softmax"),
        ("Activation", r#""activation": "swish""#, "silu"),
        ("Activation", r#""activation": "linear""#, "identity"),
        ("Activation", r#""activation": "sparsemax""#, "keras::sparsemax"),
        ("Activation", r#""activation": "mine""#, "keras::mine"),
        ("PReLU", r#""shared_axes": [1, 2]"#, "prelu"),
        ("GaussianNoise", r#""stddev": 0.5"#, "dropout"),
    ] {
        let m = module(&sequential("[null, 8, 8, 4]", &[layer(class, "y", config)]));
        assert_eq!(find(main_graph(&m), "y").1.display_name(), expected, "{class} {config}");
    }
}

#[test]
fn activations_inside_layers() {
    let object = |module: &str, class: &str, config: &str, registered: &str| {
        format!(
            r#"{{"module": "{module}", "class_name": "{class}", "config": {config}, "registered_name": {registered}}}"#
        )
    };
    let own = object("mine", "Act", r#"{"k": 1.0e0}"#, r#""mine>Act""#);
    for (act, expected) in [
        (r#""relu""#.to_owned(), "relu"),
        (object("keras.layers", "ReLU", r#"{"max_value": 6.0}"#, "null"), "clip"),
        (object("builtins", "function", r#""tanh""#, r#""function""#), "tanh"),
        (own.clone(), "keras::Act"),
    ] {
        let config = format!(r#"{POINT}, "activation": {act}"#);
        let m = module(&sequential("[null, 8, 8, 4]", &[layer("Conv2D", "y", &config)]));
        let g = main_graph(&m);
        assert_eq!(find(g, "y").1.display_name(), expected);
        assert!(matches!(find(g, "y/linear").1, OpKind::Conv(_)));
        if let OpKind::Opaque(o) = find(g, "y").1 {
            assert_eq!(o.attrs.get("config"), Some(&Attribute::Str(own.as_str().into())));
            assert!(!o.pure);
        }
    }
}

/// Keras 3 changed what `hard_sigmoid` is.
#[test]
fn hard_sigmoid_goes_by_generation() {
    for (shape_key, slope) in [("batch_input_shape", 0.2), ("batch_shape", 1.0 / 6.0)] {
        let act = [layer("Activation", "y", r#""activation": "hard_sigmoid""#)];
        let text = sequential("[null, 4]", &act).replace("batch_input_shape", shape_key);
        let m = module(&text);
        let OpKind::Activation(a) = find(main_graph(&m), "y").1 else { panic!("an activation") };
        assert_eq!(a.alpha, slope);
    }
}

#[test]
fn what_is_not_understood_is_carried_verbatim() {
    let config = r#""scale": NaN, "offset": [1.50, -Infinity],  "code": "\u0041\n""#;
    let layers = [layer("Rescaling", "r", config), layer("Lambda", "l", "")];
    let m = module(&sequential("[null, 4]", &layers));
    let g = main_graph(&m);
    let OpKind::Opaque(o) = find(g, "r").1 else { panic!("opaque") };
    let expected = format!(r#"{{"name": "r", {config}}}"#);
    assert_eq!(o.attrs.get("config"), Some(&Attribute::Str(expected.as_str().into())));
    assert!(o.pure);
    assert!(matches!(find(g, "l").1, OpKind::Opaque(o) if !o.pure));
    // A class of one's own is not Keras's of the same name.
    let own = r#"{"module": "mine", "registered_name": "mine>Conv2D", "#;
    let conv = layer("Conv2D", "c", POINT).replacen('{', own, 1);
    let m = module(&sequential("[null, 8, 8, 4]", &[conv]));
    let OpKind::Opaque(o) = find(main_graph(&m), "c").1 else { panic!("opaque") };
    assert_eq!((&*o.domain, &*o.name, o.pure), ("mine", "Conv2D", false));
    assert_eq!(o.attrs.get("registered_name"), Some(&Attribute::Str("mine>Conv2D".into())));
}

#[test]
fn a_function_recorded_as_a_layer_of_its_name_is_opaque() {
    let m = module(&sequential("[null, 4]", &[layer("Reshape", "r", r#""newshape": [-1, 2, 2]"#)]));
    assert!(matches!(find(main_graph(&m), "r").1, OpKind::Opaque(_)));
}

#[test]
fn quantized_layers_are_marked() {
    let dense = |config: &str| {
        let config = format!(r#""units": 2, {config}"#);
        module(&sequential("[null, 4]", &[layer("Dense", "d", &config)]))
    };
    for config in [
        r#""quantization_config": {"class_name": "Int8QuantizationConfig"}"#,
        r#""lora_rank": 4"#,
        r#""dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}"#,
        r#""dtype": {"class_name": "DTypePolicy", "config": {"name": "int8_from_float32"}}"#,
        r#""dtype": "float8_from_float32""#,
    ] {
        let m = dense(config);
        let OpKind::Opaque(o) = find(main_graph(&m), "d").1 else { panic!("{config}") };
        assert!(o.quantized && o.pure, "{config}");
    }
    let m = dense(r#""quantization_config": null"#);
    assert!(matches!(find(main_graph(&m), "d").1, OpKind::Linear(_)));
}

#[test]
fn types_are_those_of_the_weights() {
    let dense = |dtype: &str| {
        let config = format!(r#""units": 2, "dtype": {dtype}"#);
        module(&sequential("[null, 4]", &[layer("Dense", "d", &config)]))
    };
    for policy in ["mixed_float16", "mixed_bfloat16", "float32"] {
        let m = dense(&format!(r#"{{"class_name": "Policy", "config": {{"name": "{policy}"}}}}"#));
        let g = main_graph(&m);
        assert_eq!(ty(g, "d/kernel"), "tensor<4x2xf32>");
        assert_eq!(ty(g, "d"), "tensor<?x2xf32>");
        assert_eq!(m.attrs.contains_key("dtype_policies"), policy != "float32");
    }
    let m = dense(r#""float16""#);
    assert_eq!(ty(main_graph(&m), "d/kernel"), "tensor<4x2xf16>");
    assert_eq!(
        lines(main_graph(&m)),
        ["_: tensor<?x4xf16> = cast(x)", "d: tensor<?x2xf16> = linear(_, d/kernel, d/bias)"]
    );
}

/// Layers of one mixed policy have nothing between them; where a wider one meets them, it is seen what is rounded.
#[test]
fn mixed_policies_round_where_they_meet_others() {
    let dense = |name: &str, policy: &str| {
        layer("Dense", name, &format!(r#""units": 4, "use_bias": false, "dtype": "{policy}""#))
    };
    let half = "mixed_float16";
    let layers = [dense("a", half), dense("b", half), dense("c", "float32"), dense("d", half)];
    let text = sequential("[null, 4]", &layers).replacen(
        r#""batch_input_shape""#,
        r#""dtype": "float16", "batch_input_shape""#,
        1,
    );
    assert_eq!(
        lines(main_graph(&module(&text))),
        [
            "_: tensor<?x4xf32> = cast(x)",
            "a: tensor<?x4xf32> = linear(_, a/kernel)",
            "b: tensor<?x4xf32> = linear(a, b/kernel)",
            "_: tensor<?x4xf16> = cast(b)",
            "_: tensor<?x4xf32> = cast(_)",
            "c: tensor<?x4xf32> = linear(_, c/kernel)",
            "_: tensor<?x4xf16> = cast(c)",
            "_: tensor<?x4xf32> = cast(_)",
            "d: tensor<?x4xf32> = linear(_, d/kernel)",
        ]
    );
}

/// Integers pass through what only moves them and become floats where they meet weights.
#[test]
fn integers() {
    let layers =
        [layer("Reshape", "r", r#""target_shape": [2, 2]"#), layer("Dense", "d", r#""units": 3"#)];
    let text = sequential("[null, 4]", &layers).replacen(
        r#""batch_input_shape""#,
        r#""dtype": "int32", "batch_input_shape""#,
        1,
    );
    assert_eq!(
        lines(main_graph(&module(&text))),
        [
            "r: tensor<?x2x2xi32> = reshape(x)",
            "_: tensor<?x2x2xf32> = cast(r)",
            "d: tensor<?x2x3xf32> = linear(_, d/kernel, d/bias)",
        ]
    );
}
