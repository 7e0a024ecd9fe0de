//! The `normfold` program. Everything it does is in `cli`; what it does to models is in the library.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
