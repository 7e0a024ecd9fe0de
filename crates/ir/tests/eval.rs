//! The evaluator against what onnxruntime computes (`eval/cases.txt`, written by `eval/make.py`), in three ways: whole
//! tensors from bound operands, element by element from lazy ones, and from constants in the pool. Convolutions and pools
//! are run again in the channels-last layouts of Keras.

use normfold_ir::{
    AttrMap, Attribute, ConstData, ConstPool, Constant, DType, EvalError, Evaluator, Graph,
    GraphRole, OpKind, OpSpec, Parameter, Scalar, Tensor, TensorType, Type, Value, decode_f64,
    encode_f64, eval::Binding,
};

type Attrs = Vec<(String, String)>;

struct Case {
    line: usize,
    mnemonic: String,
    attrs: Attrs,
    operands: Vec<Option<Tensor>>,
    results: Vec<Tensor>,
}

fn dtype(word: &str) -> DType {
    word.parse().expect("an element type")
}

fn tensor(words: &mut std::str::SplitWhitespace<'_>) -> Tensor {
    let dtype = dtype(words.next().expect("an element type"));
    let dims: Vec<u64> = match words.next().expect("extents") {
        "scalar" => vec![],
        d => d.split('x').map(|d| d.parse().expect("an extent")).collect(),
    };
    if dtype.is_float() {
        let values = words.map(|w| stored(dtype, w.parse().expect("a number")));
        Tensor::floats(dtype, &dims, values.collect())
    } else {
        Tensor::ints(dtype, &dims, words.map(|w| w.parse().expect("an integer")).collect())
    }
}

/// A decimal of the table as the element type holds it.
fn stored(dtype: DType, v: f64) -> f64 {
    let mut bytes = vec![0; dtype.bits() as usize / 8];
    let mut out = [0.0];
    assert!(encode_f64(dtype, &[v], &mut bytes) && decode_f64(dtype, &bytes, 0, &mut out));
    out[0]
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (i, line) in include_str!("eval/cases.txt").lines().enumerate() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("case") => cases.push(Case {
                line: i + 1,
                mnemonic: words.next().expect("a mnemonic").into(),
                attrs: words
                    .map(|w| w.split_once('=').expect("attribute=value"))
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect(),
                operands: Vec::new(),
                results: Vec::new(),
            }),
            Some("in") => cases.last_mut().expect("a case").operands.push(Some(tensor(&mut words))),
            Some("none") => cases.last_mut().expect("a case").operands.push(None),
            Some("out") => cases.last_mut().expect("a case").results.push(tensor(&mut words)),
            other => panic!("line {}: {other:?}", i + 1),
        }
    }
    cases
}

/// `3`, `0.5`, `word`, `"text"`, `true`, `[…]`, or `@type:number` for a tensor of one element.
fn attribute(text: &str, pool: &mut ConstPool) -> Attribute {
    if let Some(list) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let mut depth = 0;
        let items = list.split(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ',' && depth == 0
        });
        return Attribute::List(
            items.filter(|t| !t.is_empty()).map(|t| attribute(t, pool)).collect(),
        );
    }
    if let Some(one) = text.strip_prefix('@') {
        let (ty, v) = one.split_once(':').expect("type:number");
        let v: f64 = v.parse().expect("a number");
        return Attribute::Tensor(pool.add_f64(dtype(ty), &[1], &[v]));
    }
    if let Some(t) = text.strip_prefix('"') {
        return Attribute::Str(t.trim_end_matches('"').into());
    }
    match (text, text.parse::<i64>(), text.parse::<f64>()) {
        ("true" | "false", ..) => Attribute::Bool(text == "true"),
        (_, Ok(i), _) => Attribute::Int(i),
        (_, _, Ok(v)) => Attribute::Float(v),
        _ => Attribute::Word(text.into()),
    }
}

fn bytes(t: &Tensor) -> Vec<u8> {
    if matches!(t.dtype(), DType::I64 | DType::U64) {
        return t.to_i64s().iter().flat_map(|v| v.to_le_bytes()).collect();
    }
    let mut out = vec![0; t.dtype().bytes_for(t.len() as u64).expect("a numeric type") as usize];
    assert!(encode_f64(t.dtype(), &t.to_f64s(), &mut out));
    out
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    Bound,
    Lazy,
    Constants,
}

fn ravel(dims: &[u64], at: &[u64]) -> usize {
    dims.iter().zip(at).fold(0, |n, (d, i)| n * *d as usize + *i as usize)
}

fn unravel(dims: &[u64], mut i: u64) -> Vec<u64> {
    let mut at = vec![0; dims.len()];
    for (p, d) in at.iter_mut().zip(dims).rev() {
        *p = i % d;
        i /= d;
    }
    at
}

/// Every result of the op on these operands.
fn evaluate(
    mnemonic: &str,
    attrs: &[(String, String)],
    operands: &[Option<Tensor>],
    results: usize,
    how: How,
) -> Result<Vec<Tensor>, EvalError> {
    let mut pool = ConstPool::default();
    let map: AttrMap =
        attrs.iter().map(|(k, v)| (k.as_str().into(), attribute(v, &mut pool))).collect();
    let kind = OpKind::from_attrs(mnemonic, &map).expect("a mnemonic").expect("attributes");
    let mut g = Graph::new("main", GraphRole::Main);
    let values: Vec<Option<Value>> = operands
        .iter()
        .map(|t| {
            let t = t.as_ref()?;
            let ty = TensorType::of(t.dtype(), t.dims());
            let op = if how == How::Constants {
                let entry = pool.add(ty.clone(), ConstData::Owned(bytes(t).into()));
                OpSpec::new(Constant::new(entry))
            } else {
                OpSpec::new(Parameter::default())
            };
            let op = g.create(op.result(ty));
            Some(g.result(op, 0))
        })
        .collect();
    let spec = (0..results).fold(OpSpec::new(kind), |s, _| s.result(Type::Unknown));
    let op = g.create(spec.operands(values.iter().copied()));
    let mut ev = Evaluator::new(&g, &pool);
    for (v, t) in values.iter().zip(operands) {
        let (Some(v), Some(t)) = (v, t) else { continue };
        match how {
            How::Bound => ev.bind(*v, Binding::Tensor(t.clone())),
            How::Lazy => ev.bind(
                *v,
                Binding::Lazy {
                    dtype: t.dtype(),
                    dims: t.dims().to_vec(),
                    f: Box::new(move |at| t.get(ravel(t.dims(), at)).expect("inside")),
                },
            ),
            How::Constants => {}
        }
    }
    (0..results)
        .map(|r| {
            let v = g.result(op, r);
            if how == How::Bound {
                return Ok(Tensor::clone(&*ev.tensor(v)?));
            }
            let (dtype, dims) = (ev.dtype(v)?, ev.dims(v)?);
            let n = dims.iter().product::<u64>();
            let all: Vec<Scalar> = (0..n)
                .map(|i| ev.element(v, &unravel(&dims, i)))
                .collect::<Result<_, EvalError>>()?;
            Ok(if dtype.is_float() {
                Tensor::floats(dtype, &dims, all.iter().map(|s| s.to_f64()).collect())
            } else {
                Tensor::ints(dtype, &dims, all.iter().map(|s| s.to_i64()).collect())
            })
        })
        .collect()
}

/// What differs, if anything: shapes and integers exactly, floats by more than `tolerance` relative to `max(1, |want|)`.
fn difference(got: &Tensor, want: &Tensor, tolerance: f64) -> Option<String> {
    if (got.dtype(), got.dims()) != (want.dtype(), want.dims()) {
        return Some(format!(
            "{} {:?} instead of {} {:?}",
            got.dtype(),
            got.dims(),
            want.dtype(),
            want.dims()
        ));
    }
    if !got.dtype().is_float() {
        return (got != want)
            .then(|| format!("{:?} instead of {:?}", got.to_i64s(), want.to_i64s()));
    }
    let far = |a: f64, b: f64| {
        !(a == b || (a - b).abs() <= tolerance * b.abs().max(1.0) || (a.is_nan() && b.is_nan()))
    };
    let (a, b) = (got.to_f64s(), want.to_f64s());
    let i = (0..a.len()).find(|&i| far(a[i], b[i]))?;
    Some(format!("element {i}: {} instead of {}\n   got {a:?}\n  want {b:?}", a[i], b[i]))
}

/// onnxruntime rounds to the element type, and computes the coordinates of a resize in f32.
fn tolerance(mnemonic: &str, dtype: DType) -> f64 {
    match (mnemonic, dtype) {
        ("resize", _) => 5e-6,
        (_, DType::F16) => 1e-3,
        _ => 1e-6,
    }
}

#[test]
fn agrees_with_onnxruntime() {
    let mut failures = Vec::new();
    let cases = cases();
    for c in &cases {
        for how in [How::Bound, How::Lazy, How::Constants] {
            let got = evaluate(&c.mnemonic, &c.attrs, &c.operands, c.results.len(), how);
            let got = got.unwrap_or_else(|e| {
                failures.push(format!("line {}: {:?} {how:?}: {e}", c.line, c.attrs));
                Vec::new()
            });
            for (r, (got, want)) in got.iter().zip(&c.results).enumerate() {
                if let Some(d) = difference(got, want, tolerance(&c.mnemonic, want.dtype())) {
                    failures.push(format!(
                        "line {}: {} {:?} {how:?} result {r}: {d}",
                        c.line, c.mnemonic, c.attrs
                    ));
                }
            }
        }
    }
    assert!(cases.len() > 500, "{} cases", cases.len());
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// `perm[i]` is the axis of t that axis `i` of the result is.
fn permute(t: &Tensor, perm: &[usize]) -> Tensor {
    let dims: Vec<u64> = perm.iter().map(|&p| t.dims()[p]).collect();
    let from = t.to_f64s();
    let values = (0..t.len() as u64)
        .map(|i| {
            let at = unravel(&dims, i);
            let mut source = vec![0; at.len()];
            perm.iter().zip(&at).for_each(|(&p, &a)| source[p] = a);
            from[ravel(t.dims(), &source)]
        })
        .collect();
    Tensor::floats(t.dtype(), &dims, values)
}

fn replaced(attrs: &[(String, String)], key: &str, value: &str) -> Attrs {
    let mut out: Vec<_> = attrs.iter().filter(|(k, _)| k != key).cloned().collect();
    out.push((key.into(), value.into()));
    out
}

#[test]
fn channels_last_layouts_agree_with_channels_first() {
    let mut seen = [0; 4];
    for c in cases() {
        let spatial = ["conv", "conv_transpose", "pool", "global_pool"];
        let Some(x) = c.operands[0].as_ref().filter(|x| x.dtype() == DType::F32) else { continue };
        if !spatial.contains(&c.mnemonic.as_str()) {
            continue;
        }
        let s = x.dims().len().saturating_sub(2);
        let letters = ["", "W", "HW", "DHW"].get(s).copied().unwrap_or_default();
        let spatial: Vec<usize> = (2..2 + s).collect();
        // To channels last and back.
        let last = [&[0], &spatial[..], &[1]].concat();
        let first = [&[0, s + 1], &(1..=s).collect::<Vec<_>>()[..]].concat();
        let x = permute(x, &last);
        let attrs = replaced(&c.attrs, "x", &format!("N{letters}C"));
        let mut runs: Vec<(Attrs, Vec<Option<Tensor>>)> = Vec::new();
        match c.mnemonic.as_str() {
            "pool" if c.results.len() == 1 => {
                runs.push((attrs, vec![Some(x)]));
                seen[0] += 1;
            }
            "conv" | "conv_transpose" => {
                let w = c.operands[1].as_ref().expect("a kernel");
                let bias = c.operands.get(2).cloned().flatten();
                // OIHW to HWIO, IOHW to HWOI: in both, the second axis comes before the first.
                let order = if c.mnemonic == "conv" { "IO" } else { "OI" };
                let kernel = permute(w, &[&spatial[..], &[1, 0]].concat());
                let layout = format!("{letters}{order}");
                let ops = vec![Some(x.clone()), Some(kernel), bias.clone()];
                runs.push((replaced(&attrs, "w", &layout), ops));
                seen[1] += 1;
                let groups = x.dims()[s + 1];
                if c.mnemonic == "conv" && w.dims()[1] == 1 {
                    // One input channel per group: [C·M, 1, k…] is depthwise, [k…, C, M].
                    let m = w.dims()[0] / groups;
                    let dims = [&[groups, m], &w.dims()[2..]].concat();
                    let split = Tensor::floats(w.dtype(), &dims, w.to_f64s());
                    let kernel = permute(&split, &[&spatial[..], &[0, 1]].concat());
                    let attrs = replaced(&attrs, "w", &format!("{letters}CM"));
                    let attrs = replaced(&attrs, "groups", "1");
                    runs.push((attrs, vec![Some(x), Some(kernel), bias]));
                    seen[2] += 1;
                }
            }
            "global_pool" => {
                let flat = attrs.iter().filter(|(k, _)| k != "x").cloned().collect::<Vec<_>>();
                runs.push((replaced(&flat, "channel_last", "true"), vec![Some(x)]));
                seen[3] += 1;
            }
            _ => {}
        }
        for (attrs, operands) in runs {
            for how in [How::Bound, How::Constants] {
                let got = evaluate(&c.mnemonic, &attrs, &operands, 1, how).expect("evaluated");
                let d = difference(&permute(&got[0], &first), &c.results[0], 1e-6);
                assert_eq!(d, None, "line {}: {} {attrs:?}", c.line, c.mnemonic);
            }
        }
    }
    assert!(seen.iter().all(|&n| n >= 4) && seen[1] > 80, "{seen:?}");
}
