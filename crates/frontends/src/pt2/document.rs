//! A program as a document: opened into a module, and saved by patching the archive.

use super::{
    export::{Change, export},
    import::{Importer, Record},
    program::{FORMAT, Program, Role, invalid},
    rewrite::{self, NewPayload},
    storage::{Config, LARGEST_JSON, Storages, file_name, unnamed},
};
use crate::{
    FrontendError,
    archive::{Archive, Patch},
    bytes::{MappedFile, Source},
    json::Json,
    payload::{Measured, Weights},
    save::{Check, Content, Progress, Transaction, WriteOptions, write_checked},
};
use normfold_ir::{ConstId, Module, RoundingStats};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The version of the archive's layout that is read.
const ARCHIVE_VERSION: &[u8] = b"0";

/// How to open a document.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The program is that of a live module, into which what changes is put back: fully qualified names of the layers
    /// (`torch.nn` convolutions, linear layers and batch norms, called once and by nothing but themselves) that may change.
    /// Nothing is added but their missing biases. `None`: the program is a file.
    pub layers: Option<BTreeSet<String>>,
}

impl OpenOptions {
    /// As the program of a live module with these layers.
    pub fn layers(mut self, layers: impl IntoIterator<Item = String>) -> Self {
        self.layers = Some(layers.into_iter().collect());
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
    /// Whether the file outlasts a loss of power from when the call returns.
    pub sync: bool,
}

impl<'a> SaveOptions<'a> {
    /// With that many threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// With a file that outlasts a loss of power, or without.
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
    /// Bytes of the document.
    pub bytes: u64,
    /// What rounding did to each constant that was computed while it was written, in the order of the pool.
    pub rounding: Vec<(ConstId, RoundingStats)>,
}

/// What became of the parameters of a program.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Parameters {
    /// Fully qualified names of parameters with other elements, and where those are in the module's pool.
    pub changed: Vec<(String, ConstId)>,
    /// Those of parameters that are new.
    pub added: Vec<(String, ConstId)>,
    /// Those of parameters and buffers that nothing reads any more.
    pub removed: Vec<String>,
    /// Fully qualified names of modules whose calls are gone, in the order of the program.
    pub gone: Vec<String>,
}

/// An opened program. It holds its file open and mapped.
#[derive(Clone, Debug)]
pub struct Pt2Document {
    source: Source,
    name: PathBuf,
    archive: Archive,
    /// The member with the program.
    member: usize,
    text: Arc<[u8]>,
    json: Arc<Json>,
    configs: Vec<Config>,
    storages: Storages,
    live: bool,
    imported: Arc<Record>,
}

/// Whether an archive is one of PyTorch's, of whatever kind.
pub fn looks_like(archive: &Archive) -> bool {
    let ours = |name: &str| {
        name.rsplit_once('/').is_some_and(|(_, file)| matches!(file, "archive_format" | "data.pkl"))
            || name == "serialized_exported_program.json"
    };
    archive.members().iter().any(|m| ours(m.name()))
}

/// The folder that everything in an archive is in, with its slash.
fn root(archive: &Archive) -> Result<String, FrontendError> {
    let has = |name: &str| archive.find(name).is_some();
    if has("serialized_exported_program.json") {
        let what = "an archive of an older release (load it with that release and save it with one that writes `.pt2` archives of schema version 8)";
        return Err(FrontendError::unsupported(FORMAT, what));
    }
    let format = archive.members().iter().find_map(|m| m.name().strip_suffix("/archive_format"));
    match format {
        Some(root) => Ok(format!("{root}/")),
        None => Err(FrontendError::unsupported(
            FORMAT,
            "a pickle (TorchScript, a module or a state dict): only programs that `torch.export.save` wrote are read",
        )),
    }
}

/// The bytes of a short member.
fn short(archive: &Archive, name: &str) -> Result<Option<Vec<u8>>, FrontendError> {
    archive.member(name).map(|m| archive.read(m, 1 << 10)).transpose()
}

impl Pt2Document {
    /// Opens a file by memory map and imports it. Weights are viewed in the file, not copied.
    ///
    /// # Errors
    /// The file cannot be read, is no program, or is one of another schema version.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<(Self, Module), FrontendError> {
        let file = MappedFile::open(path).map_err(|e| FrontendError::io("open", path, e))?;
        Self::new(Source::File(Arc::new(file)), path.to_path_buf(), options)
    }

    /// Imports a program in memory.
    ///
    /// # Errors
    /// As [`Pt2Document::open`].
    pub fn from_bytes(
        bytes: impl Into<Arc<[u8]>>,
        options: &OpenOptions,
    ) -> Result<(Self, Module), FrontendError> {
        Self::new(Source::Memory(bytes.into()), "program in memory".into(), options)
    }

    fn new(
        source: Source,
        name: PathBuf,
        options: &OpenOptions,
    ) -> Result<(Self, Module), FrontendError> {
        let archive = Archive::open(&source)?;
        let root = root(&archive)?;
        let version = short(&archive, &format!("{root}archive_version"))?;
        if version.as_deref().map(<[u8]>::trim_ascii) != Some(ARCHIVE_VERSION) {
            let found = version.map_or("none".into(), |v| String::from_utf8_lossy(&v).into_owned());
            return Err(FrontendError::unsupported(FORMAT, format!("archive version {found}")));
        }
        let order = short(&archive, &format!("{root}byteorder"))?;
        if order.as_deref().is_some_and(|order| order.trim_ascii() != b"little") {
            return Err(FrontendError::unsupported(FORMAT, "weights in big-endian order"));
        }
        let models = format!("{root}models/");
        let models: Vec<usize> = (0..archive.members().len())
            .filter(|&i| {
                let name = archive.members().get(i).map_or("", |m| m.name());
                name.strip_prefix(&models)
                    .is_some_and(|file| file.ends_with(".json") && !file.contains('/'))
            })
            .collect();
        let member = match models.as_slice() {
            [one] => *one,
            [] => return Err(invalid(format!("{root}models"), "there is no program in it")),
            _ => {
                let what = format!("an archive of {} programs", models.len());
                return Err(FrontendError::unsupported(FORMAT, what));
            }
        };
        let Some(found) = archive.members().get(member) else {
            return Err(invalid("models", "there is no program in it"));
        };
        let file = found.name().rsplit_once('/').map_or("", |(_, file)| file);
        let model = file.strip_suffix(".json").unwrap_or(file).to_owned();
        let text: Arc<[u8]> = archive.read(found, LARGEST_JSON)?.into();
        let json = Json::parse(&text)?;
        let mut configs = Vec::new();
        for kind in ["weights", "constants"] {
            let folder = format!("{root}data/{kind}/");
            configs.extend(Config::read(&archive, folder, &format!("{model}_{kind}_config.json"))?);
        }
        let mut storages = Storages::open(&archive, &configs)?;
        let program = Program::read(&json)?;
        let mut importer = Importer {
            program: &program,
            archive: &archive,
            source: &source,
            storages: &mut storages,
            text: &text,
            live: options.layers.as_ref(),
        };
        let (module, imported) = importer.run(&model)?;
        drop(program);
        let document = Self {
            source,
            name,
            archive,
            member,
            text,
            json: Arc::new(json),
            configs,
            storages,
            live: options.layers.is_some(),
            imported: Arc::new(imported),
        };
        Ok((document, module))
    }

    /// The program as it was read.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The bytes of the archive.
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Whether the document has no bytes: never, once it is open.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    fn changes(&self, program: &Program<'_>, module: &Module) -> Result<Change, FrontendError> {
        let main = module.main().ok_or_else(|| FrontendError::NotExpressible {
            op: "module".into(),
            why: "it has no main graph".into(),
        })?;
        export(module.graph(main), &module.constants, program, &self.imported, self.live)
    }

    /// What became of the parameters.
    ///
    /// # Errors
    /// The module has become what the program cannot say.
    pub fn parameters(&self, module: &Module) -> Result<Parameters, FrontendError> {
        let program = Program::read(&self.json)?;
        let change = self.changes(&program, module)?;
        let removed = change.inputs.iter().filter_map(|&i| match program.inputs.get(i)?.role {
            Role::Weight(name) => Some(name.to_owned()),
            Role::Passed => None,
        });
        let gone = program.nodes.iter().enumerate().filter(|(i, _)| change.gone.contains(i));
        let gone = gone.filter_map(|(_, n)| n.module_name()).map(str::to_owned);
        Ok(Parameters {
            removed: removed.collect(),
            gone: gone.collect(),
            added: change.added.into_iter().map(|a| (a.name, a.entry)).collect(),
            changed: change.changed,
        })
    }

    /// Writes the document with the module's changes, by way of a fresh file beside the target. The input may be the output;
    /// without changes its bytes are the output's.
    ///
    /// # Errors
    /// A file cannot be written or read; the program cannot say a change; weights are needed that are not at hand; a weight
    /// that became non-finite is [`FrontendError::NonFinite`], a document that does not pass the check
    /// [`FrontendError::Rejected`]. The target is then as it was.
    pub fn save(
        &self,
        module: &Module,
        target: &Path,
        options: SaveOptions<'_>,
    ) -> Result<SaveReport, FrontendError> {
        let measured = Measured::default();
        let weights = Weights { pool: &module.constants, measured: &measured };
        let content = self.content(module, weights, options.threads)?;
        let bytes = content.len();
        let mut transaction = Transaction::default();
        transaction.input(self.source.clone(), self.name.clone());
        let how = WriteOptions {
            threads: options.threads,
            progress: options.progress,
            sync: options.sync,
        };
        let (sources, names) = ([self.source.clone()], [self.name.clone()]);
        write_checked(&content, &sources, &names, target, how, options.check, transaction)?;
        drop(content);
        Ok(SaveReport { bytes, rounding: measured.take() })
    }

    /// Writes the document with the module's changes to `out`, in order, without threads.
    ///
    /// # Errors
    /// As [`Pt2Document::save`].
    pub fn save_to(
        &self,
        module: &Module,
        out: &mut dyn io::Write,
        options: SaveOptions<'_>,
    ) -> Result<SaveReport, FrontendError> {
        let measured = Measured::default();
        let weights = Weights { pool: &module.constants, measured: &measured };
        let content = self.content(module, weights, options.threads)?;
        let bytes = content.len();
        let write = WriteOptions { progress: options.progress, ..WriteOptions::default() };
        let (sources, names) = ([self.source.clone()], [self.name.clone()]);
        content
            .write_to(&sources, out, write)
            .map_err(|e| crate::save::explain(e, &names, Path::new("output in memory")))?;
        drop(content);
        Ok(SaveReport { bytes, rounding: measured.take() })
    }

    /// What the file will hold.
    fn content<'a>(
        &self,
        module: &Module,
        weights: Weights<'a>,
        threads: usize,
    ) -> Result<Content<'a>, FrontendError> {
        let program = Program::read(&self.json)?;
        let change = self.changes(&program, module)?;
        let mut patch = Patch::new(&self.archive, 0);
        if change.is_empty() {
            return patch.finish();
        }
        patch.replace(
            self.member,
            owned(&rewrite::program(&self.text, &program, &change, weights.pool)?),
        );
        for (name, entry) in &change.changed {
            if let Some(member) =
                self.storages.member(name).and_then(|m| self.archive.members().get(m))
                && self.archive.stored_range(member).is_some()
            {
                // What is computed from damaged bytes would get a checksum that says it is right.
                self.archive.check(member, threads)?;
            }
            let changed =
                self.storages.rewritten(&self.archive, &self.source, name, *entry, weights)?;
            let (member, content) = changed.ok_or_else(|| FrontendError::NotExpressible {
                op: name.clone(),
                why: "its bytes are not in the archive".into(),
            })?;
            patch.replace(member, content);
        }
        let gone: HashSet<&str> = change
            .inputs
            .iter()
            .filter_map(|&i| match program.inputs.get(i)?.role {
                Role::Weight(name) => Some(name),
                Role::Passed => None,
            })
            .collect();
        let added = self.added(&program, &change);
        for config in &self.configs {
            let own = if config.holds_parameters() { &*added } else { &[] };
            if let Some(text) = rewrite::payloads(config, &gone, own, weights.pool)? {
                patch.replace(config.member, owned(&text));
            }
        }
        for member in unnamed(&self.storages, &self.configs, &|name| gone.contains(name)) {
            patch.remove(member);
        }
        if added.len() < change.added.len() {
            let op = change.added.first().map(|a| a.name.clone()).unwrap_or_default();
            let why = "no payload shows what a new one is like".into();
            return Err(FrontendError::NotExpressible { op, why });
        }
        let folder = self.configs.iter().find(|c| c.holds_parameters()).map_or("", |c| &c.folder);
        for NewPayload { added, file, .. } in &added {
            let mut content = Content::new();
            content.produced(weights.chunks(added.entry, &added.name));
            patch.insert(format!("{folder}{file}"), content);
        }
        patch.finish()
    }

    /// New parameters with their files: among the parameters, whatever it is that they are like.
    fn added<'c>(&'c self, program: &Program<'_>, change: &'c Change) -> Vec<NewPayload<'c>> {
        let Some(config) = self.configs.iter().find(|c| c.holds_parameters()) else {
            return Vec::new();
        };
        let mut files: HashSet<String> = HashSet::new();
        let mut stem = "weight_";
        let mut payloads: HashMap<&str, (&Config, &Json)> = HashMap::new();
        for list in &self.configs {
            for (name, payload) in list.payloads() {
                payloads.insert(name, (list, payload));
                let Some(file) = file_name(payload) else { continue };
                files.insert(file.to_owned());
                if list.holds_parameters() {
                    stem = file.trim_end_matches(|c: char| c.is_ascii_digit());
                }
            }
        }
        let mut next = files.len();
        let placed = change.added.iter().filter_map(|added| {
            let Role::Weight(like) = program.inputs.get(added.after)?.role else { return None };
            let (list, payload) = payloads.get(like)?;
            let mut file = format!("{stem}{next}");
            while self.archive.find(&format!("{}{file}", config.folder)).is_some()
                || files.contains(&file)
            {
                next += 1;
                file = format!("{stem}{next}");
            }
            files.insert(file.clone());
            Some(NewPayload { added, file, like: payload.get("tensor_meta")?, text: &list.text })
        });
        placed.collect()
    }
}

fn owned<'a>(bytes: &[u8]) -> Content<'a> {
    let mut content = Content::new();
    content.bytes(bytes);
    content
}
