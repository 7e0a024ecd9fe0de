//! An ONNX model as a document: opened into a module, and saved by patching its own bytes.

use super::{
    capabilities::OnnxCapabilities,
    export::{
        Counts, Export, Imported,
        outside::{ExternalData, NewFile, Policy, locations},
    },
    external::ExternalFiles,
    import,
    model::{GraphView, Model, ModelTable, Origin},
    spell_out::{self, Changes, Found, Window, Windows},
    wire::Bytes,
};
use crate::{
    Elsewhere, FrontendError,
    bytes::{MappedFile, Source},
    payload::{Measured, Weights},
    save::{
        Check, Content, NAME_MAX, Progress, Staged, Transaction, WriteOptions, directory_of,
        resolve, shortened, watched, write_checked,
    },
};
use normfold_ir::{ConstId, Module, OpKind, RoundingStats};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a protobuf message may measure, with some room: tools cannot open anything larger.
const LARGEST: u64 = (2 << 30) - (64 << 10);

/// How to open a document.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Where external data is looked for. Default: the directory of the model; a model in memory has none.
    pub external_directory: Option<PathBuf>,
}

/// How to save a document.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct SaveOptions<'a> {
    /// Threads that compute and write weights; 0 counts as 1. The bytes are the same with any number.
    pub threads: usize,
    /// Told how many bytes of how many are written, and may stop it.
    pub progress: Option<&'a Progress<'a>>,
    /// Looks at the finished document before it gets its name: it stands under another one in the directory of the output,
    /// its external data beside it. `false` drops it, and the new external data.
    pub check: Option<&'a Check<'a>>,
    /// Which tensors have their data outside the document.
    pub external: ExternalData,
    /// Whether document and external data outlast a loss of power from when the call returns. Takes as long as the disk does.
    pub sync: bool,
}

impl<'a> SaveOptions<'a> {
    /// With that choice of tensors whose data is outside the document.
    pub fn external(mut self, external: ExternalData) -> Self {
        self.external = external;
        self
    }

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
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SaveReport {
    /// Bytes of the document itself.
    pub bytes: u64,
    /// Files of external data that were written beside it, with their bytes.
    pub external: Vec<(PathBuf, u64)>,
    /// Where external data is that readers of the output look for elsewhere.
    pub notes: Vec<String>,
    /// Records that differ from the source's.
    pub edited: usize,
    /// Records of the source that are gone.
    pub removed: usize,
    /// New records.
    pub added: usize,
    /// What rounding did to each constant that was computed while it was written, in the order of the pool.
    pub rounding: Vec<(ConstId, RoundingStats)>,
}

/// An opened ONNX model. It holds the file open and mapped.
#[derive(Debug)]
pub struct OnnxDocument {
    source: Source,
    path: Option<PathBuf>,
    table: ModelTable,
    external: ExternalFiles,
    imported: Imported,
}

impl OnnxDocument {
    /// Opens a model file by memory map and imports it. Weights are viewed in the file, not copied.
    ///
    /// # Errors
    /// The file cannot be read, is no ONNX model, or contradicts the specification; external data breaks a rule.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<(Self, Module), FrontendError> {
        let mapped = MappedFile::open(path).map_err(|e| FrontendError::io("open", path, e))?;
        let base =
            options.external_directory.clone().or_else(|| path.parent().map(Path::to_path_buf));
        let files = ExternalFiles::new(base).linked(is_link(path));
        Self::new(Source::File(Arc::new(mapped)), Some(path.to_path_buf()), files)
    }

    /// Imports a model in memory.
    ///
    /// # Errors
    /// As [`OnnxDocument::open`]; external data needs [`OpenOptions::external_directory`].
    pub fn from_bytes(
        bytes: impl Into<Arc<[u8]>>,
        options: &OpenOptions,
    ) -> Result<(Self, Module), FrontendError> {
        let files = ExternalFiles::new(options.external_directory.clone());
        Self::new(Source::Memory(bytes.into()), None, files)
    }

    fn new(
        source: Source,
        path: Option<PathBuf>,
        external: ExternalFiles,
    ) -> Result<(Self, Module), FrontendError> {
        let table = ModelTable::scan(source.bytes())?;
        let model = Model::new(source.bytes(), &table);
        let import::Import { mut module, graphs } = import::import(model, &source, &external)?;
        for (index, id) in graphs.iter().enumerate() {
            if let Some(id) = id {
                let opset = model.graph(index as u32).and_then(|g: GraphView<'_>| g.opset(""));
                module.graph_mut(*id).set_capabilities(Arc::new(OnnxCapabilities { opset }));
            }
        }
        let imported = Imported::new(&module, graphs);
        Ok((Self { source, path, table, external, imported }, module))
    }

    /// The bytes of the document itself.
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Whether the document has no bytes: never, once it is open.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// The files of external data that tensors name: the location as the document writes it, and where it is.
    pub fn external_files(&self) -> Vec<(Arc<str>, PathBuf)> {
        let base = self.external.base().map(Path::to_path_buf).unwrap_or_default();
        let files = self.external.opened().into_iter();
        files.map(|(location, _)| (location.clone(), base.join(&*location))).collect()
    }

    /// Every location of external data that the document names, also where nothing was imported from (what training needs),
    /// and nothing of which was checked.
    ///
    /// # Errors
    /// The document is malformed.
    pub fn locations(&self) -> Result<BTreeSet<String>, FrontendError> {
        let found = Found::default();
        found.model(Bytes::new(self.source.bytes(), 0))?;
        Ok(found.take())
    }

    /// A copy of the document for a reader that is particular: external data at other locations, `name` gives each that
    /// [`Self::external_files`] has its new one, offsets and lengths spelled out; strides, dilations and pads that convolutions
    /// and pools leave to their default spelled out as well; and the names of nodes, or else of their first outputs, with
    /// `node_suffix` at the end. `None` where it would be the document as it is. `module` is what opening gave.
    ///
    /// # Errors
    /// The document cannot be read.
    pub fn spelled_out(
        &self,
        module: &Module,
        name: &dyn Fn(&str) -> String,
        node_suffix: Option<&str>,
    ) -> Result<Option<Vec<u8>>, FrontendError> {
        let opened = self.external.opened();
        let names = |location: &str| {
            let source = opened.iter().find(|(known, _)| &**known == location)?;
            Some((name(location), source.1.len()))
        };
        let mut windows = Windows::new();
        for (table, id) in self.table.graphs.iter().zip(&self.imported.graphs) {
            let Some(g) = id.map(|id| module.graph(id)) else { continue };
            for op in g.ops() {
                let window = match g.kind(op) {
                    OpKind::Conv(c) => Window::Conv(c.x.spatial.into()),
                    OpKind::ConvTranspose(c) => Window::Conv(c.x.spatial.into()),
                    OpKind::Pool(p) => Window::Pool(p.x.spatial.into()),
                    _ => continue,
                };
                if let Some(Origin::Node(i)) = g.origin(op).map(|n| table.origin(n)) {
                    windows.insert((table.content.start, i), window);
                }
            }
        }
        let changes = Changes::new(&names).spelled_out(&windows, node_suffix);
        let content = spell_out::model(Bytes::new(self.source.bytes(), 0), &changes)?;
        if content.is_source(0..self.source.len()) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        content
            .write_to(std::slice::from_ref(&self.source), &mut bytes, WriteOptions::default())
            .map_err(|e| crate::save::explain(e, &self.names(), Path::new(IN_MEMORY)))?;
        Ok(Some(bytes))
    }

    fn names(&self) -> [PathBuf; 1] {
        [self.path.clone().unwrap_or_else(|| "model in memory".into())]
    }

    /// Writes the document with the module's changes to a file, by way of a fresh file beside it. The input may be the output.
    ///
    /// Without changes the output is byte for byte the input, unless [`SaveOptions::external`] asks for other external data
    /// than [`ExternalData::Keep`]. With that, rewritten external data, and all large tensors of a model that
    /// would pass protobuf's 2 GiB, go into a new file beside the output whose name carries a digest of its content. External
    /// data that did not change is copied when the output is in another directory.
    ///
    /// # Errors
    /// The output cannot be written, the input not be read, or a change not be said in the document's opset; a weight that
    /// became non-finite is [`FrontendError::NonFinite`], a document that does not pass the check
    /// [`FrontendError::Rejected`]. The target is then as it was.
    pub fn save(
        &self,
        module: &Module,
        target: &Path,
        options: SaveOptions<'_>,
    ) -> Result<SaveReport, FrontendError> {
        self.save_within(module, target, options, LARGEST)
    }

    /// [`OnnxDocument::save`] with at most `largest` bytes in the document itself.
    fn save_within(
        &self,
        module: &Module,
        target: &Path,
        options: SaveOptions<'_>,
        largest: u64,
    ) -> Result<SaveReport, FrontendError> {
        let measured = Measured::default();
        let weights = Weights { pool: &module.constants, measured: &measured };
        let export = Export::plan(
            Model::new(self.source.bytes(), &self.table),
            module,
            &self.imported,
            weights,
        )?;
        let real = resolve(target)?;
        let place = real.as_deref().and_then(Place::of);
        if place.is_none() && matches!(options.external, ExternalData::Above(_)) {
            return Err(no_directory(target));
        }

        let asked = Policy::Asked(options.external);
        // Without a directory rewritten data comes into the document.
        let mut file = match (&place, options.external) {
            (None, ExternalData::Keep) => NewFile::default(),
            _ => NewFile::plan(&export, asked)?,
        };
        let location =
            |digest: &str| place.as_ref().map_or_else(String::new, |p| p.location(digest));
        let placeholder = location("0000000000000000");
        let (mut content, mut counts) = export.content(&file.references(&export, &placeholder))?;
        if content.len() > largest && !content.is_source(0..self.source.len()) {
            if place.is_none() || options.external != ExternalData::Keep {
                let file = place.is_some() && options.external.leaves_large();
                return Err(too_large(&content, target, file.then_some(Elsewhere::File)));
            }
            file = NewFile::plan(&export, Policy::TooLarge)?;
            (content, counts) = export.content(&file.references(&export, &placeholder))?;
            if content.len() > largest {
                return Err(too_large(&content, target, None));
            }
        }

        let mut report = SaveReport { bytes: content.len(), ..SaveReport::default() };
        let mut transaction = Transaction::default();
        let [name] = self.names();
        transaction.input(self.source.clone(), name);
        if let Some(base) = self.external.base() {
            let replaced = real.as_ref().and_then(|r| fs::canonicalize(r).ok());
            for (location, source) in self.external.opened() {
                let path = base.join(&*location);
                if replaced.is_some() && fs::canonicalize(&path).ok() == replaced {
                    let e = io::Error::other("it holds external data of the input");
                    return Err(FrontendError::io("write", target, e));
                }
                transaction.input(source, path);
            }
        }
        let mut destinations = file.references(&export, &placeholder);
        let total = content.len() + file.content(&export).len();
        let mut before = 0;
        if let Some(place) = &place {
            let named = locations(&export, &destinations)?;
            spare_external(&named, place)?;
            if !file.is_empty() {
                let outside = file.content(&export);
                before = outside.len();
                let name = place.directory.join(&placeholder);
                let progress = |done: u64, _: u64| watched(options.progress, done, total);
                let write = WriteOptions {
                    threads: options.threads,
                    progress: Some(&progress),
                    sync: options.sync,
                };
                let staged = Staged::write(&outside, &[], &[], &name, write, true);
                // The file has no name yet that anybody knows.
                let staged = staged.map_err(|e| match e {
                    FrontendError::Io { path, source, .. } if path == name => {
                        FrontendError::io("write external data of", target, source)
                    }
                    other => other,
                })?;
                let digest = format!("{:016x}", staged.digest.unwrap_or_default());
                transaction.lock(&place.directory)?;
                // Another content of the same digest gets another name.
                let names = (1..=99).map(|n| match n {
                    1 => location(&digest),
                    n => location(&format!("{digest}-{n}")),
                });
                let path =
                    transaction.free_path(&staged, names.map(|n| place.directory.join(n)))?;
                let location = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                destinations = file.references(&export, &location);
                (content, counts) = export.content(&destinations)?;
                transaction.add(staged, path.clone());
                report.external.push((path, before));
            }
            // Copies of what did not change are not counted, but may be stopped.
            let progress = |_: u64, _: u64| watched(options.progress, 0, total);
            let write = WriteOptions {
                threads: options.threads,
                progress: Some(&progress),
                sync: options.sync,
            };
            self.keep_external(&named, place, &mut transaction, write, &mut report)?;
            // The links of /dev name what is open: nobody reads a model there.
            if let Some(real) =
                real.as_deref().filter(|_| is_link(target) && !target.starts_with("/dev"))
                && (!named.is_empty() || !file.is_empty())
            {
                report.notes.push(format!(
                    "`{}` is a symbolic link, and readers look for external data beside a link: it is beside `{}`",
                    target.display(),
                    real.display()
                ));
            }
        } else {
            let named = locations(&export, &destinations)?;
            if !named.is_empty() {
                let base = self.external.base().unwrap_or(Path::new(""));
                report.notes.push(format!(
                    "the model names external data that stays in `{}`: {}",
                    base.display(),
                    Vec::from_iter(named).join(", ")
                ));
            }
        }
        let progress = |done: u64, _: u64| watched(options.progress, before + done, total);
        let write = WriteOptions {
            threads: options.threads,
            progress: Some(&progress),
            sync: options.sync,
        };
        let sources = std::slice::from_ref(&self.source);
        report.bytes = content.len();
        write_checked(&content, sources, &self.names(), target, write, options.check, transaction)?;
        drop(content);
        drop(export);
        Ok(finish(report, counts, measured))
    }

    /// Writes the document with the module's changes to `out`, in order, without threads. External data stays where it is
    /// unless [`ExternalData::Inline`] is asked for; a rewritten external tensor comes into the document.
    ///
    /// # Errors
    /// As [`OnnxDocument::save`]; the document would pass protobuf's 2 GiB; [`ExternalData::Above`] is asked for.
    pub fn save_to(
        &self,
        module: &Module,
        out: &mut dyn io::Write,
        options: SaveOptions<'_>,
    ) -> Result<SaveReport, FrontendError> {
        let measured = Measured::default();
        let weights = Weights { pool: &module.constants, measured: &measured };
        let export = Export::plan(
            Model::new(self.source.bytes(), &self.table),
            module,
            &self.imported,
            weights,
        )?;
        let file = match options.external {
            ExternalData::Keep => NewFile::default(),
            ExternalData::Inline => NewFile::plan(&export, Policy::Asked(ExternalData::Inline))?,
            ExternalData::Above(_) => return Err(no_directory(Path::new(IN_MEMORY))),
        };
        let (content, counts) = export.content(&file.references(&export, ""))?;
        if content.len() > LARGEST && !content.is_source(0..self.source.len()) {
            return Err(too_large(&content, Path::new(IN_MEMORY), None));
        }
        let report = SaveReport { bytes: content.len(), ..SaveReport::default() };
        let write = WriteOptions { progress: options.progress, ..WriteOptions::default() };
        content
            .write_to(std::slice::from_ref(&self.source), out, write)
            .map_err(|e| crate::save::explain(e, &self.names(), Path::new(IN_MEMORY)))?;
        drop(content);
        drop(export);
        Ok(finish(report, counts, measured))
    }

    /// Copies external files that are still named to the output's directory, unless that is where they are.
    fn keep_external(
        &self,
        named: &BTreeSet<String>,
        place: &Place,
        transaction: &mut Transaction,
        write: WriteOptions<'_>,
        report: &mut SaveReport,
    ) -> Result<(), FrontendError> {
        if named.is_empty() || self.external.base().is_some_and(|b| same_place(b, &place.directory))
        {
            return Ok(());
        }
        let base = self.external.base().unwrap_or(Path::new(""));
        for location in named {
            let source = self.external.carried(location)?;
            let path = place.directory.join(location);
            transaction.lock(&place.directory)?;
            Transaction::stays_within(&place.directory, &path)?;
            if transaction.has(&path, &source)? {
                continue;
            }
            spare_hidden(location, &path)?;
            transaction.make_parent(&path)?;
            let mut content = Content::new();
            content.source(0, 0..source.len());
            let (sources, names) = ([source], [base.join(location)]);
            let staged = Staged::write(&content, &sources, &names, &path, write, false)?;
            let [source] = sources;
            let [name] = names;
            transaction.input(source, name);
            transaction.add(staged, path.clone());
            report.external.push((path, content.len()));
        }
        Ok(())
    }
}

fn finish(report: SaveReport, counts: Counts, measured: Measured) -> SaveReport {
    let Counts { edited, removed, added } = counts;
    SaveReport { edited, removed, added, rounding: measured.take(), ..report }
}

/// The files that are external data of the model at a path, or that its next version could have, from a list of candidates in
/// the second case: their names say so. None of what is no model.
pub fn data_beside(model: &Path, candidates: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(Some(real)) = resolve(model) else { return Vec::new() };
    let found = Found::default();
    let mut files = match MappedFile::open(&real) {
        Ok(file) if found.model(Bytes::new(file.bytes(), 0)).is_ok() => {
            found.take().into_iter().map(|location| real.with_file_name(location)).collect()
        }
        _ => Vec::new(),
    };
    if let Some(place) = Place::of(&real) {
        let (start, end) = (format!("{}.", place.stem), ".weights.bin");
        let named = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&start) && name.ends_with(end)
        };
        let beside = |path: &&PathBuf| same_place(directory_of(path), &place.directory);
        files.extend(candidates.iter().filter(named).filter(beside).cloned());
    }
    files
}

/// What messages call an output without a path.
const IN_MEMORY: &str = "output in memory";

/// Why data goes nowhere from a pipe.
fn no_directory(target: &Path) -> FrontendError {
    let problem = "external data needs a directory to be written to".into();
    FrontendError::Data { path: target.into(), problem, elsewhere: Some(Elsewhere::Document) }
}

fn too_large(content: &Content<'_>, target: &Path, elsewhere: Option<Elsewhere>) -> FrontendError {
    let len = content.len();
    let problem = format!("{len} bytes are more than the 2 GiB that a protobuf message may have");
    FrontendError::Data { path: target.into(), problem, elsewhere }
}

/// Refuses to make a file in another directory that nobody sees there: its name is the choice of who wrote the model, and
/// programs read some of these by themselves.
fn spare_hidden(location: &str, path: &Path) -> Result<(), FrontendError> {
    let hidden = |c: &str| c.starts_with('.') && c != ".";
    match location.split('/').find(|c| hidden(c)) {
        None => Ok(()),
        Some(component) => {
            let problem =
                format!("a model makes no hidden file (`{component}`) in another directory");
            Err(FrontendError::Data {
                path: path.into(),
                problem,
                elsewhere: Some(Elsewhere::Either),
            })
        }
    }
}

/// Whether a path itself is a symbolic link.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink())
}

/// Refuses an output that would take the place of external data that it names: its tensors would be read from itself.
fn spare_external(named: &BTreeSet<String>, place: &Place) -> Result<(), FrontendError> {
    for location in named {
        let path = place.directory.join(location);
        let beside = path.parent().is_some_and(|folder| same_place(folder, &place.directory));
        if beside && path.file_name() == Some(&place.file) {
            let e = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the model's external data is in a file of that name",
            );
            return Err(FrontendError::io("write", path, e));
        }
    }
    Ok(())
}

/// Whether both are there and the same, links resolved.
fn same_place(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Where the output goes, and what files beside it are called.
struct Place {
    directory: PathBuf,
    file: OsString,
    stem: String,
}

impl Place {
    fn of(target: &Path) -> Option<Self> {
        let directory = directory_of(target).to_path_buf();
        // A location must be text without separators of any system.
        let stem = target.file_stem()?.to_string_lossy().replace(['\\', ':'], "_");
        // With a digest of 16 digits and two for others of the same.
        let room = NAME_MAX - ".0000000000000000-00.weights.bin".len();
        let stem = shortened(&stem, room).to_owned();
        Some(Self { directory, file: target.file_name()?.to_owned(), stem })
    }

    fn location(&self, digest: &str) -> String {
        format!("{}.{digest}.weights.bin", self.stem)
    }
}

#[cfg(test)]
mod tests;
