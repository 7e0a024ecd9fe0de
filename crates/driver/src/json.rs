//! Reports as JSON; docs/cli.md has their schema.

use crate::{
    BatchNorms, Layer, Report,
    ir::{DType, Remark, RemarkArg},
    passes::LayerRanges,
    report::is_verdict,
    verify::{Difference, Verification},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};
use std::{fmt, io, sync::Arc, time::Duration};

/// What a run does not know of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The input as given.
    pub input: &'a str,
    /// The output as given, if something was written.
    pub output: Option<&'a str>,
    /// From start to end, where times are to be told.
    pub time: Option<Duration>,
}

/// A report as a JSON object. It is written piece by piece, `{:#}` on lines of their own: there may be a hundred thousand
/// remarks.
pub struct Document<'a> {
    head: Map<String, Value>,
    layers: Option<&'a [Layer]>,
    remarks: &'a [Remark],
    shown: &'a dyn Fn(&Remark) -> bool,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.head {
            map.serialize_entry(key, value)?;
        }
        if let Some(layers) = self.layers {
            map.serialize_entry("layers", &Each(|| layers.iter().map(layer)))?;
        }
        let shown = || self.remarks.iter().filter(|r| (self.shown)(r));
        map.serialize_entry("remarks", &Each(|| shown().map(remark)))?;
        map.end()
    }
}

impl fmt::Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pretty, out) = (f.alternate(), Pieces(f));
        let written = match pretty {
            true => serde_json::to_writer_pretty(out, self),
            false => serde_json::to_writer(out, self),
        };
        written.map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A list whose elements are made one by one.
struct Each<F>(F);

impl<I: Iterator<Item = Value>, F: Fn() -> I> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// What is written is text, in whole characters.
struct Pieces<'f, 'a>(&'f mut fmt::Formatter<'a>);

impl io::Write for Pieces<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The report of a run, with the remarks that `shown` lets through.
pub fn report<'a>(
    report: &'a Report,
    about: &About<'_>,
    shown: &'a dyn Fn(&Remark) -> bool,
) -> Document<'a> {
    let head = head(report, about);
    Document { head, layers: report.layers.as_deref(), remarks: &report.remarks, shown }
}

/// All but the long lists.
fn head(report: &Report, about: &About<'_>) -> Map<String, Value> {
    let counts = |n: &BatchNorms| {
        json!({
            "total": n.total,
            "folded": n.folded,
            "kept": n.kept_total(),
            "removed": n.removed,
            "reasons": n.kept.iter().map(|(c, n)| ((*c).to_owned(), json!(n))).collect::<Map<_, _>>(),
        })
    };
    let mut object = json!({
        "schema": 1,
        "normfold": env!("CARGO_PKG_VERSION"),
        "input": about.input,
        "output": about.output,
        "pipeline": report.pipeline,
        "batch_norms": counts(&report.batch_norms),
        "affine_chains": counts(&report.affine_chains),
        "largest_error": report.largest_error.map(number),
        "largest_bound": report.largest_bound.map(number),
        "largest_rounding": report.largest_rounding.map(number),
        "ops": { "before": report.ops.before, "after": report.ops.after },
        "size": report.size.map(|s| json!({
            "before": s.before,
            "after": about.output.map(|_| s.after),
        })),
        "files": report.written.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
        "notes": report.notes,
        "repeats": report.repeats,
    });
    if let Some(time) = about.time {
        object["seconds"] = json!(time.as_secs_f64());
    }
    object["passes"] = report
        .passes
        .iter()
        .zip(&report.times)
        .map(|(p, time)| {
            let mut pass = json!({
                "pass": p.text,
                "changed": p.changed,
                "rewrites": p.rewrites,
                "statistics": p.statistics.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect::<Map<_, _>>(),
            });
            if about.time.is_some() {
                pass["seconds"] = json!(time.as_secs_f64());
            }
            pass
        })
        .collect();
    if let Some(found) = &report.verification {
        object["verification"] = verification(found);
    }
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What `explain` tells: the report of a run that wrote nothing, with its verdicts as remarks.
pub fn explanation<'a>(report: &'a Report, input: &str) -> Document<'a> {
    let mut head = head(report, &About { input, ..About::default() });
    for name in ["output", "largest_rounding", "size", "files", "notes", "repeats"] {
        head.shift_remove(name);
    }
    Document {
        head,
        layers: report.layers.as_deref(),
        remarks: &report.remarks,
        shown: &is_verdict,
    }
}

/// A layer as a JSON object.
fn layer(l: &Layer) -> Value {
    json!({
        "graph": &*l.graph,
        "op": &*l.op,
        "location": &*l.location,
        "folds": l.folds.iter().map(|f| &**f).collect::<Vec<_>>(),
        "channels": l.before.channels,
        "before": ranges(&l.before),
        "after": l.after.as_ref().map(ranges),
    })
}

fn ranges(r: &LayerRanges) -> Value {
    let list = |values: &[f64]| values.iter().map(|v| number(*v)).collect::<Value>();
    let v = r.values.as_ref();
    json!({
        "weight": &*r.weight,
        "bias": r.bias.as_deref(),
        "w_min": v.map(|v| list(&v.min)),
        "w_max": v.map(|v| list(&v.max)),
        "b": v.and_then(|v| v.bias.as_deref()).map(list),
        "dead": v.map(|v| v.dead().collect::<Vec<_>>()),
    })
}

/// A remark as a JSON object.
pub fn remark(r: &Remark) -> Value {
    json!({
        "kind": r.kind.name(),
        "pass": r.pass,
        "graph": &*r.graph,
        "op": &*r.op,
        "location": &*r.location,
        "code": r.code,
        "message": r.message,
        "args": r.args.iter().map(|(n, v)| ((*n).to_owned(), argument(v))).collect::<Map<_, _>>(),
    })
}

fn argument(arg: &RemarkArg) -> Value {
    match arg {
        RemarkArg::Float(v) => number(*v),
        RemarkArg::Int(v) => (*v).into(),
        RemarkArg::Str(s) => (**s).into(),
        RemarkArg::List(l) => l.iter().map(|s| Value::from(&**s)).collect(),
        RemarkArg::Floats(l) => l.iter().map(|v| number(*v)).collect(),
    }
}

/// JSON has no word for what is not finite.
pub fn number(v: f64) -> Value {
    if v.is_finite() {
        json!(v)
    } else if v.is_nan() {
        "nan".into()
    } else if v > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}

/// What was compared, as a JSON object.
pub fn verification(found: &Verification) -> Value {
    let input = |(name, dtype, dims): &(Arc<str>, DType, Vec<u64>)| json!({ "name": &**name, "type": dtype.name(), "shape": dims });
    let output = |d: &Difference| {
        json!({
            "name": &*d.name,
            "type": d.dtype.name(),
            "shape": d.dims,
            "equal": d.passed(),
            "became": d.other.as_ref().map(|(dtype, dims)| json!({ "type": dtype.name(), "shape": dims })),
            "compared": d.compared,
            "non_finite": d.non_finite,
            "mismatched": d.mismatched,
            "absolute": number(d.absolute),
            "relative": number(d.relative()),
            "largest": number(d.largest),
            "psnr": number(d.psnr),
            "tolerance": d.tolerance,
        })
    };
    json!({
        "equal": found.passed(),
        "interface": null,
        "engine": found.engine,
        "samples": found.samples,
        "inputs": found.inputs.iter().map(input).collect::<Vec<_>>(),
        "outputs": found.outputs.iter().map(output).collect::<Vec<_>>(),
    })
}

/// What is said where nothing was run: the models take or give different things.
pub fn different_interfaces(difference: &str) -> Value {
    json!({
        "equal": false,
        "interface": difference,
        "engine": null,
        "samples": 0,
        "inputs": [],
        "outputs": [],
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_that_are_none_are_words() {
        assert_eq!(number(f64::NEG_INFINITY), "-inf");
        assert_eq!(number(0.5), 0.5);
    }
}
