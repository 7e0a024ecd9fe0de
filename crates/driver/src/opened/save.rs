//! Writing a module back into what it came from.

use super::{Opened, Origin, refused};
use crate::{DriverError, SaveOptions, verify::Verification};
use normfold_frontends::{
    keras, onnx, payload, pt2,
    pt2::Parameters,
    save::{Check, WriteOptions},
};
use normfold_ir::{
    ConstId, DType, RoundingStats,
    text::{PrintOptions, Weights},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// What was written.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Saved {
    /// Bytes of the document itself, external data left out.
    pub bytes: u64,
    /// Every file, the document first.
    pub files: Vec<PathBuf>,
    /// Bytes of the files of external data among them.
    pub data_bytes: u64,
    /// What was left out, or has another name now.
    pub notes: Vec<String>,
    /// The largest rounding of a computed weight, relative to the largest of its channel; `None` when none was computed.
    pub rounding: Option<f64>,
    /// How the document compares with the one it came from; `None` unless asked for.
    pub verification: Option<Verification>,
}

/// A parameter of a live module, with its elements.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct LiveParameter {
    /// Its fully qualified name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its extents.
    pub dims: Vec<u64>,
    /// Its elements, row-major and little-endian.
    pub bytes: Vec<u8>,
}

/// What is to be put back into a live module.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct LiveChanges {
    /// Parameters with other elements.
    pub changed: Vec<LiveParameter>,
    /// Parameters that are new: biases of layers that had none.
    pub added: Vec<LiveParameter>,
    /// Fully qualified names of the modules whose calls are gone, in the order of the program.
    pub gone: Vec<String>,
}

/// The way out of a Keras architecture that is to be written without weights.
const NO_WEIGHTS: &str =
    "a Keras architecture has no weights to fold into; give them with --weights-in=FILE";
/// Where a choice of external data says nothing.
const NO_EXTERNAL: &str =
    "ONNX models alone have external data; what was asked for says nothing of this one";
/// The way out of a module that was built in memory.
const NO_DOCUMENT: &str = "a module built in memory has no document; write its text instead";

/// The options of an ONNX document.
fn onnx_options<'a>(
    options: &SaveOptions<'a>,
    check: Option<&'a Check<'a>>,
) -> onnx::SaveOptions<'a> {
    let mut how = onnx::SaveOptions::default();
    (how.threads, how.external, how.sync) = (options.threads, options.external, options.sync);
    (how.progress, how.check) = (options.progress, check);
    how
}

/// The options of a Keras document.
fn keras_options<'a>(
    options: &SaveOptions<'a>,
    check: Option<&'a Check<'a>>,
) -> keras::SaveOptions<'a> {
    let mut how = keras::SaveOptions::default();
    (how.threads, how.weights, how.sync) = (options.threads, options.weights, options.sync);
    (how.progress, how.check) = (options.progress, check);
    how
}

/// The options of a PyTorch document.
fn pt2_options<'a>(
    options: &SaveOptions<'a>,
    check: Option<&'a Check<'a>>,
) -> pt2::SaveOptions<'a> {
    let mut how = pt2::SaveOptions::default();
    (how.threads, how.sync) = (options.threads, options.sync);
    (how.progress, how.check) = (options.progress, check);
    how
}

/// The largest rounding of what was measured.
fn largest(rounding: &[(ConstId, RoundingStats)]) -> Option<f64> {
    rounding.iter().map(|(_, r)| r.relative_error).reduce(f64::max)
}

impl Opened {
    /// What became of the parameters of a PyTorch program.
    ///
    /// # Errors
    /// It is no PyTorch program, or the module has become what the program cannot say.
    pub fn parameters(&self) -> Result<Parameters, DriverError> {
        match &self.origin {
            Origin::Pt2(document, _) => {
                document.parameters(&self.module).map_err(|e| refused(&self.name, e))
            }
            _ => Err(DriverError::UnknownFormat {
                name: self.name.clone(),
                found: "a document other than a PyTorch program",
            }),
        }
    }

    /// What is to be put back into a live module, with the elements.
    pub(crate) fn live_changes(&self) -> Result<LiveChanges, DriverError> {
        let Parameters { changed, added, gone, .. } = self.parameters()?;
        let pool = &self.module.constants;
        let element = |(name, id): (String, ConstId)| {
            let bytes = payload::elements(pool, id, &name)?;
            Ok(LiveParameter { name, dtype: pool.dtype(id), dims: pool.dims(id), bytes })
        };
        let all = |list: Vec<_>| list.into_iter().map(element).collect::<Result<Vec<_>, _>>();
        let write = |source| DriverError::Write { path: self.name.clone().into(), source };
        Ok(LiveChanges {
            changed: all(changed).map_err(write)?,
            added: all(added).map_err(write)?,
            gone,
        })
    }

    /// Writes the module back in its own format, after a check of the finished document where it is one that engines read.
    pub(crate) fn save(
        &self,
        path: &Path,
        options: &SaveOptions<'_>,
        check: Option<&Check<'_>>,
    ) -> Result<Saved, DriverError> {
        let failed = |source| DriverError::Write { path: path.to_path_buf(), source };
        let refused = |why| Err(DriverError::NotWritable { path: path.to_path_buf(), why });
        let mut saved = Saved { files: vec![path.to_path_buf()], ..Saved::default() };
        match &self.origin {
            Origin::Onnx(document, _) => {
                let how = onnx_options(options, check);
                let written = document.save(&self.module, path, how).map_err(failed)?;
                saved.data_bytes = written.external.iter().map(|(_, bytes)| bytes).sum();
                saved.files.extend(written.external.into_iter().map(|(path, _)| path));
                saved.notes = written.notes;
                (saved.bytes, saved.rounding) = (written.bytes, largest(&written.rounding));
            }
            Origin::Text(_) => {
                let how = WriteOptions { sync: options.sync, ..WriteOptions::default() };
                saved.bytes = self.write_text_with(path, &FULL, how)?;
            }
            Origin::Keras(document, _) if !document.has_weights() => return refused(NO_WEIGHTS),
            Origin::Keras(document, _) => {
                let how = keras_options(options, check);
                let written = document.save(&self.module, path, how).map_err(failed)?;
                (saved.files, saved.notes) = (written.files, written.notes);
                (saved.bytes, saved.rounding) = (written.bytes, largest(&written.rounding));
            }
            Origin::Pt2(document, _) => {
                let how = pt2_options(options, check);
                let written = document.save(&self.module, path, how).map_err(failed)?;
                (saved.bytes, saved.rounding) = (written.bytes, largest(&written.rounding));
            }
            Origin::Memory => return refused(NO_DOCUMENT),
        }
        if options.external != onnx::ExternalData::Keep && !matches!(self.origin, Origin::Onnx(..))
        {
            saved.notes.push(NO_EXTERNAL.to_owned());
        }
        Ok(saved)
    }

    /// Writes the module back in its own format to `out`, in order, without threads.
    pub(crate) fn save_to(
        &self,
        out: &mut dyn io::Write,
        options: &SaveOptions<'_>,
    ) -> Result<Saved, DriverError> {
        let path = || PathBuf::from(&self.name);
        let failed = |source| DriverError::Write { path: path(), source };
        let refused = |why| Err(DriverError::NotWritable { path: path(), why });
        let mut saved = Saved::default();
        match &self.origin {
            Origin::Onnx(document, _) => {
                let how = onnx_options(options, None);
                let written = document.save_to(&self.module, out, how).map_err(failed)?;
                (saved.bytes, saved.rounding) = (written.bytes, largest(&written.rounding));
            }
            Origin::Text(_) => {
                saved.bytes = self.write_text_to(out, &FULL)?;
            }
            Origin::Keras(document, _) if !document.has_weights() => return refused(NO_WEIGHTS),
            Origin::Keras(document, _) => {
                let how = keras_options(options, None);
                let written = document.save_to(&self.module, out, how).map_err(failed)?;
                saved.notes = written.notes;
                (saved.bytes, saved.rounding) = (written.bytes, largest(&written.rounding));
            }
            Origin::Pt2(document, _) => {
                let how = pt2_options(options, None);
                let written = document.save_to(&self.module, out, how).map_err(failed)?;
                (saved.bytes, saved.rounding) = (written.bytes, largest(&written.rounding));
            }
            Origin::Memory => return refused(NO_DOCUMENT),
        }
        Ok(saved)
    }
}

/// Text that can be read again, whatever is in it.
const FULL: PrintOptions = PrintOptions { weights: Weights::Full };
