//! An input and the module it became. What it is, its content decides.

mod save;

pub use save::{LiveChanges, LiveParameter, Saved};

use crate::{DriverError, reproducer, sink};
use normfold_frontends::{
    FrontendError,
    archive::Archive,
    bytes::{MappedFile, Source},
    keras::{self, KerasDocument},
    onnx::{OnnxDocument, OpenOptions},
    pt2::{self, Pt2Document},
    save::{WriteOptions, write_stream},
};
use normfold_ir::{
    Module,
    text::{self, PrintError, PrintOptions},
};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a model comes from.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A file.
    Path(PathBuf),
    /// A Keras architecture, and the file with its weights.
    WithWeights {
        /// The architecture.
        path: PathBuf,
        /// The weights.
        weights: PathBuf,
    },
    /// The PyTorch program of a live module, as `torch.export.save` writes it, into which what changes is put back.
    Live {
        /// What messages call it.
        name: String,
        /// All of it.
        bytes: Vec<u8>,
        /// Fully qualified names of the layers that may change: convolutions, linear layers and batch norms of `torch.nn` that
        /// are called by nothing but themselves.
        layers: Vec<String>,
    },
    /// The bytes of a file. External data cannot be found from there.
    Bytes {
        /// What messages call it.
        name: String,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// IR text.
    Text {
        /// What messages call it.
        name: String,
        /// All of it.
        text: String,
    },
    /// A module that somebody built.
    Module(Box<Module>),
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        Input::Path(path.to_path_buf())
    }
}

impl From<Module> for Input {
    fn from(module: Module) -> Self {
        Input::Module(Box::new(module))
    }
}

/// What a module came from.
#[derive(Debug)]
enum Origin {
    Text(Arc<str>),
    /// With the bytes, where they did not come from a file.
    Onnx(Box<OnnxDocument>, OnnxSource),
    /// With where it came from.
    Keras(Box<KerasDocument>, KerasSource),
    /// With where it came from.
    Pt2(Box<Pt2Document>, Pt2Source),
    Memory,
}

#[derive(Clone, Debug)]
enum OnnxSource {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl OnnxSource {
    fn open(&self) -> Result<(OnnxDocument, Module), FrontendError> {
        let options = OpenOptions::default();
        match self {
            OnnxSource::File(path) => OnnxDocument::open(path, &options),
            OnnxSource::Bytes(bytes) => OnnxDocument::from_bytes(bytes.clone(), &options),
        }
    }
}

#[derive(Clone, Debug)]
enum KerasSource {
    File(PathBuf, keras::OpenOptions),
    Bytes(Arc<[u8]>),
}

impl KerasSource {
    fn open(&self) -> Result<(KerasDocument, Module), FrontendError> {
        match self {
            KerasSource::File(path, options) => KerasDocument::open(path, options),
            KerasSource::Bytes(bytes) => {
                KerasDocument::from_bytes(bytes.clone(), &keras::OpenOptions::default())
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Pt2Source {
    File(PathBuf),
    Bytes(Arc<[u8]>, pt2::OpenOptions),
}

impl Pt2Source {
    fn open(&self) -> Result<(Pt2Document, Module), FrontendError> {
        match self {
            Pt2Source::File(path) => Pt2Document::open(path, &pt2::OpenOptions::default()),
            Pt2Source::Bytes(bytes, options) => Pt2Document::from_bytes(bytes.clone(), options),
        }
    }
}

/// Where an ONNX model is, for others to read it themselves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelSource {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Files of external data: the location as the model writes it, and where it is.
        external: Vec<(Arc<str>, PathBuf)>,
    },
    /// In memory.
    Bytes(Arc<[u8]>),
}

/// A file of external data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataFile {
    /// As the model names it.
    pub location: String,
    /// Where it is looked for.
    pub path: PathBuf,
}

pub use normfold_frontends::pt2::Parameters;

/// An input and the module it became.
#[derive(Debug)]
pub struct Opened {
    name: String,
    module: Module,
    origin: Origin,
}

impl Opened {
    /// What messages call the input.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The module, to change.
    pub fn module_mut(&mut self) -> &mut Module {
        &mut self.module
    }

    /// The module for itself. What it came from is dropped, so it cannot be written back.
    pub fn into_module(self) -> Module {
        self.module
    }

    /// The module as IR text.
    ///
    /// # Errors
    /// Weights that are to be shown cannot be read.
    pub fn to_text(&self, options: &PrintOptions) -> Result<String, DriverError> {
        text::print(&self.module, options).map_err(|e| self.unreadable(e))
    }

    /// Writes the module as IR text to a file, which appears complete or not at all.
    ///
    /// # Errors
    /// Weights that are to be shown cannot be read, or the file cannot be written.
    pub fn write_text(&self, path: &Path, options: &PrintOptions) -> Result<u64, DriverError> {
        self.write_text_with(path, options, WriteOptions::default())
    }

    fn write_text_with(
        &self,
        path: &Path,
        options: &PrintOptions,
        how: WriteOptions<'_>,
    ) -> Result<u64, DriverError> {
        let mut printed = Ok(0);
        let written = write_stream(path, how.sync, |out| {
            printed = match self.stream_text(out, options) {
                Ok(len) => Ok(len),
                Err(sink::Failed::Write(e)) => return Err(e),
                Err(sink::Failed::Print(e)) => Err(self.unreadable(e)),
            };
            printed.as_ref().map_or(Err(io::ErrorKind::InvalidData.into()), |_| Ok(()))
        });
        let len = printed?;
        written.map_err(|source| DriverError::Write { path: path.to_path_buf(), source })?;
        Ok(len)
    }

    /// Writes the module as IR text to a stream, piece by piece.
    ///
    /// # Errors
    /// Weights that are to be shown cannot be read, or the stream takes no more.
    pub fn write_text_to(
        &self,
        out: &mut dyn io::Write,
        options: &PrintOptions,
    ) -> Result<u64, DriverError> {
        self.stream_text(out, options).map_err(|e| match e {
            sink::Failed::Print(e) => self.unreadable(e),
            sink::Failed::Write(e) => {
                let path = PathBuf::from(&self.name);
                DriverError::Write { path, source: FrontendError::io("write", "text", e) }
            }
        })
    }

    /// [`Opened::write_text_to`], for one who tells the two failures apart.
    pub(crate) fn stream_text(
        &self,
        out: &mut dyn io::Write,
        options: &PrintOptions,
    ) -> Result<u64, sink::Failed> {
        sink::write(&self.module, options, out)
    }

    pub(crate) fn unreadable(&self, e: PrintError) -> DriverError {
        DriverError::Read { name: self.name.clone(), source: io::Error::other(e) }
    }

    /// The pipeline on the first line of a reproducer.
    ///
    /// # Errors
    /// The input is no reproducer.
    pub fn reproducer_pipeline(&self) -> Result<&str, DriverError> {
        match &self.origin {
            Origin::Text(text) => reproducer::pipeline(text),
            _ => None,
        }
        .ok_or_else(|| DriverError::NoReproducer { name: self.name.clone() })
    }

    /// Where the model is that this was opened from, as it was; `None` for what is no ONNX model.
    pub fn model_source(&self) -> Option<ModelSource> {
        match &self.origin {
            Origin::Onnx(document, OnnxSource::File(path)) => {
                let external = document.external_files();
                Some(ModelSource::File { path: path.clone(), external })
            }
            Origin::Onnx(_, OnnxSource::Bytes(bytes)) => Some(ModelSource::Bytes(bytes.clone())),
            _ => None,
        }
    }

    /// The file that the module was imported from and is read from until it is written; `None` for what is in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Onnx(_, OnnxSource::File(path))
            | Origin::Keras(_, KerasSource::File(path, _))
            | Origin::Pt2(_, Pt2Source::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The files of external data that the module was imported from.
    pub fn imported_files(&self) -> Vec<DataFile> {
        let Origin::Onnx(document, OnnxSource::File(_)) = &self.origin else {
            return Vec::new();
        };
        let files = document.external_files().into_iter();
        files.map(|(location, path)| DataFile { location: location.to_string(), path }).collect()
    }

    /// Every file of external data that the model names, also those that nothing was imported from; none was checked to be
    /// there.
    pub fn data_files(&self) -> Vec<DataFile> {
        let Origin::Onnx(document, OnnxSource::File(model)) = &self.origin else {
            return Vec::new();
        };
        let locations = document.locations().unwrap_or_default().into_iter();
        let file = |location: String| {
            let path = model.with_file_name(&location);
            DataFile { location, path }
        };
        locations.map(file).collect()
    }

    /// Bytes of the document itself, external data left out; `None` for what was built in memory.
    pub fn size(&self) -> Option<u64> {
        match &self.origin {
            Origin::Text(text) => Some(text.len() as u64),
            Origin::Onnx(document, _) => Some(document.len()),
            Origin::Keras(document, _) => Some(document.len()),
            Origin::Pt2(document, _) => Some(document.len()),
            Origin::Memory => None,
        }
    }

    /// Whether the module as it was can be had again.
    pub(crate) fn is_reopenable(&self) -> bool {
        !matches!(self.origin, Origin::Memory)
    }

    /// The module as it was.
    pub(crate) fn reopen(&self) -> Result<Module, DriverError> {
        match &self.origin {
            Origin::Text(text) => parse(&self.name, text),
            Origin::Onnx(_, source) => {
                source.open().map(|(_, module)| module).map_err(|e| refused(&self.name, e))
            }
            Origin::Keras(_, source) => {
                source.open().map(|(_, module)| module).map_err(|e| refused(&self.name, e))
            }
            Origin::Pt2(_, source) => {
                source.open().map(|(_, module)| module).map_err(|e| refused(&self.name, e))
            }
            Origin::Memory => Ok(self.module.clone()),
        }
    }

    /// Makes the module what it was. A document that tells changes from what it imported is opened anew with it.
    ///
    /// # Errors
    /// The input cannot be read any more.
    pub fn restore(&mut self) -> Result<(), DriverError> {
        match &mut self.origin {
            Origin::Onnx(document, source) => {
                let (again, module) = source.open().map_err(|e| refused(&self.name, e))?;
                (**document, self.module) = (again, module);
            }
            Origin::Keras(document, source) => {
                let (again, module) = source.open().map_err(|e| refused(&self.name, e))?;
                (**document, self.module) = (again, module);
            }
            Origin::Pt2(document, source) => {
                let (again, module) = source.open().map_err(|e| refused(&self.name, e))?;
                (**document, self.module) = (again, module);
            }
            _ => self.module = self.reopen()?,
        }
        Ok(())
    }

    /// The same under another name.
    pub(crate) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn open(input: Input) -> Result<Self, DriverError> {
        match input {
            Input::Path(path) => Self::open_path(&path),
            Input::WithWeights { path, weights } => {
                let name = path.display().to_string();
                let options = keras::OpenOptions::default().weights(weights);
                Self::open_keras(name, KerasSource::File(path, options))
            }
            Input::Live { name, bytes, layers } => {
                let options = pt2::OpenOptions::default().layers(layers);
                Self::open_pt2(name, Pt2Source::Bytes(bytes.into(), options))
            }
            Input::Bytes { name, bytes } => Self::open_bytes(name, bytes),
            Input::Text { name, text } => Self::open_text(name, text.into()),
            Input::Module(module) => {
                let name = module.name().to_string();
                Ok(Self { name, module: *module, origin: Origin::Memory })
            }
        }
    }

    fn open_path(path: &Path) -> Result<Self, DriverError> {
        let name = path.display().to_string();
        let read = |source| DriverError::Read { name: name.clone(), source };
        let file = fs::File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.is_dir() {
            return Err(read(io::ErrorKind::IsADirectory.into()));
        }
        if !metadata.is_file() {
            let bytes = read_stream(file).map_err(read)?;
            return Self::open_bytes(name, bytes);
        }
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head).map_err(read)?;
        match sniff(&head) {
            Form::Onnx => Self::open_onnx(name, OnnxSource::File(path.to_path_buf())),
            Form::Archive => {
                let file = MappedFile::open(path).map_err(read)?;
                if is_program(&Source::File(Arc::new(file))) {
                    return Self::open_pt2(name, Pt2Source::File(path.to_path_buf()));
                }
                let options = keras::OpenOptions::default();
                Self::open_keras(name, KerasSource::File(path.to_path_buf(), options))
            }
            Form::Keras => {
                let options = keras::OpenOptions::default();
                Self::open_keras(name, KerasSource::File(path.to_path_buf(), options))
            }
            Form::Text => Self::open_utf8(name.clone(), fs::read(path).map_err(read)?),
            Form::Other(found) => Err(DriverError::UnknownFormat { name, found }),
        }
    }

    fn open_bytes(name: String, bytes: Vec<u8>) -> Result<Self, DriverError> {
        let head = bytes.get(..HEAD as usize).unwrap_or(&bytes);
        match sniff(head) {
            Form::Onnx => Self::open_onnx(name, OnnxSource::Bytes(bytes.into())),
            Form::Archive => {
                let bytes: Arc<[u8]> = bytes.into();
                if is_program(&Source::Memory(bytes.clone())) {
                    let options = pt2::OpenOptions::default();
                    return Self::open_pt2(name, Pt2Source::Bytes(bytes, options));
                }
                Self::open_keras(name, KerasSource::Bytes(bytes))
            }
            Form::Keras => Self::open_keras(name, KerasSource::Bytes(bytes.into())),
            Form::Text => Self::open_utf8(name, bytes),
            Form::Other(found) => Err(DriverError::UnknownFormat { name, found }),
        }
    }

    fn open_utf8(name: String, bytes: Vec<u8>) -> Result<Self, DriverError> {
        match String::from_utf8(bytes) {
            Ok(text) => Self::open_text(name, text.into()),
            Err(_) => {
                Err(DriverError::UnknownFormat { name, found: "IR text at first, but not UTF-8" })
            }
        }
    }

    fn open_onnx(name: String, source: OnnxSource) -> Result<Self, DriverError> {
        let (document, module) = source.open().map_err(|e| refused(&name, e))?;
        Ok(Self { name, module, origin: Origin::Onnx(Box::new(document), source) })
    }

    fn open_keras(name: String, source: KerasSource) -> Result<Self, DriverError> {
        let (document, module) = source.open().map_err(|e| refused(&name, e))?;
        Ok(Self { name, module, origin: Origin::Keras(Box::new(document), source) })
    }

    fn open_pt2(name: String, source: Pt2Source) -> Result<Self, DriverError> {
        let (document, module) = source.open().map_err(|e| refused(&name, e))?;
        Ok(Self { name, module, origin: Origin::Pt2(Box::new(document), source) })
    }

    fn open_text(name: String, text: Arc<str>) -> Result<Self, DriverError> {
        let module = parse(&name, &text)?;
        Ok(Self { name, module, origin: Origin::Text(text) })
    }
}

/// So much is held in memory of an input that cannot be mapped.
const LARGEST_STREAM: u64 = 8 << 30;

/// All of a pipe or a device, which give their bytes once; the beginning, where that shows that it is nothing we know.
pub(crate) fn read_stream(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.by_ref().take(HEAD).read_to_end(&mut bytes)?;
    if matches!(sniff(&bytes), Form::Other(_)) {
        return Ok(bytes);
    }
    stream.take(LARGEST_STREAM + 1 - HEAD).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST_STREAM {
        true => Err(io::Error::other(
            "more than 8 GiB, and what is no regular file is held in memory: give a file",
        )),
        false => Ok(bytes),
    }
}

/// Whether an archive is PyTorch's. What is wrong with it otherwise is told where it is opened.
fn is_program(source: &Source) -> bool {
    Archive::open(source).is_ok_and(|archive| pt2::looks_like(&archive))
}

fn refused(name: &str, source: FrontendError) -> DriverError {
    DriverError::Input { name: name.to_owned(), source }
}

fn parse(name: &str, text: &Arc<str>) -> Result<Module, DriverError> {
    let module = text::parse(text).map_err(|error| DriverError::Text {
        name: name.to_owned(),
        text: text.clone(),
        error: Box::new(error),
    })?;
    match normfold_ir::verify(&module) {
        Ok(()) => Ok(module),
        Err(errors) => {
            let findings = errors.iter().map(ToString::to_string).collect();
            Err(DriverError::Invalid { name: name.to_owned(), findings })
        }
    }
}

/// Bytes that are looked at to tell what an input is.
const HEAD: u64 = 4096;

/// What an input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Onnx,
    /// A zip archive: its members tell.
    Archive,
    /// An HDF5 file, or JSON.
    Keras,
    Text,
    Other(&'static str),
}

/// What the first bytes say. A protobuf has no signature: it is what nothing else claims and what could begin a message.
fn sniff(head: &[u8]) -> Form {
    match head {
        [] => return Form::Other("empty"),
        [b'P', b'K', 3 | 5 | 7, ..] => return Form::Archive,
        [0x89, b'H', b'D', b'F', ..] => return Form::Keras,
        _ => {}
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = text.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    let word = &text[start..];
    if word.starts_with(b"{") {
        return Form::Keras;
    }
    if word.starts_with(b"//") || word.starts_with(b"module") {
        return Form::Text;
    }
    // The tag of a field that ModelProto has, or could have: a number from 1 on and a wire type that is in use.
    match head[0] {
        tag if tag >> 3 != 0 && matches!(tag & 7, 0 | 1 | 2 | 5) && !looks_like_text(head) => {
            Form::Onnx
        }
        _ if looks_like_text(head) => Form::Other("text of no known format"),
        _ => Form::Other("neither a protobuf message nor text"),
    }
}

/// Only printable characters and line breaks. A protobuf of more than a few bytes has others.
fn looks_like_text(head: &[u8]) -> bool {
    let end = head.len().saturating_sub(if head.len() as u64 == HEAD { 4 } else { 0 });
    std::str::from_utf8(&head[..end])
        .is_ok_and(|s| s.chars().all(|c| !c.is_control() || c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::{Form, sniff};

    #[test]
    fn the_content_decides() {
        assert_eq!(sniff(b"\x08\x08\x12\x07pytorch"), Form::Onnx);
        assert_eq!(sniff(b" \n{\"class_name\": \"Functional\"}"), Form::Keras);
        assert_eq!(sniff(b"// RUN: --passes=dce\nmodule @a {}"), Form::Text);
        assert_eq!(sniff(b"module @a {}"), Form::Text);
        assert_eq!(sniff(b""), Form::Other("empty"));
        assert_eq!(sniff(b"PK\x03\x04"), Form::Archive);
        assert_eq!(sniff(b"\x89HDF\r\n\x1a\n"), Form::Keras);
        assert_eq!(sniff(b"hello, world"), Form::Other("text of no known format"));
        assert_eq!(sniff(b"\x00\x01\x02"), Form::Other("neither a protobuf message nor text"));
    }
}
