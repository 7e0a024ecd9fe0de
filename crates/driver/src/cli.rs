//! The program: arguments, the terminal, exit codes; docs/cli.md describes it.

mod args;
mod explain;
mod files;
mod logging;
mod opt;
mod output;
mod progress;
mod reference;
mod render;
mod signals;
mod summary;
mod trace;
mod verify;

use crate::DriverError;
use args::{Cli, Command, Global};
use clap::{CommandFactory, FromArgMatches};
use output::Output;
use std::{
    ffi::OsString,
    io, panic,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// The exit code of whatever is normfold's own fault.
const BUG: u8 = 1;
/// The exit code of a wrong command line.
const USAGE: u8 = 2;
/// The exit code of an output that cannot be written.
const OUTPUT: u8 = 5;

/// The exit code where there is no verdict.
const CANNOT_VERIFY: u8 = 7;

/// Whether an engine runs, whose panics are not ours.
static ENGINE_RUNS: AtomicBool = AtomicBool::new(false);

/// Why the program stops.
pub(crate) enum Failure {
    /// The library says why.
    Driver(Box<DriverError>),
    /// The command line asks for something that is not there.
    Usage(String),
    /// This program was built without that feature.
    #[cfg_attr(
        all(feature = "verify", feature = "ort"),
        expect(dead_code, reason = "with every engine nothing is missing")
    )]
    NotBuilt(&'static str),
    /// A file other than the model cannot be written.
    Write(String, io::Error),
    /// Standard output is gone or full.
    Stdout(io::Error),
}

impl From<DriverError> for Failure {
    fn from(e: DriverError) -> Self {
        Failure::Driver(Box::new(e))
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Stdout(e)
    }
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

/// Runs the program with these arguments, the first of which is its name, and gives its exit code. It has the process for
/// itself: it installs a panic hook and handlers of signals.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    install_panic_hook();
    signals::survive_limits();
    let args: Vec<OsString> = args.into_iter().collect();
    panic::catch_unwind(|| run_args(&args)).unwrap_or(BUG)
}

fn run_args(args: &[OsString]) -> u8 {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to standard output and are no error; a closed pipe is the reader's affair.
            let _ = e.print();
            return if e.use_stderr() { USAGE } else { 0 };
        }
    };
    let mut out = Output::new(cli.global.color, cli.global.quiet);
    match dispatch(cli.command, &cli.global, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => 0,
        Err(failure) => {
            let code = exit_code(&failure);
            if code != 0 {
                render::failure(&mut out, &failure);
            }
            code
        }
    }
}

/// Parses the arguments, coloured as they ask for.
fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let wanted = args.get(1..).unwrap_or_default();
    let color = if wanted.iter().any(|a| a == "--color=always") {
        clap::ColorChoice::Always
    } else if wanted.iter().any(|a| a == "--color=never") {
        clap::ColorChoice::Never
    } else {
        clap::ColorChoice::Auto
    };
    let matches = Cli::command().color(color).try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches)
}

fn dispatch(command: Command, global: &Global, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Opt(args) => {
            signals::install();
            let session = logging::start(global, args.source.trace.as_deref())?;
            let result = opt::run(&args, &session, out);
            session.finish().and(result)
        }
        Command::Explain(args) => {
            let session = logging::start(global, args.source.trace.as_deref())?;
            let result = explain::run(&args, &session, out);
            session.finish().and(result)
        }
        Command::Verify(args) => {
            let session = logging::start(global, None)?;
            let result = verify::run(&args, out);
            session.finish().and(result)
        }
        Command::Passes { name } => reference::passes(name.as_deref(), out),
        Command::Reason { code } => reference::reason(code.as_deref(), out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "normfold", &mut script);
            out.raw(&script)?;
            Ok(())
        }
    }
}

fn exit_code(failure: &Failure) -> u8 {
    match failure {
        Failure::Driver(e) => e.exit_code(),
        Failure::Usage(_) => USAGE,
        Failure::NotBuilt(_) => CANNOT_VERIFY,
        Failure::Write(..) => OUTPUT,
        // Whoever read our output has seen enough.
        Failure::Stdout(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
        Failure::Stdout(_) => OUTPUT,
    }
}

/// A panic is never the user's fault: says so, and what to send.
fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        if ENGINE_RUNS.load(Relaxed) {
            return;
        }
        let place =
            info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let payload = info.payload();
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        anstream::eprintln!(
            "error: normfold has a bug: {what}{place}\n  \
             help: please report it with the command line; `--reproducer=FILE` writes what is needed to see it again"
        );
    }));
}
