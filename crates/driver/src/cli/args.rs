//! The command line: commands, options, and the exit codes they end with.

use crate::{ExternalData, external_data};
use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{PathBufValueParser, TypedValueParser},
};
use clap_complete::Shell;
use std::{path::PathBuf, str::FromStr};

/// Exit codes as `--help` prints them; docs/cli.md says the same.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a pass failed, or normfold is at fault
  2  the command line or the pipeline is wrong
  3  the input cannot be read
  4  the input is invalid or not supported
  5  the output cannot be written
  6  verified, and the models do not compute the same
  7  cannot verify: the engine does not run the model
  130, 143, 129  ended by SIGINT, SIGTERM or SIGHUP: nothing is written, unless the output was complete";

/// Folds batch norms into the weights of their neighbours, exactly, and says why where it cannot.
#[derive(Debug, Parser)]
#[command(name = "normfold", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Global")]
    pub(crate) color: Color,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub(crate) quiet: bool,
    /// Log what happens to stderr; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    pub(crate) verbose: u8,
}

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run passes on a model and write the result
    #[command(after_help = OPT_EXAMPLES)]
    Opt(Box<OptArgs>),
    /// Say of every batch norm whether it folds, and if not, why; writes nothing
    Explain(ExplainArgs),
    /// Compare what two models compute, in an engine that is not normfold's
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// List the passes, or document one
    Passes {
        /// The pass
        name: Option<String>,
    },
    /// List the reasons why a batch norm is kept, or explain one
    Reason {
        /// The reason, e.g. padded-shift
        code: Option<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

const OPT_EXAMPLES: &str = "\
Examples:
  normfold opt model.onnx -o folded.onnx
  normfold opt model.onnx --passes='fold-bn{direction=backward},dce' -o folded.onnx
  normfold opt model.onnx --passes=simplify -o simple.onnx
  normfold opt model.keras -o folded.keras
  normfold opt model.json --weights-in=model.weights.h5 -o folded.json
  normfold opt model.onnx --emit=ir --print-ir-after=changed";

const VERIFY_EXAMPLES: &str = "\
Examples:
  normfold verify model.onnx folded.onnx
  normfold verify model.onnx folded.onnx --dim=batch=1 --dim='image[2]=224' --json
  normfold opt model.onnx -o folded.onnx --verify";

/// Where a model comes from, and how it is processed.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// An ONNX model, a Keras model (.keras, .h5, or its architecture in JSON), a PyTorch program (.pt2), or IR text; `-` for
    /// standard input
    #[arg(value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// The weights of a Keras architecture in JSON: its .weights.h5, or what save_weights wrote
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) weights_in: Option<PathBuf>,
    /// The pipeline; empty for none. `default` and `simplify` are two; `normfold passes` lists what there is
    #[arg(long, value_name = "PIPELINE")]
    pub(crate) passes: Option<String>,
    /// Write times of passes and steps, loadable in Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Debugging")]
    pub(crate) trace: Option<PathBuf>,
}

/// A path, or `-` for standard output where that has a path.
fn output() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| match path.as_os_str() == "-" && cfg!(unix) {
        true => PathBuf::from("/dev/stdout"),
        false => path,
    })
}

/// Options of `opt`.
#[derive(Debug, Args)]
pub(crate) struct OptArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Where to write; may be the input; - is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = output())]
    pub(crate) output: Option<PathBuf>,
    /// Where the weights of a Keras architecture go; default: beside the output, as NAME.weights.h5
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "weights_in", requires = "output")]
    pub(crate) weights_out: Option<PathBuf>,
    /// Print the module to standard output instead of a summary
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) emit: Option<Emit>,
    /// How IR text shows large constants
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Weights::Hash)]
    pub(crate) weights: Weights,
    /// Which remarks to print; none by default, all with --format=json
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) remarks: Option<RemarkFilter>,
    /// How to report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// Also write the JSON report to FILE, with the range of every weight and bias that was folded into
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    /// Threads that write the output; 0 for one per processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Which tensors of an ONNX model lie in a file beside it: keep (those that do), single (all from 1 KiB on), inline
    /// (none), above=SIZE
    #[arg(long, value_name = "WHICH", default_value = "keep")]
    pub(crate) external: External,
    /// Return only when the output would outlast a loss of power
    #[arg(long)]
    pub(crate) sync: bool,
    /// Compare what the output computes with what the input computes; unless they are equal, nothing is written
    #[arg(long, help_heading = "Verification")]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    /// Take the pipeline from the input's first line, `// RUN: --passes=…`, as reproducers have it
    #[arg(long, conflicts_with = "passes", help_heading = "Debugging")]
    pub(crate) run_reproducer: bool,
    /// Print the IR before passes: of a pass, all, or what the next pass will change
    #[arg(
        long, value_name = "PASS|all|changed", num_args = 0..=1, require_equals = true,
        default_missing_value = "all", help_heading = "Debugging"
    )]
    pub(crate) print_ir_before: Option<String>,
    /// Print the IR after passes: of a pass, all, or those that changed something
    #[arg(
        long, value_name = "PASS|all|changed", num_args = 0..=1, require_equals = true,
        default_missing_value = "all", help_heading = "Debugging"
    )]
    pub(crate) print_ir_after: Option<String>,
    /// Check every invariant of the IR after each pass
    #[arg(long, help_heading = "Debugging")]
    pub(crate) verify_each: bool,
    /// Print the time of each pass
    #[arg(long, help_heading = "Debugging")]
    pub(crate) timing: bool,
    /// Print what each pass counted
    #[arg(long, help_heading = "Debugging")]
    pub(crate) statistics: bool,
    /// Stop rewriting after N rewrites, to find the one that goes wrong
    #[arg(long, value_name = "N", help_heading = "Debugging")]
    pub(crate) stop_after_rewrites: Option<u64>,
    /// Write the pipeline and the IR before it to FILE, complete with weights
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Debugging")]
    pub(crate) reproducer: Option<PathBuf>,
}

/// What `--external` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct External(pub(crate) ExternalData);

impl FromStr for External {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        external_data(text).map(Self)
    }
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// How to report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// The same as --format=json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// An ONNX model; `-` for standard input
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    pub(crate) first: PathBuf,
    /// Another one, with the same inputs and outputs
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    pub(crate) second: PathBuf,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    /// How to report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// The same as --format=json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// How two models are compared.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// The engine that runs the models
    #[arg(long, value_enum, value_name = "ENGINE", help_heading = "Verification")]
    pub(crate) engine: Option<EngineName>,
    /// The library of --engine=ort; by default what ORT_DYLIB_PATH says
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Verification")]
    pub(crate) ort_lib: Option<PathBuf>,
    /// The extent of a free dimension, by its name or as `INPUT[AXIS]`; 2 for all others
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dimension, help_heading = "Verification")]
    pub(crate) dims: Vec<(String, u64)>,
    /// Inputs from numpy.savez, an array for each, instead of made-up ones
    #[arg(long, value_name = "FILE.npz", value_hint = ValueHint::FilePath, help_heading = "Verification")]
    pub(crate) inputs: Option<PathBuf>,
    /// The largest difference, relative to the largest magnitude of an output, instead of one for each type
    #[arg(long, value_name = "T", value_parser = tolerance, help_heading = "Verification")]
    pub(crate) tolerance: Option<f64>,
}

impl JudgeArgs {
    /// Whether any of them is given.
    pub(crate) fn is_given(&self) -> bool {
        self.engine.is_some()
            || self.ort_lib.is_some()
            || !self.dims.is_empty()
            || self.inputs.is_some()
            || self.tolerance.is_some()
    }
}

fn dimension(text: &str) -> Result<(String, u64), String> {
    let (name, n) = text.rsplit_once('=').ok_or("expected NAME=N")?;
    match n.parse() {
        Ok(n) if n > 0 && !name.is_empty() => Ok((name.to_owned(), n)),
        _ => Err("expected NAME=N with N of at least 1".to_owned()),
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if t.is_finite() && t >= 0.0 => Ok(t),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

/// What runs models.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum EngineName {
    /// rten, part of normfold where it is built with `verify`.
    Rten,
    /// ONNX Runtime, from a shared library, where normfold is built with `ort`.
    Ort,
}

/// What `--emit` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Emit {
    /// Textual IR.
    Ir,
}

/// How IR text shows large constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Weights {
    /// Shape and content hash.
    Hash,
    /// Shape, range and mean.
    Stats,
    /// Every element.
    Full,
    /// Shape alone.
    None,
}

/// Which remarks to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RemarkFilter {
    /// No remark.
    None,
    /// Of what was not done.
    Kept,
    /// Every remark.
    All,
}

/// How to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One JSON object on standard output; docs/cli.md has its schema.
    Json,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
