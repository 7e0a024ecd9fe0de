//! A Keras model as a document: opened into a module, and saved by patching the files it came from.

use super::{
    export::export,
    generation::is_keras2,
    import::Importer,
    json::{self, Json},
    model::{self, Model},
    record::{Record, Store},
    rewrite::rewrite,
    splice::Edits,
    weights::WeightFile,
};
use crate::{
    FrontendError,
    archive::{Archive, Patch},
    bytes::{MappedFile, Source},
    hdf5::{File, Value},
    payload::{Measured, Weights},
    save::{
        Check, Content, FileIdentity, Progress, Staged, Transaction, WriteOptions, directory_of,
        resolve, watched, write_checked,
    },
};
use normfold_ir::{Attribute, ConstId, Module, RoundingStats};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The architecture in an archive, and its weights.
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.weights.h5";
/// The attribute with the architecture in a whole-model HDF5 file.
const MODEL_CONFIG: &str = "model_config";
/// Bytes that an architecture may have.
const LARGEST_CONFIG: u64 = 1 << 30;
/// Bytes of weights that are unpacked into memory where an archive has them packed.
const LARGEST_PACKED: u64 = 4 << 30;

/// How to open a document.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The weights of an architecture that stands for itself: a `.weights.h5`, or the HDF5 file of `save_weights`.
    pub weights: Option<PathBuf>,
}

impl OpenOptions {
    /// With the weights in that file.
    pub fn weights(mut self, path: impl Into<PathBuf>) -> Self {
        self.weights = Some(path.into());
        self
    }
}

/// How to save a document.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct SaveOptions<'a> {
    /// Threads that compute and write weights; 0 counts as 1. The bytes are the same with any number.
    pub threads: usize,
    /// Told how many bytes of how many are written, and may stop it.
    pub progress: Option<&'a Progress<'a>>,
    /// Looks at the finished document before it gets its name; `false` drops it.
    pub check: Option<&'a Check<'a>>,
    /// Whether the files outlast a loss of power from when the call returns.
    pub sync: bool,
    /// Where the weights of an architecture go that has them in a file of their own. Default: beside it, as
    /// `NAME.weights.h5`.
    pub weights: Option<&'a Path>,
}

impl<'a> SaveOptions<'a> {
    /// With that many threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// With files that outlast a loss of power, or without.
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// With somebody who is told how many bytes of how many are written, and may stop it.
    pub fn progress(mut self, progress: &'a Progress<'a>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// With a check that the finished document has to pass.
    pub fn check(mut self, check: &'a Check<'a>) -> Self {
        self.check = Some(check);
        self
    }

    /// With the weights in that file.
    pub fn weights(mut self, path: &'a Path) -> Self {
        self.weights = Some(path);
        self
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SaveReport {
    /// Bytes of all files.
    pub bytes: u64,
    /// The files, the document first.
    pub files: Vec<PathBuf>,
    /// What rounding did to each constant that was computed while it was written, in the order of the pool.
    pub rounding: Vec<(ConstId, RoundingStats)>,
    /// What was left out, or has another name now.
    pub notes: Vec<String>,
}

/// What the architecture and the weights are kept in.
#[derive(Clone, Debug)]
enum Container {
    /// A file of JSON, perhaps with weights in another file.
    Text,
    /// A `.keras` archive: its members.
    Archive { archive: Archive, config: usize, weights: usize },
    /// A whole-model HDF5 file.
    Hdf5,
}

impl Container {
    /// Keras goes by names: what is told of one that means another container.
    fn misnamed(&self, target: &Path) -> Option<String> {
        let (own, ending) = match self {
            Container::Text => ("an architecture in JSON", "json"),
            Container::Archive { .. } => ("a .keras archive", "keras"),
            Container::Hdf5 => ("a whole-model HDF5 file", "h5"),
        };
        let given = target.extension()?.to_str()?.to_ascii_lowercase().replace("hdf5", "h5");
        let other = given != ending && ["json", "keras", "h5"].contains(&&*given);
        other.then(|| {
            format!("the output is {own}, as the input is, and Keras goes by the name: it has to end in .{ending}")
        })
    }

    /// An error in the architecture, with where that is.
    fn around(&self, e: FrontendError) -> FrontendError {
        let outer = match self {
            Container::Text => return e,
            Container::Archive { .. } => format!("member `{CONFIG}`"),
            Container::Hdf5 => format!("attribute `{MODEL_CONFIG}`"),
        };
        match e {
            FrontendError::Malformed { format, place, offset, problem } => {
                let place = format!("{outer}, {place}");
                FrontendError::Malformed { format, place, offset, problem }
            }
            other => other,
        }
    }
}

/// An opened Keras model. It holds its files open and mapped.
#[derive(Clone, Debug)]
pub struct KerasDocument {
    source: Source,
    name: PathBuf,
    container: Container,
    /// The architecture.
    text: Arc<[u8]>,
    json: Json,
    weights: Option<WeightFile>,
    weights_name: PathBuf,
    imported: Record,
}

/// Whether the content can be a Keras model: an architecture in JSON, an archive or an HDF5 file.
pub fn looks_like(bytes: &[u8]) -> bool {
    Archive::looks_like(bytes)
        || File::looks_like(bytes)
        || json::has_members(bytes, &["class_name", "config"])
}

fn mapped(path: &Path) -> Result<Source, FrontendError> {
    let file = MappedFile::open(path).map_err(|e| FrontendError::io("open", path, e))?;
    Ok(Source::File(Arc::new(file)))
}

impl KerasDocument {
    /// Opens a model file by memory map and imports it. Weights are viewed in the file, not copied.
    ///
    /// # Errors
    /// A file cannot be read or is no Keras model; architecture and weights do not belong together.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<(Self, Module), FrontendError> {
        Self::new(mapped(path)?, path.to_path_buf(), options)
    }

    /// Imports a model in memory.
    ///
    /// # Errors
    /// As [`KerasDocument::open`].
    pub fn from_bytes(
        bytes: impl Into<Arc<[u8]>>,
        options: &OpenOptions,
    ) -> Result<(Self, Module), FrontendError> {
        Self::new(Source::Memory(bytes.into()), "model in memory".into(), options)
    }

    fn new(
        source: Source,
        name: PathBuf,
        options: &OpenOptions,
    ) -> Result<(Self, Module), FrontendError> {
        let bytes = source.bytes();
        let (mut weights, mut weights_name) = (None, name.clone());
        let (container, text): (Container, Arc<[u8]>) = if Archive::looks_like(bytes) {
            let archive = Archive::open(&source)?;
            let member = |name: &str| {
                let what = format!("member `{name}`");
                archive.find(name).ok_or_else(|| {
                    FrontendError::invalid(
                        "Keras archive",
                        what,
                        "it is not there: no .keras archive",
                    )
                })
            };
            let (config, index) = (member(CONFIG)?, member(WEIGHTS)?);
            let (config_member, member) = (&archive.members()[config], &archive.members()[index]);
            let text = archive.read(config_member, LARGEST_CONFIG)?;
            weights = Some(match archive.stored_range(member) {
                Some(range) => WeightFile::open(&source, range)?,
                None => {
                    let unpacked = archive.read(member, LARGEST_PACKED)?;
                    let unpacked = Source::Memory(unpacked.into());
                    let range = 0..unpacked.len();
                    WeightFile::open(&unpacked, range)?
                }
            });
            (Container::Archive { archive: archive.clone(), config, weights: index }, text.into())
        } else if File::looks_like(bytes) {
            let file = WeightFile::open(&source, 0..source.len())?;
            let root = file.file().root();
            let Some(Value::Text(text)) = file.file().attribute(root, MODEL_CONFIG) else {
                return Err(FrontendError::invalid(
                    "Keras model",
                    format!("attribute `{MODEL_CONFIG}`"),
                    "it is not there: this file has weights alone; open its architecture (JSON) and give this file with it",
                ));
            };
            let text = text.as_bytes().into();
            weights = Some(file);
            (Container::Hdf5, text)
        } else {
            if let Some(path) = &options.weights {
                let source = mapped(path)?;
                let range = 0..source.len();
                weights = Some(WeightFile::open(&source, range)?);
                weights_name.clone_from(path);
            }
            (Container::Text, bytes.into())
        };
        if options.weights.is_some() && !matches!(container, Container::Text) {
            return Err(FrontendError::unsupported(
                "weights of their own",
                "giving them to a model that holds its weights",
            ));
        }
        let json = Json::parse(&text).map_err(|e| container.around(e))?;
        let model = model::read(&json)?;
        let store = weights.as_ref().map(|w| w.store(&model)).transpose()?;
        let (module, imported) = import(&text, &json, &model, store.as_ref())?;
        drop(model);
        let document =
            Self { source, name, container, text, json, weights, weights_name, imported };
        Ok((document, module))
    }

    /// The architecture as a tree.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The architecture as it was read.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether its weights are at hand.
    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// The bytes of all files it came from.
    pub fn len(&self) -> u64 {
        let apart = matches!(self.container, Container::Text);
        let weights = self.weights.as_ref().filter(|_| apart).map_or(0, |w| w.source().len());
        self.source.len() + weights
    }

    /// Whether the document has no bytes: never, once it is open.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// Writes the document with the module's changes, by way of fresh files beside the targets. The input may be the output.
    /// The generation and the container of the input are those of the output, and without changes its bytes are.
    ///
    /// Of an architecture with weights of their own, the weights get their name right before the architecture.
    ///
    /// # Errors
    /// A file cannot be written or read; the architecture cannot say a change; weights are needed that are not at hand; a
    /// weight that became non-finite is [`FrontendError::NonFinite`], a document that does not pass the check
    /// [`FrontendError::Rejected`]. The targets are then as they were.
    pub fn save(
        &self,
        module: &Module,
        target: &Path,
        options: SaveOptions<'_>,
    ) -> Result<SaveReport, FrontendError> {
        let mut report = SaveReport { files: vec![target.to_path_buf()], ..SaveReport::default() };
        let measured = Measured::default();
        let weights = Weights { pool: &module.constants, measured: &measured };
        let (content, apart) =
            self.contents(module, weights, options.threads, &mut report.notes)?;
        report.notes.extend(self.container.misnamed(target));
        report.bytes = content.len() + apart.as_ref().map_or(0, Content::len);
        report.files.extend(self.write(&content, apart.as_ref(), target, &options)?);
        drop((content, apart));
        report.rounding = measured.take();
        Ok(report)
    }

    /// Writes the document with the module's changes to `out`, in order, without threads.
    ///
    /// # Errors
    /// As [`KerasDocument::save`]; the weights are in a file of their own.
    pub fn save_to(
        &self,
        module: &Module,
        out: &mut dyn io::Write,
        options: SaveOptions<'_>,
    ) -> Result<SaveReport, FrontendError> {
        let mut report = SaveReport::default();
        let measured = Measured::default();
        let weights = Weights { pool: &module.constants, measured: &measured };
        let (content, apart) =
            self.contents(module, weights, options.threads, &mut report.notes)?;
        if apart.is_some() {
            return Err(FrontendError::unsupported("output", "writing two files in one"));
        }
        report.bytes = content.len();
        let (sources, names) = self.sources();
        let write = WriteOptions { progress: options.progress, ..WriteOptions::default() };
        content
            .write_to(&sources, out, write)
            .map_err(|e| crate::save::explain(e, &names, Path::new("output in memory")))?;
        drop((content, apart));
        report.rounding = measured.take();
        Ok(report)
    }

    /// What the file will hold, and the file of weights beside it; what was left out goes to `notes`.
    fn contents<'a>(
        &'a self,
        module: &Module,
        weights: Weights<'a>,
        threads: usize,
        notes: &mut Vec<String>,
    ) -> Result<(Content<'a>, Option<Content<'a>>), FrontendError> {
        let model = model::read(&self.json)?;
        let change = export(module, &model, &self.imported)?;
        let changed = !change.is_empty(&model);
        let mut text = None;
        if changed {
            if self.weights.is_none() {
                return Err(FrontendError::unsupported(
                    "a Keras architecture",
                    "changing it without its weights",
                ));
            }
            let mut edits = Edits::new(&self.text);
            let config = self.json.get("config").unwrap_or(&self.json);
            rewrite(&mut edits, config, &model, &change)?;
            if !edits.is_empty() {
                text = Some(edits.finish());
            }
            for ((name, old), now) in model.outputs.iter().zip(&change.outputs) {
                let (Some(before), Some(after)) = (model.producer(*old), model.producer(*now))
                else {
                    continue;
                };
                // Members of a dictionary keep their names.
                let note = format!(
                    "output `{name}` is the result of layer `{after}` now, and Keras names outputs after layers"
                );
                if before == *name && before != after && !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        // The file of weights, where something in it changes.
        let config = match (&self.container, &text) {
            (Container::Hdf5, Some(text)) => std::str::from_utf8(text).ok(),
            _ => None,
        };
        let rewritten = match &self.weights {
            Some(file) if changed => {
                let number = u32::from(!self.holds_weights());
                Some(file.rewrite(
                    number,
                    &model,
                    &self.imported,
                    &change,
                    weights,
                    config,
                    notes,
                )?)
            }
            _ => None,
        };
        Ok(match &self.container {
            Container::Hdf5 => (rewritten.unwrap_or_else(|| self.whole()), None),
            Container::Archive { archive, config, weights } => {
                if let (true, Some(member)) = (changed, archive.members().get(*weights))
                    && archive.stored_range(member).is_some()
                {
                    archive.check(member, threads)?;
                }
                let mut patch = Patch::new(archive, 0);
                if let Some(text) = &text {
                    patch.replace(*config, owned(text));
                }
                if let Some(content) = rewritten {
                    patch.replace(*weights, content);
                }
                (patch.finish()?, None)
            }
            Container::Text => {
                let apart = rewritten.or_else(|| {
                    let mut content = Content::new();
                    content.source(1, 0..self.weights.as_ref()?.source().len());
                    Some(content)
                });
                (text.map_or_else(|| self.whole(), |text| owned(&text)), apart)
            }
        })
    }

    /// What contents are made of, with the names of the files.
    fn sources(&self) -> (Vec<Source>, [PathBuf; 2]) {
        let mut sources = vec![self.source.clone()];
        if let Some(file) = self.weights.as_ref().filter(|_| !self.holds_weights()) {
            sources.push(file.source().clone());
        }
        (sources, [self.name.clone(), self.weights_name.clone()])
    }

    /// Whether the weights are in the file of the document itself, to be read there.
    fn holds_weights(&self) -> bool {
        match &self.container {
            Container::Text => false,
            Container::Hdf5 => true,
            Container::Archive { archive, weights, .. } => {
                archive.members().get(*weights).is_some_and(|m| archive.stored_range(m).is_some())
            }
        }
    }

    fn whole<'a>(&self) -> Content<'a> {
        let mut content = Content::new();
        content.source(0, 0..self.source.len());
        content
    }

    /// Writes both contents; gives the path of the second.
    fn write(
        &self,
        content: &Content<'_>,
        apart: Option<&Content<'_>>,
        target: &Path,
        options: &SaveOptions<'_>,
    ) -> Result<Option<PathBuf>, FrontendError> {
        let (sources, names) = self.sources();
        let mut transaction = Transaction::default();
        for (source, name) in sources.iter().zip(&names) {
            transaction.input(source.clone(), name.clone());
        }
        let before = apart.map_or(0, Content::len);
        let total = content.len() + before;
        let tell = options.progress;
        let progress = |done: u64, _: u64| watched(tell, before + done, total);
        let how = WriteOptions {
            threads: options.threads,
            progress: Some(&progress),
            sync: options.sync,
        };
        let Some(apart) = apart else {
            write_checked(content, &sources, &names, target, how, options.check, transaction)?;
            return Ok(None);
        };
        let path = match options.weights {
            Some(path) => path.to_path_buf(),
            None => weights_beside(target),
        };
        let is = |a: &Path, b: &Path| {
            FileIdentity::of(a).is_some_and(|a| FileIdentity::of(b).is_some_and(|b| a == b))
        };
        for (output, other, what) in [
            (target, &*path, "architecture and weights would be one file"),
            (target, &*self.weights_name, "the weights of the input are there"),
            (&*path, &*self.name, "the architecture of the input is there"),
        ] {
            if is(output, other) {
                return Err(FrontendError::io("write", output, io::Error::other(what)));
            }
        }
        let real = resolve(&path)?.ok_or_else(|| {
            let e = io::Error::other("weights need a regular file");
            FrontendError::io("write", &path, e)
        })?;
        let first = |done: u64, _: u64| watched(tell, done, total);
        let write = WriteOptions { progress: Some(&first), ..how };
        let staged = Staged::write(apart, &sources, &names, &real, write, false)?;
        // From here on both files are of this run: another one that writes the same pair waits.
        transaction.lock(directory_of(&real))?;
        transaction.replace(staged, real);
        write_checked(content, &sources, &names, target, how, options.check, transaction)?;
        Ok(Some(path))
    }
}

/// Where the weights of an architecture go unless told otherwise.
pub fn weights_beside(architecture: &Path) -> PathBuf {
    architecture.with_extension("weights.h5")
}

fn owned<'a>(bytes: &[u8]) -> Content<'a> {
    let mut content = Content::new();
    content.bytes(bytes);
    content
}

/// The module that an architecture describes, its weights where they are stored; absent without a store.
fn import(
    text: &[u8],
    json: &Json,
    model: &Model<'_>,
    store: Option<&Store>,
) -> Result<(Module, Record), FrontendError> {
    let keras2 = is_keras2(json, model);
    let mut importer = Importer::new(text, keras2, model.name, store);
    let record = importer.main(model)?;
    let mut module = importer.module;
    let attrs = &mut module.attrs;
    attrs.insert("source".into(), Attribute::Str("keras".into()));
    attrs.insert("generation".into(), Attribute::Int(if keras2 { 2 } else { 3 }));
    if let Some(version) = json.get("keras_version").and_then(Json::as_str) {
        attrs.insert("keras_version".into(), Attribute::Str(version.into()));
    }
    if !importer.policies.is_empty() {
        // Mixed policies compute in another type than that of their weights: no cast stands for it.
        let policies = importer.policies.into_iter().map(Attribute::Str).collect();
        attrs.insert("dtype_policies".into(), Attribute::List(policies));
    }
    Ok((module, record))
}
