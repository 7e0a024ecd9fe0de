//! The files of a command line: none is written that another option reads or writes, however the two are spelled.

use super::{
    Failure,
    args::{OptArgs, Source},
    opt::is_stdin,
};
use crate::{DataFile, Opened};
use normfold_frontends::{keras, save::FileIdentity};
use std::path::{Path, PathBuf};

/// What a file is to the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Input,
    WeightsIn,
    /// Something else that is read, by its option.
    Read(&'static str),
    InputData,
    Output,
    /// The output where it is not a model in the format of the input.
    Text,
    WeightsOut,
    /// Data that the output, or what stands in its place, has beside it.
    OutputData,
    /// Something beside the output, by its option.
    Side(&'static str),
}

impl Role {
    fn is_written(self) -> bool {
        use Role::*;
        match self {
            Output | Text | WeightsOut | OutputData | Side(_) => true,
            Input | WeightsIn | Read(_) | InputData => false,
        }
    }

    /// A model may be written in place, and its data may stay where it is.
    fn may_be(self, earlier: Role) -> bool {
        use Role::*;
        let pair = |a, b| {
            matches!((a, b), (Input, Output) | (WeightsIn, WeightsOut) | (InputData, OutputData))
        };
        let unwritten = !(self.is_written() || earlier.is_written());
        unwritten || self == earlier || pair(earlier, self) || pair(self, earlier)
    }

    fn name(self) -> &'static str {
        use Role::*;
        match self {
            Input => "the input",
            WeightsIn => "--weights-in",
            InputData => "external data of the input",
            Output | Text => "-o",
            WeightsOut => "--weights-out",
            OutputData => "external data of the output",
            Read(name) | Side(name) => name,
        }
    }
}

struct File {
    role: Role,
    path: PathBuf,
    identity: FileIdentity,
}

/// The files that a run reads and writes.
#[derive(Default)]
pub(super) struct Files(Vec<File>);

impl Files {
    /// Those of `opt`, as far as the command line tells.
    pub(super) fn of_opt(args: &OptArgs) -> Result<Self, Failure> {
        let mut files = Self::of_source(&args.source)?;
        for (name, path) in [("--inputs", &args.judge.inputs), ("--ort-lib", &args.judge.ort_lib)] {
            files.add(Role::Read(name), path.as_deref())?;
        }
        let output = args.output.as_deref();
        files.add(if args.emit.is_some() { Role::Text } else { Role::Output }, output)?;
        let weights = match (output, &args.weights_out, &args.source.weights_in) {
            (_, Some(given), _) => Some(given.clone()),
            (Some(output), None, Some(_)) => Some(keras::weights_beside(output)),
            _ => None,
        };
        files.add(Role::WeightsOut, weights.as_deref())?;
        for (name, path) in [("--report", &args.report), ("--reproducer", &args.reproducer)] {
            files.add(Role::Side(name), path.as_deref())?;
        }
        files.data_beside(output)?;
        Ok(files)
    }

    /// Those that every command on a model has.
    pub(super) fn of_source(source: &Source) -> Result<Self, Failure> {
        let mut files = Self::default();
        files.add(Role::Input, Some(&*source.input).filter(|p| !is_stdin(p)))?;
        files.add(Role::WeightsIn, source.weights_in.as_deref())?;
        files.add(Role::Side("--trace"), source.trace.as_deref())?;
        Ok(files)
    }

    /// With those that the input names.
    pub(super) fn and_data(
        &mut self,
        opened: &Opened,
        output: Option<&Path>,
    ) -> Result<(), Failure> {
        // Where standard input is a file.
        self.add(Role::Input, opened.path())?;
        // Without a side file it is what the input was imported from that an output could replace.
        let data = match self.sides().next() {
            Some(_) => opened.data_files(),
            None => opened.imported_files(),
        };
        for DataFile { location, path } in data {
            self.add(Role::InputData, Some(&path))?;
            if let Some(output) = output {
                self.add(Role::OutputData, Some(&output.with_file_name(location)))?;
            }
        }
        Ok(())
    }

    /// Whether nothing else is at a path that the user did not choose.
    pub(super) fn spare(&self, path: &Path) -> bool {
        let identity = FileIdentity::of(path);
        identity.is_none_or(|identity| self.0.iter().all(|f| f.identity != identity))
    }

    fn sides(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|f| matches!(f.role, Role::Side(_)))
    }

    /// Data of what stands in the output's place is kept, and new data gets a name of this kind.
    fn data_beside(&mut self, output: Option<&Path>) -> Result<(), Failure> {
        let sides: Vec<PathBuf> = self.sides().map(|f| f.path.clone()).collect();
        let Some(output) = output.filter(|_| !sides.is_empty()) else { return Ok(()) };
        for path in normfold_frontends::onnx::data_beside(output, &sides) {
            self.add(Role::OutputData, Some(&path))?;
        }
        Ok(())
    }

    fn add(&mut self, role: Role, path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let Some(identity) = FileIdentity::of(path) else { return Ok(()) };
        let same = self.0.iter().find(|f| f.identity == identity && !role.may_be(f.role));
        if let Some(other) = same {
            let (a, b) = (other.role.name(), role.name());
            let (at, as_b) = (other.path.display(), path.display());
            return Err(Failure::Usage(match other.path == path {
                true => format!("{a} and {b} name the same file, `{at}`"),
                false => format!("{a} and {b} name the same file, `{at}` and `{as_b}`"),
            }));
        }
        self.0.push(File { role, path: path.to_path_buf(), identity });
        Ok(())
    }
}
