//! A `tracing` layer that writes the Trace Event Format of Chrome: an array of `B`egin, `E`nd and `i`nstant events, one
//! per line, loadable in Perfetto and chrome://tracing.

use serde_json::{Map, Value, json};
use std::{
    cell::Cell,
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

struct Sink {
    /// `None` until [`TraceGuard::begin`].
    out: Option<BufWriter<File>>,
    /// What is to be written by then.
    early: Vec<u8>,
    first: bool,
    /// What went wrong first; reported by [`TraceGuard::finish`].
    error: Option<io::Error>,
}

impl Sink {
    fn event(&mut self, event: &Value) {
        if self.error.is_some() {
            return;
        }
        let separator = if std::mem::replace(&mut self.first, false) { "[\n" } else { ",\n" };
        self.error = match &mut self.out {
            Some(out) => write!(out, "{separator}{event}"),
            None => write!(self.early, "{separator}{event}"),
        }
        .err();
    }
}

/// Writes spans and events as they happen.
pub(crate) struct ChromeLayer {
    sink: Arc<Mutex<Sink>>,
    start: Instant,
}

/// Completes the file.
pub(crate) struct TraceGuard {
    sink: Arc<Mutex<Sink>>,
}

impl ChromeLayer {
    /// A layer that keeps what happens until it is told the file, and the guard that tells it.
    pub(crate) fn new() -> (Self, TraceGuard) {
        let sink = Sink { out: None, early: Vec::new(), first: true, error: None };
        let sink = Arc::new(Mutex::new(sink));
        (Self { sink: sink.clone(), start: Instant::now() }, TraceGuard { sink })
    }

    fn emit(&self, phase: &str, name: &str, target: &str, args: Map<String, Value>) {
        let micros = self.start.elapsed().as_nanos() as f64 / 1e3;
        let mut event = json!({
            "name": name, "cat": target, "ph": phase, "ts": micros, "pid": 1, "tid": thread_number(),
        });
        if phase == "i" {
            // The scope of an instant event: its thread.
            event["s"] = "t".into();
        }
        if !args.is_empty() {
            event["args"] = Value::Object(args);
        }
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).event(&event);
    }
}

impl TraceGuard {
    /// Begins the file, in whose place there may be another one.
    pub(crate) fn begin(&self, path: &Path) -> io::Result<()> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&std::mem::take(&mut sink.early))?;
        sink.out = Some(out);
        Ok(())
    }

    /// Closes the array; nothing where the file was not begun.
    pub(crate) fn finish(self) -> io::Result<()> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(e) = sink.error.take() {
            return Err(e);
        }
        let end: &[u8] = if sink.first { b"[]\n" } else { b"\n]\n" };
        let Some(out) = &mut sink.out else { return Ok(()) };
        out.write_all(end)?;
        out.flush()
    }
}

/// Threads by the order in which they first traced something; the first is 1.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
    NUMBER.with(|n| {
        if n.get() == 0 {
            n.set(NEXT.fetch_add(1, Relaxed));
        }
        n.get()
    })
}

/// The fields of a span, kept until it is entered.
struct Fields(Map<String, Value>);

#[derive(Default)]
struct FieldVisitor(Map<String, Value>);

impl Visit for FieldVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), json!(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

/// A span is shown under its `pass` field where it has one, else under its own name.
fn span_name<S: for<'a> LookupSpan<'a>>(span: &SpanRef<'_, S>) -> (String, Map<String, Value>) {
    let extensions = span.extensions();
    let args = extensions.get::<Fields>().map(|f| f.0.clone()).unwrap_or_default();
    let name = match args.get("pass") {
        Some(Value::String(pass)) => pass.clone(),
        _ => span.name().to_owned(),
    };
    (name, args)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ChromeLayer {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = FieldVisitor::default();
        attrs.record(&mut fields);
        if let Some(span) = cx.span(id) {
            span.extensions_mut().insert(Fields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, cx: Context<'_, S>) {
        let mut fields = FieldVisitor::default();
        values.record(&mut fields);
        if let Some(span) = cx.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<Fields>()
        {
            known.0.extend(fields.0);
        }
    }

    fn on_enter(&self, id: &Id, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id) {
            let (name, args) = span_name(&span);
            self.emit("B", &name, span.metadata().target(), args);
        }
    }

    fn on_exit(&self, id: &Id, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id) {
            let (name, args) = span_name(&span);
            self.emit("E", &name, span.metadata().target(), args);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = FieldVisitor::default();
        event.record(&mut fields);
        let name = match fields.0.shift_remove("message") {
            Some(Value::String(message)) => message,
            _ => event.metadata().name().to_owned(),
        };
        self.emit("i", &name, event.metadata().target(), fields.0);
    }
}

#[cfg(test)]
mod tests {
    use super::ChromeLayer;
    use serde_json::Value;
    use tracing_subscriber::prelude::*;

    #[test]
    fn spans_nest_and_events_carry_fields() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("trace.json");
        let (layer, guard) = ChromeLayer::new();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("pass", pass = "dce");
            let _entered = span.enter();
            guard.begin(&path)?;
            tracing::info!(ops = 3, "erased");
            std::io::Result::Ok(())
        })?;
        guard.finish()?;
        let events: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        let seen: Vec<_> =
            events.as_array().into_iter().flatten().map(|e| (&e["ph"], &e["name"])).collect();
        let text = |s: &str| Value::from(s);
        assert_eq!(
            seen,
            [(&text("B"), &text("dce")), (&text("i"), &text("erased")), (&text("E"), &text("dce"))]
        );
        assert_eq!(events[1]["args"]["ops"], 3);
        Ok(())
    }
}
