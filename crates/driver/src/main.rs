//! The `normfold` program. Everything it does is in `normfold_driver::cli`; what it does to models is in the rest of the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    normfold_driver::cli::main()
}
