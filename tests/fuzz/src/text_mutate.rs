//! Mutators of text: tokens are dropped, doubled, swapped, replaced by others of the text or by words of the language.

use crate::Random;
use normfold_passes::builtin;
use std::sync::OnceLock;

/// Words of the text form that seeds may lack.
const MODULE: &[&str] = &[
    "module",
    "graph",
    "return",
    "main",
    "function",
    "body",
    "captures",
    "tensor",
    "unranked",
    "seq",
    "optional",
    "none",
    "dense",
    "splat",
    "blob",
    "stats",
    "absent",
    "resource",
    "derived",
    "bytes",
    "type",
    "ref",
    "word",
    "scale",
    "shift",
    "embed",
    "broadcast",
    "f32",
    "f16",
    "bf16",
    "f64",
    "i64",
    "u8",
    "bool",
    "str",
    "true",
    "false",
    "nan",
    "inf",
    "-inf",
    "0x",
    "%",
    "@",
    "<",
    ">",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "->",
    ":",
    "=",
    ",",
    "\"",
    "\\u{0}",
    "é",
    "?",
];

const EXTERNAL: &[&str] = &[
    "location",
    "offset",
    "length",
    "checksum",
    "basepath",
    "dims",
    "type",
    "=",
    "\n",
    "\n\n",
    "w.bin",
    "sub/v.bin",
    "empty.bin",
    "model.onnx",
    "hard",
    "soft",
    "leak",
    "away/secret",
    "near/v.bin",
    ".git/h",
    "loop",
    "socket",
    "../secret",
    "./",
    "//",
    "/etc/passwd",
    "..",
    ".",
    "\\",
    "C:",
    "\0",
    "*/_ORT_MEM_ADDR_/*",
    "é",
];

/// Mutates text IR.
pub(crate) fn module(data: &mut Vec<u8>, random: &mut Random) {
    mutate(data, random, MODULE);
}

/// Mutates references to external data.
pub(crate) fn external(data: &mut Vec<u8>, random: &mut Random) {
    mutate(data, random, EXTERNAL);
}

/// Mutates pipeline text.
pub(crate) fn pipeline(data: &mut Vec<u8>, random: &mut Random) {
    static WORDS: OnceLock<Vec<&'static str>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        let mut words = vec![
            "fixpoint", "max", "{", "}", "(", ")", ",", "=", " ", "\"", "'", "\\", "*", "|", "é",
            "true", "false", "default", "simplify", "nan", "inf", "1e400", "-0",
        ];
        for pass in builtin().passes() {
            words.push(pass.info.name);
            words.extend(pass.options.iter().map(|o| o.name));
        }
        words
    });
    mutate(data, random, words);
}

/// Words of Keras models in JSON that seeds may lack.
const KERAS: &[&str] = &[
    "Sequential",
    "Functional",
    "Dense",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "BatchNormalization",
    "ReLU",
    "Activation",
    "Add",
    "Multiply",
    "Concatenate",
    "Flatten",
    "Reshape",
    "Permute",
    "ZeroPadding2D",
    "UpSampling2D",
    "Lambda",
    "TFOpLambda",
    "__keras_tensor__",
    "keras_history",
    "inbound_nodes",
    "input_layers",
    "output_layers",
    "use_bias",
    "activation",
    "linear",
    "softmax",
    "trainable",
    "training",
    "mask",
    "groups",
    "same",
    "causal",
    "channels_first",
    "axis",
    "renorm",
    "scale",
    "center",
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
];

/// Words of PyTorch programs.
const TORCH: &[&str] = &[
    "torch.ops.aten.relu_.default",
    "torch.ops.aten.add_.Tensor",
    "torch.ops.aten.add.Tensor",
    "torch.ops.aten.mul.Tensor",
    "torch.ops.aten.view.default",
    "torch.ops.aten.as_strided.default",
    "torch.ops.aten.cat.default",
    "torch.ops.aten.split.Tensor",
    "torch.ops.aten.permute.default",
    "torch.ops.aten.expand.default",
    "torch.ops.aten.clone.default",
    "torch.ops.aten.pad.default",
    "torch.ops.aten.max_pool2d.default",
    "torch.ops.aten.conv2d.padding",
    "torch.ops.aten.convolution.default",
    "torch.ops.aten.linear.default",
    "torch.ops.aten.mm.default",
    "torch.ops.aten.batch_norm.default",
    "torch.ops.higher_order.cond",
    "as_none",
    "as_tensor",
    "as_tensors",
    "as_optional_tensor",
    "as_optional_tensors",
    "as_nested_tensors",
    "as_int",
    "as_ints",
    "as_sym_int",
    "as_sym_ints",
    "as_name",
    "as_float",
    "as_floats",
    "as_bool",
    "as_string",
    "as_expr",
    "as_graph",
    "as_string_to_argument",
    "parameter",
    "buffer",
    "tensor_constant",
    "user_input",
    "user_output",
    "buffer_mutation",
    "parameter_mutation",
    "weight",
    "bias",
    "input",
    "self",
    "other",
    "size",
    "shape",
    "stride",
    "strides",
    "sizes",
    "storage_offset",
    "use_pickle",
    "path_name",
    "dtype",
    "layout",
    "running_mean",
    "training",
    "null",
    "true",
    "false",
    "NaN",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
];

/// Changes JSON.
pub(crate) fn json(data: &mut Vec<u8>, random: &mut Random) {
    mutate(data, random, KERAS);
}

/// Changes the JSON of a PyTorch program.
pub(crate) fn program(data: &mut Vec<u8>, random: &mut Random) {
    mutate(data, random, TORCH);
}

#[derive(PartialEq)]
enum Class {
    Word,
    Blank,
    Mark,
}

fn class(byte: u8) -> Class {
    match byte {
        b'_' | b'.' | b'-' | 0x80.. => Class::Word,
        b if b.is_ascii_alphanumeric() => Class::Word,
        b if b.is_ascii_whitespace() => Class::Blank,
        _ => Class::Mark,
    }
}

/// Words, runs of blanks, and other bytes one by one.
fn tokens(data: &[u8]) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    for &byte in data {
        match tokens.last_mut() {
            Some(last) if class(byte) != Class::Mark && class(last[0]) == class(byte) => {
                last.push(byte);
            }
            _ => tokens.push(vec![byte]),
        }
    }
    tokens
}

fn number(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => random.int().to_string().into_bytes(),
        1 => (random.int() as u64).to_string().into_bytes(),
        _ => format!("{:?}", random.float()).into_bytes(),
    }
}

fn mutate(data: &mut Vec<u8>, random: &mut Random, words: &[&str]) {
    let mut tokens = tokens(data);
    for _ in 0..=random.below(4) {
        let (i, j) = (random.below(tokens.len()), random.below(tokens.len()));
        let blank = |t: &Vec<u8>| class(t[0]) == Class::Blank;
        let word = || words.iter().map(|w| w.as_bytes().to_vec());
        match random.below(10) {
            _ if tokens.is_empty() => tokens.extend(word().nth(random.below(words.len()))),
            0 => drop(tokens.remove(i)),
            1 => {
                let n = 1 + random.below(12);
                tokens.drain(i..(i + n).min(tokens.len()));
            }
            2 => tokens.swap(i, j),
            // A stretch once more, often a line.
            3 => {
                let n = 1 + random.below(40);
                let copy: Vec<Vec<u8>> = tokens[i..(i + n).min(tokens.len())].to_vec();
                tokens.splice(j..j, copy);
            }
            4 | 5 if !blank(&tokens[i]) => {
                let copy = tokens[j].clone();
                if !blank(&copy) {
                    tokens[i] = copy;
                }
            }
            6 => {
                let numeric = |t: &Vec<u8>| t.first().is_some_and(u8::is_ascii_digit);
                let at: Vec<usize> = (0..tokens.len()).filter(|&k| numeric(&tokens[k])).collect();
                if let Some(&k) = random.of(&at) {
                    tokens[k] = number(random);
                }
            }
            7 => tokens.insert(i, number(random)),
            8 => {
                let at = random.below(tokens[i].len());
                let bit = 1 << random.below(8);
                tokens[i][at] ^= bit;
            }
            _ => {
                if let Some(word) = word().nth(random.below(words.len())) {
                    if random.once_in(2) { tokens[i] = word } else { tokens.insert(i, word) }
                }
            }
        }
    }
    *data = tokens.concat();
}
